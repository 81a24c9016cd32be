//! Who brought what, so that the result does not hang on which thread was faster.
//!
//! ```text
//!   path is            brought again as file or link          brought again as directory
//!   file or link       the later package of the list has it   Conflict
//!   directory          Conflict                               the first package of the list sets mode and time
//! ```
//! A file is made (old one unlinked, new one opened) under the lock of its path, so of two packages the later in the
//! list ends up with the name in both orders; the content goes to the open file, whoever has the name by then.
//! A hard link to a file that another package replaces would take either content: that is a Conflict, found at the
//! end because only then all are known.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tree::Tree;
use super::{Meta, UnpackError};

/// Locks of paths: far more than threads, so that two rarely meet.
const SHARDS: usize = 64;

/// Of a directory that no package has as a member of its own.
const IMPLIED: Meta = Meta { mode: 0o755, mtime: 0 };

/// The number of a package in the list; later ones win.
pub(super) type PackageIndex = usize;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    File,
    Symlink,
}

type Shard = HashMap<Vec<u8>, (PackageIndex, Claimed)>;

pub(super) struct Claims {
    shards: Vec<Mutex<Shard>>,
    directories: Mutex<BTreeMap<Vec<u8>, (PackageIndex, Meta)>>,
    replaced: Mutex<BTreeSet<Vec<u8>>>,
    hard_linked: Mutex<BTreeSet<Vec<u8>>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            directories: Mutex::default(),
            replaced: Mutex::default(),
            hard_linked: Mutex::default(),
        }
    }
}

/// A panic elsewhere ends the whole unpacking, so what the lock guards is never looked at again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claims {
    fn shard(&self, path: &[u8]) -> MutexGuard<'_, Shard> {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let shards = u64::try_from(SHARDS).expect("64 fits into 64 bits");
        lock(&self.shards[usize::try_from(hasher.finish() % shards).expect("below 64")])
    }

    /// Runs `make` for the path unless a later package has it already: then `None`.
    pub(super) fn take<T>(
        &self,
        path: &[u8],
        package: PackageIndex,
        what: Claimed,
        make: impl FnOnce() -> Result<T, UnpackError>,
    ) -> Result<Option<T>, UnpackError> {
        let mut shard = self.shard(path);
        match shard.entry(path.to_vec()) {
            Entry::Vacant(vacant) => {
                vacant.insert((package, what));
            }
            Entry::Occupied(mut occupied) => {
                lock(&self.replaced).insert(path.to_vec());
                if occupied.get().0 > package {
                    return Ok(None);
                }
                occupied.insert((package, what));
            }
        }
        make().map(Some)
    }

    /// Whether some package has brought `path` as a link or a file.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.shard(path).contains_key(path)
    }

    /// Remembers what the directory is to look like once nothing is written into it any more.
    pub(super) fn directory(&self, path: Vec<u8>, package: PackageIndex, meta: Meta) {
        lock(&self.directories)
            .entry(path)
            .and_modify(|first| {
                if package < first.0 {
                    *first = (package, meta);
                }
            })
            .or_insert((package, meta));
    }

    /// Remembers that another name was made for the file at `path`.
    pub(super) fn hard_linked(&self, path: Vec<u8>) {
        lock(&self.hard_linked).insert(path);
    }

    /// Takes the links brought so far for part of the layout: later packages may go through them.
    pub(super) fn adopt_links(&self) {
        for shard in &self.shards {
            lock(shard).retain(|_, (_, what)| *what != Claimed::Symlink);
        }
    }

    /// Gives the directories their mode and time, and returns the paths that more than one package brought.
    pub(super) fn settle(self, tree: &Tree) -> Result<Vec<PathBuf>, UnpackError> {
        let replaced = lock(&self.replaced);
        if let Some(path) = lock(&self.hard_linked).iter().find(|path| replaced.contains(*path)) {
            return Err(conflict(path, "a file with hard links, and another file"));
        }
        let directories = lock(&self.directories);
        for path in tree.take_made().iter().filter(|path| !directories.contains_key(*path)) {
            tree.set_directory(path, Some(IMPLIED.mode), IMPLIED.mtime)?;
        }
        for (path, (_, meta)) in directories.iter() {
            tree.set_directory(path, Some(meta.mode | 0o700), meta.mtime)?;
        }
        Ok(replaced.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
    }
}

pub(super) fn conflict(path: &[u8], what: &'static str) -> UnpackError {
    UnpackError::Conflict { path: path.escape_ascii().to_string(), what }
}
