//! What maintainer scripts would have made and a tools tree cannot do without.
//!
//! No script of a package is ever run. This list is short because a tools tree is no running system: links that
//! update-alternatives keeps, users and groups, and the directories that programs expect. `ld.so.cache` is left to
//! the caller, who can run ldconfig in the sandbox; without it the loader still searches the multiarch folders.
//! Everything here goes through [`Tree`], because the packages have had their way with `tree/etc` by now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::symlinkat;

use super::tree::{Missing, Place, Tree, any_link};
use super::{MemberPath, Refusal, UnpackError};

/// A link that update-alternatives would keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The link, relative to the tree.
    pub link: &'static str,
    /// What it shows, a name in the same folder.
    pub target: &'static str,
}

const fn alternative(link: &'static str, target: &'static str) -> Alternative {
    Alternative { link, target }
}

/// The links of a tools tree, the preferred target first where there are several.
/// The preferences are those of the packages' postinst scripts in Debian 13.
pub const TOOLS_ALTERNATIVES: &[Alternative] = &[
    alternative("usr/bin/awk", "gawk"),
    alternative("usr/bin/awk", "mawk"),
    alternative("usr/bin/nawk", "gawk"),
    alternative("usr/bin/nawk", "mawk"),
    alternative("usr/bin/cc", "gcc"),
    alternative("usr/bin/c++", "g++"),
    alternative("usr/bin/c89", "c89-gcc"),
    alternative("usr/bin/c99", "c99-gcc"),
    alternative("usr/bin/yacc", "bison.yacc"),
    alternative("usr/bin/which", "which.debianutils"),
    alternative("usr/bin/fakeroot", "fakeroot-sysv"),
    alternative("usr/bin/lzma", "xz"),
    alternative("usr/bin/unlzma", "unxz"),
    alternative("usr/bin/lzcat", "xzcat"),
    alternative("usr/bin/pager", "less"),
    alternative("usr/bin/pager", "more"),
];

/// What [`finish_tree`] is to make beyond the fixed part.
#[derive(Clone, Copy, Debug)]
pub struct Fixups<'a> {
    /// Links; of those for one place, the first whose target is in the tree is made.
    pub alternatives: &'a [Alternative],
}

impl Default for Fixups<'_> {
    fn default() -> Self {
        Self { alternatives: TOOLS_ALTERNATIVES }
    }
}

/// Directories that programs expect, with their modes.
const DIRECTORIES: [(&str, u32); 10] = [
    ("etc", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("root", 0o700),
    ("proc", 0o755),
    ("sys", 0o755),
    ("dev", 0o755),
    ("run", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
];

/// Files that a package carries elsewhere, or what to write without that package.
const COPIES: [(&str, &str, &str); 3] = [
    (
        "etc/passwd",
        "usr/share/base-passwd/passwd.master",
        "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "usr/share/base-passwd/group.master", "root:*:0:\nnogroup:*:65534:\n"),
    (
        "etc/nsswitch.conf",
        "usr/share/libc-bin/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
];

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
const LARGEST_COPY: u64 = 1 << 20;

/// Completes an unpacked tree. What is there already stays as it is, so it can be run again.
/// Returns the alternatives that were made.
///
/// # Errors
/// [`UnpackError::Write`] for the system's refusals, [`UnpackError::Refused`] if links in the tree lead out of it.
pub fn finish_tree(tree: &Path, fixups: &Fixups<'_>) -> Result<Vec<Alternative>, UnpackError> {
    let tree = Tree::open(tree)?;
    let mut modes = BTreeMap::new();
    for (path, mode) in DIRECTORIES {
        modes.insert(tree.make_directory(path)?.path, mode);
    }
    let mut touched = BTreeSet::new();
    for (path, source, otherwise) in COPIES {
        let text = tree.read_file(source)?;
        touched.extend(tree.write_new(path, text.as_deref().unwrap_or(otherwise.as_bytes()))?);
    }
    touched.extend(tree.write_new("etc/hosts", HOSTS.as_bytes())?);
    touched.extend(tree.write_new("etc/machine-id", b"")?);
    let mut made = Vec::new();
    for alternative in fixups.alternatives {
        if let Some(folder) = tree.make_alternative(alternative)? {
            made.push(*alternative);
            touched.insert(folder);
        }
    }
    // What was made has the mode that the umask left, and what was written into has a new time; both are part of
    // what two builds must have in common.
    for path in tree.take_made() {
        touched.extend(path.iter().rposition(|byte| *byte == b'/').map(|slash| path[..slash].to_vec()));
        modes.entry(path).or_insert(0o755);
    }
    for (path, mode) in &modes {
        tree.set_directory(path, Some(*mode), 0)?;
    }
    for path in touched.iter().map(Vec::as_slice).chain([&b""[..]]) {
        tree.set_directory(path, None, 0)?;
    }
    Ok(made)
}

const EPOCH: TimeSpec = TimeSpec::new(0, 0);

impl Tree {
    /// Opens a directory of the tree, and makes what is missing of it.
    pub(super) fn make_directory(&self, path: &str) -> Result<Place, UnpackError> {
        let mut here = self.root().clone();
        for name in path.split('/') {
            here = self.enter(&here, name.as_bytes(), &any_link)?;
        }
        Ok(here)
    }

    /// Whether `link` in the root is a symbolic link to exactly `target`.
    pub(super) fn is_link_to(&self, link: &str, target: &str) -> bool {
        readlinkat(&self.root().fd, link).is_ok_and(|there| there == target)
    }

    fn parent_of(&self, path: &str, missing: Missing) -> Result<Option<(Place, Vec<u8>)>, UnpackError> {
        let parsed = MemberPath::parse(path.as_bytes())
            .map_err(|problem| UnpackError::refused(path.as_bytes(), Refusal::Name(problem)))?;
        let (parent, name) = parsed.split().expect("the paths above are not the root");
        let mut here = self.root().clone();
        for name in parent.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let Some(next) = self.walk(&here, name, &any_link, missing)? else { return Ok(None) };
            here = next;
        }
        Ok(Some((here, name.to_vec())))
    }

    /// The content of a regular file that is no link.
    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, UnpackError> {
        let Some((place, name)) = self.parent_of(path, Missing::Report)? else { return Ok(None) };
        let failed = |error| self.error("read", path.as_bytes(), error);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&place.fd, name.as_slice(), flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        let mut text = Vec::new();
        file.take(LARGEST_COPY).read_to_end(&mut text).map_err(failed)?;
        Ok(Some(text))
    }

    /// Writes a file of mode 0644 unless something of that name is there. Returns the folder that was written into.
    fn write_new(&self, path: &str, text: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
        let Some((place, name)) = self.parent_of(path, Missing::Make)? else { return Ok(None) };
        let failed = |error| self.error("write", path.as_bytes(), error);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = match openat(&place.fd, name.as_slice(), flags, Mode::from_bits_truncate(0o600)) {
            Ok(fd) => File::from(fd),
            Err(Errno::EEXIST) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        };
        file.write_all(text).map_err(failed)?;
        fchmod(&file, Mode::from_bits_truncate(0o644)).map_err(|error| failed(error.into()))?;
        futimens(&file, &EPOCH, &EPOCH).map_err(|error| failed(error.into()))?;
        Ok(Some(place.path))
    }

    /// Makes the link if its target is there and its place is free. Returns the folder that was written into.
    fn make_alternative(&self, alternative: &Alternative) -> Result<Option<Vec<u8>>, UnpackError> {
        let Some((place, name)) = self.parent_of(alternative.link, Missing::Report)? else { return Ok(None) };
        let failed = |error: Errno| self.error("make the link", alternative.link.as_bytes(), error);
        match fstatat(&place.fd, alternative.target, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        match symlinkat(alternative.target, &place.fd, name.as_slice()) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        utimensat(&place.fd, name.as_slice(), &EPOCH, &EPOCH, UtimensatFlags::NoFollowSymlink)
            .map_err(failed)?;
        Ok(Some(place.path))
    }
}
