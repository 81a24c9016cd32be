//! The raw answers of a machine, before anybody interprets them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lsblk;

/// A longer capture is refused before it is parsed: a machine with a thousand disks has some 4 MiB.
pub const MAX_CAPTURE: usize = 32 << 20;

/// Counts up when old captures can no longer be read.
const FORMAT: u32 = 1;

/// Everything that was asked of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// Format of this document.
    pub format: u32,
    /// Where it comes from, for people who read the file.
    #[serde(default)]
    pub about: String,
    /// `lsblk --json --bytes` with [`lsblk::COLUMNS`].
    pub lsblk: lsblk::Answer,
    /// `/dev/disk/by-id` and `by-path`: the links of each kernel name, without their folder's parents (`by-id/wwn-…`).
    #[serde(default)]
    pub links: BTreeMap<String, Vec<String>>,
    /// `pvs --reportformat json -o pv_name,vg_name,vg_uuid,pv_uuid`, one entry for each physical volume.
    #[serde(default)]
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Files of `/sys/class/dmi/id`.
    #[serde(default)]
    pub dmi: BTreeMap<String, String>,
    /// Whether `/sys/firmware/efi` is there.
    pub efi: bool,
    /// First data byte of the variables `SecureBoot` and `SetupMode`, where there are any.
    #[serde(default)]
    pub efi_variables: BTreeMap<String, u8>,
    /// `/sys/class/tpm/tpm0/tpm_version_major`; absent where there is no TPM.
    #[serde(default)]
    pub tpm_version: Option<String>,
    /// Bytes of memory, of the machine and not of dom0.
    #[serde(default)]
    pub memory: u64,
    /// Processors of the machine.
    #[serde(default)]
    pub processors: u32,
    /// Network interfaces from sysfs.
    #[serde(default)]
    pub nics: Vec<RawNic>,
    /// Kernel name of the device whose files this system runs from; absent when it was booted over the network.
    #[serde(default)]
    pub running_from: Option<String>,
    /// LUNs of the iSCSI targets that firmware is set to start from (iBFT): the target's name by the disk's kernel name.
    #[serde(default)]
    pub iscsi_boot: BTreeMap<String, String>,
}

/// A physical volume of LVM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    /// Its device, `/dev/…`.
    pub pv_name: String,
    /// Its group; empty while it belongs to none.
    #[serde(default)]
    pub vg_name: String,
}

/// A network interface as sysfs has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNic {
    /// Its name.
    pub name: String,
    /// `address`.
    pub address: String,
    /// `carrier`; absent while the interface is down.
    #[serde(default)]
    pub carrier: Option<bool>,
    /// `speed` in Mbit/s; absent or negative if unknown.
    #[serde(default)]
    pub speed: Option<i64>,
    /// The driver that `device/driver` points to; virtual interfaces have none.
    #[serde(default)]
    pub driver: Option<String>,
    /// The place on its bus, such as `0000:02:00.0`.
    #[serde(default)]
    pub place: Option<String>,
}

/// Why bytes are no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Longer than [`MAX_CAPTURE`].
    #[error("the capture is longer than {} MiB", MAX_CAPTURE >> 20)]
    TooLong,
    /// Not what [`Capture`] looks like.
    #[error("this is no capture of a machine")]
    Json(#[source] serde_json::Error),
    /// From another time.
    #[error("the capture has format {found}; this program reads {FORMAT}")]
    Format {
        /// What it says.
        found: u32,
    },
}

impl Capture {
    /// An empty capture of the present format.
    pub fn new() -> Self {
        Self { format: FORMAT, ..Self::default() }
    }

    /// Reads a capture.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CaptureError> {
        if bytes.len() > MAX_CAPTURE {
            return Err(CaptureError::TooLong);
        }
        let capture: Self = serde_json::from_slice(bytes).map_err(CaptureError::Json)?;
        if capture.format != FORMAT {
            return Err(CaptureError::Format { found: capture.format });
        }
        Ok(capture)
    }
}
