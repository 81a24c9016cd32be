//! The version of an image, a text that is safe in every place where it must stand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version such as `0.1.0+20260101.1`: 1 to 40 characters out of `0-9 A-Z a-z . ~ ^ + -`.
///
/// It stands in file names on FAT, on kernel command lines and in `os-release`. `_` is left out because it
/// separates the parts of a boot entry's name. A text that ends like a boot counter (`1.0+3`, `1.0+3-0`) is refused,
/// since the loader would count down the tries of a blessed entry with that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVersion {
    /// Empty, or longer than 40 characters.
    #[error("a version has 1 to 40 characters, not {0}")]
    Length(usize),
    /// A character that is not allowed.
    #[error("{found:?} cannot stand in a version ({text:?}): only letters, digits and . ~ ^ + -")]
    Character {
        /// The character.
        found: char,
        /// The whole text.
        text: String,
    },
    /// The text ends in what the loader takes for a boot counter.
    #[error("the version {0:?} ends like a boot counter; write for example {0}.0")]
    Counter(String),
}

impl Version {
    const MAX: usize = 40;

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(BadVersion::Length(text.chars().count()));
        }
        if let Some(found) = text.chars().find(|&c| !c.is_ascii_alphanumeric() && !".~^+-".contains(c)) {
            return Err(BadVersion::Character { found, text: text.into() });
        }
        if text.rsplit_once('+').is_some_and(|(_, tail)| reads_as_counter(tail)) {
            return Err(BadVersion::Counter(text.into()));
        }
        Ok(Self(text.into()))
    }
}

/// Digits, or digits, `-`, digits: what systemd-boot 257 takes for a counter behind the last `+`.
fn reads_as_counter(tail: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match tail.split_once('-') {
        Some((left, done)) => number(left) && number(done),
        None => number(tail),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;
    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_versions_are_accepted() {
        for text in
            ["0.1.0", "0.1.0+20260101.1", "1~rc1", "2^git-5", "1.0+3.0", "1.0+a3", "1.0-3", &"9".repeat(40)]
        {
            assert_eq!(text.parse::<Version>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn versions_that_a_file_name_or_the_loader_would_misread_are_refused() {
        assert_eq!("".parse::<Version>(), Err(BadVersion::Length(0)));
        assert_eq!("9".repeat(41).parse::<Version>(), Err(BadVersion::Length(41)));
        for text in ["1_0", "1/0", "1 0", "1.0\n", "é", "1=2", "a\\b", "1\0"] {
            assert!(matches!(text.parse::<Version>(), Err(BadVersion::Character { .. })), "{text:?}");
        }
        for text in ["1.0+3", "1.0+3-0", "1+2+20260101", "1.0+03-10"] {
            assert_eq!(text.parse::<Version>(), Err(BadVersion::Counter(text.into())));
        }
    }
}
