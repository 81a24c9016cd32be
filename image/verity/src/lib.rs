//! The dm-verity tree of a root image, made and checked without device mapper or root rights.
//!
//! **The same data gives the same bytes, and they are the bytes that `veritysetup format` writes** for SHA-256, 4096-byte
//! blocks, [`VERITY_SALT`] and the UUID that [`verity_uuid`] takes from the root hash.
//!
//! ```text
//!   block 0      superblock, 512 bytes, then zeros
//!   block 1      level n-1: one block, whose hash is the root hash
//!   block 2…     level n-2: the hashes of up to 128 blocks below make one block
//!   …            level 0: one hash for each data block, in order
//! ```
//! A hash is SHA-256 over salt and block; 128 of them fill a block, and the last block of a level is filled up with
//! zeros. A single data block has no level at all: its hash is the root hash.
//!
//! The superblock is not hashed. It only helps to find a root image; whoever trusts a tree compares the root
//! hash, as [`verify`] does. Only the one set of parameters above is read: a superblock with others is refused,
//! because what it describes was not made here. Left out: forward error correction (a bad block shall fail the
//! boot, and the other slot is the spare copy), hash devices that share a partition with the data.
//!
//! Source: Linux Documentation/admin-guide/device-mapper/verity.rst, and cryptsetup's on-disk description of the
//! superblock (version 1); checked against veritysetup 2.7.5.

mod aligned;
mod superblock;
mod tree;

pub use aligned::Aligned;
pub use superblock::{NotOurs, Superblock};
pub use tree::{Place, TreeShape, VerityError, build, verify};
pub use xenolith_layout::{RootHash, VERITY_BLOCK, VERITY_SALT, verity_uuid};
