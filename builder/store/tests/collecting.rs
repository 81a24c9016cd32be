//! What gc removes and what it keeps.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{copying, graph, name, run, step_of};
use fs_err as fs;
use xenolith_store::{GcPolicy, Graph, Input, Removed, Store, Why};

const DAY: Duration = Duration::from_secs(86_400);

fn build(text: &str) -> Graph {
    let text = text.to_owned();
    let big = step_of("big", &[("text", Input::value(&text))], move |context| {
        fs::write(context.out().join("text"), text.repeat(20_000))?;
        Ok(())
    });
    graph([big])
}

/// A store with the results of these builds, the first one used longest ago; nobody uses them now.
fn filled(root: &Path, texts: &[&str]) -> Vec<xenolith_store::Digest> {
    let store = Store::open(root).unwrap();
    let keys: Vec<_> =
        texts.iter().map(|text| run(&store, build(text), "big").result.unwrap()[&name("big")].key).collect();
    for (number, key) in keys.iter().enumerate() {
        let days = u32::try_from(texts.len() - number).unwrap();
        let lock = root.join("locks").join(format!("{key}.use"));
        set_time(&lock, SystemTime::now() - DAY * days);
    }
    keys
}

fn set_time(path: &Path, time: SystemTime) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn gone(removed: &[Removed]) -> Vec<xenolith_store::Digest> {
    let results = removed.iter().filter_map(|removed| match removed {
        Removed::Result { key, .. } => Some(*key),
        Removed::Blob { .. } | Removed::Log { .. } => None,
    });
    results.collect()
}

#[test]
fn what_was_not_used_for_too_long_goes_but_not_what_the_last_build_saw() {
    let folder = tempfile::tempdir().unwrap();
    let keys = filled(folder.path(), &["a", "b", "c", "d"]);
    let store = Store::open(folder.path()).unwrap();
    let policy = GcPolicy { max_age: Some(DAY / 2), keep: BTreeSet::from([keys[1]]), ..GcPolicy::default() };
    let dry = store.gc(&GcPolicy { dry_run: true, ..policy.clone() }).unwrap();
    assert_eq!(store.results().unwrap().len(), 4, "a dry run removes nothing");
    let report = store.gc(&policy).unwrap();
    assert_eq!(gone(&report.removed), [keys[0], keys[2]]);
    assert!(matches!(report.removed[0], Removed::Result { why: Why::Age, bytes: 20_000.., .. }));
    assert_eq!(gone(&dry.removed), gone(&report.removed));
    assert_eq!((dry.freed, dry.left), (report.freed, report.left));
    let left: BTreeSet<_> = store.results().unwrap().into_iter().map(|result| result.key).collect();
    assert_eq!(left, BTreeSet::from([keys[1], keys[3]]));
}

#[test]
fn a_store_that_is_too_large_gives_up_what_was_used_longest_ago() {
    let folder = tempfile::tempdir().unwrap();
    let keys = filled(folder.path(), &["a", "b", "c"]);
    let store = Store::open(folder.path()).unwrap();
    let all = store.gc(&GcPolicy::default()).unwrap().left;
    let policy = GcPolicy { max_size: Some(all - 1), keep_last: false, ..GcPolicy::default() };
    let report = store.gc(&policy).unwrap();
    assert_eq!(gone(&report.removed), [keys[0]]);
    assert_eq!(report.left + report.freed, all);
}

#[test]
fn a_build_after_gc_says_that_the_result_was_no_longer_there() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &["a"]);
    let store = Store::open(folder.path()).unwrap();
    store.gc(&GcPolicy { max_size: Some(0), keep_last: false, ..GcPolicy::default() }).unwrap();
    let told = run(&store, build("a"), "big");
    assert_eq!(told.reason("big"), Some(xenolith_store::Reason::NotCached));
}

#[test]
fn blobs_that_a_result_was_made_from_stay_and_others_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (used, unused) = (store.put_blob(b"used").unwrap(), store.put_blob(b"unused").unwrap());
    run(&store, graph([copying("s", &[("deb", Input::Blob(used))])]), "s").result.unwrap();
    let policy = GcPolicy { max_size: Some(0), ..GcPolicy::default() };
    let report = store.gc(&policy).unwrap();
    assert!(matches!(&report.removed[..], [Removed::Blob { path, .. }] if *path == store.blob_path(&unused)));
    assert!(store.has_blob(&used) && !store.has_blob(&unused));
    store.gc(&GcPolicy { keep_last: false, ..policy }).unwrap();
    assert!(!store.has_blob(&used), "its result went with it");
}

#[test]
fn logs_and_locks_without_a_result_go() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &["a"]);
    let store = Store::open(folder.path()).unwrap();
    let failed = run(&store, graph([step_of("bad", &[], |_| Err("no".into()))]), "bad");
    assert!(failed.result.is_err());
    drop(failed);
    let old = SystemTime::now() - DAY * 10;
    for log in fs::read_dir(folder.path().join("logs")).unwrap() {
        set_time(&log.unwrap().path(), old);
    }
    store.gc(&GcPolicy { max_age: Some(DAY * 5), ..GcPolicy::default() }).unwrap();
    let names = |of: &str| -> Vec<String> {
        let found = fs::read_dir(folder.path().join(of)).unwrap();
        found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let logs = names("logs");
    assert!(logs.len() == 1 && logs[0].starts_with("big-"), "{logs:?}");
    let locks = names("locks");
    assert_eq!(locks.len(), 4, "two of the result, one of this session, one of blobs: {locks:?}");
}

#[test]
fn a_tree_without_write_permission_can_be_removed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let step = step_of("locked", &[], |context| {
        let inner = context.out().join("a/b");
        fs::create_dir_all(&inner)?;
        fs::write(inner.join("file"), "x")?;
        fs::set_permissions(inner, std::fs::Permissions::from_mode(0o500))?;
        Ok(())
    });
    drop(run(&store, graph([step]), "locked"));
    let report = store.gc(&GcPolicy { max_size: Some(0), keep_last: false, ..GcPolicy::default() }).unwrap();
    assert_eq!(report.failed, []);
    assert!(store.results().unwrap().is_empty());
}
