//! Which disk may be written: rules without any I/O.
//!
//! **A disk is refused unless everything known about it allows it**, and each refusal says why.

use std::fmt;

use serde::Serialize;

use super::device::{Bus, Disk, Machine, Use};

/// Mounts that make a disk the one this system runs from.
const SYSTEM: [&str; 8] = ["/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc", "/home"];

/// Why a disk is not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Refusal {
    /// This system runs from it.
    System {
        /// What it holds of the system.
        holds: String,
    },
    /// Something uses it.
    InUse {
        /// The disk or partition.
        part: String,
        /// How.
        #[serde(rename = "by")]
        of: Use,
    },
    /// It cannot be written.
    ReadOnly,
    /// A card reader without a card.
    Empty,
    /// The image does not fit.
    TooSmall {
        /// The disk's bytes.
        disk: u64,
        /// The image's bytes.
        image: u64,
    },
    /// It is built in, and only removable disks were asked for.
    Fixed {
        /// What it is connected by.
        bus: Bus,
    },
    /// A partition was named.
    Partition {
        /// The disk that it is on.
        of: String,
    },
    /// It is no block device.
    NotABlockDevice,
    /// It is a block device but not a disk: stacked on others, or gone.
    NotADisk,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { holds } => write!(f, "this system runs from it: it holds {holds}"),
            Self::InUse { part, of: Use::Mounted { at } } => write!(f, "{part} is mounted at {at}"),
            Self::InUse { part, of: Use::Swap } => write!(f, "{part} is used as swap"),
            Self::InUse { part, of: Use::Held { by } } => write!(f, "{part} is used by {by}"),
            Self::ReadOnly => f.write_str("it is write-protected"),
            Self::Empty => f.write_str("there is no medium in it"),
            Self::TooSmall { disk, image } => {
                write!(f, "it has {disk} bytes, and the image needs {image}")
            }
            Self::Fixed { bus } => write!(f, "it is built in ({}), neither removable nor USB", bus.name()),
            Self::Partition { of } => write!(f, "it is a partition; a stick is written whole: /dev/{of}"),
            Self::NotABlockDevice => f.write_str("it is not a block device"),
            Self::NotADisk => f.write_str("it is not a whole disk"),
        }
    }
}

impl Refusal {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { of: Use::Mounted { at }, .. } => {
                Some(format!("unmount it with `umount {at}`, if nobody needs it"))
            }
            Self::Fixed { .. } | Self::NotABlockDevice => Some(
                "if you are sure, say --all-devices; `xenolith flash` lists what it would take without"
                    .into(),
            ),
            Self::Partition { of } => Some(format!("name the disk: /dev/{of}")),
            Self::System { .. }
            | Self::InUse { .. }
            | Self::ReadOnly
            | Self::Empty
            | Self::TooSmall { .. }
            | Self::NotADisk => None,
        }
    }
}

/// Whether a disk may be written with an image of `image` bytes; built-in disks only if `all` are asked for.
///
/// # Errors
/// The first reason that speaks against it, the gravest first.
pub fn judge(disk: &Disk, image: Option<u64>, all: bool) -> Result<(), Refusal> {
    let own = disk.uses.iter().map(|of| (&disk.name, of));
    let parts = disk.partitions.iter().flat_map(|part| part.uses.iter().map(move |of| (&part.name, of)));
    let uses: Vec<_> = own.chain(parts).collect();
    for (_, of) in &uses {
        let holds = match of {
            Use::Mounted { at } if SYSTEM.contains(&at.as_str()) => at.clone(),
            Use::Swap => "swap".to_owned(),
            Use::Mounted { .. } | Use::Held { .. } => continue,
        };
        return Err(Refusal::System { holds });
    }
    if let Some((part, of)) = uses.first() {
        return Err(Refusal::InUse { part: (*part).clone(), of: (*of).clone() });
    }
    if disk.size == 0 {
        return Err(Refusal::Empty);
    }
    if disk.read_only {
        return Err(Refusal::ReadOnly);
    }
    if !all && !disk.removable && disk.bus != Bus::Usb {
        return Err(Refusal::Fixed { bus: disk.bus });
    }
    match image {
        Some(image) if image > disk.size => Err(Refusal::TooSmall { disk: disk.size, image }),
        Some(_) | None => Ok(()),
    }
}

/// The disk with this device number.
///
/// # Errors
/// [`Refusal::Partition`] if it is one, [`Refusal::NotADisk`] if it is nothing that we know.
pub fn find<'a>(machine: &'a Machine, number: &str) -> Result<&'a Disk, Refusal> {
    if let Some(disk) = machine.disks.iter().find(|disk| disk.number == number) {
        return Ok(disk);
    }
    let holds = |disk: &&Disk| disk.partitions.iter().any(|part| part.number == number);
    match machine.disks.iter().find(holds) {
        Some(disk) => Err(Refusal::Partition { of: disk.name.clone() }),
        None => Err(Refusal::NotADisk),
    }
}

/// What will be written where. The order of the writes is [`super::write`]'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Bytes of the image.
    pub image: u64,
    /// Bytes of the device.
    pub device: u64,
    /// Bytes at the device's start that are written last.
    pub head: u64,
    /// Where old tables at the end of the device are cleared, if the image does not reach so far: start and length.
    pub stale_end: Option<(u64, u64)>,
}

/// So much at the start decides whether anything boots.
pub const HEAD: u64 = 1 << 20;
/// A backup GPT has 33 sectors at the end, of up to 4096 bytes; RAID superblocks lie in the last 128 KiB.
const STALE: u64 = 1 << 20;

/// Lays out the writes for an image that fits.
pub fn plan(image: u64, device: u64) -> Plan {
    let start = device.saturating_sub(STALE).max(image);
    let stale_end = (device > start).then(|| (start, device - start));
    Plan { image, device, head: HEAD.min(image), stale_end }
}
