//! Disks, opened by what names them.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileTypeExt as _,
    path::Path,
};

use fs_err::{self as fs, os::unix::fs::FileExt as _};
use nix::{
    errno::Errno,
    fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise},
};
use uuid::Uuid;
use xenolith_layout::{
    Bytes,
    boot_option::BootOption,
    disk::{STATE_FS_BLOCK, STATE_FS_OPTIONS},
};

use super::{container, firmware, identity, mirror, mirror::Loop};
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

/// An open disk, which is written at one place and read at another at the same time, and past all caches if it can: places and lengths
/// are whole sectors, and memory begins at a multiple of 4096 bytes, as that of [`xenolith_verity::Aligned`] does (open(2)).
pub trait Disk: Sync {
    /// Writes all of these bytes at this place.
    ///
    /// # Errors
    /// When the disk says so.
    fn write_at(&self, at: Bytes, bytes: &[u8]) -> io::Result<()>;

    /// Comes back when all that was written lies on the disk.
    ///
    /// # Errors
    /// When the disk says so.
    fn flush(&self) -> io::Result<()>;

    /// Fills the buffer with what lies on the disk at this place, and comes out of no cache. It was flushed before.
    ///
    /// # Errors
    /// When the disk says so, or ends.
    fn read_back(&self, at: Bytes, buffer: &mut [u8]) -> io::Result<()>;
}

impl Disk for fs::File {
    fn write_at(&self, at: Bytes, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at.get())
    }

    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn read_back(&self, at: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        let signed = |number| i64::try_from(number).map_err(io::Error::other);
        let (first, length) = (signed(at.get())?, signed(buffer.len() as u64)?);
        posix_fadvise(self.file(), first, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        self.read_exact_at(buffer, at.get())
    }
}

/// Whoever opens disks: this machine, or a test that takes them away in the middle.
pub trait Devices {
    /// An open disk.
    type Disk: Disk;

    /// Opens a disk for this installation alone.
    ///
    /// # Errors
    /// If somebody else uses it, or it is not the disk that the plan was made for.
    fn open(&self, disk: &DiskId) -> io::Result<Self::Disk>;

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
        // Of a block device: fails while anybody has it mounted or holds it (open(2)). Of a regular file it means nothing.
        let mut file = match open(disk, OFlag::O_EXCL | OFlag::O_DIRECT) {
            // Some file systems have files in caches only.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => open(disk, OFlag::O_EXCL)?,
            opened => opened?,
        };
        let size = file.seek(SeekFrom::End(0))?;
        if size != disk.size.get() {
            let why = format!(
                "{} has {size} bytes now and had {} when the plan was made",
                disk.path,
                disk.size.get()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // While we hold it, its name means no other.
        if file.metadata()?.file_type().is_block_device() {
            identity::check(disk)?;
        }
        Ok(file)
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

fn open(disk: &DiskId, flags: OFlag) -> io::Result<fs::File> {
    use fs::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(&disk.path)
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
