use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

fn package(name: &str, version: &str, size: u64) -> LockedPackage {
    LockedPackage {
        name: name.parse().unwrap(),
        version: DebVersion::parse(version).unwrap().into_owned(),
        architecture: Architecture::Amd64,
        size: Bytes::new(size),
        sha256: Sha256::of(format!("{name} {version}")),
        archive: Archive::Debian,
        path: format!("pool/main/{name}_{version}_amd64.deb").parse().unwrap(),
    }
}

/// A lock with groups written as `dom0: aa 1, bb 2`.
fn lock(groups: &[&str]) -> Lock {
    let mut lock = Lock::default();
    for group in groups {
        let (name, packages) = group.split_once(':').unwrap();
        let packages = packages.split(',').filter_map(|one| one.trim().split_once(' '));
        let mut packages: Vec<_> =
            packages.map(|(name, version)| package(name, version, 100 << 10)).collect();
        packages.sort();
        lock.groups.insert(name.parse().unwrap(), LockedGroup { request: Sha256::of(name), packages });
    }
    lock
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lock").join(folder);
    let all = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|other| other == ending)).collect();
    found.sort();
    found
}

/// The error with its causes, as a reporter prints them.
fn printed(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text + "\n"
}

/// What a lock says about itself beside its text: a changed meaning is seen even where the text still fits.
fn summary(lock: &Lock) -> String {
    let mut text = format!("hash {}\n", lock.hash());
    for (name, group) in &lock.groups {
        let packages: Vec<_> =
            group.packages.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        text += &format!("{name}: {}\n", packages.join(", "));
    }
    for (name, source) in &lock.sources {
        text += &format!("{name} {}: {} files\n", source.version, source.files.len());
    }
    text
}

/// Set `XENOLITH_BLESS=1` to write what came out as what is expected.
fn compare(expected: &Path, got: &str) {
    if std::env::var_os("XENOLITH_BLESS").is_some() {
        fs_err::write(expected, got).unwrap();
    }
    assert_eq!(fs_err::read_to_string(expected).unwrap(), got, "{}", expected.display());
}

#[test]
fn good_locks_are_accepted_and_mean_what_they_should() {
    let locks = files("accept", "lock");
    assert!(locks.len() >= 3);
    for path in locks {
        let text = fs_err::read_to_string(&path).unwrap();
        let lock =
            Lock::parse(&text).unwrap_or_else(|error| panic!("{}: {}", path.display(), printed(&error)));
        compare(&path.with_extension("summary"), &summary(&lock));
        assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
    }
    assert_eq!(files("accept", "lock").len(), files("accept", "summary").len());
}

#[test]
fn what_is_rendered_is_byte_for_byte_what_was_read() {
    let text = include_str!("../../tests/lock/accept/canonical.lock");
    assert_eq!(Lock::parse(text).unwrap().render(), text);
}

#[test]
fn bad_locks_are_refused_with_the_line_and_the_reason() {
    let locks = files("reject", "lock");
    assert!(locks.len() >= 15);
    for path in locks {
        let text = fs_err::read_to_string(&path).unwrap();
        let error = Lock::parse(&text).expect_err(&path.display().to_string());
        compare(&path.with_extension("err"), &printed(&error));
    }
    assert_eq!(files("reject", "lock").len(), files("reject", "err").len());
}

#[test]
fn a_lock_longer_than_any_is_not_even_looked_at() {
    let error = Lock::parse(&"#".repeat((16 << 20) + 1)).unwrap_err();
    assert_eq!(error.to_string(), "the lock is longer than 16777216 bytes");
}

#[test]
fn the_hash_changes_with_what_is_built_and_with_nothing_else() {
    let base = lock(&["dom0: aa 1, bb 1", "tools: bb 1"]);
    let mut same = base.clone();
    same.groups.values_mut().for_each(|group| group.request = Sha256::of("another recipe"));
    let suite =
        LockedSuite { archive: Archive::Debian, date: Timestamp::from_unix(1), sha256: Sha256::of("") };
    same.suites.insert("trixie".parse().unwrap(), suite);
    assert_eq!(base.hash(), same.hash());
    for other in [["dom0: aa 1, bb 1", "tools: aa 1, bb 1"], ["dom0: aa 2, bb 1", "tools: bb 1"]] {
        assert_ne!(base.hash(), lock(&other).hash());
    }
    let mut other = base.clone();
    other.groups.get_mut("dom0").unwrap().packages[0].sha256 = Sha256::of("rebuilt");
    assert_ne!(base.hash(), other.hash());
}

#[test]
fn a_recipe_that_changed_is_noticed() {
    let spec = |name: &str, packages: &[&str]| GroupSpec {
        name: name.parse().unwrap(),
        packages: packages.iter().map(|name| name.parse().unwrap()).collect(),
        essential: false,
        recommends: false,
        exclude: Vec::new(),
    };
    let recipe = [spec("dom0", &["aa"]), spec("tools", &["bb"])];
    let mut lock = lock(&["dom0: aa 1", "old: cc 1"]);
    let stale: Vec<_> = lock.stale_groups(&recipe).iter().map(ToString::to_string).collect();
    assert_eq!(
        stale,
        [
            "the recipe of group dom0 changed since it was locked",
            "group tools is not in the lock",
            "group old is locked, but no recipe asks for it"
        ]
    );
    lock.groups.remove("old");
    for spec in &recipe {
        lock.groups.insert(spec.name.clone(), LockedGroup { request: spec.digest(), packages: Vec::new() });
    }
    assert!(lock.stale_groups(&recipe).is_empty());
}

#[test]
fn a_diff_reads_like_a_package_managers() {
    let old = lock(&["dom0: aa 1.0-1, gone 1, left 1, twin 1", "tools: aa 1.0-1, down 2, twin 2"]);
    let mut new = lock(&["dom0: aa 1.0-2, come 1, twin 1", "tools: down 1, left 1, same 1, twin 3"]);
    new.groups.get_mut("dom0").unwrap().packages[0].size = Bytes::new(1_300_000);
    let mut old_same = old.clone();
    let tools = &mut old_same.groups.get_mut("tools").unwrap().packages;
    tools.insert(2, LockedPackage { sha256: Sha256::of("other"), ..package("same", "1", 90 << 10) });
    let source = |version: &str, size| LockedSource {
        version: DebVersion::parse(version).unwrap().into_owned(),
        files: vec![LockedFile { size: Bytes::new(size), ..package("xen", version, 1).file() }],
    };
    old_same.sources.insert("xen".parse().unwrap(), source("4.20.3", 5 << 20));
    new.sources.insert("xen".parse().unwrap(), source("4.20.4", 5 << 20));
    let diff = Lock::diff(&old_same, &new);
    insta::assert_snapshot!(diff);
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&diff).unwrap());
    assert!(!diff.is_empty());
}

#[test]
fn a_diff_of_equal_locks_says_so() {
    let lock = lock(&["dom0: aa 1, bb 1"]);
    let diff = Lock::diff(&lock, &lock);
    assert!(diff.is_empty());
    assert_eq!(diff.to_string(), "nothing changed: 2 packages, 200 KiB\n");
}

fn any_group() -> impl Strategy<Value = Vec<(u8, u8, bool)>> {
    prop::collection::vec((0_u8..30, 1_u8..4, any::<bool>()), 0..12)
}

prop_compose! {
    fn any_lock()(groups in prop::collection::btree_map("[a-z][a-z0-9-]{0,8}", any_group(), 0..4),
                  suites in prop::collection::btree_map("[a-z][a-z-]{0,8}", 0_u64..4_000_000_000, 0..3),
                  files in prop::collection::btree_set("[a-z0-9][a-z0-9~+_.-]{0,8}", 0..4)) -> Lock {
        let mut lock = Lock::default();
        for (name, packages) in groups {
            let mut packages: Vec<_> = packages.into_iter().map(|(name, version, all)| LockedPackage {
                architecture: if all { Architecture::All } else { Architecture::Amd64 },
                ..package(&format!("pkg{name}"), &format!("{version}:1.{version}-1~a"), u64::from(version))
            }).collect();
            packages.sort();
            packages.dedup_by(|one, two| one.name == two.name);
            lock.groups.insert(name.parse().unwrap(), LockedGroup { request: Sha256::of(&name), packages });
        }
        for (name, date) in suites {
            let suite = LockedSuite {
                archive: Archive::DebianSecurity, date: Timestamp::from_unix(date), sha256: Sha256::of(&name),
            };
            lock.suites.insert(name.parse().unwrap(), suite);
        }
        let files: Vec<_> = files.iter().map(|name| LockedFile {
            path: format!("pool/{name}").parse().unwrap(),
            ..package("xen", "1", 7).file()
        }).collect();
        if !files.is_empty() {
            let version = DebVersion::parse("4.20").unwrap().into_owned();
            lock.sources.insert("xen".parse().unwrap(), LockedSource { version, files });
        }
        lock
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_rendered_reads_back(lock in any_lock()) {
        let text = lock.render();
        let read = Lock::parse(&text).map_err(|error| TestCaseError::fail(printed(&error)))?;
        prop_assert_eq!(read.render(), text);
        prop_assert_eq!(read, lock);
    }

    /// Applying a diff's counts to the old number of packages gives the new one.
    #[test]
    fn a_diff_accounts_for_every_package(old in any_lock(), new in any_lock()) {
        let diff = Lock::diff(&old, &new);
        let count = diff.totals.packages_from + diff.added.len() - diff.removed.len();
        prop_assert_eq!(count, diff.totals.packages_to);
        prop_assert_eq!(diff.is_empty(), old.packages() == new.packages() && old.sources == new.sources);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*", at in 0_usize..4000, cut in 0_usize..40, put in "\\PC{0,3}") {
        let _ = Lock::parse(&text);
        let mut bytes = include_str!("../../tests/lock/accept/canonical.lock").as_bytes().to_vec();
        let at = at % bytes.len();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        if let Ok(text) = String::from_utf8(bytes) && let Ok(lock) = Lock::parse(&text) {
            prop_assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
        }
    }
}
