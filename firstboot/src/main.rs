//! `xenolith-firstboot`: makes of an image the host that its settings ask for. Run at every boot by `xenolith-firstboot.service`.

mod ask;
mod volumes;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use xenolith_disk::reserved::{self, Name};
use xenolith_firstboot::{
    Decision, Facts, Journal, Lock, LockError, Outcome, Paths, PoolFacts, Run, System as _, Task, ThisHost,
    decide, left_to_do, make_host_keys, parse_settings, read_settings, run, settle, storage::ThisMachine,
};
use xenolith_layout::names::{BOOT_FACTS, SEED_FILE, SEED_LABEL, STATE_FIRSTBOOT, STATE_SETTINGS};
use xenolith_machine::lsblk::COLUMNS;
use xenolith_probe::{Installed, Programs as _, Tool, Volume};
use xenolith_settings::{MAX_SETTINGS, Settings, SettingsError};

const MOUNT_POINT: &str = "/run/xenolith/seed";
/// How long devices may take to be seen, in seconds: minutes on a slow machine under load.
const SETTLE: &str = "--timeout=600";

/// How long the early run waits for another one: SSH stands behind it.
const EARLY_WAITS: Duration = Duration::from_secs(30);
/// How long others do: a seed waits for devices as long, and storage takes minutes to be made.
const OTHERS_WAIT: Duration = Duration::from_secs(600);

/// Make of this image the host that its settings ask for
///
/// Settings come from an installation, or at the first boot from a volume labelled XENOLITH or else from the reserved area of the medium.
/// Each thing that they ask for is done once; what failed is tried again at every boot.
///
/// Exit codes: 0 done or nothing to do, 2 usage, 3 the settings were refused, 5 something failed and is tried again, or another run did not
/// end in time, 7 a device or file
/// failed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-firstboot", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Do what is not done yet
    Run {
        /// Only what waits for devices or other hosts; without it only what does not
        #[arg(long)]
        late: bool,
    },
    /// Do some of it again, or all that failed
    Retry {
        /// host-name, ssh-keys, root-password, network, time-zone, time-servers, keyboard, identity, host-keys (what is
        /// missing of them), tls-certificate (a new one), tuning, storage or pool-join
        tasks: Vec<Task>,
    },
    /// Say what settings would change on this host, and change nothing
    Check {
        /// A seed.toml
        file: PathBuf,
    },
    /// Make the host's SSH key, if it has none
    HostKeys,
    /// Take back a change of the network that was tried and that nobody has kept
    RevertNetwork,
    /// Show what was done, and what was not and why, and whether the host is ready: nothing is left to do
    Status {
        /// As JSON (the field "schema" counts its form)
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run { late } => {
            // What was being tried when the host went down was not kept. It stops nothing else.
            if !late && let Err(error) = revert_network() {
                eprintln!("warning: a change of the network that was tried is still there: {error:#}");
            }
            let tasks: Vec<Task> = Task::ALL.into_iter().filter(|task| task.is_late() == late).collect();
            first_boot(&tasks, &[], !late, if late { OTHERS_WAIT } else { EARLY_WAITS })
        }
        Command::Retry { tasks } => first_boot(&Task::ALL, &tasks, true, OTHERS_WAIT),
        Command::Check { file } => check(&file),
        Command::HostKeys => {
            make_host_keys(&here(), &mut ThisHost, &mut say).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::RevertNetwork => revert_network(),
        Command::Status { json } => status(json),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            ExitCode::from(code(&error))
        }
    }
}

/// The host that this program runs on.
fn here() -> Paths {
    Paths::of(Path::new("/"))
}

/// The exit code of a failure.
fn code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.downcast_ref::<SettingsError>().is_some()) {
        3
    } else if matches!(error.downcast_ref(), Some(LockError::Busy(_))) {
        5
    } else {
        7
    }
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let (settings, _) = read_settings(file)?;
    let mut facts = Facts::of(Path::new("/"))?;
    facts.look_at_storage(&settings, &ThisMachine);
    facts.look_at_disks(&ThisMachine);
    facts.pool = settings.pool.as_ref().map(|pool| PoolFacts::look(pool, &here()));
    let mut good = true;
    for task in Task::ALL {
        match decide(task, &settings, &facts) {
            Decision::NotAsked => {}
            Decision::Do(changes) => {
                say(&format!("{task}:"));
                changes.iter().for_each(|change| say(&format!("  {change}")));
            }
            Decision::NotAvailable(why) => say(&format!("{task}: not available: {why}")),
            Decision::Cannot(why) => {
                good = false;
                say(&format!("{task}: cannot be done: {why}"));
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(5) })
}

fn status(json: bool) -> anyhow::Result<ExitCode> {
    let here = here();
    let journal = Journal::read(&here.state.join(STATE_FIRSTBOOT))?;
    let left = left_to_do(&here, &journal);
    if json {
        let status = Status {
            journal: &journal,
            ready: matches!(&left, Ok(Some(left)) if left.is_empty()),
            not_done: left.ok().flatten(),
        };
        say(&serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    if journal.tasks.is_empty() {
        say("nothing was asked for");
    }
    for (task, entry) in &journal.tasks {
        let why = entry.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let word = match entry.outcome {
            Outcome::Done => "done",
            Outcome::Failed => "FAILED",
            Outcome::NotAvailable => "not available",
        };
        say(&format!("{:<15} {word}{why}", task.name()));
    }
    say(&format!("{:<15} {}", "ready", in_words(&left)));
    Ok(ExitCode::SUCCESS)
}

/// What `status --json` shows: the journal, and what follows from it.
#[derive(Debug, Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    journal: &'a Journal,
    /// Whether nothing is left to do.
    ready: bool,
    /// What is left; `null` if the host has no settings yet, or nobody can say.
    not_done: Option<Vec<Task>>,
}

fn in_words(left: &anyhow::Result<Option<Vec<Task>>>) -> String {
    match left {
        Ok(None) => "no: this host has no settings yet".to_owned(),
        Ok(Some(left)) if left.is_empty() => "yes".to_owned(),
        Ok(Some(left)) => {
            let left: Vec<&str> = left.iter().map(|task| task.name()).collect();
            format!("no: {} not done", left.join(", "))
        }
        Err(error) => format!("not known: {error:#}"),
    }
}

/// Started by a timer that the console sets, so that a host is reached again even if the console has ended.
fn revert_network() -> anyhow::Result<ExitCode> {
    settle(&here(), &mut ThisHost, &mut say)?;
    Ok(ExitCode::SUCCESS)
}

/// Does what of `tasks` is not done, and `again` even if it is. A host without settings looks for a seed if it `may_look`. Another run
/// is waited for as long as `at_most`.
fn first_boot(tasks: &[Task], again: &[Task], may_look: bool, at_most: Duration) -> anyhow::Result<ExitCode> {
    let paths = here();
    let _lock = Lock::take(&paths.state, at_most, &mut say).context("nothing was done")?;
    let left = paths.state.join(STATE_SETTINGS);
    let settings = if left.exists() {
        read_settings(&left)?.0
    } else {
        if !may_look {
            return Ok(ExitCode::SUCCESS);
        }
        let Some((settings, text)) = seed()? else { return Ok(ExitCode::SUCCESS) };
        // From here on this host has its settings: no other volume is looked at.
        ThisHost.write(&left, 0o600, &text)?;
        settings
    };
    let journal_path = paths.state.join(STATE_FIRSTBOOT);
    let mut journal = Journal::read(&journal_path).unwrap_or_else(|error| {
        eprintln!("warning: everything is done again: {error}");
        Journal::default()
    });
    for task in again {
        journal.tasks.remove(task);
    }
    let mut facts = Facts::of(&paths.root)?;
    facts.again = again.iter().copied().collect();
    if tasks.contains(&Task::Storage) && !journal.is_done(Task::Storage) {
        facts.look_at_storage(&settings, &ThisMachine);
    }
    if tasks.contains(&Task::Tuning) && !journal.is_done(Task::Tuning) {
        facts.look_at_disks(&ThisMachine);
    }
    if let Some(pool) = &settings.pool
        && tasks.contains(&Task::PoolJoin)
        && !journal.is_done(Task::PoolJoin)
    {
        let found = facts.pool.insert(PoolFacts::look(pool, &paths));
        ask::ask(pool, found)?;
    }
    let asked = Run { settings: &settings, facts: &facts, paths: &paths, tasks };
    run(&asked, &mut journal, &mut ThisHost, &mut say)?;
    let failed = journal.failed().any(|(task, _)| tasks.contains(&task));
    Ok(if !failed { ExitCode::SUCCESS } else { ExitCode::from(5) })
}

/// The settings on a volume that is plugged in, or else in the medium, if this host may still take them.
fn seed() -> anyhow::Result<Option<(Settings, String)>> {
    /// The facts of `boot.json` that matter here.
    #[derive(Deserialize)]
    struct BootFacts {
        first_boot: bool,
        medium: String,
        disk: Option<PathBuf>,
    }
    const KEPT: &str = "the seed was not applied, the host stays unclaimed";
    let facts: BootFacts = serde_json::from_slice(&fs::read(BOOT_FACTS)?).context(BOOT_FACTS)?;
    if !facts.first_boot {
        say("this host is claimed: seeds are not looked at");
        return Ok(None);
    }
    // A disk of ours has neither a seed nor an area.
    let medium = facts.disk.filter(|_| facts.medium != "disk");
    // Whether a volume is there can only be said when all devices have been seen.
    duct::cmd!("/usr/bin/udevadm", "settle", SETTLE).unchecked().run()?;
    let devices = Installed.run(Tool::Lsblk, &["--json", "--bytes", "--output", COLUMNS])?;
    let devices = serde_json::from_str(&devices).context("lsblk's answer cannot be understood")?;
    for device in volumes::plugged_in(&devices, medium.as_deref()) {
        let volume = Volume::mount(&device, Path::new(MOUNT_POINT)).context(KEPT)?;
        if let Some(bytes) = volume.file(SEED_FILE, MAX_SETTINGS).context(KEPT)? {
            return parse_settings(bytes, &format!("{SEED_FILE} on {}", device.display()))
                .context(KEPT)
                .map(Some);
        }
        say(&format!("{} is labelled {SEED_LABEL} and has no {SEED_FILE}", device.display()));
    }
    if let Some(bytes) = medium.as_deref().map(in_medium).transpose().context(KEPT)?.flatten() {
        return parse_settings(bytes, &format!("{SEED_FILE} in the medium")).context(KEPT).map(Some);
    }
    say(&format!("no volume labelled {SEED_LABEL} with a {SEED_FILE}: the host stays unclaimed"));
    Ok(None)
}

/// The seed in the reserved area of the medium. It is read through the medium's own table: of a CD the kernel makes no partitions.
fn in_medium(disk: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let content = reserved::read(&mut fs::File::open(disk)?)?;
    Ok(content.and_then(|content| content.get(Name::Seed).map(<[u8]>::to_vec)))
}

/// Whoever reads along may have seen enough.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn a_status_is_the_journal_and_whether_the_host_is_ready() {
        let journal = Journal::default();
        let status = Status { journal: &journal, ready: false, not_done: Some(vec![Task::HostKeys]) };
        let expected = serde_json::json!({
            "schema": 1, "tasks": {}, "ready": false, "not_done": ["host-keys"]
        });
        assert_eq!(serde_json::to_value(status).unwrap(), expected);
        assert_eq!(in_words(&Ok(Some(Vec::new()))), "yes");
        assert_eq!(
            in_words(&Ok(Some(vec![Task::HostKeys, Task::Storage]))),
            "no: host-keys, storage not done"
        );
        assert_eq!(in_words(&Ok(None)), "no: this host has no settings yet");
    }

    #[test]
    fn who_has_waited_in_vain_may_try_again() {
        assert_eq!(code(&anyhow::Error::from(LockError::Busy(EARLY_WAITS)).context("nothing was done")), 5);
        let source = io::Error::other("read-only");
        assert_eq!(code(&LockError::Io { path: "firstboot.lock".into(), source }.into()), 7);
    }
}
