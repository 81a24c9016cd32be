//! `xenolith build`: downloads what is missing, runs the graph, puts the results into out/.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use fs_err as fs;
use xenolith_archive::{
    Archive, Sha256,
    fetch::{self, DownloadOptions, Downloader, FetchError, Item},
    mirror::Mirrors,
};
use xenolith_assemble::sparse;
use xenolith_store::{Digest, Event, Graph, Output, RunError, RunOptions, Scheduler, StepName, Store};

use super::setup;
use crate::{
    cli::{BuildArgs, Global},
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
    render::Renderer,
    steps::{self, describe},
};

/// What a user sends to end a build.
const INTERRUPTS: [i32; 2] = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];

/// What a build left.
pub struct Built {
    /// The outputs of its steps.
    pub outputs: BTreeMap<StepName, Output>,
    /// What it was made from.
    pub plan: steps::Plan,
}

/// Runs the command.
///
/// # Errors
/// By class; a step that failed is [`Class::Failed`] and says where its log is.
pub fn run(global: &Global, args: &BuildArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let began = Instant::now();
    let built = build(global, &project, args, &steps::targets(args.target), &[])?;
    if args.dry_run {
        return Ok(());
    }
    let out = project.output(args.output.as_deref());
    let written = export(&built, &out)?;
    if !global.json {
        for (path, size) in &written {
            println!("{:>10}  {}", indicatif::DecimalBytes(*size).to_string(), path.display());
        }
        let ran = built.outputs.values().filter(|output| !output.cached).count();
        eprintln!(
            "{} steps, {ran} of them run, in {:.1} s",
            built.outputs.len(),
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Brings `targets` up to date.
///
/// # Errors
/// As [`run`].
pub fn build(
    global: &Global,
    project: &Project,
    args: &BuildArgs,
    targets: &[StepName],
    force: &[StepName],
) -> Result<Built, Failure> {
    let store = Store::open(&project.cache)
        .class(Class::Host, format!("cannot use the cache folder {}", project.cache.display()))?;
    let keys = project::keys_folder(args.keys.as_deref())?;
    let plan = setup::plan(project, &store, &args.variant, &keys)?;
    let whole = targets.contains(&StepName::of("describe"));
    let history = if whole { steps::WHOLE } else { steps::PARTS };
    let graph = || setup::graph(&plan, history);
    let cancel = interrupt_flag()?;
    let mut options = RunOptions { dry_run: args.dry_run, cancel, ..RunOptions::default() };
    options.memory_limit = memory();
    options.force = force.iter().cloned().collect();
    if let Some(jobs) = args.jobs {
        options.jobs = jobs.max(1);
    }
    let scheduler = Scheduler::new(&store);
    let first = graph()?;
    let missing = missing_downloads(&scheduler, &first, targets, &options, &plan, &store)?;
    if args.dry_run {
        let planned = scheduler.plan(&first, targets, &options).map_err(failure)?;
        dry_run(&planned, &missing, global.json)?;
        return Ok(Built { outputs: BTreeMap::new(), plan });
    }
    if !missing.is_empty() {
        download(args, &plan, &missing, global.json)?;
    }
    let mut renderer = Renderer::new(global.json, args.explain);
    let ran = scheduler.run(first, targets, &options, &mut |event| renderer.show(&event));
    renderer.finish();
    let outputs = ran.map_err(failure)?;
    Ok(Built { outputs, plan })
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once, which loses nothing that is finished.
pub(super) fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in INTERRUPTS {
        let code = i32::from(Class::Interrupted as u8);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .class(Class::Host, "cannot listen for Ctrl-C")?;
    }
    Ok(flag)
}

/// Calls a function when the user interrupts, until dropped.
struct Watch(signal_hook::iterator::Handle);

impl Watch {
    fn start(then: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let mut signals =
            signal_hook::iterator::Signals::new(INTERRUPTS).class(Class::Host, "cannot listen for Ctrl-C")?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                then();
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Nine tenths of the machine's memory.
pub(super) fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 10 * 9 * 1024)
}

pub(super) fn failure(error: RunError) -> Failure {
    match error {
        RunError::Cancelled => {
            Failure::new(Class::Interrupted, "the build was interrupted; what was finished is kept")
        }
        RunError::Step(step) => {
            let what = format!("step {} failed", step.step);
            let tail =
                if step.tail.is_empty() { String::new() } else { format!("\n  {}", step.tail.join("\n  ")) };
            let hint = format!("the whole log is {}{tail}", step.log.display());
            Failure::new(Class::Failed, what).because(anyhow::anyhow!(step.source)).hint(hint)
        }
        RunError::Input { .. } => {
            Failure::new(Class::Input, "an input of the build is missing").because(error)
        }
        RunError::Graph(_) => Failure::new(Class::Bug, "the build graph is wrong").because(error),
        RunError::Store(_) => Failure::new(Class::Device, "the cache does not work").because(error),
    }
}

/// One download that a step needs.
pub struct Missing {
    name: String,
    archive: Archive,
    path: String,
    size: u64,
    sum: Sha256,
}

fn missing_downloads(
    scheduler: &Scheduler,
    graph: &Graph,
    targets: &[StepName],
    options: &RunOptions,
    plan: &steps::Plan,
    store: &Store,
) -> Result<Vec<Missing>, Failure> {
    let planned = scheduler.plan(graph, targets, options).map_err(failure)?;
    let pending: Vec<StepName> = planned.pending().map(|step| step.step.clone()).collect();
    let known = downloads(plan);
    let mut missing = BTreeMap::new();
    for digest in steps::wanted_blobs(graph, &pending) {
        if !store.has_blob(&digest)
            && let Some(item) = known.get(&digest)
        {
            missing.insert(digest, item);
        }
    }
    Ok(missing.into_values().map(|item| item.clone_for_fetch()).collect())
}

impl Missing {
    fn clone_for_fetch(&self) -> Self {
        Self {
            name: self.name.clone(),
            archive: self.archive,
            path: self.path.clone(),
            size: self.size,
            sum: self.sum,
        }
    }
}

/// Everything that the lock can have downloaded, by sum.
fn downloads(plan: &steps::Plan) -> BTreeMap<Digest, Missing> {
    let packages = plan.lock.packages().into_keys().map(|package| Missing {
        name: package.name.to_string(),
        archive: package.archive,
        path: package.path.to_string(),
        size: package.size.get(),
        sum: package.sha256,
    });
    let sources = plan.lock.sources.iter().flat_map(|(name, source)| {
        source.files.iter().map(|file| Missing {
            name: name.to_string(),
            archive: file.archive,
            path: file.path.to_string(),
            size: file.size.get(),
            sum: file.sha256,
        })
    });
    packages.chain(sources).map(|item| (Digest(*item.sum.as_bytes()), item)).collect()
}

fn dry_run(planned: &xenolith_store::Plan, missing: &[Missing], json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(planned).class(Class::Bug, "cannot print the plan")?);
        return Ok(());
    }
    for step in &planned.steps {
        println!("{:<16} {}", step.step.as_str(), step.verdict);
    }
    let bytes: u64 = missing.iter().map(|item| item.size).sum();
    println!("{} downloads, {}", missing.len(), indicatif::DecimalBytes(bytes));
    Ok(())
}

fn download(args: &BuildArgs, plan: &steps::Plan, missing: &[Missing], json: bool) -> Result<(), Failure> {
    let mirrors = if args.offline { None } else { Some(setup::mirrors(&args.mirror)?) };
    let url = |mirrors: &Option<Mirrors>, item: &Missing| match mirrors {
        Some(mirrors) => mirrors.file(item.archive, &item.path).to_string(),
        None => item.path.clone(),
    };
    let items: Vec<Item> = missing
        .iter()
        .map(|item| Item {
            url: url(&mirrors, item),
            name: item.name.clone(),
            size: item.size,
            sha256: *item.sum.as_bytes(),
            dest: plan.store.blob_path(&Digest(*item.sum.as_bytes())),
        })
        .collect();
    let downloader = Downloader::new(DownloadOptions { offline: args.offline, ..DownloadOptions::default() });
    let stop = downloader.stop();
    let interrupted = Watch::start(move || stop.stop())?;
    let shown = std::sync::Mutex::new(Downloads::new(json, missing));
    let fetched = downloader.fetch_all(&items, &|progress| {
        shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).show(&progress);
    });
    shown.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish();
    drop(interrupted);
    fetched.map(|_| ()).map_err(|error| {
        let class = match &error {
            FetchError::Trust { .. } => Class::Trust,
            FetchError::Interrupted => Class::Interrupted,
            FetchError::Write { .. } => Class::Device,
            _ => Class::Network,
        };
        let hint = error.hint();
        let failure =
            Failure::new(class, "not everything could be downloaded; what is here is kept").because(error);
        hint.into_iter().fold(failure, Failure::hint)
    })
}

/// Copies results to the output folder, and only those that differ from what lies there.
///
/// # Errors
/// [`Class::Device`] when the folder cannot be written.
pub fn export(built: &Built, out: &Path) -> Result<Vec<(PathBuf, u64)>, Failure> {
    let what = || format!("cannot write the results to {}", out.display());
    let mut written = Vec::new();
    if !built.outputs.contains_key(&StepName::of("describe")) {
        // They tell of a whole build; beside files of another one they would tell lies.
        for stale in [describe::manifest::FILE, describe::provenance::FILE] {
            match fs::remove_file(out.join(stale)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).class(Class::Device, what());
                }
                _ => {}
            }
        }
    }
    for (step, inside, to) in steps::results(&built.plan.identity.version) {
        let Some(output) = built.outputs.get(&StepName::of(step)) else { continue };
        let from = output.path.join(inside);
        let base = out.join(to);
        for entry in walkdir::WalkDir::new(&from).sort_by_file_name() {
            let entry = entry.class(Class::Device, what())?;
            if !entry.file_type().is_file() {
                continue;
            }
            let below = entry.path().strip_prefix(&from).expect("a walk stays below its root");
            let target = if below.as_os_str().is_empty() { base.clone() } else { base.join(below) };
            let length = entry.metadata().class(Class::Device, what())?.len();
            if !same(&target, entry.path()) {
                sparse::copy(entry.path(), &target).class(Class::Device, what())?;
                remember(&target, entry.path()).class(Class::Device, what())?;
            }
            written.push((target, length));
        }
    }
    Ok(written)
}

/// A copy gets the modification time of what it is a copy of, so that the next build sees that it still is.
fn remember(copy: &Path, original: &Path) -> std::io::Result<()> {
    let modified = fs::metadata(original)?.modified()?;
    fs::OpenOptions::new().write(true).open(copy)?.file().set_modified(modified)
}

fn same(copy: &Path, original: &Path) -> bool {
    let facts = |path: &Path| fs::metadata(path).and_then(|file| Ok((file.len(), file.modified()?))).ok();
    facts(copy).is_some() && facts(copy) == facts(original)
}

/// What downloads look like.
struct Downloads {
    bar: Option<indicatif::ProgressBar>,
    json: bool,
    began: Instant,
}

impl Downloads {
    fn new(json: bool, missing: &[Missing]) -> Self {
        use std::io::IsTerminal as _;
        let total: u64 = missing.iter().map(|item| item.size).sum();
        if !json {
            eprintln!("downloading {} files, {}", missing.len(), indicatif::DecimalBytes(total));
        }
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let template =
                "{bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {msg}";
            let style = indicatif::ProgressStyle::with_template(template).expect("our templates are valid");
            indicatif::ProgressBar::new(total).with_style(style.progress_chars("━╸ "))
        });
        Self { bar, json, began: Instant::now() }
    }

    fn show(&mut self, progress: &fetch::Progress<'_>) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.done);
            bar.set_message(progress.item.name.clone());
        }
        if let fetch::Event::Waiting { attempt, wait, because } = &progress.event
            && !self.json
        {
            let line = format!(
                "{}: attempt {attempt} failed ({because}); next in {:.0} s",
                progress.item.name,
                wait.as_secs_f64()
            );
            match &self.bar {
                Some(bar) => bar.println(line),
                None => eprintln!("{line}"),
            }
        }
        if self.json && progress.event == fetch::Event::Done {
            let seconds = self.began.elapsed().as_secs_f64().max(0.001);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a rate to look at"
            )]
            let rate = (progress.done as f64 / seconds) as u64;
            let event = Event::Download {
                name: progress.item.name.clone(),
                done: progress.done,
                total: progress.total,
                rate,
            };
            println!("{}", event.line(self.began.elapsed()));
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
