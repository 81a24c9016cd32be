//! `xenolith gc`: removes from the cache what no build has used for a while.
//!
//! The store's own rules ([`xenolith_store::gc`]) keep whatever a running build uses and whatever the last build saw. Several
//! checkouts share one cache, though, and the record of the last build is that of the one that built last. So
//! **what this checkout would find cached now is kept as well**, whoever has built in between. From a place that is no
//! checkout only the store's rules hold, and that is said.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use fs_err as fs;
use serde::Serialize;
use xenolith_layout::Bytes;
use xenolith_store::{Digest, GcPolicy, GcReport, Removed, RunOptions, Scheduler, Store};

use super::{
    scratch::{self, Purpose},
    setup,
};
use crate::{
    cli::{GcArgs, Global, Target},
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
    steps,
};

/// Counts up when readers of the JSON document would have to change.
const FORMAT: u32 = 2;
const DAY: u64 = 24 * 60 * 60;

/// What `gc --json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    dry_run: bool,
    cache: &'a Path,
    /// Whether this checkout's results were among what had to stay.
    keeps_checkout: bool,
    /// Folders of interrupted `verify` and `bench` runs that went.
    abandoned: &'a [Abandoned],
    #[serde(flatten)]
    report: &'a GcReport,
}

/// A folder that an interrupted run has left.
#[derive(Debug, Serialize)]
struct Abandoned {
    name: String,
    /// Bytes that only it holds; much of it is lent by links.
    bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// [`Class::Device`] if the cache cannot be read or something could not be removed.
pub fn run(global: &Global, args: &GcArgs) -> Result<(), Failure> {
    let cache = match Project::find(global) {
        Ok(project) => project.cache,
        Err(_) => match &global.cache {
            Some(cache) => cache.clone(),
            None => project::user_folder("XDG_CACHE_HOME", ".cache")?.join("xenolith"),
        },
    };
    if !cache.is_dir() {
        eprintln!("there is no cache in {}; nothing to remove", cache.display());
        return Ok(());
    }
    let store = Store::open(&cache)
        .class(Class::Device, format!("cannot use the cache folder {}", cache.display()))?;
    let (keep, keeps_checkout) = match in_checkout(global, &store) {
        Ok(keep) => (keep, true),
        Err(why) => {
            eprintln!("note: only what the last build used is sure to stay: {}", super::inspect::chain(&why));
            (BTreeSet::new(), false)
        }
    };
    let report = collect(&store, args, keep)?;
    let abandoned = abandoned(&cache, args.dry_run)
        .class(Class::Device, format!("cannot look through {}", cache.display()))?;
    if global.json {
        let document = Document {
            format: FORMAT,
            dry_run: args.dry_run,
            cache: &cache,
            keeps_checkout,
            abandoned: &abandoned,
            report: &report,
        };
        super::say(&serde_json::to_string_pretty(&document).class(Class::Bug, "cannot print the report")?);
    } else {
        super::say(text(&report, &abandoned, args).trim_end());
    }
    match report.failed.first() {
        None => Ok(()),
        Some((path, why)) => {
            Err(Failure::new(Class::Device, format!("{} things could not be removed", report.failed.len()))
                .because(anyhow::anyhow!("{}: {why}", path.display())))
        }
    }
}

fn collect(store: &Store, args: &GcArgs, keep: BTreeSet<Digest>) -> Result<GcReport, Failure> {
    let policy = GcPolicy {
        max_age: Some(Duration::from_secs(args.max_age.saturating_mul(DAY))),
        max_size: None,
        keep_last: true,
        keep,
        dry_run: args.dry_run,
    };
    store.gc(&policy).class(Class::Device, "the cache could not be cleaned up")
}

/// The keys of everything that a build of this checkout would use as it lies there.
///
/// Keys are never made for it: without them nothing was signed, and then nothing signed has to stay.
fn in_checkout(global: &Global, store: &Store) -> Result<BTreeSet<Digest>, Failure> {
    let project = Project::find(global)?;
    let keys = project::keys_folder(None)?;
    if !keys.join("db.crt").exists() {
        return Err(Failure::new(Class::Trust, format!("there are no keys in {}", keys.display())));
    }
    let plan = setup::plan(&project, store, "default", &keys)?;
    let graph = setup::graph(&plan, steps::PARTS)?;
    let mut targets = steps::targets(Target::All);
    targets.push(xenolith_store::StepName::of("vm-tree"));
    let planned = Scheduler::new(store)
        .plan(&graph, &targets, &RunOptions::default())
        .class(Class::Input, "the checkout cannot be looked at")?;
    Ok(planned.steps.into_iter().filter_map(|step| step.key).collect())
}

/// Folders whose `verify` or `bench` is gone. One that runs holds its lock.
fn abandoned(cache: &Path, dry_run: bool) -> std::io::Result<Vec<Abandoned>> {
    let mut gone = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if Purpose::of(&name).is_none() || !entry.file_type()?.is_dir() {
            continue;
        }
        // A folder without a lock was made a moment ago, or its removal was cut short: its age tells which.
        let held = match fs::File::open(entry.path().join(scratch::LOCK)) {
            Ok(lock) => lock.file().try_lock().is_err(),
            Err(_) => {
                let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
                age < Duration::from_secs(DAY)
            }
        };
        if held {
            continue;
        }
        let bytes = own_bytes(&entry.path());
        if !dry_run {
            fs::remove_dir_all(entry.path())?;
        }
        gone.push(Abandoned { name, bytes });
    }
    gone.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(gone)
}

/// What the disk gets back when a folder goes: what files take of it that have no other link.
fn own_bytes(folder: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(|file| file.is_file());
    files.filter(|file| file.nlink() == 1).map(|file| file.blocks() * 512).sum()
}

fn text(report: &GcReport, abandoned: &[Abandoned], args: &GcArgs) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let (mut blobs, mut blob_bytes, mut logs) = (0_usize, 0_u64, 0_usize);
    for removed in &report.removed {
        match removed {
            Removed::Result { key, step, bytes, .. } => {
                let step = step.as_ref().map_or("unknown", |step| step.as_str());
                let size = Bytes::new(*bytes).to_string();
                let _ = writeln!(out, "  {step:<16} {}  {size:>10}", key.short());
            }
            Removed::Blob { bytes, .. } => {
                blobs += 1;
                blob_bytes += bytes;
            }
            Removed::Log { .. } => logs += 1,
        }
    }
    if blobs > 0 {
        let _ = writeln!(out, "  {blobs} downloads, {}", Bytes::new(blob_bytes));
    }
    if logs > 0 {
        let _ = writeln!(out, "  {logs} logs");
    }
    for Abandoned { name, bytes } in abandoned {
        let _ = writeln!(out, "  {name}, left by an interrupted run, {}", Bytes::new(*bytes));
    }
    if report.in_use > 0 {
        let _ = writeln!(out, "  {} results stay because a build uses them now", report.in_use);
    }
    if report.blobs_skipped {
        let _ = writeln!(out, "  downloads were left alone: another builder is running");
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    let freed = report.freed + abandoned.iter().map(|folder| folder.bytes).sum::<u64>();
    let _ = writeln!(out, "{verb} {}, {} stay", Bytes::new(freed), Bytes::new(report.left));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_store::{Graph, Input, StepName, StepSpec};

    fn build(store: &Store, value: &'static str) -> Digest {
        let mut graph = Graph::new(StepName::of("test"));
        let step = StepSpec::new(StepName::of("step"), move |context| {
            Ok(fs::write(context.out().join("x"), vec![1; 20_000])?)
        });
        graph.add(step.input("value", Input::value(value))).unwrap();
        let name = StepName::of("step");
        let ran = Scheduler::new(store).run(
            graph,
            std::slice::from_ref(&name),
            &RunOptions::default(),
            &mut |_| {},
        );
        ran.unwrap()[&name].key
    }

    fn kept(store: &Store, key: &Digest) -> bool {
        store.output_path(key).is_dir()
    }

    #[test]
    fn the_last_build_and_the_checkout_stay_and_the_rest_goes_by_age() {
        let cache = tempfile::tempdir().unwrap();
        let (ours, old, last) = {
            let store = Store::open(cache.path()).unwrap();
            (build(&store, "this checkout"), build(&store, "old"), build(&store, "another checkout"))
        };
        let args = |max_age, dry_run| GcArgs { max_age, dry_run };
        let store = Store::open(cache.path()).unwrap();
        let keep = BTreeSet::from([ours]);
        assert!(
            collect(&store, &args(1, false), keep.clone()).unwrap().removed.is_empty(),
            "nothing is that old"
        );
        let report = collect(&store, &args(0, true), keep.clone()).unwrap();
        let results = report.removed.iter().filter(|removed| matches!(removed, Removed::Result { .. }));
        assert_eq!(results.count(), 1);
        assert!(kept(&store, &old), "a dry run removes nothing");
        let report = collect(&store, &args(0, false), keep).unwrap();
        assert!(report.freed >= 20_000);
        assert_eq!([ours, old, last].map(|key| kept(&store, &key)), [true, false, true]);
        let shown = text(&report, &[], &args(0, false));
        assert!(shown.starts_with(&format!("  step             {}", old.short())), "{shown}");
        assert!(shown.contains("\nfreed "), "{shown}");
    }

    #[test]
    fn a_second_store_goes_when_its_owner_is_gone_and_not_before() {
        let cache = tempfile::tempdir().unwrap();
        let (running, dead) = (cache.path().join("verify-a"), cache.path().join("verify-b"));
        for folder in [&running, &dead] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(scratch::LOCK), "").unwrap();
        }
        fs::create_dir(cache.path().join("verify-new")).unwrap();
        let lock = fs::File::open(running.join(scratch::LOCK)).unwrap();
        lock.file().try_lock().unwrap();
        // What was lent to it is the first store's.
        let blobs = cache.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        fs::write(blobs.join("x"), "download").unwrap();
        std::os::unix::fs::symlink(&blobs, dead.join("blobs")).unwrap();
        let lent = dead.join("lent");
        fs::write(dead.join("own"), vec![1; 20_000]).unwrap();
        fs::write(&lent, vec![1; 900_000]).unwrap();
        fs::hard_link(&lent, cache.path().join("ours")).unwrap();
        for dry_run in [true, false] {
            let gone = abandoned(cache.path(), dry_run).unwrap();
            assert_eq!(gone.iter().map(|folder| folder.name.as_str()).collect::<Vec<_>>(), ["verify-b"]);
            assert!((20_000..100_000).contains(&gone[0].bytes), "{gone:?}");
        }
        assert!(running.is_dir() && !dead.exists() && blobs.join("x").exists());
    }
}
