//! Whether the host is what its settings ask for. It follows from the settings, the journal and the host, so nobody writes it down.

use xenolith_layout::names::STATE_SETTINGS;
use xenolith_settings::Settings;

use crate::decide::{Decision, Facts, decide};
use crate::journal::{Journal, Outcome};
use crate::run::Paths;
use crate::settings_file::read_settings;
use crate::task::Task;

/// Tasks that still have something to do. With none the host is ready.
///
/// What the journal does not know counts by what is there: a version before this one may have done it, or somebody by hand.
pub fn not_done(settings: &Settings, journal: &Journal, facts: &Facts) -> Vec<Task> {
    let left = |task: &Task| match journal.tasks.get(task).map(|entry| entry.outcome) {
        Some(Outcome::Done) => false,
        Some(Outcome::Failed | Outcome::NotAvailable) => true,
        // Each host is tuned, and what by is only seen when disks are looked at.
        None if *task == Task::Tuning => true,
        None => match decide(*task, settings, facts) {
            Decision::NotAsked => false,
            Decision::Do(changes) => !changes.is_empty(),
            Decision::NotAvailable(_) | Decision::Cannot(_) => true,
        },
    };
    Task::ALL.into_iter().filter(left).collect()
}

/// The tasks that a host still has to do, if it has settings that ask for some. With none it is ready.
///
/// # Errors
/// When its settings or its network interfaces cannot be read.
pub fn left_to_do(paths: &Paths, journal: &Journal) -> anyhow::Result<Option<Vec<Task>>> {
    let settings = paths.state.join(STATE_SETTINGS);
    if !settings.try_exists()? {
        return Ok(None);
    }
    Ok(Some(not_done(&read_settings(&settings)?.0, journal, &Facts::of(&paths.root)?)))
}
