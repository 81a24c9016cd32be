//! Which places are asked, and in which order.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Serialize, Serializer};

use crate::hint::{BadHint, Url};

/// A place where answers, or a hint to them, may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The reserved area of the medium.
    Medium,
    /// A file on a volume labelled `XENOLITH`.
    Volume,
    /// A string in the tables of the firmware.
    Smbios,
    /// What QEMU was given for its guest.
    FwCfg,
    /// An option of the DHCP lease.
    Dhcp,
    /// A TXT record in the search domain.
    Dns,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "the medium",
            Self::Volume => "a volume labelled XENOLITH",
            Self::Smbios => "SMBIOS",
            Self::FwCfg => "fw_cfg",
            Self::Dhcp => "DHCP",
            Self::Dns => "DNS",
        })
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The places that `auto` asks. A network is believed only by a machine that was started from it: on any other, whoever answers DHCP
/// first could erase a machine that somebody has started from a stick.
pub fn auto(started_from_network: bool) -> Vec<Place> {
    let mut places = vec![Place::Medium, Place::Volume, Place::Smbios, Place::FwCfg];
    if started_from_network {
        places.extend([Place::Dhcp, Place::Dns]);
    }
    places
}

/// What `--answers` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A file; one that is called `auto` or `medium` is `./auto`.
    File(PathBuf),
    /// A server.
    Server(Url),
    /// The reserved area of the medium.
    Medium,
    /// Whatever [`auto`] says.
    Auto,
}

impl FromStr for Asked {
    type Err = BadHint;

    fn from_str(text: &str) -> Result<Self, BadHint> {
        Ok(match text {
            "auto" => Self::Auto,
            "medium" => Self::Medium,
            url if url.starts_with("http://") || url.starts_with("https://") => {
                Self::Server(Url::parse(url)?)
            }
            file => Self::File(file.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_asked_only_by_a_machine_that_was_started_from_it() {
        assert_eq!(auto(false), [Place::Medium, Place::Volume, Place::Smbios, Place::FwCfg]);
        assert_eq!(auto(true)[..4], auto(false));
        assert_eq!(auto(true)[4..], [Place::Dhcp, Place::Dns]);
    }

    #[test]
    fn words_addresses_and_files_are_told_apart() {
        let read = |text: &str| text.parse::<Asked>();
        assert_eq!(read("auto"), Ok(Asked::Auto));
        assert_eq!(read("medium"), Ok(Asked::Medium));
        assert_eq!(read("./auto"), Ok(Asked::File("./auto".into())));
        assert_eq!(read("answers.toml"), Ok(Asked::File("answers.toml".into())));
        assert!(matches!(read("https://a/b"), Ok(Asked::Server(_))));
        assert_eq!(read("https://"), Err(BadHint::Url), "not a file of that name");
    }
}
