//! A change of the network that is tried before it is kept. **Whoever cannot reach the host any more has it back by waiting.**
//!
//! ```text
//!   idle ──try──▶ tried ──keep──▶ idle, with the new settings
//!                   └── 60 s, a wish, a timer of systemd, or a boot ──▶ idle, with the files from before
//! ```
//! A record in the state holds what the files were; as long as it is there, a trial runs.
//!
//! ```text
//!   record                    cut after: nothing has changed yet, and nothing is what is taken back
//!   files, daemon             cut within or after: the next boot takes them back
//!   keep: settings            cut after: the record asks for what the settings say, so the next boot knows that it was kept
//!         record removed      the commit
//!         journal             cut before: a task that had failed is done once more, of the settings that were kept
//! ```

use std::io;
use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use xenolith_layout::names::{STATE_FIRSTBOOT, STATE_TRIAL};
use xenolith_settings::{Network, Settings};

use crate::amend::{AmendError, write_settings};
use crate::change::{Change, Reload, System};
use crate::decide::{Decision, Facts, decide};
use crate::journal::{Journal, Outcome};
use crate::lock::{CHANGE_WAITS, Lock};
use crate::network;
use crate::run::Paths;
use crate::settings_file::current_settings;
use crate::task::Task;

const SCHEMA: u32 = 1;
/// A longer file is not ours, in bytes.
const MAX_TRIAL: u64 = 256 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    schema: u32,
    network: Network,
    name_servers: Vec<String>,
    /// Our files as they were.
    before: Vec<(String, Option<String>)>,
}

impl Record {
    fn read(paths: &Paths) -> io::Result<Option<Self>> {
        let path = place(paths);
        let none = || io::Error::other(format!("{} is no record of a trial of ours", path.display()));
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > MAX_TRIAL => return Err(none()),
            Ok(_) => {}
        }
        let record: Self = serde_json::from_slice(&fs::read(&path)?).map_err(|_| none())?;
        if record.schema == SCHEMA { Ok(Some(record)) } else { Err(none()) }
    }

    fn is_in(&self, settings: &Settings) -> bool {
        self.network == settings.network && self.name_servers == settings.host.name_servers
    }
}

fn place(paths: &Paths) -> PathBuf {
    paths.state.join(STATE_TRIAL)
}

/// Whether a change of the network is being tried.
///
/// # Errors
/// When nobody can say.
pub fn is_running(paths: &Paths) -> io::Result<bool> {
    Record::read(paths).map(|record| record.is_some())
}

/// Sets the network up as `settings` ask, until [`keep`] or [`settle`]. Whoever calls it sees to it that one of them follows.
///
/// # Errors
/// [`AmendError`]; the network is then as it was, as far as it could be brought back.
pub fn try_network(
    settings: &Settings,
    facts: &Facts,
    paths: &Paths,
    system: &mut impl System,
    tell: &mut dyn FnMut(&str),
) -> Result<(), AmendError> {
    let _lock = Lock::take(&paths.state, CHANGE_WAITS, tell)?;
    if is_running(paths)? {
        return Err(AmendError::Trial);
    }
    let task = Task::Network;
    let changes = match decide(task, settings, facts) {
        Decision::Do(changes) => changes,
        Decision::NotAsked => Vec::new(),
        Decision::NotAvailable(why) => return Err(AmendError::Refused { task, why: why.to_owned() }),
        Decision::Cannot(why) => return Err(AmendError::Refused { task, why }),
    };
    let before = network::current(&paths.root).map_err(io::Error::other)?;
    let (network, name_servers) = (settings.network.clone(), settings.host.name_servers.clone());
    let record = Record { schema: SCHEMA, network, name_servers, before };
    let text = serde_json::to_string_pretty(&record).expect("a record is made of what JSON can hold");
    system.write(&place(paths), 0o600, &text)?;
    for change in &changes {
        if let Err(error) = system.make(&paths.root, change) {
            let why = format!("{change}: {error}");
            take_back(paths, system, tell)?;
            return Err(AmendError::Refused { task, why });
        }
        tell(&format!("  {change}"));
    }
    Ok(())
}

/// Keeps what is being tried: it becomes part of the settings.
///
/// # Errors
/// [`AmendError`]; what is not kept is taken back.
pub fn keep(paths: &Paths, system: &mut impl System) -> Result<(), AmendError> {
    let _lock = Lock::take(&paths.state, CHANGE_WAITS, &mut |_| ())?;
    let Some(record) = Record::read(paths)? else {
        let why = "it was taken back before".to_owned();
        return Err(AmendError::Refused { task: Task::Network, why });
    };
    let mut settings =
        current_settings(&paths.state).map_err(|error| io::Error::other(format!("{error:#}")))?;
    settings.network = record.network;
    settings.host.name_servers = record.name_servers;
    write_settings(paths, &settings, system)?;
    finish(paths, system)
}

fn finish(paths: &Paths, system: &mut impl System) -> Result<(), AmendError> {
    system.remove(&place(paths))?;
    let path = paths.state.join(STATE_FIRSTBOOT);
    let mut journal = Journal::read(&path)?;
    journal.note(Task::Network, Outcome::Done, None);
    Ok(system.write(&path, 0o644, &journal.text())?)
}

/// Ends a trial that nobody has kept: the files are as they were. Without a trial there is nothing to do.
///
/// **A lock that is not got does not stop it**: storage may be made for an hour, and nobody can reach the host meanwhile. What it may then
/// lose is the journal's word on a network that was kept, which is set up once more.
///
/// # Errors
/// [`AmendError`]; the trial is then not over.
pub fn settle(paths: &Paths, system: &mut impl System, tell: &mut dyn FnMut(&str)) -> Result<(), AmendError> {
    // Nearly every boot: nobody waits for nothing.
    if !is_running(paths)? {
        return Ok(());
    }
    let lock = Lock::take(&paths.state, CHANGE_WAITS, tell);
    if let Err(error) = &lock {
        tell(&format!("the network does not wait: {error}"));
    }
    take_back(paths, system, tell)
}

fn take_back(paths: &Paths, system: &mut impl System, tell: &mut dyn FnMut(&str)) -> Result<(), AmendError> {
    let Some(record) = Record::read(paths)? else { return Ok(()) };
    // Settings that cannot be read have not kept anything.
    if current_settings(&paths.state).is_ok_and(|settings| record.is_in(&settings)) {
        tell("the change of the network that was tried was kept");
        return finish(paths, system);
    }
    let restored = record.before.iter().cloned().map(|(path, text)| match text {
        Some(text) => Change::Write { path, mode: 0o644, text },
        None => Change::Remove { path },
    });
    let current = network::current(&paths.root).map_err(io::Error::other)?;
    let changes = network::over(&current, restored.chain([Change::Reload(Reload::Network)]).collect());
    tell("the change of the network that was tried was not kept: it is taken back");
    for change in &changes {
        system.make(&paths.root, change)?;
        tell(&format!("  {change}"));
    }
    Ok(system.remove(&place(paths))?)
}
