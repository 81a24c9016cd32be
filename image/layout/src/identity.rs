//! What names a root image: its slot, its root hash, and what dm-verity adds to the data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Bytes;

/// The block size of data and verity tree alike.
pub const VERITY_BLOCK: Bytes = Bytes::kib(4);

/// The salt of every verity tree of every version.
///
/// It never changes: equal blocks of two versions then have equal leaf hashes, so that the tree of a new version
/// says which of its blocks an older slot holds already. A salt guards against precomputed collisions of short
/// secrets; there is none in a public image. The value is SHA-256 of `xenolith verity salt v1`.
pub const VERITY_SALT: [u8; 32] = [
    0x35, 0x05, 0x71, 0x9a, 0xa2, 0xff, 0x69, 0xcb, 0xfa, 0x51, 0xce, 0xb5, 0xb9, 0xae, 0xa3, 0x81, 0x78,
    0x8f, 0xbe, 0xaa, 0x0c, 0x0c, 0xc2, 0x67, 0x4f, 0x73, 0xd7, 0x92, 0x48, 0x9a, 0x0d, 0xac,
];

/// A root partition, its verity partition and the boot file that belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// The slot that an installation fills.
    A,
    /// The slot that the first upgrade fills.
    B,
}

impl Slot {
    /// Both slots, in the order they have on disk.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The slot that this one is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// The SHA-256 at the top of a verity tree: it stands for every byte of a root image. Prints as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootHash([u8; 32]);

/// A text that is no root hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no root hash: expected 64 hexadecimal digits")]
pub struct BadRootHash(String);

impl RootHash {
    /// The root hash with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, in the order they are printed.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootHash({self})")
    }
}

impl FromStr for RootHash {
    type Err = BadRootHash;

    fn from_str(text: &str) -> Result<Self, BadRootHash> {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(|| BadRootHash(text.into()))?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(pair[0] << 4 | pair[1]).expect("two hexadecimal digits make one byte");
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RootHash {
    type Error = BadRootHash;
    fn try_from(text: String) -> Result<Self, BadRootHash> {
        text.parse()
    }
}

impl From<RootHash> for String {
    fn from(hash: RootHash) -> String {
        hash.to_string()
    }
}

/// The UUID in the verity superblock of a root image: the first 16 bytes of its root hash, exactly as they are.
///
/// The initrd looks for it to find its root; nothing is trusted because of it. It carries no UUID version, so
/// that it can be compared with a root hash by eye.
pub fn verity_uuid(hash: &RootHash) -> Uuid {
    let (head, _) = hash.0.split_at(16);
    Uuid::from_slice(head).expect("16 bytes make a UUID")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_salt_is_what_its_comment_says() {
        assert_eq!(VERITY_SALT.as_slice(), Sha256::digest(b"xenolith verity salt v1").as_slice());
    }

    #[test]
    fn the_uuid_shows_the_first_half_of_the_root_hash() {
        let hash: RootHash = "00112233445566778899aabbccddeeff".repeat(2).parse().unwrap();
        assert_eq!(verity_uuid(&hash).to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn texts_that_are_no_root_hash_are_refused() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<RootHash>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_root_hash_reads_back(bytes: [u8; 32]) {
            let hash = RootHash::new(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(serde_json::from_str::<RootHash>(&serde_json::to_string(&hash).unwrap()).unwrap(), hash);
        }
    }
}
