//! `xenolith bench build`: one figure after the other.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use fs_err as fs;

use super::{
    Built, bare, built,
    checkout::{Checkout, Edit},
    child::{Child, Measured, Memory},
    go_on, on_two_processors, peer,
    report::{FORMAT, Report, Size},
    result, tell,
};
use crate::{
    cli::{BenchBuildArgs, Figure, Global, Target},
    commands::{
        build as building, say,
        scratch::{Purpose, Scratch},
    },
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
    steps::image::RootFacts,
};

/// Steps whose results are lent or looked at. The disk image is not among them: storing it takes long.
const READS: &[&str] = &["iso", "update"];
/// Runs of a figure that takes seconds.
const RUNS: u16 = 3;
/// Runs of a figure that takes minutes.
const COLD_RUNS: u16 = 1;

/// Runs the command.
///
/// # Errors
/// As a build.
pub fn run(global: &Global, args: &BenchBuildArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let processors = on_two_processors()?;
    let first = built(global, &project, args.keys.as_deref(), &args.mirror, READS)?;
    let scratch = Scratch::new(&project.cache, Purpose::Bench)?;
    let checkout = Checkout::copy(&project.root, &scratch.path().join("checkout"))?;
    let mut bench = Bench {
        project: &project,
        first: &first,
        checkout,
        keys: project::keys_folder(args.keys.as_deref())?,
        output: scratch.path().join("out"),
        store: None,
        stop: building::interrupt_flag()?,
        scratch,
    };
    let wanted = |figure| args.only.is_empty() || args.only.contains(&figure);
    let (runs, cold_runs) = (args.runs.unwrap_or(RUNS), args.runs.unwrap_or(COLD_RUNS));
    let mut report = Report { format: FORMAT, processors, sizes: sizes(&first)?, ..Report::default() };
    if wanted(Figure::Cold) {
        for run in 1..=cold_runs {
            report.add_cold(&bench.cold(run)?);
        }
    }
    if wanted(Figure::Bare) {
        go_on(&bench.stop)?;
        report.bare = bare::measure(&first, &bench.folder("bare")?, processors)?;
    }
    if wanted(Figure::NoOp) {
        report.no_op = bench.no_op(runs)?;
    }
    if wanted(Figure::Crate) {
        report.edited_crate = bench.edited(Edit::Crate, "root", runs)?;
    }
    if wanted(Figure::File) {
        report.file = bench.edited(Edit::File, "root", runs)?;
    }
    if wanted(Figure::Option) {
        report.option = bench.edited(Edit::Option, "xen-hypervisor", runs.min(cold_runs.max(1)))?;
    }
    if wanted(Figure::Mkosi) {
        go_on(&bench.stop)?;
        report.mkosi = peer::measure(&first, &bench.folder("peer")?, cold_runs, runs)?;
    }
    report.judge();
    if global.json {
        say(&serde_json::to_string_pretty(&report).class(Class::Bug, "cannot print the report")?);
    } else {
        say(report.text().trim_end());
    }
    Ok(())
}

/// Where everything is measured.
struct Bench<'a> {
    project: &'a Project,
    first: &'a Built,
    checkout: Checkout,
    keys: PathBuf,
    output: PathBuf,
    /// Where the copy of the checkout is built, once it was.
    store: Option<PathBuf>,
    stop: Arc<AtomicBool>,
    scratch: Scratch,
}

impl Bench<'_> {
    /// Builds everything in a store that has only downloads.
    fn cold(&mut self, run: u16) -> Result<Measured, Failure> {
        tell("cold build");
        let store = self.scratch.path().join(format!("cold-{run}"));
        self.scratch.lend(&self.project.cache, &store, std::iter::empty())?;
        let measured = self.child(&store).build(Target::All, Memory::Watched)?;
        if let Some(before) = self.store.replace(store) {
            fs::remove_dir_all(before).class(Class::Device, "cannot remove the cold build before")?;
        }
        Ok(measured)
    }

    fn no_op(&mut self, runs: u16) -> Result<Vec<f64>, Failure> {
        let store = self.warm_store(Target::All)?;
        let mut seconds = Vec::new();
        for _ in 0..runs {
            go_on(&self.stop)?;
            tell("build with nothing changed");
            let measured = self.child(&store).build(Target::All, Memory::Ignored)?;
            if let Some(step) = measured.steps.keys().next() {
                return Err(Failure::new(Class::Bug, format!("step {step} ran with nothing changed")));
            }
            seconds.push(measured.seconds);
        }
        Ok(seconds)
    }

    /// Edits and builds the ISO; `reaches` is a step that has to run again, or the edit was none.
    fn edited(&mut self, edit: Edit, reaches: &str, runs: u16) -> Result<Vec<f64>, Failure> {
        let store = self.warm_store(Target::Iso)?;
        let mut seconds = Vec::new();
        for run in 1..=runs {
            go_on(&self.stop)?;
            tell(&format!("build of the ISO after an edit: {edit:?}").to_lowercase());
            self.checkout.edit(edit, run)?;
            let measured = self.child(&store).build(Target::Iso, Memory::Ignored)?;
            for needed in [reaches, "iso"] {
                if !measured.steps.contains_key(needed) {
                    return Err(Failure::new(Class::Bug, format!("the edit did not make step {needed} run")));
                }
            }
            seconds.push(measured.seconds);
        }
        Ok(seconds)
    }

    /// The store in which the copy of the checkout is up to date.
    fn warm_store(&mut self, target: Target) -> Result<PathBuf, Failure> {
        let store = match &self.store {
            Some(store) => store.clone(),
            None => {
                let store = self.scratch.path().join("store");
                self.scratch.lend(&self.project.cache, &store, self.first.outputs.values())?;
                self.store = Some(store.clone());
                store
            }
        };
        go_on(&self.stop)?;
        tell("bringing the copy of the checkout up to date");
        self.child(&store).build(target, Memory::Ignored)?;
        Ok(store)
    }

    fn child<'a>(&'a self, store: &'a Path) -> Child<'a> {
        Child { project: self.checkout.root(), store, output: &self.output, keys: &self.keys }
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder).class(Class::Host, "cannot make a folder to work in")?;
        Ok(folder)
    }
}

/// Sizes of what this checkout's build has left.
fn sizes(built: &Built) -> Result<Vec<Size>, Failure> {
    let unread = || "cannot look at the results".to_owned();
    let length = |step, file: &str| -> Result<u64, Failure> {
        Ok(fs::metadata(result(built, step)?.join(file)).class(Class::Device, unread())?.len())
    };
    let facts =
        RootFacts::read(result(built, "root")?).map_err(super::step_failure("reading the root's facts"))?;
    let update = walkdir::WalkDir::new(result(built, "update")?).into_iter().filter_map(Result::ok);
    let update = update.filter(|entry| entry.file_type().is_file()).filter_map(|entry| entry.metadata().ok());
    let recipe = &built.plan.recipe;
    Ok(vec![
        Size { what: "ISO", bytes: length("iso", "xenolith.iso")?, budget: Some(recipe.budget.iso.0) },
        Size { what: "root image", bytes: facts.size, budget: Some(recipe.budget.root.0) },
        Size { what: "boot file", bytes: length("signed", "boot/xenolith.efi")?, budget: None },
        Size { what: "update set", bytes: update.map(|metadata| metadata.len()).sum(), budget: None },
    ])
}
