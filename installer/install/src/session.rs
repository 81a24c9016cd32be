//! One installation: what every face of it shares.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use fs_err as fs;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use xenolith_answers::Answers;
use xenolith_firstboot::{Facts, System as _, TIME_ZONES, ThisHost};
use xenolith_installer::{Event, FileDevices, Journal, Plan, PlanError, Source, execute, plan};
use xenolith_layout::{
    Seed,
    names::{INSTALL_FAILED, STATE_SETTINGS},
    seal::RecoveryKey,
};
use xenolith_machine::{Capture, Machine};
use xenolith_probe::{Installed, capture};

use crate::{medium::Medium, settings};

/// Where what was done is written down, and what is put together before it is written to a disk.
const RUN: &str = "/run/xenolith/install";
/// There, the recovery key of an encrypted state: kept until the machine is started anew, so that an installation that goes on where it
/// was, and whoever has missed it, finds the one that the state has.
const RECOVERY_KEY: &str = "recovery-key";
/// The deepest name of a time zone has three parts.
const ZONE_DEPTH: usize = 3;

/// An error with the exit code that goes with it.
pub struct Failed(pub u8, pub anyhow::Error);

/// Gives errors their exit codes.
pub trait Coded<T> {
    /// With this one.
    fn code(self, code: u8) -> Result<T, Failed>;
}

impl<T, E: Into<anyhow::Error>> Coded<T> for Result<T, E> {
    fn code(self, code: u8) -> Result<T, Failed> {
        self.map_err(|error| Failed(code, error.into()))
    }
}

/// A machine and what it would be installed with.
#[derive(Clone)]
pub struct Session {
    /// The machine.
    pub machine: Machine,
    /// What it was started from.
    pub medium: Medium,
    /// Where GUIDs come from.
    pub seed: Seed,
    facts: Facts,
}

impl Session {
    /// This machine, or the one that was captured in a file.
    ///
    /// # Errors
    /// Code 3 for a file that is none, 4 when this host cannot be installed from.
    pub fn look(captured: Option<&Path>) -> Result<Self, Failed> {
        Self::with(Self::machine(captured)?)
    }

    /// The machine alone.
    ///
    /// # Errors
    /// Code 3 for a file that is none, 4 when this machine cannot be asked.
    pub fn machine(captured: Option<&Path>) -> Result<Machine, Failed> {
        let machine = match captured {
            None => capture(Path::new("/"), &Installed, "an installation").code(4)?,
            Some(file) => Capture::parse(&fs::read(file).code(3)?).code(3)?,
        };
        Ok(Machine::of(&machine))
    }

    /// This machine, and what it would be installed with.
    ///
    /// # Errors
    /// Code 4 when this host cannot be installed from.
    pub fn with(machine: Machine) -> Result<Self, Failed> {
        fs::create_dir_all(RUN).code(7)?;
        let facts = Facts::on(machine.clone(), Path::new("/"));
        Ok(Self { machine, medium: Medium::running().code(4)?, seed: seed().code(7)?, facts })
    }

    /// What these answers come to.
    ///
    /// # Errors
    /// Code 3 with all that would not be carried out, or why there is no plan; 4 if this machine cannot start what is installed.
    pub fn plan(&self, answers: &Answers) -> Result<Plan, Failed> {
        self.settings(answers, None).map_err(|refused| {
            Failed(3, anyhow::anyhow!("these answers would not be carried out:\n  {}", refused.join("\n  ")))
        })?;
        plan(&self.machine, answers, &self.medium.image, self.seed)
            .map_err(|error| Failed(if matches!(error, PlanError::Bios) { 4 } else { 3 }, error.into()))
    }

    /// What the installed host will be told.
    ///
    /// # Errors
    /// What would not be carried out, and why.
    pub fn settings(&self, answers: &Answers, plan: Option<&Plan>) -> Result<String, Vec<String>> {
        settings::settings(answers, plan, &self.facts)
    }

    /// Carries a plan out that was confirmed; goes on where it was if it is the same as before.
    ///
    /// # Errors
    /// Code 7 with the step that failed; 4 if the medium cannot be read, or another installation is under way.
    pub fn install(&self, answers: &Answers, plan: &Plan, tell: &mut dyn FnMut(Event)) -> Result<(), Failed> {
        let run = Path::new(RUN);
        let lock =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(run.join("lock")).code(7)?;
        let _only_one =
            Flock::lock(lock.into_parts().0, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                let busy = anyhow::anyhow!(
                    "another installation is under way on this machine; nothing was done by this one"
                );
                let error = if errno == Errno::EWOULDBLOCK { busy } else { errno.into() };
                Failed(4, error)
            })?;
        // Whatever an earlier attempt has failed with is not how it stands any more.
        let _ = fs::remove_file(INSTALL_FAILED);
        let state = run.join("state");
        fs::create_dir_all(&state).code(7)?;
        let settings = self
            .settings(answers, Some(plan))
            .map_err(|refused| Failed(3, anyhow::anyhow!(refused.join("\n"))))?;
        // With its mode: it may hold the hash of a password.
        ThisHost.write(&state.join(STATE_SETTINGS), 0o600, &settings).code(7)?;
        let source = Source {
            root: self.medium.root.clone(),
            verity: self.medium.verity.clone(),
            esp: self.medium.esp().code(4)?,
            state,
            recovery_key: plan.seal().map(|_| make_recovery_key(run)).transpose().code(7)?,
            scratch: run.to_owned(),
        };
        let hash = plan.hash();
        // Other answers make another plan, which begins at its beginning.
        let mut journal = Journal::open(&run.join(format!("journal-{hash}")), &hash).code(7)?;
        execute(plan, &hash, &source, &FileDevices, &mut journal, tell).code(7)
    }

    /// The recovery key of the state that this plan makes, once it was carried out. Shown, and never written to a log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn recovery_key(&self, plan: &Plan) -> anyhow::Result<Option<RecoveryKey>> {
        if plan.seal().is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(Path::new(RUN).join(RECOVERY_KEY))?;
        Ok(Some(text.parse().context("the recovery key was not kept")?))
    }

    /// Keeps answers as a file for other machines, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, answers: &Answers) -> anyhow::Result<String> {
        let path = Path::new(RUN).join("answers.toml");
        let text = toml::to_string_pretty(answers).context("the answers cannot be written as TOML")?;
        ThisHost.write(&path, 0o600, &text)?;
        Ok(path.display().to_string())
    }
}

/// The file with the recovery key, which is drawn once for a boot. Without an end of line: programs take all of it for the key.
fn make_recovery_key(run: &Path) -> io::Result<PathBuf> {
    let path = run.join(RECOVERY_KEY);
    let kept = fs::read_to_string(&path).is_ok_and(|text| text.parse::<RecoveryKey>().is_ok());
    if !kept {
        let mut bytes = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        ThisHost.write(&path, 0o600, &RecoveryKey::new(bytes).reveal())?;
    }
    Ok(path)
}

/// Where the GUIDs of the new partitions come from: drawn once for a boot, so that a second run has the same plan.
fn seed() -> io::Result<Seed> {
    let path = Path::new(RUN).join("guid-seed");
    let mut bytes = [0; 32];
    if path.exists() {
        fs::File::open(&path)?.read_exact(&mut bytes)?;
    } else {
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        fs::write(&path, bytes)?;
    }
    Ok(Seed::new(bytes))
}

/// The time zones that this image knows, and the installed one with it.
pub fn time_zones() -> BTreeSet<String> {
    let mut zones = BTreeSet::new();
    collect(&Path::new("/").join(TIME_ZONES), "", 0, &mut zones);
    zones
}

fn collect(folder: &Path, above: &str, depth: usize, zones: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        // Zones begin with capitals; beside them lie tables and copies for other purposes.
        if !path.starts_with(|c: char| c.is_ascii_uppercase()) || depth == ZONE_DEPTH {
            continue;
        }
        if entry.path().is_dir() {
            collect(&entry.path(), &path, depth + 1, zones);
        } else {
            zones.insert(path);
        }
    }
}
