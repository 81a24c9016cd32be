//! The state of the console, and what a key, an answer or the time makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use xenolith_settings::Problem;
use xenolith_terminal::Key;

use crate::edit::Edit;
use crate::form::Form;
use crate::lock::Lock;
use crate::look::{Known, Look, OnEnter};
use crate::page::Page;
use crate::pager::Pager;
use crate::secret::Secret;

/// A login ends by itself after so long without a key.
pub const LOGGED_OUT_AFTER: Duration = Duration::from_secs(300);
/// A password that nobody types on with is not waited for.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// A network that is tried is taken back after so long, unless it is kept.
pub const TRIAL: Duration = Duration::from_secs(60);

/// What is read for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// What whoever has logged in may change, and the status.
    Everything,
    /// What this page shows.
    Page(Page),
    /// A log.
    Log {
        /// Which.
        unit: String,
        /// How many boots ago.
        boots_ago: usize,
    },
}

/// What changes the host, or may take long.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Set the network up so, for a minute.
    TryNetwork(Edit),
    /// Keep it so.
    KeepNetwork,
    /// Take it back.
    RevertNetwork,
    /// Every interface asks for an address, whatever the settings say.
    ResetNetwork,
    /// Ping and look up.
    Test {
        /// What is pinged; empty for the routers.
        target: String,
        /// What is looked up; empty for nothing.
        name: String,
    },
    /// Change the settings, and what follows.
    Edit(Edit),
    /// Switch SSH on or off.
    Ssh(bool),
    /// Do again what first boot has not done.
    Retry,
    /// Write the archive.
    Archive,
    /// Start anew.
    Restart,
    /// Switch off.
    PowerOff,
}

impl Action {
    /// Whether somebody loses something by it, so that it is asked for twice. A network that is tried comes back by itself.
    pub const fn is_destructive(&self) -> bool {
        matches!(self, Self::ResetNetwork | Self::Ssh(false) | Self::Restart | Self::PowerOff)
    }
}

/// What whoever runs the console has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing but drawing.
    None,
    /// Start the installer.
    Install,
    /// Say whether this is root's password: [`App::told_login`].
    Check(Secret),
    /// Read something: [`App::told_look`], [`App::told_known`], [`App::told_page`], [`App::told_log`].
    Read(Read),
    /// Do something: [`App::told_done`].
    Act(Action),
    /// Leave the screen for a shell, and come back.
    Shell,
    /// The login has ended.
    LoggedOut,
}

/// How far somebody has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// The status, and nothing else.
    Locked,
    /// root's password is asked for.
    Login {
        /// What was typed.
        password: Secret,
        /// What came of it before.
        note: Option<String>,
        /// It is being checked.
        checking: bool,
    },
    /// The menus.
    Open,
}

/// Something that covers the page until it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialog {
    /// What it is about.
    pub(crate) title: String,
    /// What it says.
    pub(crate) words: Vec<String>,
    /// What is done after a yes; nothing if there is nothing to be asked.
    pub(crate) then: Option<Action>,
    /// Whether the focus is on yes.
    pub(crate) yes: bool,
}

/// The console.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) look: Option<Look>,
    pub(crate) known: Option<Known>,
    pub(crate) texts: BTreeMap<Page, Vec<String>>,
    pub(crate) stage: Stage,
    pub(crate) page: Page,
    /// The keys are for the page, not for the menu.
    pub(crate) inside: bool,
    pub(crate) focus: usize,
    pub(crate) form: Form,
    pub(crate) problems: Vec<Problem>,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) busy: Option<String>,
    /// When a network that is tried is taken back.
    pub(crate) trial: Option<Duration>,
    pub(crate) log: Option<Pager>,
    pub(crate) help: bool,
    /// The terminal shows block characters.
    pub(crate) blocks: bool,
    pub(crate) now: Duration,
    pub(crate) last_key: Duration,
    pub(crate) lock: Lock,
    pub(crate) height: usize,
    /// Lines that a page was moved up by.
    pub(crate) scroll: usize,
    /// What was filled in has been done: what is read next is what is shown.
    pub(crate) done: bool,
}

impl App {
    /// The console before anything is known. `blocks` says whether the terminal shows block characters.
    pub fn new(blocks: bool) -> Self {
        Self {
            look: None,
            known: None,
            texts: BTreeMap::new(),
            stage: Stage::Locked,
            page: Page::Status,
            inside: false,
            focus: 0,
            form: Form::default(),
            problems: Vec::new(),
            dialog: None,
            busy: None,
            trial: None,
            log: None,
            help: false,
            blocks,
            now: Duration::ZERO,
            last_key: Duration::ZERO,
            lock: Lock::default(),
            height: 20,
            scroll: 0,
            done: false,
        }
    }

    /// Behind the login, for whoever has proven elsewhere to be root.
    pub fn open(&mut self) -> Effect {
        self.stage = Stage::Open;
        Effect::Read(Read::Everything)
    }

    /// How far somebody has come.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The page that is shown.
    pub fn page(&self) -> Page {
        self.page
    }

    /// Whether something waits for yes or no, or to be read.
    pub fn asks(&self) -> Option<&Action> {
        self.dialog.as_ref()?.then.as_ref()
    }

    /// Whether a network is being tried.
    pub fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether an answer is on its way.
    pub fn waits(&self) -> bool {
        let reads = self.page.reads().is_some() && !self.texts.contains_key(&self.page);
        match self.stage {
            Stage::Locked => false,
            Stage::Login { checking, .. } => checking,
            Stage::Open => self.busy.is_some() || self.known.is_none() || (self.inside && reads),
        }
    }

    /// What is known of the host.
    pub fn look(&self) -> Option<&Look> {
        self.look.as_ref()
    }

    /// How many lines of a page the terminal shows, which says how far a screenful is.
    pub fn set_height(&mut self, height: usize) {
        self.height = height;
    }

    /// What a key does.
    pub fn key(&mut self, key: Key) -> Effect {
        self.last_key = self.now;
        if self.help {
            self.help = false;
            return Effect::None;
        }
        match &mut self.stage {
            Stage::Locked => self.key_locked(key),
            Stage::Login { checking: true, .. } => Effect::None,
            Stage::Login { password, .. } => match key {
                Key::Char(character) => {
                    password.push(character);
                    Effect::None
                }
                Key::Erase => {
                    password.pop();
                    Effect::None
                }
                Key::Back => self.log_out(),
                Key::Enter => self.try_password(),
                _ => Effect::None,
            },
            Stage::Open => self.key_open(key),
        }
    }

    /// What the time does, which is counted since the program began.
    pub fn tick(&mut self, now: Duration) -> Effect {
        self.now = now;
        let idle = now.saturating_sub(self.last_key);
        if self.trial.is_some_and(|until| now >= until) {
            self.trial = None;
            self.busy = Some("The network is taken back".to_owned());
            return Effect::Act(Action::RevertNetwork);
        }
        match self.stage {
            Stage::Open if idle >= LOGGED_OUT_AFTER => self.log_out(),
            Stage::Login { .. } if idle >= LOGIN_WITHIN => self.log_out(),
            _ => Effect::None,
        }
    }

    /// The state of the host.
    pub fn told_look(&mut self, look: Look) {
        self.look = Some(look);
    }

    /// What may be changed, as it is now. What somebody is filling in stays.
    pub fn told_known(&mut self, known: Known) {
        if self.stage != Stage::Open {
            return;
        }
        let untouched = self.known.as_ref().is_none_or(|before| self.form == Form::of(before));
        if untouched || !self.inside || self.done {
            let (target, lookup) = (self.form.target.clone(), self.form.lookup.clone());
            let (unit, boot) = (self.form.unit, self.form.boot);
            self.form = Form { target, lookup, unit, boot, ..Form::of(&known) };
        }
        self.done = false;
        self.known = Some(known);
        self.keep_focus();
    }

    /// What a page shows.
    pub fn told_page(&mut self, page: Page, lines: Vec<String>) {
        if self.stage == Stage::Open {
            self.texts.insert(page, lines);
        }
    }

    /// A log.
    pub fn told_log(&mut self, title: String, lines: Vec<String>) {
        self.busy = None;
        if self.stage == Stage::Open {
            self.log = Some(Pager::at_end(title, lines));
        }
    }

    /// Whether the password was right, or why nobody can say.
    pub fn told_login(&mut self, right: Result<bool, String>) -> Effect {
        let Stage::Login { password, note, checking } = &mut self.stage else { return Effect::None };
        (*password, *checking) = (Secret::default(), false);
        match right {
            Ok(true) => {
                self.lock.passed();
                self.stage = Stage::Open;
                self.page = Page::Status;
                (self.inside, self.focus) = (false, 0);
                self.last_key = self.now;
                Effect::Read(Read::Everything)
            }
            Ok(false) => {
                self.lock.failed(self.now);
                *note = Some("That is not root's password.".to_owned());
                Effect::None
            }
            Err(why) => {
                self.lock.failed(self.now);
                *note = Some(format!("The password cannot be checked: {why}"));
                Effect::None
            }
        }
    }

    /// What came of an action. Whoever has done it reads everything anew.
    pub fn told_done(&mut self, action: &Action, came: Result<Vec<String>, String>) {
        self.busy = None;
        match (action, &came) {
            (Action::TryNetwork(_), Ok(_)) => {
                self.trial = Some(self.now + TRIAL);
                self.focus = 0;
                return;
            }
            (Action::KeepNetwork | Action::RevertNetwork, Ok(_)) => self.trial = None,
            _ => {}
        }
        self.problems.clear();
        self.keep_focus();
        self.done |= came.is_ok() && !matches!(action, Action::Test { .. } | Action::Archive);
        // Nobody who is not logged in reads what an action has to say.
        if self.stage != Stage::Open {
            return;
        }
        let (title, words) = match came {
            Ok(words) if words.is_empty() => ("Done", vec!["It is done.".to_owned()]),
            Ok(words) => ("Done", words),
            Err(why) => ("That did not work", why.lines().map(str::to_owned).collect()),
        };
        self.dialog = Some(Dialog { title: title.to_owned(), words, then: None, yes: false });
    }

    /// Somebody was in a shell meanwhile, which is not idle.
    pub fn came_back(&mut self, now: Duration) {
        (self.now, self.last_key) = (now, now);
    }

    /// Ends the login. A network that is tried is taken back as if nobody had gone.
    pub fn log_out(&mut self) -> Effect {
        let (look, lock, trial) = (self.look.take(), self.lock, self.trial);
        let (now, height, busy) = (self.now, self.height, self.busy.take());
        *self = Self { look, lock, trial, now, height, busy, last_key: now, ..Self::new(self.blocks) };
        Effect::LoggedOut
    }

    /// Shows a page of the menu, as if somebody had gone there.
    pub fn turn_to(&mut self, page: Page) -> Effect {
        self.page = page;
        (self.inside, self.focus, self.scroll) = (false, 0, 0);
        self.problems.clear();
        match page.reads() {
            Some(read) if !self.texts.contains_key(&page) => Effect::Read(read),
            _ => Effect::None,
        }
    }

    fn key_locked(&mut self, key: Key) -> Effect {
        let Some(look) = &self.look else { return Effect::None };
        match (key, look.on_enter()) {
            (Key::Enter, OnEnter::Install) => Effect::Install,
            (Key::Enter, OnEnter::Login) => {
                self.stage = Stage::Login { password: Secret::default(), note: None, checking: false };
                Effect::None
            }
            _ => Effect::None,
        }
    }

    fn try_password(&mut self) -> Effect {
        let wait = self.lock.wait(self.now);
        let Stage::Login { password, checking, .. } = &mut self.stage else { return Effect::None };
        // Who has to wait is told so where the time that is left is shown.
        if wait.is_some() {
            *password = Secret::default();
            return Effect::None;
        }
        if password.is_empty() {
            return self.log_out();
        }
        *checking = true;
        Effect::Check(password.clone())
    }
}
