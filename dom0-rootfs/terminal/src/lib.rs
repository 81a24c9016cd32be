//! The terminal that screens are shown on: a picture, keys, a shell in between, and what is at the other end of a serial line.
//!
//! A serial line does not say how large its other end is, nor whether there is a terminal or a log. So whoever wants to draw there
//! asks first ([`answers`]): a terminal tells where its cursor is, a log says nothing.

mod answer;
mod key;
mod keys;
mod line;

use std::io::{self, Stdout};

use ratatui::{
    Frame, Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::{
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
            size,
        },
    },
    layout::Rect,
};

pub use answer::{answers, position};
pub use key::Key;
pub use keys::{Heard, Keys};
pub use line::{Typed, Typing, without_sequences};

/// What a serial line is drawn as if nobody says how large it is: what every terminal shows.
pub const SMALLEST: (u16, u16) = (80, 24);
const SHELL: &str = "/bin/bash";

/// The terminal, which is as it was before when this is dropped.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal over. `told` is how large it said that it is, for one whose driver does not know.
    ///
    /// # Errors
    /// When there is no terminal.
    pub fn open(told: Option<(u16, u16)>) -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let backend = CrosstermBackend::new(io::stdout());
        let viewport = match size() {
            Ok((width, height)) if width > 0 && height > 0 => Viewport::Fullscreen,
            _ => {
                let (width, height) = told.unwrap_or(SMALLEST);
                Viewport::Fixed(Rect::new(0, 0, width, height))
            }
        };
        Ok(Self(Terminal::with_options(backend, TerminalOptions { viewport })?))
    }

    /// Draws a picture: what differs from the last one is sent.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(picture).map(drop)
    }

    /// Something else on the terminal in place of the screens, until it ends.
    ///
    /// # Errors
    /// When the terminal has gone, or what `other` says.
    pub fn aside<T>(&mut self, other: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        execute!(io::stdout(), LeaveAlternateScreen)?;
        disable_raw_mode()?;
        let ended = other();
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        self.wipe()?;
        ended
    }

    /// Empties the screen, so that the next picture is sent whole. `Terminal::clear` asks where the cursor is, and not everything at the
    /// end of a serial line answers.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn wipe(&mut self) -> io::Result<()> {
        execute!(io::stdout(), Clear(ClearType::All))?;
        // What was shown is forgotten: the next picture is compared with an empty one.
        self.0.swap_buffers();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs no tidying.
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// root's login shell on this terminal, until it ends. `words` tell what comes after it.
///
/// # Errors
/// When it cannot be started.
pub fn shell(words: &str) -> io::Result<()> {
    println!("{words}");
    // A unit has none of these. No `login` in between: it hangs the terminal up for whoever has started it.
    // A shell whose errors do not go to a terminal takes itself for one that nobody uses, and shows no prompt.
    let mut shell = duct::cmd!(SHELL, "-l").dir("/root").stderr_to_stdout().unchecked();
    for (name, value) in [("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root"), ("SHELL", SHELL)] {
        shell = shell.env(name, value);
    }
    shell.run().map(drop)
}
