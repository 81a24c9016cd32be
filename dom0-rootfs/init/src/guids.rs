//! Unique GUIDs of partitions, read from the disks' own tables.
//!
//! The loader names its partition by GUID, and Linux 6.12 does not tell GUIDs in sysfs (`PARTUUID` in
//! `uevent` came later; where it is there, nothing is read). Without udev somebody has to look, so this does:
//! the header's sector, then the entries.
//!
//! Only disks on which the kernel has found partitions are read, and each only once until it changes: a disk
//! that is dying can hold a read up for a minute. The tables are input from outside. They decide only in
//! which order disks are tried, so no checksum is compared, but no bytes may end this program either; that is
//! why the `gpt` crate (4.1), which panics on entries of another size than 128 bytes, is not used here.
//! Source: UEFI 2.10 §5.3.2 (header), §5.3.3 (entries).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use uuid::Uuid;

use crate::blocks::Disk;
use crate::console::note;

/// More entries than any disk has; the usual table has 128.
const MOST_ENTRIES: u32 = 1024;

/// What was read, by the disk's name.
#[derive(Clone, Debug, Default)]
pub struct Guids {
    known: BTreeMap<String, Known>,
}

/// The numbers of the partitions that the kernel showed then, and what the table says about them.
#[derive(Clone, Debug)]
struct Known {
    numbers: Vec<u32>,
    guids: BTreeMap<u32, Uuid>,
}

impl Guids {
    /// Completes the partitions of these disks, whose nodes are below `dev`.
    pub fn complete(&mut self, disks: &mut [Disk], dev: &Path) {
        for disk in disks {
            let numbers: Vec<u32> = disk.partitions.iter().map(|partition| partition.number).collect();
            if disk.partitions.iter().all(|partition| partition.uuid.is_some()) {
                continue;
            }
            if self.known.get(&disk.name).is_none_or(|known| known.numbers != numbers) {
                let guids = read(&dev.join(&disk.name), disk).unwrap_or_else(|error| {
                    note(format_args!("cannot read the partition table of {}: {error}", disk.name));
                    BTreeMap::new()
                });
                self.known.insert(disk.name.clone(), Known { numbers, guids });
            }
            let Some(known) = self.known.get(&disk.name) else { continue };
            for partition in &mut disk.partitions {
                partition.uuid = partition.uuid.or_else(|| known.guids.get(&partition.number).copied());
            }
        }
    }

    /// A disk or partition came or changed.
    pub fn changed(&mut self, device: &str) {
        self.known.retain(|disk, _| !device.starts_with(disk.as_str()));
    }
}

/// By the first header, else by the one in the last sector.
fn read(node: &Path, disk: &Disk) -> io::Result<BTreeMap<u32, Uuid>> {
    let device = fs_err::File::open(node)?;
    let sector = u64::from(disk.sector);
    let last = disk.size.get().checked_div(sector).and_then(|sectors| sectors.checked_sub(1));
    for header in [Some(1), last].into_iter().flatten() {
        let mut bytes = [0; 92];
        device.file().read_exact_at(&mut bytes, header * sector)?;
        let Some(table) = Table::parse(&bytes, sector) else { continue };
        let mut entries = vec![0; table.entries * table.size];
        device.file().read_exact_at(&mut entries, table.at)?;
        return Ok(guids(&entries, table.size));
    }
    Ok(BTreeMap::new()) // another kind of table
}

/// Where the entries lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    at: u64,
    entries: usize,
    size: usize,
}

impl Table {
    fn parse(header: &[u8; 92], sector: u64) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let first = u64::from_le_bytes(*header.get(72..)?.first_chunk()?);
        let (entries, size) = (word(80)?, word(84)?);
        let is_sane =
            header.starts_with(b"EFI PART") && entries <= MOST_ENTRIES && (128..=4096).contains(&size);
        let at = first.checked_mul(sector).filter(|_| is_sane)?;
        // Offsets are signed in the kernel.
        let at = i64::try_from(at).ok().and_then(|at| u64::try_from(at).ok())?;
        Some(Self { at, entries: usize::try_from(entries).ok()?, size: usize::try_from(size).ok()? })
    }
}

/// Partition numbers with their unique GUIDs; an entry without a type is unused.
fn guids(entries: &[u8], size: usize) -> BTreeMap<u32, Uuid> {
    let guid = |entry: &[u8], at: usize| Some(Uuid::from_bytes_le(*entry.get(at..)?.first_chunk()?));
    (1..)
        .zip(entries.chunks_exact(size))
        .filter(|(_, entry)| guid(entry, 0).is_some_and(|kind| !kind.is_nil()))
        .filter_map(|(number, entry)| Some((number, guid(entry, 16)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{self, tests::fixture};
    use gpt::GptConfig;
    use gpt::disk::LogicalBlockSize;

    /// A file that stands for the disk `vda` of 8 GiB, with two partitions.
    fn dev(block: LogicalBlockSize) -> (tempfile::TempDir, BTreeMap<u32, Uuid>) {
        let dev = tempfile::tempdir().unwrap();
        let file = fs_err::File::create(dev.path().join("vda")).unwrap();
        file.set_len(8 << 30).unwrap();
        let file = fs_err::OpenOptions::new().read(true).write(true).open(dev.path().join("vda")).unwrap();
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(block)
            .create_from_device(file.into_parts().0, None)
            .unwrap();
        for name in ["xenolith-esp", "xenolith-root-a"] {
            table.add_partition(name, 1 << 20, gpt::partition_types::BASIC, 0, None).unwrap();
        }
        let guids =
            table.partitions().iter().map(|(number, partition)| (*number, partition.part_guid)).collect();
        table.write().unwrap();
        (dev, guids)
    }

    fn shown(sector: u32) -> Vec<Disk> {
        let sys = fixture(&["vda disk", " vda1 xenolith-esp", " vda2 xenolith-root-a", "vdb disk"]);
        let mut disks = blocks::disks(sys.path());
        disks.iter_mut().for_each(|disk| disk.sector = sector);
        disks
    }

    fn found(disks: &[Disk]) -> BTreeMap<u32, Uuid> {
        let partitions = disks[0].partitions.iter();
        partitions.filter_map(|partition| Some((partition.number, partition.uuid?))).collect()
    }

    #[test]
    fn guids_are_read_for_both_sector_sizes() {
        for (block, sector) in [(LogicalBlockSize::Lb512, 512), (LogicalBlockSize::Lb4096, 4096)] {
            let (dev, guids) = dev(block);
            let mut disks = shown(sector);
            Guids::default().complete(&mut disks, dev.path());
            assert_eq!(found(&disks), guids);
        }
    }

    #[test]
    fn a_lost_first_header_is_made_up_for_by_the_last() {
        let (dev, guids) = dev(LogicalBlockSize::Lb512);
        let file = fs_err::OpenOptions::new().write(true).open(dev.path().join("vda")).unwrap();
        file.file().write_all_at(&[0; 512], 512).unwrap();
        let mut disks = shown(512);
        Guids::default().complete(&mut disks, dev.path());
        assert_eq!(found(&disks), guids);
    }

    #[test]
    fn a_disk_is_read_once_until_it_changes() {
        let (dev, guids) = dev(LogicalBlockSize::Lb512);
        let mut known = Guids::default();
        known.complete(&mut shown(512), dev.path());
        fs_err::remove_file(dev.path().join("vda")).unwrap();
        let mut disks = shown(512);
        known.complete(&mut disks, dev.path());
        assert_eq!(found(&disks), guids, "from memory");
        known.changed("vda1");
        let mut disks = shown(512);
        known.complete(&mut disks, dev.path());
        assert!(found(&disks).is_empty(), "the disk cannot be read any more");
    }

    #[test]
    fn odd_tables_are_passed_over() {
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[80] = 128;
        for (size, first, sane) in
            [(128_u32, 2_u64, true), (0, 2, false), (8192, 2, false), (128, u64::MAX / 512, false)]
        {
            header[84..88].copy_from_slice(&size.to_le_bytes());
            header[72..80].copy_from_slice(&first.to_le_bytes());
            assert_eq!(Table::parse(&header, 512).is_some(), sane, "{size} {first}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, size in 128_usize..4097) {
            let mut header = [0; 92];
            header.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
            let _ = Table::parse(&header, 512);
            header[..8].copy_from_slice(b"EFI PART");
            let _ = Table::parse(&header, 4096);
            let _ = guids(&bytes, size);
        }
    }
}
