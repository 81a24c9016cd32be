//! `/run/xenolith/boot.json` as the initrd writes it (`dom0-rootfs/init`, whose golden files are tested here).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

use xenolith_layout::{RootHash, Slot, Version, seal::StateKey};

/// What the root was found on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// A slot on a disk: an installed host.
    Disk,
    /// Files on installation media.
    Iso,
    /// A medium that firmware left in RAM.
    Memory,
    /// Files fetched over the network.
    Network,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Iso => "iso",
            Self::Memory => "memory",
            Self::Network => "network",
        })
    }
}

/// The facts of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the initrd's documentation says what each is")]
pub struct BootFacts {
    pub medium: Medium,
    pub slot: Option<Slot>,
    pub disk: Option<PathBuf>,
    pub data_device: PathBuf,
    pub hash_device: PathBuf,
    pub root_hash: RootHash,
    pub version: Version,
    pub state: String,
    pub state_key: Option<StateKey>,
    pub first_boot: bool,
    pub entry: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_initrd_writes_can_be_read() {
        let disk: BootFacts =
            serde_json::from_str(include_str!("../../init/tests/golden/boot-disk.json")).unwrap();
        assert_eq!((disk.medium, disk.slot, disk.first_boot), (Medium::Disk, Some(Slot::A), true));
        let network: BootFacts =
            serde_json::from_str(include_str!("../../init/tests/golden/boot-network.json")).unwrap();
        assert_eq!((network.medium, network.slot, network.entry), (Medium::Network, None, None));
    }
}
