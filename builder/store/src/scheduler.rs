//! Running a graph: which step when.
//!
//! **Each step runs after its inputs, at most once, and only if its result is not in the store.**
//!
//! ```text
//!            inputs done            not in the store        slot and memory free          its worker ended
//!   Blocked ────────────▶ Ready ──────────────────▶ Queued ─────────────────────▶ Running ────────────────▶ Done
//!                           └───── in the store ───────────────────────────────────────────────────────────▶ Done
//!                                                      ▲                             │ a tree it reads is damaged
//!   Done, its tree found damaged ──────────────────────┘◀── and the reader: Blocked ─┘
//! ```
//!
//! One thread decides; each running step has a worker thread that talks to it through a channel. So events come
//! in one order, and no state is shared. Of the queued steps the one with the longest way to the end (by weight)
//! goes first. A step starts if a slot is free and its memory fits beside what runs, or if nothing runs: one
//! that wants more than there is runs alone. A step that waits for another build has neither slot nor memory.
//!
//! After a failure no step starts, unless `keep_going`: then those that need the failed one are left out. What
//! runs is not torn down: ten minutes of compilation are worth keeping, and its result is stored. The failure is
//! told at once. A cancellation starts nothing more and tells running steps to end by their flag; a step that
//! completes all the same is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::event::Event;
use crate::graph::{Graph, GraphError, StepError, StepName};
use crate::index::since_1970;
use crate::plan::{Plan, Planner, see_all};
use crate::remember::LastBuild;
use crate::run::{Run, nodes};
use crate::store::{Hold, Store};

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Steps at once, and threads each of them may use.
    pub jobs: usize,
    /// Bytes that the running steps together may want; no limit if absent.
    pub memory_limit: Option<u64>,
    /// Steps to run though their results may be there.
    pub force: BTreeSet<StepName>,
    /// Only the plan.
    pub dry_run: bool,
    /// After a failure, go on with what does not need the failed step.
    pub keep_going: bool,
    /// Set from outside to end the build.
    pub cancel: Arc<AtomicBool>,
}

impl Default for RunOptions {
    /// As many jobs as there are cores, no memory limit, nothing forced.
    fn default() -> Self {
        Self {
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            memory_limit: None,
            force: BTreeSet::new(),
            dry_run: false,
            keep_going: false,
            cancel: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// The result of a step that this build ran or found. As long as it lives, gc leaves the result alone.
#[derive(Clone, Debug)]
pub struct Output {
    /// The step.
    pub step: StepName,
    /// Its key.
    pub key: Digest,
    /// The digest of the output.
    pub digest: Digest,
    /// The output folder. Read only: who writes here damages the result.
    pub path: PathBuf,
    /// Bytes in its files.
    pub bytes: u64,
    /// Whether it was there already.
    pub cached: bool,
    pub(crate) _hold: Hold,
}

/// A step whose work failed.
#[derive(Debug, thiserror::Error)]
#[error("step `{step}` failed")]
pub struct StepFailure {
    /// The step.
    pub step: StepName,
    /// Its key.
    pub key: Digest,
    /// Where the whole log is.
    pub log: PathBuf,
    /// Its last 20 lines.
    pub tail: Vec<String>,
    /// What the step said.
    pub source: StepError,
}

/// Why there are no outputs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The graph is not one, or a target is not in it.
    #[error("the graph cannot be run")]
    Graph(#[source] GraphError),
    /// An input cannot be read.
    #[error("input `{input}` of step `{step}` cannot be read")]
    Input {
        /// The step.
        step: StepName,
        /// The input.
        input: String,
        /// Why; names the path.
        source: io::Error,
    },
    /// The store does not work.
    #[error("the build cannot go on")]
    Store(#[source] StoreError),
    /// A step failed; the first one, if there were several.
    #[error(transparent)]
    Step(Box<StepFailure>),
    /// The build was cancelled.
    #[error("the build was interrupted")]
    Cancelled,
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<GraphError> for RunError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

/// Runs graphs over a store.
pub struct Scheduler {
    store: Store,
}

impl Scheduler {
    /// A scheduler over this store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// What [`Scheduler::run`] would do now. Runs nothing and discards nothing.
    ///
    /// # Errors
    /// [`RunError::Graph`], [`RunError::Input`], [`RunError::Store`].
    pub fn plan(&self, graph: &Graph, targets: &[StepName], options: &RunOptions) -> Result<Plan, RunError> {
        let order = graph.order(targets)?;
        let seen = see_all(&self.store, graph, &order)?;
        let last = self.last(graph);
        let (store, force) = (&self.store, &options.force);
        let planner = Planner { store, graph, seen: &seen, last: &last, force, found: None };
        planner.plan(&order)
    }

    /// Brings the targets, and all that they need, to where their inputs say: the outputs of all these steps.
    ///
    /// `events` gets [`Event::Plan`] first and [`Event::Finished`] last, on the calling thread. Nothing comes out
    /// of a dry run but the plan.
    ///
    /// # Errors
    /// Any [`RunError`]. The results of steps that ended well are in the store all the same.
    pub fn run(
        &self,
        graph: Graph,
        targets: &[StepName],
        options: &RunOptions,
        events: &mut dyn FnMut(Event),
    ) -> Result<BTreeMap<StepName, Output>, RunError> {
        let began = u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        let order = graph.order(targets)?;
        let seen = see_all(&self.store, &graph, &order)?;
        let last = self.last(&graph);
        let mut found = BTreeMap::new();
        let (store, force) = (&self.store, &options.force);
        let planner =
            Planner { store, graph: &graph, seen: &seen, last: &last, force, found: Some(&mut found) };
        events(Event::Plan { steps: planner.plan(&order)?.steps });
        if options.dry_run {
            return Ok(BTreeMap::new());
        }
        let name = graph.name.clone();
        let mut now = last.clone();
        now.began = began;
        now.steps.retain(|step, _| graph.steps.contains_key(step));
        let run = Run::new(&self.store, nodes(graph, &order, seen), found, &last, options, events);
        let done = run.run(&mut now);
        if let Err(error) = now.save(&self.store, &name) {
            tracing::warn!(%error, "what this build saw is not saved; the next one can explain less");
        }
        self.store.save_index();
        done
    }

    fn last(&self, graph: &Graph) -> LastBuild {
        self.store.last(&graph.name).unwrap_or_else(|| LastBuild::new(0))
    }
}
