//! Reading the file system of a CD: ISO 9660 with the names of Rock Ridge.
//!
//! ```text
//!   block 16      primary volume descriptor: volume id, the root folder's record      (blocks of 2048 bytes)
//!   block 17      perhaps the boot record of El Torito: where its catalogue is
//!   …             until the terminator, type 255
//!   record        length, first block, size, flags, name, and behind the name Rock Ridge's own fields:
//!                 NM the name as it was, CE more fields elsewhere
//! ```
//! A file over 4 GiB is several records with one name, one behind the other. All numbers are taken from their
//! little-endian half. Crates for this exist, but none that is kept up reads Rock Ridge and several extents.
//! Source: ECMA-119 §8.4, §9.1; IEEE P1282 draft 1.12 (Rock Ridge), §4.1.4; El Torito 1.0.

use std::{collections::BTreeSet, io};

use serde::Serialize;

use super::window::Window;

const BLOCK: u64 = 2048;
const FIRST_DESCRIPTOR: u64 = 16;
/// Descriptors that are looked at.
const MAX_DESCRIPTORS: u64 = 16;
/// Files and folders that are listed at most.
const MAX_ENTRIES: usize = 10_000;
/// How deep folders may lie.
const MAX_DEPTH: usize = 8;
/// A folder's largest size in bytes.
const MAX_FOLDER: u64 = 8 << 20;
/// How often a record's fields may go on elsewhere.
const MAX_CONTINUATIONS: usize = 4;

/// Why an ISO cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// No volume descriptor.
    #[error("there is no ISO 9660 file system")]
    Missing,
    /// The file ends too early.
    #[error("{what} of the ISO cannot be read")]
    Read {
        /// What was to be read.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Something in it cannot be.
    #[error("the ISO's file system is damaged: {0}")]
    Damaged(String),
}

/// What an ISO's file system says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The volume id.
    pub id: String,
    /// Bytes that the volume claims.
    pub size: u64,
    /// Its files, by path.
    pub files: Vec<IsoFile>,
    /// What firmware starts from a CD, if anything.
    pub boot_images: Vec<BootImage>,
}

/// A file of an ISO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IsoFile {
    /// Its path, from `/`.
    pub path: String,
    /// Where it begins in the ISO, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// An entry of the El Torito catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootImage {
    /// `EFI`, `BIOS` or the number of the platform.
    pub platform: String,
    /// Where the image begins in the ISO, in bytes.
    pub offset: u64,
}

/// Whether the bytes look like an ISO at all.
pub fn is_iso(disk: &Window) -> bool {
    disk.array::<6>(FIRST_DESCRIPTOR * BLOCK).is_ok_and(|head| head == *b"\x01CD001")
}

/// Reads volume, files and boot catalogue.
///
/// # Errors
/// [`IsoError::Missing`] without a volume descriptor; what is wrong otherwise.
pub fn read(disk: &Window) -> Result<Volume, IsoError> {
    let head: [u8; 2048] = disk.array(FIRST_DESCRIPTOR * BLOCK).map_err(|_| IsoError::Missing)?;
    if !head.starts_with(b"\x01CD001") {
        return Err(IsoError::Missing);
    }
    if u16::from_le_bytes([head[128], head[129]]) != 2048 {
        return Err(IsoError::Damaged("its blocks are not of 2048 bytes".into()));
    }
    let id = String::from_utf8_lossy(&head[40..72]).trim_end_matches([' ', '\0']).to_owned();
    let root = Record::read(disk, &head[156..190])?;
    let mut walk = Walk { disk, files: Vec::new(), entries: 0, seen: BTreeSet::new() };
    walk.folder(&root, "", 0)?;
    let mut files = walk.files;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Volume { id, size: u64::from(u32_at(&head, 80)) * BLOCK, files, boot_images: boot_images(disk) })
}

struct Walk<'a> {
    disk: &'a Window,
    files: Vec<IsoFile>,
    entries: usize,
    seen: BTreeSet<u64>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Record, path: &str, depth: usize) -> Result<(), IsoError> {
        let shown = if path.is_empty() { "/" } else { path };
        if depth > MAX_DEPTH || folder.size > MAX_FOLDER || !self.seen.insert(folder.offset) {
            return Err(IsoError::Damaged(format!("folder {shown} is a ring, too deep or too large")));
        }
        let bytes = self.disk.part(folder.offset, folder.size).ok_or_else(|| outside(shown))?;
        let bytes =
            bytes.to_vec(MAX_FOLDER).map_err(|source| IsoError::Read { what: shown.into(), source })?;
        let mut goes_on = false;
        // A record never crosses a block; what is left of a block is zeros.
        for block in bytes.chunks(2048) {
            let mut rest = block;
            while let Some(&length) = rest.first().filter(|length| **length != 0) {
                let length = usize::from(length);
                if length < 34 || length > rest.len() {
                    return Err(IsoError::Damaged(format!("a record in {shown} has {length} bytes")));
                }
                let (record, behind) = rest.split_at(length);
                rest = behind;
                self.entry(record, path, depth, &mut goes_on)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, bytes: &[u8], above: &str, depth: usize, goes_on: &mut bool) -> Result<(), IsoError> {
        let record = Record::read(self.disk, bytes)?;
        if record.is_self_or_parent {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(IsoError::Damaged(format!("it has more than {MAX_ENTRIES} files")));
        }
        let path = format!("{above}/{}", record.name);
        if record.is_folder {
            return self.folder(&record, &path, depth + 1);
        }
        if self.disk.part(record.offset, record.size).is_none() {
            return Err(outside(&path));
        }
        match self.files.last_mut() {
            Some(file) if *goes_on && file.path == path => {
                if file.offset + file.size != record.offset {
                    return Err(IsoError::Damaged(format!("{path} is in pieces")));
                }
                file.size += record.size;
            }
            Some(_) | None => self.files.push(IsoFile { path, offset: record.offset, size: record.size }),
        }
        *goes_on = record.goes_on;
        Ok(())
    }
}

fn outside(path: &str) -> IsoError {
    IsoError::Damaged(format!("{path} lies beyond the end of the file"))
}

/// A directory record.
struct Record {
    offset: u64,
    size: u64,
    name: String,
    is_folder: bool,
    is_self_or_parent: bool,
    goes_on: bool,
}

impl Record {
    /// `bytes` is at least 34 long.
    fn read(disk: &Window, bytes: &[u8]) -> Result<Self, IsoError> {
        let name_length = usize::from(bytes[32]);
        let name = bytes
            .get(33..33 + name_length)
            .ok_or_else(|| IsoError::Damaged("a name is longer than its record".into()))?;
        // Behind the name, at an even offset.
        let fields = bytes.get((33 + name_length).next_multiple_of(2)..).unwrap_or_default();
        let text = String::from_utf8_lossy(name);
        let plain = text.split(';').next().unwrap_or_default().trim_end_matches('.').to_owned();
        let name_of = rock_ridge_name(disk, fields).filter(|name| !name.contains('/') && !name.is_empty());
        Ok(Self {
            offset: u64::from(u32_at(bytes, 2)) * BLOCK,
            size: u64::from(u32_at(bytes, 10)),
            name: name_of.unwrap_or(plain),
            is_folder: bytes[25] & 0x02 != 0,
            is_self_or_parent: matches!(name, [0 | 1]),
            goes_on: bytes[25] & 0x80 != 0,
        })
    }
}

/// The name in the NM fields, if there are any.
fn rock_ridge_name(disk: &Window, fields: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    let mut fields = fields.to_vec();
    for _ in 0..=MAX_CONTINUATIONS {
        let mut elsewhere = None;
        let mut rest = fields.as_slice();
        while rest.len() >= 4 {
            let length = usize::from(rest[2]);
            let Some(field) = rest.get(..length).filter(|field| field.len() >= 4) else { break };
            match &field[..2] {
                b"NM" if field.len() >= 5 => name.extend_from_slice(&field[5..]),
                b"CE" if field.len() >= 28 => {
                    let at = u64::from(u32_at(field, 4)) * BLOCK + u64::from(u32_at(field, 12));
                    elsewhere = Some((at, u64::from(u32_at(field, 20)).min(BLOCK)));
                }
                b"ST" => break,
                _ => {}
            }
            rest = &rest[length..];
        }
        let Some((at, length)) = elsewhere else { break };
        fields = disk.part(at, length)?.to_vec(BLOCK).ok()?;
    }
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

/// What the boot catalogue lists; a damaged one lists nothing.
fn boot_images(disk: &Window) -> Vec<BootImage> {
    let descriptor = |number: u64| disk.array::<2048>((FIRST_DESCRIPTOR + number) * BLOCK).ok();
    let record = (1..MAX_DESCRIPTORS)
        .map_while(descriptor)
        .take_while(|block| &block[1..6] == b"CD001" && block[0] != 255)
        .find(|block| block[0] == 0 && block[7..].starts_with(b"EL TORITO SPECIFICATION"));
    let Some(record) = record else { return Vec::new() };
    let Ok(catalogue) = disk.array::<2048>(u64::from(u32_at(&record, 71)) * BLOCK) else { return Vec::new() };
    let mut platform = catalogue[1];
    let mut images = Vec::new();
    for entry in catalogue.as_chunks::<32>().0.iter().skip(1) {
        match entry[0] {
            0x90 | 0x91 => platform = entry[1],
            0x88 => {
                let platform = match platform {
                    0 => "BIOS".to_owned(),
                    0xef => "EFI".to_owned(),
                    other => format!("platform {other}"),
                };
                images.push(BootImage { platform, offset: u64::from(u32_at(entry, 8)) * BLOCK });
            }
            0x44 => {}
            _ => break,
        }
    }
    images
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        *bytes[at..].first_chunk().expect("records and descriptors are longer than their fields reach"),
    )
}
