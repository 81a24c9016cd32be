//! What a running step sees of the world: its declared inputs, a fresh folder, its log.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::event::{Event, Unit};
use crate::graph::StepName;
use crate::result::{Depth, StepResult};
use crate::store::{Lookup, Store};
use crate::worker::Message;

/// Progress is told at most this often, but always at the end.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// An input as the step gets it.
#[derive(Debug)]
pub(crate) enum Supplied {
    Value(String),
    Path(PathBuf),
    Output { path: PathBuf, key: Digest },
}

/// A running step's view. It may be shared with the step's own threads.
pub struct StepContext {
    pub(crate) store: Store,
    pub(crate) step: StepName,
    pub(crate) key: Digest,
    pub(crate) out: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) jobs: usize,
    pub(crate) inputs: BTreeMap<String, Supplied>,
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) sender: Sender<Message>,
    pub(crate) told: Mutex<Option<Instant>>,
}

impl StepContext {
    /// The step's name.
    pub fn step(&self) -> &StepName {
        &self.step
    }

    /// The step's key.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// The fresh, empty folder that becomes the result if the step succeeds.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// A fresh, empty folder on the same file system that is removed afterwards.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// An input on the disk: the output folder of a step, the path of a blob, the file, the root of the tree.
    ///
    /// # Panics
    /// If the step did not declare it, or declared it as a value: the step would read what is not in its key.
    /// The build reports it as the step's failure.
    pub fn input(&self, name: &str) -> &Path {
        match self.inputs.get(name) {
            Some(Supplied::Path(path) | Supplied::Output { path, .. }) => path,
            found => panic!("step `{}` asks for the path of input `{name}`, which is {found:?}", self.step),
        }
    }

    /// What the store recorded of the output of a step among the inputs, when it took it in: of small trees the sum of
    /// each file, which need not be read again.
    ///
    /// # Errors
    /// [`StoreError::Input`] if it is not whole any more.
    ///
    /// # Panics
    /// If the step did not declare it as the output of a step; see [`StepContext::input`].
    pub fn recorded(&self, name: &str) -> Result<StepResult, StoreError> {
        let Some(Supplied::Output { key, .. }) = self.inputs.get(name) else {
            panic!("step `{}` asks for the record of input `{name}`, which no step made", self.step)
        };
        match self.store.lookup(key, Depth::Shape)? {
            Lookup::Hit(result) => Ok(*result),
            Lookup::Miss | Lookup::Damaged(_) => Err(StoreError::Input { input: name.to_owned() }),
        }
    }

    /// The text of a value.
    ///
    /// # Panics
    /// If the step did not declare it as a value; see [`StepContext::input`].
    pub fn value(&self, name: &str) -> &str {
        match self.inputs.get(name) {
            Some(Supplied::Value(text)) => text,
            found => panic!("step `{}` asks for the value of input `{name}`, which is {found:?}", self.step),
        }
    }

    /// The inputs on the disk whose names begin with `prefix`, by name: for a step with a list of packages.
    pub fn inputs<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Path)> {
        let from = self.inputs.range(prefix.to_owned()..);
        let these = from.take_while(move |(name, _)| name.starts_with(prefix));
        these.filter_map(|(name, supplied)| match supplied {
            Supplied::Path(path) | Supplied::Output { path, .. } => Some((name.as_str(), path.as_path())),
            Supplied::Value(_) => None,
        })
    }

    /// The log, to which everything the step runs appends.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Appends a line to the log.
    ///
    /// # Errors
    /// The log cannot be written; the error names it.
    pub fn log_line(&self, line: &str) -> io::Result<()> {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(&self.log)?;
        log.write_all(format!("{line}\n").as_bytes())
    }

    /// How many threads or processes the step may use. Its output must not depend on it.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// Whether the step should end early; what it then returns is taken for a cancellation.
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// The flag behind [`StepContext::cancelled`], for what runs programs.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Tells how far the step is; a `total` of 0 is unknown. Cheap to call often.
    pub fn progress(&self, done: u64, total: u64, unit: Unit) {
        if self.due(done == total) {
            self.tell(Event::StepProgress { step: self.step.clone(), done, total, unit });
        }
    }

    /// Tells how far a download is, in bytes and bytes per second; a `total` of 0 is unknown.
    pub fn download(&self, name: &str, done: u64, total: u64, rate: u64) {
        self.tell(Event::Download { name: name.to_owned(), done, total, rate });
    }

    fn due(&self, last: bool) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last || told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }

    fn tell(&self, event: Event) {
        // The build may be over for a thread that the step left behind; nobody listens then.
        let _ = self.sender.send(Message::Tell(event));
    }
}
