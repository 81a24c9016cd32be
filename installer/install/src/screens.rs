//! The screens on a terminal: keys in, pictures out, the installation on a thread of its own.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    process::ExitCode,
    sync::mpsc::{Receiver, TryRecvError, channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ratatui::crossterm::event;
use xenolith_answers::Answers;
use xenolith_firstboot::{common_keyboards, is_screen, load_keyboard, time_zones};
use xenolith_installer::Plan;
use xenolith_machine::PluggedIn;
use xenolith_terminal::{Screen, meaning, shell};
use xenolith_tui::{App, Effect, Keyboard, Volume, draw};

use crate::{
    former, records,
    session::{Failed, Secrets, Session},
    watch::{NO_WORD, Said, Watch},
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
    let formers =
        former::all(&session.machine).iter().map(|(disk, former)| (*disk, former.lines())).collect();
    let zones = time_zones(Path::new("/"));
    let app = App::new(session.machine.clone(), session.medium.image.clone(), session.seed, zones)
        .with_keyboards(keyboards.collect())
        .with_formers(formers);
    run(Screens { session, app, running: None, recorded: None, confirmed: None })
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
    run(Screens { session, app, running, recorded: None, confirmed: None })
}

fn run(screens: Screens<'_>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::open(None).context("the screens need a terminal")?;
    let ending = screens.run(&mut screen);
    drop(screen);
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

struct Screens<'a> {
    session: &'a Session,
    app: App,
    running: Option<Running>,
    recorded: Option<Receiver<Recorded>>,
    confirmed: Option<(Answers, Plan, Secrets)>,
}

impl Screens<'_> {
    fn run(mut self, screen: &mut Screen) -> anyhow::Result<Effect> {
        let (mut changed, mut shown, mut painted) = (true, None, Instant::now());
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
            changed = self.listen() | self.hear_of_records();
            if !event::poll(BEAT)? {
                continue;
            }
            changed = true;
            let event::Event::Key(key) = event::read()? else { continue };
            let Some(key) = meaning(key) else { continue };
            match self.app.key(key) {
                Effect::None => {}
                Effect::Install => self.confirm(),
                Effect::Retry => self.begin(),
                Effect::Shell => screen.aside(|| shell("The installer comes back when this shell ends."))?,
                Effect::LookForVolumes => self.record(|records| records.look()),
                Effect::SaveTo(device) => self.record(move |records| records.save(&device)),
                Effect::SendTo(line) => self.record(move |records| records.send(&line)),
                Effect::Keyboard(name) => self.app.keyboard_note(load(&name)),
                ending @ (Effect::Restart | Effect::PowerOff | Effect::Leave) => return Ok(ending),
            }
        }
    }

    /// Answers are made of what was filled in, and what would not be carried out is said before anything is done.
    fn confirm(&mut self) {
        let Some(plan) = self.app.plan().cloned() else { return };
        let answers = match self.app.answers() {
            Ok(answers) => answers,
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                return self.app.refuse(&lines);
            }
        };
        if let Err(error) = self.session.keep(&answers) {
            return self.app.refuse(&[format!("the answers cannot be kept: {error:#}")]);
        }
        let (answers, former) = match self.session.with_kept(&answers) {
            Ok(with_kept) => with_kept,
            Err(Failed(_, error)) => return self.app.refuse(&[format!("{error:#}")]),
        };
        if let Err(refused) = self.session.settings(&answers, Some(&plan)) {
            return self.app.refuse(&refused);
        }
        let secrets = Secrets::of(&answers, former.as_ref(), self.app.pool_password());
        self.confirmed = Some((answers, plan, secrets));
        self.begin();
    }

    fn begin(&mut self) {
        let Some((answers, plan, secrets)) = self.confirmed.clone() else { return };
        let (sender, said) = channel();
        let session = self.session.clone();
        self.app.begin();
        self.running = Some(Running { said, began: Instant::now() });
        std::thread::spawn(move || {
            // Nobody listens any more when the screens have gone, which they do not before the end.
            let mut tell = |event| drop(sender.send(Said::Event(event)));
            let ended = session.install(&answers, &plan, &secrets, &mut tell);
            drop(sender.send(Said::Ended { error: ended.err().as_ref().map(Failed::in_words) }));
        });
    }

    /// Does something about records on a thread of its own: sticks and servers take their time.
    fn record(&mut self, what: impl FnOnce(&Records) -> Recorded + Send + 'static) {
        let (sender, recorded) = channel();
        let records = Records {
            session: self.session.clone(),
            log: self.app.log().to_vec(),
            plan: self.app.plan().cloned(),
        };
        self.recorded = Some(recorded);
        // Nobody listens any more where the screens have gone.
        std::thread::spawn(move || drop(sender.send(what(&records))));
    }

    fn hear_of_records(&mut self) -> bool {
        let recorded = match self.recorded.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return false,
            Some(Ok(recorded)) => recorded,
            Some(Err(TryRecvError::Disconnected)) => {
                Recorded::Ended(Err("the installer has a fault".to_owned()))
            }
        };
        self.recorded = None;
        match recorded {
            Recorded::Volumes(volumes) => self.app.volumes(volumes),
            Recorded::Ended(how) => self.app.saved(how),
        }
        true
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
                    let plan = self.confirmed.as_ref().map(|(_, plan, _)| plan);
                    match plan.map(|plan| self.session.recovery_key(plan)).transpose() {
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
    session: Session,
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
        let saved = records::save(Path::new(device), &self.session.machine, &self.files());
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

/// Loads a keyboard on the terminal that the screens are on, and says what came of it.
fn load(keyboard: &str) -> String {
    let terminal = nix::unistd::ttyname(io::stdin()).unwrap_or_default();
    if !is_screen(&terminal) {
        return "For the installed host: this terminal is no screen of the machine, and keeps its own keyboard.".to_owned();
    }
    match load_keyboard(keyboard, &terminal) {
        Ok(()) => "It is loaded.".to_owned(),
        Err(error) => format!("It is not loaded: {error}"),
    }
}
