//! Asks on every console for the recovery key of the state, and gives up when nobody is there: a host in a rack must not wait for a
//! person.
//!
//! It is asked here because nobody could log in later: passwords and keys of a host are in its state.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use xenolith_layout::seal::RecoveryKey;

use crate::console::note;

/// How long somebody has to begin.
const TO_BEGIN: Duration = Duration::from_secs(60);
/// How long somebody who types may pause.
const TO_GO_ON: Duration = Duration::from_secs(180);
/// Longer lines are no key.
const LONGEST: usize = 256;
const QUESTION: &str = "\r\nThe state of this host is locked. Type its recovery key, which the installer has shown, and press Enter.\r\n\
    Enter alone starts the host without its state; so does a minute of silence.\r\nRecovery key: ";

/// Asks until a key fits, or nobody types any more. Gives whether one did.
pub(crate) fn ask(sys: &Path, mut fits: impl FnMut(&RecoveryKey) -> bool) -> bool {
    let mut consoles = consoles(sys);
    for console in &mut consoles {
        console.say(QUESTION);
    }
    let mut until = Instant::now() + TO_BEGIN;
    while let Some((at, byte)) = next_byte(&mut consoles, until) {
        until = Instant::now() + TO_GO_ON;
        let console = &mut consoles[at];
        let line = match console.line.push(byte) {
            Typed::Character => {
                console.say("*");
                continue;
            }
            Typed::Erased => {
                console.say("\u{8} \u{8}");
                continue;
            }
            Typed::Nothing => continue,
            Typed::Line(line) => line,
        };
        console.say("\r\n");
        if line.is_empty() {
            return false;
        }
        match line.parse() {
            Ok(key) if fits(&key) => return true,
            Ok(_) => console.say("This key does not open the state.\r\nRecovery key: "),
            Err(error) => console.say(&format!("{error}.\r\nRecovery key: ")),
        }
    }
    false
}

/// The next byte from any console and whose it is; nothing when the time is over or there is no console.
fn next_byte(consoles: &mut Vec<Console>, until: Instant) -> Option<(usize, u8)> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || consoles.is_empty() {
            return None;
        }
        let mut wanted: Vec<PollFd<'_>> = consoles
            .iter()
            .map(|console| PollFd::new(console.file.file().as_fd(), PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut wanted, timeout).is_err() {
            return None;
        }
        let ready = wanted.iter().position(|one| one.revents().is_some_and(|events| !events.is_empty()));
        drop(wanted);
        let Some(at) = ready else { continue };
        let mut byte = [0];
        match consoles[at].file.read(&mut byte) {
            Ok(1..) => return Some((at, byte[0])),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // It has hung up: the others may still answer.
            Ok(0) | Err(_) => drop(consoles.remove(at)),
        }
    }
}

/// A console that shows nothing of what is typed, as long as this is kept.
struct Console {
    file: fs_err::File,
    before: Termios,
    line: Line,
}

impl Console {
    fn open(name: &str) -> std::io::Result<Self> {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).write(true).custom_flags(O_NOCTTY | O_NONBLOCK);
        let file = options.open(Path::new("/dev").join(name))?;
        let before = tcgetattr(file.file())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(file.file(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { file, before, line: Line::default() })
    }

    fn say(&mut self, text: &str) {
        // A console that takes nothing is one that nobody looks at.
        let _ = self.file.write_all(text.as_bytes());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = tcsetattr(self.file.file(), SetArg::TCSAFLUSH, &self.before);
    }
}

/// What the kernel writes its messages to (Linux 6.12, Documentation/ABI/testing/sysfs-tty).
fn consoles(sys: &Path) -> Vec<Console> {
    let active = fs_err::read_to_string(sys.join("class/tty/console/active")).unwrap_or_default();
    let names = active.split_whitespace().filter(|name| !name.contains('/'));
    names.filter_map(|name| Console::open(name).inspect_err(|error| note(error)).ok()).collect()
}

/// A line that is being typed.
#[derive(Debug, Default)]
struct Line(String);

/// What became of a byte.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Character,
    Erased,
    Nothing,
    Line(String),
}

impl Line {
    fn push(&mut self, byte: u8) -> Typed {
        match byte {
            b'\r' | b'\n' => Typed::Line(std::mem::take(&mut self.0)),
            8 | 127 if self.0.pop().is_some() => Typed::Erased,
            b' '..=b'~' if self.0.len() < LONGEST => {
                self.0.push(char::from(byte));
                Typed::Character
            }
            _ => Typed::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_typed_mended_and_ended() {
        let mut line = Line::default();
        let typed: Vec<Typed> = b"ab\x7f\x1bc\r".iter().map(|byte| line.push(*byte)).collect();
        let expected = [
            Typed::Character,
            Typed::Character,
            Typed::Erased,
            Typed::Nothing,
            Typed::Character,
            Typed::Line("ac".into()),
        ];
        assert_eq!(typed, expected);
        assert_eq!(line.push(b'\x7f'), Typed::Nothing, "an empty line has nothing to erase");
        assert_eq!(line.push(b'\n'), Typed::Line(String::new()));
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut line = Line::default();
        (0..10 * LONGEST).for_each(|_| drop(line.push(b'x')));
        assert_eq!(line.0.len(), LONGEST);
    }

    #[test]
    fn without_a_console_nobody_is_asked() {
        let sys = tempfile::tempdir().unwrap();
        assert!(!ask(sys.path(), |_| true));
    }
}
