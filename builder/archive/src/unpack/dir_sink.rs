//! The sink that fills a tree on disk.
//!
//! Modes are the package's, but the owner may always read files and use directories: otherwise an ordinary user
//! could neither run the tree nor remove it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::claims::{Claimed, Claims, PackageIndex, conflict};
use super::tree::{Place, Tree};
use super::{Content, MemberPath, Meta, Sink, UnpackError};

const NEW_FILE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

pub(super) struct DirSink<'a> {
    tree: &'a Tree,
    claims: &'a Claims,
    package: PackageIndex,
    /// The directories on the way to the member before: members come depth first, so most of them are needed again.
    way: Vec<(Vec<u8>, Place)>,
}

impl<'a> DirSink<'a> {
    pub(super) fn new(tree: &'a Tree, claims: &'a Claims, package: PackageIndex) -> Self {
        Self { tree, claims, package, way: Vec::new() }
    }

    /// The directory that the member goes to, and its name there.
    fn parent<'p>(&mut self, path: &'p MemberPath) -> Result<(Place, &'p [u8]), UnpackError> {
        let (parent, name) = path.split().expect("the root is never handed to a sink");
        let mut depth = 0;
        for component in parent.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
            if self.way.get(depth).is_none_or(|(known, _)| known != component) {
                self.way.truncate(depth);
                let from = self.way.last().map_or(self.tree.root(), |(_, place)| place);
                let place = self.tree.enter(from, component, &|link| self.may_pass(link))?;
                self.way.push((component.to_vec(), place));
            }
            depth += 1;
        }
        self.way.truncate(depth);
        let place = self.way.last().map_or(self.tree.root(), |(_, place)| place);
        Ok((place.clone(), name))
    }

    fn may_pass(&self, link: &[u8]) -> Result<(), UnpackError> {
        if self.claims.has(link) {
            return Err(conflict(link, "a link, and a directory"));
        }
        Ok(())
    }

    /// Makes something that is no directory, in place of whatever file or link has the name.
    fn replace<T>(
        &self,
        path: &[u8],
        make: impl Fn() -> nix::Result<T>,
        place: &Place,
        name: &[u8],
    ) -> Result<T, UnpackError> {
        match make() {
            Err(Errno::EEXIST) => {}
            other => return other.map_err(|error| self.tree.error("make", path, error)),
        }
        match unlinkat(&place.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => make().map_err(|error| self.tree.error("make", path, error)),
            Err(Errno::EISDIR | Errno::EPERM) => Err(conflict(path, "a directory, and a file or link")),
            Err(error) => Err(self.tree.error("replace", path, error)),
        }
    }
}

impl Sink for DirSink<'_> {
    fn directory(&mut self, path: &MemberPath, meta: Meta) -> Result<(), UnpackError> {
        let (place, name) = self.parent(path)?;
        let full = place.child(name);
        match mkdirat(&place.fd, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                if self.claims.has(&full) {
                    return Err(conflict(&full, "a directory, and a file or link"));
                }
                // A directory, or a link of the layout to one; the latter keeps its own mode.
                let there = self.tree.enter(&place, name, &|link| self.may_pass(link))?;
                if there.path != full {
                    return Ok(());
                }
            }
            Err(error) => return Err(self.tree.error("make the directory", &full, error)),
        }
        self.claims.directory(full, self.package, meta);
        Ok(())
    }

    fn file(&mut self, path: &MemberPath, meta: Meta, content: &mut Content<'_>) -> Result<(), UnpackError> {
        let (place, name) = self.parent(path)?;
        let full = place.child(name);
        let private = Mode::from_bits_truncate(0o600);
        let made: Option<OwnedFd> = self.claims.take(&full, self.package, Claimed::File, || {
            self.replace(&full, || openat(&place.fd, name, NEW_FILE, private), &place, name)
        })?;
        let Some(fd) = made else { return Ok(()) };
        let mut file = File::from(fd);
        let failed = |error| self.tree.error("write", &full, error);
        while content.piece(|bytes| file.write_all(bytes).map_err(failed))? {}
        let time = TimeSpec::new(meta.mtime, 0);
        fchmod(&file, Mode::from_bits_truncate(meta.mode | 0o400)).map_err(|error| failed(error.into()))?;
        futimens(&file, &time, &time).map_err(|error| failed(error.into()))
    }

    fn symlink(&mut self, path: &MemberPath, target: &[u8], mtime: i64) -> Result<(), UnpackError> {
        let (place, name) = self.parent(path)?;
        let full = place.child(name);
        let time = TimeSpec::new(mtime, 0);
        self.claims.take(&full, self.package, Claimed::Symlink, || {
            // A package's own copy of a link of the layout (/bin, /var/run) changes nothing.
            if nix::fcntl::readlinkat(&place.fd, name).is_ok_and(|there| there.as_encoded_bytes() == target) {
                return Ok(());
            }
            self.replace(&full, || symlinkat(target, &place.fd, name), &place, name)?;
            utimensat(&place.fd, name, &time, &time, UtimensatFlags::NoFollowSymlink)
                .map_err(|error| self.tree.error("set the time of", &full, error))
        })?;
        Ok(())
    }

    fn hard_link(&mut self, path: &MemberPath, to: &MemberPath) -> Result<(), UnpackError> {
        let (to_place, to_name) = self.parent(to)?;
        let (place, name) = self.parent(path)?;
        let full = place.child(name);
        self.claims.hard_linked(to_place.child(to_name));
        self.claims.take(&full, self.package, Claimed::File, || {
            let link = || linkat(&to_place.fd, to_name, &place.fd, name, AtFlags::empty());
            self.replace(&full, link, &place, name)
        })?;
        Ok(())
    }
}
