//! What the host is known by, whatever it is called: a UUID, drawn once and kept for as long as its state is.
//!
//! It is neither the machine-id, which belongs to systemd and lies in an `/etc` that each slot has for itself, nor the firmware's UUID,
//! which whole batches of boards share.

use std::io;
use std::path::Path;

use fs_err as fs;
use uuid::Uuid;

use crate::change::Change;

/// Where it stands, below the root.
pub const IDENTITY: &str = "var/lib/xenolith/host-uuid";

/// The host's UUID, if it has one.
///
/// # Errors
/// When the file cannot be read, or holds something else.
pub fn host_uuid(root: &Path) -> io::Result<Option<Uuid>> {
    match fs::read_to_string(root.join(IDENTITY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(text) => {
            let uuid = Uuid::try_parse(text.trim());
            uuid.map(Some)
                .map_err(|_| io::Error::other(format!("/{IDENTITY} holds no UUID; it is left alone")))
        }
    }
}

/// `fresh` becomes the host's UUID, unless it has one.
pub(crate) fn changes(root: &Path, fresh: Uuid) -> Result<Vec<Change>, String> {
    Ok(match host_uuid(root).map_err(|error| error.to_string())? {
        Some(_) => Vec::new(),
        None => vec![Change::Write { path: IDENTITY.to_owned(), mode: 0o644, text: format!("{fresh}\n") }],
    })
}
