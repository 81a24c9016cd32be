//! The few lines that people see, and the fuller record that ends in the journal.
//!
//! An ordinary line goes to `/dev/console` (the last `console=` of the command line, as for any other init)
//! and, below the level that consoles show, into the kernel's log, from where the journal takes it. An alarm
//! goes into the kernel's log as critical instead, because the kernel prints that on every console, the
//! screen as well as the serial line.

use std::fmt;
use std::io::Write;

const PREFIX: &str = "xenolith-init";

/// Says one line to whoever watches the console.
pub fn say(line: impl fmt::Display) {
    let line = one_line(&line.to_string());
    note(&line);
    if write("/dev/console", &format!("{PREFIX}: {line}\n")).is_err() {
        eprintln!("{PREFIX}: {line}");
    }
}

/// Says one line on every console: what was asked does not happen.
pub fn alarm(line: impl fmt::Display) {
    let line = one_line(&line.to_string());
    if write("/dev/kmsg", &format!("<2>{PREFIX}: {line}\n")).is_err() {
        eprintln!("{PREFIX}: {line}");
    }
}

/// Records one line for the journal; no console shows it at the usual level.
pub fn note(line: impl fmt::Display) {
    // Nobody is told when this fails: there is no better place to tell it.
    let _ = write("/dev/kmsg", &format!("<7>{PREFIX}: {}\n", one_line(&line.to_string())));
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Writes at once: a kernel log record is one `write`.
fn write(device: &str, text: &str) -> std::io::Result<()> {
    fs_err::OpenOptions::new().write(true).open(device)?.write_all(text.as_bytes())
}

/// Control characters cannot come from us, but from a medium's label or a server's answer.
fn one_line(text: &str) -> String {
    text.chars().take(800).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_steer_the_terminal() {
        assert_eq!(one_line("label \x1b[2J\nxenolith: ready"), "label  [2J xenolith: ready");
        assert_eq!(one_line(&"x".repeat(5000)).len(), 800);
    }

    #[test]
    fn causes_are_told_in_order() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot do it")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no disk"));
        assert_eq!(chain(&error), "cannot do it: no disk");
    }
}
