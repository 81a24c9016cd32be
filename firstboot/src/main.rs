//! `xenolith-firstboot`: makes of an image the host that its settings ask for. Run at every boot by `xenolith-firstboot.service`.

mod volumes;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use fs_err as fs;
use serde::Deserialize;
use xenolith_disk::reserved::{self, Name};
use xenolith_firstboot::{
    Decision, Facts, Journal, Outcome, Paths, Run, System as _, Task, ThisHost, decide, parse_settings,
    read_settings, run, settle, storage::ThisMachine,
};
use xenolith_layout::names::{
    BOOT_FACTS, SEED_FILE, SEED_LABEL, STATE_FIRSTBOOT, STATE_MOUNT, STATE_SETTINGS,
};
use xenolith_machine::lsblk::COLUMNS;
use xenolith_probe::{Installed, Programs as _, Tool, Volume};
use xenolith_settings::{MAX_SETTINGS, Settings, SettingsError};

const MOUNT_POINT: &str = "/run/xenolith/seed";
/// How long devices may take to be seen, in seconds: minutes on a slow machine under load.
const SETTLE: &str = "--timeout=600";

/// Make of this image the host that its settings ask for
///
/// Settings come from an installation, or at the first boot from a volume labelled XENOLITH or else from the reserved area of the medium.
/// Each thing that they ask for is done once; what failed is tried again at every boot.
///
/// Exit codes: 0 done or nothing to do, 2 usage, 3 the settings were refused, 5 something failed and is tried again, 7 a device or file
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
        /// Only what waits for devices; without it only what does not
        #[arg(long)]
        late: bool,
    },
    /// Do some of it again, or all that failed
    Retry {
        /// host-name, ssh-keys, root-password, network, time-zone, time-servers, keyboard, identity, tls-certificate (a new one),
        /// tuning, storage or pool-join
        tasks: Vec<Task>,
    },
    /// Say what settings would change on this host, and change nothing
    Check {
        /// A seed.toml
        file: PathBuf,
    },
    /// Take back a change of the network that was tried and that nobody has kept
    RevertNetwork,
    /// Show what was done, and what was not and why
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
            first_boot(&tasks, &[], !late)
        }
        Command::Retry { tasks } => first_boot(&Task::ALL, &tasks, true),
        Command::Check { file } => check(&file),
        Command::RevertNetwork => revert_network(),
        Command::Status { json } => status(json),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            let refused = error.chain().any(|cause| cause.downcast_ref::<SettingsError>().is_some());
            ExitCode::from(if refused { 3 } else { 7 })
        }
    }
}

fn check(file: &Path) -> anyhow::Result<ExitCode> {
    let (settings, _) = read_settings(file)?;
    let mut facts = Facts::of(Path::new("/"))?;
    facts.look_at_storage(&settings, &ThisMachine);
    facts.look_at_disks(&ThisMachine);
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
    let journal = Journal::read(&Path::new(STATE_MOUNT).join(STATE_FIRSTBOOT))?;
    if json {
        say(journal.text().trim_end());
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
        say(&format!("{:<13} {word}{why}", task.name()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Started by a timer that the console sets, so that a host is reached again even if the console has ended.
fn revert_network() -> anyhow::Result<ExitCode> {
    let paths = Paths { root: "/".into(), state: STATE_MOUNT.into() };
    settle(&paths, &mut ThisHost, &mut say)?;
    Ok(ExitCode::SUCCESS)
}

/// Does what of `tasks` is not done, and `again` even if it is. A host without settings looks for a seed if it `may_look`.
fn first_boot(tasks: &[Task], again: &[Task], may_look: bool) -> anyhow::Result<ExitCode> {
    let paths = Paths { root: "/".into(), state: STATE_MOUNT.into() };
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
}
