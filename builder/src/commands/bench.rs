//! `xenolith bench`: how long builds take and what they cost, beside what the same work costs otherwise.
//!
//! **What a figure is about is printed beside it**, so that it cannot be quoted for something else. Builds are timed from
//! outside: this program starts itself on a copy of the checkout and on a store of its own, to which downloads and, except for the
//! cold build, results are lent by links. The user's checkout is only read.
//!
//! ```text
//!   cache/bench-…/checkout    a copy, a commit of its own; edited for each run
//!   cache/bench-…/cold-1 …    stores that begin empty but for the downloads
//!   cache/bench-…/store       the store to which this checkout's results are lent, if no cold build was asked for
//!   cache/bench-…/bare, peer  where the same work is done without the builder, and by plain mkosi
//! ```
//! All of it runs on two processors, whatever the machine has: they are what the targets were set for.

mod bare;
mod blocks;
mod boot;
mod build;
mod checkout;
mod child;
mod erofs;
mod install;
mod memory;
mod peer;
mod report;
mod stats;
mod table;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use xenolith_store::StepName;

use super::build::{self as building, Built};
use crate::{
    cli::{BenchArgs, BenchCommand, BuildArgs, Global, MirrorArgs, Target},
    exit::{Class, Classify as _, Failure},
    project::Project,
};

/// On so many processors everything is measured.
const PROCESSORS: usize = 2;

/// Runs the command.
///
/// # Errors
/// As a build; [`Class::Host`] if a measurement cannot be taken here.
pub fn run(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        BenchCommand::Build(args) => build::run(global, args),
        BenchCommand::Erofs(args) => erofs::run(global, args),
        BenchCommand::Boot(args) => boot::run(global, args),
        BenchCommand::Install(args) => install::run(global, args),
    }
}

/// Binds this process and all that it starts to two processors; says how many it got.
fn on_two_processors() -> Result<usize, Failure> {
    let what = "cannot choose the processors to measure on";
    let allowed = sched_getaffinity(Pid::from_raw(0)).class(Class::Host, what)?;
    let mut chosen = CpuSet::new();
    let mut count = 0;
    for processor in 0..CpuSet::count() {
        if count < PROCESSORS && allowed.is_set(processor).class(Class::Host, what)? {
            chosen.set(processor).class(Class::Host, what)?;
            count += 1;
        }
    }
    sched_setaffinity(Pid::from_raw(0), &chosen).class(Class::Host, what)?;
    Ok(count)
}

/// Brings these steps of this checkout's build up to date: downloads are done, and there are results to lend and to look at.
fn built(
    global: &Global,
    project: &Project,
    keys: Option<&Path>,
    mirror: &MirrorArgs,
    steps: &[&'static str],
) -> Result<Built, Failure> {
    let quiet = Global { json: false, ..global.clone() };
    let args = BuildArgs {
        target: Target::All,
        variant: "default".into(),
        offline: false,
        jobs: None,
        explain: false,
        dry_run: false,
        output: None,
        keys: keys.map(Path::to_path_buf),
        mirror: mirror.clone(),
    };
    let targets: Vec<StepName> = steps.iter().copied().map(StepName::of).collect();
    building::build(&quiet, project, &args, &targets, &[])
}

/// The result of a step of that build.
fn result<'a>(built: &'a Built, step: &str) -> Result<&'a Path, Failure> {
    let found = built.outputs.values().find(|output| output.step.as_str() == step);
    found
        .map(|output| output.path.as_path())
        .ok_or_else(|| Failure::new(Class::Bug, format!("the build has no step {step}")))
}

/// The failure of a piece of a step that was called on its own.
fn step_failure(what: &str) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Failure {
    let what = format!("{what} failed");
    move |error| Failure::new(Class::Failed, what).because(anyhow::anyhow!(error))
}

/// Ends here if the user wants it.
fn go_on(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::new(Class::Interrupted, "the measurement was interrupted"));
    }
    Ok(())
}

/// What is going on, for whoever waits.
fn tell(text: &str) {
    eprintln!("bench: {text}");
}
