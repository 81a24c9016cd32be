//! Carries tasks out, each by itself.

use std::io;
use std::path::{Path, PathBuf};

use xenolith_layout::names::{
    STATE_CLAIMED, STATE_FIRSTBOOT, STATE_KEPT_IDENTITY, STATE_MOUNT, STATE_POOL_PASSWORD,
};
use xenolith_settings::{SecretPlace, Settings};

use crate::change::{Change, System};
use crate::decide::{Decision, Facts, decide};
use crate::journal::{Journal, Outcome};
use crate::task::Task;

/// Where the host is.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/`, or the folder of a test.
    pub root: PathBuf,
    /// Where the state is mounted.
    pub state: PathBuf,
}

impl Paths {
    /// Of the host whose root is there, with its state where the initrd mounts it.
    pub fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), state: root.join(STATE_MOUNT.trim_start_matches('/')) }
    }
}

/// What ends a run before its tasks are through: what became of them could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("what was done at first boot could not be written to the state; it is done again at the next boot")]
pub struct RunError(#[from] io::Error);

/// What is to be done, and on which host.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What the host was told.
    pub settings: &'a Settings,
    /// What it is.
    pub facts: &'a Facts,
    /// Where it is.
    pub paths: &'a Paths,
    /// The tasks that are tried, in this order.
    pub tasks: &'a [Task],
}

/// Tries every task that is not done, and then claims the host. `tell` hears what happens.
///
/// # Errors
/// [`RunError`]. A task that fails is no error here: it stands in the journal.
pub fn run(
    run: &Run<'_>,
    journal: &mut Journal,
    system: &mut impl System,
    tell: &mut dyn FnMut(&str),
) -> Result<(), RunError> {
    let Run { settings, facts, paths, tasks } = *run;
    for task in tasks.iter().copied() {
        if journal.is_done(task) {
            continue;
        }
        let (outcome, why) = match decide(task, settings, facts) {
            Decision::NotAsked => continue,
            Decision::NotAvailable(why) => (Outcome::NotAvailable, Some(why.to_owned())),
            Decision::Cannot(why) => (Outcome::Failed, Some(why)),
            Decision::Do(changes) => match carry_out(&changes, paths, system, tell) {
                Ok(()) => (Outcome::Done, None),
                Err(why) => (Outcome::Failed, Some(why)),
            },
        };
        match &why {
            None => tell(&format!("{task}: done")),
            Some(why) => tell(&format!("{task}: {}: {why}", word(outcome))),
        }
        journal.note(task, outcome, why);
        // cut before: the task is done again; after: it is done.
        system.write(&paths.state.join(STATE_FIRSTBOOT), 0o644, &journal.text())?;
    }
    // A secret lies there for as long as somebody needs it, and not longer.
    let identity = [Task::Identity, Task::TlsCertificate].iter().any(|task| !journal.is_done(*task));
    let secrets =
        [(STATE_POOL_PASSWORD, needs_pool_password(settings, journal)), (STATE_KEPT_IDENTITY, identity)];
    for (secret, is_needed) in secrets {
        let secret = paths.state.join(secret);
        if secret.exists() && !is_needed {
            system.remove(&secret)?;
        }
    }
    let claimed = paths.state.join(STATE_CLAIMED);
    if !claimed.exists() {
        system.write(&claimed, 0o644, "by its settings\n")?;
    }
    Ok(())
}

/// Until the host has joined the pool that settings name.
fn needs_pool_password(settings: &Settings, journal: &Journal) -> bool {
    let named = settings.pool.as_ref().is_some_and(|pool| pool.password_in == Some(SecretPlace::State));
    named && !journal.is_done(Task::PoolJoin)
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::NotAvailable => "not available",
    }
}

fn carry_out(
    changes: &[Change],
    paths: &Paths,
    system: &mut impl System,
    tell: &mut dyn FnMut(&str),
) -> Result<(), String> {
    for change in changes {
        system.make(&paths.root, change).map_err(|error| format!("{change}: {error}"))?;
        tell(&format!("  {change}"));
    }
    Ok(())
}
