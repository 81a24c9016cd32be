//! Disks, opened by what names them.

use std::{
    ffi::OsString,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use xenolith_layout::{
    Bytes,
    disk::{STATE_FS_BLOCK, STATE_FS_OPTIONS},
};

use crate::plan::DiskId;

/// Whoever opens disks: this machine, or a test that takes them away in the middle.
pub trait Devices {
    /// An open disk.
    type Disk: Read + Write + Seek;

    /// Opens a disk for this installation alone.
    ///
    /// # Errors
    /// If somebody else uses it, or it is not the disk that the plan was made for.
    fn open(&self, disk: &DiskId) -> io::Result<Self::Disk>;

    /// Comes back when all that was written lies on the disk.
    ///
    /// # Errors
    /// When the disk says so.
    fn flush(&self, disk: &mut Self::Disk) -> io::Result<()>;

    /// Makes what is read from here on come from the disk and out of no cache.
    ///
    /// # Errors
    /// As [`Devices::flush`], which has to come first.
    fn forget(&self, disk: &mut Self::Disk) -> io::Result<()>;

    /// Makes the state file system in `length` bytes from `first` on, with the files of `folder` in it.
    ///
    /// # Errors
    /// With the words of the program that makes it.
    fn make_state(&self, disk: &DiskId, first: Bytes, length: Bytes, folder: &Path) -> io::Result<()>;
}

/// The program that makes ext4, of e2fsprogs 1.47.
const MKFS: &str = "/usr/sbin/mkfs.ext4";

/// Block devices of this machine, and regular files in their place.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileDevices;

impl Devices for FileDevices {
    type Disk = fs::File;

    fn open(&self, disk: &DiskId) -> io::Result<fs::File> {
        use fs::os::unix::fs::OpenOptionsExt as _;
        let mut options = fs::OpenOptions::new();
        // Of a block device: fails while anybody has it mounted or holds it (open(2)). Of a regular file it means nothing.
        options.read(true).write(true).custom_flags(nix::libc::O_EXCL);
        let mut file = options.open(&disk.path)?;
        let size = file.seek(SeekFrom::End(0))?;
        if size != disk.size.get() {
            let why = format!(
                "{} has {size} bytes now and had {} when the plan was made",
                disk.path,
                disk.size.get()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        file.rewind()?;
        Ok(file)
    }

    fn flush(&self, disk: &mut fs::File) -> io::Result<()> {
        disk.sync_all()
    }

    fn forget(&self, disk: &mut fs::File) -> io::Result<()> {
        Ok(posix_fadvise(disk.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    /// mkfs writes into the disk at an offset: the kernel need not know of the partition, and nothing is mounted.
    fn make_state(&self, disk: &DiskId, first: Bytes, length: Bytes, folder: &Path) -> io::Result<()> {
        let blocks = length.get() / STATE_FS_BLOCK.get();
        let place = format!("nodiscard,offset={}", first.get());
        let mut args: Vec<OsString> = STATE_FS_OPTIONS.iter().map(Into::into).collect();
        args.extend(["-E".into(), place.into(), "-d".into(), folder.into()]);
        args.extend([disk.path.clone().into(), blocks.to_string().into()]);
        let made = duct::cmd(MKFS, args).stdin_null().stdout_null().stderr_capture().unchecked().run()?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr);
            return Err(io::Error::other(format!("{MKFS} ended with {}: {}", made.status, words.trim())));
        }
        self.open(disk)?.sync_all()
    }
}
