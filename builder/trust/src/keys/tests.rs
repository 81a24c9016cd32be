use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::testing::development_keys;

fn modes(dir: &Path) -> Vec<(String, u32)> {
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    let entries = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut modes: Vec<_> =
        entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), mode(&path))).collect();
    modes.push((".".to_owned(), mode(dir)));
    modes.sort();
    modes
}

/// A copy of the shared keys that a test may spoil.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(development_keys().dir()).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn refusal(dir: &Path) -> KeyError {
    KeySet::load(dir).expect_err("these keys must not load")
}

#[test]
fn files_are_private_from_the_start_under_any_umask() {
    let expected = [
        (".", 0o700),
        (".gitignore", 0o644),
        ("db.crt", 0o644),
        ("db.key", 0o600),
        ("kek.crt", 0o644),
        ("kek.key", 0o600),
        ("keys.toml", 0o644),
        ("owner.guid", 0o644),
        ("pk.crt", 0o644),
        ("pk.key", 0o600),
        ("update.key", 0o600),
        ("update.pub", 0o644),
    ];
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("deeply/nested");
    // umask belongs to the process, so another one has to make these keys.
    let script = r#"umask 000; exec "$0" --exact keys::tests::make_keys_where_told --ignored"#;
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("XENOLITH_TEST_KEYS", &place)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(modes(&place), expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
#[ignore = "started by files_are_private_from_the_start_under_any_umask"]
fn make_keys_where_told() {
    let dir = std::env::var_os("XENOLITH_TEST_KEYS").unwrap();
    KeySet::init(Path::new(&dir), &InitOptions::default()).unwrap();
}

#[test]
fn a_second_init_finds_the_keys_of_the_first() {
    let dir = copy();
    let again = KeySet::init(dir.path(), &InitOptions { label: Some("other".into()) }).unwrap();
    assert_eq!(
        again.describe().certificates[0].fingerprint,
        development_keys().describe().certificates[0].fingerprint
    );
    assert_eq!(again.owner(), development_keys().owner());
}

#[test]
fn incomplete_keys_are_neither_loaded_nor_completed() {
    for name in ["db.key", "pk.crt", "update.pub", "owner.guid", "keys.toml"] {
        let dir = copy();
        fs_err::remove_file(dir.path().join(name)).unwrap();
        for result in [KeySet::load(dir.path()), KeySet::init(dir.path(), &InitOptions::default())] {
            let error = result.unwrap_err();
            assert!(
                matches!(&error, KeyError::Incomplete { missing, .. } if missing[..] == [name]),
                "{error}"
            );
        }
        assert!(!dir.path().join(name).exists(), "{name} was made again");
    }
}

#[test]
fn a_folder_with_other_files_is_left_alone_and_an_empty_one_is_used() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("thesis.tex"), "").unwrap();
    let error = KeySet::init(dir.path(), &InitOptions::default()).unwrap_err();
    assert!(matches!(error, KeyError::Occupied { .. }), "{error}");
    assert!(matches!(refusal(&dir.path().join("nothing")), KeyError::Read { .. }));

    let empty = dir.path().join("empty");
    fs_err::create_dir(&empty).unwrap();
    let keys = KeySet::init(&empty, &InitOptions { label: Some("ann".into()) }).unwrap();
    assert_eq!(keys.db().certificate().subject(), "CN=Xenolith development db (ann)");
    assert_eq!(modes(&empty)[0], (".".to_owned(), 0o700));
    let left: Vec<_> =
        fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing but keys and thesis: {left:?}");
}

#[test]
fn two_first_uses_at_once_end_with_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("keys");
    let init = || KeySet::init(&place, &InitOptions::default()).unwrap().describe();
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(init);
        (init(), other.join().unwrap())
    });
    assert_eq!(one, two);
}

#[test]
fn keys_that_others_can_read_are_refused_with_the_way_out() {
    for (name, mode) in [("db.key", 0o644), ("update.key", 0o640), ("pk.key", 0o604), ("kek.key", 0o620)] {
        let dir = copy();
        let path = dir.path().join(name);
        fs_err::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = refusal(dir.path());
        assert_eq!(error.to_string(), format!("{} is open to others (mode {mode:04o})", path.display()));
        assert!(error.hint().unwrap().contains("chmod go= "), "{error}");
    }
    let dir = copy();
    fs_err::set_permissions(dir.path(), Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(refusal(dir.path()), KeyError::Exposed { mode: 0o770, .. }));
}

#[test]
fn keys_that_do_not_belong_together_are_refused() {
    let dir = copy();
    fs_err::copy(dir.path().join("kek.crt"), dir.path().join("db.crt")).unwrap();
    let error = refusal(dir.path());
    assert!(
        matches!(&error, KeyError::Signer { name: "db", source: SignerError::NotAPair { .. } }),
        "{error:?}"
    );

    let dir = copy();
    let other = UpdateKey::generate().public().to_pem().unwrap();
    fs_err::write(dir.path().join("update.pub"), other).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        KeyError::Content { what: "is not the public half of the update key", .. }
    ));
}

#[test]
fn a_description_that_we_do_not_understand_is_refused() {
    let refused = |text: &str| {
        let dir = copy();
        fs_err::write(dir.path().join("keys.toml"), text).unwrap();
        refusal(dir.path())
    };
    assert!(matches!(refused("format = 2\nkind = \"release\""), KeyError::Content { .. }));
    assert!(matches!(refused("format = 1\nkind = \"toy\""), KeyError::Settings { .. }));
    assert!(matches!(refused("format = 1\nkind = \"release\"\ncolour = 1"), KeyError::Settings { .. }));
    assert!(matches!(
        refused("format = 1\nkind = \"release\"\n[keys]\ndb = \"pkcs11:db\""),
        KeyError::TokenUri { .. }
    ));
    assert!(matches!(
        refused("format = 1\nkind = \"release\"\n[keys]\nupdate = \"pkcs11:\""),
        KeyError::Content { .. }
    ));
    assert!(matches!(
        refused("format = 1\nkind = \"release\"\n[keys]\ndb = \"/none\""),
        KeyError::Read { .. }
    ));
}

#[test]
fn release_keys_work_without_pk_and_kek_until_something_must_be_enrolled() {
    let dir = copy();
    fs_err::write(dir.path().join("keys.toml"), "format = 1\nkind = \"release\"\n").unwrap();
    fs_err::remove_file(dir.path().join("pk.key")).unwrap();
    fs_err::remove_file(dir.path().join("kek.key")).unwrap();
    let keys = KeySet::load(dir.path()).unwrap();
    assert_eq!(keys.kind(), Kind::Release);
    keys.db().signer().unwrap().sign(b"message").unwrap();
    let error = keys.enrolment(EfiTime::FIRST, &[]).unwrap_err();
    assert!(matches!(error, TrustError::Key(KeyError::Absent { name: "PK" })), "{error}");
}

#[test]
fn what_is_shown_about_keys_holds_no_secret() {
    let keys = development_keys();
    let shown = serde_json::to_string(&keys.describe()).unwrap() + &format!("{keys:?}");
    for name in ["pk", "kek", "db", "update"] {
        let pem = fs_err::read_to_string(keys.dir().join(format!("{name}.key"))).unwrap();
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            assert!(!shown.contains(line), "{name}");
        }
    }
    let description = keys.describe();
    assert_eq!(description.kind, Kind::Development);
    assert_eq!(description.certificates.map(|certificate| certificate.name), ["PK", "KEK", "db"]);
    assert_eq!(keys.owner().get_version_num(), 4);
}

#[test]
fn encrypted_and_foreign_private_keys_get_their_own_message() {
    let certificate = development_keys().db().certificate().clone();
    let read = |text: &str| {
        let pem = zeroize::Zeroizing::new(text.to_owned());
        crate::signer::FileKey::from_pem(&pem, Path::new("db.key"), certificate.clone()).unwrap_err()
    };
    let encrypted = read("-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    assert!(matches!(encrypted, SignerError::Encrypted { .. }) && encrypted.hint().is_some());
    assert_eq!(read("no key").to_string(), "db.key is not an RSA private key in PEM (PKCS#8 or PKCS#1)");
}
