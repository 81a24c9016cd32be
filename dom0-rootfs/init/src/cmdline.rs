//! The kernel command line, as far as this program listens to it.
//!
//! It comes from inside the signed boot file, so it is believed; but it is still parsed strictly, because a
//! root hash that is half read would look like a root that is missing.

use xenolith_layout::{RootHash, Version};

/// What the boot file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmdline {
    /// `xenolith.roothash=`: the root to find.
    pub root_hash: RootHash,
    /// `xenolith.version=`: its version, for the record.
    pub version: Version,
}

/// The command line is not one that a boot file of ours carries.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// A required word is absent.
    #[error("the kernel command line has no {0}")]
    Missing(&'static str),
    /// A word occurs twice, with different values.
    #[error("the kernel command line has {0} twice, with different values")]
    Twice(&'static str),
    /// A word's value cannot be read.
    #[error("the kernel command line has {key}{value}, which cannot be read: {why}")]
    Bad {
        /// The word.
        key: &'static str,
        /// What follows it.
        value: String,
        /// What the parser says.
        why: String,
    },
}

const ROOT_HASH: &str = "xenolith.roothash=";
const VERSION: &str = "xenolith.version=";

/// Reads `/proc/cmdline`. Words of others are passed over; after `--` everything belongs to the system's init.
///
/// # Errors
/// [`CmdlineError`] names the word.
pub fn parse(text: &str) -> Result<Cmdline, CmdlineError> {
    Ok(Cmdline { root_hash: value(text, ROOT_HASH)?, version: value(text, VERSION)? })
}

fn value<T>(text: &str, key: &'static str) -> Result<T, CmdlineError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let mut found: Option<&str> = None;
    let words = text.split_ascii_whitespace().take_while(|word| *word != "--");
    for value in words.filter_map(|word| word.strip_prefix(key)) {
        if found.is_some_and(|before| before != value) {
            return Err(CmdlineError::Twice(key));
        }
        found = Some(value);
    }
    let value = found.ok_or(CmdlineError::Missing(key))?;
    value.parse().map_err(|why: T::Err| CmdlineError::Bad {
        key,
        value: value.to_owned(),
        why: why.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(digit: char) -> String {
        String::from(digit).repeat(64)
    }

    #[test]
    fn words_of_others_are_passed_over() {
        let text = format!(
            "kernel console=hvc0 root=/dev/mapper/root xenolith.roothash={} panic=10 xenolith.version=0.1.0 quiet\n",
            hash('a')
        );
        let cmdline = parse(&text).unwrap();
        assert_eq!(cmdline.root_hash.to_string(), hash('a'));
        assert_eq!(cmdline.version.to_string(), "0.1.0");
    }

    #[test]
    fn a_hash_must_be_whole() {
        for bad in ["", "abc", &hash('g'), &(hash('a') + "a")] {
            let text = format!("xenolith.roothash={bad} xenolith.version=1");
            assert!(matches!(parse(&text), Err(CmdlineError::Bad { key: ROOT_HASH, .. })), "{bad}");
        }
    }

    #[test]
    fn absent_words_are_named() {
        assert_eq!(parse("panic=10"), Err(CmdlineError::Missing(ROOT_HASH)));
        assert_eq!(parse(&format!("{ROOT_HASH}{}", hash('0'))), Err(CmdlineError::Missing(VERSION)));
    }

    #[test]
    fn two_different_hashes_are_refused_and_two_equal_ones_are_not() {
        let two = |a, b| format!("{ROOT_HASH}{} {ROOT_HASH}{} {VERSION}1", hash(a), hash(b));
        assert_eq!(parse(&two('a', 'b')), Err(CmdlineError::Twice(ROOT_HASH)));
        assert!(parse(&two('a', 'a')).is_ok());
    }

    #[test]
    fn what_follows_two_dashes_is_for_the_system() {
        let text = format!("{VERSION}1 -- {ROOT_HASH}{}", hash('a'));
        assert_eq!(parse(&text), Err(CmdlineError::Missing(ROOT_HASH)));
    }
}
