//! Where members go.

use std::io::BufRead;

use super::{MemberPath, Part, UnpackError};

/// Mode and time of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// The content of a regular file, read piece by piece.
pub struct Content<'a> {
    input: &'a mut dyn BufRead,
    part: Part,
    left: &'a mut u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, part: Part, left: &'a mut u64) -> Self {
        Self { input, part, left }
    }

    /// Bytes still to come.
    pub fn left(&self) -> u64 {
        *self.left
    }

    /// Hands the next piece to `take`; `Ok(false)` once all is read. What is left unread is skipped.
    ///
    /// # Errors
    /// That of reading, or that of `take`.
    pub fn piece(
        &mut self,
        take: impl FnOnce(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<bool, UnpackError> {
        if *self.left == 0 {
            return Ok(false);
        }
        let buffer = self.input.fill_buf().map_err(|source| UnpackError::reading(self.part, source))?;
        if buffer.is_empty() {
            return Err(UnpackError::malformed(self.part, super::Malformed::Truncated));
        }
        let length = usize::try_from(*self.left).unwrap_or(usize::MAX).min(buffer.len());
        take(&buffer[..length])?;
        self.input.consume(length);
        *self.left -= u64::try_from(length).expect("a usize fits into 64 bits");
        Ok(true)
    }
}

/// Receives the members of one package, in the order of the archive, already checked by the rules that need no
/// file system.
pub trait Sink {
    /// A directory, which may be there already. Never called for the root.
    ///
    /// # Errors
    /// What stands against it.
    fn directory(&mut self, path: &MemberPath, meta: Meta) -> Result<(), UnpackError>;
    /// A regular file.
    ///
    /// # Errors
    /// What stands against it.
    fn file(&mut self, path: &MemberPath, meta: Meta, content: &mut Content<'_>) -> Result<(), UnpackError>;
    /// A symbolic link; `target` is any text.
    ///
    /// # Errors
    /// What stands against it.
    fn symlink(&mut self, path: &MemberPath, target: &[u8], mtime: i64) -> Result<(), UnpackError>;
    /// One more name for the file `to`, which this sink has received before.
    ///
    /// # Errors
    /// What stands against it.
    fn hard_link(&mut self, path: &MemberPath, to: &MemberPath) -> Result<(), UnpackError>;
}

/// What a listed member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A regular file and its size.
    File(u64),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A hard link and the file that it names again.
    HardLink(MemberPath),
}

/// One member of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it goes.
    pub path: MemberPath,
    /// Mode and time; those of links have no meaning.
    pub meta: Meta,
    /// What it is.
    pub kind: ListedKind,
}

/// A sink that remembers what came and throws the content away.
#[derive(Clone, Debug, Default)]
pub struct ListSink {
    /// What came, in order.
    pub members: Vec<Listed>,
}

impl ListSink {
    fn push(&mut self, path: &MemberPath, meta: Meta, kind: ListedKind) {
        self.members.push(Listed { path: path.clone(), meta, kind });
    }
}

impl Sink for ListSink {
    fn directory(&mut self, path: &MemberPath, meta: Meta) -> Result<(), UnpackError> {
        self.push(path, meta, ListedKind::Directory);
        Ok(())
    }

    fn file(&mut self, path: &MemberPath, meta: Meta, content: &mut Content<'_>) -> Result<(), UnpackError> {
        self.push(path, meta, ListedKind::File(content.left()));
        Ok(())
    }

    fn symlink(&mut self, path: &MemberPath, target: &[u8], mtime: i64) -> Result<(), UnpackError> {
        self.push(path, Meta { mode: 0o777, mtime }, ListedKind::Symlink(target.to_vec()));
        Ok(())
    }

    fn hard_link(&mut self, path: &MemberPath, to: &MemberPath) -> Result<(), UnpackError> {
        self.push(path, Meta { mode: 0, mtime: 0 }, ListedKind::HardLink(to.clone()));
        Ok(())
    }
}
