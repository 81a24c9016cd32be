//! What the tests of this crate share: a store in a temporary folder and graphs of small steps.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fs_err as fs;
use xenolith_store::{
    Event, Graph, Input, Output, Reason, RunError, RunOptions, Scheduler, StepContext, StepError, StepName,
    StepSpec, Store,
};

/// A folder for a store that is made over and over: in memory if the system has such a place, since each result is
/// flushed and a busy disk takes its time over that.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A name that the test wrote itself.
pub fn name(text: &str) -> StepName {
    text.parse().unwrap()
}

/// An empty graph named `test`.
pub fn graph(steps: impl IntoIterator<Item = StepSpec>) -> Graph {
    let mut graph = Graph::new(name("test"));
    for step in steps {
        graph.add(step).unwrap();
    }
    graph
}

/// A step that writes all it can read of its inputs, by name, into `out/text`.
pub fn copying(step: &str, inputs: &[(&str, Input)]) -> StepSpec {
    step_of(step, inputs, |context| {
        let mut text = format!("{}\n", context.step());
        for (name, path) in context.inputs("") {
            let path = if path.is_dir() { path.join("text") } else { path.to_owned() };
            text += &format!("{name}: {}\n", fs::read_to_string(path)?);
        }
        fs::write(context.out().join("text"), text)?;
        Ok(())
    })
}

/// A step with these inputs and this work.
pub fn step_of(
    step: &str,
    inputs: &[(&str, Input)],
    run: impl FnOnce(&StepContext) -> Result<(), StepError> + Send + 'static,
) -> StepSpec {
    inputs.iter().fold(StepSpec::new(name(step), run), |spec, (name, input)| spec.input(*name, input.clone()))
}

/// What a run gave and told.
pub struct Told {
    pub result: Result<BTreeMap<StepName, Output>, RunError>,
    pub events: Vec<Event>,
}

impl Told {
    /// Names of the steps that ran, in the order in which they began.
    pub fn ran(&self) -> Vec<String> {
        let started = self.events.iter().filter_map(|event| match event {
            Event::StepStarted { step, .. } => Some(step.to_string()),
            _ => None,
        });
        started.collect()
    }

    /// Why a step ran.
    pub fn reason(&self, of: &str) -> Option<Reason> {
        self.events.iter().find_map(|event| match event {
            Event::StepStarted { step, reason, .. } if step.as_str() == of => Some(reason.clone()),
            _ => None,
        })
    }

    /// The text that a [`copying`] step left.
    pub fn text(&self, step: &str) -> String {
        let outputs = self.result.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
        fs::read_to_string(outputs[&name(step)].path.join("text")).unwrap()
    }
}

/// Runs a graph for one target.
pub fn run(store: &Store, graph: Graph, target: &str) -> Told {
    run_with(store, graph, target, &RunOptions { jobs: 2, ..RunOptions::default() })
}

/// Runs a graph for one target with these options.
pub fn run_with(store: &Store, graph: Graph, target: &str, options: &RunOptions) -> Told {
    let mut events = Vec::new();
    let result = Scheduler::new(store).run(graph, &[name(target)], options, &mut |event| events.push(event));
    Told { result, events }
}

/// A list that steps on other threads add to.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// All files below a folder, with their contents.
pub fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(root).unwrap().display().to_string();
            found.insert(path, fs::read(entry.path()).unwrap());
        }
    }
    found
}
