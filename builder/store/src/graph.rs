//! The step graph: steps, their inputs, and the key under which a result is stored.
//!
//! **A step's key changes exactly if one of its inputs changes.** It is the SHA-256 over
//!
//! ```text
//!   "xenolith step 1"  format of this list; a change of it, or of how anything below is hashed, counts up
//!   name               two steps with the same inputs still do different things
//!   identity           a result is stored in another form
//!   for each input, by name: name, kind, digest
//!       value          the text
//!       file           the contents and whether the owner may execute it
//!       tree           what its filter lets through (see the tree module for which bits of it)
//!       blob           the blob's own SHA-256
//!       step           the digest of that step's OUTPUT, not its key
//! ```
//!
//! The last line is the early cut-off: a step that runs again and gives what it gave before leaves the keys of
//! all steps after it as they were. A comment changed in a source file compiles once more and builds no image.
//! Steps with [`Identity::Key`] give that up for trees too large to hash: their output digest is their key.
//!
//! Not hashed: memory, weight, the run closure (Rust cannot hash code, and the builder's own hash would make
//! every build of the builder a cold one). What a step *does* is therefore an input too: it names its command
//! line, scripts and a revision number as [`Input::Value`] or [`Input::File`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::context::StepContext;
use crate::digest::{Digest, Hasher};
use crate::tree::TreeFilter;

const KEY_FORMAT: &str = "xenolith step 1";

/// The name of a step: letters, digits, `.`, `_` and `-`, at most 60; it is part of file names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepName(String);

/// Text that cannot name a step.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` cannot name a step: 1 to 60 letters, digits, `.`, `_` or `-`, the first one no sign")]
pub struct BadStepName {
    text: String,
}

impl StepName {
    /// The name in a literal of the builder's own source.
    ///
    /// # Panics
    /// If the literal is no step name; a text from outside is parsed instead.
    pub fn of(literal: &'static str) -> Self {
        literal.parse().expect("a literal step name keeps to the rules")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepName {
    type Err = BadStepName;

    fn from_str(text: &str) -> Result<Self, BadStepName> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !first || text.len() > 60 || !text.bytes().all(known) {
            return Err(BadStepName { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for StepName {
    type Error = BadStepName;

    fn try_from(text: String) -> Result<Self, BadStepName> {
        text.parse()
    }
}

impl From<StepName> for String {
    fn from(name: StepName) -> Self {
        name.0
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something a step reads. What is not declared as one must not influence the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A text: a setting, a version, a command line.
    Value(String),
    /// One file of the checkout or the host.
    File(PathBuf),
    /// A folder, as far as the filter lets it through.
    Tree {
        /// Its root.
        root: PathBuf,
        /// Which entries count.
        filter: TreeFilter,
    },
    /// A download in the store, by its sum.
    Blob(Digest),
    /// The output of another step of the graph.
    Step(StepName),
}

impl Input {
    /// A value, from anything that prints.
    pub fn value(value: impl fmt::Display) -> Self {
        Self::Value(value.to_string())
    }

    /// A whole folder.
    pub fn tree(root: impl Into<PathBuf>) -> Self {
        Self::Tree { root: root.into(), filter: TreeFilter::everything() }
    }

    /// What kind of input it is.
    pub fn kind(&self) -> InputKind {
        match self {
            Self::Value(_) => InputKind::Value,
            Self::File(_) => InputKind::File,
            Self::Tree { .. } => InputKind::Tree,
            Self::Blob(_) => InputKind::Blob,
            Self::Step(_) => InputKind::Step,
        }
    }
}

/// The kinds of input, as they are hashed and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A text.
    Value,
    /// A file.
    File,
    /// A folder.
    Tree,
    /// A download.
    Blob,
    /// Another step's output.
    Step,
}

impl InputKind {
    fn tag(self) -> &'static [u8] {
        match self {
            Self::Value => b"value",
            Self::File => b"file",
            Self::Tree => b"tree",
            Self::Blob => b"blob",
            Self::Step => b"step",
        }
    }
}

/// What an input was found to be: all of it that enters the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDigest {
    /// Its kind.
    pub kind: InputKind,
    /// The digest over its contents.
    pub digest: Digest,
}

/// What the digest of a step's output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The digest of the tree it left: each file is hashed once and verified by its stamp when read.
    #[default]
    Content,
    /// The step's key, for trees of 10⁵ files: verified by names, modes, sizes and times before a step reads it.
    Key,
}

/// The error with which a step may fail.
pub type StepError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a step does. It writes into [`StepContext::out`] and nowhere else.
pub type RunStep = Box<dyn FnOnce(&StepContext) -> Result<(), StepError> + Send>;

/// A node of the graph.
pub struct StepSpec {
    /// Its name, unique in the graph.
    pub name: StepName,
    /// All that it reads, by the names under which its code asks for them.
    pub inputs: BTreeMap<String, Input>,
    /// Bytes of memory it may need at its peak.
    pub memory: u64,
    /// How its output is told from another one.
    pub identity: Identity,
    /// Seconds it is expected to take; orders the steps and weighs the progress, nothing else.
    pub weight: u64,
    /// The work.
    pub run: RunStep,
}

impl StepSpec {
    /// A step without inputs, with content identity, little memory and a weight of one second.
    pub fn new(
        name: StepName,
        run: impl FnOnce(&StepContext) -> Result<(), StepError> + Send + 'static,
    ) -> Self {
        Self {
            name,
            inputs: BTreeMap::new(),
            memory: 0,
            identity: Identity::Content,
            weight: 1,
            run: Box::new(run),
        }
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, input: Input) -> Self {
        self.inputs.insert(name.into(), input);
        self
    }

    /// Says how much memory it may need.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Says how its output is identified.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Says how long it is expected to take.
    #[must_use]
    pub fn weight(mut self, seconds: u64) -> Self {
        self.weight = seconds;
        self
    }

    /// The steps whose outputs it reads.
    pub fn steps(&self) -> impl Iterator<Item = &StepName> {
        self.inputs.values().filter_map(|input| match input {
            Input::Step(name) => Some(name),
            Input::Value(_) | Input::File(_) | Input::Tree { .. } | Input::Blob(_) => None,
        })
    }
}

/// The key of a step whose inputs have these digests.
pub fn step_key(name: &StepName, identity: Identity, inputs: &BTreeMap<String, InputDigest>) -> Digest {
    let mut hasher = Hasher::new(KEY_FORMAT);
    hasher.part(name.as_str().as_bytes());
    hasher.part(match identity {
        Identity::Content => b"content",
        Identity::Key => b"key",
    });
    for (input, seen) in inputs {
        hasher.part(input.as_bytes()).part(seen.kind.tag()).part(seen.digest.as_bytes());
    }
    hasher.finish()
}

/// A graph that cannot be run; a mistake in the builder or a target that does not exist.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Two steps of one name.
    #[error("two steps are named `{0}`")]
    Twice(StepName),
    /// A target that is no step.
    #[error("there is no step named `{0}`")]
    NoTarget(StepName),
    /// A step reads the output of one that does not exist.
    #[error("input `{input}` of step `{step}` is step `{missing}`, which does not exist")]
    NoStep {
        /// The step that reads.
        step: StepName,
        /// The input's name.
        input: String,
        /// The step it names.
        missing: StepName,
    },
    /// Steps that wait for each other.
    #[error("steps wait for each other: {}", names(.0))]
    Cycle(Vec<StepName>),
}

fn names(steps: &[StepName]) -> String {
    let names: Vec<_> = steps.iter().map(StepName::as_str).collect();
    names.join(" → ")
}

/// The steps of one build, by name.
pub struct Graph {
    pub(crate) name: StepName,
    pub(crate) steps: BTreeMap<StepName, StepSpec>,
}

impl Graph {
    /// An empty graph; under its name the store remembers what the last build saw. Two checkouts that share a
    /// store explain their builds, and keep their results from gc, only if their graphs have different names.
    pub fn new(name: StepName) -> Self {
        Self { name, steps: BTreeMap::new() }
    }

    /// Its name.
    pub fn name(&self) -> &StepName {
        &self.name
    }

    /// Its steps, by name.
    pub fn steps(&self) -> impl Iterator<Item = &StepSpec> {
        self.steps.values()
    }

    /// Adds a step. Its inputs may be added later.
    ///
    /// # Errors
    /// [`GraphError::Twice`].
    pub fn add(&mut self, step: StepSpec) -> Result<(), GraphError> {
        if self.steps.contains_key(&step.name) {
            return Err(GraphError::Twice(step.name));
        }
        self.steps.insert(step.name.clone(), step);
        Ok(())
    }

    /// The targets and all that they need, each step after its inputs, equals ordered by name.
    ///
    /// # Errors
    /// All of [`GraphError`] but `Twice`.
    pub fn order(&self, targets: &[StepName]) -> Result<Vec<StepName>, GraphError> {
        let mut walk = Walk { graph: self, order: Vec::new(), done: BTreeSet::new(), path: Vec::new() };
        for target in targets {
            if !self.steps.contains_key(target) {
                return Err(GraphError::NoTarget(target.clone()));
            }
            walk.visit(target)?;
        }
        Ok(walk.order)
    }
}

struct Walk<'a> {
    graph: &'a Graph,
    order: Vec<StepName>,
    done: BTreeSet<StepName>,
    path: Vec<StepName>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &StepName) -> Result<(), GraphError> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|step| step == name) {
            let mut cycle = self.path.split_off(start);
            cycle.push(name.clone());
            return Err(GraphError::Cycle(cycle));
        }
        let step = &self.graph.steps[name];
        self.path.push(name.clone());
        for (input, source) in &step.inputs {
            let Input::Step(source) = source else { continue };
            if !self.graph.steps.contains_key(source) {
                let missing = source.clone();
                return Err(GraphError::NoStep { step: name.clone(), input: input.clone(), missing });
            }
            self.visit(source)?;
        }
        self.path.pop();
        self.done.insert(name.clone());
        self.order.push(name.clone());
        Ok(())
    }
}
