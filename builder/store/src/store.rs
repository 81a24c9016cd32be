//! The content-addressed store: results of steps and downloads, shared by all builds of a user.
//!
//! **A result that can be found is whole, and is what its step left.** No moment at which the builder is
//! killed or the power fails makes an exception, nor do two builds that want the same result.
//!
//! ```text
//!   CACHEDIR.TAG  format      backup programs skip us; which layout this is
//!   blobs/<sha256>            downloads, named by their own sum; <sha256>.part while incomplete
//!   steps/<key>/out/          output of a step
//!   steps/<key>/result.json   what it was when it was committed
//!   tmp/<session>/…           what running builders make; nothing outside points here
//!   tmp/parked-<key>-<…>      results that were replaced and may still be read by another build
//!   logs/<step>-<key>.log     output of the step's programs, of failed runs too
//!   last/<graph>.json         what the last build saw, for --explain; advisory
//!   index.json                the stat index; advisory
//!   locks/                    see the lock module
//! ```
//!
//! The commit of a result, and what a cut after each line leaves:
//!
//! ```text
//!   1  mkdir tmp/<session>/<n>/out    an empty folder of a dead session: removed by the next open
//!   2  the step writes, and ends      likewise
//!   3  flush all of out/              likewise
//!   4  write result.json, flush       likewise, though it is whole: the name is the commit, not the file
//!   5  flush tmp/<session>/<n>        likewise
//!   6  (replacing) rename the old steps/<key> to tmp/parked-…   no result: the step runs again
//!   7  rename to steps/<key>          the result, or after a power cut perhaps still line 5 or 6
//!   8  flush steps/                   the result
//! ```
//!
//! Lines 3 to 5 must come before 7: a file system may write the rename down before the data, and then a power
//! cut would leave a result of the right name with files full of zeros. Up to 64 files are flushed one by
//! one; for more, `syncfs` once, since 10⁵ calls of `fsync` take minutes. It may flush other programs' data too.
//!
//! Between 6 and 7 another build that opens a path below the old result misses it. That takes a few
//! microseconds and happens only when a result is damaged or rebuilt on request. `RENAME_EXCHANGE` would close
//! the gap, but neither NFS nor every libc has it, and a second way that is rarely taken is worse than the gap.
//! A build that has the old folder open or mounted keeps it: it is parked until nobody holds its `.use` lock.
//!
//! Advisory files are replaced by rename without a flush: a torn one does not parse and counts as missing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs_err as fs;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::graph::{Identity, StepName};
use crate::index::{StatIndex, since_1970};
use crate::lock::{Lock, LockFiles, Mode};
use crate::remember::LastBuild;
use crate::result::{Damage, Depth, Finding, RESULT_FORMAT, StepResult};

const FORMAT: &str = "1";
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Results of Xenolith builds. All of it can be made again; see https://bford.info/cachedir/\n";

/// What is about to happen on the disk; the points at which a test fails an operation or kills the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The session's or a step's folder in `tmp/` is made.
    MakeFolder,
    /// The output is measured and flushed.
    FlushOutput,
    /// `result.json` is written.
    WriteResult,
    /// `result.json` and its folder are flushed.
    FlushResult,
    /// The result that is being replaced, or a damaged one, is put aside.
    Park,
    /// The rename that makes the result visible.
    Commit,
    /// `steps/` is flushed.
    FlushSteps,
    /// Something in `tmp/` is removed.
    Clean,
    /// `last/<graph>.json` is written.
    WriteLast,
    /// `index.json` is written.
    WriteIndex,
}

/// Called before each effect; an error from it takes the effect's place.
pub type Watch = Arc<dyn Fn(Effect) -> io::Result<()> + Send + Sync>;

/// An open store. Clones are the same session; when the last one is dropped, its part of `tmp/` goes.
#[derive(Clone)]
pub struct Store(Arc<Session>);

struct Session {
    root: PathBuf,
    id: String,
    next: AtomicU64,
    index: Mutex<StatIndex>,
    watch: Watch,
    lock: Mutex<Option<Lock>>,
    blobs: Mutex<Option<Lock>>,
}

/// What the store knows under a key.
#[derive(Debug)]
pub enum Lookup {
    /// A whole result.
    Hit(Box<StepResult>),
    /// Nothing.
    Miss,
    /// A result that is not what its step left.
    Damaged(Damage),
}

/// What reading every byte of a result found.
#[derive(Debug, PartialEq, Eq)]
pub enum Deep {
    /// Every byte is as it was.
    Same,
    /// A large tree was read for the first time; its shape is right, its contents are now on record.
    Recorded,
    /// It differs.
    Damaged(Damage),
    /// There is no such result.
    Missing,
}

/// Keeps a result from being collected for as long as it lives.
#[derive(Clone, Debug)]
pub struct Hold {
    _lock: Arc<Lock>,
}

impl Store {
    /// Opens the store, makes it if it is not there, and removes what dead builders left in `tmp/`.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Format`], [`StoreError::Lock`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_watched(root, Arc::new(|_| Ok(())))
    }

    /// As [`Store::open`], with `watch` called before each effect on the disk: to fail or to kill in tests.
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_watched(root: &Path, watch: Watch) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { root: root.to_owned(), source };
        let root = &make_folders(root).map_err(open)?;
        check_format(root)?;
        let locks = LockFiles(root.join("locks"));
        let (id, lock) = new_session(&locks).map_err(open)?;
        let blobs_path = locks.blobs();
        let blobs = Lock::wait(&blobs_path, Mode::Shared)
            .map_err(|source| StoreError::Lock { path: blobs_path, source })?;
        let store = Self(Arc::new(Session {
            root: root.clone(),
            id,
            next: AtomicU64::new(0),
            index: Mutex::new(StatIndex::load(&root.join("index.json"))),
            watch,
            lock: Mutex::new(Some(lock)),
            blobs: Mutex::new(Some(blobs)),
        }));
        store.watch(Effect::MakeFolder).map_err(open)?;
        fs::create_dir(store.session_tmp()).map_err(open)?;
        store.clean_tmp();
        Ok(store)
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The output folder of the result with this key, be it there or not.
    pub fn output_path(&self, key: &Digest) -> PathBuf {
        self.step_path(key).join("out")
    }

    /// The log of a step, be it there or not.
    pub fn log_path(&self, step: &StepName, key: &Digest) -> PathBuf {
        self.0.root.join("logs").join(format!("{step}-{}.log", key.short()))
    }

    /// Looks for a result and at it, as closely as `depth` says. Reads only, but for renewed stamps.
    ///
    /// # Errors
    /// None at present; damage is no error but an answer.
    pub fn lookup(&self, key: &Digest, depth: Depth) -> Result<Lookup, StoreError> {
        let mut result = match self.read_result(key) {
            Ok(Some(result)) => result,
            Ok(None) => return Ok(Lookup::Miss),
            Err(damage) => return Ok(Lookup::Damaged(damage)),
        };
        Ok(match result.look(&self.output_path(key), depth) {
            Finding::Good => Lookup::Hit(Box::new(result)),
            Finding::Renewed => {
                self.renew(&result);
                Lookup::Hit(Box::new(result))
            }
            Finding::Damaged(damage) => Lookup::Damaged(damage),
        })
    }

    /// Reads every byte of a result and compares. Nothing is discarded: the next build does that.
    ///
    /// # Errors
    /// As for [`Store::lookup`].
    pub fn verify_deep(&self, key: &Digest) -> Result<Deep, StoreError> {
        let first = match self.read_result(key) {
            Ok(Some(result)) => result.contents.is_none(),
            Ok(None) | Err(_) => false,
        };
        Ok(match self.lookup(key, Depth::Contents)? {
            Lookup::Hit(_) if first => Deep::Recorded,
            Lookup::Hit(_) => Deep::Same,
            Lookup::Miss => Deep::Missing,
            Lookup::Damaged(damage) => Deep::Damaged(damage),
        })
    }

    /// Keeps gc away from the result with this key. It need not be there yet.
    ///
    /// # Errors
    /// [`StoreError::Lock`].
    pub fn hold(&self, key: &Digest) -> Result<Hold, StoreError> {
        let path = self.locks().using(key);
        let failed = |source| StoreError::Lock { path: path.clone(), source };
        let lock = Lock::wait(&path, Mode::Shared).map_err(failed)?;
        lock.touch().map_err(failed)?;
        Ok(Hold { _lock: Arc::new(lock) })
    }

    /// All results, unordered; records that cannot be read are left out.
    ///
    /// # Errors
    /// [`StoreError::List`].
    pub fn results(&self) -> Result<Vec<StepResult>, StoreError> {
        let keys = self.step_keys()?;
        Ok(keys.iter().filter_map(|key| self.read_result(key).ok().flatten()).collect())
    }

    /// What the last build of a graph saw; nothing if there was none or its record is broken.
    pub fn last(&self, graph: &StepName) -> Option<LastBuild> {
        LastBuild::load(&self.last_path(graph))
    }

    /// The digest of a file's contents, by way of the stat index.
    ///
    /// # Errors
    /// The file cannot be read; the error names it.
    pub fn digest_file(&self, path: &Path) -> io::Result<Digest> {
        self.index().digest(path)
    }

    /// Writes the stat index if there is something new in it; dropping the store does so as well.
    pub fn save_index(&self) {
        let saved = self.watch(Effect::WriteIndex).and_then(|()| {
            let tmp = self.session_tmp().join("index.json");
            self.index().save(&self.0.root.join("index.json"), &tmp)
        });
        if let Err(error) = saved {
            tracing::warn!(%error, "stat index not saved; files are read again next time");
        }
    }

    pub(crate) fn locks(&self) -> LockFiles {
        LockFiles(self.0.root.join("locks"))
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, StatIndex> {
        // A thread that panicked has left at worst an entry too few.
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self, effect: Effect) -> io::Result<()> {
        (self.0.watch)(effect)
    }

    pub(crate) fn steps_path(&self) -> PathBuf {
        self.0.root.join("steps")
    }

    pub(crate) fn step_path(&self, key: &Digest) -> PathBuf {
        self.steps_path().join(key.to_string())
    }

    pub(crate) fn last_path(&self, graph: &StepName) -> PathBuf {
        self.0.root.join("last").join(format!("{graph}.json"))
    }

    pub(crate) fn session_tmp(&self) -> PathBuf {
        self.0.root.join("tmp").join(&self.0.id)
    }

    /// A path in the session's folder that nobody else uses.
    pub(crate) fn fresh_tmp(&self) -> PathBuf {
        self.session_tmp().join(self.0.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The keys of all folders in `steps/`.
    pub(crate) fn step_keys(&self) -> Result<Vec<Digest>, StoreError> {
        let path = self.steps_path();
        let list = |source| StoreError::List { path: path.clone(), source };
        let mut keys = Vec::new();
        for entry in fs::read_dir(&path).map_err(list)? {
            let name = entry.map_err(list)?.file_name();
            keys.extend(name.to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        Ok(keys)
    }

    /// The record under a key: nothing if there is none or it is of another format.
    pub(crate) fn read_result(&self, key: &Digest) -> Result<Option<StepResult>, Damage> {
        let unreadable = |why: String| Damage::Unreadable { why };
        let folder = self.step_path(key);
        let path = folder.join("result.json");
        let absent = |read: &io::Result<Vec<u8>>| matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound);
        let mut read = fs::read(&path);
        if absent(&read) {
            if !folder.exists() {
                return Ok(None);
            }
            read = fs::read(&path); // another build may have committed it between the two looks
        }
        let text = read.map_err(|error| unreadable(error.to_string()))?;
        let result: StepResult = match serde_json::from_slice(&text) {
            Ok(result) => result,
            Err(_) if other_format(&text) => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if result.format != RESULT_FORMAT {
            return Ok(None);
        }
        if result.key != *key {
            return Err(unreadable(format!("its record is of {}", result.key)));
        }
        Ok(Some(result))
    }

    /// Writes a record with new stamps. It may fail: then the files are hashed again next time.
    fn renew(&self, result: &StepResult) {
        let tmp = self.fresh_tmp();
        let written = serde_json::to_vec(result)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&tmp, text))
            .and_then(|()| fs::rename(&tmp, self.step_path(&result.key).join("result.json")));
        if let Err(error) = written {
            tracing::warn!(step = %result.step, %error, "new stamps not saved");
        }
    }

    /// Puts a result aside, so that its place is free and whoever reads it can go on.
    pub(crate) fn park(&self, key: &Digest) -> Result<(), StoreError> {
        let path = self.step_path(key);
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let aside = self.0.root.join("tmp").join(format!("parked-{key}-{}-{number}", self.0.id));
        let moved = self.watch(Effect::Park).and_then(|()| fs::rename(&path, aside));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.map_err(|source| StoreError::Park { path, source }),
        }
    }

    /// Removes from `tmp/` what belongs to nobody alive. What cannot be removed stays for the next time.
    pub(crate) fn clean_tmp(&self) {
        let Ok(found) = fs::read_dir(self.0.root.join("tmp")) else { return };
        for entry in found.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == self.0.id {
                continue;
            }
            let cleaned = match parked_key(name) {
                // The lock file stays: its time says when the result was last used.
                Some(key) => self.clean(&entry.path(), &self.locks().using(&key)).map(drop),
                None => {
                    let path = self.locks().session(name);
                    self.clean(&entry.path(), &path)
                        .and_then(|lock| lock.map_or(Ok(()), |lock| lock.remove(&path)))
                }
            };
            if let Err(error) = cleaned {
                tracing::debug!(path = %entry.path().display(), %error, "left in tmp");
            }
        }
    }

    /// Removes something that nobody holds the lock of; nothing if somebody does.
    fn clean(&self, path: &Path, lock_path: &Path) -> io::Result<Option<Lock>> {
        let lock = Lock::try_now(lock_path, Mode::Exclusive)?;
        if lock.is_some() {
            self.watch(Effect::Clean)?;
            remove_tree(path)?;
        }
        Ok(lock)
    }

    /// Runs `work` while no other session is alive and none can start; nothing if one is alive.
    pub(crate) fn while_alone<T>(&self, work: impl FnOnce() -> T) -> Result<Option<T>, StoreError> {
        let path = self.locks().blobs();
        let lock = |source| StoreError::Lock { path: path.clone(), source };
        let mut shared = self.0.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = None;
        let alone = Lock::try_now(&path, Mode::Exclusive).map_err(lock)?;
        let done = alone.as_ref().map(|_| work());
        drop(alone);
        *shared = Some(Lock::wait(&path, Mode::Shared).map_err(lock)?);
        Ok(done)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let tmp = self.root.join("tmp").join(&self.id);
        let index = self.index.get_mut().unwrap_or_else(PoisonError::into_inner);
        let watch = &self.watch;
        let left = watch(Effect::WriteIndex)
            .and_then(|()| index.save(&self.root.join("index.json"), &tmp.join("index.json")))
            .and_then(|()| watch(Effect::Clean))
            .and_then(|()| remove_tree(&tmp));
        if let Err(error) = left {
            tracing::debug!(path = %tmp.display(), %error, "the session's folder is left to the next one");
            return;
        }
        let path = LockFiles(self.root.join("locks")).session(&self.id);
        let lock = self.lock.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = lock.map(|lock| lock.remove(&path)) {
            tracing::debug!(%error, "the session's lock file is left to gc");
        }
    }
}

/// Makes the folders and gives the root as an absolute path, free of links: locks and keys must not depend on
/// how it was spelled.
fn make_folders(root: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(root)?;
    let root = fs::canonicalize(root)?;
    for folder in ["blobs", "steps", "tmp", "logs", "last", "locks"] {
        match fs::create_dir(root.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(root)
}

fn check_format(root: &Path) -> Result<(), StoreError> {
    let open = |source| StoreError::Open { root: root.to_owned(), source };
    let path = root.join("format");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT || found.is_empty() => Ok(()),
        Ok(found) => {
            let found = found.trim().to_owned();
            Err(StoreError::Format { root: root.to_owned(), found, known: FORMAT })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(root.join("CACHEDIR.TAG"), CACHEDIR_TAG).map_err(open)?;
            fs::write(&path, FORMAT).map_err(open)
        }
        Err(error) => Err(open(error)),
    }
}

/// Locks before the folder exists: whoever finds the folder and a free lock knows that its builder is dead.
fn new_session(locks: &LockFiles) -> io::Result<(String, Lock)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{}-{count}", std::process::id(), since_1970().as_nanos());
        if let Some(lock) = Lock::try_now(&locks.session(&id), Mode::Exclusive)? {
            return Ok((id, lock));
        }
    }
}

/// Whether a record that does not parse is one of another format.
fn other_format(text: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    serde_json::from_slice::<Format>(text).is_ok_and(|found| found.format != RESULT_FORMAT)
}

fn parked_key(name: &str) -> Option<Digest> {
    name.strip_prefix("parked-")?.get(..64)?.parse().ok()
}

/// Removes a tree, be there folders in it that their owner may not write to.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) => Err(error),
    }
}

fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether an identity's digest is the key itself.
pub(crate) fn output_digest(identity: Identity, key: Digest, contents: Option<Digest>) -> Digest {
    match (identity, contents) {
        (Identity::Content, Some(contents)) => contents,
        (Identity::Content | Identity::Key, _) => key,
    }
}
