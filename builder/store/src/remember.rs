//! `last/<graph>.json`: what the last build of a graph saw, so that the next one can say why it runs a step.
//!
//! Advisory: it decides no rebuild (keys do), it explains one. A build of one target updates the steps it
//! looked at and leaves the others as they were; so does one that failed or was interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::graph::{InputKind, StepName};
use crate::input::Seen;
use crate::reason::{Change, FileChange, InputChange, Reason, Shown};
use crate::store::{Effect, Store};

const FORMAT: u32 = 1;

/// At most this many changed files are named.
const NAMED_FILES: usize = 10;

/// How a step came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its result was in the store.
    Cached,
    /// It ran.
    Ran,
    /// It ran and failed.
    Failed,
}

/// What the last build that looked at a step saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its key.
    pub key: Digest,
    /// The digest of its output; none if it failed.
    pub output: Option<Digest>,
    /// How it came out.
    pub outcome: Outcome,
    /// When that build began, in milliseconds since 1970.
    pub build: u64,
    /// When the step began, in milliseconds since the build did.
    pub began_ms: u64,
    /// When it ended, likewise.
    pub ended_ms: u64,
    /// Bytes in its output.
    pub bytes: u64,
    /// Seconds its work took, in this build or in the one that made its result.
    pub seconds: f64,
    /// Why it ran, if it did.
    pub reason: Option<Reason>,
    /// Its inputs.
    pub inputs: BTreeMap<String, Seen>,
}

/// What the last build of a graph saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastBuild {
    format: u32,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Its steps, with those that only earlier builds looked at.
    pub steps: BTreeMap<StepName, StepRecord>,
}

impl LastBuild {
    pub(crate) fn new(began: u64) -> Self {
        Self { format: FORMAT, began, took_ms: 0, steps: BTreeMap::new() }
    }

    pub(crate) fn load(path: &Path) -> Option<Self> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the last build's record cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(last) if last.format == FORMAT => Some(last),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the last build's record is broken");
                None
            }
        }
    }

    pub(crate) fn save(&self, store: &Store, graph: &StepName) -> io::Result<()> {
        store.watch(Effect::WriteLast)?;
        let tmp = store.fresh_tmp();
        fs::write(&tmp, serde_json::to_vec(self)?)?;
        fs::rename(&tmp, store.last_path(graph)) // cut: the old record, the new one, or a torn one: none
    }

    /// Why a step runs whose result under `key` is not in the store.
    pub(crate) fn reason(&self, step: &StepName, key: &Digest, inputs: &BTreeMap<String, Seen>) -> Reason {
        let Some(record) = self.steps.get(step) else { return Reason::FirstTime };
        if record.key != *key {
            let changes = changes(&record.inputs, inputs);
            return if changes.is_empty() {
                Reason::BuilderChanged
            } else {
                Reason::InputChanged { changes }
            };
        }
        match record.outcome {
            Outcome::Failed => Reason::FailedLast,
            Outcome::Cached | Outcome::Ran => Reason::NotCached,
        }
    }
}

fn changes(was: &BTreeMap<String, Seen>, now: &BTreeMap<String, Seen>) -> Vec<InputChange> {
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (was, now) = (was.get(name), now.get(name));
        if was.map(Seen::input_digest) == now.map(Seen::input_digest) {
            return None;
        }
        let kind = now.or(was).map_or(InputKind::Value, |seen| seen.kind);
        let mut files = match (was, now) {
            (Some(was), Some(now)) => file_changes(&was.files, &now.files),
            (None, _) | (_, None) => Vec::new(),
        };
        let more_files = files.len().saturating_sub(NAMED_FILES);
        files.truncate(NAMED_FILES);
        Some(InputChange {
            input: name.clone(),
            kind,
            was: was.map(shown),
            now: now.map(shown),
            files,
            more_files,
        })
    });
    changed.collect()
}

fn shown(seen: &Seen) -> Shown {
    Shown { digest: seen.digest, text: seen.text.clone() }
}

fn file_changes(was: &BTreeMap<String, Digest>, now: &BTreeMap<String, Digest>) -> Vec<FileChange> {
    if was.is_empty() && now.len() > 1 {
        return Vec::new(); // the last build remembered no files; naming all of them says nothing
    }
    let paths: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let changed = paths.into_iter().filter_map(|path| {
        let change = match (was.get(path), now.get(path)) {
            (Some(was), Some(now)) if was == now => return None,
            (Some(_), Some(_)) => Change::Modified,
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
        };
        Some(FileChange { path: path.clone(), change })
    });
    changed.collect()
}
