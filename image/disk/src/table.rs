//! Finding one partition of a medium in its GUID partition table.
//!
//! A hybrid ISO counts in sectors of 512 bytes whatever the drive does, and on a CD the kernel makes no partitions of it. The bytes may
//! come from a worn-out stick or from anybody: every number is checked before it is used, and the work is bounded. Not the `gpt`
//! crate, which writes our tables: version 4.1 panics at entries of any other size than 128 bytes, and reads as many as the header says.
//! Source: UEFI 2.10 §5.3.

use std::io::{self, Read, Seek, SeekFrom};

use uuid::Uuid;
use xenolith_layout::TypeGuid;

/// What positions count in.
const SECTOR: u64 = 512;
/// Entries that are read at most; tables have 128, an ISO's has 248.
const MAX_ENTRIES: u32 = 1024;
/// An entry's largest size.
const MAX_ENTRY: u32 = 4096;

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// Why a partition cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The device or file.
    #[error("the partition table cannot be read")]
    Io(#[from] io::Error),
    /// No signature where a table begins.
    #[error("there is no partition table (GPT)")]
    Missing,
    /// A field that cannot be, or a sum that does not match.
    #[error("the partition table is damaged: {0}")]
    Damaged(&'static str),
}

/// The first partition of this type, if there is one.
///
/// # Errors
/// [`TableError`].
pub fn find(disk: &mut (impl Read + Seek), kind: TypeGuid) -> Result<Option<Place>, TableError> {
    let mut header = [0; 512];
    disk.seek(SeekFrom::Start(SECTOR))?;
    match disk.read_exact(&mut header) {
        // So small that there is no room for one.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(TableError::Missing),
        read => read?,
    }
    if !header.starts_with(b"EFI PART") {
        return Err(TableError::Missing);
    }
    let length = usize::try_from(u32_at(&header, 12)).unwrap_or(usize::MAX);
    if !(92..=header.len()).contains(&length) {
        return Err(TableError::Damaged("the length of its header"));
    }
    let sum = u32_at(&header, 16);
    let mut summed = header[..length].to_vec();
    summed[16..20].fill(0);
    if crc32fast::hash(&summed) != sum {
        return Err(TableError::Damaged("the sum of its header"));
    }
    let (at, count, size) = (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84));
    if count > MAX_ENTRIES {
        return Err(TableError::Damaged("the number of its entries"));
    }
    if !size.is_power_of_two() || !(128..=MAX_ENTRY).contains(&size) {
        return Err(TableError::Damaged("the size of an entry"));
    }
    let at = at.checked_mul(SECTOR).ok_or(TableError::Damaged("the place of its entries"))?;
    // At most 4 MiB.
    let mut entries = Vec::new();
    let wanted = u64::from(count) * u64::from(size);
    disk.seek(SeekFrom::Start(at))?;
    disk.take(wanted).read_to_end(&mut entries)?;
    if entries.len() as u64 != wanted || crc32fast::hash(&entries) != u32_at(&header, 88) {
        return Err(TableError::Damaged("the sum of its entries"));
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let entry = entries.chunks_exact(size).find(|entry| guid_at(entry, 0) == kind.uuid());
    entry.map(place).transpose()
}

fn place(entry: &[u8]) -> Result<Place, TableError> {
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let sectors = last.checked_sub(first).and_then(|sectors| sectors.checked_add(1));
    let length = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
    let offset = first.checked_mul(SECTOR);
    match (offset, length) {
        (Some(offset), Some(length)) if offset.checked_add(length).is_some() => Ok(Place { offset, length }),
        _ => Err(TableError::Damaged("the place of a partition")),
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("headers and entries are longer than their fields reach")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(part(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(part(bytes, at))
}

fn guid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes_le(part(bytes, at))
}
