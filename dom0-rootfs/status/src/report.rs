//! What `xenolith-status --json` prints. The field names are an interface: a field is added freely, but a change of
//! meaning or a removal counts [`SCHEMA`] up.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xenolith_firstboot::storage::StorageRecord;
use xenolith_firstboot::{Journal, Shown, Task};
use xenolith_layout::{RootHash, Slot, seal::StateKey};

use crate::boot::Medium;
use crate::mirrors::Mirror;

/// The version of the JSON form.
pub const SCHEMA: u32 = 1;

/// The state of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Which image runs, by its own words.
    pub image: Identity,
    /// Where it was booted from; absent if the initrd left no facts.
    pub boot: Option<Boot>,
    /// Its root, as booted and as verified.
    pub root: RootImage,
    /// What firmware and kernel enforce.
    pub firmware: Firmware,
    /// The hypervisor; absent if there is none.
    pub xen: Option<Xen>,
    /// The units that the health gate requires.
    pub services: Vec<Service>,
    /// Units that failed, required or not; absent if nobody could say.
    pub failed_units: Option<Vec<String>>,
    /// What became of each thing that the host's settings asked for; absent if it cannot be read.
    #[serde(default)]
    pub firstboot: Option<Journal>,
    /// Whether the host is what its settings ask for; absent if it has none, or nobody can say.
    #[serde(default)]
    pub ready: Option<bool>,
    /// What first boot has left to do until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_done: Vec<Task>,
    /// What the host is known by; empty before first boot.
    #[serde(default)]
    pub host: HostFacts,
    /// Local storage that first boot has made, for whoever registers it; absent if there is none.
    #[serde(default)]
    pub storage: Option<StorageRecord>,
    /// Disks that mirror each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Why an unattended installation from this medium failed; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<FailedInstallation>,
    /// Fit to stay?
    pub health: Health,
    /// What could not be read, and why.
    pub unread: Vec<Unread>,
}

/// `os-release` of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `IMAGE_ID`.
    pub id: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
    /// `IMAGE_VERSION`.
    pub version: Option<String>,
    /// `VARIANT_ID`.
    pub variant: Option<String>,
    /// `BUILD_ID`.
    pub build_id: Option<String>,
    /// Revision of the source.
    pub revision: Option<String>,
    /// Hash of the lock.
    pub lock: Option<String>,
}

/// Where the image was booted from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// What the root was found on.
    pub medium: Medium,
    /// The slot, if it was a slot.
    pub slot: Option<Slot>,
    /// The disk, unless the root came over the network.
    pub disk: Option<String>,
    /// The boot entry as it was called when the loader started it.
    pub entry: Option<String>,
    /// Tries that were left then; absent for an entry that is not counted.
    pub tries_left: Option<u8>,
    /// The device with the state, or `tmpfs`; where that is in place of one, why.
    pub state: String,
    /// What an encrypted state was opened with.
    #[serde(default)]
    pub state_key: Option<StateKey>,
    /// No seed has been applied yet when this boot began.
    pub first_boot: bool,
}

/// The root image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootImage {
    /// The root hash that was asked for: from the signed command line.
    pub hash_as_booted: Option<RootHash>,
    /// The root hash that the kernel holds the device below `/` to.
    pub hash_as_verified: Option<RootHash>,
    /// What dm-verity says of it.
    pub verity: Verity,
    /// The device with the data, as the initrd found it.
    pub device: Option<String>,
}

/// What dm-verity says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verity {
    /// Every block that was read was right.
    Good,
    /// A block was wrong.
    Corrupted,
    /// `/` is not a dm-verity device.
    Absent,
    /// Nobody could say.
    #[default]
    Unknown,
}

/// On, off, or not to be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
    /// The machine has no such switch: it was not started by UEFI.
    Absent,
    /// Nobody could say.
    #[default]
    Unknown,
}

/// What firmware and kernel enforce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// Only signed programs start.
    pub secure_boot: Switch,
    /// Keys can be enrolled by anybody.
    pub setup_mode: Switch,
    /// The kernel's lockdown: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
}

/// The hypervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xen {
    /// `4.20.4-pre`.
    pub version: String,
    /// `user@domain` that compiled it.
    pub compiled_by: Option<String>,
    /// The compiler.
    pub compiler: Option<String>,
    /// The linker's build id.
    pub build_id: Option<String>,
    /// The options that it was started with.
    pub command_line: Option<String>,
    /// Bytes of memory that Xen manages.
    pub total_memory: Option<u64>,
    /// Bytes that no domain has.
    pub free_memory: Option<u64>,
    /// How many domains there are, dom0 among them.
    pub domains: Option<u32>,
}

/// What the host is known by, and what whoever connects to it compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its UUID, drawn at first boot and never again.
    pub uuid: Option<Uuid>,
    /// Its certificate for TLS.
    pub certificate: Option<Shown>,
    /// The fingerprint of its key for SSH, as `ssh` shows it; none before a first key has let somebody in.
    pub ssh_key: Option<String>,
}

/// A unit that the health gate requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub unit: String,
    /// systemd's `ActiveState`, or `not-found`.
    pub state: String,
}

/// What an unattended installation left behind that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedInstallation {
    /// Where its answers came from; empty if it did not come to that.
    pub answers_from: String,
    /// What failed, then why, then why that.
    pub error: Vec<String>,
}

/// Fit to stay?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The health gate lets this boot pass.
    pub good: bool,
    /// Why it does not.
    pub problems: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// A fact that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Which.
    pub fact: String,
    /// The chain of reasons.
    pub because: String,
}
