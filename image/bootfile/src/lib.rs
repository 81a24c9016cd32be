//! The boot file: Xen, its configuration, dom0's kernel and initrd in one PE image, under one signature.
//!
//! [`assemble`] makes it, [`inspect`] says what is in it, [`authenticode_digest`], [`attach_signature`] and
//! [`strip_signature`] are what signing needs of the file format; keys are not known here. [`XenConfig`] and
//! [`OsRelease`] are the contents of its two text sections.

mod assemble;
#[cfg(any(test, feature = "testing"))]
mod fixture;
mod inspect;
mod os_release;
mod pe;
mod signature;
#[cfg(test)]
mod tests;
mod xen_config;

pub use assemble::{ADDED_SECTION_ALIGNMENT, Section, assemble};
#[cfg(feature = "testing")]
pub use fixture::xen_like;
pub use inspect::{BootFile, SectionInfo, Sha256Sum, inspect};
pub use os_release::{OsRelease, OsReleaseError, osrel};
pub use pe::{PeError, SectionProblem};
pub use signature::{attach_signature, authenticode_digest, strip_signature};
pub use xen_config::{Block, ConfigError, XenConfig};
