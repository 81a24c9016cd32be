//! The 512 bytes at the start of a verity partition.
//!
//! ```text
//!     0  "verity\0\0"          64  data block size  u32      82  zeros
//!     8  version 1      u32    68  hash block size  u32      88  salt, filled up to 256 bytes
//!    12  hash type 1    u32    72  data blocks      u64     344  zeros up to 512
//!    16  UUID, 16 bytes        80  salt length      u16
//!    32  algorithm, 32 bytes, filled up with zeros
//! ```
//! All integers are little-endian.

use uuid::Uuid;
use xenolith_layout::VERITY_SALT;

/// What the superblock of one of our trees says; everything else in it is the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The name of the tree: the first half of its root hash.
    pub uuid: Uuid,
    /// How many data blocks the tree covers.
    pub data_blocks: u64,
}

/// Why 512 bytes are not the superblock of one of our trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// The magic bytes are missing.
    #[error("there is no verity superblock")]
    Magic,
    /// It is a verity superblock with a parameter that we do not use.
    #[error("the verity superblock has another {0} than ours")]
    Parameter(&'static str),
}

impl Superblock {
    /// Its length on disk.
    pub const LEN: usize = 512;

    /// Reads the first 512 bytes of a hash device.
    ///
    /// # Errors
    /// [`NotOurs`] if there is no superblock, or one whose parameters are not those of our trees.
    pub fn read(bytes: &[u8; Self::LEN]) -> Result<Self, NotOurs> {
        if !bytes.starts_with(MAGIC) {
            return Err(NotOurs::Magic);
        }
        let found = Self {
            uuid: Uuid::from_bytes(field(bytes, UUID)),
            data_blocks: u64::from_le_bytes(field(bytes, DATA_BLOCKS)),
        };
        // All else is constant: what we would write for the same two fields must be what is there.
        let ours = found.to_bytes();
        for (name, from, to) in CONSTANTS {
            if bytes.get(from..to) != ours.get(from..to) {
                return Err(NotOurs::Parameter(name));
            }
        }
        if found.data_blocks == 0 {
            return Err(NotOurs::Parameter("number of data blocks"));
        }
        Ok(found)
    }

    /// The bytes on disk.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let salt_len = u16::try_from(VERITY_SALT.len()).expect("the salt has 32 bytes");
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &1_u32.to_le_bytes());
        put(&mut bytes, 12, &1_u32.to_le_bytes());
        put(&mut bytes, UUID, self.uuid.as_bytes());
        put(&mut bytes, 32, b"sha256");
        put(&mut bytes, 64, &4096_u32.to_le_bytes());
        put(&mut bytes, 68, &4096_u32.to_le_bytes());
        put(&mut bytes, DATA_BLOCKS, &self.data_blocks.to_le_bytes());
        put(&mut bytes, 80, &salt_len.to_le_bytes());
        put(&mut bytes, 88, &VERITY_SALT);
        bytes
    }
}

const MAGIC: &[u8; 8] = b"verity\0\0";
const UUID: usize = 16;
const DATA_BLOCKS: usize = 72;
const CONSTANTS: [(&str, usize, usize); 7] = [
    ("version", 8, 12),
    ("hash type", 12, 16),
    ("algorithm", 32, 64),
    ("data block size", 64, 68),
    ("hash block size", 68, 72),
    ("salt", 80, 344),
    ("padding", 344, 512),
];

fn field<const N: usize>(bytes: &[u8; Superblock::LEN], at: usize) -> [u8; N] {
    let slice = bytes.get(at..at + N).expect("every field lies within the superblock");
    slice.try_into().expect("the slice has the length that was asked for")
}

fn put(bytes: &mut [u8; Superblock::LEN], at: usize, value: &[u8]) {
    bytes
        .get_mut(at..at + value.len())
        .expect("every field lies within the superblock")
        .copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(uuid: [u8; 16], data_blocks in 1..=u64::MAX) {
            let superblock = Superblock { uuid: Uuid::from_bytes(uuid), data_blocks };
            prop_assert_eq!(Superblock::read(&superblock.to_bytes()), Ok(superblock));
        }

        #[test]
        fn another_byte_gives_another_superblock_or_none(at in 0..Superblock::LEN, flip in 1..=u8::MAX) {
            let superblock = Superblock { uuid: Uuid::from_bytes([5; 16]), data_blocks: 9 };
            let mut bytes = superblock.to_bytes();
            bytes[at] ^= flip;
            prop_assert_ne!(Superblock::read(&bytes), Ok(superblock));
        }
    }

    #[test]
    fn other_parameters_are_named() {
        let bytes = Superblock { uuid: Uuid::nil(), data_blocks: 1 }.to_bytes();
        assert_eq!(Superblock::read(&[0; 512]), Err(NotOurs::Magic));
        for (name, at) in
            [("version", 8), ("hash type", 12), ("algorithm", 32), ("hash block size", 69), ("salt", 90)]
        {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Superblock::read(&other), Err(NotOurs::Parameter(name)));
        }
        let none = Superblock { uuid: Uuid::nil(), data_blocks: 0 }.to_bytes();
        assert_eq!(Superblock::read(&none), Err(NotOurs::Parameter("number of data blocks")));
    }
}
