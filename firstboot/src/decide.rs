//! What each task changes, decided before anything is changed.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use uuid::Uuid;
use xenolith_layout::names::STATE_KEPT_IDENTITY;
use xenolith_machine::Machine;
use xenolith_probe::short_file;
use xenolith_settings::{HostName, Known, Settings, SshKey, V4, V6};

use crate::certificate::{CERTIFICATE, CertificateNames, fresh_uuid, host_certificate};
use crate::change::{Change, Reload};
use crate::former::KeptIdentity;
use crate::partly::{with_root_password, with_time_servers};
use crate::pool::{self, PoolFacts};
use crate::run::Paths;
use crate::storage::{self, Programs, StorageFacts};
use crate::task::Task;
use crate::tuning::{self, TuningFacts};
use crate::zones::TIME_ZONES;
use crate::{host_keys, identity, keyboard, network};

const HOST_NAME: &str = "etc/hostname";
/// Who may come in over SSH as root; below the root, as the rest.
pub const SSH_KEYS: &str = "etc/ssh/authorized_keys.d/root";
/// Where root's password stands.
pub const SHADOW: &str = "etc/shadow";
const CHRONY: &str = "etc/chrony/chrony.conf";
const LOCAL_TIME: &str = "etc/localtime";

/// Longer is no identity of a host, in bytes.
const MAX_KEPT: usize = 256 << 10;

/// What decisions look at besides settings.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name plate and network interfaces.
    pub machine: Machine,
    /// `/`, or the folder of a test.
    pub root: PathBuf,
    /// Addresses that the host can be reached by at the moment.
    pub addresses: Vec<IpAddr>,
    /// A UUID that nothing else has.
    pub fresh: Uuid,
    /// What time it is.
    pub now: SystemTime,
    /// Tasks that somebody wants done again.
    pub again: BTreeSet<Task>,
    /// What the host before was known by, if that is kept.
    pub kept: KeptIdentity,
    /// What tuning goes by, if it was looked at: that waits for disks, too.
    pub tuning: Option<Result<TuningFacts, String>>,
    /// What is there of local storage, if it was looked at: that waits for disks, and is not done for nothing.
    pub storage: Option<Result<StorageFacts, String>>,
    /// What joining a pool goes by, if it was looked at: that waits for the network.
    pub pool: Option<PoolFacts>,
}

impl Facts {
    /// The facts of the host whose files lie below `root`.
    ///
    /// # Errors
    /// When its network interfaces cannot be read.
    pub fn of(root: &Path) -> anyhow::Result<Self> {
        Ok(Self::on(Machine::of(&xenolith_probe::outside(root)?), root))
    }

    /// The facts of this machine, which was looked at before.
    pub fn on(machine: Machine, root: &Path) -> Self {
        Self {
            machine,
            root: root.to_owned(),
            addresses: addresses(),
            fresh: fresh_uuid(),
            now: SystemTime::now(),
            again: BTreeSet::new(),
            kept: kept(root),
            tuning: None,
            storage: None,
            pool: None,
        }
    }

    /// Looks at the partitions that settings name for local storage, if they name some. Waits for them.
    pub fn look_at_storage(&mut self, settings: &Settings, programs: &dyn Programs) {
        let asked = settings.storage.as_ref();
        self.storage = asked.map(|storage| StorageFacts::look(storage, &self.root, programs));
    }

    /// Looks at memory and disks. Waits for disks that the kernel knows of and udev has not seen yet.
    pub fn look_at_disks(&mut self, programs: &dyn Programs) {
        storage::settle(programs);
        self.tuning = Some(TuningFacts::look(&self.root));
    }

    fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(path)).map_err(|error: io::Error| error.to_string())
    }
}

/// What an installation has left of the host before. What is no such file is as none: the host then gets what each new one gets.
pub(crate) fn kept(root: &Path) -> KeptIdentity {
    let text = short_file(&Paths::of(root).state.join(STATE_KEPT_IDENTITY), MAX_KEPT);
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Addresses of this host that others can use.
fn addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |address: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(v4.ip().into()),
            (None, Some(v6)) if !v6.ip().is_unicast_link_local() => Some(v6.ip().into()),
            (None, _) => None,
        }
    };
    all.filter_map(|one| ip(one.address?)).filter(|ip| !ip.is_loopback()).collect()
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
        Task::Network => network_task(settings, facts),
        Task::TimeZone => {
            host.time_zone.as_ref().map_or(Decision::NotAsked, |zone| time_zone(zone, facts).into())
        }
        Task::TimeServers if host.time_servers.is_empty() => Decision::NotAsked,
        Task::TimeServers => time_servers(&host.time_servers, facts).into(),
        Task::Keyboard => {
            let changes = |keyboard: &String| keyboard::changes(keyboard, &facts.root).into();
            host.keyboard.as_ref().map_or(Decision::NotAsked, changes)
        }
        Task::Identity => identity::changes(&facts.root, facts.fresh, &facts.kept).into(),
        // Without somebody who may come in there is no sshd.
        Task::HostKeys if settings.access.ssh_keys.is_empty() && !is_somebody_let_in(facts) => {
            Decision::NotAsked
        }
        Task::HostKeys => host_keys::changes(&facts.root, &facts.kept).into(),
        Task::TlsCertificate => certificate(settings, facts).into(),
        // Before it was looked at there is nothing to decide: an installation does not look for the host that will be.
        Task::Tuning => match &facts.tuning {
            None => Decision::NotAsked,
            Some(Err(why)) => Decision::Cannot(why.clone()),
            Some(Ok(found)) => Decision::Do(tuning::changes(found)),
        },
        Task::Storage => match (&settings.storage, &facts.storage) {
            (None, _) => Decision::NotAsked,
            (Some(_), None) => Decision::Cannot("its partitions were not looked at".to_owned()),
            (Some(_), Some(Err(why))) => Decision::Cannot(why.clone()),
            (Some(storage), Some(Ok(found))) => storage::changes(storage, found).into(),
        },
        Task::PoolJoin => {
            settings.pool.as_ref().map_or(Decision::NotAsked, |pool| pool::decide(pool, facts.pool.as_ref()))
        }
    }
}

/// What was set up before and is not asked for any more goes back to what the image does by itself.
fn network_task(settings: &Settings, facts: &Facts) -> Decision {
    let (asked, servers) = (&settings.network, &settings.host.name_servers);
    let current = match network::current(&facts.root) {
        Ok(current) => current,
        Err(why) => return Decision::Cannot(why),
    };
    if network::is_asked(asked, servers) {
        let changes = network::changes(asked, servers, &facts.machine.nics);
        return changes.map(|changes| network::over(&current, changes)).into();
    }
    if current.iter().all(|(_, text)| text.is_none()) {
        return Decision::NotAsked;
    }
    Decision::Do(network::over(&current, network::reset()))
}

/// A certificate for the host's name and the addresses that are known, unless there is one and nobody wants another.
fn certificate(settings: &Settings, facts: &Facts) -> Result<Vec<Change>, String> {
    let there = host_certificate(&facts.root);
    if !facts.again.contains(&Task::TlsCertificate) {
        match there {
            Ok(None) => {
                if let Some(text) = facts.kept.certificate.clone() {
                    return Ok(vec![Change::Write { path: CERTIFICATE.to_owned(), mode: 0o600, text }]);
                }
            }
            Ok(Some(_)) => return Ok(Vec::new()),
            Err(error) => {
                return Err(format!("{error}; for a new one: `xenolith-firstboot retry tls-certificate`"));
            }
        }
    }
    let asked = settings.host.name_on(&Known::of(&facts.machine, &settings.network)).ok().flatten();
    let written = || HostName::new(facts.read(HOST_NAME).ok()?.trim().to_owned()).ok();
    let host = asked.or_else(written).ok_or_else(|| format!("/{HOST_NAME} holds no name for it"))?;
    let v4 = match &settings.network.ipv4 {
        V4::Static(fixed) => fixed.parsed().map(|(address, _)| IpAddr::from(address)),
        V4::By(_) => None,
    };
    let v6 = match &settings.network.ipv6 {
        V6::Static(fixed) => fixed.parsed().map(|(address, _)| IpAddr::from(address)),
        V6::By(_) => None,
    };
    let mut addresses: Vec<IpAddr> = facts.addresses.iter().copied().chain(v4).chain(v6).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(vec![Change::Certificate(CertificateNames { host, addresses, made: facts.now })])
}

/// Whether there is a key already, of whoever has put it there: that is what sshd's unit goes by, too.
fn is_somebody_let_in(facts: &Facts) -> bool {
    facts.read(SSH_KEYS).is_ok_and(|keys| !keys.is_empty())
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
