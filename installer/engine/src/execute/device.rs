//! Disks, opened by what names them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use uuid::Uuid;
use xenolith_layout::{
    Bytes,
    boot_option::BootOption,
    disk::{STATE_FS_BLOCK, STATE_FS_OPTIONS},
};

use super::{container, firmware, mirror, mirror::Loop};
use crate::plan::DiskId;

/// A place on a disk.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The disk.
    pub disk: &'a DiskId,
    /// Where it begins.
    pub first: Bytes,
    /// Its length.
    pub length: Bytes,
}

/// Where the state goes.
#[derive(Clone, Copy, Debug)]
pub struct StatePlace<'a> {
    /// The partition, or those of an array.
    pub places: &'a [Place<'a>],
    /// The name of the array, and of an encrypted container.
    pub id: Uuid,
    /// The file with the recovery key, if it is encrypted.
    pub key: Option<&'a Path>,
}

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

    /// Makes the state file system with the files of `folder` in it.
    ///
    /// # Errors
    /// With the words of the program that makes it.
    fn make_state(&self, state: &StatePlace<'_>, folder: &Path) -> io::Result<()>;

    /// Puts entries in front of the firmware's boot order, and takes out those of partitions that are gone.
    ///
    /// # Errors
    /// When the firmware refuses, or there are no such variables.
    fn register(&self, entries: &[BootOption], gone: &BTreeSet<Uuid>) -> io::Result<()>;
}

/// The program that makes ext4, of e2fsprogs 1.47.
pub(super) const MKFS: &str = "/usr/sbin/mkfs.ext4";

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

    fn make_state(&self, state: &StatePlace<'_>, folder: &Path) -> io::Result<()> {
        match (state.places, state.key) {
            ([place], None) => make_state(place, folder)?,
            ([place], Some(key)) => {
                let part = Loop::over(place)?;
                container::make_state(part.node(), state.id, key, folder)?;
            }
            (several, key) => mirror::make_state(several, state.id, |array| match key {
                None => make_file_system(Path::new(array), folder),
                Some(key) => container::make_state(array, state.id, key, folder),
            })?,
        }
        state.places.iter().try_for_each(|place| self.open(place.disk)?.sync_all())
    }

    fn register(&self, entries: &[BootOption], gone: &BTreeSet<Uuid>) -> io::Result<()> {
        firmware::register(entries, gone)
    }
}

/// mkfs writes into the disk at an offset: the kernel need not know of the partition, and nothing is mounted.
fn make_state(place: &Place<'_>, folder: &Path) -> io::Result<()> {
    let blocks = place.length.get() / STATE_FS_BLOCK.get();
    let at = format!("nodiscard,offset={}", place.first.get());
    let mut args: Vec<OsString> = STATE_FS_OPTIONS.iter().map(Into::into).collect();
    args.extend(["-E".into(), at.into(), "-d".into(), folder.into()]);
    args.extend([place.disk.path.clone().into(), blocks.to_string().into()]);
    run(MKFS, &args).map(drop)
}

/// As [`make_state`], on a device of its own.
pub(super) fn make_file_system(device: &Path, folder: &Path) -> io::Result<()> {
    let mut args: Vec<OsString> = STATE_FS_OPTIONS.iter().map(Into::into).collect();
    args.extend(["-E".into(), "nodiscard".into(), "-d".into(), folder.into(), device.into()]);
    run(MKFS, &args).map(drop)
}

/// What a program prints; its words if it fails.
pub(super) fn run<S: Into<OsString> + Clone>(program: &str, args: &[S]) -> io::Result<String> {
    run_with(program, args, "")
}

/// As [`run`], with something to read.
pub(super) fn run_with<S: Into<OsString> + Clone>(
    program: &str,
    args: &[S],
    input: &str,
) -> io::Result<String> {
    let ran = duct::cmd(program, args.iter().cloned().map(Into::<OsString>::into))
        .stdin_bytes(input)
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()?;
    if !ran.status.success() {
        let words = String::from_utf8_lossy(&ran.stderr);
        return Err(io::Error::other(format!("{program} ended with {}: {}", ran.status, words.trim())));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
