//! Putting bytes together: trees, archives and volumes, without mounts, loop devices or the host's clock.
//!
//! Everything here is a pure function from inputs to bytes: sorted, with one fixed time ([`EPOCH`]), owners from the
//! tree's own rules. Nothing depends on who builds, where, when, or with which umask.

pub mod elf;
pub mod initrd;
pub mod rootfs;
pub mod seed;
pub mod sparse;

/// The time that every file carries: 2026-01-01 00:00:00 UTC, in seconds since 1970.
pub const EPOCH: u64 = 1_767_225_600;
