//! What the host is known by, whatever it is called: a UUID, drawn once and kept for as long as its state is.
//!
//! It is neither the machine-id, which belongs to systemd and lies in an `/etc` that each slot has for itself, nor the firmware's UUID,
//! which whole batches of boards share.

use std::io;
use std::path::Path;

use fs_err as fs;
use uuid::Uuid;

use crate::change::Change;
use crate::former::KeptIdentity;
use crate::host_keys::HostKey;

/// Where it stands, below the root.
pub const IDENTITY: &str = "var/lib/xenolith/host-uuid";

/// The host's key for SSH, below the root; its public half has `.pub` behind its name.
pub const HOST_KEY: &str = "etc/ssh/ssh_host_ed25519_key";

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

/// What the host before was known by, or else `fresh`, becomes what this one is known by, unless it has it already.
pub(crate) fn changes(root: &Path, fresh: Uuid, kept: &KeptIdentity) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    if host_uuid(root).map_err(|error| error.to_string())?.is_none() {
        let text = format!("{}\n", kept.host_uuid.unwrap_or(fresh));
        changes.push(Change::Write { path: IDENTITY.to_owned(), mode: 0o644, text });
    }
    if let Some(key) = HostKey::of(kept)
        && !root.join(HOST_KEY).exists()
    {
        changes.extend(key.changes());
    }
    Ok(changes)
}
