//! What can go wrong between the kernel's start and the system's.

use std::path::PathBuf;

use nix::errno::Errno;
use xenolith_layout::disk::GrowError;

use crate::cmdline::CmdlineError;
use crate::needs::ToolError;
use crate::probe::ProbeError;

/// An operation of this program that failed, on what, and why.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The boot file does not say what to boot.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// A file or device; the message names it.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The verity partition or file is not the one that is looked for.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A mount, or the move of one.
    #[error("cannot mount {what} on {}", at.display())]
    Mount {
        /// File system or device.
        what: String,
        /// Where.
        at: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A system call without a file.
    #[error("cannot {what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// Why.
        source: Errno,
    },
    /// The partition table cannot be read or rebuilt.
    #[error("cannot read the partition table of {}", disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// Why.
        source: gpt::GptError,
    },
    /// The partition table makes no sense, so that nothing was written.
    #[error(transparent)]
    Grow(#[from] GrowError),
    /// Something is not as it has to be.
    #[error("{0}")]
    Refused(&'static str),
    /// The state is encrypted, and nothing opens it.
    #[error("{0}")]
    Locked(&'static str),
    /// The network; see [`crate::net`].
    #[error(transparent)]
    Network(#[from] crate::net::NetError),
}

impl InitError {
    /// The error and its causes in one line.
    pub fn line(&self) -> String {
        crate::console::chain(self)
    }
}
