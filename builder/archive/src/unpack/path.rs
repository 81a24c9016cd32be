//! Names of members, made harmless once at the edge.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// PATH_MAX of Linux without its final NUL.
const LONGEST: usize = 4095;
/// NAME_MAX of every file system that a tree could be on.
const LONGEST_COMPONENT: usize = 255;
/// The deepest path in Debian 13 has fewer than 30 components; each costs an open directory.
const DEEPEST: usize = 64;

/// A path inside the tree: relative, without `.` and `..`, one slash between components. Empty: the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberPath(Vec<u8>);

/// Why a name is no [`MemberPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// No name at all.
    #[error("is empty")]
    Empty,
    /// `/etc/passwd`
    #[error("is absolute")]
    Absolute,
    /// `../x`, also in the middle.
    #[error("goes upwards")]
    Upwards,
    /// A NUL in the middle.
    #[error("holds a NUL byte")]
    Nul,
    /// More than a file system takes.
    #[error("is too long")]
    TooLong,
    /// More directories than anyone needs.
    #[error("is too deep")]
    TooDeep,
    /// The root of the tree, for something that is no directory.
    #[error("is that of the tree itself")]
    Root,
}

impl MemberPath {
    /// Takes the name as tar has it: `./usr/bin/x`, `usr/bin/`, `.`.
    ///
    /// # Errors
    /// The first [`NameProblem`]; [`NameProblem::Root`] is never one of them.
    pub fn parse(name: &[u8]) -> Result<Self, NameProblem> {
        match name {
            [] => return Err(NameProblem::Empty),
            [b'/', ..] => return Err(NameProblem::Absolute),
            _ if name.len() > LONGEST => return Err(NameProblem::TooLong),
            _ if name.contains(&0) => return Err(NameProblem::Nul),
            _ => {}
        }
        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(NameProblem::Upwards),
                _ if component.len() > LONGEST_COMPONENT => return Err(NameProblem::TooLong),
                _ if depth == DEEPEST => return Err(NameProblem::TooDeep),
                _ => {}
            }
            if depth > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(component);
            depth += 1;
        }
        Ok(Self(path))
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path, relative to the tree.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether this is the tree itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Parent and last component; `None` for the root.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        })
    }

    /// Every directory above, the nearest last.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| &self.0[..slash])
    }
}

impl std::borrow::Borrow<[u8]> for MemberPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}
