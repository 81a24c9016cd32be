//! Local storage for guests' disks: partitions that an installation has made, and what first boot makes of them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// What a storage repository is called unless somebody says otherwise; XCP-ng's word, which its clients know.
const NAME: &str = "Local storage";

/// Local storage for guests' disks. An installation writes this; it is made at the first boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalStorage {
    /// Of which kind it is.
    pub kind: LocalKind,
    /// What people see it called. Left out: `Local storage`.
    #[serde(default = "name")]
    pub name: String,
    /// The partitions that it gets, by their GUIDs. Each has to be empty, unless what is there is kept: nothing is ever overwritten.
    pub parts: Vec<PartGuid>,
    /// Whether the partitions, which then are two, mirror each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirror: bool,
}

fn name() -> String {
    NAME.to_owned()
}

impl LocalStorage {
    /// Storage of this kind on these partitions, with the name that it has unless somebody says otherwise.
    pub fn new(kind: LocalKind, parts: Vec<PartGuid>, mirror: bool) -> Self {
        Self { kind, name: name(), parts, mirror }
    }
}

/// Kinds of local storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LocalKind {
    /// Logical volumes, one for each of the guests' disks.
    Lvm,
    /// Files on ext4.
    Ext,
    /// What an installation before has left there, used as it is.
    Keep,
}

impl fmt::Display for LocalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lvm => "lvm",
            Self::Ext => "ext",
            Self::Keep => "keep",
        })
    }
}

/// The GUID of a partition, as its entry in the partition table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartGuid(pub Uuid);

/// As udev writes it: with hyphens, in lower case.
impl fmt::Display for PartGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl<'de> Deserialize<'de> for PartGuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The one form that tools print: the others that a UUID has are slips here.
        let known = (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::try_parse(&text).ok());
        known.flatten().map(Self).ok_or_else(|| {
            de::Error::custom(
                "not the GUID of a partition; write it as `lsblk -o NAME,PARTUUID` prints it, with hyphens",
            )
        })
    }
}

impl Serialize for PartGuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for PartGuid {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PartGuid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "format": "uuid" })
    }
}
