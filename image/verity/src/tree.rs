//! Making a tree from data, and checking data and tree against a root hash.

use std::fmt;
use std::io::{self, Read, Write};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use xenolith_layout::{Bytes, RootHash, VERITY_BLOCK, VERITY_SALT, verity_uuid};

use crate::Aligned;
use crate::superblock::{NotOurs, Superblock};

/// How many blocks and levels a tree has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeShape {
    /// How many data blocks it covers.
    pub data_blocks: u64,
    /// The number of blocks of each level, from the level over the data up to the single block on top.
    pub levels: Vec<u64>,
}

impl TreeShape {
    /// The shape of the tree over `data_blocks` blocks.
    pub fn of(data_blocks: u64) -> Self {
        let mut levels = Vec::new();
        let mut below = data_blocks;
        while below > 1 {
            below = below.div_ceil(FAN_OUT as u64);
            levels.push(below);
        }
        Self { data_blocks, levels }
    }

    /// The length of superblock and tree on disk.
    pub fn len(&self) -> Bytes {
        // Fewer than 2^57 blocks for 2^64 of data, so at most 2^69 bytes: it must be checked.
        let blocks = self.levels.iter().sum::<u64>() + 1;
        VERITY_BLOCK.checked_mul(blocks).unwrap_or(Bytes::new(u64::MAX))
    }
}

/// A block of data or of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A data block, by its number.
    Data(u64),
    /// A block of the tree: its level (0 lies over the data) and its number within the level.
    Tree {
        /// The level.
        level: usize,
        /// The number of the block within it.
        block: u64,
    },
    /// The block with the superblock.
    Superblock,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(block) => write!(f, "data block {block}"),
            Self::Tree { level, block } => write!(f, "block {block} of level {level} of the verity tree"),
            Self::Superblock => f.write_str("the verity superblock"),
        }
    }
}

/// Why a tree could not be made, or does not prove its data.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The data are not a whole number of blocks, or none at all.
    #[error("data of {} bytes cannot be covered: they must be whole blocks of 4096 bytes, and at least one", .0.get())]
    Length(Bytes),
    /// Data or tree could not be read, or end too early.
    #[error("cannot read {place}")]
    Read {
        /// What was to be read.
        place: Place,
        /// Why not.
        source: io::Error,
    },
    /// The tree could not be written.
    #[error("cannot write the verity tree")]
    Write(#[source] io::Error),
    /// The superblock is missing or foreign.
    #[error("the verity tree cannot be used")]
    Superblock(#[from] NotOurs),
    /// The superblock belongs to another root hash.
    #[error("the verity superblock is named {found}, the root hash asks for {expected}")]
    Name {
        /// The UUID in the superblock.
        found: uuid::Uuid,
        /// The UUID that follows from the root hash.
        expected: uuid::Uuid,
    },
    /// A block is not the one that the root hash stands for.
    #[error("{0} is not what the root hash stands for")]
    Mismatch(Place),
}

/// Writes superblock and tree for `data_len` bytes of `data`, and returns the root hash.
///
/// The level over the data is kept in memory: 1/128 of the data.
///
/// # Errors
/// [`VerityError::Length`] unless the data are whole blocks, at least one; [`VerityError::Read`] also if they end before
/// `data_len`; [`VerityError::Write`].
pub fn build(
    data: &mut (impl Read + Send),
    data_len: Bytes,
    out: &mut impl Write,
) -> Result<RootHash, VerityError> {
    let data_blocks = data_len.get() / VERITY_BLOCK.get();
    if data_blocks == 0 || data_len.round_down(VERITY_BLOCK) != data_len {
        return Err(VerityError::Length(data_len));
    }
    let mut hashes = Vec::new();
    for_each_batch(data, data_blocks, Place::Data, |_, batch| {
        hashes.extend(hash_blocks(batch));
        Ok(())
    })?;

    let mut levels = Vec::new();
    while hashes.len() > 1 {
        hashes.resize(hashes.len().next_multiple_of(FAN_OUT), [0; 32]);
        let above = hash_blocks(hashes.as_flattened());
        levels.push(std::mem::replace(&mut hashes, above));
    }
    let root = RootHash::new(*hashes.first().expect("there is at least one block, so there is a hash"));

    let mut first = [0; BLOCK];
    let superblock = Superblock { uuid: verity_uuid(&root), data_blocks };
    first[..Superblock::LEN].copy_from_slice(&superblock.to_bytes());
    out.write_all(&first).map_err(VerityError::Write)?;
    for level in levels.iter().rev() {
        out.write_all(level.as_flattened()).map_err(VerityError::Write)?;
    }
    out.flush().map_err(VerityError::Write)?;
    Ok(root)
}

/// Checks that `tree` belongs to `root` and that `data` are what it stands for; both are read once, from their start.
/// Behind their last block anything may follow, as it does on a partition.
///
/// # Errors
/// [`VerityError::Mismatch`] names the first bad block: the tree from its top downwards, then the data in order.
pub fn verify(
    data: &mut (impl Read + Send),
    tree: &mut (impl Read + Send),
    root: &RootHash,
) -> Result<(), VerityError> {
    let mut first = [0; BLOCK];
    tree.read_exact(&mut first).map_err(|source| VerityError::Read { place: Place::Superblock, source })?;
    let head = first.first_chunk().expect("a block is longer than a superblock");
    let superblock = Superblock::read(head)?;
    if superblock.uuid != verity_uuid(root) {
        return Err(VerityError::Name { found: superblock.uuid, expected: verity_uuid(root) });
    }
    let shape = TreeShape::of(superblock.data_blocks);
    let mut expected: Vec<Hash> = vec![*root.as_bytes()];
    for (level, &blocks) in shape.levels.iter().enumerate().rev() {
        let mut hashes: Vec<Hash> = Vec::new();
        let place = |block| Place::Tree { level, block };
        for_each_batch(tree, blocks, place, |from, batch| {
            compare(from, &hash_blocks(batch), &expected, place)?;
            hashes.extend(batch.as_chunks().0);
            Ok(())
        })?;
        expected = hashes;
    }
    for_each_batch(data, superblock.data_blocks, Place::Data, |from, batch| {
        compare(from, &hash_blocks(batch), &expected, Place::Data)
    })
}

type Hash = [u8; 32];
const BLOCK: usize = 4096;
const FAN_OUT: usize = BLOCK / size_of::<Hash>();
/// Blocks that are read before they are hashed together: 4 MiB, enough to keep every core busy.
const BATCH: usize = 1024;

/// Reads `blocks` blocks and hands them on in batches, with the number of the first block of each; one is read while the one before it
/// is worked on.
fn for_each_batch(
    from: &mut (impl Read + Send),
    blocks: u64,
    place: impl Fn(u64) -> Place + Sync,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), VerityError> + Send,
) -> Result<(), VerityError> {
    let length = |first: u64| usize::try_from(blocks - first).unwrap_or(BATCH).min(BATCH) * BLOCK;
    let mut read = |first: u64, buffer: &mut Aligned| {
        let batch = &mut buffer[..length(first)];
        from.read_exact(batch).map_err(|source| VerityError::Read { place: place(first), source })
    };
    let (mut here, mut ahead) = (Aligned::new(length(0)), Aligned::new(length(0)));
    let mut first = 0;
    read(first, &mut here)?;
    while first < blocks {
        let batch = &here[..length(first)];
        let next = first + (batch.len() / BLOCK) as u64;
        let (done, more) = rayon::join(|| each(first, batch), || read(next, &mut ahead));
        done?;
        more?;
        first = next;
        std::mem::swap(&mut here, &mut ahead);
    }
    Ok(())
}

fn hash_blocks(blocks: &[u8]) -> Vec<Hash> {
    let salted = Sha256::new().chain_update(VERITY_SALT);
    blocks
        .par_chunks_exact(BLOCK)
        .with_min_len(64)
        .map(|block| salted.clone().chain_update(block).finalize().into())
        .collect()
}

/// Compares the hashes of the blocks from number `from` with those that the level above holds.
fn compare(
    from: u64,
    found: &[Hash],
    expected: &[Hash],
    place: impl Fn(u64) -> Place,
) -> Result<(), VerityError> {
    let skip = usize::try_from(from).unwrap_or(usize::MAX);
    let mut expected = expected.iter().skip(skip);
    match (from..).zip(found).find(|(_, hash)| expected.next() != Some(*hash)) {
        Some((block, _)) => Err(VerityError::Mismatch(place(block))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
