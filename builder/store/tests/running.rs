//! What a build does and tells: order, cache, reasons, failures, cancellation.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use common::{Journal, copying, graph, name, run, run_with, step_of};
use fs_err as fs;
use nix::sys::stat::Mode as Umask;
use xenolith_store::{
    Change, Damage, Deep, Depth, Event, FileKind, Graph, Identity, Input, Lookup, Reason, RunError,
    RunOptions, Scheduler, Store, Unit, Verdict, WaitingOn, digest_bytes,
};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn step(of: &str) -> Input {
    Input::Step(name(of))
}

/// source.txt → strip (drops lines with #) → build → image
fn pipeline(source: &std::path::Path) -> Graph {
    let strip = step_of("strip", &[("source", Input::File(source.to_owned()))], |context| {
        let text = fs::read_to_string(context.input("source"))?;
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        fs::write(context.out().join("text"), kept.join("\n"))?;
        Ok(())
    });
    graph([
        strip,
        copying("build", &[("strip", step("strip"))]),
        copying("image", &[("build", step("build"))]),
    ])
}

#[test]
fn the_second_run_finds_everything_in_the_store() {
    let (folder, store) = store();
    let source = folder.path().join("source.txt");
    fs::write(&source, "one").unwrap();
    let first = run(&store, pipeline(&source), "image");
    assert_eq!(first.ran(), ["strip", "build", "image"]);
    assert_eq!(first.reason("strip"), Some(Reason::FirstTime));
    let second = run(&store, pipeline(&source), "image");
    assert!(second.ran().is_empty());
    assert_eq!(second.text("image"), first.text("image"));
    assert!(matches!(second.events.last(), Some(Event::Finished { success: true, ran: 0, cached: 3, .. })));
}

#[test]
fn a_step_is_told_the_sums_that_its_own_store_has_on_record() {
    let (_folder, store) = store();
    let sums = step_of("sums", &[("made", step("made"))], |context| {
        let recorded = context.recorded("made")?.files.read()?;
        let FileKind::File { sha256, .. } = recorded[0].what else { panic!("{recorded:?}") };
        fs::write(context.out().join("text"), format!("{} {sha256}", recorded[0].path))?;
        Ok(())
    });
    let made = run(&store, graph([copying("made", &[]), sums]), "sums");
    assert_eq!(made.text("sums"), format!("text {}", digest_bytes(b"made\n")));
}

#[test]
fn an_output_has_the_same_modes_under_any_umask() {
    let modes = |mask: u32| {
        let at_work = std::thread::spawn(move || {
            // This thread's own, and that of those it starts.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
            nix::sys::stat::umask(Umask::from_bits_truncate(mask));
            let (_folder, store) = store();
            let step = step_of("folders", &[], |context| {
                fs::create_dir(context.out().join("folder"))?;
                Ok(fs::write(context.out().join("folder/file"), "text")?)
            });
            let made = run(&store, graph([step]), "folders");
            let own = nix::sys::stat::umask(Umask::empty());
            assert_eq!(own.bits(), mask, "a build changed its caller's umask");
            made.result.unwrap()[&name("folders")].digest
        });
        at_work.join().unwrap()
    };
    assert_eq!(modes(0o077), modes(0o002));
}

#[test]
fn a_change_that_does_not_reach_the_output_stops_there() {
    let (folder, store) = store();
    let source = folder.path().join("source.txt");
    fs::write(&source, "# a\none").unwrap();
    run(&store, pipeline(&source), "image");
    fs::write(&source, "# another comment\none").unwrap();
    let told = run(&store, pipeline(&source), "image");
    assert_eq!(told.ran(), ["strip"]);
    fs::write(&source, "two").unwrap();
    let told = run(&store, pipeline(&source), "image");
    assert_eq!(told.ran(), ["strip", "build", "image"]);
    assert_eq!(told.reason("build").unwrap().to_string(), "the output of `strip` changed");
}

#[test]
fn going_back_to_an_old_input_finds_the_old_result() {
    let (folder, store) = store();
    let source = folder.path().join("source.txt");
    for (text, ran) in [("one", 3), ("two", 3), ("one", 0), ("two", 0)] {
        fs::write(&source, text).unwrap();
        assert_eq!(run(&store, pipeline(&source), "image").ran().len(), ran, "{text}");
    }
}

#[test]
fn the_reason_names_the_input_and_the_files_that_changed() {
    let (folder, store) = store();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/motd"), "hello").unwrap();
    fs::write(tree.join("old"), "").unwrap();
    let build = |level: &str| {
        let inputs = [("level", Input::value(level)), ("tree", Input::tree(&tree))];
        graph([step_of("pack", &inputs, |_| Ok(()))])
    };
    run(&store, build("3"), "pack");
    fs::write(tree.join("etc/motd"), "hello again").unwrap();
    fs::remove_file(tree.join("old")).unwrap();
    fs::write(tree.join("etc/new"), "").unwrap();
    let reason = run(&store, build("9"), "pack").reason("pack").unwrap();
    let text = "`level` was `3` and is `9`; `tree` changed: etc/motd modified, etc/new added, old removed";
    assert_eq!(reason.to_string(), text);
    let Reason::InputChanged { changes } = reason else { panic!("{reason:?}") };
    assert_eq!(changes[1].files[2].change, Change::Removed);
}

#[test]
fn asking_for_a_step_runs_it_again_and_says_whether_it_gave_the_same() {
    let (_folder, store) = store();
    let build = || {
        let clock = step_of("clock", &[], |context| {
            let now = std::time::SystemTime::now();
            fs::write(context.out().join("text"), format!("{now:?}"))?;
            Ok(())
        });
        graph([copying("same", &[("x", Input::value(1))]), clock])
    };
    let force = RunOptions { force: BTreeSet::from([name("same"), name("clock")]), ..RunOptions::default() };
    for (target, expected) in [("same", true), ("clock", false)] {
        run(&store, build(), target);
        let told = run_with(&store, build(), target, &force);
        assert_eq!(told.reason(target), Some(Reason::Asked));
        let same = told.events.iter().find_map(|event| match event {
            Event::StepFinished { same, .. } => *same,
            _ => None,
        });
        assert_eq!(same, Some(expected), "{target}");
    }
}

#[test]
fn the_plan_says_what_runs_what_may_run_and_what_does_not() {
    let (folder, store) = store();
    let source = folder.path().join("source.txt");
    fs::write(&source, "one").unwrap();
    run(&store, pipeline(&source), "image");
    fs::write(&source, "two").unwrap();
    let plan = |force: &[&str]| {
        let force = force.iter().map(|step| name(step)).collect();
        let options = RunOptions { force, ..RunOptions::default() };
        Scheduler::new(&store).plan(&pipeline(&source), &[name("image")], &options).unwrap()
    };
    let verdicts: Vec<_> = plan(&[]).steps.into_iter().map(|step| step.verdict).collect();
    assert!(matches!(&verdicts[0], Verdict::Runs { reason: Reason::InputChanged { .. } }));
    assert_eq!(verdicts[1], Verdict::MayRun { after: vec![name("strip")] });
    assert_eq!(verdicts[2], Verdict::MayRun { after: vec![name("build")] });
    fs::write(&source, "one").unwrap();
    assert_eq!(plan(&[]).pending().count(), 0);
    let forced: Vec<_> = plan(&["build"]).pending().map(|step| step.verdict.to_string()).collect();
    assert_eq!(forced, ["runs: it was asked for", "may run: if the output of `build` changes"]);
}

#[test]
fn a_dry_run_tells_the_plan_and_does_nothing() {
    let (_folder, store) = store();
    let dry = RunOptions { dry_run: true, ..RunOptions::default() };
    let told = run_with(&store, graph([copying("a", &[])]), "a", &dry);
    assert!(matches!(&told.events[..], [Event::Plan { steps }] if steps.len() == 1));
    assert!(told.result.unwrap().is_empty() && store.results().unwrap().is_empty());
}

#[test]
fn only_the_targets_ancestors_run() {
    let (_folder, store) = store();
    let steps = [copying("a", &[]), copying("b", &[("a", step("a"))]), copying("other", &[("a", step("a"))])];
    assert_eq!(run(&store, graph(steps), "b").ran(), ["a", "b"]);
}

#[test]
fn a_failed_step_leaves_its_log_and_nothing_else() {
    let (_folder, store) = store();
    let build = |works: bool| {
        let bad = step_of("bad", &[], move |context| {
            for line in 0..30 {
                context.log_line(&format!("line {line}"))?;
            }
            fs::write(context.out().join("half"), "half")?;
            if works { Ok(()) } else { Err("the compiler said no".into()) }
        });
        graph([bad, copying("after", &[("bad", step("bad"))])])
    };
    let told = run(&store, build(false), "after");
    let Err(RunError::Step(failure)) = told.result else { panic!("{:?}", told.result) };
    assert_eq!((failure.tail.len(), failure.tail[19].as_str()), (20, "line 29"));
    assert_eq!(failure.source.to_string(), "the compiler said no");
    assert_eq!(fs::read_to_string(&failure.log).unwrap().lines().count(), 30);
    assert!(store.results().unwrap().is_empty());
    let left: Vec<_> = fs::read_dir(store.root().join("tmp")).unwrap().collect();
    assert_eq!(left.len(), 1, "the session's own folder");
    assert_eq!(common::contents(&store.root().join("tmp")).len(), 0);
    let told = run(&store, build(true), "after");
    assert_eq!(told.reason("bad"), Some(Reason::FailedLast));
    assert_eq!(told.ran(), ["bad", "after"]);
}

#[test]
fn a_panic_and_an_undeclared_input_are_failures_of_their_step() {
    let (_folder, store) = store();
    let peeks = step_of("peeks", &[], |context| {
        context.input("secret");
        Ok(())
    });
    let Err(RunError::Step(failure)) = run(&store, graph([peeks]), "peeks").result else { panic!() };
    let text = failure.source.to_string();
    assert!(text.contains("asks for the path of input `secret`"), "{text}");
}

#[test]
fn after_a_failure_nothing_starts_unless_told_to_keep_going() {
    for keep_going in [false, true] {
        let (_folder, store) = store();
        let bad = || step_of("bad", &[], |_| Err("no".into()));
        let steps = [
            bad(),
            copying("needs-bad", &[("bad", step("bad"))]),
            copying("zz-free", &[]),
            copying("all", &[("a", step("needs-bad")), ("b", step("zz-free"))]),
        ];
        let options = RunOptions { jobs: 1, keep_going, ..RunOptions::default() };
        let told = run_with(&store, graph(steps), "all", &options);
        assert!(matches!(told.result, Err(RunError::Step(_))));
        let ran = told.ran();
        assert_eq!(ran.contains(&"zz-free".to_owned()), keep_going, "{ran:?}");
        assert!(!ran.contains(&"needs-bad".to_owned()));
    }
}

#[test]
fn a_cancelled_build_stores_nothing_half_and_starts_nothing_more() {
    let (_folder, store) = store();
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let long = step_of("long", &[], move |context| {
        fs::write(context.out().join("half"), "half")?;
        flag.store(true, Ordering::Relaxed);
        if context.cancelled() { Err("ended early".into()) } else { Ok(()) }
    });
    let steps =
        [long.weight(9), copying("free", &[]), copying("all", &[("a", step("long")), ("b", step("free"))])];
    let options = RunOptions { cancel, jobs: 1, ..RunOptions::default() };
    let told = run_with(&store, graph(steps), "all", &options);
    assert_eq!(told.ran(), ["long"]);
    assert!(matches!(told.result, Err(RunError::Cancelled)), "{:?}", told.result);
    assert!(store.results().unwrap().is_empty());
    assert!(!told.events.iter().any(|event| matches!(event, Event::StepFailed { .. })));
}

#[test]
fn a_file_that_changes_while_its_step_runs_gives_no_result() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    fs::write(&source, "one").unwrap();
    let path = source.clone();
    let build = step_of("build", &[("source", Input::File(source.clone()))], move |_| {
        fs::write(path, "two")?;
        Ok(())
    });
    let Err(RunError::Step(failure)) = run(&store, graph([build]), "build").result else { panic!() };
    assert_eq!(failure.source.to_string(), "input `source` changed while the step ran; build again");
    assert!(store.results().unwrap().is_empty());
}

#[test]
fn a_file_that_changes_before_its_step_runs_is_read_as_it_is_then() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    fs::write(&source, "one").unwrap();
    let path = source.clone();
    let editor = step_of("editor", &[], move |context| {
        fs::write(path, "two")?;
        fs::write(context.out().join("text"), "")?;
        Ok(())
    });
    let reads = copying("reads", &[("source", Input::File(source)), ("editor", step("editor"))]);
    let told = run(&store, graph([editor, reads]), "reads");
    assert!(told.text("reads").contains("two"));
    let told = run(&store, graph([copying("editor", &[])]), "editor");
    assert!(told.ran().is_empty());
}

#[test]
fn a_file_that_changes_while_its_step_is_queued_gives_it_another_key() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    fs::write(&source, "one").unwrap();
    let path = source.clone();
    let editor = step_of("a-editor", &[], move |context| {
        fs::write(path, "two")?;
        fs::write(context.out().join("text"), "")?;
        Ok(())
    });
    let reads = || copying("z-reads", &[("source", Input::File(source.clone()))]);
    let both = step_of("both", &[("a", step("a-editor")), ("b", step("z-reads"))], |_| Ok(()));
    // One job: both are queued at once with the same weight, and the editor goes first by name.
    let options = RunOptions { jobs: 1, ..RunOptions::default() };
    let told = run_with(&store, graph([editor, reads(), both]), "both", &options);
    assert!(told.text("z-reads").contains("two"));
    assert!(run(&store, graph([reads()]), "z-reads").ran().is_empty(), "it is stored under the new contents");
}

#[test]
fn steps_run_side_by_side_up_to_jobs_and_memory() {
    let (_folder, store) = store();
    // Each of the two waits for the other: they end only if they run at the same time.
    let (left, right) = (channel(), channel());
    let meets = |mine: Sender<()>, theirs: Receiver<()>| {
        move |_: &xenolith_store::StepContext| {
            mine.send(())?;
            theirs.recv_timeout(std::time::Duration::from_secs(20))?;
            Ok(())
        }
    };
    let a = step_of("a", &[], meets(left.0, right.1)).memory(1);
    let b = step_of("b", &[], meets(right.0, left.1)).memory(1);
    let both = step_of("both", &[("a", step("a")), ("b", step("b"))], |_| Ok(()));
    let options = RunOptions { jobs: 2, memory_limit: Some(2), ..RunOptions::default() };
    let told = run_with(&store, graph([a, b, both]), "both", &options);
    assert!(told.result.is_ok(), "{:?}", told.result);
}

#[test]
fn a_step_that_wants_too_much_memory_waits_and_then_runs_alone() {
    let (_folder, store) = store();
    let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let alone = |step: &str| {
        let running = Arc::clone(&running);
        step_of(step, &[], move |_| {
            let others = running.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            if others == 0 { Ok(()) } else { Err("not alone".into()) }
        })
        .memory(3)
    };
    let both = step_of("both", &[("a", step("a")), ("b", step("b"))], |_| Ok(()));
    let options = RunOptions { jobs: 4, memory_limit: Some(2), ..RunOptions::default() };
    let told = run_with(&store, graph([alone("a"), alone("b"), both]), "both", &options);
    assert!(told.result.is_ok(), "{:?}", told.result);
    assert!(
        told.events.iter().any(|event| matches!(event, Event::StepWaiting { on: WaitingOn::Memory, .. }))
    );
}

#[test]
fn the_longest_way_goes_first() {
    let (_folder, store) = store();
    let steps = [
        copying("a-short", &[]),
        copying("z-long", &[]).weight(100),
        copying("all", &[("a", step("a-short")), ("b", step("z-long"))]),
    ];
    let options = RunOptions { jobs: 1, ..RunOptions::default() };
    assert_eq!(run_with(&store, graph(steps), "all", &options).ran(), ["z-long", "a-short", "all"]);
}

#[test]
fn a_large_tree_is_identified_by_its_key_and_checked_before_it_is_read() {
    let (_folder, store) = store();
    let runs = Journal::default();
    let build = |extra: &str| {
        let journal = runs.clone();
        let tree = step_of("tree", &[("v", Input::value(1))], move |context| {
            journal.add("tree");
            for number in 0..100 {
                fs::write(context.out().join(number.to_string()), "same")?;
            }
            fs::write(context.out().join("text"), "tree")?;
            Ok(())
        });
        graph([
            tree.identity(Identity::Key),
            copying("reader", &[("tree", step("tree")), ("extra", Input::value(extra))]),
        ])
    };
    let first = run(&store, build("a"), "reader").result.unwrap();
    let tree = &first[&name("tree")];
    assert_eq!(tree.digest, tree.key);
    fs::remove_file(tree.path.join("7")).unwrap();
    assert!(run(&store, build("a"), "reader").ran().is_empty(), "nobody reads it, so nobody looks");
    let told = run(&store, build("b"), "reader");
    assert_eq!(told.ran(), ["tree", "reader"]);
    let damage = Damage::Shape { entries: (101, 100), bytes: (404, 400) };
    assert_eq!(told.reason("tree"), Some(Reason::OutputDamaged { damage }));
    assert_eq!(runs.lines().len(), 2);
    assert!(tree.path.join("7").exists());
}

#[test]
fn steps_get_their_inputs_by_name_and_tell_their_progress() {
    let (folder, store) = store();
    let blob = store.put_blob(b"a package").unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a file").unwrap();
    let inputs = [
        ("deb/a", Input::Blob(blob)),
        ("deb/b", Input::Blob(blob)),
        ("debx", Input::File(file.clone())),
        ("version", Input::value("1.2")),
    ];
    let build = step_of("build", &inputs, |context| {
        let names: Vec<_> = context.inputs("deb/").map(|(name, _)| name).collect();
        assert_eq!(names, ["deb/a", "deb/b"]);
        assert_eq!(fs::read(context.input("deb/a"))?, b"a package");
        assert_eq!(fs::read(context.input("debx"))?, b"a file");
        assert_eq!(context.value("version"), "1.2");
        fs::write(context.scratch().join("x"), "gone afterwards")?;
        for done in 0..=1000 {
            context.progress(done, 1000, Unit::Files);
        }
        Ok(())
    });
    let told = run(&store, graph([build]), "build");
    assert!(told.result.is_ok(), "{:?}", told.result);
    let progress: Vec<_> =
        told.events.iter().filter(|event| matches!(event, Event::StepProgress { .. })).collect();
    assert!(progress.len() < 100, "told {} times", progress.len());
    assert!(matches!(progress.last(), Some(Event::StepProgress { done: 1000, .. })));
}

#[test]
fn a_missing_blob_and_a_damaged_blob_fail_the_step_that_reads_them() {
    let (_folder, store) = store();
    let blob = store.put_blob(b"a package").unwrap();
    let build = || graph([step_of("build", &[("deb", Input::Blob(blob))], |_| Ok(()))]);
    fs::write(store.blob_path(&blob), "b package").unwrap();
    for cause in ["had contents with the sum", "is not in the store"] {
        let Err(RunError::Step(failure)) = run(&store, build(), "build").result else { panic!() };
        let source = std::error::Error::source(failure.source.as_ref()).unwrap().to_string();
        assert!(source.contains(cause), "{source}");
    }
}

#[test]
fn a_graph_with_a_cycle_or_a_missing_step_is_refused() {
    let (_folder, store) = store();
    let cycle = [copying("a", &[("b", step("b"))]), copying("b", &[("a", step("a"))])];
    let missing = [copying("a", &[("b", step("b"))])];
    for (steps, text) in [
        (graph(cycle), "steps wait for each other: a → b → a"),
        (graph(missing), "input `b` of step `a` is step `b`, which does not exist"),
        (graph([]), "there is no step named `a`"),
    ] {
        let Err(RunError::Graph(error)) = run(&store, steps, "a").result else { panic!() };
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_byte_that_rotted_in_a_large_tree_is_found_by_deep_verification() {
    let (_folder, store) = store();
    let tree = step_of("tree", &[], |context| {
        fs::write(context.out().join("file"), "good")?;
        Ok(())
    });
    let outputs = run(&store, graph([tree.identity(Identity::Key)]), "tree").result.unwrap();
    let tree = &outputs[&name("tree")];
    assert_eq!(store.verify_deep(&tree.key).unwrap(), Deep::Recorded);
    assert_eq!(store.verify_deep(&tree.key).unwrap(), Deep::Same);
    let path = tree.path.join("file");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "gOod").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert!(
        matches!(store.lookup(&tree.key, Depth::Shape).unwrap(), Lookup::Hit(_)),
        "the shape cannot tell"
    );
    assert_eq!(store.verify_deep(&tree.key).unwrap(), Deep::Damaged(Damage::Contents));
    assert_eq!(store.verify_deep(&xenolith_store::digest_bytes(b"")).unwrap(), Deep::Missing);
}

#[test]
fn a_large_result_is_looked_at_when_somebody_is_about_to_read_it() {
    let folder = common::folder();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let build = |version: i32| {
        let many = step_of("many", &[], |context| {
            (0..1100).try_for_each(|number| fs::write(context.out().join(format!("{number}")), "text"))?;
            Ok(())
        });
        let reader = step_of("reader", &[("many", step("many")), ("v", Input::value(version))], |context| {
            let sum: usize = (0..1100)
                .map(|number| {
                    fs::read(context.input("many").join(format!("{number}"))).map(|text| text.len())
                })
                .sum::<std::io::Result<usize>>()?;
            Ok(fs::write(context.out().join("text"), sum.to_string())?)
        });
        graph([many, reader])
    };
    let many = run(&store, build(1), "many").result.unwrap()[&name("many")].path.clone();
    assert_eq!(run(&store, build(1), "reader").ran(), ["reader"]);
    fs::remove_file(many.join("7")).unwrap();
    assert_eq!(run(&store, build(1), "reader").ran(), [""; 0], "nobody reads it");
    let again = run(&store, build(2), "reader");
    assert_eq!(again.ran(), ["many", "reader"]);
    assert_eq!(again.text("reader"), "4400");
}

#[test]
fn a_file_with_other_contents_and_its_old_time_is_found_at_once() {
    let (_folder, store) = store();
    let build = || graph([copying("s", &[("v", Input::value(1))])]);
    let path = run(&store, build(), "s").result.unwrap()[&name("s")].path.join("text");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "S\n").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let told = run(&store, build(), "s");
    let damage = Damage::Changed { path: "text".to_owned() };
    assert_eq!(told.reason("s"), Some(Reason::OutputDamaged { damage: damage.clone() }));
    assert!(
        told.events
            .iter()
            .any(|event| matches!(event, Event::StepDamaged { damage: found, .. } if *found == damage))
    );
    assert_eq!(told.text("s"), "s\n");
}
