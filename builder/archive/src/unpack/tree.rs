//! Directories of a tree, reached without ever leaving it.
//!
//! **An open [`Place`] is a directory of the tree: it was reached from the root by names alone.** Symbolic links on
//! the way are read, never followed by the kernel; an absolute one starts again at the tree's root, one that climbs
//! above the root is refused. Directories are never removed or renamed while a `Tree` is in use, so a `Place` stays
//! what it is. `openat2(RESOLVE_IN_ROOT)` does the same in one call, but is forbidden in many containers and does
//! not tell which links were passed, which [`Claims`](super::claims::Claims) needs to know.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;

use super::{Refusal, UnpackError};

/// As many links as Linux follows.
const LONGEST_CHAIN: usize = 40;
const DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A tree that is being filled.
pub(super) struct Tree {
    root: Place,
    path: PathBuf,
    made: Mutex<BTreeSet<Vec<u8>>>,
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Report,
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
        Ok(Self {
            root: Place { fd: Arc::new(fd), path: Vec::new() },
            path: path.to_owned(),
            made: Mutex::default(),
        })
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

    /// The directories that [`Tree::enter`] has made since this was last called. Their mode and time are still those
    /// of the moment.
    pub(super) fn take_made(&self) -> BTreeSet<Vec<u8>> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The directory `name` of `from`, through links, made if it is not there. `name` is one component.
    pub(super) fn enter(
        &self,
        from: &Place,
        name: &[u8],
        may_pass: MayPass<'_>,
    ) -> Result<Place, UnpackError> {
        Ok(self.walk(from, name, may_pass, Missing::Make)?.expect("what is missing was made"))
    }

    /// The same; `None` if it is missing and not to be made.
    pub(super) fn walk(
        &self,
        from: &Place,
        name: &[u8],
        may_pass: MayPass<'_>,
        missing: Missing,
    ) -> Result<Option<Place>, UnpackError> {
        let mut here = from.clone();
        let mut ahead = vec![name.to_vec()];
        let mut passed: Vec<Vec<u8>> = Vec::new();
        while let Some(name) = ahead.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let leaves =
                        || UnpackError::refused(passed.first().unwrap_or(&name), Refusal::LeavesTree);
                    here = self.above(&here)?.ok_or_else(leaves)?;
                }
                name => match self.open_child(&here, name, missing) {
                    Ok(Some(place)) => here = place,
                    Ok(None) => return Ok(None),
                    // Either no directory or a link; which of both the kernel says depends on its version.
                    Err(Errno::ENOTDIR | Errno::ELOOP) => {
                        let path = here.child(name);
                        let target = self.read_link(&here, name, &path)?;
                        may_pass(&path)?;
                        passed.push(path);
                        if passed.len() > LONGEST_CHAIN {
                            return Err(UnpackError::refused(&passed[0], Refusal::Loop));
                        }
                        if target.starts_with(b"/") {
                            here = self.root.clone();
                        }
                        ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                    }
                    Err(error) => return Err(self.error("open the directory", &here.child(name), error)),
                },
            }
        }
        Ok(Some(here))
    }

    fn open_child(&self, from: &Place, name: &[u8], missing: Missing) -> nix::Result<Option<Place>> {
        let path = from.child(name);
        let fd = match openat(&from.fd, name, DIRECTORY, Mode::empty()) {
            Err(Errno::ENOENT) if missing == Missing::Report => return Ok(None),
            Err(Errno::ENOENT) => {
                match mkdirat(&from.fd, name, Mode::from_bits_truncate(0o755)) {
                    Ok(()) => {
                        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
                    }
                    Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error),
                }
                openat(&from.fd, name, DIRECTORY, Mode::empty())?
            }
            other => other?,
        };
        Ok(Some(Place { fd: Arc::new(fd), path }))
    }

    fn read_link(&self, from: &Place, name: &[u8], path: &[u8]) -> Result<Vec<u8>, UnpackError> {
        match readlinkat(&from.fd, name) {
            Ok(target) => Ok(target.into_vec()),
            Err(Errno::EINVAL) => Err(UnpackError::refused(path, Refusal::NotADirectory)),
            Err(error) => Err(self.error("read the link", path, error)),
        }
    }

    /// Sets mode and time of directories, given by paths that lead through directories alone, as those of a
    /// [`Place`] do: nothing is followed.
    pub(super) fn set_directory(
        &self,
        path: &[u8],
        mode: Option<u32>,
        mtime: i64,
    ) -> Result<(), UnpackError> {
        let (root, path): (_, &[u8]) = (&self.root.fd, if path.is_empty() { b"." } else { path });
        if let Some(mode) = mode {
            fchmodat(root, path, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
                .map_err(|error| self.error("set the mode of", path, error))?;
        }
        let time = TimeSpec::new(mtime, 0);
        utimensat(root, path, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(|error| self.error("set the time of", path, error))
    }

    /// The directory above, walked to from the root; `None` above the root.
    fn above(&self, place: &Place) -> Result<Option<Place>, UnpackError> {
        if place.path.is_empty() {
            return Ok(None);
        }
        let mut here = self.root.clone();
        let mut names: Vec<&[u8]> = place.path.split(|byte| *byte == b'/').collect();
        names.pop();
        for name in names {
            let fd = openat(&here.fd, name, DIRECTORY, Mode::empty())
                .map_err(|error| self.error("open the directory", &here.child(name), error))?;
            here = Place { fd: Arc::new(fd), path: here.child(name) };
        }
        Ok(Some(here))
    }
}

/// Links that nobody has claimed may be passed: they were there before.
pub(super) fn any_link(_: &[u8]) -> Result<(), UnpackError> {
    Ok(())
}
