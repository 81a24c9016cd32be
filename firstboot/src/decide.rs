//! What each task changes, decided before anything is changed.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_machine::Machine;
use xenolith_settings::{Known, Settings, SshKey};

use crate::change::{Change, Reload};
use crate::network;
use crate::partly::{with_root_password, with_time_servers};
use crate::task::Task;

const HOST_NAME: &str = "etc/hostname";
/// Who may come in over SSH as root; below the root, as the rest.
pub const SSH_KEYS: &str = "etc/ssh/authorized_keys.d/root";
/// Where root's password stands.
pub const SHADOW: &str = "etc/shadow";
const CHRONY: &str = "etc/chrony/chrony.conf";
const LOCAL_TIME: &str = "etc/localtime";
/// The time zones that the image knows.
pub const TIME_ZONES: &str = "usr/share/zoneinfo";

/// What decisions look at besides settings.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name plate and network interfaces.
    pub machine: Machine,
    /// `/`, or the folder of a test.
    pub root: PathBuf,
}

impl Facts {
    /// The facts of the host whose files lie below `root`.
    ///
    /// # Errors
    /// When its network interfaces cannot be read.
    pub fn of(root: &Path) -> anyhow::Result<Self> {
        Ok(Self { machine: Machine::of(&xenolith_probe::outside(root)?), root: root.to_owned() })
    }

    fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(path)).map_err(|error: io::Error| error.to_string())
    }
}

/// What a task comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settings do not ask for it.
    NotAsked,
    /// It is done by these changes, in this order.
    Do(Vec<Change>),
    /// This version cannot do it.
    NotAvailable(&'static str),
    /// It cannot be done on this host.
    Cannot(String),
}

impl From<Result<Vec<Change>, String>> for Decision {
    fn from(changes: Result<Vec<Change>, String>) -> Self {
        changes.map_or_else(Self::Cannot, Self::Do)
    }
}

/// Decides what a task changes.
pub fn decide(task: Task, settings: &Settings, facts: &Facts) -> Decision {
    let host = &settings.host;
    match task {
        Task::HostName => match host.name_on(&Known::of(&facts.machine, &settings.network)) {
            Ok(None) => Decision::NotAsked,
            Ok(Some(name)) => Decision::Do(vec![
                Change::Write { path: HOST_NAME.to_owned(), mode: 0o644, text: format!("{name}\n") },
                Change::SetHostName(name),
            ]),
            Err(why) => Decision::Cannot(format!("host.name {why}")),
        },
        Task::SshKeys if settings.access.ssh_keys.is_empty() => Decision::NotAsked,
        Task::SshKeys => ssh_keys(&settings.access.ssh_keys).into(),
        Task::RootPassword => match &settings.access.root_password_hash {
            None => Decision::NotAsked,
            Some(hash) => root_password(hash, facts).into(),
        },
        Task::Network if !network::is_asked(&settings.network, &host.name_servers) => Decision::NotAsked,
        Task::Network => network::changes(&settings.network, &host.name_servers, &facts.machine.nics).into(),
        Task::TimeZone => {
            host.time_zone.as_ref().map_or(Decision::NotAsked, |zone| time_zone(zone, facts).into())
        }
        Task::TimeServers if host.time_servers.is_empty() => Decision::NotAsked,
        Task::TimeServers => time_servers(&host.time_servers, facts).into(),
        Task::Keyboard if host.keyboard.is_none() => Decision::NotAsked,
        Task::Keyboard => {
            Decision::NotAvailable("the console takes no input yet, and the image has no keyboards")
        }
    }
}

fn ssh_keys(keys: &[String]) -> Result<Vec<Change>, String> {
    let mut text = String::new();
    for (index, key) in keys.iter().enumerate() {
        let key = SshKey::new(key).map_err(|why| format!("access.ssh_keys[{index}]: {why}"))?;
        text.push_str(key.line());
        text.push('\n');
    }
    // sshd is wanted at every boot, and starts once this file has something in it.
    Ok(vec![Change::Write { path: SSH_KEYS.to_owned(), mode: 0o600, text }])
}

fn root_password(hash: &str, facts: &Facts) -> Result<Vec<Change>, String> {
    let text = with_root_password(&facts.read(SHADOW)?, hash).map_err(|why| format!("/{SHADOW}: {why}"))?;
    Ok(vec![Change::Write { path: SHADOW.to_owned(), mode: 0o640, text }])
}

fn time_zone(zone: &str, facts: &Facts) -> Result<Vec<Change>, String> {
    if !facts.root.join(TIME_ZONES).join(zone).is_file() {
        return Err(format!("there is no time zone {zone}"));
    }
    Ok(vec![Change::Link { path: LOCAL_TIME.to_owned(), target: format!("../{TIME_ZONES}/{zone}") }])
}

fn time_servers(servers: &[String], facts: &Facts) -> Result<Vec<Change>, String> {
    let text = with_time_servers(&facts.read(CHRONY)?, servers);
    let write = Change::Write { path: CHRONY.to_owned(), mode: 0o644, text };
    Ok(vec![write, Change::Reload(Reload::Clock)])
}
