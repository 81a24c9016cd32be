//! The Debian archive as data: what it offers, who signed it, what a recipe needs of it, and the lock that pins
//! that down.
//!
//! The **lock side** decides ([`signature`] → [`index`] → [`resolve`] → [`lock`], tied together in [`locking`]); the
//! **fetch side** ([`fetch`], [`unpack`]) executes what a lock says and decides nothing.

pub mod date;
mod digest;
pub mod fetch;
pub mod index;
pub mod lock;
pub mod locking;
pub mod mirror;
mod names;
pub mod resolve;
pub mod signature;
pub mod unpack;
mod version;

pub use digest::{BadSha256, Sha256};
pub use names::{Architecture, Archive, BadName, GroupName, PackageName, PoolPath, SuiteName};
pub use version::{BadVersion, DebVersion};
