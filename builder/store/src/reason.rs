//! Why a step runs. The same value is printed by `--explain`, sent as an event and shown in the report.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::graph::{InputKind, StepName};
use crate::result::Damage;

/// Why a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No build on record has looked at it.
    FirstTime,
    /// Inputs differ from those that the last build saw.
    InputChanged {
        /// Which, and how; by name.
        changes: Vec<InputChange>,
    },
    /// The inputs are the same, but this builder computes keys in another way.
    BuilderChanged,
    /// The user asked for it to run without the cache.
    Asked,
    /// Its stored output is not what it left.
    OutputDamaged {
        /// What differs.
        damage: Damage,
    },
    /// Nothing changed since the last build, but its result is no longer in the store.
    NotCached,
    /// Nothing changed since the last build, in which it failed.
    FailedLast,
}

/// How an input differs from what the last build saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChange {
    /// Its name.
    pub input: String,
    /// Its kind.
    pub kind: InputKind,
    /// What it was; nothing if the step did not have it.
    pub was: Option<Shown>,
    /// What it is; nothing if the step no longer has it.
    pub now: Option<Shown>,
    /// Of a tree: files that changed, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileChange>,
    /// How many more files changed.
    #[serde(default)]
    pub more_files: usize,
}

/// An input as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The digest over its contents.
    pub digest: Digest,
    /// The text of a value, the name of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A file of a tree that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path in the tree.
    pub path: String,
    /// How.
    pub change: Change,
}

/// How a file of a tree changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other contents.
    Modified,
}

/// What will become of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Its result is in the store.
    Cached,
    /// It runs.
    Runs {
        /// Why.
        #[serde(flatten)]
        reason: Reason,
    },
    /// It runs unless the steps before it give what they gave before.
    MayRun {
        /// Those steps.
        after: Vec<StepName>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstTime => f.write_str("it has not run before"),
            Self::InputChanged { changes } => {
                for (number, change) in changes.iter().enumerate() {
                    if number > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{change}")?;
                }
                Ok(())
            }
            Self::BuilderChanged => f.write_str("this builder identifies results in another way"),
            Self::Asked => f.write_str("it was asked for"),
            Self::OutputDamaged { damage } => write!(f, "its stored output was damaged: {damage}"),
            Self::NotCached => f.write_str("its result is no longer in the store"),
            Self::FailedLast => f.write_str("it failed the last time"),
        }
    }
}

impl fmt::Display for InputChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, .. } = self;
        let (was, now) = match (&self.was, &self.now) {
            (None, _) => return write!(f, "input `{input}` is new"),
            (_, None) => return write!(f, "input `{input}` is gone"),
            (Some(was), Some(now)) => (was, now),
        };
        match (self.kind, &was.text, &now.text) {
            (InputKind::Step, _, Some(step)) => write!(f, "the output of `{step}` changed"),
            (InputKind::Value, Some(was), Some(now)) => write!(f, "`{input}` was `{was}` and is `{now}`"),
            (InputKind::Tree, ..) if !self.files.is_empty() => {
                write!(f, "`{input}` changed: ")?;
                self.fmt_files(f)
            }
            (
                InputKind::Value | InputKind::File | InputKind::Tree | InputKind::Blob | InputKind::Step,
                ..,
            ) => {
                write!(f, "`{input}` changed ({} → {})", was.digest.short(), now.digest.short())
            }
        }
    }
}

impl InputChange {
    fn fmt_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, file) in self.files.iter().enumerate() {
            let how = match file.change {
                Change::Added => "added",
                Change::Removed => "removed",
                Change::Modified => "modified",
            };
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{} {how}", file.path)?;
        }
        if self.more_files > 0 {
            write!(f, " and {} more", self.more_files)?;
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cached => f.write_str("cached: no input changed"),
            Self::Runs { reason } => write!(f, "runs: {reason}"),
            Self::MayRun { after } => {
                let names: Vec<_> = after.iter().map(|step| format!("`{step}`")).collect();
                write!(f, "may run: if the output of {} changes", names.join(" or "))
            }
        }
    }
}
