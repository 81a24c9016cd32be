//! What stays on a disk that is installed anew.
//!
//! The partition table of the installation before is used as it is, to the sector, or not at all: then nothing that is written can reach
//! the storage, and a power cut at any moment leaves it where it was.

use xenolith_layout::SectorSize;
use xenolith_layout::disk::{DiskLayout, Existing, Role, adopt};
use xenolith_machine::{Disk, Part};

use crate::found::{Product, found};
use crate::plan::KeepError;

/// Storage that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Kernel name of the disk.
    pub(crate) disk: String,
    /// Kernel name of its partition.
    pub(crate) part: String,
    /// The volume group that it belongs to.
    pub(crate) group: Option<String>,
    /// The disk's layout, as it is.
    pub(crate) layout: DiskLayout,
}

/// The storage of the installation on a disk.
pub(crate) fn kept(disk: &Disk) -> Result<Kept, KeepError> {
    let installed = found(disk).filter(|found| found.product == Product::Xenolith);
    let part = installed.and_then(|found| found.storage).ok_or(KeepError::Nothing)?;
    let sector = SectorSize::from_bytes(disk.sector.into()).ok_or(KeepError::Unknown)?;
    let mut parts: Vec<&Part> = disk.content.parts.iter().collect();
    parts.sort_by_key(|part| part.number);
    let existing: Option<Vec<Existing>> = parts.iter().map(|part| existing(part)).collect();
    let layout = adopt(disk.size, sector, &existing.ok_or(KeepError::Unknown)?)?;
    let label = Role::LocalSr.label();
    let group =
        parts.iter().find(|part| part.label.as_deref() == Some(label)).and_then(|part| part.group.clone());
    Ok(Kept { disk: disk.kernel_name.clone(), part, group, layout })
}

fn existing(part: &Part) -> Option<Existing> {
    Some(Existing { label: part.label.clone()?, guid: part.guid?, first: part.start?, length: part.size })
}
