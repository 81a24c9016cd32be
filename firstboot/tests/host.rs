//! A small host in a folder: what settings make of it, and that it does not matter where the power is cut.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use xenolith_firstboot::storage::Step;
use xenolith_firstboot::{
    AmendError, CERTIFICATE, Facts, HOST_KEY, HostKey, IDENTITY, Journal, KeptIdentity, Lock, Outcome, Paths,
    Reload, Run, System, TUNING, Task, ThisHost, TuningFacts, amend, current_settings, host_certificate,
    is_trial_running, keep, not_done, run, settle, try_network,
};
use xenolith_layout::Bytes;
use xenolith_machine::{Capture, Machine, RawNic};
use xenolith_settings::{HostName, Network, Settings};

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../installer/settings/tests/seeds/accept");

/// A host whose every effect may be the last one before the power goes.
struct Host {
    _folder: tempfile::TempDir,
    paths: Paths,
    facts: Facts,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: folder.path().join("root"), state: folder.path().join("state") };
        for (path, text) in [
            ("etc/shadow", "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n"),
            ("etc/chrony/chrony.conf", "pool pool.example iburst\nrtcsync\n"),
            ("usr/share/zoneinfo/Europe/Vienna", "TZif"),
            ("usr/share/keymaps/i386/qwertz/de.kmap.gz", ""),
            ("etc/hostname", "xenolith\n"),
        ] {
            let path = paths.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let nic = RawNic {
            name: "eno1".into(),
            address: "52:54:00:12:34:56".into(),
            carrier: Some(true),
            speed: None,
            driver: Some("igb".into()),
            place: None,
        };
        let machine = Machine::of(&Capture { nics: vec![nic], ..Capture::new() });
        let facts = Facts {
            machine,
            root: paths.root.clone(),
            addresses: vec!["192.0.2.77".parse().unwrap()],
            fresh: "5f0c3b1e-8f0a-4c57-9a0e-3f7d5b1c2a69".parse().unwrap(),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            again: BTreeSet::new(),
            kept: KeptIdentity::default(),
            tuning: None,
            storage: None,
        };
        Self { _folder: folder, paths, facts }
    }

    /// Every file with its text, and every link.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.paths.root.clone(), self.paths.state.clone()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                let name = path.strip_prefix(self.paths.root.parent().unwrap()).unwrap().to_owned();
                if path.is_symlink() {
                    found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
                } else if path.is_dir() {
                    open.push(path);
                } else {
                    let text = fs::read_to_string(&path).unwrap();
                    if path.ends_with("firstboot.lock") {
                        continue;
                    }
                    // Keys are drawn, so no two are the same.
                    let shown = match &*text {
                        key if key.starts_with("-----BEGIN PRIVATE KEY-----") => "a key and its certificate",
                        key if key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") => "an SSH key",
                        _ if path.ends_with(format!("{HOST_KEY}.pub")) => "the public half of an SSH key",
                        text => text,
                    };
                    found.insert(name, shown.to_owned());
                }
            }
        }
        found
    }
}

/// Makes changes, and then none any more.
struct Cut {
    left: usize,
    name: Option<String>,
    reloads: Vec<Reload>,
    links: Vec<String>,
}

impl Cut {
    fn after(left: usize) -> Self {
        Self { left, name: None, reloads: Vec::new(), links: Vec::new() }
    }

    fn never() -> Self {
        Self::after(usize::MAX)
    }

    fn effect(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("the power is gone"))?;
        Ok(())
    }
}

impl System for Cut {
    fn write(&mut self, path: &Path, mode: u32, text: &str) -> io::Result<()> {
        self.effect()?;
        ThisHost.write(path, mode, text)
    }

    fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.effect()?;
        ThisHost.link(path, target)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.effect()?;
        ThisHost.remove(path)
    }

    fn set_host_name(&mut self, name: &HostName) -> io::Result<()> {
        self.effect()?;
        self.name = Some(name.to_string());
        Ok(())
    }

    fn remove_link(&mut self, name: &str) -> io::Result<()> {
        self.effect()?;
        self.links.push(name.to_owned());
        Ok(())
    }

    fn reload(&mut self, what: Reload) -> io::Result<()> {
        self.effect()?;
        self.reloads.push(what);
        Ok(())
    }

    fn storage(&mut self, step: &Step) -> io::Result<()> {
        panic!("no storage is asked for here: {step}")
    }
}

fn settings(name: &str) -> Settings {
    Settings::parse(&fs::read(Path::new(SEEDS).join(name)).unwrap()).unwrap()
}

/// A boot: the journal is what the last one left.
fn boot(host: &Host, settings: &Settings, system: &mut Cut) -> (bool, Vec<String>) {
    let mut journal = Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    let mut told = Vec::new();
    let asked = Run { settings, facts: &host.facts, paths: &host.paths, tasks: &Task::ALL };
    let whole = run(&asked, &mut journal, system, &mut |line| told.push(line.to_owned()));
    (whole.is_ok(), told)
}

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

/// What the host was told, as it stands in its state.
fn told_to(host: &Host) -> Settings {
    current_settings(&host.paths.state).unwrap()
}

/// A host that was installed by these settings.
fn installed(name: &str) -> Host {
    let host = Host::new();
    let text = fs::read_to_string(Path::new(SEEDS).join(name)).unwrap();
    fs::create_dir_all(&host.paths.state).unwrap();
    fs::write(host.paths.state.join("settings.toml"), text).unwrap();
    assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
    host
}

#[test]
fn what_is_changed_later_stays_over_boots_and_retries() {
    let host = installed("everything.toml");
    let zone = host.paths.root.join("usr/share/zoneinfo/Asia/Tokyo");
    fs::create_dir_all(zone.parent().unwrap()).unwrap();
    fs::write(zone, "TZif").unwrap();
    let mut settings = told_to(&host);
    settings.host.time_zone = Some("Asia/Tokyo".into());
    settings.access.root_password_hash = Some("$6$salt$another".into());
    let tasks = [Task::TimeZone, Task::RootPassword];
    let asked = Run { settings: &settings, facts: &host.facts, paths: &host.paths, tasks: &tasks };
    amend(&asked, &mut Cut::never(), &mut |_| ()).unwrap();
    let changed = host.files();
    assert!(changed[Path::new("root/etc/shadow")].contains("root:$6$salt$another:"));
    assert_eq!(changed[Path::new("root/etc/localtime")], "-> ../usr/share/zoneinfo/Asia/Tokyo");
    assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
    assert_eq!(host.files(), changed, "a boot changes nothing");
    // As `xenolith-firstboot retry` does.
    fs::remove_file(host.paths.state.join("firstboot.json")).unwrap();
    assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
    let retried = host.files();
    for file in ["root/etc/shadow", "root/etc/localtime", "state/settings.toml"] {
        assert_eq!(retried[Path::new(file)], changed[Path::new(file)], "{file}");
    }
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let host = installed("everything.toml");
    let before = host.files();
    let mut settings = told_to(&host);
    settings.host.time_zone = Some("Mars/Crater".into());
    settings.access.root_password_hash = Some("$6$salt$another".into());
    let tasks = [Task::RootPassword, Task::TimeZone];
    let asked = Run { settings: &settings, facts: &host.facts, paths: &host.paths, tasks: &tasks };
    let why = amend(&asked, &mut Cut::never(), &mut |_| ()).unwrap_err();
    assert!(matches!(why, AmendError::Refused { task: Task::TimeZone, .. }), "{why}");
    assert_eq!(host.files(), before);
}

#[test]
fn wherever_a_change_is_cut_the_next_boot_has_the_old_or_the_new() {
    let new = |host: &Host| {
        let mut settings = told_to(host);
        settings.access.root_password_hash = Some("$6$salt$another".into());
        settings
    };
    for effects in 0.. {
        let host = installed("everything.toml");
        let (old, settings) = (told_to(&host), new(&host));
        let asked =
            Run { settings: &settings, facts: &host.facts, paths: &host.paths, tasks: &[Task::RootPassword] };
        let whole = amend(&asked, &mut Cut::after(effects), &mut |_| ()).is_ok();
        let now = told_to(&host);
        assert!(now == old || now == settings, "cut after {effects} effects");
        assert!(boot(&host, &now, &mut Cut::never()).0);
        let hash = now.access.root_password_hash.unwrap();
        let shadow = fs::read_to_string(host.paths.root.join("etc/shadow")).unwrap();
        assert!(shadow.contains(&hash), "cut after {effects} effects: {shadow}");
        if whole {
            return;
        }
    }
}

/// Settings with another address, in a VLAN.
fn moved(host: &Host) -> Settings {
    let mut settings = told_to(host);
    settings.network = Settings::parse(
        b"version = 1\n[network]\ninterface = \"eno1\"\nvlan = 7\nipv4 = { address = \"198.51.100.9/24\" }",
    )
    .unwrap()
    .network;
    settings
}

fn network_files(host: &Host) -> BTreeMap<PathBuf, String> {
    host.files().into_iter().filter(|(path, _)| path.starts_with("root/etc/systemd")).collect()
}

#[test]
fn a_network_that_is_tried_is_taken_back_and_one_that_is_kept_stays() {
    for before in ["name-only.toml", "everything.toml"] {
        let host = installed(before);
        let (files, settings) = (network_files(&host), moved(&host));
        let mut system = Cut::never();
        try_network(&settings, &host.facts, &host.paths, &mut system, &mut |_| ()).unwrap();
        assert_ne!(network_files(&host), files);
        assert!(is_trial_running(&host.paths).unwrap());
        let again = try_network(&settings, &host.facts, &host.paths, &mut system, &mut |_| ());
        assert!(matches!(again, Err(AmendError::Trial)));
        settle(&host.paths, &mut system, &mut |_| ()).unwrap();
        assert_eq!(network_files(&host), files, "{before}");
        assert!(
            system.links.contains(&"vlan7".to_owned()),
            "the VLAN that was tried goes: {:?}",
            system.links
        );
        assert_eq!(system.reloads.last(), Some(&Reload::Network));

        try_network(&settings, &host.facts, &host.paths, &mut system, &mut |_| ()).unwrap();
        keep(&host.paths, &mut system).unwrap();
        let kept = network_files(&host);
        settle(&host.paths, &mut system, &mut |_| ()).unwrap();
        assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
        assert_eq!(network_files(&host), kept);
        assert_eq!(told_to(&host).network, settings.network);
        assert!(keep(&host.paths, &mut system).is_err(), "there is nothing to keep any more");
    }
}

#[test]
fn wherever_a_trial_is_cut_the_next_boot_has_the_network_from_before_or_the_one_that_was_kept() {
    for effects in 0.. {
        let host = installed("everything.toml");
        let (before, settings) = (network_files(&host), moved(&host));
        let mut cut = Cut::after(effects);
        let whole = try_network(&settings, &host.facts, &host.paths, &mut cut, &mut |_| ()).is_ok()
            && keep(&host.paths, &mut cut).is_ok();
        // A boot.
        settle(&host.paths, &mut Cut::never(), &mut |_| ()).unwrap();
        let now = told_to(&host);
        assert!(boot(&host, &now, &mut Cut::never()).0);
        assert!(!is_trial_running(&host.paths).unwrap());
        if now.network == settings.network {
            assert_ne!(network_files(&host), before, "cut after {effects} effects");
        } else {
            assert_eq!(network_files(&host), before, "cut after {effects} effects");
        }
        if whole {
            assert_eq!(now.network, settings.network);
            return;
        }
    }
}

#[test]
fn a_network_that_is_not_asked_for_any_more_goes_back_to_the_images_own() {
    let host = installed("everything.toml");
    assert!(!network_files(&host).is_empty());
    let mut settings = told_to(&host);
    settings.network = Network::default();
    settings.host.name_servers.clear();
    let asked = Run { settings: &settings, facts: &host.facts, paths: &host.paths, tasks: &[Task::Network] };
    amend(&asked, &mut Cut::never(), &mut |_| ()).unwrap();
    assert!(network_files(&host).is_empty());
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

/// Writes down who makes a change.
struct Listed<'a>(&'a Mutex<Vec<ThreadId>>, Cut);

impl Listed<'_> {
    fn listed(&self) {
        self.0.lock().unwrap().push(thread::current().id());
        // Whoever else is there gets a turn.
        thread::yield_now();
    }
}

impl System for Listed<'_> {
    fn write(&mut self, path: &Path, mode: u32, text: &str) -> io::Result<()> {
        self.listed();
        self.1.write(path, mode, text)
    }

    fn link(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.listed();
        self.1.link(path, target)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.listed();
        self.1.remove(path)
    }

    fn set_host_name(&mut self, name: &HostName) -> io::Result<()> {
        self.listed();
        self.1.set_host_name(name)
    }

    fn remove_link(&mut self, name: &str) -> io::Result<()> {
        self.listed();
        self.1.remove_link(name)
    }

    fn reload(&mut self, what: Reload) -> io::Result<()> {
        self.listed();
        self.1.reload(what)
    }

    fn storage(&mut self, step: &Step) -> io::Result<()> {
        self.1.storage(step)
    }
}

#[test]
fn of_changes_at_once_each_is_made_as_a_whole_and_none_is_lost() {
    let host = installed("everything.toml");
    let made = Mutex::new(Vec::new());
    let (settings, moved) = (told_to(&host), moved(&host));
    try_network(&moved, &host.facts, &host.paths, &mut Cut::never(), &mut |_| ()).unwrap();
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for tasks in [&[Task::HostName, Task::SshKeys], &[Task::TimeZone, Task::RootPassword]] {
            let (host, made, settings, start) = (&host, &made, &settings, &start);
            scope.spawn(move || {
                let asked = Run { settings, facts: &host.facts, paths: &host.paths, tasks };
                start.wait();
                amend(&asked, &mut Listed(made, Cut::never()), &mut |_| ()).unwrap();
            });
        }
        start.wait();
        settle(&host.paths, &mut Listed(&made, Cut::never()), &mut |_| ()).unwrap();
    });
    let mut turns = made.into_inner().unwrap();
    turns.dedup();
    assert_eq!(turns.len(), 3, "one after the other: {turns:?}");
    let journal = Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    assert!(journal.tasks.values().all(|entry| entry.outcome == Outcome::Done), "{}", journal.text());
    assert!(journal.is_done(Task::HostName) && journal.is_done(Task::RootPassword), "{}", journal.text());
}

#[test]
fn a_network_that_is_tried_is_taken_back_although_somebody_else_is_at_it_and_nothing_else_is_changed() {
    let host = installed("everything.toml");
    let (files, settings) = (network_files(&host), moved(&host));
    try_network(&settings, &host.facts, &host.paths, &mut Cut::never(), &mut |_| ()).unwrap();
    let lock = Lock::take(&host.paths.state, Duration::from_secs(60), &mut |_| ()).unwrap();
    let mut told = Vec::new();
    thread::scope(|scope| {
        let kept = scope.spawn(|| keep(&host.paths, &mut Cut::never()));
        settle(&host.paths, &mut Cut::never(), &mut |line| told.push(line.to_owned())).unwrap();
        let kept = kept.join().unwrap();
        assert!(matches!(kept, Err(AmendError::Lock(_))), "{kept:?}");
    });
    assert_eq!(network_files(&host), files);
    assert!(
        told[0].contains("waiting for it, 10 s at most") && told[1].contains("does not wait"),
        "{told:?}"
    );
    drop(lock);
}
