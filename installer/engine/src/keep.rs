//! What stays on a disk that is installed anew.
//!
//! The partition table of the installation before is used as it is, to the sector, or not at all: then nothing that is written can reach
//! the storage, and a power cut at any moment leaves it where it was.

use uuid::Uuid;
use xenolith_layout::SectorSize;
use xenolith_layout::disk::{DiskLayout, Existing, adopt};
use xenolith_machine::{Disk, Part};

use crate::found::{Product, found};
use crate::plan::{KeepError, PlanError};

/// Storage that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Kernel name of the disk.
    pub(crate) disk: String,
    /// Kernel name of its partition.
    pub(crate) part: String,
    /// The volume group that it belongs to.
    pub(crate) group: Option<String>,
    /// The array that it is half of, if it is.
    pub(crate) array: Option<Uuid>,
    /// The disk's layout, as it is.
    pub(crate) layout: DiskLayout,
}

/// The storage of the installation on these disks: on one, which may be half of a mirror, or on two that mirror each other.
pub(crate) fn kept(targets: &[&Disk]) -> Result<Vec<Kept>, PlanError> {
    let refused = |disk: &Disk, why| PlanError::Keep { disk: disk.name.clone(), why };
    let found: Result<Vec<Kept>, _> =
        targets.iter().map(|disk| kept_on(disk).map_err(|why| refused(disk, why))).collect();
    match (found?, targets) {
        (found, [first, ..]) if !is_one(&found) => Err(refused(first, KeepError::Apart)),
        (found, _) => Ok(found),
    }
}

/// Whether storage on these disks can stay when the system goes to them.
///
/// # Errors
/// [`PlanError::Keep`], with the reason.
pub fn can_keep(targets: &[&Disk]) -> Result<(), PlanError> {
    kept(targets).map(drop)
}

/// Whether it is the same storage on all of the disks.
fn is_one(found: &[Kept]) -> bool {
    found.windows(2).all(|pair| pair[0].array.is_some() && pair[0].array == pair[1].array)
}

fn kept_on(disk: &Disk) -> Result<Kept, KeepError> {
    let installed = found(disk).filter(|found| found.product == Product::Xenolith);
    let part = installed.and_then(|found| found.storage).ok_or(KeepError::Nothing)?;
    let sector = SectorSize::from_bytes(disk.sector.into()).ok_or(KeepError::Unknown)?;
    let mut parts: Vec<&Part> = disk.content.parts.iter().collect();
    parts.sort_by_key(|part| part.number);
    let existing: Option<Vec<Existing>> = parts.iter().map(|part| existing(part)).collect();
    let layout = adopt(disk.size, sector, &existing.ok_or(KeepError::Unknown)?)?;
    let storage = parts.iter().find(|found| found.kernel_name == part);
    let (group, array) = storage.map_or((None, None), |part| (part.group.clone(), part.array));
    Ok(Kept { disk: disk.kernel_name.clone(), part, group, array, layout })
}

fn existing(part: &Part) -> Option<Existing> {
    Some(Existing { label: part.label.clone()?, guid: part.guid?, first: part.start?, length: part.size })
}
