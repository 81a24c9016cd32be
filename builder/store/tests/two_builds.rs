//! Two builds on one store: the work is done once, both get the result, and gc touches nothing they use.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Journal, copying, graph, name, run, run_with, step_of};
use fs_err as fs;
use xenolith_store::{
    Event, GcPolicy, Graph, Identity, Input, RunError, RunOptions, Scheduler, Store, WaitingOn, Wanted,
};

const ROOT: &str = "XENOLITH_STORE_TEST_ROOT";

/// Longer than anything here takes; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn the_second_build_waits_says_so_and_takes_the_result_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::default();
    let (began, first_began) = channel();
    let (go_on, told_to_go_on) = channel::<()>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let store = Store::open(folder.path()).unwrap();
            let journal = journal.clone();
            let step = step_of("slow", &[], move |context| {
                journal.add("ran");
                began.send(())?;
                told_to_go_on.recv_timeout(DEADLINE)?;
                fs::write(context.out().join("text"), "done")?;
                Ok(())
            });
            run(&store, graph([step]), "slow").text("slow")
        });
        first_began.recv_timeout(DEADLINE).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let second = journal.clone();
        let step = step_of("slow", &[], move |_| {
            second.add("ran twice");
            Ok(())
        });
        let mut waited = false;
        let mut found = false;
        let outputs = Scheduler::new(&store)
            .run(graph([step]), &[name("slow")], &RunOptions::default(), &mut |event| match event {
                Event::StepWaiting { on: WaitingOn::AnotherBuild, .. } => {
                    waited = true;
                    go_on.send(()).unwrap();
                }
                Event::StepCached { waited: true, .. } => found = true,
                _ => {}
            })
            .unwrap();
        assert!(waited && found);
        assert_eq!(fs::read_to_string(outputs[&name("slow")].path.join("text")).unwrap(), "done");
        assert_eq!(first.join().unwrap(), "done");
    });
    assert_eq!(journal.lines(), ["ran"]);
}

#[test]
fn when_the_first_build_fails_the_second_does_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let (began, first_began) = channel();
    let (go_on, told_to_go_on) = channel::<()>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let store = Store::open(folder.path()).unwrap();
            let step = step_of("slow", &[], move |_| {
                began.send(())?;
                told_to_go_on.recv_timeout(DEADLINE)?;
                Err("no".into())
            });
            run(&store, graph([step]), "slow").result.map(drop)
        });
        first_began.recv_timeout(DEADLINE).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut events = |event| {
            if matches!(event, Event::StepWaiting { .. }) {
                go_on.send(()).unwrap();
            }
        };
        let slow = graph([copying("slow", &[])]);
        let second = Scheduler::new(&store).run(slow, &[name("slow")], &RunOptions::default(), &mut events);
        assert!(second.is_ok());
        assert!(matches!(first.join().unwrap(), Err(RunError::Step(_))));
    });
}

#[test]
fn a_build_that_waits_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (began, first_began) = channel();
    let (go_on, told_to_go_on) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = Store::open(folder.path()).unwrap();
            let step = step_of("slow", &[], move |_| {
                began.send(())?;
                told_to_go_on.recv_timeout(DEADLINE)?;
                Ok(())
            });
            run(&store, graph([step]), "slow").result.map(drop)
        });
        first_began.recv_timeout(DEADLINE).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let options = RunOptions::default();
        let cancel = options.cancel.clone();
        let mut events = |event| {
            if matches!(event, Event::StepWaiting { .. }) {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let slow = graph([copying("slow", &[])]);
        let second = Scheduler::new(&store).run(slow, &[name("slow")], &options, &mut events);
        assert!(matches!(second, Err(RunError::Cancelled)), "{second:?}");
        go_on.send(()).unwrap();
    });
}

fn chain(journal: Option<std::path::PathBuf>) -> Graph {
    let steps = (0..6).map(|number| {
        let journal = journal.clone();
        let mut spec = step_of(&format!("s{number}"), &[], move |context| {
            if let Some(journal) = journal {
                // One file per run: a second run of a step cannot make it again.
                fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(journal.join(context.step().as_str()))?;
            }
            for number in 0..80 {
                fs::write(context.out().join(number.to_string()), "x")?;
            }
            Ok(())
        });
        if number > 0 {
            spec = spec.input("before", Input::Step(name(&format!("s{}", number - 1))));
        }
        spec.identity(if number % 2 == 0 { Identity::Key } else { Identity::Content })
    });
    graph(steps.collect::<Vec<_>>())
}

/// Not a test by itself: one of the racing builds.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn child_that_builds() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let root = std::path::Path::new(&root);
    let store = Store::open(&root.join("store")).unwrap();
    run(&store, chain(Some(root.join("journal"))), "s5").result.unwrap();
}

#[test]
fn four_processes_that_race_do_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("journal")).unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_builds", "--ignored"])
            .env(ROOT, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(fs::read_dir(folder.path().join("journal")).unwrap().count(), 6);
    let store = Store::open(&folder.path().join("store")).unwrap();
    assert!(run(&store, chain(None), "s5").ran().is_empty());
}

#[test]
fn two_builds_that_force_the_same_step_both_end() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = Store::open(folder.path()).unwrap();
                let force = (0..6).map(|number| name(&format!("s{number}"))).collect();
                let options = RunOptions { force, jobs: 2, ..RunOptions::default() };
                let told = run_with(&store, chain(None), "s5", &options);
                assert!(told.result.is_ok(), "{:?}", told.result);
            });
        }
    });
    let store = Store::open(folder.path()).unwrap();
    assert!(run(&store, chain(None), "s5").ran().is_empty());
}

#[test]
fn gc_leaves_what_a_running_build_uses_and_the_temporary_files_of_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let used = run(&store, graph([copying("used", &[])]), "used").result.unwrap();
    let tmp_before = fs::read_dir(folder.path().join("tmp")).unwrap().count();
    let other = Store::open(folder.path()).unwrap();
    let everything = GcPolicy { max_size: Some(0), keep_last: false, ..GcPolicy::default() };
    let report = other.gc(&everything).unwrap();
    assert_eq!((report.in_use, report.removed.len()), (1, 0));
    assert!(report.blobs_skipped);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), tmp_before + 1);
    drop(used);
    assert_eq!(other.gc(&everything).unwrap().removed.len(), 1);
}

#[test]
fn two_builders_that_want_one_blob_fetch_it_once_and_go_on_where_the_other_died() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = vec![7; 10_000];
    let digest = xenolith_store::digest_bytes(&bytes);
    let store = Store::open(folder.path()).unwrap();
    let Wanted::Fetch(part) = store.want_blob(&digest).unwrap() else { panic!() };
    fs::write(part.path(), &bytes[..4_000]).unwrap();
    let (told, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = Store::open(folder.path()).unwrap();
            let Wanted::Fetch(part) = other.want_blob(&digest).unwrap() else { panic!() };
            told.send(part.have()).unwrap();
            fs::write(part.path(), &bytes).unwrap();
            part.commit().unwrap();
        });
        assert!(heard.try_recv().is_err(), "it waits for us");
        drop(part);
        assert_eq!(heard.recv_timeout(DEADLINE).unwrap(), 4_000);
    });
    assert!(matches!(store.want_blob(&digest).unwrap(), Wanted::Here(_)));
}
