//! The EFI system partition: FAT32 by the `fatfs` crate, same bytes for the same files.

use std::{
    io::{self, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fatfs::{Date, DateTime, FatType, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use fs_err as fs;

use crate::sparse::Sparse;

/// FAT32 needs at least 65,525 clusters; with clusters of one sector that is 33 MiB and a little.
const SMALLEST: u64 = 34 << 20;
const MIB: u64 = 1 << 20;
/// Bytes of a file.
const COPIED_AT_ONCE: usize = 256 << 10;

/// A file on the ESP.
pub struct EspFile {
    /// Where, with `/`.
    pub path: String,
    /// What.
    pub content: EspContent,
}

/// Where an ESP file's bytes come from.
pub enum EspContent {
    /// A file of this machine.
    File(PathBuf),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// FAT times are the epoch of the image: 2026-01-01 00:00:00.
#[derive(Debug)]
pub(crate) struct ImageTime;

impl TimeProvider for ImageTime {
    fn get_current_date(&self) -> Date {
        Date { year: 2026, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

pub(crate) static IMAGE_TIME: ImageTime = ImageTime;

/// The text of `loader/loader.conf`, the loader's own settings. `timeout` is how many seconds its menu waits for a key.
///
/// No editor: under Secure Boot nothing outside the signature may change a command line. Keys are enrolled when a
/// person asks for it in the loader's menu, never by themselves.
pub fn loader_conf(timeout: u32) -> String {
    format!("timeout {timeout}\neditor no\nauto-firmware yes\nbeep no\nsecure-boot-enroll manual\n")
}

/// The size of an ESP that just holds these files, in whole MiB.
///
/// # Errors
/// When a file cannot be read.
pub fn smallest_size(files: &[EspFile]) -> io::Result<u64> {
    let mut bytes = 0;
    for file in files {
        bytes += match &file.content {
            EspContent::File(path) => fs::metadata(path)?.len(),
            EspContent::Bytes(bytes) => bytes.len() as u64,
        };
    }
    // One FAT entry of 4 bytes a cluster of 512, twice, and folders: 2 % and some room to rename.
    let with_tables = bytes + bytes / 50 + 2 * MIB;
    Ok(with_tables.max(SMALLEST).next_multiple_of(MIB))
}

/// Writes a FAT32 file system of `size` bytes to a new sparse file.
///
/// # Errors
/// As [`make`], or when the file cannot be written.
pub fn write(out: &Path, size: u64, label: &str, volume_id: u32, files: &[EspFile]) -> io::Result<()> {
    use fs::os::unix::fs::FileExt as _;
    let made = make(size, label, volume_id, files)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).open(out)?;
    file.set_len(size)?;
    made.pieces().try_for_each(|(at, piece)| file.write_all_at(piece, at))?;
    file.sync_all()
}

/// Makes a FAT32 file system of `size` bytes.
///
/// `volume_id` is the FAT serial number, eight hexadecimal digits in `/dev/disk/by-uuid`.
///
/// # Errors
/// When a file cannot be read, or they do not fit.
pub fn make(size: u64, label: &str, volume_id: u32, files: &[EspFile]) -> io::Result<Sparse> {
    let mut disk = Sparse::new(size);
    let mut name = [b' '; 11];
    for (to, from) in name.iter_mut().zip(label.bytes()) {
        *to = from;
    }
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).volume_id(volume_id).volume_label(name);
    fatfs::format_volume(&mut disk, options)?;
    disk.seek(SeekFrom::Start(0))?;
    let options = FsOptions::new().time_provider(&IMAGE_TIME).update_accessed_date(false);
    let volume = fatfs::FileSystem::new(&mut disk, options)?;
    {
        let root = volume.root_dir();
        for item in files {
            let mut above = String::new();
            let (folders, _) = item.path.rsplit_once('/').unwrap_or(("", &item.path));
            for part in folders.split('/').filter(|part| !part.is_empty()) {
                above = if above.is_empty() { part.to_owned() } else { format!("{above}/{part}") };
                root.create_dir(&above)?;
            }
            let mut target = root.create_file(&item.path)?;
            target.truncate()?;
            match &item.content {
                EspContent::Bytes(bytes) => target.write_all(bytes)?,
                EspContent::File(path) => {
                    io::copy(
                        &mut BufReader::with_capacity(COPIED_AT_ONCE, fs::File::open(path)?),
                        &mut target,
                    )?;
                }
            }
            target.flush()?;
        }
    }
    volume.unmount()?;
    disk.seek(SeekFrom::Start(0))?;
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(folder: &Path, name: &str) -> PathBuf {
        let files = [
            EspFile { path: "EFI/BOOT/BOOTX64.EFI".into(), content: EspContent::Bytes(vec![7; 100_000]) },
            EspFile {
                path: "EFI/Linux/xenolith_0.1.0+3-0.efi".into(),
                content: EspContent::Bytes(b"boot file".to_vec()),
            },
        ];
        let out = folder.join(name);
        write(&out, 64 << 20, "XENO_ESP", 0x1234_5678, &files).unwrap();
        out
    }

    #[test]
    fn two_runs_give_the_same_bytes_and_the_files_are_there() {
        use std::{io::Read, os::unix::fs::MetadataExt};
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (build(folder.path(), "a"), build(folder.path(), "b"));
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
        assert!(fs::metadata(&first).unwrap().blocks() * 512 < 4 << 20, "the file is sparse");
        let volume =
            fatfs::FileSystem::new(fs::File::open(&first).unwrap().into_parts().0, FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), FatType::Fat32);
        let mut text = String::new();
        let mut file = volume.root_dir().open_file("EFI/Linux/xenolith_0.1.0+3-0.efi").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "boot file");
    }

    #[test]
    fn files_that_do_not_fit_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let files = [EspFile { path: "big".into(), content: EspContent::Bytes(vec![1; 40 << 20]) }];
        assert!(write(&folder.path().join("x"), 36 << 20, "X", 1, &files).is_err());
        assert!(smallest_size(&files).unwrap() > 40 << 20);
    }
}
