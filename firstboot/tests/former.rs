//! State partitions of hosts that were there before, as folders: what is kept of them, and what is not.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use xenolith_firstboot::{EtcFiles, Former, FormerError};
use xenolith_settings::{Problems, Settings};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";
const TOLD: &str = r#"version = 1
[host]
name = "rack4-{serial}"
time_zone = "Europe/Berlin"
time_servers = ["192.0.2.123"]
[network]
interface = "52:54:00:12:34:56"
vlan = 120
ipv4 = { address = "192.0.2.10/24", gateway = "192.0.2.1" }
[access]
root_password_hash = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC"
[pool]
join = "pool.example"
"#;

/// A state with these files.
fn state(files: &[(&str, &str)]) -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = state.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    state
}

fn shown(state: &Path) -> String {
    let former = Former::read(state).unwrap();
    format!("{}\n\n{}", toml::to_string(&former.settings).unwrap(), former.lines().join("\n"))
}

#[test]
fn what_a_host_was_told_is_kept_without_storage_and_pool() {
    let state = state(&[("settings.toml", TOLD)]);
    insta::assert_snapshot!(shown(state.path()));
}

#[test]
fn what_was_changed_since_counts() {
    let key = format!("# admins\n{KEY}\nfrom=\"192.0.2.0/24\" {KEY}\n");
    let state = state(&[
        ("settings.toml", TOLD),
        ("etc/a/upper/hostname", "renamed\n"),
        ("etc/a/upper/shadow", "daemon:*:1::::::\nroot:$y$j9T$new$new:20000:0:99999:7:::\n"),
        ("etc/a/upper/ssh/authorized_keys.d/root", &key),
        ("etc/a/upper/vconsole.conf", "KEYMAP=de\n"),
        ("etc/a/upper/ssh/ssh_host_ed25519_key", "private\n"),
        ("etc/a/upper/ssh/ssh_host_ed25519_key.pub", "public\n"),
        ("etc/a/upper/xenolith/tls/host.pem", "no certificate\n"),
        ("var/lib/xenolith/host-uuid", "0c7b4a39-5c1d-4f7e-8d55-0a1b2c3d4e5f\n"),
    ]);
    symlink("../usr/share/zoneinfo/Europe/Vienna", state.path().join("etc/a/upper/localtime")).unwrap();
    insta::assert_snapshot!(shown(state.path()));
    let identity = Former::read(state.path()).unwrap().identity;
    assert_eq!(identity.parts(), ["UUID", "SSH host key"]);
    assert!(!format!("{identity:?}").contains("private"));
}

#[test]
fn the_layer_that_ran_last_counts() {
    for (a, b, name) in [(1, 2, "b"), (2, 1, "a")] {
        let state = state(&[
            ("etc/a/upper/hostname", "a\n"),
            ("etc/b/upper/hostname", "b\n"),
            ("etc/a/work/x", ""),
            ("etc/b/work/x", ""),
        ]);
        for (slot, time) in [("a", a), ("b", b)] {
            let work = fs::File::open(state.path().join("etc").join(slot).join("work")).unwrap();
            work.file().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
        }
        assert_eq!(Former::read(state.path()).unwrap().settings.host.name.as_deref(), Some(name));
    }
}

#[test]
fn no_link_leads_out_of_the_disk_and_nothing_is_read_without_end() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("hostname"), "secret\n").unwrap();
    let state = state(&[("settings.toml", TOLD), ("etc/a/upper/x", "")]);
    symlink(outside.path().join("hostname"), state.path().join("etc/a/upper/hostname")).unwrap();
    symlink(outside.path(), state.path().join("var")).unwrap();
    nix::unistd::mkfifo(&state.path().join("etc/a/upper/shadow"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(state.path().join("etc/a/upper/vconsole.conf"), " ".repeat(1 << 20)).unwrap();
    let former = Former::read(state.path()).unwrap();
    assert_eq!(former.settings.host.name.as_deref(), Some("rack4-{serial}"));
    assert_eq!(former.identity.parts(), [""; 0]);
}

#[test]
fn a_state_that_says_nothing_or_is_not_understood_is_refused() {
    assert!(matches!(Former::read(state(&[("x", "")]).path()), Err(FormerError::Nothing)));
    let newer = state(&[("settings.toml", "version = 2\n")]);
    assert!(matches!(Former::read(newer.path()), Err(FormerError::Settings(_))));
    assert!(matches!(Former::read(Path::new("/nowhere")), Err(FormerError::Io(_))));
}

proptest::proptest! {
    /// Whatever lies on the disk, what is kept of it is settings that first boot takes.
    #[test]
    fn anything_that_is_kept_is_taken(
        name in "\\PC{0,20}\n?", hash in "\\PC{0,20}", key in "(ssh-ed25519 )?\\PC{0,20}\n", map in "\\PC{0,40}", zone in "\\PC{0,40}",
    ) {
        let mut former = Former::told(Settings::parse(b"version = 1").unwrap());
        former.change(&EtcFiles {
            host_name: Some(name),
            shadow: Some(format!("root:${hash}:1:")),
            ssh_keys: Some(key),
            keyboard: Some(format!("KEYMAP={map}\n")),
            time_zone: Some(format!("../usr/share/zoneinfo/{zone}")),
        });
        let mut problems = Problems::default();
        former.settings.check(&mut problems);
        proptest::prop_assert_eq!(problems.0, []);
    }
}
