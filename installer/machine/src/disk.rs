//! Disks: what they are, what is on them, and who uses them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xenolith_layout::Bytes;

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// NVM Express.
    Nvme,
    /// SATA.
    Sata,
    /// SAS.
    Sas,
    /// SCSI behind a RAID controller or of an older kind.
    Scsi,
    /// USB.
    Usb,
    /// SD and eMMC.
    Mmc,
    /// A disk of a virtual machine.
    Virtual,
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    Fc,
    /// Not known.
    Unknown,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvme => "NVMe",
            Self::Sata => "SATA",
            Self::Sas => "SAS",
            Self::Scsi => "SCSI",
            Self::Usb => "USB",
            Self::Mmc => "MMC",
            Self::Virtual => "virtual",
            Self::Iscsi => "iSCSI",
            Self::Fc => "Fibre Channel",
            Self::Unknown => "unknown bus",
        })
    }
}

/// A disk that could be the target of an installation: what the kernel calls a disk, or the map over its paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its name, below `/dev` for a disk and below `/dev/mapper` for a map.
    pub name: String,
    /// The kernel's name.
    pub kernel_name: String,
    /// Links that name it whatever order disks are found in: `by-id/…`, then `by-path/…`.
    pub links: Vec<String>,
    /// Its model, with the maker where that tells more.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world wide name.
    pub wwn: Option<String>,
    /// Its size.
    pub size: Bytes,
    /// Bytes in a logical sector.
    pub sector: u32,
    /// How it is attached.
    pub bus: Bus,
    /// Whether it turns.
    pub rotating: bool,
    /// Whether it is made to be taken out.
    pub removable: bool,
    /// Whether it refuses to be written.
    pub read_only: bool,
    /// Kernel names of the paths that this is the map of.
    pub paths: Vec<String>,
    /// The iSCSI target that it is a LUN of, if firmware is set to start the machine from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_target: Option<String>,
    /// What is on it.
    pub content: Content,
    /// Who uses it.
    pub uses: Vec<Use>,
}

impl Disk {
    /// Where it is found in `/dev`.
    pub fn path(&self) -> String {
        if self.paths.is_empty() {
            format!("/dev/{}", self.name)
        } else {
            format!("/dev/mapper/{}", self.name)
        }
    }

    /// The volume groups that have a part of it.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let whole = self.content.group.iter().map(String::as_str);
        whole.chain(self.content.parts.iter().filter_map(|part| part.group.as_deref()))
    }
}

/// What is on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    /// What blkid found on the whole disk: a file system, a member of an array, an installation medium.
    pub signature: Option<String>,
    /// The label that goes with it.
    pub label: Option<String>,
    /// `gpt` or `dos`.
    pub table: Option<String>,
    /// The volume group that the whole disk belongs to.
    pub group: Option<String>,
    /// Its partitions.
    pub parts: Vec<Part>,
}

impl Content {
    /// Whether nothing was found on it. It may hold data all the same.
    pub fn is_empty(&self) -> bool {
        self.signature.is_none() && self.table.is_none() && self.group.is_none() && self.parts.is_empty()
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The kernel's name.
    pub kernel_name: String,
    /// Its number.
    pub number: Option<u32>,
    /// Where it begins.
    pub start: Option<Bytes>,
    /// Its size.
    pub size: Bytes,
    /// Its unique GUID.
    pub guid: Option<Uuid>,
    /// Its GPT label.
    pub label: Option<String>,
    /// What blkid found in it.
    pub signature: Option<String>,
    /// The label of the file system.
    pub volume: Option<String>,
    /// The volume group that it belongs to.
    pub group: Option<String>,
    /// The array that it is a member of, whether that runs or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array: Option<Uuid>,
}

/// Who uses a disk, so that it must not be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// The device.
        device: String,
        /// Where.
        at: String,
    },
    /// It is used for swapping.
    Swap {
        /// The device.
        device: String,
    },
    /// A device of another kind lies on it: an array, a volume, an open container.
    Held {
        /// The device on the disk.
        device: String,
        /// What lies on it.
        by: String,
        /// Of which kind, in lsblk's words.
        kind: String,
    },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { device, at } => write!(f, "{device} is mounted at {at}"),
            Self::Swap { device } => write!(f, "{device} is used for swapping"),
            Self::Held { device, by, kind } => match kind.as_str() {
                "lvm" => write!(f, "the logical volume {by} on {device} is active"),
                "crypt" => write!(f, "the encrypted container {by} on {device} is open"),
                raid if raid.starts_with("raid") => {
                    write!(f, "{device} is a running member of the array {by}")
                }
                _ => write!(f, "{device} is in use by {by}"),
            },
        }
    }
}
