//! What somebody changes later: the settings of a host that has them, and what follows from that.
//!
//! **A change outlasts every boot and every `retry`**, since it is made where first boot looks: in the settings. Nothing else writes the
//! files that tasks write, so there is no second truth.
//!
//! ```text
//!   decide every task ─▶ one cannot be done: refused, nothing has changed
//!        │
//!        ▼
//!   journal without the tasks       cut after: the next boot makes them of the old settings, which changes nothing
//!   settings, by rename             cut after: the next boot makes them of the new ones
//!   each task, noted in the journal cut within: the next boot does it again
//! ```

use std::io;

use xenolith_layout::names::{STATE_FIRSTBOOT, STATE_SETTINGS};
use xenolith_settings::Settings;

use crate::change::System;
use crate::decide::{Decision, Facts, decide};
use crate::journal::{Journal, JournalError};
use crate::lock::{CHANGE_WAITS, Lock, LockError};
use crate::run::{Paths, Run, RunError, run};
use crate::settings_file::current_settings;
use crate::task::Task;

/// Why a change was not made, or not as a whole.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// It cannot be made on this host. Nothing has changed.
    #[error("nothing was changed: {task} cannot be done: {why}")]
    Refused {
        /// What.
        task: Task,
        /// Why.
        why: String,
    },
    /// Somebody else is at it.
    #[error("nothing was changed")]
    Lock(#[from] LockError),
    /// The settings that are there cannot be read.
    #[error("nothing was changed: the settings of this host cannot be read")]
    Settings(#[source] anyhow::Error),
    /// The state cannot be written.
    #[error("the change cannot be written to the state")]
    State(#[from] io::Error),
    /// What was done before cannot be read.
    #[error("nothing was changed")]
    Journal(#[from] JournalError),
    /// What was done could not be written down.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The change stands in the settings, but did not come to an end. It is tried again at the next boot.
    #[error("{task} failed and is tried again at the next boot: {why}")]
    Failed {
        /// What.
        task: Task,
        /// Why.
        why: String,
    },
    /// Something is tried on the network at the moment.
    #[error("nothing was changed: a change of the network is being tried; keep it or take it back first")]
    Trial,
}

/// What follows from a change of the settings, and on which host.
#[derive(Clone, Copy, Debug)]
pub struct Amend<'a> {
    /// What it is.
    pub facts: &'a Facts,
    /// Where it is.
    pub paths: &'a Paths,
    /// The tasks that are done anew.
    pub tasks: &'a [Task],
}

/// Makes a change of the host's settings, and carries out the tasks that it concerns. Of two changes at once the second is made to what the
/// first has left.
///
/// # Errors
/// [`AmendError`]; it says what has changed.
pub fn amend(
    of: &Amend<'_>,
    change: impl FnOnce(&mut Settings),
    system: &mut impl System,
    tell: &mut dyn FnMut(&str),
) -> Result<(), AmendError> {
    let Amend { facts, paths, tasks } = *of;
    let _lock = Lock::take(&paths.state, CHANGE_WAITS, tell)?;
    let mut settings = current_settings(&paths.state).map_err(AmendError::Settings)?;
    change(&mut settings);
    let settings = &settings;
    if tasks.contains(&Task::Network) && crate::trial::is_running(paths)? {
        return Err(AmendError::Trial);
    }
    for task in tasks.iter().copied() {
        match decide(task, settings, facts) {
            Decision::Do(_) | Decision::NotAsked => {}
            Decision::NotAvailable(why) => {
                return Err(AmendError::Refused { task, why: why.to_owned() });
            }
            Decision::Cannot(why) => return Err(AmendError::Refused { task, why }),
        }
    }
    let path = paths.state.join(STATE_FIRSTBOOT);
    let mut journal = Journal::read(&path)?;
    for task in tasks {
        journal.tasks.remove(task);
    }
    system.write(&path, 0o644, &journal.text())?;
    write_settings(paths, settings, system)?;
    run(&Run { settings, facts, paths, tasks }, &mut journal, system, tell)?;
    let failed = journal.failed().find(|(task, _)| tasks.contains(task));
    match failed {
        None => Ok(()),
        Some((task, why)) => Err(AmendError::Failed { task, why: why.to_owned() }),
    }
}

pub(crate) fn write_settings(paths: &Paths, settings: &Settings, system: &mut impl System) -> io::Result<()> {
    let text = toml::to_string(settings).expect("settings are made of what TOML can hold");
    // It holds the hash of a password.
    system.write(&paths.state.join(STATE_SETTINGS), 0o600, &text)
}
