//! A build as a user would start it, seen from outside.

use std::{collections::BTreeMap, path::Path, time::Instant};

use clap::ValueEnum as _;
use fs_err as fs;
use xenolith_store::Event;

use super::memory::Watch;
use crate::{
    cli::Target,
    exit::{Class, Classify as _, Failure},
};

/// Where a build happens.
pub struct Child<'a> {
    /// The checkout.
    pub project: &'a Path,
    /// The store.
    pub store: &'a Path,
    /// The results, and what the build says.
    pub output: &'a Path,
    /// The keys.
    pub keys: &'a Path,
}

/// Whether memory is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It is.
    Watched,
    /// It is not, and nothing disturbs the clock.
    Ignored,
}

/// What a build took.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From start to end of the process.
    pub seconds: f64,
    /// Peak of the memory of all its processes, in bytes, if it was watched.
    pub memory: Option<u64>,
    /// The steps that ran, and their seconds.
    pub steps: BTreeMap<String, f64>,
}

impl Child<'_> {
    /// Runs `xenolith build` to its end, without downloads. Watching memory takes some hundredths of a processor.
    ///
    /// # Errors
    /// [`Class::Failed`] with its last words.
    pub fn build(&self, target: Target, memory: Memory) -> Result<Measured, Failure> {
        let what = || "cannot start a build to measure".to_owned();
        fs::create_dir_all(self.output).class(Class::Host, what())?;
        let (events, words) = (self.output.join("bench.events"), self.output.join("bench.log"));
        let target = target.to_possible_value().expect("no target is hidden").get_name().to_owned();
        let program = std::env::current_exe().class(Class::Host, what())?;
        let mut args: Vec<std::ffi::OsString> =
            ["build", "--json", "--offline", "--target"].map(Into::into).to_vec();
        args.push(target.into());
        let places = [
            ("--project", self.project),
            ("--cache", self.store),
            ("--output", self.output),
            ("--keys", self.keys),
        ];
        for (option, place) in places {
            args.extend([option.into(), place.into()]);
        }
        #[allow(clippy::disallowed_methods, reason = "this very program, as its user would start it")]
        let command =
            duct::cmd(program, args).stdin_null().stdout_path(&events).stderr_path(&words).unchecked();
        let began = Instant::now();
        let running = command.start().class(Class::Host, what())?;
        let pids = if memory == Memory::Watched { running.pids() } else { Vec::new() };
        let watch = pids.first().map(|&pid| Watch::start(pid));
        let ended = running.wait().class(Class::Host, what())?.status;
        let seconds = began.elapsed().as_secs_f64();
        let memory = watch.map(Watch::peak);
        if !ended.success() {
            let interrupted = ended.code() == Some(i32::from(Class::Interrupted as u8));
            let class = if interrupted { Class::Interrupted } else { Class::Failed };
            let words = fs::read_to_string(&words).unwrap_or_default();
            return Err(Failure::new(class, "a build to be measured did not succeed")
                .because(anyhow::anyhow!("{}", words.trim())));
        }
        let steps =
            steps(&fs::read_to_string(&events).class(Class::Device, "cannot read what the build said")?);
        Ok(Measured { seconds, memory, steps })
    }
}

/// The steps that ran, out of a build's events.
fn steps(events: &str) -> BTreeMap<String, f64> {
    let event = |line: &str| serde_json::from_str::<Event>(line).ok();
    let finished = |event| match event {
        Event::StepFinished { step, seconds, .. } => Some((step.to_string(), seconds)),
        _ => None,
    };
    events.lines().filter_map(event).filter_map(finished).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_ran_are_told_from_the_rest_and_from_what_is_not_known() {
        let digest = "00".repeat(32);
        let events = format!(
            "{{\"schema\":1,\"at_ms\":1,\"event\":\"from_the_future\",\"step\":\"root\"}}\n\
             {{\"schema\":1,\"at_ms\":2,\"event\":\"step_cached\",\"step\":\"crates\",\"key\":\"{digest}\",\"digest\":\"{digest}\",\"waited\":false}}\n\
             {{\"schema\":1,\"at_ms\":3,\"event\":\"step_finished\",\"step\":\"root\",\"key\":\"{digest}\",\"digest\":\"{digest}\",\"seconds\":2.5,\"bytes\":1,\"same\":null}}\n"
        );
        assert_eq!(steps(&events), BTreeMap::from([("root".to_owned(), 2.5)]));
    }
}
