//! The build store and the step graph: what was made from which inputs, and what must be made again.
//!
//! A [`Graph`] names steps and their inputs; a [`Scheduler`] runs those whose results are not in the [`Store`] and
//! says with [`Event`]s what it does. Each module opens with what it promises and why that holds:
//! [`graph`] what makes a key, [`store`] in which order a result reaches the disk, [`index`] when a file
//! counts as unchanged, [`scheduler`] which step runs when, [`lock`] what two builds at once agree on.

mod blobs;
mod commit;
mod context;
mod digest;
mod error;
mod event;
pub mod gc;
pub mod graph;
pub mod index;
mod input;
pub mod lock;
mod plan;
mod reason;
mod remember;
mod result;
mod run;
pub mod scheduler;
pub mod store;
pub mod tree;
mod worker;

pub use blobs::{BlobPart, Wanted};
pub use context::StepContext;
pub use digest::{BadDigest, Digest, Hasher, digest_bytes, digest_file, digest_reader};
pub use error::StoreError;
pub use event::{Event, SCHEMA, Unit, WaitingOn};
pub use gc::{GcPolicy, GcReport, Removed, Why};
pub use graph::{
    BadStepName, Graph, GraphError, Identity, Input, InputDigest, InputKind, RunStep, StepError, StepName,
    StepSpec, step_key,
};
pub use input::Seen;
pub use plan::{Plan, PlannedStep};
pub use reason::{Change, FileChange, InputChange, Reason, Shown, Verdict};
pub use remember::{LastBuild, Outcome, StepRecord};
pub use result::{Damage, Depth, FileKind, FileRecord, Listing, StepResult};
pub use scheduler::{Output, RunError, RunOptions, Scheduler, StepFailure};
pub use store::{Deep, Effect, Hold, Lookup, Store, Watch};
pub use tree::{TreeFilter, digest_tree};
