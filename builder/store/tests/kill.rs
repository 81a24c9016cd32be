//! The promise of the store: whatever the builder is doing when it is killed, when an operation fails or when
//! the power goes, the store opens, and the next build gives the same output.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{contents, copying, folder, graph, name, run_with, step_of};
use fs_err as fs;
use xenolith_store::{Deep, Effect, Graph, Identity, Input, RunOptions, Store, StoreError, Watch};

const ROOT: &str = "XENOLITH_STORE_TEST_ROOT";
const KILL_AT: &str = "XENOLITH_STORE_TEST_KILL_AT";

/// Two files, a link, a folder and a large tree: everything that a result may consist of.
fn build() -> Graph {
    let first = step_of("first", &[("v", Input::value(1))], |context| {
        fs::create_dir(context.out().join("folder"))?;
        fs::write(context.out().join("folder/file"), "contents")?;
        fs::write(context.out().join("text"), "first")?;
        symlink("text", context.out().join("link"))?;
        Ok(())
    });
    let tree = step_of("tree", &[("first", Input::Step(name("first")))], |context| {
        for number in 0..70 {
            fs::write(context.out().join(format!("{number}")), number.to_string())?;
        }
        fs::write(context.out().join("text"), "tree")?;
        Ok(())
    });
    graph([tree.identity(Identity::Key), first, copying("last", &[("tree", Input::Step(name("tree")))])])
}

fn options() -> RunOptions {
    RunOptions { jobs: 1, ..RunOptions::default() }
}

/// The outputs of all steps as bytes.
fn outputs(store: &Store) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let outputs = run_with(store, build(), "last", &options()).result.unwrap();
    outputs.into_iter().map(|(step, output)| (step.to_string(), contents(&output.path))).collect()
}

fn expected() -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let folder = folder();
    outputs(&Store::open(folder.path()).unwrap())
}

/// Calls `act` at the `at`th effect.
fn at_effect(at: usize, act: impl Fn(Effect) -> io::Result<()> + Send + Sync + 'static) -> Watch {
    let count = AtomicUsize::new(0);
    Arc::new(move |effect| if count.fetch_add(1, Ordering::SeqCst) == at { act(effect) } else { Ok(()) })
}

/// Not a test by itself: the process that the tests below start and that kills itself.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn child_that_dies() {
    let (Ok(root), Ok(at)) = (std::env::var(ROOT), std::env::var(KILL_AT)) else { return };
    let watch = at_effect(at.parse().unwrap(), |_| std::process::abort());
    let force = RunOptions { force: [name("first")].into(), ..options() };
    let Ok(store) = Store::open_watched(Path::new(&root), watch) else { std::process::exit(3) };
    let _ = run_with(&store, build(), "last", &force);
    drop(store);
    std::process::exit(42);
}

/// Whether the child was killed; if not, it had fewer effects than that.
fn killed(root: &Path, at: usize) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_dies", "--ignored", "--nocapture"])
        .env(ROOT, root)
        .env(KILL_AT, at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    child.code() != Some(42)
}

fn nothing_is_left_over(store: &Store) {
    let left: Vec<PathBuf> =
        fs::read_dir(store.root().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "only the folder of the session that looks: {left:?}");
}

#[test]
fn killed_at_any_effect_the_next_build_gives_the_same() {
    let expected = expected();
    // Into an empty store, and into one that has everything: then one result is replaced.
    for filled in [false, true] {
        let mut at = 0;
        loop {
            let folder = folder();
            if filled {
                outputs(&Store::open(folder.path()).unwrap());
            }
            let was_killed = killed(folder.path(), at);
            let store = Store::open(folder.path()).unwrap();
            nothing_is_left_over(&store);
            for result in store.results().unwrap() {
                let deep = store.verify_deep(&result.key).unwrap();
                assert!(
                    matches!(deep, Deep::Same | Deep::Recorded),
                    "effect {at}: {}: {deep:?}",
                    result.step
                );
            }
            assert_eq!(outputs(&store), expected, "killed at effect {at}, filled {filled}");
            if !was_killed {
                assert!(at > if filled { 8 } else { 24 }, "only {at} effects were tried");
                break;
            }
            at += 1;
        }
    }
}

#[test]
fn when_any_effect_fails_the_next_build_gives_the_same() {
    let expected = expected();
    let mut at = 0;
    loop {
        let folder = folder();
        let failed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&failed);
        let watch = at_effect(at, move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Err(io::Error::other("the disk said no"))
        });
        match Store::open_watched(folder.path(), watch) {
            Ok(store) => drop(run_with(&store, build(), "last", &options())),
            Err(error) => assert!(matches!(error, StoreError::Open { .. }), "{error:?}"),
        }
        let store = Store::open(folder.path()).unwrap();
        nothing_is_left_over(&store);
        assert_eq!(outputs(&store), expected, "effect {at} failed");
        if failed.load(Ordering::SeqCst) == 0 {
            break;
        }
        at += 1;
    }
    assert!(at > 24, "only {at} effects were tried");
}

#[test]
fn whatever_happens_to_a_file_of_the_store_the_next_build_gives_the_same() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("cut to nothing", |path| fs::write(path, "").unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("cut in half", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("one byte changed", |path| {
            let mut bytes = fs::read(path).unwrap();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
            }
            fs::write(path, bytes).unwrap();
        }),
        ("garbage", |path| fs::write(path, "[garbage").unwrap()),
    ];
    let expected = expected();
    let folder = folder();
    let store = Store::open(folder.path()).unwrap();
    outputs(&store);
    drop(store);
    let files: Vec<String> = contents(folder.path()).into_keys().collect();
    // Of the seventy files of the large tree one will do.
    let one_of_many =
        |file: &&String| !file.ends_with(|last: char| last.is_ascii_digit()) || file.ends_with("/7");
    for file in files.iter().filter(|file| *file != "format").filter(one_of_many) {
        for (harm, act) in harms {
            let path = folder.path().join(file);
            if !path.exists() {
                continue; // a log or lock that the last harm removed and that no build needs
            }
            act(&path);
            let store = Store::open(folder.path()).unwrap();
            // A large tree is looked at when a step reads it, so one is made to.
            let force = RunOptions { force: [name("last")].into(), ..options() };
            run_with(&store, build(), "last", &force).result.unwrap();
            assert_eq!(outputs(&store), expected, "{file} {harm}");
        }
    }
}

#[test]
fn a_copied_store_is_read_once_and_then_trusted() {
    let folder = folder();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let store = Store::open(&one).unwrap();
    let made = outputs(&store);
    drop(store);
    let copied = Command::new("cp").arg("-a").arg(&one).arg(&two).status().unwrap();
    assert!(copied.success());
    let store = Store::open(&two).unwrap();
    let key = store.results().unwrap().into_iter().find(|result| result.step == name("first")).unwrap().key;
    let record = || fs::read(store.output_path(&key).parent().unwrap().join("result.json")).unwrap();
    let before = record();
    let told = run_with(&store, build(), "last", &options());
    assert!(told.ran().is_empty());
    let after = record();
    assert_ne!(before, after, "the stamps are those of the copy");
    assert_eq!(outputs(&store), made);
    assert_eq!(record(), after);
}

#[test]
fn a_store_of_another_format_is_left_alone() {
    let folder = folder();
    drop(Store::open(folder.path()).unwrap());
    fs::write(folder.path().join("format"), "2").unwrap();
    let error = Store::open(folder.path()).map(drop).unwrap_err();
    assert!(error.to_string().contains("has format 2, this builder knows 1"), "{error}");
}
