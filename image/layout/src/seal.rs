//! How an encrypted state is locked: to which registers of a TPM its key is sealed, and what a recovery key looks like.
//!
//! ```text
//!   firmware ─▶ loader ─▶ Xen ─▶ initrd: has the TPM open the state ─▶ closes register 11 ─▶ the host, its users, its guests
//!               PCR 7: Secure Boot's state, keys, and who signed       PCR 11: still zero     no longer zero until a restart
//! ```
//! Register 7 alone would give the key to whatever is signed and started, also to a shell on an installation medium, or to a host
//! whose state somebody has put another one in place of. So the key is sealed to register 11 being **zero** as well, and the initrd
//! extends that before anything starts that can be told what to do. Nothing else of ours touches it: systemd's stub and
//! its measuring units, whose register it is, have no part in a boot under Xen.
//!
//! Source: TCG PC Client Platform Firmware Profile 1.06 §3.3.4 (registers); systemd 257, systemd-cryptenroll(1), for the words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of the opened state for the device mapper.
pub const STATE_CONTAINER: &str = "xenolith-state";
/// Where the opened state is.
pub const STATE_CONTAINER_NODE: &str = "/dev/mapper/xenolith-state";
/// Bytes at the start of an encrypted state (LUKS2).
pub const LUKS_MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
/// Bytes at the start of its second header, which stands in for the first.
pub const LUKS_SECOND_MAGIC: [u8; 6] = *b"SKUL\xba\xbe";
/// Where that one is, with the 16 KiB for each header that cryptsetup 2.7 takes unless it is told otherwise.
pub const LUKS_SECOND: u64 = 16 << 10;
/// The register that the initrd closes.
pub const CLOSED_PCR: u8 = 11;
/// What the key is sealed to, as systemd-cryptenroll takes it. Both have to name the same bank.
pub const SEALED_TO: &str =
    "7:sha256+11:sha256=0000000000000000000000000000000000000000000000000000000000000000";

/// What a state was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKey {
    /// The machine's TPM.
    Tpm,
    /// The recovery key, that somebody has typed.
    RecoveryKey,
}

/// 256 random bits that open the state of one host when its TPM does not. Never printed by accident.
///
/// Written as systemd writes its own: 64 of sixteen letters that lie in the same place on all keyboards, in groups of eight.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey([u8; 32]);

/// The letters, each for its number (Yubico's modhex).
const LETTERS: &[u8; 16] = b"cbdefghijklnrtuv";
/// Letters between two dashes.
const GROUP: usize = 8;

/// Why text is no recovery key. It does not quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecoveryKey {
    /// Another letter than those sixteen.
    #[error("a recovery key has only the letters c b d e f g h i j k l n r t u v")]
    Letter,
    /// Too short or too long.
    #[error("a recovery key has 64 letters")]
    Length,
}

impl RecoveryKey {
    /// The key of these random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The text that is typed, shown, and that the state is opened with.
    pub fn reveal(&self) -> String {
        let letter = |nibble: u8| char::from(LETTERS[usize::from(nibble & 15)]);
        let letters = self.0.iter().flat_map(|byte| [letter(byte >> 4), letter(*byte)]);
        let mut text = String::with_capacity(71);
        for (at, letter) in letters.enumerate() {
            if at > 0 && at % GROUP == 0 {
                text.push('-');
            }
            text.push(letter);
        }
        text
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

impl FromStr for RecoveryKey {
    type Err = BadRecoveryKey;

    /// As people type it: dashes and spaces anywhere, letters of any case.
    fn from_str(text: &str) -> Result<Self, BadRecoveryKey> {
        let mut bytes = [0_u8; 32];
        let mut count = 0;
        for byte in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            let small = byte.to_ascii_lowercase();
            let number = LETTERS.iter().position(|letter| *letter == small).ok_or(BadRecoveryKey::Letter)?;
            let place = bytes.get_mut(count / 2).ok_or(BadRecoveryKey::Length)?;
            *place = *place << 4 | u8::try_from(number).expect("there are sixteen letters");
            count += 1;
        }
        if count == 64 { Ok(Self(bytes)) } else { Err(BadRecoveryKey::Length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_reads_like_systemds() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        let text = RecoveryKey::new(bytes).reveal();
        assert_eq!(text, format!("cbdefghi-jklnrtuv{}", "-cccccccc".repeat(6)));
    }

    #[test]
    fn it_is_read_as_people_type_it_and_nothing_else_is() {
        let key = RecoveryKey::new([0x5a; 32]);
        let text = key.reveal();
        assert_eq!(text.to_uppercase().replace('-', " ").parse(), Ok(key.clone()));
        assert_eq!(text[1..].parse::<RecoveryKey>(), Err(BadRecoveryKey::Length));
        assert_eq!(format!("{text}c").parse::<RecoveryKey>(), Err(BadRecoveryKey::Length));
        assert_eq!(text.replacen('g', "a", 1).parse::<RecoveryKey>(), Err(BadRecoveryKey::Letter));
        assert_eq!(format!("{key:?}"), "RecoveryKey(…)");
    }

    #[test]
    fn what_the_key_is_sealed_to_names_the_register_that_is_closed() {
        let zero = "0".repeat(64);
        assert_eq!(SEALED_TO, format!("7:sha256+{CLOSED_PCR}:sha256={zero}"));
    }

    proptest::proptest! {
        #[test]
        fn a_key_reads_back(bytes: [u8; 32]) {
            let key = RecoveryKey::new(bytes);
            assert_eq!(key.reveal().parse(), Ok(key));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = text.parse::<RecoveryKey>();
        }
    }
}
