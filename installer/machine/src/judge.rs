//! Which disks are offered.
//!
//! Fail closed: a reason against a disk is never weighed against one for it. All reasons are told, since a user who removes the first
//! one should not then meet the second.

use std::fmt;

use serde::Serialize;
use xenolith_layout::{Bytes, SectorSize, disk::minimum};

use crate::disk::{Bus, Disk, Use};
use crate::machine::Machine;

/// Whether a disk may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Why not; empty if it may.
    pub refusals: Vec<Refusal>,
}

impl Standing {
    /// Whether the disk may be chosen.
    pub fn is_offered(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// What is said of a machine without a single disk.
pub const NO_DISKS: &str = "no disk at all; is a driver missing, or RAID mode switched on in the firmware?";

/// A reason against a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refusal {
    /// This system runs from it.
    RunningFrom,
    /// It holds installation media, be it ours or not.
    Medium {
        /// The label of the medium.
        label: String,
    },
    /// Something uses it.
    Busy {
        /// What.
        by: Use,
    },
    /// It cannot be written.
    ReadOnly,
    /// It is made to be taken out.
    Removable,
    /// It is too small.
    TooSmall {
        /// The smallest disk that would do.
        minimum: Bytes,
    },
    /// It has sectors of a size that we have no layout for.
    Sectors {
        /// Bytes in a sector.
        size: u32,
    },
    /// Firmware RAID has written its mark on it.
    FirmwareRaid {
        /// blkid's word for the mark.
        mark: String,
    },
    /// It is seen more than once, and nothing says which of them to use.
    SamePath {
        /// The other names.
        others: Vec<String>,
    },
    /// It is reached over a network, and a start from there is not supported.
    Remote {
        /// How.
        bus: Bus,
        /// The iSCSI target that firmware is set to start the machine from, if this is a LUN of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        boot_target: Option<String>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningFrom => f.write_str("this system runs from it"),
            Self::Medium { label } if label.is_empty() => f.write_str("it is an installation medium"),
            Self::Medium { label } => write!(f, "it is an installation medium ({label})"),
            Self::Busy { by } => by.fmt(f),
            Self::ReadOnly => f.write_str("it is write-protected"),
            Self::Removable => f.write_str("it is a removable disk"),
            Self::TooSmall { minimum } => write!(f, "it is too small; {minimum} are needed"),
            Self::Sectors { size } => write!(f, "it has sectors of {size} bytes; 512 and 4096 are supported"),
            Self::FirmwareRaid { mark } => {
                write!(
                    f,
                    "it belongs to a RAID of the firmware ({mark}); take it out of that in the firmware's setup"
                )
            }
            Self::SamePath { others } => {
                write!(
                    f,
                    "it is the same disk as {}, seen over another path; multipath has not joined them",
                    others.join(", ")
                )
            }
            Self::Remote { bus, boot_target: None } => {
                write!(f, "it is reached over {bus}, and starting from there is not supported yet")
            }
            Self::Remote { bus, boot_target: Some(target) } => {
                write!(
                    f,
                    "the firmware is set to start from it over {bus} ({target}), which is not supported yet"
                )
            }
        }
    }
}

/// Marks of RAID that firmware keeps: writing to one member damages the array.
const FIRMWARE_RAID: &[&str] = &[
    "isw_raid_member",
    "ddf_raid_member",
    "lsi_mega_raid_member",
    "promise_fasttrack_raid_member",
    "adaptec_raid_member",
    "nvidia_raid_member",
    "via_raid_member",
    "silicon_medley_raid_member",
    "highpoint_raid_member",
    "jmicron_raid_member",
    "hpt45x_raid_member",
    "hpt37x_raid_member",
];

/// Says whether a disk of the machine may be chosen for an installation.
pub fn judge(machine: &Machine, disk: &Disk) -> Standing {
    let mut refusals = Vec::new();
    if machine.running_from.as_ref() == Some(&disk.kernel_name) {
        refusals.push(Refusal::RunningFrom);
    }
    if let Some(label) = medium(disk) {
        refusals.push(Refusal::Medium { label });
    }
    refusals.extend(disk.uses.iter().map(|by| Refusal::Busy { by: by.clone() }));
    if disk.read_only {
        refusals.push(Refusal::ReadOnly);
    }
    if disk.removable {
        refusals.push(Refusal::Removable);
    }
    match SectorSize::from_bytes(disk.sector.into()) {
        None => refusals.push(Refusal::Sectors { size: disk.sector }),
        Some(sector) => {
            let minimum = minimum(sector, false);
            if disk.size < minimum {
                refusals.push(Refusal::TooSmall { minimum });
            }
        }
    }
    if let Some(mark) = firmware_raid(disk) {
        refusals.push(Refusal::FirmwareRaid { mark });
    }
    let others = seen_as(machine, disk);
    if !others.is_empty() {
        refusals.push(Refusal::SamePath { others });
    }
    if matches!(disk.bus, Bus::Iscsi) {
        refusals.push(Refusal::Remote { bus: disk.bus, boot_target: disk.boot_target.clone() });
    }
    Standing { refusals }
}

/// The label of the installation medium that a disk is.
fn medium(disk: &Disk) -> Option<String> {
    let optical = |signature: Option<&String>| signature.is_some_and(|signature| signature == "iso9660");
    if optical(disk.content.signature.as_ref()) {
        return Some(disk.content.label.clone().unwrap_or_default());
    }
    let part = disk.content.parts.iter().find(|part| optical(part.signature.as_ref()))?;
    Some(part.volume.clone().unwrap_or_default())
}

fn firmware_raid(disk: &Disk) -> Option<String> {
    disk.content.signature.clone().filter(|mark| FIRMWARE_RAID.contains(&mark.as_str()))
}

/// Other disks with the same world wide name.
fn seen_as(machine: &Machine, disk: &Disk) -> Vec<String> {
    let Some(wwn) = &disk.wwn else { return Vec::new() };
    let same = |other: &&Disk| other.kernel_name != disk.kernel_name && other.wwn.as_ref() == Some(wwn);
    machine.disks.iter().filter(same).map(|other| other.name.clone()).collect()
}
