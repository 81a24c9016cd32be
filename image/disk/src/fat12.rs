//! Reading the root folder of a small FAT12 volume that is in memory as a whole.
//!
//! ```text
//!   sector 0     BPB: sector and cluster sizes, number and length of the FATs, entries of the root folder
//!   reserved     up to the first FAT
//!   FAT          12 bits per cluster: the next one of the file; ≥ 0xff8 ends it
//!   root folder  of fixed length
//!   clusters     number 2 is the first
//! ```
//! Not the `fatfs` crate, which writes our volumes: version 0.3.6 panics at cluster numbers 0 and 1 in a chain, and follows a ring for
//! ever; what is read here may have been anywhere. Folders are not looked into: other systems leave theirs on a stick.
//! Source: Microsoft FAT32 File System Specification, version 1.03.

use crate::long_name::LongName;

/// From here on it is FAT16.
const MAX_CLUSTERS: usize = 4085;
/// Numbers from here on end a chain.
const END: u16 = 0xff8;

/// Why a volume cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// It is something else.
    #[error("there is no FAT12 file system")]
    Missing,
    /// Something in it cannot be.
    #[error("the FAT12 file system is damaged: {0}")]
    Damaged(String),
}

/// A file in the root folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u32,
    first: u16,
}

/// A volume whose root folder was listed.
pub struct Volume<'a> {
    /// Its label, if the root folder has one.
    pub label: Option<String>,
    /// The files of the root folder.
    pub files: Vec<Entry>,
    fat: &'a [u8],
    clusters: &'a [u8],
    cluster: usize,
}

/// Where the parts of a volume lie.
pub(crate) struct Shape {
    pub(crate) fat: std::ops::Range<usize>,
    pub(crate) root: std::ops::Range<usize>,
    data: std::ops::Range<usize>,
    cluster: usize,
}

impl Shape {
    /// Reads the BPB of a volume.
    pub(crate) fn of(volume: &[u8]) -> Result<Self, FatError> {
        let bpb = volume.first_chunk::<512>().ok_or(FatError::Missing)?;
        let (sector, per_cluster) = (usize::from(u16_at(bpb, 11)), usize::from(bpb[13]));
        if bpb[510..] != [0x55, 0xaa] || ![512, 1024, 2048, 4096].contains(&sector) {
            return Err(FatError::Missing);
        }
        let fat_sectors = usize::from(u16_at(bpb, 22));
        // Of FAT32 it is 0.
        if fat_sectors == 0 {
            return Err(FatError::Missing);
        }
        let damaged = |what: &str| FatError::Damaged(what.to_owned());
        let (reserved, fats) = (usize::from(u16_at(bpb, 14)), usize::from(bpb[16]));
        let root_bytes = usize::from(u16_at(bpb, 17)) * 32;
        if reserved == 0 || fats == 0 || root_bytes == 0 || !per_cluster.is_power_of_two() {
            return Err(damaged("its first sector describes no volume"));
        }
        let total = match u16_at(bpb, 19) {
            0 => usize::try_from(u32_at(bpb, 32)).map_err(|_| damaged("its length"))?,
            sectors => usize::from(sectors),
        };
        // Products of numbers of at most 32 and 16 bits: they fit into 64.
        let fat_at = reserved * sector;
        let root_at = fat_at + fats * fat_sectors * sector;
        let data_at = root_at + root_bytes.next_multiple_of(sector);
        let end = total.checked_mul(sector).filter(|end| *end <= volume.len());
        let Some(end) = end.filter(|end| data_at < *end) else {
            return Err(damaged("it does not fit into its partition"));
        };
        let cluster = per_cluster * sector;
        let count = (end - data_at) / cluster;
        if count >= MAX_CLUSTERS {
            return Err(FatError::Missing);
        }
        let fat = fat_at..fat_at + fat_sectors * sector;
        if fat.len() * 2 < (count + 2) * 3 {
            return Err(damaged("its table is too short"));
        }
        Ok(Self {
            fat,
            root: root_at..root_at + root_bytes,
            data: data_at..data_at + count * cluster,
            cluster,
        })
    }
}

impl<'a> Volume<'a> {
    /// Lists the root folder of `volume`.
    ///
    /// # Errors
    /// [`FatError`].
    pub fn open(volume: &'a [u8]) -> Result<Self, FatError> {
        let shape = Shape::of(volume)?;
        let (fat, clusters) = (&volume[shape.fat], &volume[shape.data]);
        let (mut label, mut files, mut long) = (None, Vec::new(), LongName::default());
        for entry in volume[shape.root].as_chunks::<32>().0 {
            match (entry[0], entry[11]) {
                (0, _) => break,
                (0xe5, _) => long = LongName::default(),
                (_, attributes) if attributes & 0x3f == 0x0f => long.take(entry),
                (_, attributes) if attributes & 0x08 != 0 => {
                    label = Some(String::from_utf8_lossy(&entry[..11]).trim_end().to_owned());
                    long = LongName::default();
                }
                (_, attributes) if attributes & 0x10 != 0 => long = LongName::default(),
                _ => {
                    let name = std::mem::take(&mut long).finish(entry);
                    files.push(Entry { name, size: u32_at(entry, 28), first: u16_at(entry, 26) });
                }
            }
        }
        Ok(Self { label, files, fat, clusters, cluster: shape.cluster })
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When its chain of clusters is broken, or shorter or longer than its length says.
    pub fn read(&self, file: &Entry) -> Result<Vec<u8>, FatError> {
        let damaged = |what: &str| FatError::Damaged(format!("{} {what}", file.name));
        let size = usize::try_from(file.size).map_err(|_| damaged("is too long"))?;
        if size > self.clusters.len() {
            return Err(damaged("is longer than the volume"));
        }
        let (mut bytes, mut at) = (Vec::with_capacity(size), file.first);
        // Each turn takes a cluster, so a ring ends when the length is reached.
        while bytes.len() < size {
            let start = usize::from(at).checked_sub(2).map(|number| number * self.cluster);
            let cluster = start.and_then(|start| self.clusters.get(start..start + self.cluster));
            let cluster = cluster.ok_or_else(|| damaged("goes on in a cluster that does not exist"))?;
            bytes.extend_from_slice(&cluster[..cluster.len().min(size - bytes.len())]);
            at = self.next(at);
        }
        if size > 0 && at < END {
            return Err(damaged("has more clusters than its length needs"));
        }
        Ok(bytes)
    }

    /// The number behind that of a cluster that exists.
    fn next(&self, cluster: u16) -> u16 {
        let at = usize::from(cluster) + usize::from(cluster) / 2;
        let pair = u16_at(self.fat, at);
        if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(
        *bytes[at..].first_chunk().expect("sectors, entries and tables are longer than their fields reach"),
    )
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        *bytes[at..].first_chunk().expect("sectors and entries are longer than their fields reach"),
    )
}
