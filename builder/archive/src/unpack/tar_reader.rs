//! Members of a tar archive as dpkg takes them: ustar and GNU headers, GNU long names, nothing else.
//!
//! The headers are decoded by the `tar` crate; going from one to the next is done here, because its iterator takes
//! an archive that was cut between two members for a whole one, and reads long names without a bound.

use std::io::BufRead;

use super::{Content, LimitHit, Limits, Malformed, Part, UnpackError};

const BLOCK: u64 = 512;
/// A name, its final NUL, and nothing more.
const LONGEST_NAME: u64 = 4096;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    Directory,
    Special,
    Unknown(u8),
}

/// A member's header, its long names included.
#[derive(Debug)]
pub(super) struct Member {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub size: u64,
    pub mode: u32,
    pub mtime: i64,
}

pub(super) struct TarReader<'a> {
    input: &'a mut dyn BufRead,
    part: Part,
    limits: &'a Limits,
    members: u64,
    names: u64,
    /// Content of the current member that is not read yet, and the filling behind it.
    left: u64,
    filling: u64,
}

impl<'a> TarReader<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead, part: Part, limits: &'a Limits) -> Self {
        Self { input, part, limits, members: 0, names: 0, left: 0, filling: 0 }
    }

    /// The content of the member that was returned last.
    pub(super) fn content(&mut self) -> Content<'_> {
        Content::new(self.input, self.part, &mut self.left)
    }

    /// The next member; `None` after the end mark, once the rest of the stream has been read and so verified by
    /// its decompressor.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>, UnpackError> {
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                return self.finish(long_name.is_some() || long_link.is_some());
            };
            let size = header.entry_size().map_err(|_| self.header("size"))?;
            self.left = size;
            self.filling = (BLOCK - size % BLOCK) % BLOCK;
            match header.entry_type().as_byte() {
                b'L' if long_name.is_none() => long_name = Some(self.read_long_name()?),
                b'K' if long_link.is_none() => long_link = Some(self.read_long_name()?),
                b'L' | b'K' => return Err(self.header("a long name follows another")),
                _ => return self.member(&header, size, long_name, long_link).map(Some),
            }
        }
    }

    fn member(
        &mut self,
        header: &tar::Header,
        size: u64,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member, UnpackError> {
        let name = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = long_link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        self.count(name.len() + link.len())?;
        let kind = match header.entry_type().as_byte() {
            // Before ustar a directory was a file whose name ends in a slash.
            b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' | b'6' => Kind::Special,
            b'5' => Kind::Directory,
            other => Kind::Unknown(other),
        };
        let mode = header.mode().map_err(|_| self.header("mode"))? & 0o7777;
        let mtime = header.mtime().map_err(|_| self.header("time"))?;
        let mtime = i64::try_from(mtime).map_err(|_| self.header("time"))?;
        Ok(Member { name, link, kind, size, mode, mtime })
    }

    fn count(&mut self, names: usize) -> Result<(), UnpackError> {
        self.members += 1;
        self.names += u64::try_from(names).expect("a usize fits into 64 bits");
        let source = if self.members > self.limits.members {
            LimitHit::Members(self.limits.members)
        } else if self.names > self.limits.names {
            LimitHit::Names(self.limits.names)
        } else {
            return Ok(());
        };
        Err(UnpackError::Limit { part: self.part, source })
    }

    /// One header block whose sum is right; `None` for a block of zeros.
    fn read_header(&mut self) -> Result<Option<tar::Header>, UnpackError> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        std::io::Read::read_exact(&mut self.input, block)
            .map_err(|source| UnpackError::reading(self.part, source))?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        let field: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
        let written = header.cksum().map_err(|_| self.header("sum"))?;
        if written != sum - field + 8 * u32::from(b' ') {
            return Err(self.header("its sum is wrong"));
        }
        Ok(Some(header))
    }

    fn read_long_name(&mut self) -> Result<Vec<u8>, UnpackError> {
        if self.left > LONGEST_NAME {
            return Err(UnpackError::Limit { part: self.part, source: LimitHit::Names(LONGEST_NAME) });
        }
        let mut name = Vec::new();
        while self.content().piece(|bytes| {
            name.extend_from_slice(bytes);
            Ok(())
        })? {}
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        while self.content().piece(|_| Ok(()))? {}
        self.left = std::mem::take(&mut self.filling);
        while self.content().piece(|_| Ok(()))? {}
        Ok(())
    }

    fn finish(&mut self, dangling: bool) -> Result<Option<Member>, UnpackError> {
        if dangling {
            return Err(self.header("a long name without its member"));
        }
        loop {
            let rest = self.input.fill_buf().map_err(|source| UnpackError::reading(self.part, source))?.len();
            if rest == 0 {
                return Ok(None);
            }
            self.input.consume(rest);
        }
    }

    fn header(&self, what: &'static str) -> UnpackError {
        UnpackError::malformed(self.part, Malformed::Header(what))
    }
}
