//! What there is to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing to do. Settings ask for most of them, each host needs the others. None needs another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The host's name.
    HostName,
    /// Who may come in over SSH.
    SshKeys,
    /// root's password.
    RootPassword,
    /// The management network.
    Network,
    /// The time zone.
    TimeZone,
    /// Where the clock is set by.
    TimeServers,
    /// The console's keyboard.
    Keyboard,
    /// What the host is known by, whatever it is called.
    Identity,
    /// The key that it proves itself with over SSH.
    HostKeys,
    /// What it proves itself with over TLS.
    TlsCertificate,
    /// How the kernel treats this machine's disks and memory.
    Tuning,
    /// Local storage for guests' disks.
    Storage,
    /// That it joins a pool.
    PoolJoin,
}

impl Task {
    /// All, in the order in which they are tried: who may come in is known before the network is changed, and what
    /// may take long comes late.
    pub const ALL: [Self; 13] = [
        Self::HostName,
        Self::SshKeys,
        Self::RootPassword,
        Self::Network,
        Self::TimeZone,
        Self::TimeServers,
        Self::Keyboard,
        Self::Identity,
        Self::HostKeys,
        Self::TlsCertificate,
        Self::Tuning,
        Self::Storage,
        Self::PoolJoin,
    ];

    /// Whether it waits for devices or other hosts, and so is done apart from the others: nobody who wants to come in should wait for it.
    pub const fn is_late(self) -> bool {
        matches!(self, Self::Tuning | Self::Storage | Self::PoolJoin)
    }

    /// Its name, as commands take it and the journal has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostName => "host-name",
            Self::SshKeys => "ssh-keys",
            Self::RootPassword => "root-password",
            Self::Network => "network",
            Self::TimeZone => "time-zone",
            Self::TimeServers => "time-servers",
            Self::Keyboard => "keyboard",
            Self::Identity => "identity",
            Self::HostKeys => "host-keys",
            Self::TlsCertificate => "tls-certificate",
            Self::Tuning => "tuning",
            Self::Storage => "storage",
            Self::PoolJoin => "pool-join",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No task has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no task has this name; there are host-name, ssh-keys, root-password, network, time-zone, time-servers, keyboard, identity, host-keys, tls-certificate, tuning, storage, pool-join"
)]
pub struct NoSuchTask;

impl FromStr for Task {
    type Err = NoSuchTask;

    fn from_str(name: &str) -> Result<Self, NoSuchTask> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or(NoSuchTask)
    }
}
