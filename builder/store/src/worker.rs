//! One step, from "it must run" to its result: the part of a build that happens on a thread of its own.
//!
//! ```text
//!   lock <key>.make ──▶ is it there by now? ──yes──▶ Found
//!        │                   │ no
//!        │ held: tell,       ▼
//!        └ wait          inputs whole? ──no──▶ InputDamaged: that step runs again, then we do
//!                            │ yes
//!                        files still what the key says? ──no──▶ InputsMoved: another key is made of them
//!                            │ yes
//!                            ▼
//!                        run in tmp/ ──▶ files still what the key says? ──yes──▶ commit ──▶ Made
//!                                             │ no
//!                                             ▼
//!                                          Failed: build again
//! ```
//!
//! The last question closes the gap between looking at a file and reading it: a file saved in the editor while
//! the step ran would otherwise put the new contents' result under the old contents' key, for good. Before the
//! step has run the same change costs nothing: its inputs are looked at again, and it has another key.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode as Umask, umask};

use crate::commit::Made;
use crate::context::{StepContext, Supplied};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::event::{Event, WaitingOn};
use crate::graph::{Identity, Input, RunStep, StepError, StepName};
use crate::input::{Seen, see};
use crate::lock::{Lock, Mode};
use crate::plan::input_digests;
use crate::reason::Reason;
use crate::result::{Damage, Depth, StepResult};
use crate::store::{Effect, Lookup, Store, remove_tree};

/// So much of a failed step's log is told.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// While another build makes the result, we look again after this long, twice as long each time…
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// …up to this.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// What a worker tells the scheduler.
pub(crate) enum Message {
    /// Something for the user only.
    Tell(Event),
    /// The step waits for another build and needs neither core nor memory.
    Waiting(StepName),
    /// It no longer waits.
    Resumed(StepName),
    /// The work begins.
    Started(StepName),
    /// The worker is done; its thread ends.
    Ended(StepName, Ending),
}

/// How a worker ended.
pub(crate) enum Ending {
    /// Another build had made the result.
    Found(Box<StepResult>),
    /// The step ran. If it replaced a result with content identity: whether its bytes are the same.
    Made(Box<StepResult>, Option<bool>),
    /// The step failed.
    Failed(StepError),
    /// The step was told to end, or had not begun.
    Cancelled,
    /// A file or tree is no longer what the key says; the step has not run and gives its work back.
    InputsMoved { run: RunStep },
    /// The output of another step is not whole; this one has not run and gives its work back.
    InputDamaged { input: StepName, damage: Damage, run: RunStep },
}

/// What a step gets from another one.
pub(crate) struct FromStep {
    pub(crate) step: StepName,
    pub(crate) key: Digest,
    /// Its shape was verified in this build, or it was made in it.
    pub(crate) verified: bool,
}

/// All that a worker needs.
pub(crate) struct Job {
    pub(crate) store: Store,
    pub(crate) step: StepName,
    pub(crate) key: Digest,
    pub(crate) identity: Identity,
    pub(crate) reason: Reason,
    pub(crate) inputs: BTreeMap<String, Input>,
    pub(crate) seen: BTreeMap<String, Seen>,
    pub(crate) from_steps: BTreeMap<String, FromStep>,
    pub(crate) jobs: usize,
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) sender: Sender<Message>,
}

/// Why a step could not run though its own work did not fail.
#[derive(Debug, thiserror::Error)]
enum Unable {
    #[error("input `{input}` changed while the step ran; build again")]
    InputMoved { input: String },
    #[error("input `{input}` cannot be read any more")]
    InputGone { input: String, source: io::Error },
    #[error("input `{input}` is not usable")]
    Blob { input: String, source: StoreError },
    #[error("the step panicked: {0}")]
    Panicked(String),
    #[error("the step's folder or log cannot be made")]
    Folder(#[source] io::Error),
}

impl Job {
    /// Does it all. The scheduler always gets exactly one `Ended`.
    pub(crate) fn run(self, run: RunStep) {
        leave_the_users_umask();
        let ending = match self.work(run) {
            Ok(ending) => ending,
            Err(_) if self.cancelled() => Ending::Cancelled,
            Err(error) => Ending::Failed(error),
        };
        self.send(Message::Ended(self.step.clone(), ending));
    }

    fn work(&self, run: RunStep) -> Result<Ending, StepError> {
        let Some(_make) = self.lock()? else { return Ok(Ending::Cancelled) };
        let before = self.store.lookup(&self.key, Depth::Shape)?;
        match before {
            Lookup::Hit(result) if self.reason != Reason::Asked => return Ok(Ending::Found(result)),
            Lookup::Damaged(_) => self.store.park(&self.key)?,
            Lookup::Hit(_) | Lookup::Miss => {}
        }
        if let Some((input, damage)) = self.damaged_input()? {
            return Ok(Ending::InputDamaged { input, damage, run });
        }
        if self.moved_input()?.is_some() {
            return Ok(Ending::InputsMoved { run });
        }
        let inputs = self.supply()?;
        if self.cancelled() {
            return Ok(Ending::Cancelled);
        }
        self.send(Message::Started(self.step.clone()));
        let result = self.make(run, inputs)?;
        let same = match before {
            Lookup::Hit(before) if self.identity == Identity::Content => Some(before.digest == result.digest),
            Lookup::Hit(_) | Lookup::Miss | Lookup::Damaged(_) => None,
        };
        Ok(Ending::Made(Box::new(result), same))
    }

    /// The key's `.make` lock; nothing if the build was cancelled while waiting.
    fn lock(&self) -> Result<Option<Lock>, StoreError> {
        let path = self.store.locks().make(&self.key);
        let taken = Lock::try_now(&path, Mode::Exclusive).transpose().or_else(|| {
            self.send(Message::Waiting(self.step.clone()));
            let on = WaitingOn::AnotherBuild;
            self.send(Message::Tell(Event::StepWaiting { step: self.step.clone(), on }));
            let taken = self.wait_for(&path);
            self.send(Message::Resumed(self.step.clone()));
            taken.transpose()
        });
        taken.transpose().map_err(|source| StoreError::Lock { path, source })
    }

    fn wait_for(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut pause = FIRST_LOOK;
        while !self.cancelled() {
            // flock cannot be waited for with a deadline; a wait that is not one could not be cancelled.
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(LAST_LOOK);
            if let Some(lock) = Lock::try_now(path, Mode::Exclusive)? {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// The first output among the inputs that is not whole. Its own step puts it aside when it runs again.
    fn damaged_input(&self) -> Result<Option<(StepName, Damage)>, StoreError> {
        for from in self.from_steps.values() {
            if from.verified {
                continue;
            }
            let damage = match self.store.lookup(&from.key, Depth::Shape)? {
                Lookup::Hit(_) => continue,
                Lookup::Miss => Damage::Missing { path: "out".to_owned() },
                Lookup::Damaged(damage) => damage,
            };
            return Ok(Some((from.step.clone(), damage)));
        }
        Ok(None)
    }

    fn supply(&self) -> Result<BTreeMap<String, Supplied>, Unable> {
        let mut supplied = BTreeMap::new();
        for (name, input) in &self.inputs {
            let this = match input {
                Input::Value(text) => Supplied::Value(text.clone()),
                Input::File(path) => Supplied::Path(path.clone()),
                Input::Tree { root, .. } => Supplied::Path(root.clone()),
                Input::Blob(digest) => {
                    let path = self.store.blob(digest);
                    Supplied::Path(path.map_err(|source| Unable::Blob { input: name.clone(), source })?)
                }
                Input::Step(_) => {
                    let key = self.from_steps[name].key;
                    Supplied::Output { path: self.store.output_path(&key), key }
                }
            };
            supplied.insert(name.clone(), this);
        }
        Ok(supplied)
    }

    fn make(&self, run: RunStep, inputs: BTreeMap<String, Supplied>) -> Result<StepResult, StepError> {
        let workspace = self.store.begin().map_err(Unable::Folder)?;
        let scratch = Scratch::new(&self.store).map_err(Unable::Folder)?;
        let log = self.store.log_path(&self.step, &self.key);
        fs::write(&log, "").map_err(Unable::Folder)?;
        let context = StepContext {
            store: self.store.clone(),
            step: self.step.clone(),
            key: self.key,
            out: workspace.out.clone(),
            scratch: scratch.0.clone(),
            log,
            jobs: self.jobs,
            inputs,
            cancel: Arc::clone(&self.cancel),
            sender: self.sender.clone(),
            told: Mutex::new(None),
        };
        let began = Instant::now();
        catch_unwind(AssertUnwindSafe(|| run(&context)))
            .unwrap_or_else(|panic| Err(Unable::Panicked(panic_text(panic.as_ref())).into()))?;
        let seconds = began.elapsed().as_secs_f64();
        drop(scratch);
        if let Some(input) = self.moved_input()? {
            return Err(Unable::InputMoved { input }.into());
        }
        let inputs = &input_digests(&self.seen);
        let made = Made { step: &self.step, key: self.key, identity: self.identity, inputs, seconds };
        Ok(self.store.commit(workspace, &made)?)
    }

    /// The first file or tree that is no longer what the key says.
    fn moved_input(&self) -> Result<Option<String>, Unable> {
        for (name, input) in &self.inputs {
            if !matches!(input, Input::File(_) | Input::Tree { .. }) {
                continue;
            }
            let now = see(&self.store, input)
                .map_err(|source| Unable::InputGone { input: name.clone(), source })?;
            if now.map(|now| now.digest) != self.seen.get(name).map(|seen| seen.digest) {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    fn send(&self, message: Message) {
        // The scheduler listens until every worker has ended.
        let _ = self.sender.send(message);
    }
}

/// Gives this thread, and those it starts, the umask that every build has: modes are a part of an output's digest.
/// The rest of the process keeps the user's, which is for the files that the user gets.
fn leave_the_users_umask() {
    if let Err(error) = unshare(CloneFlags::CLONE_FS) {
        // Then all of the process has it.
        tracing::debug!(%error, "the umask cannot be set for one thread");
    }
    umask(Umask::S_IWGRP | Umask::S_IWOTH);
}

/// A folder that goes when the step is done, be it by failing.
struct Scratch(PathBuf);

impl Scratch {
    fn new(store: &Store) -> io::Result<Self> {
        store.watch(Effect::MakeFolder)?;
        let path = store.fresh_tmp();
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "left to the end of the session");
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// The last lines of a log; none if there is no log.
pub(crate) fn tail(log: &Path) -> Vec<String> {
    let mut end = Vec::new();
    let read = fs::File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.read_to_end(&mut end)
    });
    if let Err(error) = read {
        tracing::debug!(%error, "no log to show");
    }
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}
