//! A small host in a folder, whose power can be cut.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use xenolith_firstboot::storage::Step;
use xenolith_firstboot::{
    Facts, HOST_KEY, Join, Journal, KeptIdentity, Paths, Reload, Run, System, Task, ThisHost,
    current_settings, run,
};
use xenolith_machine::{Capture, Machine, RawNic};
use xenolith_settings::{HostName, Settings};

pub const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../installer/settings/tests/seeds/accept");

/// A host whose every effect may be the last one before the power goes.
pub struct Host {
    _folder: tempfile::TempDir,
    pub paths: Paths,
    pub facts: Facts,
}

impl Host {
    pub fn new() -> Self {
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
            pool: None,
        };
        Self { _folder: folder, paths, facts }
    }

    /// Every file with its text, and every link.
    pub fn files(&self) -> BTreeMap<PathBuf, String> {
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
pub struct Cut {
    left: usize,
    pub name: Option<String>,
    pub reloads: Vec<Reload>,
    pub links: Vec<String>,
}

impl Cut {
    pub fn after(left: usize) -> Self {
        Self { left, name: None, reloads: Vec::new(), links: Vec::new() }
    }

    pub fn never() -> Self {
        Self::after(usize::MAX)
    }

    pub fn effect(&mut self) -> io::Result<()> {
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

    fn join(&mut self, _: &Path, join: &Join) -> io::Result<()> {
        panic!("there is no toolstack here: {join}")
    }
}

pub fn settings(name: &str) -> Settings {
    Settings::parse(&fs::read(Path::new(SEEDS).join(name)).unwrap()).unwrap()
}

/// A boot: the journal is what the last one left.
pub fn boot(host: &Host, settings: &Settings, system: &mut Cut) -> (bool, Vec<String>) {
    let mut journal = Journal::read(&host.paths.state.join("firstboot.json")).unwrap();
    let mut told = Vec::new();
    let asked = Run { settings, facts: &host.facts, paths: &host.paths, tasks: &Task::ALL };
    let whole = run(&asked, &mut journal, system, &mut |line| told.push(line.to_owned()));
    (whole.is_ok(), told)
}

/// What the host was told, as it stands in its state.
pub fn told_to(host: &Host) -> Settings {
    current_settings(&host.paths.state).unwrap()
}

/// A host that was installed by these settings.
pub fn installed(name: &str) -> Host {
    let host = Host::new();
    let text = fs::read_to_string(Path::new(SEEDS).join(name)).unwrap();
    fs::create_dir_all(&host.paths.state).unwrap();
    fs::write(host.paths.state.join("settings.toml"), text).unwrap();
    assert!(boot(&host, &told_to(&host), &mut Cut::never()).0);
    host
}
