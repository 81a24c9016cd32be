//! Many packages into one tree: the result hangs on their order in the list and on nothing else.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use xenolith_archive::unpack::{Rules, Stats, UnpackError, unpack_tree};

use crate::deb::Tar;
use crate::{chain, snapshot};

fn write(folder: &Path, packages: Vec<(&str, Tar)>) -> Vec<PathBuf> {
    let write_one = |(name, tar): (&str, Tar)| {
        let path = folder.join(format!("{name}_1_amd64.deb"));
        fs_err::write(&path, tar.deb()).unwrap();
        path
    };
    packages.into_iter().map(write_one).collect()
}

fn unpack(packages: Vec<(&str, Tar)>, jobs: usize) -> Result<(Stats, tempfile::TempDir), UnpackError> {
    let folder = tempfile::tempdir().unwrap();
    let debs = write(folder.path(), packages);
    let tree = tempfile::tempdir().unwrap();
    let stats = unpack_tree(&debs, tree.path(), &Rules::default(), jobs, &|_| {})?;
    Ok((stats, tree))
}

fn overlapping() -> Vec<(&'static str, Tar)> {
    let base = |content: &str| Tar::default().dir("usr").dir("usr/share").file("usr/share/both", content);
    vec![
        ("a", base("a").file("usr/share/a", "a").member(b'5', b"usr/mode", b"", 0o750, b"")),
        ("b", base("b").symlink("usr/share/kind", "b").file("bin/tool", "b")),
        ("c", base("c").file("usr/share/kind", "c").member(b'5', b"usr/mode", b"", 0o755, b"")),
        ("d", Tar::default().file("bin/tool", &"d".repeat(100_000)).symlink("usr/share/late", "d")),
        ("e", Tar::default().file("usr/bin/tool", "e").symlink("usr/share/late", "e")),
    ]
}

#[test]
fn the_later_package_wins_with_any_number_of_jobs() {
    let (stats, tree) = unpack(overlapping(), 1).unwrap();
    let alone = snapshot(tree.path());
    assert!(alone["usr/share/both"].ends_with(": c"));
    assert!(alone["usr/share/kind"].ends_with(": c"));
    assert!(alone["usr/bin/tool"].ends_with(": e"));
    assert_eq!(alone["usr/share/late"], "-> e");
    assert!(alone["usr/mode"].starts_with("dir 750"));
    assert_eq!(alone["bin"], "-> usr/bin");
    let replaced = ["usr/bin/tool", "usr/share/both", "usr/share/kind", "usr/share/late"];
    assert_eq!(stats.replaced, replaced.map(PathBuf::from));
    for _ in 0..30 {
        let (again, tree) = unpack(overlapping(), 5).unwrap();
        assert_eq!(snapshot(tree.path()), alone);
        assert_eq!(again, stats);
    }
}

#[test]
fn links_of_base_files_may_be_gone_through() {
    let packages = || {
        vec![
            ("aaa", Tar::default().dir("var").dir("var/run").file("var/run/file", "x")),
            (
                "base-files",
                Tar::default().dir("run").dir("var").symlink("var/run", "/run").symlink("bin", "usr/bin"),
            ),
        ]
    };
    for jobs in [1, 4] {
        let (_, tree) = unpack(packages(), jobs).unwrap();
        let seen = snapshot(tree.path());
        assert_eq!(seen["var/run"], "-> /run");
        assert!(seen["run/file"].ends_with(": x"));
    }
}

#[test]
fn what_would_hang_on_who_is_faster_is_a_conflict_in_both_orders() {
    let link = || Tar::default().symlink("usr/thing", "other");
    let directory = || Tar::default().dir("usr/thing").file("usr/thing/x", "x");
    let below = || Tar::default().file("usr/thing/x", "x");
    let file = || Tar::default().file("usr/thing", "x");
    for (one, two) in [(link(), directory()), (link(), below()), (file(), directory())] {
        for packages in [vec![("a", one.clone()), ("b", two.clone())], vec![("a", two), ("b", one)]] {
            for jobs in [1, 2] {
                let error = unpack(packages.clone(), jobs).unwrap_err();
                assert!(
                    chain(&error).contains("/usr/thing is brought by two packages as different things"),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_file_with_hard_links_that_another_package_replaces_is_a_conflict() {
    let linked = Tar::default().file("usr/thing", "a").hard_link("usr/again", "usr/thing");
    for packages in [
        vec![("a", linked.clone()), ("b", Tar::default().file("usr/thing", "b"))],
        vec![("a", Tar::default().file("usr/thing", "b")), ("b", linked)],
    ] {
        let error = unpack(packages, 2).unwrap_err();
        assert!(matches!(error, UnpackError::Conflict { .. }), "{error}");
    }
}

#[test]
fn a_failure_names_its_package() {
    let packages = vec![("good", Tar::default().file("a", "")), ("bad", Tar::default().file("../b", ""))];
    let error = unpack(packages, 2).unwrap_err();
    assert!(error.to_string().ends_with("bad_1_amd64.deb was not unpacked"), "{error}");
    let missing = unpack_tree(
        &["/nowhere/x.deb".into()],
        tempfile::tempdir().unwrap().path(),
        &Rules::default(),
        0,
        &|_| {},
    );
    assert!(missing.is_err());
}

#[test]
fn progress_counts_every_package() {
    let folder = tempfile::tempdir().unwrap();
    let debs = write(folder.path(), overlapping());
    let tree = tempfile::tempdir().unwrap();
    let seen = Mutex::new(Vec::new());
    unpack_tree(&debs, tree.path(), &Rules::default(), 3, &|unpacked| {
        assert_eq!(unpacked.total, 5);
        seen.lock().unwrap().push(unpacked.done);
    })
    .unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}
