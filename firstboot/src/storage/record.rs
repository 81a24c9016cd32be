//! What was made, for the toolstack that will register it, for `xenolith-status`, and for the next run.

use std::io;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xenolith_layout::Bytes;
use xenolith_settings::{LocalKind, LocalStorage};

use super::Names;
use crate::change::Change;

/// Where it stands, below the root.
pub const RECORD: &str = "var/lib/xenolith/storage.json";
/// A longer file is not ours, in bytes.
pub const MAX_RECORD: u64 = 64 << 10;
const SCHEMA: u32 = 1;

/// Local storage that is finished. The field names are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageRecord {
    schema: u32,
    /// The SR's UUID.
    pub uuid: Uuid,
    /// What people see it called.
    pub name: String,
    /// `lvm` or `ext`, the types that XenAPI knows.
    #[serde(rename = "type")]
    pub kind: LocalKind,
    /// Bytes of its partitions together, or of the smaller one of a mirror.
    pub size: u64,
    /// The volume group.
    pub group: String,
    /// Where it is mounted, if it is.
    pub mount_point: Option<String>,
    /// Whether two partitions mirror each other.
    pub mirror: bool,
    /// The array that they are then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Uuid>,
    /// The GUIDs of its partitions.
    pub parts: Vec<String>,
}

impl StorageRecord {
    pub(super) fn new(storage: &LocalStorage, names: &Names, size: Bytes) -> Self {
        Self {
            schema: SCHEMA,
            uuid: names.sr,
            name: storage.name.clone(),
            kind: storage.kind,
            size: size.get(),
            group: names.group.clone(),
            mount_point: (storage.kind == LocalKind::Ext).then(|| names.mount_point.clone()),
            mirror: storage.mirror,
            array: storage.mirror.then_some(names.array),
            parts: storage.parts.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn change(&self) -> Change {
        let mut text = serde_json::to_string_pretty(self).expect("a record is made of what JSON can hold");
        text.push('\n');
        Change::Write { path: RECORD.to_owned(), mode: 0o644, text }
    }

    /// The record of the host whose files lie below `root`, if storage was finished there.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or is none of ours.
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        let path = root.join(RECORD);
        let none = || io::Error::other(format!("{} is no record of local storage", path.display()));
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > MAX_RECORD => return Err(none()),
            Ok(_) => {}
        }
        let record: Self = serde_json::from_slice(&fs::read(&path)?).map_err(|_| none())?;
        if record.schema == SCHEMA { Ok(Some(record)) } else { Err(none()) }
    }
}
