//! The last build, from the store's record of it.

use std::collections::BTreeMap;

use xenolith_archive::date::Timestamp;
use xenolith_store::{InputKind, LastBuild, Reason, StepName, StepRecord};

use super::model::{StepRow, Timeline};

/// Makes the timeline of the steps that the last build looked at.
pub fn timeline(last: &LastBuild) -> Timeline {
    let records: BTreeMap<&StepName, &StepRecord> =
        last.steps.iter().filter(|(_, record)| record.build == last.began).collect();
    let inputs: BTreeMap<&StepName, Vec<&StepName>> =
        records.iter().map(|(name, record)| (*name, inputs_of(record, &records))).collect();
    let cold = Cold::of(&records, &inputs);
    let mut steps: Vec<StepRow> = records
        .iter()
        .map(|(name, record)| {
            let inputs = &inputs[name];
            let ready = inputs.iter().map(|input| records[input].ended_ms).max().unwrap_or(0);
            StepRow {
                step: name.to_string(),
                outcome: record.outcome,
                ready_ms: ready.min(record.began_ms),
                began_ms: record.began_ms,
                ended_ms: record.ended_ms,
                seconds: record.seconds,
                bytes: record.bytes,
                reason: record.reason.as_ref().and_then(reason),
                inputs: inputs.iter().map(ToString::to_string).collect(),
                cold_began: cold.began[name],
                critical: cold.critical.contains(name),
            }
        })
        .collect();
    steps.sort_by(|a, b| {
        (a.began_ms, a.ended_ms)
            .cmp(&(b.began_ms, b.ended_ms))
            .then(a.cold_began.total_cmp(&b.cold_began))
            .then(a.step.cmp(&b.step))
    });
    Timeline {
        began: Timestamp::from_unix(last.began / 1000).to_string(),
        took_ms: last.took_ms,
        steps,
        cold_seconds: cold.took,
    }
}

fn inputs_of<'a>(record: &StepRecord, records: &BTreeMap<&'a StepName, &StepRecord>) -> Vec<&'a StepName> {
    let mut names: Vec<&StepName> = record
        .inputs
        .values()
        .filter(|input| input.kind == InputKind::Step)
        .filter_map(|input| records.keys().find(|name| Some(name.as_str()) == input.text.as_deref()).copied())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// A build from nothing in which every step begins as soon as its inputs are there.
struct Cold<'a> {
    began: BTreeMap<&'a StepName, f64>,
    critical: Vec<&'a StepName>,
    took: f64,
}

impl<'a> Cold<'a> {
    fn of(
        records: &BTreeMap<&'a StepName, &StepRecord>,
        inputs: &BTreeMap<&'a StepName, Vec<&'a StepName>>,
    ) -> Self {
        let mut cold = Self { began: BTreeMap::new(), critical: Vec::new(), took: 0.0 };
        // A graph has no cycles, so each round settles at least one step.
        for _ in 0..records.len() {
            for name in records.keys() {
                let ends: Option<Vec<f64>> =
                    inputs[name].iter().map(|input| cold.end(records, input)).collect();
                if let Some(ends) = ends {
                    cold.began.insert(name, ends.into_iter().fold(0.0, f64::max));
                }
            }
        }
        for name in records.keys() {
            cold.began.entry(name).or_insert(0.0);
        }
        let end = |cold: &Self, name: &StepName| cold.end(records, name).unwrap_or(0.0);
        let mut at = records.keys().copied().max_by(|a, b| end(&cold, a).total_cmp(&end(&cold, b)));
        cold.took = at.map_or(0.0, |name| end(&cold, name));
        while let Some(name) = at {
            cold.critical.push(name);
            at = inputs[name].iter().copied().max_by(|a, b| end(&cold, a).total_cmp(&end(&cold, b)));
        }
        cold
    }

    fn end(&self, records: &BTreeMap<&StepName, &StepRecord>, name: &StepName) -> Option<f64> {
        Some(self.began.get(name)? + records[name].seconds)
    }
}

/// Why a step ran, in a few words; nothing if it never had. `--explain` prints all of it.
fn reason(reason: &Reason) -> Option<String> {
    match reason {
        Reason::FirstTime => None,
        Reason::InputChanged { changes } => {
            let names: Vec<&str> = changes.iter().take(3).map(|change| change.input.as_str()).collect();
            let more = changes.len().saturating_sub(names.len());
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            Some(format!("changed: {}{more}", names.join(", ")))
        }
        other => Some(other.to_string()),
    }
}
