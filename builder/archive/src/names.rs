//! The names that indexes and lock are made of. Each is checked once, where it comes in; after that it can be put
//! into a path, a URL or a TOML string as it is.

use std::fmt;
use std::str::FromStr;

/// One of the two archives that Debian publishes; each has a mirror of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Archive {
    /// The release, its updates and its backports.
    Debian,
    /// Security updates.
    DebianSecurity,
}

/// What a package was built for. The image is amd64; other architectures are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// Files for every machine.
    All,
    /// x86-64.
    Amd64,
}

/// A text that does not name what it should.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadName {
    /// Not a name by Debian policy §5.6.1.
    #[error("{0:?} is no package name (lower-case letters, digits and +-. , at least two of them)")]
    Package(String),
    /// A suite or component with odd characters.
    #[error("{0:?} is no suite name")]
    Suite(String),
    /// A group with odd characters.
    #[error("{0:?} is no group name (lower-case letters, digits and -)")]
    Group(String),
    /// A path that could lead out of the archive or change its URL.
    #[error("{0:?} is no path inside an archive")]
    Path(String),
    /// Not one of our archives.
    #[error("{0:?} is no archive that we know (debian, debian-security)")]
    Archive(String),
    /// Not an architecture that we read.
    #[error("{0:?} is no architecture that we use (all, amd64)")]
    Architecture(String),
}

impl Archive {
    /// Every archive there is.
    pub const ALL: [Self; 2] = [Self::Debian, Self::DebianSecurity];

    /// The name in the lock, and the usual last part of a mirror's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::DebianSecurity => "debian-security",
        }
    }
}

impl Architecture {
    /// The name in indexes and in the lock.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Amd64 => "amd64",
        }
    }
}

impl FromStr for Archive {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let found = Self::ALL.into_iter().find(|archive| archive.as_str() == text);
        found.ok_or_else(|| BadName::Archive(shortened(text)))
    }
}

impl FromStr for Architecture {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "all" => Ok(Self::All),
            "amd64" => Ok(Self::Amd64),
            _ => Err(BadName::Architecture(shortened(text))),
        }
    }
}

/// Whether `text` is a package name (Debian policy §5.6.1; source packages follow the same rule).
pub(crate) fn is_package_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (2..=128).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
}

fn is_suite_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

fn is_group_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=32).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Whether `text` stays inside an archive and means the same as a path and in a URL: relative, no empty, `.` or `..`
/// part, none of the characters that a URL gives a meaning to.
pub(crate) fn is_pool_path(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'~' | b'-' | b':');
    (1..=512).contains(&text.len())
        && text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

/// The start of a text from outside, so that an error message stays readable.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path, $error:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                if $check(text) { Ok(Self(text.into())) } else { Err($error(shortened(text))) }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        printed_as_text!($name);
    };
}

macro_rules! printed_as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

checked_text!(
    /// The name of a binary or source package.
    PackageName,
    is_package_name,
    BadName::Package
);
checked_text!(
    /// The name of a suite, such as `trixie-backports`.
    SuiteName,
    is_suite_name,
    BadName::Suite
);
checked_text!(
    /// The name of a group of packages, such as `dom0`.
    GroupName,
    is_group_name,
    BadName::Group
);
checked_text!(
    /// A path relative to the root of an archive.
    PoolPath,
    is_pool_path,
    BadName::Path
);
printed_as_text!(Archive);
printed_as_text!(Architecture);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_policy_pass_and_others_are_refused() {
        for good in ["gcc", "libstdc++6", "0ad", "lib32gcc-s1", "python3.13"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "GCC", "-gcc", "a b", "gcc/../x", "ü1", "a\n"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_cannot_leave_the_archive_or_change_the_url() {
        assert!("pool/main/g/gcc-defaults/gcc_14.2.0-1_amd64.deb".parse::<PoolPath>().is_ok());
        assert!("pool/main/x/xen_4.20.4+63-g7abf~bpo:1.tar.xz".parse::<PoolPath>().is_ok());
        for bad in [
            "",
            "/etc/passwd",
            "pool/../x",
            "..",
            "pool//x",
            "./x",
            "a?b",
            "a#b",
            "a%2fb",
            "a\\b",
            "a b",
            "x/",
        ] {
            assert!(bad.parse::<PoolPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_text_is_cut_in_the_message() {
        let error = "x y".repeat(1000).parse::<PackageName>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}
