//! Carries a plan out: the only place of an installation that writes to disks.
//!
//! ```text
//!   Plan (approved by its hash) ──▶ for each step: journal "begun" ─▶ write ─▶ flush ─▶ journal "done"
//!   Source (root image, verity tree, files of the ESP) ──┘                      └─▶ events
//! ```
//! Disks are written at the offsets of their layout, whether or not the kernel knows of partitions there. **Until `Activate` there is
//! no partition table, neither at the start of a disk nor at its end**, so an installation that is cut short leaves a disk that does
//! not boot at all; `Activate` writes the table's copy, flushes, and writes the start of the disk last. Where storage stays, the table
//! does too, and the ESP's first MiB plays that part. Every step can be done again
//! from its beginning: a run that failed goes on with the step that failed, and after a power cut a new one starts over.

mod boot_files;
mod container;
mod device;
mod firmware;
mod identity;
mod image;
mod journal;
mod mirror;
mod steps;

use std::{io, path::PathBuf, thread};

use serde::{Deserialize, Serialize};
use xenolith_disk::{disk::DiskError, esp::EspFile};
use xenolith_layout::Bytes;
use xenolith_verity::VerityError;

pub use device::{Devices, Disk, FileDevices, Place, StatePlace};
pub use journal::{Journal, JournalError};

use crate::plan::Plan;

/// What is written.
pub struct Source {
    /// The root image: a file or a block device.
    pub root: PathBuf,
    /// Its verity tree.
    pub verity: PathBuf,
    /// The files of the ESP.
    pub esp: Vec<EspFile>,
    /// What the state partition holds from the beginning.
    pub state: PathBuf,
    /// For an encrypted state: a file in RAM with the recovery key, which opens it besides the TPM.
    pub recovery_key: Option<PathBuf>,
    /// A folder for the few megabytes that are put together before they are written.
    pub scratch: PathBuf,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Before the first step: what is kept in memory is read from the medium, and nothing is written yet.
    Reading {
        /// So many bytes are here.
        done: Bytes,
        /// Of so many.
        total: Bytes,
    },
    /// A step has begun.
    Began {
        /// Its number, from 0.
        step: usize,
    },
    /// Bytes of it are done.
    Progress {
        /// Its number.
        step: usize,
        /// So many.
        done: Bytes,
        /// Of so many.
        total: Bytes,
    },
    /// Something did not go as it should, and the installation goes on without it.
    Warning {
        /// Its number.
        step: usize,
        /// What, and what that means.
        what: String,
    },
    /// It is done, and on the disk.
    Done {
        /// Its number.
        step: usize,
    },
    /// It was done by the run before.
    Skipped {
        /// Its number.
        step: usize,
    },
}

/// Why an installation stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Somebody approved another plan.
    #[error("what was approved is not this plan; nothing was written")]
    NotApproved,
    /// The journal cannot be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A step failed.
    #[error("step {number} of {steps} failed: {what}")]
    Step {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        steps: usize,
        /// What it does.
        what: String,
        /// Why.
        #[source]
        source: StepError,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A disk or a file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The state is to be encrypted, and nobody could open it without a TPM.
    #[error("there is no recovery key to encrypt the state with")]
    NoRecoveryKey,
    /// The partition table could not be made.
    #[error(transparent)]
    Table(#[from] DiskError),
    /// What was read back is not what was to be written.
    #[error("what the disk gives back is not what was written to it")]
    ReadBack(#[source] VerityError),
    /// The source is not of the length that the plan says.
    #[error("{what} has {found}, and the plan says {planned}")]
    Length {
        /// Which file.
        what: &'static str,
        /// What it has.
        found: Bytes,
        /// What the plan says.
        planned: Bytes,
    },
}

/// Carries out what is left of a plan. `approved` is the hash of the plan that somebody said yes to.
///
/// # Errors
/// [`ExecuteError`]; the journal knows what was done, and a second call goes on from there.
pub fn execute<D: Devices>(
    plan: &Plan,
    approved: &str,
    source: &Source,
    devices: &D,
    journal: &mut Journal,
    tell: &mut dyn FnMut(Event),
) -> Result<(), ExecuteError> {
    if plan.hash() != approved || journal.plan() != approved {
        return Err(ExecuteError::NotApproved);
    }
    thread::scope(|scope| {
        let left =
            plan.steps.iter().enumerate().filter(|(step, _)| !journal.is_done(*step)).map(|(_, what)| what);
        let boot_files = boot_files::ahead(scope, plan, source, left);
        for (step, what) in plan.steps.iter().enumerate() {
            if journal.is_done(step) {
                tell(Event::Skipped { step });
                continue;
            }
            tell(Event::Began { step });
            let mut work = steps::Work { plan, source, devices, boot_files: &boot_files, step, tell };
            work.run(what).map_err(|source| ExecuteError::Step {
                number: step + 1,
                steps: plan.steps.len(),
                what: what.to_string(),
                source,
            })?;
            journal.done(step)?;
            tell(Event::Done { step });
        }
        Ok(())
    })
}
