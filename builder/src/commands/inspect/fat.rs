//! Reading the file system of an ESP: FAT32 with long names.
//!
//! ```text
//!   sector 0     BPB: sector and cluster sizes, number and length of the FATs, the root folder's first cluster
//!   reserved     up to the first FAT
//!   FAT          one u32 per cluster: the next one of the file; ≥ 0x0ffffff8 ends it (upper four bits do not count)
//!   clusters     number 2 is the first
//! ```
//! Not the `fatfs` crate, which writes our ESPs: version 0.3.6 panics at cluster numbers 0 and 1 in a chain, and
//! follows a ring for ever; what is inspected here may come from a worn-out stick. The table is read at once: 16 MiB
//! for an ESP of 2 GiB.
//! Source: Microsoft FAT32 File System Specification, version 1.03.

use std::{
    collections::BTreeSet,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use xenolith_disk::long_name::LongName;

use super::window::Window;

/// The largest table that is read.
const MAX_FAT: u64 = 256 << 20;
/// A folder's largest size in bytes.
const MAX_FOLDER: usize = 4 << 20;
/// Files and folders that are listed at most.
const MAX_ENTRIES: usize = 10_000;
/// How deep folders may lie.
const MAX_DEPTH: usize = 8;
const END: u32 = 0x0fff_fff8;
const NUMBER: u32 = 0x0fff_ffff;

/// Why a FAT file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// It is something else.
    #[error("there is no FAT32 file system")]
    Missing,
    /// The file ends too early.
    #[error("{what} of the FAT file system cannot be read")]
    Read {
        /// What was to be read.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Something in it cannot be.
    #[error("the FAT file system is damaged: {0}")]
    Damaged(String),
}

/// A file of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FatFile {
    /// Its path, without a `/` in front.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    first: u32,
}

/// A FAT32 volume that was listed.
pub struct Volume {
    disk: Window,
    fat: Vec<u32>,
    data_at: u64,
    cluster: u64,
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: u32,
    /// Bytes in clusters that are in use.
    pub used: u64,
    /// Its files, by path.
    pub files: Vec<FatFile>,
}

impl Volume {
    /// Reads table and folders.
    ///
    /// # Errors
    /// [`FatError::Missing`] if there is no FAT32; what is wrong otherwise.
    pub fn open(disk: Window) -> Result<Self, FatError> {
        let bpb: [u8; 512] = disk.array(0).map_err(|_| FatError::Missing)?;
        let (sector, per_cluster) = (u64::from(u16_at(&bpb, 11)), u64::from(bpb[13]));
        let sixteen_bit_fat = u16_at(&bpb, 22) != 0;
        if bpb[510..] != [0x55, 0xaa] || ![512, 1024, 2048, 4096].contains(&sector) || sixteen_bit_fat {
            return Err(FatError::Missing);
        }
        let fats = u64::from(bpb[16]);
        let (total, fat_sectors) = (u64::from(u32_at(&bpb, 32)), u64::from(u32_at(&bpb, 36)));
        let reserved = u64::from(u16_at(&bpb, 14));
        let data = reserved + fats * fat_sectors;
        if !per_cluster.is_power_of_two() || fats == 0 || fat_sectors == 0 || reserved == 0 || data >= total {
            return Err(FatError::Damaged("its first sector describes no volume".into()));
        }
        if total * sector > disk.len() {
            return Err(FatError::Damaged(format!(
                "it claims {} bytes and lies in {}",
                total * sector,
                disk.len()
            )));
        }
        let clusters = (total - data) / per_cluster;
        let entries = (clusters + 2).min(fat_sectors * sector / 4);
        let fat = disk
            .part(reserved * sector, entries * 4)
            .ok_or_else(|| FatError::Damaged("its table lies outside of it".into()))?
            .to_vec(MAX_FAT)
            .map_err(|source| FatError::Read { what: "the table".into(), source })?;
        let fat: Vec<u32> =
            fat.as_chunks().0.iter().map(|entry| u32::from_le_bytes(*entry) & NUMBER).collect();
        let cluster = per_cluster * sector;
        let in_use = fat.iter().skip(2).filter(|entry| **entry != 0).count() as u64;
        let mut volume = Self {
            disk,
            fat,
            data_at: data * sector,
            cluster,
            label: String::from_utf8_lossy(&bpb[71..82]).trim_end().to_owned(),
            serial: u32_at(&bpb, 67),
            used: in_use * cluster,
            files: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let mut found = Found { files: Vec::new(), entries: 0 };
        volume.list(u32_at(&bpb, 44) & NUMBER, "", 0, &mut seen, &mut found)?;
        found.files.sort_by(|a, b| a.path.cmp(&b.path));
        volume.files = found.files;
        Ok(volume)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When it is larger than `limit`, or its chain of clusters is broken.
    pub fn read(&self, file: &FatFile, limit: u64) -> Result<Vec<u8>, FatError> {
        let failed = |source| FatError::Read { what: file.path.clone(), source };
        if file.size > limit {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        if file.size == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = self.chain(file.first, file.size.div_ceil(self.cluster), &file.path)?;
        let size = usize::try_from(file.size).unwrap_or(usize::MAX);
        if bytes.len() < size {
            return Err(FatError::Damaged(format!("{} ends before its length", file.path)));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// The bytes of up to `most` clusters of a chain, neighbours in one read.
    fn chain(&self, first: u32, most: u64, what: &str) -> Result<Vec<u8>, FatError> {
        let mut bytes = Vec::new();
        let mut disk = self.disk.clone();
        let (mut at, mut left) = (first, most.min(self.fat.len() as u64));
        while left > 0 && at < END {
            let start = at;
            let mut count = 0;
            loop {
                let next = *self.entry(at, what)?;
                count += 1;
                left -= 1;
                let neighbour = next == at + 1;
                at = next;
                if !neighbour || left == 0 {
                    break;
                }
            }
            let length = count * self.cluster;
            disk.seek(SeekFrom::Start(self.data_at + u64::from(start - 2) * self.cluster))
                .and_then(|_| (&mut disk).take(length).read_to_end(&mut bytes))
                .and_then(|read| {
                    if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
                })
                .map_err(|source| FatError::Read { what: what.into(), source })?;
        }
        Ok(bytes)
    }

    fn entry(&self, cluster: u32, what: &str) -> Result<&u32, FatError> {
        let index = usize::try_from(cluster).ok().filter(|index| *index >= 2);
        index.and_then(|index| self.fat.get(index)).ok_or_else(|| {
            FatError::Damaged(format!("{what} goes on in cluster {cluster}, which does not exist"))
        })
    }

    fn list(
        &self,
        first: u32,
        above: &str,
        depth: usize,
        seen: &mut BTreeSet<u32>,
        found: &mut Found,
    ) -> Result<(), FatError> {
        let shown = if above.is_empty() { "the root folder" } else { above };
        if depth > MAX_DEPTH || !seen.insert(first) {
            return Err(FatError::Damaged(format!("{shown} is a ring or too deep")));
        }
        let most = (MAX_FOLDER as u64).div_ceil(self.cluster);
        let bytes = self.chain(first, most, shown)?;
        let mut long = LongName::default();
        for entry in bytes.as_chunks::<32>().0 {
            match (entry[0], entry[11]) {
                (0, _) => break,
                (0xe5, _) => long = LongName::default(),
                (_, attributes) if attributes & 0x3f == 0x0f => long.take(entry),
                (_, attributes) if attributes & 0x08 != 0 => long = LongName::default(),
                (_, attributes) => {
                    let name = std::mem::take(&mut long).finish(entry);
                    if name == "." || name == ".." {
                        continue;
                    }
                    found.entries += 1;
                    if found.entries > MAX_ENTRIES {
                        return Err(FatError::Damaged(format!("it has more than {MAX_ENTRIES} files")));
                    }
                    let path = if above.is_empty() { name } else { format!("{above}/{name}") };
                    let first = u32::from(u16_at(entry, 20)) << 16 | u32::from(u16_at(entry, 26));
                    if attributes & 0x10 != 0 {
                        self.list(first & NUMBER, &path, depth + 1, seen, found)?;
                    } else {
                        found.files.push(FatFile {
                            path,
                            size: u32_at(entry, 28).into(),
                            first: first & NUMBER,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

struct Found {
    files: Vec<FatFile>,
    entries: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(
        *bytes[at..].first_chunk().expect("sectors and entries are longer than their fields reach"),
    )
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        *bytes[at..].first_chunk().expect("sectors and entries are longer than their fields reach"),
    )
}
