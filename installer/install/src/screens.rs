//! The screens on a terminal: keys in, pictures out. **Whatever takes longer than a beat is done on a thread of its own**, and is heard
//! of between two beats.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
    sync::mpsc::{Receiver, TryRecvError, channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use xenolith_firstboot::{common_keyboards, time_zones};
use xenolith_installer::Plan;
use xenolith_machine::{Machine, PluggedIn};
use xenolith_terminal::{Heard, Keys, Screen, shell};
use xenolith_tui::{App, Effect, Keyboard, Volume, draw};

use crate::{
    later::Later,
    records,
    session::{Failed, Session},
    watch::{NO_WORD, Said, Watch},
    work::{Checked, Confirmed, Work, check, still_there},
};

/// How long nothing may happen before the screen is looked at again: an installation tells of itself in between.
const BEAT: Duration = Duration::from_millis(100);
/// How often the whole screen is sent anew: two kilobytes, a fifth of a second of a serial line.
const REPAINT: Duration = Duration::from_secs(15);

/// What the thread that saves records says.
enum Recorded {
    Volumes(Vec<Volume>),
    Ended(Result<String, String>),
}

/// Shows the screens until somebody leaves them.
///
/// # Errors
/// When there is no terminal to show them on.
pub fn show(session: &Session) -> anyhow::Result<ExitCode> {
    let keyboards = common_keyboards(Path::new("/")).into_iter();
    let keyboards =
        keyboards.map(|(name, label)| Keyboard { name: name.to_owned(), label: label.to_owned() });
    let zones = time_zones(Path::new("/"));
    let app = App::new(session.machine.clone(), session.medium.image.clone(), session.seed, zones)
        .with_keyboards(keyboards.collect())
        .looking_for_formers();
    let mut screens = Screens::new(session.clone(), app);
    screens.look_for_formers();
    run(screens)
}

/// Shows the installation that somebody else carries out on this machine, and how it ends.
///
/// # Errors
/// When there is no terminal to show it on.
pub fn watch(session: &Session, mut watch: Watch) -> anyhow::Result<ExitCode> {
    let mut app =
        App::new(session.machine.clone(), session.medium.image.clone(), session.seed, BTreeSet::new());
    app.watch(Vec::new());
    let (sender, said) = channel();
    std::thread::spawn(move || {
        loop {
            let next = watch.next();
            let last = !matches!(next, Ok(Some(Said::Steps { .. } | Said::Event(_))));
            let failed = |error| Said::Ended { error: Some(error) };
            let said = next
                .map(|said| said.unwrap_or_else(|| failed(NO_WORD.to_owned())))
                .unwrap_or_else(|error| failed(format!("it cannot be watched: {error:#}")));
            if sender.send(said).is_err() || last {
                return;
            }
        }
    });
    let running = Some(Running { said, began: Instant::now() });
    run(Screens { running, ..Screens::new(session.clone(), app) })
}

fn run(mut screens: Screens<Session>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::open(None).context("the screens need a terminal")?;
    let ending = screens.run(&mut screen);
    drop(screen);
    screens.end();
    match ending? {
        Effect::Restart => crate::finish("reboot"),
        Effect::PowerOff => crate::finish("poweroff"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

struct Running {
    said: Receiver<Said>,
    began: Instant,
}

struct Screens<W> {
    work: W,
    app: App,
    formers: Option<Later<BTreeMap<usize, Vec<String>>>>,
    keyboard: Option<Later<String>>,
    checked: Option<Later<Checked<W>>>,
    confirmed: Option<Confirmed>,
    running: Option<Running>,
    recorded: Option<Later<Recorded>>,
}

impl<W: Work> Screens<W> {
    fn new(work: W, app: App) -> Self {
        Self {
            work,
            app,
            formers: None,
            keyboard: None,
            checked: None,
            confirmed: None,
            running: None,
            recorded: None,
        }
    }

    fn run(&mut self, screen: &mut Screen) -> anyhow::Result<Effect> {
        let (mut changed, mut shown, mut painted) = (true, None, Instant::now());
        let mut keys = Keys::default();
        loop {
            let stale = painted.elapsed() > REPAINT;
            if changed || stale {
                // Hypervisor and kernel write over a console as they please: nothing of it stays for longer than that.
                if stale || shown != Some(self.app.page()) {
                    screen.wipe()?;
                    painted = Instant::now();
                }
                screen.draw(|frame| draw(&self.app, frame))?;
                shown = Some(self.app.page());
            }
            changed = self.hear();
            let heard = keys.wait(BEAT)?;
            changed |= heard != Heard::Nothing;
            let Heard::Key(key) = heard else { continue };
            match self.app.key(key) {
                Effect::Shell => screen.aside(|| shell("The installer comes back when this shell ends."))?,
                ending @ (Effect::Restart | Effect::PowerOff | Effect::Leave) => return Ok(ending),
                effect => self.begin(effect),
            }
        }
    }

    /// What a key has asked for, as far as it is done besides the screens.
    fn begin(&mut self, effect: Effect) {
        let work = self.work.clone();
        match effect {
            Effect::Install => {
                let app = self.app.clone();
                let before = self.checked.take();
                self.checked = Some(Later::after(before, move || check(&work, &app)));
            }
            Effect::Retry => self.install(true),
            Effect::LookForVolumes => self.record(|records| records.look()),
            Effect::SaveTo(device) => self.record(move |records| records.save(&device)),
            Effect::SendTo(line) => self.record(move |records| records.send(&line)),
            Effect::Keyboard(name) => {
                let before = self.keyboard.take();
                self.keyboard = Some(Later::after(before, move || work.load_keyboard(&name)));
            }
            Effect::None | Effect::Shell | Effect::Restart | Effect::PowerOff | Effect::Leave => {}
        }
    }

    fn look_for_formers(&mut self) {
        let (before, work) = (self.formers.take(), self.work.clone());
        self.formers = Some(Later::after(before, move || work.formers()));
    }

    /// Whoever leaves finds no disk mounted, and no array running.
    fn end(self) {
        self.formers.into_iter().for_each(Later::end);
        self.checked.into_iter().for_each(Later::end);
    }

    /// What the threads have said since; whether there was anything.
    fn hear(&mut self) -> bool {
        let mut heard = self.listen();
        if let Some(formers) = Later::take(&mut self.formers) {
            // A host that cannot be read is not offered to be kept.
            self.app.formers(formers.unwrap_or_default());
            heard = true;
        }
        if let Some(note) = Later::take(&mut self.keyboard) {
            self.app.keyboard_note(note.unwrap_or_else(|fault| format!("It is not loaded: {fault}")));
            heard = true;
        }
        if let Some(recorded) = Later::take(&mut self.recorded) {
            match recorded {
                Ok(Recorded::Volumes(volumes)) => self.app.volumes(volumes),
                Ok(Recorded::Ended(how)) => self.app.saved(how),
                Err(fault) => self.app.saved(Err(fault.to_string())),
            }
            heard = true;
        }
        if let Some(checked) = Later::take(&mut self.checked).filter(|_| self.app.is_confirmed()) {
            match checked {
                Ok(Checked::Ready(work, confirmed)) => {
                    (self.work, self.confirmed) = (work, Some(*confirmed));
                    self.install(false);
                }
                Ok(Checked::Refused(why)) => self.app.refuse(&why),
                Ok(Checked::Changed(work, how)) => {
                    self.app.changed(work.machine().clone(), &how);
                    self.work = work;
                    self.look_for_formers();
                }
                Err(fault) => self.app.refuse(&[fault.to_string()]),
            }
            heard = true;
        }
        heard
    }

    /// Carries out what was confirmed. `again`: it was begun before, and its disks may have been pulled out since.
    fn install(&mut self, again: bool) {
        let Some(confirmed) = self.confirmed.clone() else { return };
        let (sender, said) = channel();
        let work = self.work.clone();
        self.app.begin();
        self.running = Some(Running { said, began: Instant::now() });
        std::thread::spawn(move || {
            // Nobody listens any more when the screens have gone, which they do not before the end.
            let mut tell = |event| drop(sender.send(Said::Event(event)));
            let there = if again { still_there(&work, &confirmed.plan) } else { Ok(()) };
            let ended = there.and_then(|()| work.install(&confirmed, &mut tell));
            drop(sender.send(Said::Ended { error: ended.err().as_ref().map(Failed::in_words) }));
        });
    }

    /// Does something about records: sticks and servers take their time.
    fn record(&mut self, what: impl FnOnce(&Records) -> Recorded + Send + 'static) {
        let records = Records {
            machine: self.work.machine().clone(),
            log: self.app.log().to_vec(),
            plan: self.app.plan().cloned(),
        };
        self.recorded = Some(Later::after(self.recorded.take(), move || what(&records)));
    }

    /// What the installation has said since; whether there was anything.
    fn listen(&mut self) -> bool {
        let Some(running) = &self.running else { return false };
        let mut heard = false;
        loop {
            let said = running.said.try_recv();
            match said {
                Ok(Said::Event(event)) => self.app.tell(&event, running.began.elapsed()),
                Ok(Said::Steps { steps }) => self.app.watch(steps),
                Ok(Said::Ended { error: None }) => {
                    let plan = self.confirmed.as_ref().map(|confirmed| &confirmed.plan);
                    match plan.map(|plan| self.work.recovery_key(plan)).transpose() {
                        Ok(key) => self.app.done(key.flatten()),
                        // Without it nobody could open the state but the TPM.
                        Err(error) => {
                            self.app.failed(&format!("the recovery key cannot be shown: {error:#}"))
                        }
                    }
                }
                Ok(Said::Ended { error: Some(why) }) => self.app.failed(&why),
                Err(TryRecvError::Empty) => return heard,
                Err(TryRecvError::Disconnected) => {
                    self.running = None;
                    return heard;
                }
            }
            heard = true;
        }
    }
}

/// What there is to save.
struct Records {
    machine: Machine,
    log: Vec<String>,
    plan: Option<Plan>,
}

impl Records {
    fn look(&self) -> Recorded {
        match records::sticks(self.plan.as_ref()) {
            Ok(sticks) => Recorded::Volumes(sticks.iter().map(volume).collect()),
            Err(error) => Recorded::Ended(Err(format!("no sticks can be looked for: {error:#}"))),
        }
    }

    fn save(&self, device: &str) -> Recorded {
        let saved = records::save(Path::new(device), &self.machine, &self.files());
        Recorded::Ended(saved.map_err(|error| format!("{error:#}")))
    }

    fn send(&self, line: &str) -> Recorded {
        Recorded::Ended(records::send(line, &self.files()).map_err(|error| format!("{error:#}")))
    }

    fn files(&self) -> Vec<records::RecordFile> {
        records::gather(&self.log, self.plan.as_ref(), &Session::kept())
    }
}

fn volume(stick: &PluggedIn) -> Volume {
    let PluggedIn { kernel_name, size, file_system, label, model } = stick;
    let (size, model) = (size.to_string(), model.as_deref().unwrap_or("-"));
    let label = label.as_deref().map_or_else(String::new, |label| format!(" \"{label}\""));
    Volume {
        device: format!("/dev/{kernel_name}"),
        label: format!("{kernel_name:<9}{size:>9}  {model}  {file_system}{label}"),
    }
}

#[cfg(test)]
mod tests;
