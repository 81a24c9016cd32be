//! Volumes with files for this machine, which somebody has plugged in.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

/// File systems that they may have, with options. ext4's journal is not replayed: nothing is written there.
const FILE_SYSTEMS: &[(&str, &str)] = &[("vfat", ""), ("iso9660", ""), ("ext4", "noload")];

/// A volume that is mounted, read-only, as long as this is kept.
pub struct Volume(PathBuf);

impl Volume {
    /// Mounts a device on a folder, which is made.
    ///
    /// # Errors
    /// When it has another file system than vfat, iso9660 or ext4, or a damaged one.
    pub fn mount(device: &Path, at: &Path) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (kind, options) in FILE_SYSTEMS {
            match mount(Some(device), at, Some(*kind), flags, Some(*options)) {
                Ok(()) => return Ok(Self(at.into())),
                // Another file system than this one.
                Err(Errno::EINVAL) => {}
                Err(errno) => {
                    let why = format!("cannot mount {} as {kind}: {errno}", device.display());
                    return Err(io::Error::new(io::Error::from(errno).kind(), why));
                }
            }
        }
        let why = format!("{} has another file system than vfat, iso9660 or ext4", device.display());
        Err(io::Error::other(why))
    }

    /// A file in its root folder, as [`plain_file`].
    ///
    /// # Errors
    /// As [`plain_file`].
    pub fn file(&self, name: &str, longest: usize) -> io::Result<Option<Vec<u8>>> {
        plain_file(&self.0.join(name), longest)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A read-only mount that is left over harms nobody, and the next one covers it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A plain file, if it is there: up to one byte more than `longest`, so that whoever reads it can see that it is too long.
///
/// # Errors
/// When it cannot be read, or is a link, a device or a folder.
pub fn plain_file(path: &Path, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    opened.take(longest as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The same file where nobody is told why there is none: also none if it cannot be read, or is longer than `longest`.
pub fn short_file(path: &Path, longest: usize) -> Option<Vec<u8>> {
    plain_file(path, longest).ok().flatten().filter(|bytes| bytes.len() <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read_and_no_more_of_them_than_shows_that_they_are_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "12345").unwrap();
        fs::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(plain_file(&path("file"), 5).unwrap().unwrap(), b"12345");
        assert_eq!(plain_file(&path("file"), 3).unwrap().unwrap(), b"1234");
        assert!(plain_file(&path("none"), 5).unwrap().is_none());
        for other in ["link", "pipe", "."] {
            assert!(plain_file(&path(other), 5).is_err(), "{other}");
        }
    }
}
