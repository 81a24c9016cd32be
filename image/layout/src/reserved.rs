//! The reserved area of our media: a small FAT12 volume behind everything else, in which somebody's answers, CA and seed are put
//! without building the ISO again.
//!
//! ```text
//!   GPT entry 3 of the ISO, found by its type (`TypeGuid::RESERVED`), since what writes the ISO numbers the entries
//!     sector 0        boot sector, the same bytes in every area
//!     two FATs
//!     root folder     its first sector lists every file: written last, it makes them all be there at once
//!     the files
//! ```
//! It is data: neither a signature nor verity covers it, and nothing in it can change what is booted.

use crate::Bytes;

/// Its length. The files below at their longest take 768 KiB, tables and root folder some 30.
pub const SIZE: Bytes = Bytes::mib(1);
/// The most that one file in it may have.
pub const MAX_FILE: Bytes = Bytes::kib(256);
/// The number of its partition.
pub const PARTITION: u32 = 3;
/// The FAT serial number. Always the same: the ISO of a build is reproducible.
pub const SERIAL: u32 = 0x5845_4e41;

/// What answers are called in it; one of these at most.
pub const ANSWERS: [&str; 3] = ["answers.toml", "answers.json", "answers.xml"];
/// The certificates of the authorities that an installation trusts besides those it knows, in PEM.
pub const CA: &str = "ca.pem";
