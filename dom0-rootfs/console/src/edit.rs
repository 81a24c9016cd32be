//! What somebody changes, as a change of the host's settings: applied to those that hold when it is made, so that two consoles do not
//! undo each other's work.

use xenolith_firstboot::Task;
use xenolith_settings::{Network, Problems, Settings};

use crate::secret::Secret;

/// A change of the host's settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The management network and its name servers. Tried first.
    Network {
        /// The network.
        network: Network,
        /// Servers of names.
        name_servers: Vec<String>,
    },
    /// The host's name, and servers of names.
    Names {
        /// The name.
        name: Option<String>,
        /// Servers of names.
        name_servers: Vec<String>,
    },
    /// Where the clock is set by, and which zone it shows.
    Clock {
        /// Servers of time.
        servers: Vec<String>,
        /// The time zone.
        zone: Option<String>,
    },
    /// The console's keyboard.
    Keyboard(String),
    /// root's password, which whoever carries this out hashes.
    Password(Secret),
    /// One more key for SSH as root.
    SshKey(String),
}

impl Edit {
    /// Makes the change. `hash` is that of the password, `keys` are those that are let in now.
    pub fn apply(&self, settings: &mut Settings, hash: Option<String>, keys: &[String]) {
        let host = &mut settings.host;
        match self {
            Self::Network { network, name_servers } => {
                settings.network = network.clone();
                host.name_servers.clone_from(name_servers);
            }
            Self::Names { name, name_servers } => {
                host.name.clone_from(name);
                host.name_servers.clone_from(name_servers);
            }
            Self::Clock { servers, zone } => {
                host.time_servers.clone_from(servers);
                host.time_zone.clone_from(zone);
            }
            Self::Keyboard(name) => host.keyboard = Some(name.clone()),
            Self::Password(_) => settings.access.root_password_hash = hash,
            Self::SshKey(key) => {
                // Somebody may have let a key in by hand: that one stays.
                let known = &mut settings.access.ssh_keys;
                for key in keys.iter().chain([key]) {
                    if !known.contains(key) {
                        known.push(key.clone());
                    }
                }
            }
        }
    }

    /// What first boot does again after it.
    pub const fn tasks(&self) -> &'static [Task] {
        match self {
            Self::Network { .. } => &[Task::Network],
            Self::Names { .. } => &[Task::HostName, Task::Network],
            Self::Clock { .. } => &[Task::TimeServers, Task::TimeZone],
            Self::Keyboard(_) => &[Task::Keyboard],
            Self::Password(_) => &[Task::RootPassword],
            Self::SshKey(_) => &[Task::SshKeys],
        }
    }

    /// What is wrong with the settings that follow, as far as it can be seen without the machine.
    pub fn problems(&self, settings: &Settings) -> Problems {
        let mut after = settings.clone();
        // A hash is made of every password.
        let hash = settings.access.root_password_hash.clone();
        self.apply(&mut after, hash, &[]);
        let mut problems = Problems::default();
        after.check(&mut problems);
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::parse(
            b"version = 1\n[host]\nname = \"a\"\ntime_servers = [\"192.0.2.1\"]\n[network]\nvlan = 7\n[access]\nroot_password_hash = \"$6$a$b\"\n",
        )
        .unwrap()
    }

    #[test]
    fn each_change_leaves_the_rest_as_it_is() {
        let edits = [
            Edit::Network { network: Network::default(), name_servers: vec!["192.0.2.53".into()] },
            Edit::Names { name: Some("b".into()), name_servers: Vec::new() },
            Edit::Clock { servers: vec!["192.0.2.2".into()], zone: Some("Etc/UTC".into()) },
            Edit::Keyboard("us".into()),
            Edit::Password("a password".into()),
            Edit::SshKey("ssh-ed25519 …".into()),
        ];
        for edit in edits {
            let (before, mut after) = (settings(), settings());
            edit.apply(&mut after, Some("$6$c$d".into()), &[]);
            assert_ne!(after, before, "{edit:?}");
            let ours = |task: Task| edit.tasks().contains(&task);
            assert!(ours(Task::Network) || after.network == before.network, "{edit:?}");
            assert!(ours(Task::HostName) || after.host.name == before.host.name, "{edit:?}");
            assert!(
                ours(Task::TimeServers) || after.host.time_servers == before.host.time_servers,
                "{edit:?}"
            );
            let hash = |settings: &Settings| settings.access.root_password_hash.clone();
            assert!(ours(Task::RootPassword) || hash(&after) == hash(&before), "{edit:?}");
            assert!(ours(Task::SshKeys) || after.access.ssh_keys.is_empty(), "{edit:?}");
        }
    }

    #[test]
    fn a_key_that_was_let_in_by_hand_stays() {
        let mut settings = settings();
        settings.access.ssh_keys = vec!["one".into()];
        let edit = Edit::SshKey("three".into());
        edit.apply(&mut settings, None, &["one".into(), "two".into()]);
        edit.apply(&mut settings, None, &["one".into(), "two".into()]);
        assert_eq!(settings.access.ssh_keys, ["one", "two", "three"]);
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = format!("{:?}", Edit::Password("correct horse".into()));
        assert!(!shown.contains("horse"), "{shown}");
    }
}
