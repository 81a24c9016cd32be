//! The disks and partitions that the kernel shows at this moment, read from sysfs.
//!
//! Only facts are kept that decide something: names, sizes, GPT names and GUIDs, whether a disk is an optical
//! drive or a RAM disk that firmware left behind. GPT names come from the kernel's own partition scan
//! (`PARTNAME` in the `uevent` file); GUIDs do too where the kernel tells them, else [`crate::guids`] reads
//! them. Device-mapper, loop and RAM devices are not disks here: nothing is ever looked for on them.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use xenolith_layout::Bytes;

use crate::uevent::Uevent;

/// What a disk is, as far as looking for a root goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskKind {
    /// An optical drive: 2048-byte sectors, no partitions.
    Optical,
    /// Persistent-memory device: a medium that firmware downloaded and left in RAM.
    Memory,
    /// Everything else.
    Disk,
}

/// A whole disk and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Kernel name, `vda`; it is also the name below `/dev`, as the kernel's `DEVNAME` gives it.
    pub name: String,
    /// What it is.
    pub kind: DiskKind,
    /// Its length; 0 for a drive without medium.
    pub size: Bytes,
    /// Its logical sector size in bytes.
    pub sector: u32,
    /// Whether the kernel refuses writes to it.
    pub read_only: bool,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Name below `/dev`, `vda3`.
    pub name: String,
    /// Its number in the partition table.
    pub number: u32,
    /// Its length.
    pub size: Bytes,
    /// Its GPT name, if it has one.
    pub label: Option<String>,
    /// Its unique GUID, if it is known.
    pub uuid: Option<Uuid>,
}

impl Disk {
    /// Its node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The first partition with this GPT name.
    pub fn labelled(&self, label: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.label.as_deref() == Some(label))
    }
}

impl Partition {
    /// Its node.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// The disks below `sys` (the mount point of sysfs), in the natural order of their names: `sdb` before `sdaa`,
/// `nvme2n1` before `nvme10n1`. A device that goes away while it is read is left out.
pub fn disks(sys: &Path) -> Vec<Disk> {
    let Ok(entries) = fs_err::read_dir(sys.join("block")) else { return Vec::new() };
    let mut disks: Vec<Disk> = entries.filter_map(|entry| disk(&entry.ok()?.path())).collect();
    disks.sort_by_key(|disk| natural(&disk.name));
    disks
}

fn disk(folder: &Path) -> Option<Disk> {
    let kernel_name = folder.file_name()?.to_str()?;
    const NOT_DISKS: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "nbd", "fd"];
    let is_hidden = number(&folder.join("hidden")).is_some_and(|hidden| hidden != 0);
    if is_hidden || NOT_DISKS.iter().any(|prefix| kernel_name.starts_with(prefix)) {
        return None;
    }
    let kind = match kernel_name {
        name if name.starts_with("sr") => DiskKind::Optical,
        name if name.starts_with("pmem") => DiskKind::Memory,
        _ => DiskKind::Disk,
    };
    let mut partitions: Vec<Partition> =
        fs_err::read_dir(folder).ok()?.filter_map(|entry| partition(&entry.ok()?.path())).collect();
    partitions.sort_by_key(|partition| partition.number);
    Some(Disk {
        name: device_name(folder)?,
        kind,
        size: size(folder)?,
        sector: number(&folder.join("queue/logical_block_size"))
            .and_then(|sector| u32::try_from(sector).ok())
            .unwrap_or(512),
        read_only: number(&folder.join("ro")).is_some_and(|read_only| read_only != 0),
        partitions,
    })
}

fn partition(folder: &Path) -> Option<Partition> {
    let number = u32::try_from(number(&folder.join("partition"))?).ok()?;
    let event = Uevent::from_file(&fs_err::read_to_string(folder.join("uevent")).ok()?);
    Some(Partition {
        name: device_name(folder)?,
        number,
        size: size(folder)?,
        label: event.get("PARTNAME").map(str::to_owned),
        uuid: event.get("PARTUUID").and_then(|text| Uuid::parse_str(text).ok()),
    })
}

/// The name below `/dev`. Some drivers put their nodes in a folder, and sysfs writes `!` for the slash.
fn device_name(folder: &Path) -> Option<String> {
    let event = Uevent::from_file(&fs_err::read_to_string(folder.join("uevent")).ok()?);
    let name = event.get("DEVNAME")?;
    let is_below_dev = !name.is_empty() && name.split('/').all(|part| !part.is_empty() && part != "..");
    is_below_dev.then(|| name.to_owned())
}

/// The kernel counts in units of 512 bytes here, whatever the sector size.
fn size(folder: &Path) -> Option<Bytes> {
    number(&folder.join("size"))?.checked_mul(512).map(Bytes::new)
}

fn number(file: &Path) -> Option<u64> {
    fs_err::read_to_string(file).ok()?.trim().parse().ok()
}

/// A key that sorts digits by value and names of one stem by length first.
fn natural(name: &str) -> (String, usize, String) {
    let stem: String = name.chars().take_while(|character| !character.is_ascii_digit()).collect();
    let kind = stem.chars().take(2).collect();
    let digits = |name: &str| {
        name.split_inclusive(|character: char| !character.is_ascii_digit())
            .map(|part| {
                if part.starts_with(|c: char| c.is_ascii_digit()) {
                    format!("{part:0>12}")
                } else {
                    part.into()
                }
            })
            .collect::<String>()
    };
    (kind, stem.len(), digits(name))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a sysfs fixture from lines: `vda 8G` for a disk, ` vda3 label uuid` for a partition of it.
    pub(crate) fn fixture(lines: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mut disk = PathBuf::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_partition = line.starts_with(' ');
            let folder =
                if is_partition { disk.join(words[0]) } else { root.path().join("block").join(words[0]) };
            fs_err::create_dir_all(folder.join("queue")).unwrap();
            let mut uevent = format!("DEVNAME={}\n", words[0].replace('!', "/"));
            if is_partition {
                let number = words[0].trim_start_matches(|c: char| !c.is_ascii_digit());
                let number = number.rsplit('p').next().unwrap();
                fs_err::write(folder.join("partition"), format!("{number}\n")).unwrap();
                uevent += &format!("PARTNAME={}\n", words[1]);
                if let Some(uuid) = words.get(2) {
                    uevent += &format!("PARTUUID={uuid}\n");
                }
            } else {
                disk = folder.clone();
                fs_err::write(folder.join("queue/logical_block_size"), "512\n").unwrap();
                fs_err::write(folder.join("ro"), "0\n").unwrap();
            }
            fs_err::write(folder.join("uevent"), uevent).unwrap();
            let size = if words.get(1) == Some(&"empty") { "0\n" } else { "16777216\n" };
            fs_err::write(folder.join("size"), size).unwrap();
        }
        root
    }

    #[test]
    fn names_labels_and_sizes_are_read() {
        let sys = fixture(&[
            "vda disk",
            " vda2 xenolith-esp 11111111-2222-4333-8444-555555555555",
            " vda10 xenolith-sr",
            " vda3 xenolith-root-a",
        ]);
        let disks = disks(sys.path());
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].size, Bytes::gib(8));
        assert_eq!(disks[0].partitions.iter().map(|p| p.number).collect::<Vec<_>>(), [2, 3, 10]);
        assert_eq!(disks[0].labelled("xenolith-root-a").unwrap().node(), Path::new("/dev/vda3"));
        assert!(disks[0].partitions[0].uuid.is_some());
        assert!(disks[0].partitions[1].uuid.is_none());
    }

    #[test]
    fn only_disks_are_disks() {
        let sys = fixture(&["loop0 x", "dm-0 x", "ram0 x", "zram0 x", "sr0 x", "pmem0 x", "sda x", "md0 x"]);
        let kinds: Vec<_> = disks(sys.path()).into_iter().map(|disk| (disk.name, disk.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("pmem0".into(), DiskKind::Memory),
                ("sda".into(), DiskKind::Disk),
                ("sr0".into(), DiskKind::Optical)
            ]
        );
    }

    #[test]
    fn a_hidden_path_of_a_multipath_disk_is_left_out() {
        let sys = fixture(&["nvme0n1 x", "nvme0c0n1 x"]);
        fs_err::write(sys.path().join("block/nvme0c0n1/hidden"), "1\n").unwrap();
        assert_eq!(disks(sys.path()).len(), 1);
    }

    #[test]
    fn names_sort_as_people_count() {
        let sys = fixture(&["sdaa x", "sdb x", "nvme10n1 x", "nvme2n1 x", "sda x"]);
        let names: Vec<_> = disks(sys.path()).into_iter().map(|disk| disk.name).collect();
        assert_eq!(names, ["nvme2n1", "nvme10n1", "sda", "sdb", "sdaa"]);
    }

    #[test]
    fn a_node_in_a_folder_keeps_its_slash_and_one_outside_dev_is_refused() {
        let sys = fixture(&["cciss!c0d0 x", "sda x"]);
        fs_err::write(sys.path().join("block/sda/uevent"), "DEVNAME=../etc/shadow\n").unwrap();
        let disks = disks(sys.path());
        assert_eq!(disks.len(), 1);
        assert_eq!(disks[0].node(), Path::new("/dev/cciss/c0d0"));
    }

    #[test]
    fn no_sysfs_is_no_disks() {
        assert!(disks(Path::new("/nonexistent")).is_empty());
    }
}
