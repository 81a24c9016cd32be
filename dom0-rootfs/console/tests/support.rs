//! The archive of a host in a folder, with secrets wherever a host has some.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use xenolith_console::{Programs, Tool, support};

/// What must be nowhere in an archive. Each stands in a place of its own.
const SECRETS: &[(&str, &str)] = &[
    ("etc/shadow", "root:$y$j9T$shadow-hash$x:20000:0:99999:7:::"),
    ("etc/shadow-", "root:$6$old-hash$x:20000:0:99999:7:::"),
    ("run/xenolith/state/settings.toml", "root_password_hash = \"$6$settings-hash$x\""),
    ("run/xenolith/state/network-trial.json", "trial-of-a-network"),
    ("run/xenolith/seed/seed.toml", "seed-on-a-volume"),
    ("run/answers.toml", "answers-of-an-installation"),
    ("etc/ssh/ssh_host_ed25519_key", "-----BEGIN OPENSSH PRIVATE KEY-----\nssh-key-of-the-host"),
    ("etc/ssh/authorized_keys.d/root", "ssh-ed25519 key-of-somebody"),
    ("etc/xenolith/tls/host.pem", "-----BEGIN PRIVATE KEY-----\ntls-key-of-the-host"),
    ("etc/chrony/chrony.keys", "1 SHA256 key-of-a-clock"),
    ("etc/iscsi/initiatorname.iscsi", "InitiatorName=name-of-an-initiator"),
    ("etc/systemd/network/99-vpn.network", "[WireGuard]\nPrivateKey=key-of-a-tunnel\n"),
    ("etc/systemd/network/secret.psk", "file-that-is-no-network"),
    ("root/.bash_history", "mysql -ppassword-in-a-shell"),
    ("var/lib/systemd/random-seed", "random-seed"),
];
/// Of each of them the part that would give it away.
const GIVEN_AWAY: &[&str] = &[
    "shadow-hash",
    "old-hash",
    "settings-hash",
    "trial-of-a-network",
    "seed-on-a-volume",
    "answers-of-an-installation",
    "ssh-key-of-the-host",
    "key-of-somebody",
    "tls-key-of-the-host",
    "key-of-a-clock",
    "name-of-an-initiator",
    "key-of-a-tunnel",
    "file-that-is-no-network",
    "password-in-a-shell",
    "random-seed",
    "typed-in-the-wrong-place",
    "key-in-a-log",
    "behind-a-link",
];

/// Programs that say what was recorded, with secrets in the journal.
struct Said;

impl Programs for Said {
    fn run(&self, tool: Tool, args: &[&str]) -> io::Result<String> {
        match tool {
            Tool::Journalctl if args.contains(&"--boot=-1") => Err(io::Error::other("no such boot")),
            Tool::Journalctl => Ok("a line of the journal\nlogin: password=typed-in-the-wrong-place\n\
                 -----BEGIN PRIVATE KEY-----\nkey-in-a-log\n-----END PRIVATE KEY-----\nthe last line\n"
                .to_owned()),
            tool => Ok(format!("what {tool:?} says\n")),
        }
    }
}

fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), text)
    });
    entries.collect()
}

fn host() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    SECRETS.iter().for_each(|(path, text)| put(path, text));
    put("etc/hostname", "rack4\n");
    put("etc/systemd/network/50-xenolith-management.network", "[Network]\nDHCP=yes\n");
    put("run/xenolith/boot.json", "{}\n");
    put("elsewhere", "behind-a-link");
    symlink("../elsewhere", root.path().join("etc/vconsole.conf")).unwrap();
    root
}

#[test]
fn it_holds_what_is_on_the_list_and_no_secret() {
    let root = host();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let path = support::write(root.path(), "rack4/../x", now, &Said).unwrap();
    assert_eq!(
        path,
        root.path().join("var/lib/xenolith/support/xenolith-support-rack4____x-1790000000.tar.gz")
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let files = unpacked(&path);
    insta::assert_snapshot!("names", files.keys().map(|name| format!("{name}\n")).collect::<String>());
    insta::assert_snapshot!("contents", files["CONTENTS.txt"]);
    for (name, text) in &files {
        for secret in GIVEN_AWAY {
            assert!(!text.contains(secret), "{secret} stands in {name}:\n{text}");
        }
    }
    let journal = &files["journal.txt"];
    assert_eq!(journal, "a line of the journal\nlogin: password=[left out]\n[left out]\nthe last line\n");
    assert_eq!(files["journal-before.txt"], "not read: no such boot\n");
    assert_eq!(files["files/etc/systemd/network/50-xenolith-management.network"], "[Network]\nDHCP=yes\n");
}

#[test]
fn only_the_newest_are_kept_and_a_half_one_is_replaced() {
    let root = host();
    let folder = root.path().join(support::FOLDER);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("archive.new"), "half of one").unwrap();
    fs::write(folder.join("notes.txt"), "somebody's own").unwrap();
    let times: Vec<u64> = (0..8).collect();
    for time in &times {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(*time);
        let path = support::write(root.path(), "rack4", now, &Said).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.file().set_modified(now).unwrap();
    }
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let kept = [3, 4, 5, 6, 7].map(|time| format!("xenolith-support-rack4-{time}.tar.gz"));
    assert_eq!(names, [&["notes.txt".to_owned()][..], &kept].concat());
}
