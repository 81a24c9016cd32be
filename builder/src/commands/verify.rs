//! `xenolith verify`: builds again and compares, or compares two builds.
//!
//! **Nothing of the first build can reach the second but what is declared**: the second one runs in a store of its own, in
//! another folder, with another umask and another number of jobs, at another time. Steps that are not to be run again are
//! lent to it by links; the first store is only read.
//!
//! ```text
//!   cache/steps/<key>  ◀──link── cache/verify-…/steps/<key>     what is not run again: trees, Xen, crates
//!   cache/blobs        ◀──link── cache/verify-…/blobs           downloads
//!                                cache/verify-…/steps/<key>     made anew, compared, removed
//! ```
//! Results are compared byte by byte. Where an intermediate step differs but no result does, that is said too and is no
//! failure: permissions in a step's output, say, that reach nothing.

mod compare;
mod difference;
mod initrd;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use nix::sys::stat::{Mode, umask};
use serde::Serialize;
use xenolith_store::{Output, RunOptions, Scheduler, StepName, Store};

use self::{
    compare::{Comparison, Keys},
    difference::Difference,
};
use super::{
    build::{self, Built},
    scratch::{Purpose, Scratch},
    setup,
};
use crate::{
    cli::{Global, VerifyArgs},
    exit::{Class, Classify as _, Failure},
    project::Project,
    render::Renderer,
    steps,
};

/// Counts up when readers of the JSON document would have to change.
const FORMAT: u32 = 1;

/// What `verify --json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this format.
    pub format: u32,
    /// Whether every result is the same.
    pub same: bool,
    /// Jobs of the second build; none when two folders were compared.
    pub jobs: Option<usize>,
    /// umask of the second build; none when two folders were compared.
    pub umask: Option<String>,
    /// Whether signatures were left out, as the keys differ.
    pub signatures_left_out: bool,
    /// What was compared.
    pub compared: Vec<Compared>,
}

/// One step, or one file of two folders.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// The step, or the file.
    pub name: String,
    /// Whether users get it: what makes the difference between failure and note.
    pub result: bool,
    /// Bytes in it.
    pub bytes: u64,
    /// What differs; nothing if it is the same.
    pub differences: Vec<Difference>,
}

impl Compared {
    fn fails(&self) -> bool {
        self.result && self.differences.iter().any(Difference::of_content)
    }
}

/// Runs the command.
///
/// # Errors
/// [`Class::Trust`] if the builds differ; as a build otherwise.
pub fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let report = match &args.against {
        Some(other) => against(&project, &project.output(args.build.output.as_deref()), other)?,
        None => again(global, &project, args)?,
    };
    if global.json {
        super::say(&serde_json::to_string_pretty(&report).class(Class::Bug, "cannot print the report")?);
    } else {
        print(&report);
    }
    if report.same {
        return Ok(());
    }
    let names: Vec<&str> =
        report.compared.iter().filter(|one| one.fails()).map(|one| one.name.as_str()).collect();
    Err(Failure::new(Class::Trust, format!("the builds differ: {}", names.join(", "))))
}

fn print(report: &Report) {
    if let (Some(jobs), Some(umask)) = (report.jobs, &report.umask) {
        super::say(&format!("built again in another folder, with --jobs {jobs} and umask {umask}"));
    }
    if report.signatures_left_out {
        super::say("the keys differ: signatures, and what holds keys or sums of signed files, are left out");
    }
    let width = report.compared.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    for one in &report.compared {
        let verdict = match (one.differences.is_empty(), one.fails()) {
            (true, _) => "same",
            (false, true) => "DIFFERS",
            (false, false) => "differs where no result depends on it",
        };
        let bytes = xenolith_layout::Bytes::new(one.bytes).to_string();
        super::say(&format!("{:<width$}  {bytes:>10}  {verdict}", one.name));
        for difference in &one.differences {
            super::say(&format!("    {difference}"));
        }
    }
}

/// A number of jobs that the first build most likely did not have.
fn other_jobs(asked: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(if cores == 1 { 2 } else { cores.div_ceil(2).min(cores - 1) }).max(1)
}

/// Sets another umask until dropped.
struct OtherUmask {
    before: Mode,
    now: Mode,
}

impl OtherUmask {
    fn set() -> Self {
        let strict = Mode::S_IRWXG | Mode::S_IRWXO;
        let before = umask(strict);
        let now = if before == strict { Mode::S_IWGRP | Mode::S_IWOTH } else { strict };
        umask(now);
        Self { before, now }
    }
}

impl Drop for OtherUmask {
    fn drop(&mut self) {
        umask(self.before);
    }
}

fn again(global: &Global, project: &Project, args: &VerifyArgs) -> Result<Report, Failure> {
    let quiet = Global { json: false, ..global.clone() };
    let targets = steps::targets(args.build.target);
    let first = build::build(&quiet, project, &args.build, &targets, &[])?;
    if args.build.dry_run {
        return Err(Failure::new(Class::Usage, "verify has no dry run: it builds or it says nothing"));
    }
    let is_again = |step: &StepName| args.everything || steps::IMAGE_STEPS.contains(&step.as_str());
    let scratch = Scratch::new(&project.cache, Purpose::Verify)?;
    let lent = first.outputs.values().filter(|output| !is_again(&output.step));
    scratch.lend(&project.cache, scratch.path(), lent)?;
    let jobs = other_jobs(args.build.jobs);
    let (second, mask) = {
        let other = OtherUmask::set();
        (second_build(&first, &scratch, &targets, jobs)?, format!("{:03o}", other.now.bits()))
    };
    let tools = first.outputs.get(&StepName::of("tools-tree"));
    let comparison = Comparison {
        keys: Keys::Same,
        tools: tools.map(|output| (output.path.clone(), scratch.path().to_path_buf())),
    };
    let results: Vec<&str> =
        steps::results(&first.plan.identity.version).into_iter().map(|(step, ..)| step).collect();
    let mut compared = Vec::new();
    for (step, ours) in first.outputs.iter().filter(|(step, _)| is_again(step)) {
        let Some(theirs) = second.get(step) else { continue };
        let differences = comparison
            .trees(&ours.path, &theirs.path)
            .class(Class::Device, format!("cannot compare the outputs of {step}"))?;
        let result = results.contains(&step.as_str()) || ["root", "boot-file"].contains(&step.as_str());
        compared.push(Compared { name: step.to_string(), result, bytes: ours.bytes, differences });
    }
    Ok(Report {
        format: FORMAT,
        same: !compared.iter().any(Compared::fails),
        jobs: Some(jobs),
        umask: Some(mask),
        signatures_left_out: false,
        compared,
    })
}

fn second_build(
    first: &Built,
    scratch: &Scratch,
    targets: &[StepName],
    jobs: usize,
) -> Result<BTreeMap<StepName, Output>, Failure> {
    let store = Store::open(scratch.path()).class(Class::Host, "cannot make a second store")?;
    let graph = setup::graph(&first.plan, steps::WHOLE)?;
    let options = RunOptions {
        jobs,
        memory_limit: build::memory(),
        cancel: build::interrupt_flag()?,
        ..RunOptions::default()
    };
    let mut renderer = Renderer::new(false, false);
    let ran = Scheduler::new(&store).run(graph, targets, &options, &mut |event| {
        // What a failed step leaves would go with the second store.
        if let xenolith_store::Event::StepFailed { tail, .. } = &event {
            tail.iter().for_each(|line| eprintln!("  {line}"));
        }
        renderer.show(&event);
    });
    renderer.finish();
    ran.map_err(build::failure)
}

/// Compares two folders of results.
fn against(project: &Project, ours: &Path, theirs: &Path) -> Result<Report, Failure> {
    for folder in [ours, theirs] {
        if !folder.is_dir() {
            return Err(Failure::new(Class::Input, format!("{} is no folder of results", folder.display()))
                .hint("run `xenolith build` in both checkouts, or name this one's folder with --output"));
        }
    }
    let keys = keys_of(ours, theirs);
    let scratch = tempfile::tempdir().class(Class::Host, "cannot make a folder")?;
    let tools = tools_tree(project).map(|tree| (tree, scratch.path().to_path_buf()));
    let differences = Comparison { keys, tools }
        .trees(ours, theirs)
        .class(Class::Device, format!("cannot compare {} with {}", ours.display(), theirs.display()))?;
    let mut compared: Vec<Compared> = files(ours)
        .map(|(name, bytes)| Compared { name, result: true, bytes, differences: Vec::new() })
        .collect();
    for difference in differences {
        let name = difference.place.first().cloned().unwrap_or_default();
        match compared.iter_mut().find(|one| one.name == name) {
            Some(one) => one.differences.push(difference),
            None => compared.push(Compared { name, result: true, bytes: 0, differences: vec![difference] }),
        }
    }
    Ok(Report {
        format: FORMAT,
        same: !compared.iter().any(Compared::fails),
        jobs: None,
        umask: None,
        signatures_left_out: keys == Keys::Differ,
        compared,
    })
}

fn files(folder: &Path) -> impl Iterator<Item = (String, u64)> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    walk.filter(|entry| entry.file_type().is_file()).filter_map(move |entry| {
        let name = entry.path().strip_prefix(folder).ok()?.display().to_string();
        Some((name, entry.metadata().ok()?.len()))
    })
}

/// Whether two folders of results were signed with the same keys: their enrolment files say it.
fn keys_of(ours: &Path, theirs: &Path) -> Keys {
    let read = |folder: &Path| -> Vec<(String, Option<Vec<u8>>)> {
        let folder = folder.join("keys");
        files(&folder).map(|(name, _)| (name.clone(), fs::read(folder.join(name)).ok())).collect()
    };
    if read(ours) == read(theirs) { Keys::Same } else { Keys::Differ }
}

/// The tools tree of the last build, if it is still there.
fn tools_tree(project: &Project) -> Option<PathBuf> {
    let store = Store::open(&project.cache).ok()?;
    let last = store.last(&StepName::of(steps::WHOLE))?;
    let tree = store.output_path(&last.steps.get(&StepName::of("tools-tree"))?.key);
    tree.is_dir().then_some(tree)
}
