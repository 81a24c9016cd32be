//! What a machine is made of, as far as an installation cares, and which of its disks may be written to.
//!
//! ```text
//!   lsblk, pvs, sysfs, DMI ──[`Capture`]──▶ raw answers, kept word for word ──[`Machine::of`]──▶ typed facts ──[`judge`]──▶ offered, or why not
//! ```
//! A capture is a file. What happened on somebody's machine is tested on ours by keeping it: `fixtures/` holds captures, and
//! `--machine FILE` runs an installation against one without touching anything.
//!
//! **A disk is offered only if everything that is known about it says that it may be.** What is not known speaks against it.

mod capture;
mod disk;
mod judge;
pub mod lsblk;
mod machine;
mod nic;
mod plugged;
mod table;

pub use capture::{Capture, CaptureError, MAX_CAPTURE, PhysicalVolume, RawNic};
pub use disk::{Bus, Content, Disk, Part, Use};
pub use judge::{NO_DISKS, Refusal, Standing, judge};
pub use machine::{Firmware, Machine, SecureBoot, System, Tpm};
pub use nic::Nic;
pub use plugged::{PluggedIn, plugged_in};
pub use table::table;
