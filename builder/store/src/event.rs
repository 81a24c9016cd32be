//! What a build tells while it runs. Pure data: progress bars, plain lines and NDJSON are made of it elsewhere.
//!
//! Schema 1, one object per line: `{"schema":1,"at_ms":1250,"event":"step_started","step":"xen",…}`. Within a schema
//! fields and events are added, never renamed or given another meaning; who reads it ignores what it does not know.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::graph::StepName;
use crate::plan::PlannedStep;
use crate::reason::Reason;
use crate::result::Damage;

/// The schema of the event stream.
pub const SCHEMA: u32 = 1;

/// Something that happened in a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What will be done; the first event.
    Plan {
        /// The steps, each after its inputs.
        steps: Vec<PlannedStep>,
    },
    /// A step begins its work.
    StepStarted {
        /// Which.
        step: StepName,
        /// Its key.
        key: Digest,
        /// Why.
        #[serde(flatten)]
        reason: Reason,
    },
    /// A step need not run: its result is in the store.
    StepCached {
        /// Which.
        step: StepName,
        /// Its key.
        key: Digest,
        /// The digest of its output.
        digest: Digest,
        /// Whether another build made it while this one waited.
        waited: bool,
    },
    /// A step could run but must wait.
    StepWaiting {
        /// Which.
        step: StepName,
        /// For what.
        on: WaitingOn,
    },
    /// A stored output is not what its step left; it is put aside and the step runs again.
    StepDamaged {
        /// Which.
        step: StepName,
        /// Its key.
        key: Digest,
        /// What differs.
        #[serde(flatten)]
        damage: Damage,
    },
    /// How far a step is.
    StepProgress {
        /// Which.
        step: StepName,
        /// So much is done.
        done: u64,
        /// Of so much; unknown if 0.
        total: u64,
        /// In these units.
        unit: Unit,
    },
    /// A step has run and its result is stored.
    StepFinished {
        /// Which.
        step: StepName,
        /// Its key.
        key: Digest,
        /// The digest of its output.
        digest: Digest,
        /// Seconds it took.
        seconds: f64,
        /// Bytes in its output.
        bytes: u64,
        /// If it replaced a result with content identity: whether it gave the same bytes again.
        same: Option<bool>,
    },
    /// A step has failed.
    StepFailed {
        /// Which.
        step: StepName,
        /// Its key.
        key: Digest,
        /// The error and its causes, outermost first.
        causes: Vec<String>,
        /// Where the whole log is.
        log: PathBuf,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// How far a download is.
    Download {
        /// What people call it.
        name: String,
        /// Bytes that are here.
        done: u64,
        /// Of so many; unknown if 0.
        total: u64,
        /// Bytes per second.
        rate: u64,
    },
    /// The build is over; the last event.
    Finished {
        /// Whether all targets are there.
        success: bool,
        /// Seconds it took.
        seconds: f64,
        /// Steps that ran.
        ran: usize,
        /// Steps whose results were there.
        cached: usize,
        /// Steps that failed.
        failed: usize,
    },
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingOn {
    /// Another build makes the same result.
    AnotherBuild,
    /// Running steps need the memory.
    Memory,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files.
    Files,
    /// Packages.
    Packages,
    /// Anything else.
    Items,
}

impl Event {
    /// The event as a line of NDJSON, without the line feed; `at` is the time since the build began.
    ///
    /// # Panics
    /// Never: an event holds nothing that JSON cannot say.
    pub fn line(&self, at: Duration) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            schema: u32,
            at_ms: u64,
            #[serde(flatten)]
            event: &'a Event,
        }
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        serde_json::to_string(&Line { schema: SCHEMA, at_ms, event: self }).expect("an event is plain data")
    }
}
