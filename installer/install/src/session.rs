//! One installation: what every face of it shares.

use std::{
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use fs_err as fs;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use xenolith_answers::{Answers, Kept};
use xenolith_firstboot::{Facts, Former, KeptIdentity, System as _, ThisHost};
use xenolith_installer::{Event, FileDevices, Journal, Plan, PlanError, Source, execute, plan};
use xenolith_layout::{
    Seed,
    names::{INSTALL_FAILED, STATE_KEPT_IDENTITY, STATE_POOL_PASSWORD, STATE_SECRETS, STATE_SETTINGS},
    seal::RecoveryKey,
};
use xenolith_machine::{Capture, Disk, Machine};
use xenolith_probe::{Installed, capture};
use xenolith_settings::SecretPlace;

use crate::{
    former,
    medium::Medium,
    settings,
    watch::{Record, Said},
};

/// There, the recovery key of an encrypted state: kept until the machine is started anew, so that an installation that goes on where it
/// was, and whoever has missed it, finds the one that the state has.
const RECOVERY_KEY: &str = "recovery-key";

/// An error with the exit code that goes with it.
pub struct Failed(pub u8, pub anyhow::Error);

impl Failed {
    /// What has failed and why, a cause a line.
    pub fn in_words(&self) -> String {
        self.1.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

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

/// What the installed host needs to know and answers must not hold. It has no `Debug`, and goes into the host's state alone.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The password of whoever vouches for the host at a pool.
    pub pool_password: Option<String>,
    /// What the host before was known by, if this one is to be known by it.
    pub identity: Option<KeptIdentity>,
}

impl Secrets {
    /// Makes the folder of secrets in `state` anew.
    fn write(&self, state: &Path) -> io::Result<()> {
        remove(&state.join(STATE_SECRETS))?;
        let identity = self
            .identity
            .as_ref()
            .map(|identity| serde_json::to_string(identity).expect("texts always serialise"));
        let secrets = [(STATE_POOL_PASSWORD, &self.pool_password), (STATE_KEPT_IDENTITY, &identity)];
        if secrets.iter().all(|(_, secret)| secret.is_none()) {
            return Ok(());
        }
        let folder = state.join(STATE_SECRETS);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        let known = secrets.into_iter().filter_map(|(path, secret)| Some((path, secret.as_ref()?)));
        known.into_iter().try_for_each(|(path, secret)| ThisHost.write(&state.join(path), 0o600, secret))
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Secrets {
    /// What these answers keep of the host before, and the password that was typed for a pool.
    pub fn of(answers: &Answers, former: Option<&Former>, pool_password: Option<&str>) -> Self {
        let identity = former.filter(|_| answers.keeps(Kept::Identity)).map(|former| former.identity.clone());
        Self { pool_password: pool_password.map(str::to_owned), identity }
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
    /// Where what was done is written down, and what is put together before it is written to a disk.
    pub const RUN: &str = "/run/xenolith/install";

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
        let medium = Medium::running().code(4)?;
        fs::create_dir_all(Self::RUN).code(7)?;
        let facts = Facts::on(machine.clone(), Path::new("/"));
        Ok(Self { machine, medium, seed: seed().code(7)?, facts })
    }

    /// The same with the machine as it was found another time.
    #[must_use]
    pub fn on(&self, machine: Machine) -> Self {
        let facts = Facts::on(machine.clone(), Path::new("/"));
        Self { machine, medium: self.medium.clone(), seed: self.seed, facts }
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

    /// These answers with what they keep of the host on their target, and that host. Nothing is written.
    ///
    /// # Errors
    /// Code 3 if there is nothing to keep, or no plan.
    pub fn with_kept(&self, answers: &Answers) -> Result<(Answers, Option<Former>), Failed> {
        if answers.kept.is_none() {
            return Ok((answers.clone(), None));
        }
        // What is kept does not change where the system goes.
        let mut as_if = answers.clone();
        as_if.target.erase = true;
        let planned = plan(&self.machine, &as_if, &self.medium.image, self.seed).code(3)?;
        let is_target = |disk: &&Disk| planned.targets.iter().any(|target| target.disk.path == disk.path());
        let targets: Vec<&Disk> = self.machine.disks.iter().filter(is_target).collect();
        let former = former::on(&self.machine, &targets)
            .context("its settings cannot be kept, and nothing was changed")
            .code(3)?;
        let answers = answers.with_kept(&former.settings);
        let problems: Vec<String> = answers.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            let why = anyhow::anyhow!("what would be kept cannot be used:\n  {}", problems.join("\n  "));
            return Err(Failed(3, why));
        }
        Ok((answers, Some(former)))
    }

    /// What the installed host will be told.
    ///
    /// # Errors
    /// What would not be carried out, and why.
    pub fn settings(&self, answers: &Answers, plan: Option<&Plan>) -> Result<String, Vec<String>> {
        settings::settings(answers, plan, &self.facts, None)
    }

    /// Carries a plan out that was confirmed; goes on where it was if it is the same as before.
    ///
    /// # Errors
    /// Code 7 with the step that failed; 4 if the medium cannot be read, or another installation is under way.
    pub fn install(
        &self,
        answers: &Answers,
        plan: &Plan,
        secrets: &Secrets,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Failed> {
        let run = Path::new(Self::RUN);
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
        let mut record = Record::begin(run, plan).code(7)?;
        let mut tell = |event: Event| {
            record.say(&Said::Event(event.clone()));
            tell(event);
        };
        let ended = self.carry_out(answers, plan, secrets, &mut tell);
        record.say(&Said::Ended { error: ended.as_ref().err().map(Failed::in_words) });
        ended
    }

    /// As [`Session::install`], by the one process that installs.
    fn carry_out(
        &self,
        answers: &Answers,
        plan: &Plan,
        secrets: &Secrets,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Failed> {
        let run = Path::new(Self::RUN);
        // Whatever an earlier attempt has failed with is not how it stands any more.
        let _ = fs::remove_file(INSTALL_FAILED);
        let state = run.join("state");
        fs::create_dir_all(&state).code(7)?;
        let password = secrets.pool_password.as_ref().map(|_| SecretPlace::State);
        let settings = settings::settings(answers, Some(plan), &self.facts, password)
            .map_err(|refused| Failed(3, anyhow::anyhow!(refused.join("\n"))))?;
        // With its mode: it may hold the hash of a password.
        ThisHost.write(&state.join(STATE_SETTINGS), 0o600, &settings).code(7)?;
        secrets.write(&state).code(7)?;
        let source = Source {
            root: self.medium.root.clone(),
            verity: self.medium.verity.clone(),
            esp: self.medium.esp(&mut |done, total| tell(Event::Reading { done, total })).code(4)?,
            state: state.clone(),
            recovery_key: plan.seal().map(|_| make_recovery_key(run)).transpose().code(7)?,
            scratch: run.to_owned(),
        };
        let hash = plan.hash();
        // Other answers make another plan, which begins at its beginning.
        let mut journal = Journal::open(&run.join(format!("journal-{hash}")), &hash).code(7)?;
        let ended = execute(plan, &hash, &source, &FileDevices, &mut journal, tell).code(7);
        // Another try writes it again.
        remove(&state.join(STATE_SECRETS)).code(7)?;
        ended
    }

    /// Where [`Session::keep`] keeps answers.
    pub fn kept() -> PathBuf {
        Path::new(Self::RUN).join("answers.toml")
    }

    /// The recovery key of the state that this plan makes, once it was carried out. Shown, and never written to a log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn recovery_key(&self, plan: &Plan) -> anyhow::Result<Option<RecoveryKey>> {
        if plan.seal().is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(Path::new(Self::RUN).join(RECOVERY_KEY))?;
        Ok(Some(text.parse().context("the recovery key was not kept")?))
    }

    /// Keeps answers as a file for other machines, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, answers: &Answers) -> anyhow::Result<String> {
        let path = Self::kept();
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
    let path = Path::new(Session::RUN).join("guid-seed");
    let mut bytes = [0; 32];
    if path.exists() {
        fs::File::open(&path)?.read_exact(&mut bytes)?;
    } else {
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        fs::write(&path, bytes)?;
    }
    Ok(Seed::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_secret_lies_where_only_root_looks_and_is_gone_when_there_is_none() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join(STATE_POOL_PASSWORD);
        for password in ["hunter2", "other"] {
            Secrets { pool_password: Some(password.to_owned()), identity: None }.write(state.path()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), password);
            assert_eq!((mode(&state.path().join(STATE_SECRETS)), mode(&file)), (0o700, 0o600));
        }
        for _ in 0..2 {
            Secrets::default().write(state.path()).unwrap();
            assert!(!state.path().join(STATE_SECRETS).exists());
        }
    }
}
