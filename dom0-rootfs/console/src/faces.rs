//! The terminal of the console: a screen, a serial line with a terminal at its other end, or one with a log.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use xenolith_console::{Action, App, Effect, LOGGED_OUT_AFTER, OnEnter, Read, Stage, draw, plain, serial};
use xenolith_firstboot::is_screen;
use xenolith_terminal::{Heard, Key, Keys, SMALLEST, Screen, Typed, Typing, answers, shell};

use zeroize::Zeroizing;

use crate::jobs::{self, Told};
use crate::watch::watch;

/// How long nothing may happen before it is looked what threads have to say: while somebody works here, and while nobody does.
const BEAT: Duration = Duration::from_millis(100);
const SLOW_BEAT: Duration = Duration::from_secs(1);
/// Hypervisor and kernel write over a console as they please: nothing of it stays for longer than that.
const REPAINT: Duration = Duration::from_secs(15);
/// The same while nobody works here: a screen that flickers is a nuisance.
const SLOW_REPAINT: Duration = Duration::from_secs(60);
/// How long an error of the installer stays where nobody presses a key.
const TIME_TO_READ: Duration = Duration::from_secs(120);
/// How long numbered lines wait for an answer before they are shown without it.
const ANSWER: Duration = Duration::from_secs(20);
const INSTALLER: &str = "/usr/bin/xenolith-install";
/// What the kernel gives at once (n_tty), so that a password is not copied to a larger place.
const LONGEST_LINE: usize = 2 * 4096;
const AFTER_SHELL: &str = "The console comes back when this shell ends.";

/// Shows the console until the terminal has gone.
///
/// # Errors
/// When it has.
pub fn show(plain: bool, open: bool) -> anyhow::Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "it changes the host, and so runs as root");
    let terminal = nix::unistd::ttyname(io::stdin()).unwrap_or_default();
    let picture = !plain && is_screen(&terminal) && draws();
    let mut console = Console::new(picture && has_blocks(), terminal);
    if open {
        let begun = console.app.open();
        console.start(begun);
        let draws = !plain && draws();
        let shown = if draws { console.pictures(Some(SMALLEST)) } else { console.lines() };
        return Ok(shown?);
    }
    if picture {
        return Ok(console.pictures(None)?);
    }
    loop {
        match console.status_as_text()? {
            OnEnter::Nothing => {}
            OnEnter::Install => install()?,
            OnEnter::Login => match if plain || !draws() { None } else { answers()? } {
                Some(size) => console.pictures(Some(size))?,
                None => console.lines()?,
            },
        }
    }
}

/// Whether the terminal says of itself that it cannot.
fn draws() -> bool {
    std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb" && term != "unknown")
}

/// Whether a screen of the machine understands UTF-8, in which block characters are written. Of a serial line nobody knows.
fn has_blocks() -> bool {
    let said = fs_err::read_to_string("/sys/module/vt/parameters/default_utf8").unwrap_or_default();
    matches!(said.trim(), "1" | "Y")
}

struct Console {
    app: App,
    terminal: PathBuf,
    began: Instant,
    tell: Sender<Told>,
    told: Receiver<Told>,
    wake: Sender<()>,
}

impl Console {
    fn new(blocks: bool, terminal: PathBuf) -> Self {
        let (tell, told) = channel();
        let (wake, woken) = channel();
        let teller = tell.clone();
        std::thread::spawn(move || watch(&teller, &woken));
        Self { app: App::new(blocks), terminal, began: Instant::now(), tell, told, wake }
    }

    /// What the threads have said since; whether there was anything.
    fn listen(&mut self) -> bool {
        let mut heard = false;
        while let Ok(told) = self.told.try_recv() {
            heard = true;
            self.hear(told);
        }
        heard
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Look(look) => self.app.told_look(*look),
            Told::Login(right) => {
                let effect = self.app.told_login(right);
                self.start(effect);
            }
            Told::Known(known) => self.app.told_known(*known),
            Told::Page(page, lines) => self.app.told_page(page, lines),
            Told::Log(title, lines) => self.app.told_log(title, lines),
            Told::Done(action, came) => {
                self.app.told_done(&action, came);
                self.refresh(&action);
            }
        }
    }

    /// Looks at the host now. The watch listens as long as the program runs.
    fn look_now(&self) {
        let _ = self.wake.send(());
    }

    /// After something was done, everything may be otherwise.
    fn refresh(&mut self, action: &Action) {
        if !matches!(action, Action::Test { .. } | Action::Archive) {
            self.look_now();
        }
        if *self.app.stage() == Stage::Open {
            self.start(Effect::Read(Read::Everything));
            if let Some(read) = self.app.page().reads() {
                self.start(Effect::Read(read));
            }
        }
    }

    /// Starts what runs beside the keys; the rest is for whoever has the terminal.
    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Check(password) => jobs::start(&self.tell, move || jobs::check(&password)),
            Effect::Read(read) => {
                if read == Read::Everything {
                    self.look_now();
                }
                jobs::start(&self.tell, move || jobs::read(read));
            }
            Effect::Act(action) => {
                let terminal = self.terminal.clone();
                jobs::start(&self.tell, move || jobs::act(action, &terminal));
            }
            Effect::None | Effect::Install | Effect::Shell | Effect::LoggedOut => {}
        }
    }

    /// Pictures, for good on a screen; on a line, whose size was `told`, until the login ends.
    fn pictures(&mut self, told: Option<(u16, u16)>) -> io::Result<()> {
        let serial = told.is_some();
        if serial {
            self.goes_in();
        }
        let mut screen = Screen::open(told)?;
        let (mut changed, mut painted, mut drawn) = (true, Instant::now(), Instant::now());
        let mut keys = Keys::default();
        loop {
            let tick = self.app.tick(self.began.elapsed());
            if self.here(tick, &mut screen)? && serial {
                return Ok(());
            }
            let idle = *self.app.stage() == Stage::Locked && !self.app.is_trying();
            let stale = painted.elapsed() > if idle { SLOW_REPAINT } else { REPAINT };
            // A second passes on the screen, too, where there is something that it counts.
            if changed || stale || (!idle && drawn.elapsed() >= SLOW_BEAT) {
                let mut height = 0;
                if stale {
                    screen.wipe()?;
                    painted = Instant::now();
                }
                screen.draw(|frame| {
                    height = usize::from(frame.area().height);
                    draw(&self.app, frame);
                })?;
                // Header, rule and footer are no part of a page.
                self.app.set_height(height.saturating_sub(3));
                drawn = Instant::now();
            }
            changed = self.listen();
            let beat = if *self.app.stage() == Stage::Locked { SLOW_BEAT } else { BEAT };
            let heard = keys.wait(beat)?;
            changed |= heard != Heard::Nothing;
            let Heard::Key(key) = heard else { continue };
            let effect = self.app.key(key);
            if self.here(effect, &mut screen)? && serial {
                return Ok(());
            }
        }
    }

    /// Enter was pressed on the status already.
    fn goes_in(&mut self) {
        self.app.tick(self.began.elapsed());
        if *self.app.stage() == Stage::Locked {
            let login = self.app.key(Key::Enter);
            self.start(login);
        }
    }

    /// Does what an effect asks for; whether the login has ended.
    fn here(&mut self, effect: Effect, screen: &mut Screen) -> io::Result<bool> {
        match effect {
            Effect::LoggedOut => return Ok(true),
            Effect::Shell => {
                screen.aside(|| shell(AFTER_SHELL))?;
                self.app.came_back(self.began.elapsed());
                self.start(Effect::Read(Read::Everything));
            }
            Effect::Install => screen.aside(install)?,
            effect => self.start(effect),
        }
        Ok(false)
    }

    /// The status as text, written again when it is another one, until Enter means something.
    fn status_as_text(&mut self) -> io::Result<OnEnter> {
        let mut shown = String::new();
        let typing = Typing::start(false)?;
        loop {
            self.listen();
            let tick = self.app.tick(self.began.elapsed());
            self.start(tick);
            if let Some(look) = self.app.look() {
                let text = serial(look);
                if text != shown {
                    write(&text)?;
                    shown = text;
                }
            }
            let Typed::Bytes(bytes) = self.typed(&typing, SLOW_BEAT)? else { continue };
            if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                match self.app.look().map_or(OnEnter::Nothing, xenolith_console::Look::on_enter) {
                    OnEnter::Nothing => {}
                    enter => return Ok(enter),
                }
            }
        }
    }

    /// What is typed in that time. A console without a terminal just waits for what the threads say.
    fn typed(&self, typing: &Typing, time: Duration) -> io::Result<Typed> {
        if io::stdin().is_terminal() {
            return typing.wait(time);
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a screen that nobody can answer; no event tells of all that it shows"
        )]
        std::thread::sleep(time);
        Ok(Typed::Nothing)
    }

    /// Numbered lines, until the login ends.
    fn lines(&mut self) -> io::Result<()> {
        self.goes_in();
        self.wait_for_answer()?;
        let (mut shown, mut field, mut asked) = (None, None, plain::Awaits::Choice);
        // Also between two lines nothing that is typed ends this.
        let mut guard = Some(Typing::start(true)?);
        loop {
            // What is being done is waited for: a number typed meanwhile would mean something else afterwards.
            let (awaits, view) = (plain::awaits(&self.app, field), plain::view(&self.app));
            if shown.as_ref() != Some(&view) || awaits != asked {
                if shown.as_ref() != Some(&view) {
                    write(&view)?;
                }
                write(plain::prompt(&self.app, awaits))?;
                (shown, asked) = (Some(view), awaits);
            }
            let secret = matches!(awaits, plain::Awaits::Login | plain::Awaits::Secret(_));
            let Some(text) = self.line(secret)? else { return Ok(()) };
            let Some(text) = text else { continue };
            let (effect, next) = plain::line(&mut self.app, awaits, &text);
            field = next;
            // The answer to a line is shown even if it is the same again.
            shown = None;
            match effect {
                Effect::LoggedOut => return Ok(()),
                Effect::Shell => {
                    drop(guard.take());
                    shell(AFTER_SHELL)?;
                    guard = Some(Typing::start(true)?);
                    self.app.came_back(self.began.elapsed());
                    self.start(Effect::Read(Read::Everything));
                }
                effect => {
                    self.start(effect);
                    self.wait_for_answer()?;
                }
            }
        }
    }

    /// Until what is on its way has come, so that what is shown next has it in it. What takes long tells of itself when it is done.
    fn wait_for_answer(&mut self) -> io::Result<()> {
        if self.app.waits() {
            write("…\n")?;
        }
        let end = Instant::now() + ANSWER;
        while self.app.waits() {
            let Ok(told) = self.told.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                break;
            };
            self.hear(told);
        }
        Ok(())
    }

    /// A line; the inner nothing if something else is to be shown first, the outer one if the login has ended.
    fn line(&mut self, secret: bool) -> io::Result<Option<Option<Zeroizing<String>>>> {
        let typing = if secret { Typing::secret() } else { Typing::start(true) }?;
        let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
        loop {
            match self.typed(&typing, SLOW_BEAT)? {
                Typed::Bytes(bytes) => {
                    let bytes = Zeroizing::new(bytes);
                    typed.extend_from_slice(&bytes);
                    // Nothing is the end of a file that somebody has typed.
                    if bytes.is_empty() || typed.ends_with(b"\n") || typed.ends_with(b"\r") {
                        if secret {
                            write("\n")?;
                        }
                        let text = Zeroizing::new(String::from_utf8_lossy(&typed).into_owned());
                        return Ok(Some(Some(text)));
                    }
                }
                Typed::Nothing => {
                    let heard = self.listen();
                    let tick = self.app.tick(self.began.elapsed());
                    if tick == Effect::LoggedOut {
                        write(&format!("\nLogged out after {} minutes.\n", LOGGED_OUT_AFTER.as_secs() / 60))?;
                        return Ok(None);
                    }
                    let acts = tick != Effect::None;
                    self.start(tick);
                    if (heard || acts) && typed.is_empty() {
                        return Ok(Some(None));
                    }
                }
            }
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The installer on this terminal, until it ends.
fn install() -> io::Result<()> {
    // What it says on the way out is for whoever stands here, not for the journal.
    let ended = duct::cmd!(INSTALLER).stderr_to_stdout().unchecked().run()?;
    if !ended.status.success() {
        println!("\nThe installer ended with {}. Press Enter to go on.", ended.status);
        let typing = Typing::start(false)?;
        typing.wait(TIME_TO_READ)?;
    }
    Ok(())
}
