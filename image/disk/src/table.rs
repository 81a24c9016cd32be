//! Reading a GUID partition table.
//!
//! ```text
//!   LBA 0      protective MBR (an ISO that is also a disk has more in it); not looked at
//!   LBA 1      header, 92 bytes: signature, CRC of itself, where the entries are, CRC of them, where the backup is
//!   LBA 2…     entries of 128 bytes or a larger power of two
//!   last LBA   backup header, behind its own copy of the entries
//! ```
//! The bytes may come from a worn-out stick or from anybody: every number is checked before it is used, and the work is bounded. Not
//! the `gpt` crate, which writes our tables: version 4.1 panics at entries of any other size than 128 bytes, and reads as many as the
//! header says. Source: UEFI 2.10 §5.3.

use std::io::{self, Read, Seek, SeekFrom};

use uuid::Uuid;
use xenolith_layout::{SectorSize, TypeGuid};

/// Entries that are read at most; tables have 128, an ISO's has 248.
const MAX_ENTRIES: u32 = 1024;
/// An entry's largest size.
const MAX_ENTRY: u32 = 4096;
/// Where the first header lies, in sectors.
const FIRST_HEADER: u64 = 1;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub guid: Uuid,
    /// Where the other header should be, in sectors.
    pub alternate_lba: u64,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
}

/// An entry of the table that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// What it is for.
    pub kind: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, which belongs to it.
    pub last_lba: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Its label.
    pub label: String,
    /// Where that is in bytes.
    pub place: Place,
}

/// Where a partition lies, in bytes. The end is a number too, but may be behind the end of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

/// Why there is no table to read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The device or file, or it ends too early.
    #[error("the partition table cannot be read")]
    Read(#[from] io::Error),
    /// No signature where a table begins.
    #[error("there is no partition table (GPT)")]
    Missing,
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

impl Table {
    /// The table at the start of a disk with this sector size. A hybrid ISO counts in 512 bytes whatever the drive does.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read(disk: &mut (impl Read + Seek), sector: SectorSize) -> Result<Self, TableError> {
        Self::read_at(disk, sector, FIRST_HEADER)
    }

    /// The table whose header lies in this sector.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn read_at(disk: &mut (impl Read + Seek), sector: SectorSize, lba: u64) -> Result<Self, TableError> {
        let sector = sector.bytes().get();
        let header = Header::read(disk, lba.checked_mul(sector).ok_or(TableError::Missing)?)?;
        let at = header.entries_at.checked_mul(sector);
        disk.seek(SeekFrom::Start(at.ok_or(field("the place of its entries", header.entries_at))?))?;
        // At most 4 MiB.
        let wanted = u64::from(header.count) * u64::from(header.size);
        let mut entries = Vec::new();
        disk.take(wanted).read_to_end(&mut entries)?;
        if entries.len() as u64 != wanted {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if crc32fast::hash(&entries) != header.crc {
            return Err(TableError::Crc("entries"));
        }
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let used = (1..).zip(entries.chunks_exact(size)).filter(|(_, entry)| !guid_at(entry, 0).is_nil());
        let partitions = used.map(|(number, entry)| Partition::read(number, entry, sector));
        Ok(Self {
            guid: header.guid,
            alternate_lba: header.alternate,
            partitions: partitions.collect::<Result<_, _>>()?,
        })
    }

    /// The first partition of this type, if there is one.
    pub fn first(&self, kind: TypeGuid) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.kind == kind.uuid())
    }
}

impl Partition {
    fn read(number: u32, entry: &[u8], sector: u64) -> Result<Self, TableError> {
        let (first_lba, last_lba) = (u64_at(entry, 32), u64_at(entry, 40));
        let sectors = last_lba.checked_sub(first_lba).and_then(|sectors| sectors.checked_add(1));
        let length = sectors.and_then(|sectors| sectors.checked_mul(sector));
        let place = first_lba.checked_mul(sector).zip(length);
        let Some((offset, length)) = place.filter(|(offset, length)| offset.checked_add(*length).is_some())
        else {
            return Err(field("the last sector of a partition", last_lba));
        };
        let units: Vec<u16> =
            entry[56..128].as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        Ok(Self {
            number,
            kind: guid_at(entry, 0),
            guid: guid_at(entry, 16),
            first_lba,
            last_lba,
            attributes: u64_at(entry, 48),
            label: String::from_utf16_lossy(&units[..end]),
            place: Place { offset, length },
        })
    }
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
    fn read(disk: &mut (impl Read + Seek), at: u64) -> Result<Self, TableError> {
        let mut bytes = [0; 512];
        disk.seek(SeekFrom::Start(at))?;
        match disk.read_exact(&mut bytes) {
            // So small that there is no room for one.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(TableError::Missing),
            read => read?,
        }
        if !bytes.starts_with(b"EFI PART") {
            return Err(TableError::Missing);
        }
        let length = u32_at(&bytes, 12);
        if !(92..=512).contains(&length) {
            return Err(field("the length of its header", length.into()));
        }
        let mut summed = bytes[..usize::try_from(length).unwrap_or(512)].to_vec();
        summed[16..20].fill(0);
        if crc32fast::hash(&summed) != u32_at(&bytes, 16) {
            return Err(TableError::Crc("header"));
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

fn field(field: &'static str, value: u64) -> TableError {
    TableError::Field { field, value }
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
