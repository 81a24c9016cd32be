//! The first process of the initrd: finds the root, proves it, gives it its state and starts it.
//!
//! **The promise: what runs afterwards is, to the byte, what the signed boot file names, or the boot fails.**
//!
//! ```text
//!   kernel ─▶ mounts ─▶ command line ─▶ uevent socket ─▶ modules ─▶ search ◀─▶ open ─▶ state ─▶ switch ─▶ systemd
//!             /proc      root hash      before the       by alias   where     verity   /var     moved
//!             /sys…      version        first look                            erofs    /etc     mounts
//! ```
//!
//! There is no shell, no udev and no busybox in the initrd: this program, the programs of
//! [`needs::PROGRAMS`], kernel modules, libraries. It keeps to three kinds of modules:
//! - deciding, without I/O or on an injected folder: [`cmdline`], [`uevent`], [`efi`], [`blocks`], [`guids`],
//!   [`search`], [`probe`], `state::content`, `etc::decide`, `grow::plan`, [`net`]'s `answer` and `url`;
//! - doing: [`events`], [`open`], [`grow`], [`state`], [`etc`], [`switch`], [`net`];
//! - the order: [`pid1`].
//!
//! What a failed boot looks like: a few lines on every console that say what was looked at and why it did not
//! do, then the end of PID 1, which is a kernel panic, which `panic=10` turns into a restart. The loader
//! counted the try before it started us; when they are used up it starts the other slot. Nobody has to be
//! there.
//!
//! A flipped bit in the root is not seen here but by the kernel, when the block is read, be it a minute or a
//! month later: dm-verity is opened with panic on corruption.
//!
//! What a power cut leaves is said in the modules that write: [`grow`], [`state`], [`etc`]. Nothing else
//! writes.

pub mod blocks;
pub mod boot;
pub mod cmdline;
pub mod console;
pub mod container;
pub mod efi;
mod error;
pub mod etc;
pub mod events;
pub mod grow;
pub mod guids;
pub mod mirror;
pub mod mounts;
pub mod needs;
pub mod net;
pub mod open;
pub mod pid1;
pub mod probe;
mod prompt;
pub mod search;
pub mod state;
pub mod switch;
pub mod tpm;
pub mod uevent;

pub use error::InitError;
pub use needs::{EARLY_MODULES, FIRMWARE, LIBRARIES, LINKS, MODULES, PLUGINS, PROGRAMS, Tool};
