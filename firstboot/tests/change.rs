//! What is changed on a host that has its settings, by one or by several at once, and that it does not matter where the power is cut.
#![allow(clippy::unwrap_used, reason = "a test")]

mod small_host;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use fs_err as fs;
use small_host::{Cut, Host, boot, installed, told_to};
use xenolith_firstboot::storage::Step;
use xenolith_firstboot::{
    Amend, AmendError, Join, Journal, Lock, Outcome, Reload, System, Task, amend, is_trial_running, keep,
    settle, try_network,
};
use xenolith_settings::{HostName, Network, Settings};

fn of<'a>(host: &'a Host, tasks: &'a [Task]) -> Amend<'a> {
    Amend { facts: &host.facts, paths: &host.paths, tasks }
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
    amend(&of(&host, &tasks), |now| *now = settings.clone(), &mut Cut::never(), &mut |_| ()).unwrap();
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
    let why =
        amend(&of(&host, &tasks), |now| *now = settings.clone(), &mut Cut::never(), &mut |_| ()).unwrap_err();
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
        let change = |now: &mut Settings| *now = settings.clone();
        let whole =
            amend(&of(&host, &[Task::RootPassword]), change, &mut Cut::after(effects), &mut |_| ()).is_ok();
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
    amend(&of(&host, &[Task::Network]), |now| *now = settings.clone(), &mut Cut::never(), &mut |_| ())
        .unwrap();
    assert!(network_files(&host).is_empty());
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

    fn join(&mut self, socket: &Path, join: &Join) -> io::Result<()> {
        self.1.join(socket, join)
    }
}

#[test]
fn of_changes_at_once_each_is_made_as_a_whole_and_none_is_lost() {
    let host = installed("everything.toml");
    let made = Mutex::new(Vec::new());
    let moved = moved(&host);
    try_network(&moved, &host.facts, &host.paths, &mut Cut::never(), &mut |_| ()).unwrap();
    let start = Barrier::new(3);
    thread::scope(|scope| {
        type Edit = fn(&mut Settings);
        let edits: [(&[Task], Edit); 2] = [
            (&[Task::HostName, Task::SshKeys], |settings| settings.host.name = Some("another".into())),
            (&[Task::TimeZone, Task::RootPassword], |settings| settings.host.time_zone = None),
        ];
        for (tasks, edit) in edits {
            let (host, made, start) = (&host, &made, &start);
            scope.spawn(move || {
                start.wait();
                amend(&of(host, tasks), edit, &mut Listed(made, Cut::never()), &mut |_| ()).unwrap();
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
    let host_settings = told_to(&host).host;
    assert_eq!((host_settings.name.as_deref(), host_settings.time_zone), (Some("another"), None));
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
