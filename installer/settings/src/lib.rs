//! What a host is told about itself: its name and clock, the management network, who may come in, where guests' disks go.
//!
//! ```text
//!   seed.toml on a volume ──────────────┐
//!   answers.toml of an installation ────┴─▶ Settings ─▶ first boot
//! ```
//! The same tables stand in both files, so that whatever is said of a host means the same thing wherever it is said. The types are
//! the manual and the schema. A document is taken whole or not at all: an unknown key is an error that names its line and the nearest
//! known one, and every mistake that types cannot see is told at once. No message quotes a value: it may be a secret.

mod access;
mod check;
mod document;
mod fingerprint;
mod host;
mod network;
mod pool;
mod settings;
mod storage;

pub use access::{Access, BadKey, SHORTEST_PASSWORD, SshKey};
pub use check::{Problem, Problems};
pub use document::{BadDocument, read};
pub use fingerprint::{BadFingerprint, Fingerprint};
pub use host::{BadName, Host, HostName, Known};
pub use network::{Addressing, Bond, BondMode, Implied, Network, NicName, StaticV4, StaticV6, V4, V6};
pub use pool::{Pool, SecretPlace};
pub use settings::{MAX_SETTINGS, Settings, SettingsError};
pub use storage::{LocalKind, LocalStorage, PartGuid};

/// The version of this format, and of all documents with these tables.
pub const VERSION: u32 = 1;
