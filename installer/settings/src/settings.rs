//! The document that first boot reads: `seed.toml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::check::{Problem, Problems};
use crate::document::{BadDocument, read};
use crate::host::Host;
use crate::network::Network;
use crate::pool::Pool;
use crate::storage::LocalStorage;

/// Longer settings are refused before they are read, in bytes.
pub const MAX_SETTINGS: usize = 64 << 10;

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The version of this format: 1.
    pub version: u32,
    /// What the host is called, and its clock.
    #[serde(default)]
    pub host: Host,
    /// The management network. Left out: every interface asks for addresses.
    #[serde(default)]
    pub network: Network,
    /// Who may come in. Left out: nobody.
    #[serde(default)]
    pub access: Access,
    /// Local storage for guests' disks. Left out: none, until it is made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<LocalStorage>,
    /// The pool that the host joins. Left out: it stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
}

/// Why settings are refused. No message quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not a document of this kind.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// Of the right types, but nothing that can be done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

impl Settings {
    /// Reads settings, in TOML or JSON.
    ///
    /// # Errors
    /// [`SettingsError`]; nothing of settings with a mistake is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, SettingsError> {
        let settings: Self = read(bytes, MAX_SETTINGS)?;
        let mut problems = Problems::default();
        settings.check(&mut problems);
        if problems.0.is_empty() { Ok(settings) } else { Err(SettingsError::Problems(problems.0)) }
    }
}
