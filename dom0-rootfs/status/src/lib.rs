//! The state of the host in one look: which image runs, whether it is the one that was asked for, and whether the host
//! is fit to stay.
//!
//! **A fact that could not be read is never shown as good.** It is absent in the report, its reason is listed under
//! `unread`, and if the health gate needs it, the gate fails.
//!
//! ```text
//!   boot.json, os-release, /proc, /sys, efivarfs ─┐
//!   dmsetup, systemctl ───────────────────────────┼─▶ gather ─▶ Report ─▶ text, JSON, console, ready line
//!   libxl (feature) ──────────────────────────────┘               └─▶ health: pure rules over the report
//! ```
//! "As booted" is the root hash on the signed command line, as the initrd wrote it down. "As verified" is the one in
//! the device-mapper table of the device that is mounted on `/`: what the kernel holds every block to. They come from
//! two places on purpose, and must agree.

mod boot;
mod gather;
mod health;
mod host;
mod mirrors;
mod report;
mod text;
mod verity;

pub use boot::{BootFacts, Medium};
pub use gather::gather;
pub use health::REQUIRED;
pub use host::{Host, Installed, Programs, Recorded, Tool, ToolError};
pub use report::{
    Boot, FailedInstallation, Firmware, Health, Identity, Report, RootImage, SCHEMA, Service, Switch, Unread,
    Verity, Xen,
};
pub use text::{Row, ready, seen, text, title};
