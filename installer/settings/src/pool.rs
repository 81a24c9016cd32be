//! The pool that a host belongs to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// The pool that the host joins: its toolstack is asked to, by XenAPI. **It waits yet**: this version has no toolstack; first boot says so
/// and tries again at each boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Name or address of a host of that pool.
    pub join: String,
    /// Who vouches for this host there. Left out: `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The SHA-256 of the certificate of the host that `join` names: exactly this one is trusted. Left out: it is shown, and asked
    /// about, by `xenolith-firstboot retry pool-join`; before that nothing is sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Where that user's password is; no document holds it itself. Only an installation by screens writes this. Left out: it is asked
    /// for by `xenolith-firstboot retry pool-join`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_in: Option<SecretPlace>,
}

impl Pool {
    /// Who vouches for a host unless somebody else is named.
    pub const USER: &str = "root";

    /// Who vouches for this host.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or(Self::USER)
    }
}

/// Where a secret is that a document must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretPlace {
    /// In a file of its own in the host's state, which only root can read, and which goes when it has been used.
    State,
}
