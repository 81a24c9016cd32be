//! What `lsblk --json --bytes` says, as far as we read it. It has asked udev and blkid already.
//!
//! Source: util-linux 2.41, lsblk(8). Numbers come as numbers and flags as booleans since 2.33; `null` is "not known": a device that comes
//! or goes while it is looked at, such as an array that is being started, has it in any place. What is not known counts against a disk.

use serde::{Deserialize, Deserializer, Serialize};

/// The columns that are asked for.
pub const COLUMNS: &str = "NAME,KNAME,TYPE,SIZE,LOG-SEC,PHY-SEC,RO,RM,HOTPLUG,ROTA,TRAN,VENDOR,MODEL,SERIAL,WWN,PTTYPE,PARTN,\
    PARTTYPE,PARTLABEL,PARTUUID,START,FSTYPE,FSVER,LABEL,UUID,MOUNTPOINTS";

/// The unit that `START` counts in (lsblk(8) gives what sysfs has, Linux 6.12 Documentation/ABI/stable/sysfs-block).
pub const LSBLK_UNIT: u64 = 512;
/// Devices nest deeper than this on no machine; a cycle cannot be written in JSON.
pub const MAX_DEPTH: usize = 16;

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The devices that lie on no other.
    pub blockdevices: Vec<Device>,
}

/// A device and what lies on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Device {
    /// Its name: of a device-mapper device the name of its map.
    pub name: String,
    /// The kernel's name.
    pub kname: String,
    /// `disk`, `part`, `rom`, `loop`, `mpath`, `raid1`, `lvm`, `crypt` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes; 0 if not known.
    #[serde(deserialize_with = "or_default")]
    pub size: u64,
    /// Bytes in a logical sector; 0 if not known.
    #[serde(deserialize_with = "or_default")]
    pub log_sec: u32,
    /// Bytes in a physical sector; 0 if not known.
    #[serde(deserialize_with = "or_default")]
    pub phy_sec: u32,
    /// Cannot be written, or nobody knows.
    #[serde(deserialize_with = "or_true")]
    pub ro: bool,
    /// Its medium can be taken out.
    #[serde(deserialize_with = "or_default")]
    pub rm: bool,
    /// Can be plugged in while the machine runs.
    #[serde(deserialize_with = "or_default")]
    pub hotplug: bool,
    /// Turns.
    #[serde(deserialize_with = "or_default")]
    pub rota: bool,
    /// How it is attached: `sata`, `sas`, `nvme`, `usb`, `iscsi`, `fc` …
    pub tran: Option<String>,
    /// Its maker.
    pub vendor: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world wide name.
    pub wwn: Option<String>,
    /// `gpt` or `dos`.
    pub pttype: Option<String>,
    /// Number of a partition.
    pub partn: Option<u32>,
    /// Type of a partition.
    pub parttype: Option<String>,
    /// Label of a partition.
    pub partlabel: Option<String>,
    /// Unique GUID of a partition.
    pub partuuid: Option<String>,
    /// Where a partition begins, in units of 512 bytes whatever the sector.
    pub start: Option<u64>,
    /// What blkid found on it.
    pub fstype: Option<String>,
    /// Its version.
    pub fsver: Option<String>,
    /// Label of the file system.
    pub label: Option<String>,
    /// UUID of the file system.
    pub uuid: Option<String>,
    /// Where it is mounted; `[SWAP]` if it is used for swapping, `null` if nowhere.
    pub mountpoints: Vec<Option<String>>,
    /// What lies on it.
    pub children: Vec<Device>,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn or_true<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(true))
}
