//! Collecting what no build needs any more.
//!
//! **Nothing that a running build uses is removed, and nothing is removed halfway.** A result goes only if its
//! `.make` and `.use` locks are both free, which gc then holds itself; it first leaves `steps/` by rename, so that
//! a kill leaves either all of it or a folder in `tmp/` that the next session removes. Blobs have no lock per
//! use: they go only while no other builder is running.
//!
//! What goes, in this order:
//! 1. results that were last used longer ago than `max_age`;
//! 2. while all that is left is larger than `max_size`: results by last use, the oldest first;
//! 3. blobs that no remaining result was made from, by the same two rules;
//! 4. logs of results that are gone, older than `max_age`, and lock files that guard nothing.
//!
//! What stays: results that the last build of any graph saw (`keep_last`), those in `keep`, and the blobs both
//! were made from. A result's last use is the time of its `.use` lock file, which each build that wants it sets.
//! Sizes are what the disk gives up (allocated blocks), not lengths: disk images are mostly holes.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::graph::{InputKind, StepName};
use crate::lock::{Lock, Mode};
use crate::remember::LastBuild;
use crate::store::{Effect, Store, remove_tree};

/// What may go.
#[derive(Clone, Debug)]
pub struct GcPolicy {
    /// What was not used for so long goes; no such rule if absent.
    pub max_age: Option<Duration>,
    /// The store may stay this large, in bytes; no such rule if absent.
    pub max_size: Option<u64>,
    /// Results that the last build of each graph saw stay.
    pub keep_last: bool,
    /// Results with these keys stay.
    pub keep: BTreeSet<Digest>,
    /// Only the report.
    pub dry_run: bool,
}

impl Default for GcPolicy {
    /// Removes nothing but leftovers, and keeps what the last builds saw.
    fn default() -> Self {
        Self { max_age: None, max_size: None, keep_last: true, keep: BTreeSet::new(), dry_run: false }
    }
}

/// What gc did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcReport {
    /// What went.
    pub removed: Vec<Removed>,
    /// Bytes on the disk that this gives back.
    pub freed: u64,
    /// Bytes on the disk that results and blobs still take.
    pub left: u64,
    /// Results that should have gone but are used or made by a running build.
    pub in_use: usize,
    /// Another builder was running, so that no blob was looked at.
    pub blobs_skipped: bool,
    /// What should have gone but could not be removed, and why.
    pub failed: Vec<(PathBuf, String)>,
}

/// Something that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Removed {
    /// A result.
    Result {
        /// Its key.
        key: Digest,
        /// The step that made it, if its record could be read.
        step: Option<StepName>,
        /// Bytes on the disk.
        bytes: u64,
        /// Why.
        why: Why,
    },
    /// A blob or the beginning of one.
    Blob {
        /// Its file.
        path: PathBuf,
        /// Bytes on the disk.
        bytes: u64,
        /// Why.
        why: Why,
    },
    /// A log.
    Log {
        /// Its file.
        path: PathBuf,
    },
}

/// Why something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was not used for too long.
    Age,
    /// The store was too large.
    Size,
}

/// A result or a blob as gc sees it.
struct Thing<T> {
    name: T,
    used: SystemTime,
    bytes: u64,
    keep: bool,
}

impl Store {
    /// Removes what the policy lets go. Failing to remove one thing does not keep the others. Not to be called
    /// while this same session runs a build: only other sessions' blobs are safe from it.
    ///
    /// # Errors
    /// [`StoreError::List`] if the store cannot be read, [`StoreError::Lock`] if its locks cannot be used.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let mut gc = Gc { store: self, policy, now: SystemTime::now(), report: GcReport::default() };
        let results = gc.results()?;
        let blobs = gc.blobs()?;
        gc.report.left = results.iter().map(|thing| thing.bytes).sum::<u64>()
            + blobs.iter().map(|thing| thing.bytes).sum::<u64>();
        let gone = gc.collect_results(results);
        gc.collect_blobs(blobs, &gone)?;
        gc.collect_logs(&gone)?;
        if !policy.dry_run {
            gc.collect_locks()?;
            self.clean_tmp();
        }
        Ok(gc.report)
    }
}

struct Gc<'a> {
    store: &'a Store,
    policy: &'a GcPolicy,
    now: SystemTime,
    report: GcReport,
}

impl Gc<'_> {
    fn results(&self) -> Result<Vec<Thing<Digest>>, StoreError> {
        let kept = self.kept()?;
        let mut results = Vec::new();
        for key in self.store.step_keys()? {
            let folder = self.store.step_path(&key);
            let lock = fs::metadata(self.store.locks().using(&key));
            let used = lock.or_else(|_| fs::metadata(&folder)).and_then(|metadata| metadata.modified());
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            results.push(Thing { name: key, used, bytes: disk_usage(&folder), keep: kept.contains(&key) });
        }
        Ok(results)
    }

    fn kept(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut kept = self.policy.keep.clone();
        if !self.policy.keep_last {
            return Ok(kept);
        }
        for (path, _) in list(&self.store.root().join("last"))? {
            if let Some(last) = LastBuild::load(&path) {
                kept.extend(last.steps.values().map(|record| record.key));
            }
        }
        Ok(kept)
    }

    /// Blobs and parts of blobs; which of them are kept is known only when the results have been collected.
    fn blobs(&self) -> Result<Vec<Thing<PathBuf>>, StoreError> {
        let found = list(&self.store.root().join("blobs"))?;
        let thing = |(path, metadata): (PathBuf, std::fs::Metadata)| {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Thing { name: path, used, bytes: allocated(&metadata), keep: false }
        };
        Ok(found.into_iter().map(thing).collect())
    }

    fn collect_results(&mut self, mut results: Vec<Thing<Digest>>) -> BTreeSet<Digest> {
        results.sort_by_key(|thing| (thing.used, thing.name));
        let mut gone = BTreeSet::new();
        for thing in results {
            let Some(why) = self.verdict(&thing) else { continue };
            let step = self.store.read_result(&thing.name).ok().flatten().map(|result| result.step);
            match self.remove_result(&thing.name) {
                Ok(true) => {
                    gone.insert(thing.name);
                    let removed = Removed::Result { key: thing.name, step, bytes: thing.bytes, why };
                    self.went(removed, thing.bytes);
                }
                Ok(false) => self.report.in_use += 1,
                Err(error) => self.report.failed.push((self.store.step_path(&thing.name), error.to_string())),
            }
        }
        gone
    }

    fn verdict<T>(&self, thing: &Thing<T>) -> Option<Why> {
        if thing.keep {
            return None;
        }
        let age = self.now.duration_since(thing.used).unwrap_or_default();
        if self.policy.max_age.is_some_and(|max| age > max) {
            return Some(Why::Age);
        }
        self.policy.max_size.is_some_and(|max| self.report.left > max).then_some(Why::Size)
    }

    fn went(&mut self, removed: Removed, bytes: u64) {
        self.report.removed.push(removed);
        self.report.freed += bytes;
        self.report.left -= bytes;
    }

    /// Whether it went, or would: not if a build makes or uses it.
    fn remove_result(&self, key: &Digest) -> io::Result<bool> {
        let (make_path, use_path) = (self.store.locks().make(key), self.store.locks().using(key));
        let Some(making) = Lock::try_now(&make_path, Mode::Exclusive)? else { return Ok(false) };
        let Some(using) = Lock::try_now(&use_path, Mode::Exclusive)? else { return Ok(false) };
        if self.policy.dry_run {
            return Ok(true);
        }
        self.store.watch(Effect::Clean)?;
        let aside = self.store.fresh_tmp();
        fs::rename(self.store.step_path(key), &aside)?; // the commit. cut: a folder of a dead session
        using.remove(&use_path)?;
        making.remove(&make_path)?;
        remove_tree(&aside)?;
        Ok(true)
    }

    fn collect_blobs(
        &mut self,
        mut blobs: Vec<Thing<PathBuf>>,
        gone: &BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        let needed = self.needed_blobs(gone)?;
        for thing in &mut blobs {
            let name = thing.name.file_name().and_then(|name| name.to_str());
            thing.keep = name.and_then(|name| name.parse().ok()).is_some_and(|name| needed.contains(&name));
        }
        blobs.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        let store = self.store;
        let alone = store.while_alone(|| {
            for thing in blobs {
                let Some(why) = self.verdict(&thing) else { continue };
                match self.remove_file(&thing.name) {
                    Ok(()) => {
                        let bytes = thing.bytes;
                        self.went(Removed::Blob { path: thing.name, bytes, why }, bytes);
                    }
                    Err(error) => self.report.failed.push((thing.name, error.to_string())),
                }
            }
        })?;
        self.report.blobs_skipped = alone.is_none();
        Ok(())
    }

    fn needed_blobs(&self, gone: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, StoreError> {
        let results = self.store.results()?;
        let left = results.into_iter().filter(|result| !gone.contains(&result.key));
        let inputs = left.flat_map(|result| result.inputs.into_values());
        Ok(inputs.filter(|input| input.kind == InputKind::Blob).map(|input| input.digest).collect())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if self.policy.dry_run {
            return Ok(());
        }
        self.store.watch(Effect::Clean)?;
        fs::remove_file(path)
    }

    /// A log goes when it is old and its result is not there: logs of failed steps are kept that long.
    fn collect_logs(&mut self, gone: &BTreeSet<Digest>) -> Result<(), StoreError> {
        let Some(max_age) = self.policy.max_age else { return Ok(()) };
        let there: BTreeSet<String> = self
            .store
            .step_keys()?
            .into_iter()
            .filter(|key| !gone.contains(key))
            .map(|key| format!("-{}.log", key.short()))
            .collect();
        for (path, metadata) in list(&self.store.root().join("logs"))? {
            let age = metadata.modified().ok().and_then(|time| self.now.duration_since(time).ok());
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let of_result = name.rfind('-').is_some_and(|dash| there.contains(&name[dash..]));
            if of_result || age.is_none_or(|age| age <= max_age) {
                continue;
            }
            match self.remove_file(&path) {
                Ok(()) => self.report.removed.push(Removed::Log { path }),
                Err(error) => self.report.failed.push((path, error.to_string())),
            }
        }
        Ok(())
    }

    /// Lock files of results that are not there, of sessions that are over and of blobs that are whole.
    fn collect_locks(&mut self) -> Result<(), StoreError> {
        for (path, _) in list(&self.store.root().join("locks"))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let guards = match name.split_once('.') {
                Some((key, "make" | "use")) => {
                    key.parse::<Digest>().map_or(true, |key| self.store.step_path(&key).exists())
                }
                Some((_, "blob")) => false,
                Some(_) => true,
                None => match name.strip_prefix("session-") {
                    Some(id) => self.store.root().join("tmp").join(id).exists(),
                    None => true,
                },
            };
            if guards {
                continue;
            }
            let removed = match Lock::try_now(&path, Mode::Exclusive) {
                Ok(Some(lock)) => lock.remove(&path),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                self.report.failed.push((path, error.to_string()));
            }
        }
        Ok(())
    }
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, std::fs::Metadata)>, StoreError> {
    let failed = |source| StoreError::List { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.metadata() {
            Ok(metadata) => found.push((entry.path(), metadata)),
            // Another builder may take things away while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Bytes on the disk below `path`; what cannot be read counts as nothing.
fn disk_usage(path: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(path).into_iter().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| allocated(&metadata)).sum()
}

/// `st_blocks` counts units of 512 bytes whatever the file system's block size (stat(2)).
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}
