//! Volumes that somebody has plugged in, and that something may be written to for them.

use std::collections::BTreeSet;

use serde::Serialize;
use xenolith_layout::Bytes;

use crate::disk::Disk;
use crate::machine::Machine;

/// File systems that are written to: those of sticks, and those that Linux users put there. ext4's driver takes ext2 and ext3, too.
const FILE_SYSTEMS: &[&str] = &["vfat", "exfat", "ext4", "ext3", "ext2"];
/// Marks of installation media. Their other partitions are not written to either: a medium is to stay what it is.
const MEDIA: &[&str] = &["iso9660", "udf"];

/// A volume that was plugged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluggedIn {
    /// Where it is found, below `/dev`.
    pub kernel_name: String,
    /// Its size.
    pub size: Bytes,
    /// Its file system, as blkid calls it.
    pub file_system: String,
    /// Its label.
    pub label: Option<String>,
    /// The model of the stick.
    pub model: Option<String>,
}

/// Volumes with a file system that can be written, on disks that can be taken out and that nobody uses. Never on one of `avoid`
/// (kernel names of disks), on the disk that this system runs from, or on any installation medium.
pub fn plugged_in(machine: &Machine, avoid: &BTreeSet<String>) -> Vec<PluggedIn> {
    let mut found = Vec::new();
    for disk in machine.disks.iter().filter(|disk| may_be_written(machine, disk, avoid)) {
        let volume = |kernel_name: &str, size, signature: &Option<String>, label: &Option<String>| {
            let file_system = signature.clone().filter(|kind| FILE_SYSTEMS.contains(&kind.as_str()))?;
            let (kernel_name, label) = (kernel_name.to_owned(), label.clone());
            Some(PluggedIn { kernel_name, size, file_system, label, model: disk.model.clone() })
        };
        let content = &disk.content;
        found.extend(volume(&disk.kernel_name, disk.size, &content.signature, &content.label));
        let parts = content.parts.iter();
        found.extend(
            parts.filter_map(|part| volume(&part.kernel_name, part.size, &part.signature, &part.volume)),
        );
    }
    found
}

fn may_be_written(machine: &Machine, disk: &Disk, avoid: &BTreeSet<String>) -> bool {
    let is_medium = disk.content.signature.as_deref().is_some_and(|mark| MEDIA.contains(&mark));
    disk.removable
        && !disk.read_only
        && disk.uses.is_empty()
        && !is_medium
        && !avoid.contains(&disk.kernel_name)
        && machine.running_from.as_ref() != Some(&disk.kernel_name)
}
