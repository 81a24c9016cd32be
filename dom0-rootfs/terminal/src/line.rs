//! Lines that are typed, for terminals that no screen can be drawn on.

use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// A longer line is nothing that anybody types; an RSA key of 16384 bits fits. Its terminal takes 4096 at once (n_tty).
const LONGEST: usize = 4096;

/// What came of waiting for keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Typed {
    /// Nothing in that time.
    Nothing,
    /// These bytes: a line, or part of one; none for the end of a file that somebody has typed.
    Bytes(Vec<u8>),
}

/// A terminal that takes what is typed, as long as this is kept. Nothing that is typed stops or ends the program.
pub struct Typing(Option<Termios>);

impl Typing {
    /// Whole lines, which are shown and may be corrected if `lines`; else every key at once, and shown nowhere.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn start(lines: bool) -> io::Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(io::stdin())?;
        let mut ours = before.clone();
        ours.local_flags.set(LocalFlags::ICANON | LocalFlags::ECHO, lines);
        // Ctrl-C would begin anew, and with it the count of wrong passwords.
        ours.local_flags.remove(LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &ours)?;
        Ok(Self(Some(before)))
    }

    /// As [`Typing::start`] with lines, which are shown nowhere.
    ///
    /// # Errors
    /// As it.
    pub fn secret() -> io::Result<Self> {
        let this = Self::start(true)?;
        if let Some(before) = &this.0 {
            let mut ours = before.clone();
            ours.local_flags.insert(LocalFlags::ICANON);
            ours.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
            // TCSANOW: what was typed ahead is kept, a password among it.
            tcsetattr(io::stdin(), SetArg::TCSANOW, &ours)?;
        }
        Ok(this)
    }

    /// What is typed within `time`.
    ///
    /// # Errors
    /// When the terminal has hung up.
    pub fn wait(&self, time: Duration) -> io::Result<Typed> {
        let stdin = io::stdin();
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if ready(&mut wanted, timeout)? == 0 {
            return Ok(Typed::Nothing);
        }
        let mut bytes = vec![0; LONGEST];
        let count = stdin.lock().read(&mut bytes)?;
        let gone = wanted[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
        if count == 0 && gone {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal has hung up"));
        }
        bytes.truncate(count);
        Ok(Typed::Bytes(bytes))
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that has gone needs no tidying.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// How many are ready within the time; none if a signal came first, such as that of a program that has ended.
pub(crate) fn ready(wanted: &mut [PollFd<'_>], timeout: PollTimeout) -> io::Result<i32> {
    match poll(wanted, timeout) {
        Err(Errno::EINTR) => Ok(0),
        ready => Ok(ready?),
    }
}

/// A line without escape sequences and other control characters: an answer of the terminal may come late, and arrows mean nothing here.
pub fn without_sequences(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            if matches!(characters.peek(), Some('[' | 'O')) {
                characters.next();
                // ECMA-48 §5.4: parameters, then one final byte from @ to ~.
                for rest in characters.by_ref() {
                    if ('@'..='~').contains(&rest) {
                        break;
                    }
                }
            }
        } else if !character.is_control() {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_and_arrows_are_no_part_of_a_line() {
        assert_eq!(without_sequences("\x1b[24;80Rsecret\x1b[A\n"), "secret");
        assert_eq!(without_sequences("\x1bOPhelp\r\n"), "help");
        assert_eq!(without_sequences("a\x1b"), "a");
    }
}
