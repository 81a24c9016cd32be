//! The document. Field documentation is what users read: it goes into the JSON Schema and the manual.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenolith_settings::{Access, Fingerprint, Host, Network, Pool};

use crate::disk_rule::DiskRule;
use crate::keep::Keep;
use crate::size::Size;

/// Everything that an installation is told.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The version of this format: 1.
    pub version: u32,
    /// Where the system goes.
    pub target: Target,
    /// Where guests' disks go. Left out: nowhere, until a storage repository is made later.
    #[serde(default)]
    pub storage: Storage,
    /// The management network.
    pub network: Network,
    /// What the host is called, and its clock.
    #[serde(default)]
    pub host: Host,
    /// Who may come in.
    pub access: Access,
    /// What is kept of the Xenolith that is on the target: "keep" for all, or a list of name, clock, keyboard, network, access and
    /// identity. Left out: nothing.
    #[serde(default, rename = "settings", skip_serializing_if = "Option::is_none")]
    pub kept: Option<Keep>,
    /// The pool that the host joins. Left out: it stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// What happens at the end.
    #[serde(default)]
    pub finish: Finish,
}

/// Where the system goes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Rules for the disks, one for each: a single disk, or two that mirror each other. Each rule has to match exactly one disk.
    pub disks: Vec<DiskRule>,
    /// Whether a disk that holds data may be erased. Without it only disks on which nothing is found are taken.
    #[serde(default)]
    pub erase: bool,
    /// The most that the state partition gets, such as "64 GiB"; at least 1 GiB.
    #[serde(default)]
    pub state: Option<Size>,
    /// Whether the state partition is encrypted: settings, keys and logs of the host, not the disks of its guests. Left out: `none`.
    #[serde(default, skip_serializing_if = "Encryption::is_none")]
    pub encryption: Encryption,
}

/// How the state partition is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// The machine's TPM 2.0 opens it when Secure Boot's settings and keys are those of the installation. A recovery key is made
    /// besides, and shown once.
    Tpm,
}

impl Encryption {
    /// Whether nothing is encrypted.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Where guests' disks go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Of which kind it is.
    #[serde(default)]
    pub kind: StorageKind,
    /// Rules for whole disks that it gets: besides the rest of a single target, in place of it where two targets mirror each other. Each
    /// has to match as many disks as it says.
    #[serde(default)]
    pub disks: Vec<DiskRule>,
}

/// Kinds of a local storage repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// No local storage.
    #[default]
    None,
    /// Logical volumes.
    Lvm,
    /// Files on ext4.
    Ext,
    /// What an installation before has on the targets stays as it is: Xenolith's own, on one disk or mirrored on both.
    Keep,
}

/// What happens at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// After a success. After a failure the machine always stays as it is.
    #[serde(default)]
    pub then: Ending,
    /// Where success and failure are told by an HTTP POST of JSON, with what the installation has said.
    #[serde(default)]
    pub report_to: Option<String>,
    /// The SHA-256 of the certificate of `report_to`: exactly this one is trusted, whoever has signed it. Left out: an authority
    /// that everybody knows has to have signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_pin: Option<Fingerprint>,
    /// Whether reports may go over plain HTTP, or to a server that nothing is known of. Anybody in between can read them then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_insecure: bool,
    /// Whether the report of a success holds the recovery key of an encrypted state. Whoever reads the report can then read the state.
    /// Without this, an installation that nobody watches shows it on the machine's console only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_recovery_key: bool,
    /// Where journal, plan and log of the installation are sent after a success and after a failure: by HTTP PUT, each below this
    /// address, if that ends in `/`; else all of them as one text by POST. No answers are among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_to: Option<String>,
    /// The SHA-256 of the certificate of `logs_to`, as `report_pin` is for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_pin: Option<Fingerprint>,
    /// Whether logs may go over plain HTTP, or to a server that nothing is known of. Anybody in between can read them then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs_insecure: bool,
}

/// What a machine does when its installation has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It starts the new system.
    #[default]
    Reboot,
    /// It powers off.
    PowerOff,
    /// It waits.
    Stay,
}
