//! What builder, installer, updater, initrd and tests must agree on about a Xenolith disk: units, names,
//! the partition table, the names of boot entries and which slot boots. Rules only, no I/O.
//!
//! A number or a name that two crates need is written down here and nowhere else.

pub mod boot_option;
pub mod disk;
mod guid;
mod identity;
pub mod names;
pub mod reserved;
pub mod seal;
pub mod slots;
mod units;
mod version;

pub use guid::{Seed, TypeGuid};
pub use identity::{BadRootHash, RootHash, Slot, VERITY_BLOCK, VERITY_SALT, verity_uuid};
pub use units::{Bytes, Lba, SectorSize, Sectors};
pub use version::{BadVersion, Version};
