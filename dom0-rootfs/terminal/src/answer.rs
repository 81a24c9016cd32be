//! Whether something at the other end of a line answers, and how large it is.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::line::{Typing, ready};

/// An answer takes a few milliseconds on a serial line; a slow machine under load takes longer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More bytes than an answer has, with what somebody types ahead.
const LONGEST: usize = 256;
/// To the far corner, where is the cursor, and back (ECMA-48: CUP, DSR; DEC: save and restore).
const QUESTION: &[u8] = b"\x1b7\x1b[999;999H\x1b[6n\x1b8";

/// How large the terminal is that answers on standard input; nothing if none does.
///
/// # Errors
/// When the line has gone.
pub fn answers() -> io::Result<Option<(u16, u16)>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    let _quiet = Typing::start(false)?;
    let mut out = io::stdout().lock();
    out.write_all(QUESTION)?;
    out.flush()?;
    let (mut said, end) = (Vec::new(), Instant::now() + PATIENCE);
    while said.len() < LONGEST {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if ready(&mut wanted, timeout)? == 0 {
            if left.is_zero() {
                break;
            }
            continue;
        }
        let mut bytes = [0; 64];
        let count = stdin.lock().read(&mut bytes)?;
        if count == 0 {
            break;
        }
        said.extend_from_slice(&bytes[..count]);
        if let Some(size) = position(&said) {
            return Ok(Some(size));
        }
    }
    Ok(None)
}

/// The columns and rows in an answer `ESC [ rows ; columns R`, wherever it stands in what was read.
pub fn position(said: &[u8]) -> Option<(u16, u16)> {
    let text = String::from_utf8_lossy(said);
    text.split("\x1b[").skip(1).find_map(|rest| {
        let (rows, columns) = rest.split_once('R')?.0.split_once(';')?;
        let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
        // What is smaller than any terminal is none.
        (rows >= 2 && columns >= 20 && rows <= 999 && columns <= 999).then_some((columns, rows))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_what_is_typed_ahead() {
        assert_eq!(position(b"\x1b[24;80R"), Some((80, 24)));
        assert_eq!(position(b"ab\x1b[A\x1b[50;132Rcd"), Some((132, 50)));
        for none in
            [&b""[..], b"\x1b[24;80", b"24;80R", b"\x1b[;R", b"\x1b[1;1R", b"\x1b[99999;80R", b"\xff\x1b"]
        {
            assert_eq!(position(none), None, "{none:?}");
        }
    }
}
