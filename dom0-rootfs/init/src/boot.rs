//! `/run/xenolith/boot.json`: what was booted from where, for everything that comes later.

use std::path::PathBuf;

use serde::Serialize;
use xenolith_layout::{RootHash, Slot, Version, seal::StateKey};

/// What the root was found on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// A slot on a disk: an installed host. The only one that keeps state.
    Disk,
    /// Files on an optical medium or on a disk that carries the ISO.
    Iso,
    /// A medium that firmware left in RAM.
    Memory,
    /// Files fetched over HTTP.
    Network,
}

/// The facts of one boot. The field names are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootFacts {
    /// What the root was found on.
    pub medium: Medium,
    /// The slot, if the root is in one.
    pub slot: Option<Slot>,
    /// The disk that the root is on, unless it came over the network.
    pub disk: Option<PathBuf>,
    /// The block device with the root image.
    pub data_device: PathBuf,
    /// The block device with its verity tree.
    pub hash_device: PathBuf,
    /// The root hash that was asked for, and that verity holds the root to.
    pub root_hash: RootHash,
    /// The version on the command line.
    pub version: Version,
    /// The device with the state, `tmpfs`, or `tmpfs (damaged: …)` or `tmpfs (locked: …)` if a disk's state cannot be used.
    pub state: String,
    /// What an encrypted state was opened with.
    pub state_key: Option<StateKey>,
    /// Nothing has claimed this state yet: the seed may be honoured. Never true for a state that is damaged.
    pub first_boot: bool,
    /// The boot entry that the loader started, if it said so.
    pub entry: Option<String>,
    /// For a root that came over the network: the URL of the folder that it came from. Said by whoever answered first.
    pub boot_url: Option<String>,
    /// Where answers for an installation are, in the words of the DHCP server (option 224). Said by whoever answered first.
    pub answers: Option<String>,
}

impl BootFacts {
    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("names and texts always serialise");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> BootFacts {
        BootFacts {
            medium: Medium::Disk,
            slot: Some(Slot::A),
            disk: Some("/dev/vda".into()),
            data_device: "/dev/vda3".into(),
            hash_device: "/dev/vda4".into(),
            root_hash: "ab".repeat(32).parse().unwrap(),
            version: "0.1.0+20260101.1".parse().unwrap(),
            state: "/dev/vda7".into(),
            state_key: None,
            first_boot: true,
            entry: Some("xenolith_0.1.0+20260101.1+3-0.efi".into()),
            boot_url: None,
            answers: None,
        }
    }

    #[test]
    fn an_installed_host_reads_like_this() {
        assert_eq!(facts().render(), include_str!("../tests/golden/boot-disk.json"));
    }

    #[test]
    fn an_encrypted_state_says_what_it_was_opened_with() {
        let facts = BootFacts { state_key: Some(StateKey::RecoveryKey), ..facts() };
        assert!(facts.render().contains("\"state_key\": \"recovery-key\""));
    }

    #[test]
    fn a_network_boot_reads_like_this() {
        let facts = BootFacts {
            medium: Medium::Network,
            slot: None,
            disk: None,
            data_device: "/dev/loop0".into(),
            hash_device: "/dev/loop1".into(),
            state: "tmpfs".into(),
            entry: None,
            boot_url: Some("http://10.0.2.2:8000/".into()),
            answers: Some("http://10.0.2.2:8000/answers insecure".into()),
            ..facts()
        };
        assert_eq!(facts.render(), include_str!("../tests/golden/boot-network.json"));
    }
}
