//! Whether the host is what its settings ask for. It follows from the settings, the journal and the host, so nobody writes it down.

use xenolith_settings::Settings;

use crate::decide::{Decision, Facts, decide};
use crate::journal::{Journal, Outcome};
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
