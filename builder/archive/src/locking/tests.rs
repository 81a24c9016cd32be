//! A whole archive in memory, signed by a key that exists for one test.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::ser::Serialize as _;
use pgp::types::Password;

use super::*;

const PACKAGES: &str = "main/binary-amd64/Packages";

struct TestArchive {
    key: SignedSecretKey,
    suites: BTreeMap<&'static str, TestSuite>,
    files: BTreeMap<(Archive, String), Vec<u8>>,
    asked: Mutex<Vec<String>>,
    /// Parts of pool paths that the mirror does not have.
    lacks: Vec<&'static str>,
}

struct TestSuite {
    codename: &'static str,
    date: &'static str,
    more: &'static str,
    packages: String,
    sources: String,
}

fn package(name: &str, version: &str, fields: &str) -> String {
    let sha256 = Sha256::of(format!("{name} {version}"));
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Filename: pool/{name}_{version}.deb\n\
         Size: 7\nSHA256: {sha256}\n\n"
    )
}

fn source(version: &str) -> String {
    let hash = Sha256::of(version);
    format!(
        "Package: xen\nVersion: {version}\nDirectory: pool/xen\nChecksums-Sha256:\n {hash} 9 xen_{version}.dsc\n {hash} 9 xen_{version}.debian.tar.xz\n\n"
    )
}

fn xz(text: &str) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl TestArchive {
    fn new() -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
        parameters.primary_user_id("Test <test@mirror.example>".into());
        let key = parameters.build().unwrap().generate(rand_core::OsRng).unwrap();
        let suite = |codename, packages: String, sources: String| {
            (
                codename,
                TestSuite { codename, date: "Sat, 01 Nov 2025 00:00:00 UTC", more: "", packages, sources },
            )
        };
        let suites = BTreeMap::from([
            suite(
                "trixie",
                package("aa", "1", "Depends: bb\n") + &package("bb", "1", "") + &package("cc", "1", ""),
                source("4.20.3"),
            ),
            suite("trixie-updates", package("cc", "2", ""), String::new()),
            suite("trixie-security", package("bb", "2", ""), source("4.20.4")),
            suite("trixie-backports", package("cc", "9", ""), String::new()),
        ]);
        Self { key, suites, files: BTreeMap::new(), asked: Mutex::new(Vec::new()), lacks: Vec::new() }
            .published()
    }

    /// Writes all files anew.
    fn published(mut self) -> Self {
        self.files.clear();
        for (name, suite) in &self.suites {
            let archive = if name.ends_with("security") { Archive::DebianSecurity } else { Archive::Debian };
            let mut list = String::new();
            for (path, text) in [
                (PACKAGES, suite.packages.as_str()),
                ("non-free-firmware/binary-amd64/Packages", ""),
                ("main/source/Sources", suite.sources.as_str()),
            ] {
                let packed = xz(text);
                let folder = path.rsplit_once('/').unwrap().0;
                list += &format!(" {} {} {path}\n", Sha256::of(text), text.len());
                list += &format!(" {} {} {path}.xz\n", Sha256::of(&packed), packed.len());
                let by_hash = format!("dists/{name}/{folder}/by-hash/SHA256/{}", Sha256::of(&packed));
                self.files.insert((archive, by_hash), packed);
            }
            let TestSuite { codename, date, more, .. } = suite;
            let release =
                format!("Codename: {codename}\nDate: {date}\nAcquire-By-Hash: yes\n{more}SHA256:\n{list}");
            let signed = CleartextSignedMessage::sign(
                rand_core::OsRng,
                &release,
                &self.key.primary_key,
                &Password::empty(),
            );
            let message = signed.unwrap().to_armored_string(ArmorOptions::default()).unwrap();
            self.files.insert((archive, format!("dists/{name}/InRelease")), message.into_bytes());
        }
        self
    }

    fn lock(&self, request: &LockRequest, previous: Option<&Lock>) -> Result<Lock, LockingError> {
        let keyring = Keyring::read(&self.key.to_public_key().to_bytes().unwrap()).unwrap();
        self.asked.lock().unwrap().clear();
        update_with(
            &keyring,
            request,
            previous,
            &|archive, path| {
                self.asked.lock().unwrap().push(path.to_owned());
                self.files.get(&(archive, path.to_owned())).cloned().ok_or_else(|| "not found".into())
            },
            &|_, path| !self.lacks.iter().any(|lacking| path.contains(lacking)),
        )
    }
}

fn request(only: Option<&[&str]>) -> LockRequest {
    let group = |name: &str, packages: &[&str]| GroupSpec {
        name: name.parse().unwrap(),
        packages: packages.iter().map(|name| name.parse().unwrap()).collect(),
        essential: false,
        recommends: false,
        exclude: Vec::new(),
    };
    LockRequest {
        groups: vec![group("dom0", &["aa", "cc"]), group("tools", &["cc@trixie-backports"])],
        sources: vec!["xen".parse().unwrap()],
        only: only.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
        now: Timestamp::now(),
    }
}

fn printed(lock: &Lock) -> String {
    let groups = lock.groups.iter().map(|(name, group)| {
        let packages = group.packages.iter().map(|package| format!(" {} {}", package.name, package.version));
        format!("{name}:{}", packages.collect::<String>())
    });
    let sources = lock.sources.iter().map(|(name, source)| format!("{name} {}", source.version));
    groups.chain(sources).collect::<Vec<_>>().join("; ")
}

fn error(archive: &TestArchive) -> String {
    let error = archive.lock(&request(None), None).unwrap_err();
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

/// Changes a suite and publishes it.
fn changed(name: &str, change: impl FnOnce(&mut TestSuite)) -> TestArchive {
    let mut archive = TestArchive::new();
    change(archive.suites.get_mut(name).unwrap());
    archive.published()
}

#[test]
fn the_names_of_all_suites_are_read() {
    for plan in &SUITES {
        assert!(plan.suite.parse::<SuiteName>().is_ok());
    }
}

#[test]
fn all_suites_together_make_a_lock() {
    let archive = TestArchive::new();
    let lock = archive.lock(&request(None), None).unwrap();
    assert_eq!(printed(&lock), "dom0: aa 1 bb 2 cc 2; tools: cc 9; xen 4.20.4");
    assert_eq!(lock.suites.len(), 4);
    assert_eq!(lock.suites["trixie"].date.to_string(), "2025-11-01T00:00:00Z");
    assert_eq!(lock.groups["dom0"].packages[1].archive, Archive::DebianSecurity);
    assert_eq!(lock.sources["xen"].files[1].path.as_str(), "pool/xen/xen_4.20.4.dsc");
    assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
    assert!(lock.stale_groups(&request(None).groups).is_empty());
}

#[test]
fn indexes_are_fetched_by_their_hash() {
    let archive = TestArchive::new();
    archive.lock(&request(None), None).unwrap();
    let asked = archive.asked.lock().unwrap();
    let indexes: Vec<_> = asked.iter().filter(|path| !path.ends_with("InRelease")).collect();
    assert_eq!((asked.len(), indexes.len()), (4 + 9, 9));
    assert!(indexes.iter().all(|path| path.contains("/by-hash/SHA256/")));
}

#[test]
fn only_the_named_packages_move() {
    let old = TestArchive::new().lock(&request(None), None).unwrap();
    let archive = changed("trixie-security", |suite| {
        suite.packages += &(package("bb", "3", "") + &package("aa", "3", "Depends: bb\n"));
        suite.sources = source("4.20.5");
    });
    let lock = |only| printed(&archive.lock(&request(only), Some(&old)).unwrap());
    assert_eq!(lock(None), "dom0: aa 3 bb 3 cc 2; tools: cc 9; xen 4.20.5");
    assert_eq!(lock(Some(&[])), "dom0: aa 1 bb 2 cc 2; tools: cc 9; xen 4.20.4");
    assert_eq!(lock(Some(&["bb"])), "dom0: aa 1 bb 3 cc 2; tools: cc 9; xen 4.20.4");
    assert_eq!(lock(Some(&["xen"])), "dom0: aa 1 bb 2 cc 2; tools: cc 9; xen 4.20.5");
    let unknown = archive.lock(&request(Some(&["zz"])), Some(&old)).unwrap_err();
    assert_eq!(unknown.to_string(), "zz cannot be updated: neither the lock nor the recipe has it");
}

#[test]
fn a_mirror_that_is_behind_the_lock_is_noticed() {
    let new = changed("trixie-security", |suite| suite.date = "Sun, 02 Nov 2025 00:00:00 UTC");
    let lock = new.lock(&request(None), None).unwrap();
    let error = TestArchive::new().lock(&request(None), Some(&lock)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the InRelease of trixie-security is of 2025-11-01T00:00:00Z, the lock was made from that of \
         2025-11-02T00:00:00Z: the mirror is behind"
    );
}

#[test]
fn another_suite_under_the_right_name_is_noticed() {
    let archive = changed("trixie", |suite| suite.codename = "trixie-backports");
    assert_eq!(
        error(&archive),
        "asked for the InRelease of trixie, the mirror sent that of \"trixie-backports\""
    );
}

#[test]
fn a_suite_that_ran_out_is_refused() {
    let archive = changed("trixie", |suite| suite.more = "Valid-Until: Sun, 02 Nov 2025 00:00:00 UTC\n");
    assert!(
        error(&archive).contains("of trixie is not believed: the Release file of trixie was valid until")
    );
}

#[test]
fn a_suite_that_another_key_signed_is_refused() {
    let archive = TestArchive::new();
    let fetch = |of: Archive, path: &str| Ok(archive.files[&(of, path.to_owned())].clone());
    let error = update(&request(None), None, &fetch, &|_, _| true).unwrap_err();
    assert!(
        matches!(error, LockingError::Signature { source: SignatureError::NotTrusted { .. }, .. }),
        "{error}"
    );
}

#[test]
fn an_index_that_is_not_the_signed_one_is_refused() {
    let mut archive = TestArchive::new();
    let (_, index) = archive.files.iter_mut().find(|((_, path), _)| path.contains("/by-hash/")).unwrap();
    index[0] ^= 1;
    assert!(error(&archive).ends_with("is not the file that its InRelease names"));
}

#[test]
fn an_index_that_cannot_be_read_is_named_with_the_line() {
    let archive = changed("trixie-updates", |suite| suite.packages = "Package: aa\nVersion\n".to_owned());
    assert_eq!(
        error(&archive),
        format!(
            "{PACKAGES}.xz of trixie-updates cannot be read: line 2 is neither a field nor the continuation of one"
        )
    );
}

#[test]
fn a_file_that_the_mirror_does_not_have_is_named() {
    let mut archive = TestArchive::new();
    archive.files.remove(&(Archive::DebianSecurity, "dists/trixie-security/InRelease".to_owned()));
    assert_eq!(
        error(&archive),
        "cannot fetch dists/trixie-security/InRelease of the archive debian-security: not found"
    );
}

#[test]
fn a_source_package_that_is_nowhere_is_named() {
    let mut request = request(None);
    request.sources.push("gone".parse().unwrap());
    let error = TestArchive::new().lock(&request, None).unwrap_err();
    assert_eq!(error.to_string(), "there is no source package gone");
}

#[test]
fn a_source_package_falls_back_to_the_newest_version_that_the_mirror_really_has() {
    let mut archive = TestArchive::new();
    archive.lacks = vec!["xen_4.20.4.dsc"];
    assert!(
        printed(&archive.lock(&request(None), None).unwrap()).ends_with("xen 4.20.4"),
        "no build reads the .dsc"
    );
    archive.lacks = vec!["xen_4.20.4.debian.tar.xz"];
    assert!(printed(&archive.lock(&request(None), None).unwrap()).ends_with("xen 4.20.3"));
    archive.lacks = vec!["xen_4"];
    let error = archive.lock(&request(None), None).unwrap_err().to_string();
    assert!(error.contains("source package xen") && error.contains("4.20.4"), "{error}");
}

#[test]
fn a_bomb_stops_at_the_size_that_was_signed() {
    let packed = xz(&"x".repeat(100_000));
    assert_eq!(decompress(&packed, 10).unwrap().len(), 11);
    assert!(decompress(b"not xz", 10).is_err());
}
