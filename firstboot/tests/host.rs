//! What settings make of a host, and that it does not matter where the power is cut.
#![allow(clippy::unwrap_used, reason = "a test")]

mod small_host;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use small_host::{Cut, Host, SEEDS, boot, installed, settings, told_to};
use xenolith_firstboot::{
    CERTIFICATE, HOST_KEY, HostKey, IDENTITY, Journal, KeptIdentity, Outcome, Reload, TUNING, Task,
    TuningFacts, host_certificate, not_done,
};
use xenolith_layout::Bytes;

#[test]
fn settings_make_these_files() {
    for entry in fs::read_dir(SEEDS).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let host = Host::new();
        let before = host.files();
        let (whole, told) = boot(&host, &settings(&name), &mut Cut::never());
        assert!(whole, "{told:?}");
        let changed = host.files().into_iter().filter(|(path, text)| before.get(path) != Some(text));
        let text: String =
            changed.map(|(path, text)| format!("== {}\n{}\n", path.display(), text.trim_end())).collect();
        insta::assert_snapshot!(name.trim_end_matches(".toml"), format!("{}\n\n{text}", told.join("\n")));
    }
}

#[test]
fn wherever_the_power_is_cut_the_next_boot_finishes() {
    let settings = settings("everything.toml");
    let whole = Host::new();
    assert!(boot(&whole, &settings, &mut Cut::never()).0);
    let expected = whole.files();
    for effects in 0.. {
        let host = Host::new();
        let mut cut = Cut::after(effects);
        let finished = boot(&host, &settings, &mut cut).0;
        let claimed = host.paths.state.join("claimed").exists();
        assert_eq!(finished, claimed, "the host is claimed exactly when a run has come to its end");
        let mut next = Cut::never();
        assert!(boot(&host, &settings, &mut next).0);
        let mut files = host.files();
        // How often something was tried is all that may differ.
        let tries =
            |files: &mut BTreeMap<PathBuf, String>| files.remove(Path::new("state/firstboot.json")).unwrap();
        let (journal, mut expected) = (tries(&mut files), expected.clone());
        tries(&mut expected);
        assert_eq!(files, expected, "cut after {effects} effects");
        assert!(!journal.contains("failed"), "{journal}");
        if finished {
            assert!(effects > 20, "there is more to cut than that: {effects}");
            return;
        }
    }
}

#[test]
fn what_was_done_is_not_done_again_and_what_failed_is() {
    let host = Host::new();
    let mut settings = settings("everything.toml");
    settings.host.time_zone = Some("Mars/Crater".into());
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    let name = host.paths.root.join("etc/hostname");
    fs::write(&name, "changed by somebody\n").unwrap();
    let zone = host.paths.root.join("usr/share/zoneinfo/Mars/Crater");
    fs::create_dir_all(zone.parent().unwrap()).unwrap();
    fs::write(zone, "TZif").unwrap();
    let mut next = Cut::never();
    let (_, told) = boot(&host, &settings, &mut next);
    assert_eq!(told, ["  /etc/localtime -> ../usr/share/zoneinfo/Mars/Crater", "time-zone: done"]);
    assert_eq!(fs::read_to_string(name).unwrap(), "changed by somebody\n");
    let journal = Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    assert_eq!(journal.tasks[&Task::TimeZone].tries, 2);
    assert!(journal.tasks.values().all(|entry| entry.outcome == Outcome::Done), "{}", journal.text());
}

#[test]
fn the_password_for_a_pool_waits_until_the_host_has_joined_and_goes_then() {
    let host = Host::new();
    let secret = host.paths.state.join("secrets/pool-password");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::write(&secret, "hunter2").unwrap();
    let settings = settings("pool-with-password.toml");
    let (whole, told) = boot(&host, &settings, &mut Cut::never());
    assert!(whole && secret.exists(), "it is needed at the next boot");
    let journal = fs::read_to_string(host.paths.state.join("firstboot.json")).unwrap();
    assert!(told.iter().any(|line| line.starts_with("pool-join: not available")), "{told:?}");
    assert!(!journal.contains("hunter2") && !told.join("").contains("hunter2"));
    // As a version with a toolstack would leave it.
    let joined = journal.replace("not-available", "done");
    assert_ne!(joined, journal);
    fs::write(host.paths.state.join("firstboot.json"), joined).unwrap();
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    assert!(!secret.exists());
    // Nor does it stay where no settings ask for it.
    fs::write(&secret, "hunter2").unwrap();
    assert!(boot(&host, &self::settings("name-only.toml"), &mut Cut::never()).0);
    assert!(!secret.exists());
}

#[test]
fn what_the_host_before_was_known_by_is_what_this_one_is_known_by_wherever_the_power_is_cut() {
    let certificate = {
        let before = Host::new();
        assert!(boot(&before, &settings("name-only.toml"), &mut Cut::never()).0);
        fs::read_to_string(before.paths.root.join(CERTIFICATE)).unwrap()
    };
    let uuid = "0c7b4a39-5c1d-4f7e-8d55-0a1b2c3d4e5f";
    let kept = KeptIdentity {
        host_uuid: Some(uuid.parse().unwrap()),
        ssh_key: Some("a private key\n".into()),
        ssh_public: Some("a public key\n".into()),
        certificate: Some(certificate.clone()),
    };
    for effects in 0.. {
        let mut host = Host::new();
        host.facts.kept = kept.clone();
        let secret = host.paths.state.join("secrets/identity.json");
        fs::create_dir_all(secret.parent().unwrap()).unwrap();
        fs::write(&secret, serde_json::to_string(&kept).unwrap()).unwrap();
        let finished = boot(&host, &settings("name-only.toml"), &mut Cut::after(effects)).0;
        assert!(boot(&host, &settings("name-only.toml"), &mut Cut::never()).0);
        let read = |path: &str| fs::read_to_string(host.paths.root.join(path)).unwrap();
        assert_eq!(read(IDENTITY).trim(), uuid, "cut after {effects} effects");
        assert_eq!((read(HOST_KEY).as_str(), read(CERTIFICATE)), ("a private key\n", certificate.clone()));
        assert!(!secret.exists(), "private keys lie in one place");
        if finished {
            assert!(effects > 8, "there is more to cut than that: {effects}");
            return;
        }
    }
}

#[test]
fn tuning_is_written_down_once_it_was_looked_at_and_is_told_to_the_kernel() {
    let mut host = Host::new();
    let settings = settings("name-only.toml");
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    assert!(!host.paths.root.join(TUNING).exists(), "the disks were not looked at yet");
    host.facts.tuning = Some(Ok(TuningFacts { memory: Bytes::gib(4), turns: true }));
    let mut system = Cut::never();
    assert!(boot(&host, &settings, &mut system).0);
    assert_eq!(system.reloads, [Reload::Kernel]);
    let text = || fs::read_to_string(host.paths.root.join(TUNING)).unwrap();
    assert!(text().contains("vm.dirty_bytes = 134217728\n"));
    fs::write(host.paths.root.join(TUNING), "changed by somebody\n").unwrap();
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    assert_eq!(text(), "changed by somebody\n");
}

#[test]
fn one_failure_stops_no_other_task_and_is_named() {
    let host = Host::new();
    // In the way of the folder for keys.
    fs::write(host.paths.root.join("etc/ssh"), "").unwrap();
    let (whole, _) = boot(&host, &settings("everything.toml"), &mut Cut::never());
    assert!(whole);
    let journal = Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    let failed: Vec<Task> = journal.failed().map(|(task, _)| task).collect();
    assert_eq!(failed, [Task::SshKeys, Task::HostKeys]);
    assert!(journal.tasks[&Task::SshKeys].why.as_ref().unwrap().contains("etc/ssh"));
    assert!(journal.is_done(Task::Network) && journal.is_done(Task::TimeServers));
}

#[test]
fn the_host_keeps_its_identity_and_its_certificate_unless_a_new_one_is_wanted() {
    let mut host = Host::new();
    let settings = settings("name-only.toml");
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    let uuid = fs::read_to_string(host.paths.root.join(IDENTITY)).unwrap();
    assert_eq!(uuid.trim(), host.facts.fresh.to_string());
    let first = host_certificate(&host.paths.root).unwrap().unwrap();
    // All that was done is forgotten, and the next boot would draw another UUID.
    fs::remove_file(host.paths.state.join("firstboot.json")).unwrap();
    host.facts.fresh = "0c7b4a39-5c1d-4f7e-8d55-0a1b2c3d4e5f".parse().unwrap();
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    assert_eq!(fs::read_to_string(host.paths.root.join(IDENTITY)).unwrap(), uuid);
    assert_eq!(host_certificate(&host.paths.root).unwrap().unwrap(), first);
    fs::remove_file(host.paths.state.join("firstboot.json")).unwrap();
    host.facts.again = [Task::TlsCertificate, Task::Identity].into();
    assert!(boot(&host, &settings, &mut Cut::never()).0);
    assert_eq!(fs::read_to_string(host.paths.root.join(IDENTITY)).unwrap(), uuid);
    assert_ne!(host_certificate(&host.paths.root).unwrap().unwrap(), first);
}

/// Both halves of the host's key for SSH.
fn host_key(host: &Host) -> (String, String) {
    let read = |path: &str| fs::read_to_string(host.paths.root.join(path)).unwrap();
    (read(HOST_KEY), read(&format!("{HOST_KEY}.pub")))
}

#[test]
fn a_journal_of_a_version_that_knew_no_host_keys_leaves_them_to_do_and_a_key_that_is_there_stays() {
    for is_there in [false, true] {
        let host = installed("everything.toml");
        let (path, first) = (host.paths.state.join("firstboot.json"), host_key(&host));
        let mut journal = Journal::read(&path).unwrap();
        journal.tasks.remove(&Task::HostKeys).unwrap();
        fs::write(&path, journal.text()).unwrap();
        if !is_there {
            fs::remove_file(host.paths.root.join(HOST_KEY)).unwrap();
        }
        let left = not_done(&told_to(&host), &journal, &host.facts);
        assert_eq!(left.contains(&Task::HostKeys), !is_there, "a key that is whole is nothing to do");
        let (whole, told) = boot(&host, &told_to(&host), &mut Cut::never());
        assert!(whole && told.contains(&"host-keys: done".to_owned()), "{told:?}");
        assert_eq!(host_key(&host) == first, is_there);
        assert!(Journal::read(&path).unwrap().is_done(Task::HostKeys));
    }
}

#[test]
fn the_ssh_key_of_the_host_before_is_never_replaced_wherever_the_power_is_cut() {
    let key = HostKey::draw().unwrap();
    let kept = KeptIdentity {
        ssh_key: Some(key.private.clone()),
        ssh_public: Some(key.public.clone()),
        ..KeptIdentity::default()
    };
    for effects in 0.. {
        let mut host = Host::new();
        host.facts.kept = kept.clone();
        let finished = boot(&host, &settings("keys-and-name.toml"), &mut Cut::after(effects)).0;
        assert!(boot(&host, &settings("keys-and-name.toml"), &mut Cut::never()).0);
        assert!(host_key(&host) == (key.private.clone(), key.public.clone()), "cut after {effects} effects");
        if finished {
            return;
        }
    }
}

#[test]
fn a_host_is_ready_when_nothing_that_is_asked_for_is_left() {
    let mut host = installed("everything.toml");
    let journal = |host: &Host| Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    let left = |host: &Host| not_done(&told_to(host), &journal(host), &host.facts);
    assert_eq!(left(&host), [Task::Tuning], "the disks were not looked at yet");
    host.facts.tuning = Some(Ok(TuningFacts { memory: Bytes::gib(4), turns: true }));
    assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
    assert_eq!(left(&host), []);
    let mut failed = told_to(&host);
    failed.host.time_zone = Some("Mars/Crater".into());
    let mut before = journal(&host);
    before.tasks.remove(&Task::TimeZone);
    fs::write(host.paths.state.join("firstboot.json"), before.text()).unwrap();
    assert!(boot(&host, &failed, &mut Cut::never()).0);
    assert_eq!(not_done(&failed, &journal(&host), &host.facts), [Task::TimeZone]);
}
