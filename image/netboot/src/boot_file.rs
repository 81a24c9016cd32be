//! Whether a boot file is the one of a set: a signed program that starts this very root.
//!
//! Its signature is for the firmware to check, which has the keys. Here is checked what a mix-up would break: every command line of
//! dom0 inside names the root hash and the version, so what starts from this file runs this root or nothing.

use xenolith_bootfile::{ConfigError, PeError, inspect};
use xenolith_layout::names::{KARG_ROOT_HASH, KARG_VERSION};
use xenolith_layout::{RootHash, Version};

/// Why a boot file is not the one that is wanted.
#[derive(Debug, thiserror::Error)]
pub enum WrongBootFile {
    /// It is no program for UEFI.
    #[error("it is no UEFI program")]
    Program(#[from] PeError),
    /// It has no configuration for Xen, or one that cannot be read.
    #[error("it has no configuration for Xen")]
    NoConfig,
    /// The configuration cannot be read.
    #[error("its configuration for Xen cannot be read")]
    Config(#[from] ConfigError),
    /// A command line of dom0 asks for something else.
    #[error("it does not start this system: its {word} is not {expected}")]
    Other {
        /// The word of the command line.
        word: &'static str,
        /// What it should be.
        expected: String,
    },
}

/// Makes sure that whatever this boot file starts is this root in this version.
///
/// # Errors
/// [`WrongBootFile`].
pub fn boots(boot_file: &[u8], root_hash: &RootHash, version: &Version) -> Result<(), WrongBootFile> {
    let config = inspect(boot_file)?.config().ok_or(WrongBootFile::NoConfig)??;
    if config.blocks.is_empty() {
        return Err(WrongBootFile::NoConfig);
    }
    let expected = [(KARG_ROOT_HASH, root_hash.to_string()), (KARG_VERSION, version.to_string())];
    for block in &config.blocks {
        for (word, expected) in &expected {
            let mut values =
                words(&block.dom0_cmdline).filter_map(|text| text.strip_prefix(word)?.strip_prefix('='));
            if values.next() != Some(expected) || values.next().is_some() {
                return Err(WrongBootFile::Other { word, expected: expected.clone() });
            }
        }
    }
    Ok(())
}

/// The kernel's words; after `--` they belong to its init.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace().take_while(|word| *word != "--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_boot_file_of_a_set_starts_its_root_and_no_other() {
        let (hash, version) = (testing::root_hash(), testing::version());
        let file = testing::boot_file(&hash, &version);
        assert!(boots(&file, &hash, &version).is_ok());
        let other = RootHash::new([9; 32]);
        assert!(matches!(
            boots(&file, &other, &version),
            Err(WrongBootFile::Other { word: KARG_ROOT_HASH, .. })
        ));
        let later = "0.2.0".parse().unwrap();
        assert!(matches!(boots(&file, &hash, &later), Err(WrongBootFile::Other { word: KARG_VERSION, .. })));
        assert!(matches!(boots(b"MZ", &hash, &version), Err(WrongBootFile::Program(_))));
        assert!(matches!(
            boots(&xenolith_bootfile::xen_like(), &hash, &version),
            Err(WrongBootFile::NoConfig)
        ));
    }

    #[test]
    fn a_second_root_hash_and_one_for_init_do_not_count() {
        let (hash, version) = (testing::root_hash(), testing::version());
        let twice = format!("{KARG_ROOT_HASH}={hash} {KARG_ROOT_HASH}={hash} {KARG_VERSION}={version}");
        assert!(boots(&testing::boot_file_with(&twice), &hash, &version).is_err());
        let late = format!("{KARG_VERSION}={version} -- {KARG_ROOT_HASH}={hash}");
        assert!(boots(&testing::boot_file_with(&late), &hash, &version).is_err());
    }
}
