//! What the screens have done. All of it may take its time, so all of it is done on threads of their own.

use std::{collections::BTreeMap, io};

use xenolith_answers::Answers;
use xenolith_firstboot::{is_screen, load_keyboard};
use xenolith_installer::{Event, Plan};
use xenolith_layout::seal::RecoveryKey;
use xenolith_machine::Machine;
use xenolith_tui::App;

use crate::{
    changed::{changes, missing},
    former,
    session::{Failed, Secrets, Session},
};

/// An installation that somebody has confirmed.
#[derive(Clone)]
pub struct Confirmed {
    /// All that was answered.
    pub answers: Answers,
    /// What was shown.
    pub plan: Plan,
    /// What is in no answers.
    pub secrets: Secrets,
}

/// A machine, and what is done on it; a test has another, which is as slow as it wants.
pub trait Work: Clone + Send + 'static {
    /// The machine as it was looked at.
    fn machine(&self) -> &Machine;

    /// The same on the machine as it is now.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn look_again(&self) -> Result<Self, Failed>;

    /// What can be kept of the hosts on its disks, in words, by the places of the disks.
    fn formers(&self) -> BTreeMap<usize, Vec<String>>;

    /// Loads a keyboard on the terminal that the screens are on, and says what came of it.
    fn load_keyboard(&self, name: &str) -> String;

    /// All that has to be known before the first byte is written.
    ///
    /// # Errors
    /// What would not be carried out, and why.
    fn prepare(
        &self,
        answers: &Answers,
        plan: &Plan,
        password: Option<&str>,
    ) -> Result<Confirmed, Vec<String>>;

    /// Carries it out, or goes on with it.
    ///
    /// # Errors
    /// With what has failed.
    fn install(&self, confirmed: &Confirmed, tell: &mut dyn FnMut(Event)) -> Result<(), Failed>;

    /// The recovery key of the state that was made, if that is encrypted.
    ///
    /// # Errors
    /// When it cannot be read.
    fn recovery_key(&self, plan: &Plan) -> anyhow::Result<Option<RecoveryKey>>;
}

impl Work for Session {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn look_again(&self) -> Result<Self, Failed> {
        Ok(self.on(Self::machine(None)?))
    }

    fn formers(&self) -> BTreeMap<usize, Vec<String>> {
        former::all(&self.machine).iter().map(|(disk, former)| (*disk, former.lines())).collect()
    }

    fn load_keyboard(&self, name: &str) -> String {
        let terminal = nix::unistd::ttyname(io::stdin()).unwrap_or_default();
        if !is_screen(&terminal) {
            return "For the installed host: this terminal is no screen of the machine, and keeps its own keyboard.".to_owned();
        }
        match load_keyboard(name, &terminal) {
            Ok(()) => "It is loaded.".to_owned(),
            Err(error) => format!("It is not loaded: {error}"),
        }
    }

    fn prepare(
        &self,
        answers: &Answers,
        plan: &Plan,
        password: Option<&str>,
    ) -> Result<Confirmed, Vec<String>> {
        self.keep(answers).map_err(|error| vec![format!("the answers cannot be kept: {error:#}")])?;
        let (answers, former) =
            self.with_kept(answers).map_err(|Failed(_, error)| vec![format!("{error:#}")])?;
        self.settings(&answers, Some(plan))?;
        let secrets = Secrets::of(&answers, former.as_ref(), password);
        Ok(Confirmed { answers, plan: plan.clone(), secrets })
    }

    fn install(&self, confirmed: &Confirmed, tell: &mut dyn FnMut(Event)) -> Result<(), Failed> {
        let Confirmed { answers, plan, secrets } = confirmed;
        Self::install(self, answers, plan, secrets, tell)
    }

    fn recovery_key(&self, plan: &Plan) -> anyhow::Result<Option<RecoveryKey>> {
        Self::recovery_key(self, plan)
    }
}

/// Whether what was confirmed can be done.
pub enum Checked<W> {
    /// It can, on the machine as it is now.
    Ready(W, Box<Confirmed>),
    /// Something would not be carried out.
    Refused(Vec<String>),
    /// The machine is another one than was shown, in these ways.
    Changed(W, Vec<String>),
}

/// Checks what is shown on the summary of `app`: **nothing is installed that is not what was shown there**. Takes a second for the hash
/// of the password, one for the machine, and more for a host that is kept.
pub fn check<W: Work>(work: &W, app: &App) -> Checked<W> {
    let Some(shown) = app.plan() else {
        return Checked::Refused(vec!["there is no plan".to_owned()]);
    };
    let answers = match app.answers() {
        Ok(answers) => answers,
        Err(problems) => return Checked::Refused(problems.iter().map(ToString::to_string).collect()),
    };
    let now = match work.look_again() {
        Ok(now) => now,
        Err(Failed(_, error)) => {
            return Checked::Refused(vec![format!("the machine cannot be looked at: {error:#}")]);
        }
    };
    let planned = app.plan_on(now.machine());
    if planned.as_ref().is_ok_and(|planned| planned.hash() == shown.hash()) {
        return match now.prepare(&answers, shown, app.pool_password()) {
            Ok(confirmed) => Checked::Ready(now, Box::new(confirmed)),
            Err(refused) => Checked::Refused(refused),
        };
    }
    let mut how = changes(work.machine(), now.machine());
    if how.is_empty() {
        how.push("With it, another installation than the one that was shown would be made.".to_owned());
    }
    Checked::Changed(now, how)
}

/// Whether the disks of a plan, which was begun, are still the same.
///
/// # Errors
/// Code 7 with those that are not.
pub fn still_there(work: &impl Work, plan: &Plan) -> Result<(), Failed> {
    let missing = missing(plan, work.look_again()?.machine());
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failed(
        7,
        anyhow::anyhow!("the machine has changed, and nothing more was written:\n{}", missing.join("\n")),
    ))
}
