//! One run of a graph: the state behind the diagram in the scheduler module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Instant;

use crate::digest::Digest;
use crate::event::{Event, WaitingOn};
use crate::graph::{Graph, Identity, Input, RunStep, StepError, StepName, step_key};
use crate::input::Seen;
use crate::plan::{Found, SeenInputs, input_digests, see_inputs};
use crate::reason::Reason;
use crate::remember::{LastBuild, Outcome, StepRecord};
use crate::result::{Damage, Depth, StepResult};
use crate::scheduler::{Output, RunError, RunOptions, StepFailure};
use crate::store::{Hold, Lookup, Store};
use crate::worker::{Ending, FromStep, Job, Message, tail};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Blocked,
    Queued,
    Running,
    Done,
    Failed,
}

pub(crate) struct Node {
    inputs: BTreeMap<String, Input>,
    seen: BTreeMap<String, Seen>,
    identity: Identity,
    memory: u64,
    /// Weight of the longest way from here to a target, this step included.
    way: u64,
    run: Option<RunStep>,
    state: State,
    hold: Option<Hold>,
    key: Option<Digest>,
    reason: Option<Reason>,
    output: Option<Output>,
    /// Its large tree is known to be whole: made, or verified by a step that read it.
    verified: bool,
    told_of_memory: bool,
    began_ms: u64,
}

pub(crate) struct Run<'a> {
    store: &'a Store,
    options: &'a RunOptions,
    last: &'a LastBuild,
    events: &'a mut dyn FnMut(Event),
    nodes: BTreeMap<StepName, Node>,
    /// What the plan has just looked at.
    found: Found,
    /// A step has begun to run: what the plan saw may no longer be so.
    time_has_passed: bool,
    failure: Option<RunError>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    began: Instant,
    threads: usize,
    waiting: usize,
    memory: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    ran: usize,
    cached: usize,
    failed: usize,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        store: &'a Store,
        nodes: BTreeMap<StepName, Node>,
        found: Found,
        last: &'a LastBuild,
        options: &'a RunOptions,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        let (sender, receiver) = channel();
        Self {
            store,
            options,
            last,
            events,
            nodes,
            found,
            time_has_passed: false,
            failure: None,
            sender,
            receiver,
            began: Instant::now(),
            threads: 0,
            waiting: 0,
            memory: 0,
            counts: Counts::default(),
        }
    }

    /// Runs to the end and writes down in `now` what was seen.
    pub(crate) fn run(mut self, now: &mut LastBuild) -> Result<BTreeMap<StepName, Output>, RunError> {
        std::thread::scope(|scope| {
            loop {
                while self.may_start() && self.settle_ready(now) {}
                self.start_queued(scope);
                if self.threads == 0 {
                    break;
                }
                let message = self.receiver.recv().expect("the run itself holds a sender");
                self.hear(message, now);
            }
        });
        now.took_ms = self.elapsed_ms();
        let missing = self.nodes.values().any(|node| node.state != State::Done);
        let result = match self.failure.take() {
            Some(failure) => Err(failure),
            None if missing => Err(RunError::Cancelled),
            None => Ok(()),
        };
        (self.events)(Event::Finished {
            success: result.is_ok(),
            seconds: self.began.elapsed().as_secs_f64(),
            ran: self.counts.ran,
            cached: self.counts.cached,
            failed: self.counts.failed,
        });
        result
            .map(|()| self.nodes.into_iter().filter_map(|(name, node)| Some((name, node.output?))).collect())
    }

    fn may_start(&self) -> bool {
        let failed = self.failure.is_some() && !self.options.keep_going;
        // A broken store is not a failed step: nothing can go on without it.
        let broken = matches!(self.failure, Some(RunError::Store(_)));
        !failed && !broken && !self.options.cancel.load(Ordering::Relaxed)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Decides about every step whose inputs are done: cached, or queued. Whether there was one.
    fn settle_ready(&mut self, now: &mut LastBuild) -> bool {
        let done = |input: &Input| match input {
            Input::Step(step) => self.nodes[step].state == State::Done,
            Input::Value(_) | Input::File(_) | Input::Tree { .. } | Input::Blob(_) => true,
        };
        let ready = |node: &Node| node.state == State::Blocked && node.inputs.values().all(done);
        let ready: Vec<_> =
            self.nodes.iter().filter(|(_, node)| ready(node)).map(|(name, _)| name.clone()).collect();
        for name in &ready {
            if let Err(error) = self.settle(name, now) {
                self.failure.get_or_insert(error);
                return false;
            }
        }
        !ready.is_empty()
    }

    fn settle(&mut self, name: &StepName, now: &mut LastBuild) -> Result<(), RunError> {
        self.see_again(name)?;
        self.see_outputs(name);
        let node = &self.nodes[name];
        let key = step_key(name, node.identity, &input_digests(&node.seen));
        let hold = self.store.hold(&key)?;
        let reason = match self.look(&key)? {
            _ if self.options.force.contains(name) => Reason::Asked,
            Lookup::Hit(result) => {
                self.set_key(name, key, hold, None);
                self.found(name, &result, false, now);
                return Ok(());
            }
            Lookup::Miss => self.last.reason(name, &key, &self.nodes[name].seen),
            Lookup::Damaged(damage) => {
                (self.events)(Event::StepDamaged { step: name.clone(), key, damage: damage.clone() });
                Reason::OutputDamaged { damage }
            }
        };
        self.set_key(name, key, hold, Some(reason));
        self.node(name).state = State::Queued;
        Ok(())
    }

    /// Looks at a step's files once more if time has passed since the plan did: they may have been edited.
    fn see_again(&mut self, name: &StepName) -> Result<(), RunError> {
        if !self.time_has_passed {
            return Ok(());
        }
        let inputs = std::mem::take(&mut self.node(name).inputs);
        let seen = see_inputs(self.store, name, &inputs);
        let node = self.node(name);
        node.inputs = inputs;
        node.seen = seen?;
        Ok(())
    }

    /// What the plan found a moment ago, if gc has not taken it since (now it is held), or a look at the disk.
    fn look(&mut self, key: &Digest) -> Result<Lookup, RunError> {
        match self.found.remove(key).filter(|_| !self.time_has_passed) {
            Some(result) if self.store.step_path(key).exists() => Ok(Lookup::Hit(result)),
            Some(_) | None => Ok(self.store.lookup(key, Depth::Glance)?),
        }
    }

    /// Puts the digests of other steps' outputs among what the step has seen.
    fn see_outputs(&mut self, name: &StepName) {
        let outputs: Vec<_> = self.nodes[name]
            .inputs
            .iter()
            .filter_map(|(input, source)| match source {
                Input::Step(step) => {
                    let output = self.nodes[step].output.as_ref()?;
                    Some((input.clone(), Seen::step(step.as_str(), output.digest)))
                }
                Input::Value(_) | Input::File(_) | Input::Tree { .. } | Input::Blob(_) => None,
            })
            .collect();
        self.node(name).seen.extend(outputs);
    }

    fn set_key(&mut self, name: &StepName, key: Digest, hold: Hold, reason: Option<Reason>) {
        let began_ms = self.elapsed_ms();
        let node = self.node(name);
        (node.key, node.hold, node.reason, node.began_ms) = (Some(key), Some(hold), reason, began_ms);
    }

    fn node(&mut self, name: &StepName) -> &mut Node {
        self.nodes.get_mut(name).expect("a step of this run")
    }

    fn key(&self, name: &StepName) -> Digest {
        self.nodes[name].key.expect("a step has a key from when it is settled")
    }

    /// Starts queued steps, the one with the longest way first, as long as slots and memory last.
    fn start_queued<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) {
        if !self.may_start() {
            return;
        }
        let queued = self.nodes.iter().filter(|(_, node)| node.state == State::Queued);
        let mut queued: Vec<_> = queued.map(|(name, node)| (node.way, node.memory, name.clone())).collect();
        queued.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
        for (_, memory, name) in queued {
            let active = self.threads - self.waiting;
            if active >= self.options.jobs.max(1) {
                return;
            }
            let fits =
                self.options.memory_limit.is_none_or(|limit| self.memory.saturating_add(memory) <= limit);
            if fits || active == 0 {
                self.start(scope, &name);
            } else if !std::mem::replace(&mut self.node(&name).told_of_memory, true) {
                (self.events)(Event::StepWaiting { step: name, on: WaitingOn::Memory });
            }
        }
    }

    fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, name: &StepName) {
        let from_steps = self.suppliers(name);
        let key = self.key(name);
        let (store, sender, cancel) =
            (self.store.clone(), self.sender.clone(), Arc::clone(&self.options.cancel));
        let jobs = self.options.jobs.max(1);
        let node = self.node(name);
        let Some(run) = node.run.take() else {
            let again = Again { step: name.clone() };
            self.failed(name, Box::new(again));
            return;
        };
        node.state = State::Running;
        let job = Job {
            store,
            step: name.clone(),
            key,
            identity: node.identity,
            reason: node.reason.clone().unwrap_or(Reason::NotCached),
            inputs: node.inputs.clone(),
            seen: node.seen.clone(),
            from_steps,
            jobs,
            cancel,
            sender,
        };
        self.memory = self.memory.saturating_add(self.nodes[name].memory);
        let thread = std::thread::Builder::new().name(name.to_string());
        match thread.spawn_scoped(scope, move || job.run(run)) {
            Ok(_) => {
                self.threads += 1;
                self.time_has_passed = true;
            }
            Err(error) => {
                self.memory -= self.nodes[name].memory;
                self.failed(name, Box::new(error));
            }
        }
    }

    fn suppliers(&self, name: &StepName) -> BTreeMap<String, FromStep> {
        let mut from_steps = BTreeMap::new();
        for (input, source) in &self.nodes[name].inputs {
            let Input::Step(step) = source else { continue };
            let node = &self.nodes[step];
            let (key, verified) = (self.key(step), node.verified);
            from_steps.insert(input.clone(), FromStep { step: step.clone(), key, verified });
        }
        from_steps
    }

    fn hear(&mut self, message: Message, now: &mut LastBuild) {
        match message {
            Message::Tell(event) => (self.events)(event),
            Message::Waiting(name) => {
                self.waiting += 1;
                self.memory -= self.nodes[&name].memory;
            }
            Message::Resumed(name) => {
                self.waiting -= 1;
                self.memory = self.memory.saturating_add(self.nodes[&name].memory);
            }
            Message::Started(name) => {
                let (key, began_ms) = (self.key(&name), self.elapsed_ms());
                for step in self.suppliers(&name).into_values().map(|from| from.step) {
                    self.node(&step).verified = true;
                }
                let node = self.node(&name);
                node.began_ms = began_ms;
                let reason = node.reason.clone().unwrap_or(Reason::NotCached);
                (self.events)(Event::StepStarted { step: name, key, reason });
            }
            Message::Ended(name, ending) => {
                self.threads -= 1;
                self.memory -= self.nodes[&name].memory;
                self.ended(&name, ending, now);
            }
        }
    }

    fn ended(&mut self, name: &StepName, ending: Ending, now: &mut LastBuild) {
        match ending {
            Ending::Found(result) => {
                self.node(name).reason = None;
                self.found(name, &result, true, now);
            }
            Ending::Made(result, same) => {
                self.counts.ran += 1;
                (self.events)(Event::StepFinished {
                    step: name.clone(),
                    key: result.key,
                    digest: result.digest,
                    seconds: result.seconds,
                    bytes: result.bytes,
                    same,
                });
                self.node(name).verified = true;
                self.done(name, &result, Outcome::Ran, now);
            }
            Ending::Failed(error) => {
                self.record(name, None, Outcome::Failed, now);
                self.failed(name, error);
            }
            Ending::Cancelled => self.node(name).state = State::Failed,
            Ending::InputsMoved { run } => {
                let node = self.node(name);
                node.run = Some(run);
                node.state = State::Blocked;
            }
            Ending::InputDamaged { input, damage, run } => {
                let node = self.node(name);
                node.run = Some(run);
                node.state = State::Blocked;
                self.damaged(&input, damage);
            }
        }
    }

    fn found(&mut self, name: &StepName, result: &StepResult, waited: bool, now: &mut LastBuild) {
        self.counts.cached += 1;
        let (key, digest) = (result.key, result.digest);
        (self.events)(Event::StepCached { step: name.clone(), key, digest, waited });
        self.done(name, result, Outcome::Cached, now);
    }

    fn done(&mut self, name: &StepName, result: &StepResult, outcome: Outcome, now: &mut LastBuild) {
        let output = Output {
            step: name.clone(),
            key: result.key,
            digest: result.digest,
            path: self.store.output_path(&result.key),
            bytes: result.bytes,
            cached: outcome == Outcome::Cached,
            _hold: self.nodes[name].hold.clone().expect("a step is held from when it is settled"),
        };
        self.record(name, Some(result), outcome, now);
        let node = self.node(name);
        node.output = Some(output);
        node.state = State::Done;
    }

    /// A step's tree was found damaged by a reader. It may be queued for that already, by another reader.
    fn damaged(&mut self, name: &StepName, damage: Damage) {
        let key = self.key(name);
        let node = self.node(name);
        if node.state != State::Done {
            return;
        }
        node.state = State::Queued;
        node.reason = Some(Reason::OutputDamaged { damage: damage.clone() });
        if node.output.as_ref().is_some_and(|output| output.cached) {
            self.counts.cached -= 1;
        }
        (self.events)(Event::StepDamaged { step: name.clone(), key, damage });
    }

    fn failed(&mut self, name: &StepName, source: StepError) {
        self.counts.failed += 1;
        let key = self.key(name);
        let log = self.store.log_path(name, &key);
        let tail = tail(&log);
        let (causes, step) = (causes(source.as_ref()), name.clone());
        let event = Event::StepFailed { step, key, causes, log: log.clone(), tail: tail.clone() };
        (self.events)(event);
        self.node(name).state = State::Failed;
        let failure = StepFailure { step: name.clone(), key, log, tail, source };
        self.failure.get_or_insert(RunError::Step(Box::new(failure)));
    }

    fn record(&self, name: &StepName, result: Option<&StepResult>, outcome: Outcome, now: &mut LastBuild) {
        let node = &self.nodes[name];
        let record = StepRecord {
            key: self.key(name),
            output: result.map(|result| result.digest),
            outcome,
            build: now.began,
            began_ms: node.began_ms,
            ended_ms: self.elapsed_ms(),
            bytes: result.map_or(0, |result| result.bytes),
            seconds: result.map_or(0.0, |result| result.seconds),
            reason: node.reason.clone(),
            inputs: node.seen.clone(),
        };
        now.steps.insert(name.clone(), record);
    }
}

/// A result that was made in this very build and is damaged already.
#[derive(Debug, thiserror::Error)]
#[error(
    "the output of step `{step}` was changed while this build was using it; who else writes to the store?"
)]
struct Again {
    step: StepName,
}

fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// The nodes of a run: the steps in `order`, with what their inputs were found to be.
pub(crate) fn nodes(graph: Graph, order: &[StepName], mut seen: SeenInputs) -> BTreeMap<StepName, Node> {
    let mut steps = graph.steps;
    let mut nodes = BTreeMap::new();
    let mut ways: BTreeMap<StepName, u64> = BTreeMap::new();
    for name in order.iter().rev() {
        let Some(spec) = steps.remove(name) else { continue };
        let way = spec.weight.saturating_add(ways.get(name).copied().unwrap_or(0));
        for source in spec.steps() {
            let longest = ways.entry(source.clone()).or_default();
            *longest = way.max(*longest);
        }
        let node = Node {
            way,
            seen: seen.remove(name).unwrap_or_default(),
            inputs: spec.inputs,
            identity: spec.identity,
            memory: spec.memory,
            run: Some(spec.run),
            state: State::Blocked,
            hold: None,
            key: None,
            reason: None,
            output: None,
            verified: false,
            told_of_memory: false,
            began_ms: 0,
        };
        nodes.insert(name.clone(), node);
    }
    nodes
}
