//! Virtual machines for `xenolith run` and for the scenarios: QEMU and OVMF from the tools tree.
//!
//! A [`Machine`] is data; [`Machine::start`] gives a [`Vm`] whose serial lines and QMP events arrive in one
//! stream of [`Event`]s. Whoever waits, waits on that stream with a deadline, never on a clock alone.
//!
//! ```text
//! qemu ── serial.sock ──▶ reader thread ─┐
//!      ── qmp.sock ─────▶ reader thread ─┴─▶ Event queue ──▶ Vm::until(predicate, deadline)
//!      └─ serial.log, screen.png: what a failing scenario keeps
//! ```

mod accel;
mod firmware;
mod machine;
mod qmp;
mod ssh;
mod tpm;
mod vm;

/// A host prints a line with this when it has passed its health gate.
pub const READY: &str = "xenolith: ready";

pub use accel::{Accelerator, choose};
pub use firmware::{Firmware, boot_from, enroll};
pub use machine::{Display, Machine, Medium, Serial, card_socket, wire_socket};
pub use ssh::{SshKey, SshOutput};
pub use vm::{Event, Vm, VmError};
