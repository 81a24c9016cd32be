//! What an installation says, for whoever else wants to know: on another console, over SSH, or later.
//!
//! ```text
//!   whoever installs ─▶ events, a JSON object a line ─▶ any number of watchers, each from the beginning
//! ```
//! The file is in RAM, and holds no secret. It is locked as long as somebody installs: so a watcher knows an installation that waits from
//! one whose process has gone.

use std::{
    io::{self, BufRead as _, BufReader, Seek as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use serde::{Deserialize, Serialize};
use xenolith_installer::{Event, Plan};

const FILE: &str = "events";
/// In milliseconds. The kernel tells that a file was closed just before it opens its lock.
const LOOK_AGAIN: u16 = 1000;

/// Of an installation that has ended without saying how.
pub const NO_WORD: &str = "it has ended without saying how: its process has gone";

/// Something that is said of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Said {
    /// It begins, and will do this.
    Steps {
        /// In words.
        steps: Vec<String>,
    },
    /// It has ended.
    Ended {
        /// Why not well, if so: a cause a line.
        error: Option<String>,
    },
    /// What the engine says.
    #[serde(untagged)]
    Event(Event),
}

/// The record of the installation that this process carries out.
pub struct Record(Flock<std::fs::File>);

impl Record {
    /// Begins a record in place of the last one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(run: &Path, plan: &Plan) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(run.join(FILE))?;
        // A watcher has it for no longer than it takes to see that it can.
        let file = Flock::lock(file.into_parts().0, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        file.set_len(0)?;
        let mut record = Self(file);
        record.say(&Said::Steps { steps: plan.steps_in_words() });
        Ok(record)
    }

    /// Adds to it. An installation does not fail because nobody can watch it.
    pub fn say(&mut self, said: &Said) {
        let mut line = serde_json::to_vec(said).expect("what is said is made of what JSON can hold");
        line.push(b'\n');
        if let Err(error) = self.0.write_all(&line) {
            eprintln!("warning: whoever watches misses something: {error}");
        }
    }
}

/// The installation that is under way, or was the last since this machine was started.
pub struct Watch {
    path: PathBuf,
    file: BufReader<fs::File>,
    changes: Inotify,
    /// How much was read, in bytes.
    read: u64,
    /// A line that is not whole yet.
    line: Vec<u8>,
}

impl Watch {
    /// Watches from the beginning; nothing if there was no installation.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn of(run: &Path) -> io::Result<Option<Self>> {
        let path = run.join(FILE);
        let file = match fs::File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        changes.add_watch(&path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE)?;
        Ok(Some(Self { path, file, changes, read: 0, line: Vec::new() }))
    }

    /// Whether somebody installs.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn is_under_way(&self) -> io::Result<bool> {
        match Flock::lock(fs::File::open(&self.path)?.into_parts().0, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// What is said next, waited for; nothing after the end, whether that was told or not.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn next(&mut self) -> anyhow::Result<Option<Said>> {
        loop {
            // In this order: whatever was said by somebody who has gone is there.
            let over = !self.is_under_way()?;
            if let Some(line) = self.line()? {
                let said = serde_json::from_slice(&line);
                return said.with_context(|| self.path.display().to_string()).map(Some);
            }
            if over {
                return Ok(None);
            }
            let mut changed = [PollFd::new(self.changes.as_fd(), PollFlags::POLLIN)];
            match poll(&mut changed, PollTimeout::from(LOOK_AGAIN)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // How often it has changed does not matter.
            while self.changes.read_events().is_ok() {}
        }
    }

    /// The next whole line.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.get_ref().metadata()?.len() < self.read {
            // Another installation has begun.
            self.file.rewind()?;
            self.read = 0;
            self.line.clear();
        }
        self.read += self.file.read_until(b'\n', &mut self.line)? as u64;
        Ok(self.line.ends_with(b"\n").then(|| std::mem::take(&mut self.line)))
    }
}

#[cfg(test)]
mod tests {
    use xenolith_layout::Bytes;

    use super::*;

    fn steps() -> Said {
        Said::Steps { steps: vec!["clear /dev/sda".to_owned()] }
    }

    /// A record without a plan.
    fn record(run: &Path) -> Record {
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).open(run.join(FILE)).unwrap();
        let mut record = Record(Flock::lock(file.into_parts().0, FlockArg::LockExclusive).unwrap());
        record.say(&steps());
        record
    }

    #[test]
    fn who_comes_late_hears_all_of_it_and_who_is_there_hears_it_at_once() {
        let run = tempfile::tempdir().unwrap();
        assert!(Watch::of(run.path()).unwrap().is_none());
        let mut record = record(run.path());
        let mut early = Watch::of(run.path()).unwrap().unwrap();
        assert!(early.is_under_way().unwrap());
        assert_eq!(early.next().unwrap(), Some(steps()));
        let progress = Said::Event(Event::Progress { step: 0, done: Bytes::mib(1), total: Bytes::mib(2) });
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| early.next().unwrap());
            record.say(&progress);
            assert_eq!(waiting.join().unwrap(), Some(progress.clone()));
        });
        let ended = Said::Ended { error: Some("a disk failed\nno space".to_owned()) };
        record.say(&ended);
        drop(record);
        let mut late = Watch::of(run.path()).unwrap().unwrap();
        for expected in [Some(steps()), Some(progress), Some(ended), None] {
            assert_eq!(late.next().unwrap(), expected);
        }
    }

    #[test]
    fn somebody_who_has_gone_without_a_word_is_not_waited_for() {
        let run = tempfile::tempdir().unwrap();
        let record = record(run.path());
        let mut watch = Watch::of(run.path()).unwrap().unwrap();
        watch.next().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.next().unwrap());
            drop(record);
            assert_eq!(waiting.join().unwrap(), None);
        });
    }

    #[test]
    fn another_installation_is_watched_from_its_beginning() {
        let run = tempfile::tempdir().unwrap();
        let mut first = record(run.path());
        first.say(&Said::Event(Event::Warning {
            step: 0,
            what: "a long text, so that it is longer".to_owned(),
        }));
        let mut watch = Watch::of(run.path()).unwrap().unwrap();
        assert_eq!([watch.next().unwrap(), watch.next().unwrap()].len(), 2);
        drop(first);
        let _second = record(run.path());
        assert_eq!(watch.next().unwrap(), Some(steps()));
    }
}
