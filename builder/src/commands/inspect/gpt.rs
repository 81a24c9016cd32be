//! Reading a GUID partition table.
//!
//! ```text
//!   LBA 0      protective MBR (an ISO that is also a disk has more in it); not looked at
//!   LBA 1      header, 92 bytes: signature, CRC of itself, where the entries are, CRC of them, where the backup is
//!   LBA 2…     entries of 128 bytes or a larger power of two
//!   last LBA   backup header, behind its own copy of the entries
//! ```
//! Every number in it comes from outside: each is checked before it is used. Not the `gpt` crate, which writes our
//! tables: version 4.1 panics at entries of any other size than 128 bytes and reads as many as the header says.
//! Source: UEFI 2.10 §5.3.

use std::io;

use serde::Serialize;
use uuid::Uuid;
use xenolith_layout::{SectorSize, TypeGuid};

use super::window::Window;

/// Entries that are read at most; tables have 128, an ISO's has 248.
const MAX_ENTRIES: u32 = 1024;
/// An entry's largest size.
const MAX_ENTRY: u32 = 4096;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The disk's GUID.
    pub guid: Uuid,
    /// Bytes in a sector: what positions count in.
    pub sector: u64,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// How the copy at the end is.
    pub backup: Backup,
}

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its label.
    pub label: String,
    /// The type's name, if it is one that we know.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// The type.
    pub type_guid: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, which belongs to it.
    pub last_lba: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Attribute bits.
    pub attributes: u64,
}

/// The copy of the table at the end of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Backup {
    /// It says the same.
    Same,
    /// It says something else.
    Differs,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// Why there is no table to show.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// No signature in the second sector.
    #[error("there is no partition table (GPT)")]
    Missing,
    /// The file ends too early.
    #[error("the partition table cannot be read")]
    Read(#[source] io::Error),
    /// A field has a value that it cannot have.
    #[error("the partition table is damaged: {field} is {value}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// A sum does not match.
    #[error("the partition table is damaged: the CRC of its {0} does not match")]
    Crc(&'static str),
}

/// The names of the types that stand on our disks and media.
fn type_name(guid: Uuid) -> Option<&'static str> {
    let names = [
        (TypeGuid::ESP, "EFI system"),
        (TypeGuid::BIOS_BOOT, "BIOS boot"),
        (TypeGuid::ROOT, "Xenolith root"),
        (TypeGuid::VERITY, "Xenolith verity"),
        (TypeGuid::STATE, "Xenolith state"),
        (TypeGuid::LOCAL_SR, "Xenolith local SR"),
        (TypeGuid::RESERVED, "Xenolith reserved"),
    ];
    let basic = uuid::uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
    let known = names.into_iter().find(|(kind, _)| kind.uuid() == guid).map(|(_, name)| name);
    known.or((guid == basic).then_some("basic data"))
}

/// Reads the table of a disk with either sector size.
///
/// # Errors
/// [`GptError::Missing`] if neither size finds a header, else what is wrong with the one that was found.
pub fn read(disk: &Window) -> Result<Table, GptError> {
    let mut found = GptError::Missing;
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let sector = sector.bytes().get();
        match read_with(disk, sector) {
            Err(GptError::Missing) => {}
            Err(error) => found = error,
            Ok(table) => return Ok(table),
        }
    }
    Err(found)
}

fn read_with(disk: &Window, sector: u64) -> Result<Table, GptError> {
    let header = Header::read(disk, sector, 1)?;
    let partitions = entries(disk, sector, &header)?;
    let backup = match Header::read(disk, sector, header.alternate)
        .and_then(|backup| Ok((backup.guid, entries(disk, sector, &backup)?)))
    {
        Ok(copy) if copy == (header.guid, partitions.clone()) => Backup::Same,
        Ok(_) => Backup::Differs,
        Err(GptError::Missing) => Backup::Unreadable { why: "it is not where the table says".into() },
        Err(error) => Backup::Unreadable { why: error.to_string() },
    };
    Ok(Table { guid: header.guid, sector, partitions, backup })
}

struct Header {
    guid: Uuid,
    alternate: u64,
    entries_at: u64,
    count: u32,
    size: u32,
    crc: u32,
}

impl Header {
    fn read(disk: &Window, sector: u64, at: u64) -> Result<Self, GptError> {
        let Some(offset) =
            at.checked_mul(sector).filter(|offset| offset.saturating_add(sector) <= disk.len())
        else {
            return Err(GptError::Missing);
        };
        let bytes: [u8; 512] = disk.array(offset).map_err(GptError::Read)?;
        if !bytes.starts_with(b"EFI PART") {
            return Err(GptError::Missing);
        }
        let length = u32_at(&bytes, 12);
        if !(92..=512).contains(&length) {
            return Err(field("the length of its header", length.into()));
        }
        let mut summed = bytes[..usize::try_from(length).unwrap_or(512)].to_vec();
        summed[16..20].fill(0);
        if crc32fast::hash(&summed) != u32_at(&bytes, 16) {
            return Err(GptError::Crc("header"));
        }
        let header = Self {
            guid: guid_at(&bytes, 56),
            alternate: u64_at(&bytes, 32),
            entries_at: u64_at(&bytes, 72),
            count: u32_at(&bytes, 80),
            size: u32_at(&bytes, 84),
            crc: u32_at(&bytes, 88),
        };
        if header.count > MAX_ENTRIES {
            return Err(field("the number of its entries", header.count.into()));
        }
        if !header.size.is_power_of_two() || !(128..=MAX_ENTRY).contains(&header.size) {
            return Err(field("the size of an entry", header.size.into()));
        }
        Ok(header)
    }
}

fn entries(disk: &Window, sector: u64, header: &Header) -> Result<Vec<Partition>, GptError> {
    let size = usize::try_from(header.size).unwrap_or(usize::MAX);
    let count = usize::try_from(header.count).unwrap_or(usize::MAX);
    let at = header
        .entries_at
        .checked_mul(sector)
        .ok_or_else(|| field("the place of its entries", header.entries_at))?;
    let mut table = vec![0; size.saturating_mul(count)];
    disk.read_exact_at(&mut table, at).map_err(GptError::Read)?;
    if crc32fast::hash(&table) != header.crc {
        return Err(GptError::Crc("entries"));
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(table.chunks_exact(size.max(1))) {
        let type_guid = guid_at(entry, 0);
        if type_guid.is_nil() {
            continue;
        }
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let sectors = last.checked_sub(first).and_then(|length| length.checked_add(1));
        let size = sectors.and_then(|sectors| sectors.checked_mul(sector));
        let offset = first.checked_mul(sector);
        let (Some(size), Some(offset)) = (size, offset) else {
            return Err(field("the last sector of a partition", last));
        };
        let units: Vec<u16> =
            entry[56..128].as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        partitions.push(Partition {
            number,
            label: String::from_utf16_lossy(&units[..end]),
            kind: type_name(type_guid),
            type_guid,
            guid: guid_at(entry, 16),
            first_lba: first,
            last_lba: last,
            offset,
            size,
            attributes: u64_at(entry, 48),
        });
    }
    Ok(partitions)
}

fn field(field: &'static str, value: u64) -> GptError {
    GptError::Field { field, value }
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
