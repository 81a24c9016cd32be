//! Network boot without the network: what a set of files holds, which client gets what, and the messages about it.
//!
//! ```text
//!   Manifest   what the build wrote, what the server checks before it serves, what an installation checks before it writes
//!   dhcp, tftp, range, Identity   outside bytes ──▶ types, with limits; and the answers as bytes
//!   offer()    Asked ──▶ Offer: one decision for the server's answers and for what its dry run prints
//! ```
//! Pure: no sockets, no files, no clock. **No bytes make a reader here panic, and nothing here decides about trust**: the root is
//! proven by the root hash in the signed boot file, whoever served it.

mod boot_file;
pub mod dhcp;
mod identity;
mod manifest;
mod offer;
mod range;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tftp;

pub use boot_file::{WrongBootFile, boots};
pub use identity::{BadIdentity, Identity, MAX_IDENTITY, same_form};
pub use manifest::{Architecture, BadManifest, FileFacts, FileName, MAX_MANIFEST, Manifest, NoSuchName, Sum};
pub use offer::{Asked, Class, EXAMPLES, Example, Offer, Why, offer};
pub use range::{Range, range};
