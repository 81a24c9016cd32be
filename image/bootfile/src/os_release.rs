//! The section `.osrel`: the os-release text from which systemd-boot takes an entry's title, version and order.
//!
//! systemd-boot 257 reads `KEY=value` lines and takes away one pair of quotes around a value, nothing else; a shell
//! would also act on `\`, `$` and `` ` ``. Texts that the two would read differently are refused.
//! Source: os-release(5); systemd-boot 257.13.

use serde::Serialize;

/// An os-release text with all that a boot entry needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OsRelease {
    pairs: Vec<(String, String)>,
}

/// Why a text does not do as `.osrel`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OsReleaseError {
    /// A line that is neither empty, a comment nor `KEY=value`.
    #[error("line {number} of os-release is not KEY=value: {line:?}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// Its text.
        line: String,
    },
    /// A key that a boot entry needs has no value.
    #[error("os-release has no {0}")]
    Missing(&'static str),
    /// A key that is there twice.
    #[error("os-release has {0} twice")]
    Twice(String),
}

/// What systemd-boot's list, the updater and people need to tell boot files apart.
const REQUIRED: [&str; 5] = ["ID", "VERSION_ID", "IMAGE_ID", "IMAGE_VERSION", "PRETTY_NAME"];

/// The bytes of the section `.osrel` for this os-release text, once it holds what a boot entry needs.
///
/// # Errors
/// See [`OsRelease::parse`].
pub fn osrel(text: &str) -> Result<Vec<u8>, OsReleaseError> {
    OsRelease::parse(text).map(|_| text.as_bytes().to_vec())
}

impl OsRelease {
    /// Reads an os-release text.
    ///
    /// # Errors
    /// If a line is malformed, a key is there twice, or one of `ID`, `VERSION_ID`, `IMAGE_ID`, `IMAGE_VERSION` and
    /// `PRETTY_NAME` is missing or empty.
    pub fn parse(text: &str) -> Result<Self, OsReleaseError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) =
                pair(line).ok_or_else(|| OsReleaseError::Line { number, line: line.into() })?;
            if pairs.iter().any(|(earlier, _)| earlier == key) {
                return Err(OsReleaseError::Twice(key.into()));
            }
            pairs.push((key.into(), value.into()));
        }
        let found = Self { pairs };
        match REQUIRED.into_iter().find(|key| found.get(key).is_none_or(str::is_empty)) {
            Some(key) => Err(OsReleaseError::Missing(key)),
            None => Ok(found),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key_ok =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+~^:/@%,".contains(&b));
    let value = quoted.or(plain.then_some(value))?;
    let safe = value.chars().all(|c| !c.is_control() && !"\"'\\$`".contains(c));
    (key_ok && safe).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# built\nID=xenolith\nVERSION_ID=0.1.0\nIMAGE_ID=xenolith\nIMAGE_VERSION='0.1.0+20260101.1'\n\
                        PRETTY_NAME=\"Xenolith 0.1.0\"\n\nBUILD_ID=\n";

    #[test]
    fn values_are_read_without_their_quotes() {
        let found = OsRelease::parse(TEXT).unwrap();
        assert_eq!(found.get("PRETTY_NAME"), Some("Xenolith 0.1.0"));
        assert_eq!(found.get("IMAGE_VERSION"), Some("0.1.0+20260101.1"));
        assert_eq!(found.get("BUILD_ID"), Some(""));
        assert_eq!(found.get("NAME"), None);
        assert_eq!(osrel(TEXT).as_deref(), Ok(TEXT.as_bytes()));
    }

    #[test]
    fn every_required_key_is_missed() {
        for key in REQUIRED {
            let without: String = TEXT
                .lines()
                .filter(|line| !line.starts_with(&format!("{key}=")))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(osrel(&without), Err(OsReleaseError::Missing(key)));
            assert_eq!(osrel(&format!("{without}{key}=\n")), Err(OsReleaseError::Missing(key)));
        }
        assert_eq!(osrel(&format!("{TEXT}ID=again\n")), Err(OsReleaseError::Twice("ID".into())));
    }

    #[test]
    fn lines_that_loader_and_shell_read_differently_are_refused() {
        for line in [
            "no pair",
            "a=b",
            "=b",
            "A=b c",
            "A=\"b",
            "A=b\"",
            "A=\"$b\"",
            "A=\"b\\\"\"",
            "A='b'c'",
            "A=`b`",
            " A=b",
        ] {
            let result = OsRelease::parse(&format!("{TEXT}{line}\n"));
            assert_eq!(result, Err(OsReleaseError::Line { number: 9, line: line.into() }));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = OsRelease::parse(&text);
        }
    }
}
