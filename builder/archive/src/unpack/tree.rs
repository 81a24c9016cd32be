//! Directories of a tree, reached without ever leaving it.
//!
//! **An open [`Place`] is a directory of the tree: it was reached from the root by names alone.** Symbolic links on
//! the way are read, never followed by the kernel; an absolute one starts again at the tree's root, one that climbs
//! above the root is refused. Directories are never removed or renamed while a `Tree` is in use, so a `Place` stays
//! what it is. `openat2(RESOLVE_IN_ROOT)` does the same in one call, but is forbidden in many containers and does
//! not tell which links were passed, which [`Claims`](super::claims::Claims) needs to know.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, mkdirat};

use super::{Refusal, UnpackError};

/// As many links as Linux follows.
const LONGEST_CHAIN: u32 = 40;
const DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A tree that is being filled.
pub(super) struct Tree {
    root: Place,
    path: PathBuf,
}

/// An open directory of a tree.
#[derive(Clone)]
pub(super) struct Place {
    pub fd: Arc<OwnedFd>,
    /// Its path from the root, through directories only; empty for the root.
    pub path: Vec<u8>,
}

impl Place {
    /// The path of something in this directory.
    pub(super) fn child(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.path.len() + 1 + name.len());
        path.extend_from_slice(&self.path);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

/// Asked, before a link is passed, whether this may be; gets the link's path.
pub(super) type MayPass<'a> = &'a dyn Fn(&[u8]) -> Result<(), UnpackError>;

impl Tree {
    /// Opens the tree at `path`, which must be a directory.
    pub(super) fn open(path: &Path) -> Result<Self, UnpackError> {
        // The one place where links are followed: they are the caller's.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|error| UnpackError::Write {
            operation: "open the tree",
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self { root: Place { fd: Arc::new(fd), path: Vec::new() }, path: path.to_owned() })
    }

    pub(super) fn root(&self) -> &Place {
        &self.root
    }

    /// An error about `path` of this tree.
    pub(super) fn error(
        &self,
        operation: &'static str,
        path: &[u8],
        source: impl Into<io::Error>,
    ) -> UnpackError {
        let path = self.path.join(std::ffi::OsStr::from_bytes(path));
        UnpackError::Write { operation, path, source: source.into() }
    }

    /// The directory `name` of `from`, through links, made if it is not there. `name` is one component.
    pub(super) fn enter(
        &self,
        from: &Place,
        name: &[u8],
        may_pass: MayPass<'_>,
    ) -> Result<Place, UnpackError> {
        let mut here = from.clone();
        let mut ahead = vec![name.to_vec()];
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => here = self.above(&here)?,
                name => match self.open_or_make(&here, name) {
                    Ok(place) => here = place,
                    // Either no directory or a link; which of both the kernel says depends on its version.
                    Err(Errno::ENOTDIR | Errno::ELOOP) => {
                        let path = here.child(name);
                        let target = match readlinkat(&here.fd, name) {
                            Ok(target) => target.into_vec(),
                            Err(Errno::EINVAL) => {
                                return Err(UnpackError::refused(&path, Refusal::NotADirectory));
                            }
                            Err(error) => return Err(self.error("read the link", &path, error)),
                        };
                        links += 1;
                        if links > LONGEST_CHAIN {
                            return Err(UnpackError::refused(&path, Refusal::Loop));
                        }
                        may_pass(&path)?;
                        if target.starts_with(b"/") {
                            here = self.root.clone();
                        }
                        ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                    }
                    Err(error) => return Err(self.error("open the directory", &here.child(name), error)),
                },
            }
        }
        Ok(here)
    }

    fn open_or_make(&self, from: &Place, name: &[u8]) -> nix::Result<Place> {
        let fd = match openat(&from.fd, name, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) => {
                match mkdirat(&from.fd, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error),
                }
                openat(&from.fd, name, DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
        Ok(Place { fd: Arc::new(fd), path: from.child(name) })
    }

    /// The directory above, walked to from the root; there is none above the root.
    fn above(&self, place: &Place) -> Result<Place, UnpackError> {
        if place.path.is_empty() {
            return Err(UnpackError::refused(b"..", Refusal::LeavesTree));
        }
        let mut here = self.root.clone();
        let mut names: Vec<&[u8]> = place.path.split(|byte| *byte == b'/').collect();
        names.pop();
        for name in names {
            let fd = openat(&here.fd, name, DIRECTORY, Mode::empty())
                .map_err(|error| self.error("open the directory", &here.child(name), error))?;
            here = Place { fd: Arc::new(fd), path: here.child(name) };
        }
        Ok(here)
    }
}

/// Links that nobody has claimed may be passed: they were there before.
pub(super) fn any_link(_: &[u8]) -> Result<(), UnpackError> {
    Ok(())
}
