//! What a build would do, without doing it.
//!
//! **The plan promises less than it knows and never more.** A step whose inputs are all known has a key, and is
//! cached or runs. A step behind one that runs has no key yet: that one may give what it gave before (early
//! cut-off), so it *may* run. Behind a step with key identity the digest of the output is known beforehand, and
//! the plan goes on. Large trees are only glanced at here; one that was tampered with is found when it is used.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::graph::{Graph, Identity, Input, InputDigest, StepName, StepSpec, step_key};
use crate::input::{Seen, see};
use crate::reason::{Reason, Verdict};
use crate::remember::{LastBuild, Outcome};
use crate::result::{Depth, StepResult};
use crate::scheduler::RunError;
use crate::store::{Lookup, Store};

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name.
    pub step: StepName,
    /// Seconds it is expected to take if it runs: what it took last time, else its weight.
    pub expected: f64,
    /// Its key, if it is known.
    pub key: Option<Digest>,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a build would do, each step after its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    /// The steps that run or may run.
    pub fn pending(&self) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(|step| step.verdict != Verdict::Cached)
    }
}

/// What the inputs of all steps were found to be, but for the outputs of other steps.
pub(crate) type SeenInputs = BTreeMap<StepName, BTreeMap<String, Seen>>;

pub(crate) fn see_all(store: &Store, graph: &Graph, order: &[StepName]) -> Result<SeenInputs, RunError> {
    order.iter().map(|name| Ok((name.clone(), see_inputs(store, name, &graph.steps[name].inputs)?))).collect()
}

/// What a step's inputs are found to be, but for the outputs of other steps.
pub(crate) fn see_inputs(
    store: &Store,
    step: &StepName,
    inputs: &BTreeMap<String, Input>,
) -> Result<BTreeMap<String, Seen>, RunError> {
    let mut all = BTreeMap::new();
    for (input, source) in inputs {
        let seen = see(store, source).map_err(|source| RunError::Input {
            step: step.clone(),
            input: input.clone(),
            source,
        })?;
        if let Some(seen) = seen {
            all.insert(input.clone(), seen);
        }
    }
    Ok(all)
}

/// The digests that make a step's key.
pub(crate) fn input_digests(seen: &BTreeMap<String, Seen>) -> BTreeMap<String, InputDigest> {
    seen.iter().map(|(name, seen)| (name.clone(), seen.input_digest())).collect()
}

pub(crate) struct Planner<'a> {
    pub(crate) store: &'a Store,
    pub(crate) graph: &'a Graph,
    pub(crate) seen: &'a SeenInputs,
    pub(crate) last: &'a LastBuild,
    pub(crate) force: &'a BTreeSet<StepName>,
    /// Collects the results that were found, so that a run that follows at once need not look again.
    pub(crate) found: Option<&'a mut Found>,
}

/// Results that were looked at a moment ago.
pub(crate) type Found = BTreeMap<Digest, Box<StepResult>>;

impl Planner<'_> {
    pub(crate) fn plan(mut self, order: &[StepName]) -> Result<Plan, RunError> {
        let mut outputs: BTreeMap<&StepName, Option<Digest>> = BTreeMap::new();
        let mut steps = Vec::with_capacity(order.len());
        for name in order {
            let spec = &self.graph.steps[name];
            let (planned, output) = self.plan_step(spec, &outputs)?;
            outputs.insert(name, output);
            steps.push(planned);
        }
        Ok(Plan { steps })
    }

    fn plan_step(
        &mut self,
        spec: &StepSpec,
        outputs: &BTreeMap<&StepName, Option<Digest>>,
    ) -> Result<(PlannedStep, Option<Digest>), RunError> {
        let mut seen = self.seen[&spec.name].clone();
        let mut after = BTreeSet::new();
        for (input, source) in &spec.inputs {
            let Input::Step(source) = source else { continue };
            match outputs[source] {
                Some(output) => {
                    seen.insert(input.clone(), Seen::step(source.as_str(), output));
                }
                None => {
                    after.insert(source.clone());
                }
            }
        }
        if !after.is_empty() {
            let forced = self.force.contains(&spec.name);
            let verdict = match forced {
                true => Verdict::Runs { reason: Reason::Asked },
                false => Verdict::MayRun { after: after.into_iter().collect() },
            };
            return Ok((
                PlannedStep { step: spec.name.clone(), expected: self.expected(spec), key: None, verdict },
                None,
            ));
        }
        let key = step_key(&spec.name, spec.identity, &input_digests(&seen));
        let (verdict, content) = self.judge(spec, &key, &seen)?;
        let output = match spec.identity {
            Identity::Key => Some(key),
            Identity::Content => content,
        };
        Ok((
            PlannedStep { step: spec.name.clone(), expected: self.expected(spec), key: Some(key), verdict },
            output,
        ))
    }

    fn judge(
        &mut self,
        spec: &StepSpec,
        key: &Digest,
        seen: &BTreeMap<String, Seen>,
    ) -> Result<(Verdict, Option<Digest>), RunError> {
        if self.force.contains(&spec.name) {
            return Ok((Verdict::Runs { reason: Reason::Asked }, None));
        }
        Ok(match self.store.lookup(key, Depth::Glance)? {
            Lookup::Hit(result) => {
                let digest = result.digest;
                if let Some(found) = &mut self.found {
                    found.insert(*key, result);
                }
                (Verdict::Cached, Some(digest))
            }
            Lookup::Miss => (Verdict::Runs { reason: self.last.reason(&spec.name, key, seen) }, None),
            Lookup::Damaged(damage) => (Verdict::Runs { reason: Reason::OutputDamaged { damage } }, None),
        })
    }

    fn expected(&self, spec: &StepSpec) -> f64 {
        let last = self.last.steps.get(&spec.name).filter(|record| record.outcome != Outcome::Failed);
        last.map_or(f64::from(u32::try_from(spec.weight).unwrap_or(u32::MAX)), |record| record.seconds)
    }
}
