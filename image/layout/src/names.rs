//! Names that stand on disks and media, each written down once.

use std::fmt;
use std::str::FromStr;

use crate::slots::Proof;
use crate::version::{BadVersion, Version};

/// The root image on installation media, a path inside the ISO's file system.
pub const MEDIA_ROOT: &str = "/xenolith/root.erofs";
/// The verity tree of [`MEDIA_ROOT`].
pub const MEDIA_VERITY: &str = "/xenolith/root.verity";
/// What the media hold, with hashes.
pub const MEDIA_MANIFEST: &str = "/xenolith/manifest.json";
/// The volume id of our ISO. Not [`SEED_LABEL`]: a medium must not be taken for a seed.
pub const ISO_VOLUME_ID: &str = "XENOLITH_MEDIA";

// The files of a network boot set, all in one folder, which is the folder that the initrd fetches from.

/// The boot file.
pub const NETBOOT_BOOT_FILE: &str = "xenolith.efi";
/// The root image.
pub const NETBOOT_ROOT: &str = "root.erofs";
/// The verity tree of [`NETBOOT_ROOT`].
pub const NETBOOT_VERITY: &str = "root.verity";
/// The loader that an installation puts before the boot file. A network boot does not need it.
pub const NETBOOT_LOADER: &str = "systemd-bootx64.efi";
/// The script for iPXE.
pub const NETBOOT_IPXE: &str = "xenolith.ipxe";
/// What the set holds, with sums.
pub const NETBOOT_MANIFEST: &str = "netboot.json";
/// The folder with what enrols the keys, if the set has it.
pub const NETBOOT_KEYS: &str = "keys";

/// The file system label of a volume with a seed.
pub const SEED_LABEL: &str = "XENOLITH";
/// The file in a volume labelled [`SEED_LABEL`] that configures the first boot.
pub const SEED_FILE: &str = "seed.toml";

/// Where the state is mounted.
pub const STATE_MOUNT: &str = "/run/xenolith/state";
/// What the host was told, by a seed or by its installation. In the state.
pub const STATE_SETTINGS: &str = "settings.toml";
/// What first boot has made of it. In the state.
pub const STATE_FIRSTBOOT: &str = "firstboot.json";
/// A folder for what settings must not hold, which only root may look into. In the state.
pub const STATE_SECRETS: &str = "secrets";
/// The password of whoever vouches for the host when it joins a pool; it goes when that is done. In the state.
pub const STATE_POOL_PASSWORD: &str = "secrets/pool-password";
/// What the host before was known by, where an installation keeps that; it goes when this host is known by it. In the state.
pub const STATE_KEPT_IDENTITY: &str = "secrets/identity.json";
/// The marker that says that this host belongs to somebody. In the state.
pub const STATE_CLAIMED: &str = "claimed";
/// A change of the network that is being tried, in the state.
pub const STATE_TRIAL: &str = "network-trial.json";

/// What blkid calls a member of a software RAID, whose UUID is the array's (util-linux 2.41, libblkid/src/superblocks/linux_raid.c).
pub const RAID_MEMBER: &str = "linux_raid_member";
/// What blkid calls a physical volume of LVM.
pub const LVM_MEMBER: &str = "LVM2_member";

/// The file system label of the ESP (FAT: at most 11 characters, upper case).
pub const ESP_FS_LABEL: &str = "XENO_ESP";
/// The file system label of the state partition (ext4: at most 16 bytes).
pub const STATE_FS_LABEL: &str = "xenolith-state";

/// Where firmware looks for a loader on removable media, and on disks without a boot option. Below the ESP.
pub const ESP_FALLBACK_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// Where the loader is kept under its own name. Below the ESP.
pub const ESP_LOADER: &str = "EFI/systemd/systemd-bootx64.efi";
/// The folder of the boot files, which the loader lists. Below the ESP.
pub const ESP_ENTRIES: &str = "EFI/Linux";
/// The folder where a boot file is written before its commit, which the loader does not list. Below the ESP.
pub const ESP_STAGING: &str = "EFI/xenolith";
/// The folder below which systemd-boot looks for keys to enrol. Below the ESP.
pub const ESP_ENROLMENT: &str = "loader/keys/xenolith";
/// The loader's configuration. Below the ESP.
pub const ESP_LOADER_CONF: &str = "loader/loader.conf";

/// The word of the dom0 command line that names the root hash.
pub const KARG_ROOT_HASH: &str = "xenolith.roothash";
/// The word of the dom0 command line that names the version.
pub const KARG_VERSION: &str = "xenolith.version";
/// Where the initrd says what it booted from.
pub const BOOT_FACTS: &str = "/run/xenolith/boot.json";

/// Where an unattended installation that failed says why, until the next one succeeds or the machine is started anew.
pub const INSTALL_FAILED: &str = "/run/xenolith/install/failed";

/// The GUID of UEFI's own variables (UEFI 2.10 §3.3), as efivarfs writes it.
pub const EFI_GLOBAL_VARIABLE: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// How often a new boot entry may fail before the loader goes back to the other slot.
pub const TRIES: u8 = 3;

/// The name of a boot file in [`ESP_ENTRIES`]; its end counts the boots.
///
/// ```text
///   xenolith_0.2.0+3-0.efi     offered for three boots (+left-done)
///   xenolith_0.2.0+2-1.efi     booted once, not blessed yet
///   xenolith_0.2.0.efi         blessed, no longer counted
/// ```
/// Both numbers are always written, so that a rename by the loader keeps the length and changes one directory
/// sector. Source: Boot Loader Specification, "Boot counting"; checked with systemd-boot 257.13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryName {
    /// The version of the image that the entry boots.
    pub version: Version,
    /// The boot counter; none once the entry is blessed.
    pub tries: Option<Tries>,
}

/// The loader's countdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Boots still to come.
    pub left: u8,
    /// Boots that were begun.
    pub done: u8,
}

/// Why a file name is none of our boot entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntryName {
    /// It does not look like `xenolith_….efi`.
    #[error("{0:?} is not named xenolith_<version>.efi")]
    Foreign(String),
    /// The version in it is none.
    #[error("{name:?} holds no valid version")]
    Version {
        /// The file name.
        name: String,
        /// What is wrong.
        source: BadVersion,
    },
}

impl EntryName {
    const PREFIX: &str = "xenolith_";
    const SUFFIX: &str = ".efi";

    /// A new entry that may be booted `tries` times before it must be blessed.
    pub fn offered(version: Version, tries: u8) -> Self {
        Self { version, tries: Some(Tries { left: tries, done: 0 }) }
    }

    /// An entry that the health gate made good.
    pub fn blessed(version: Version) -> Self {
        Self { version, tries: None }
    }

    /// How far the loader trusts the entry.
    pub fn proof(&self) -> Proof {
        self.tries.map_or(Proof::Good, |tries| Proof::Trial { left: tries.left })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.version)?;
        if let Some(Tries { left, done }) = self.tries {
            write!(f, "+{left}-{done}")?;
        }
        f.write_str(Self::SUFFIX)
    }
}

impl FromStr for EntryName {
    type Err = BadEntryName;

    /// Reads a bare file name. FAT knows no case, so `.EFI` is accepted too.
    fn from_str(name: &str) -> Result<Self, BadEntryName> {
        let foreign = || BadEntryName::Foreign(name.into());
        let split = name.len().checked_sub(Self::SUFFIX.len()).ok_or_else(foreign)?;
        let (stem, suffix) = name.split_at_checked(split).ok_or_else(foreign)?;
        let stem = stem.strip_prefix(Self::PREFIX).ok_or_else(foreign)?;
        if !suffix.eq_ignore_ascii_case(Self::SUFFIX) {
            return Err(foreign());
        }
        let counted = stem.rsplit_once('+').and_then(|(version, tail)| Some((version, counter(tail)?)));
        let (version, tries) = counted.map_or((stem, None), |(version, tries)| (version, Some(tries)));
        let version =
            version.parse().map_err(|source| BadEntryName::Version { name: name.into(), source })?;
        Ok(Self { version, tries })
    }
}

fn counter(tail: &str) -> Option<Tries> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match tail.split_once('-') {
        Some((left, done)) => Some(Tries { left: number(left)?, done: number(done)? }),
        None => Some(Tries { left: number(tail)?, done: 0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_name_keeps_its_length_while_the_loader_counts() {
        let name = |left, done| {
            EntryName { version: version("0.1.0+20260101.1"), tries: Some(Tries { left, done }) }.to_string()
        };
        assert_eq!(name(3, 0), "xenolith_0.1.0+20260101.1+3-0.efi");
        assert!((1..=TRIES).all(|done| name(TRIES - done, done).len() == name(3, 0).len()));
        assert_eq!(EntryName::offered(version("0.1.0"), TRIES).to_string(), "xenolith_0.1.0+3-0.efi");
        assert_eq!(EntryName::blessed(version("0.1.0")).to_string(), "xenolith_0.1.0.efi");
    }

    #[test]
    fn names_as_loader_and_people_write_them_are_read() {
        let read = |name: &str| name.parse::<EntryName>().unwrap();
        assert_eq!(read("xenolith_1.0+2-1.efi").tries, Some(Tries { left: 2, done: 1 }));
        assert_eq!(read("xenolith_1.0+2.EFI"), EntryName::offered(version("1.0"), 2));
        assert_eq!(read("xenolith_1.0+20260101.1.efi"), EntryName::blessed(version("1.0+20260101.1")));
        assert_eq!(read("xenolith_1.0+0-3.efi").proof(), Proof::Trial { left: 0 });
        assert_eq!(read("xenolith_1.0.efi").proof(), Proof::Good);
    }

    #[test]
    fn foreign_names_are_refused() {
        for name in
            ["", ".efi", "linux.efi", "xenolith_1.0", "xenolith_1.0.bin", "xenolith-1.0.efi", "xéno.efi"]
        {
            assert_eq!(name.parse::<EntryName>(), Err(BadEntryName::Foreign(name.into())));
        }
        for name in ["xenolith_.efi", "xenolith_a_b+3-0.efi", "xenolith_1.0+300-0.efi", "xenolith_+3-0.efi"] {
            assert!(matches!(name.parse::<EntryName>(), Err(BadEntryName::Version { .. })), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_name_reads_back(text in "[0-9A-Za-z.~^+-]{1,40}", tries in any::<Option<(u8, u8)>>()) {
            let Ok(version) = text.parse() else { return Ok(()) };
            let name = EntryName { version, tries: tries.map(|(left, done)| Tries { left, done }) };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String, tail in "xenolith_.*\\.efi") {
            let _ = text.parse::<EntryName>();
            let _ = tail.parse::<EntryName>();
        }
    }
}
