//! One at a time: whoever writes the settings, the journal or what tasks make holds a lock meanwhile.
//!
//! Boots run first boot, and so do people at the console and over SSH. Two at once would each write a journal that knows nothing of what
//! the other one has done, through the same temporary file, and would make the same storage twice. **Nobody waits for ever**: the unit of
//! the early run stands before SSH, and a person before a screen. The kernel drops the lock when its holder ends, however it ends.
//!
//! Nothing that is started under the lock takes it: daemons are told without waiting for their units. Inside of this crate it is taken
//! once, where a caller comes in; what is called from there does without.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};

/// The lock, beside the journal. It is never removed: who waits for a file that is gone would hold another lock than who comes after.
const LOCK: &str = "firstboot.lock";
/// Who waits no longer than this has not waited.
const MOMENT: Duration = Duration::from_millis(500);
/// How long a change waits, at a console that shows nothing meanwhile. A timer takes a trial back 70 s after it was set, before the wait.
pub(crate) const CHANGE_WAITS: Duration = Duration::from_secs(10);

/// The right to write, until it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Lock {
    _held: Flock<std::fs::File>,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("another run of first boot is under way, and did not end within {} s", .0.as_secs())]
    Busy(Duration),
    /// It cannot be asked for.
    #[error("{} cannot be locked", path.display())]
    Io {
        /// The lock.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of the host with this state. Who has to wait is told so, and waits for `at_most` at the longest.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(state: &Path, at_most: Duration, tell: &mut dyn FnMut(&str)) -> Result<Self, LockError> {
        let path = state.join(LOCK);
        let failed = |source| LockError::Io { path: path.clone(), source };
        fs::create_dir_all(state).map_err(failed)?;
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?.into_parts().0;
        let (sender, locked) = channel();
        // flock cannot be waited for with a deadline. A thread whose caller has given up gives back what it gets.
        thread::spawn(move || drop(sender.send(Flock::lock(file, FlockArg::LockExclusive))));
        let got = locked.recv_timeout(MOMENT.min(at_most)).or_else(|_| {
            let seconds = at_most.as_secs();
            tell(&format!("another run of first boot is under way; waiting for it, {seconds} s at most"));
            locked.recv_timeout(at_most.saturating_sub(MOMENT))
        });
        match got {
            Ok(Ok(held)) => Ok(Self { _held: held }),
            Ok(Err((_, errno))) => Err(failed(errno.into())),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(LockError::Busy(at_most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_says_that_it_waits_and_for_how_long_and_gives_up_then() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("made");
        let held = Lock::take(&state, Duration::from_secs(60), &mut |_| ()).unwrap();
        let mut told = Vec::new();
        let second = Lock::take(&state, Duration::from_millis(600), &mut |line| told.push(line.to_owned()));
        assert!(matches!(second, Err(LockError::Busy(_))), "{second:?}");
        assert_eq!(told, ["another run of first boot is under way; waiting for it, 0 s at most"]);
        drop(held);
        // The one who gave up must not have it either.
        Lock::take(&state, Duration::from_secs(60), &mut |_| ()).map(drop).unwrap();
    }

    #[test]
    fn who_waits_gets_it_when_the_other_one_ends() {
        let state = tempfile::tempdir().unwrap();
        let held = Lock::take(state.path(), Duration::from_secs(60), &mut |_| ()).unwrap();
        let (waits, begun) = channel();
        thread::scope(|scope| {
            let second = scope.spawn(move || {
                let mut tell = |line: &str| waits.send(line.to_owned()).unwrap();
                Lock::take(state.path(), Duration::from_secs(60), &mut tell).map(drop)
            });
            assert!(begun.recv().unwrap().ends_with("60 s at most"));
            drop(held);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn another_process_keeps_it_from_us_until_it_ends() {
        let state = tempfile::tempdir().unwrap();
        Lock::take(state.path(), Duration::from_secs(60), &mut |_| ()).map(drop).unwrap();
        // util-linux's flock says that it holds the lock, and lets go of it when its standard input ends.
        let (input, ours) = std::io::pipe().unwrap();
        let (theirs, output) = std::io::pipe().unwrap();
        let lock = state.path().join(LOCK);
        let other = duct::cmd!("flock", lock, "sh", "-c", "echo held; cat")
            .stdin_file(input)
            .stdout_file(output)
            .start()
            .unwrap();
        io::Read::read_exact(&mut &theirs, &mut [0; 5]).unwrap();
        let second = Lock::take(state.path(), Duration::from_millis(600), &mut |_| ());
        assert!(matches!(second, Err(LockError::Busy(_))), "{second:?}");
        drop(ours);
        other.wait().unwrap();
        Lock::take(state.path(), Duration::from_secs(60), &mut |_| ()).map(drop).unwrap();
    }
}
