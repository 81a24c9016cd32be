//! First boot: what a volume labelled `XENOLITH` says, applied once.
//!
//! **A host takes its seed at most once, and only before it belongs to anybody.** The marker [`CLAIMED`] on the state
//! partition says that it does; the initrd turns it into `first_boot` in `boot.json`. The marker is written last, after
//! everything else is on disk, so a power cut anywhere means that the next boot does it all again. Every step may be
//! repeated: it writes whole files, by rename.
//!
//! ```text
//!   boot.json says first_boot? ──no──▶ nothing to do
//!          │ yes
//!   /dev/disk/by-label/XENOLITH? ──no──▶ stay unclaimed: the seed may come at a later boot
//!          │ yes
//!   mount read-only ─▶ seed.toml ─▶ parse (all or nothing) ─▶ hostname, keys ─▶ sync ─▶ claimed ─▶ sync
//! ```
//! A seed that is wrong changes nothing, fails the unit, and leaves the host unclaimed. On installation media the state
//! is in RAM, so each boot is a first one.
//!
//! What a seed may say is data, never a program: a host name and keys.

mod apply;
mod seed;

pub use apply::{ApplyError, CLAIMED, Paths, Plan, Step, execute, plan};
pub use seed::{BadSeed, HostName, MAX_SEED, Seed, SshKey};
