//! File locks between builds.
//!
//! Locks are `flock`s, which the kernel drops when their holder dies: whoever finds one free knows that nobody is
//! there, across containers that do not see each other's process ids and without ever guessing from a number
//! that may have been given to somebody else.
//!
//! | file in `locks/`   | shared                    | exclusive                                       |
//! |--------------------|---------------------------|-------------------------------------------------|
//! | `<key>.make`       |                           | the build that makes this result                |
//! | `<key>.use`        | builds that use it        | gc, while it removes the result                 |
//! | `session-<id>`     |                           | a running builder; its `tmp/<id>` is in use     |
//! | `blobs`            | running builders          | gc, while it removes blobs                      |
//! | `<sha256>.blob`    |                           | the builder that downloads this blob            |
//!
//! No deadlock: a maker waits for nobody, a waiter for a `.make` lock holds no other one, and `.use` and
//! `blobs` are asked for exclusively without waiting only.

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    file: std::fs::File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

impl Lock {
    /// Waits until the lock is ours.
    pub(crate) fn wait(path: &Path, mode: Mode) -> io::Result<Self> {
        loop {
            let file = open(path)?;
            match mode {
                Mode::Shared => file.lock_shared()?,
                Mode::Exclusive => file.lock()?,
            }
            if let Some(lock) = Self::still_there(file, path)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if nobody is in the way.
    pub(crate) fn try_now(path: &Path, mode: Mode) -> io::Result<Option<Self>> {
        loop {
            let file = open(path)?;
            let taken = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match taken {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if let Some(lock) = Self::still_there(file, path)? {
                return Ok(Some(lock));
            }
        }
    }

    /// A lock on a file that gc has unlinked in the meantime locks nothing: the next one makes a new file.
    fn still_there(file: std::fs::File, path: &Path) -> io::Result<Option<Self>> {
        let lock = Self { file };
        match fs::metadata(path) {
            Ok(there) if there.ino() == lock.file.metadata()?.ino() => Ok(Some(lock)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the file's time to now: gc takes the time of a `.use` lock for when the result was last used.
    pub(crate) fn touch(&self) -> io::Result<()> {
        self.file.set_modified(std::time::SystemTime::now())
    }

    /// Lets go of an exclusive lock and removes its file, which nobody else can hold.
    pub(crate) fn remove(self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Explicitly: closing alone would leave the lock to a child that was forked and has not yet called exec.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "lock not released; closing its file does that");
        }
    }
}

fn open(path: &Path) -> io::Result<std::fs::File> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    Ok(file.into_parts().0)
}

/// The lock files of a store by what they guard.
#[derive(Clone, Debug)]
pub(crate) struct LockFiles(pub(crate) PathBuf);

impl LockFiles {
    pub(crate) fn make(&self, key: &crate::Digest) -> PathBuf {
        self.0.join(format!("{key}.make"))
    }

    pub(crate) fn using(&self, key: &crate::Digest) -> PathBuf {
        self.0.join(format!("{key}.use"))
    }

    pub(crate) fn session(&self, id: &str) -> PathBuf {
        self.0.join(format!("session-{id}"))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    pub(crate) fn blob(&self, digest: &crate::Digest) -> PathBuf {
        self.0.join(format!("{digest}.blob"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_keeps_others_out_and_a_shared_one_lets_them_share() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::wait(&path, Mode::Exclusive).unwrap();
        assert!(Lock::try_now(&path, Mode::Shared).unwrap().is_none());
        drop(held);
        let _one = Lock::try_now(&path, Mode::Shared).unwrap().unwrap();
        let _two = Lock::wait(&path, Mode::Shared).unwrap();
        assert!(Lock::try_now(&path, Mode::Exclusive).unwrap().is_none());
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_meanwhile_is_not_taken_for_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
        let gc = Lock::wait(&path, Mode::Exclusive).unwrap();
        gc.remove(&path).unwrap();
        one.lock().unwrap();
        assert!(Lock::still_there(one, &path).unwrap().is_none(), "no file has this name");
        let _new = Lock::try_now(&path, Mode::Exclusive).unwrap().unwrap();
        two.lock().unwrap();
        assert!(Lock::still_there(two, &path).unwrap().is_none(), "another file has this name");
    }
}
