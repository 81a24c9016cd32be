//! What there is to do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that settings may ask for. None needs another one.
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
}

impl Task {
    /// All, in the order in which they are tried: who may come in is known before the network is changed.
    pub const ALL: [Self; 7] = [
        Self::HostName,
        Self::SshKeys,
        Self::RootPassword,
        Self::Network,
        Self::TimeZone,
        Self::TimeServers,
        Self::Keyboard,
    ];

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
    "no task has this name; there are host-name, ssh-keys, root-password, network, time-zone, time-servers, keyboard"
)]
pub struct NoSuchTask;

impl FromStr for Task {
    type Err = NoSuchTask;

    fn from_str(name: &str) -> Result<Self, NoSuchTask> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or(NoSuchTask)
    }
}
