//! Recognising a verity tree: is this the one whose root hash was asked for?
//!
//! The superblock's UUID is the first half of the root hash, so it tells at a glance; then the top block of
//! the tree must really hash to the root hash. Both cost two blocks to read. The second check matters because
//! what follows is opened with "panic on corruption": a stale or hostile tree that only carries the right
//! UUID must be a refused candidate here, not a panic that hides the good one behind it. What lies below the
//! top block is proven by the kernel as it is read.

use std::io::{self, Read};

use sha2::{Digest, Sha256};
use xenolith_layout::{RootHash, VERITY_BLOCK, VERITY_SALT, verity_uuid};
use xenolith_verity::{NotOurs, Superblock};

/// Why a partition or file is not the tree that is looked for.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be read so far.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It begins with something else, or with a superblock of a kind that we do not make.
    #[error("it holds no verity tree of ours")]
    Foreign(#[source] NotOurs),
    /// It is a tree of another root image: the usual case for the other slot.
    #[error("it holds the tree of another image ({0})")]
    Other(uuid::Uuid),
    /// It says that it is the right tree, but is not.
    #[error("its UUID is right, but its top block hashes to {0}")]
    Top(RootHash),
}

/// Reads the first two blocks of `tree` and compares them with the root hash.
///
/// # Errors
/// [`ProbeError`]: each is a reason to look elsewhere.
pub fn recognise(tree: &mut impl Read, root_hash: &RootHash) -> Result<Superblock, ProbeError> {
    let mut blocks = [0; 8192];
    tree.read_exact(&mut blocks).map_err(ProbeError::Read)?;
    let (head, top) = blocks.split_at(4096);
    let superblock = head
        .first_chunk::<512>()
        .map(Superblock::read)
        .ok_or_else(|| ProbeError::Read(io::ErrorKind::UnexpectedEof.into()))?
        .map_err(ProbeError::Foreign)?;
    if superblock.uuid != verity_uuid(root_hash) {
        return Err(ProbeError::Other(superblock.uuid));
    }
    let hash = RootHash::new(Sha256::new().chain_update(VERITY_SALT).chain_update(top).finalize().into());
    if hash == *root_hash { Ok(superblock) } else { Err(ProbeError::Top(hash)) }
}

const _: () = assert!(VERITY_BLOCK.get() == 4096, "the buffer above holds two blocks");

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_layout::Bytes;

    /// A tree over a few blocks, and its root hash.
    fn tree(fill: u8) -> (Vec<u8>, RootHash) {
        let data = vec![fill; 8 * 4096];
        let mut tree = std::io::Cursor::new(Vec::new());
        let length = Bytes::new(data.len().try_into().unwrap());
        let root_hash = xenolith_verity::build(&mut data.as_slice(), length, &mut tree).unwrap();
        (tree.into_inner(), root_hash)
    }

    #[test]
    fn the_right_tree_is_recognised() {
        let (tree, root_hash) = tree(1);
        assert_eq!(recognise(&mut tree.as_slice(), &root_hash).unwrap().data_blocks, 8);
    }

    #[test]
    fn the_tree_of_another_image_is_named_by_its_uuid() {
        let (tree_1, hash_1) = tree(1);
        let (_, hash_2) = tree(2);
        let error = recognise(&mut tree_1.as_slice(), &hash_2).unwrap_err();
        assert!(matches!(error, ProbeError::Other(uuid) if uuid == verity_uuid(&hash_1)), "{error}");
    }

    #[test]
    fn a_tree_with_the_right_uuid_and_another_top_is_refused() {
        let (mut tree, root_hash) = tree(1);
        tree[4096 + 17] ^= 1;
        assert!(matches!(recognise(&mut tree.as_slice(), &root_hash), Err(ProbeError::Top(_))));
    }

    #[test]
    fn hostile_superblocks_are_refused() {
        let (good, root_hash) = tree(1);
        // version, hash type, algorithm, block sizes, number of blocks, salt length, salt, padding
        for at in [0, 7, 8, 12, 32, 60, 64, 67, 68, 80, 81, 88, 120, 343, 344, 511] {
            let mut tree = good.clone();
            tree[at] ^= 0xff;
            assert!(
                matches!(recognise(&mut tree.as_slice(), &root_hash), Err(ProbeError::Foreign(_))),
                "byte {at}"
            );
        }
    }

    #[test]
    fn what_is_too_short_cannot_be_read() {
        let (tree, root_hash) = tree(1);
        for length in [0, 511, 512, 4096, 8191] {
            assert!(
                matches!(recognise(&mut &tree[..length], &root_hash), Err(ProbeError::Read(_))),
                "{length}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_pass(mut bytes: Vec<u8>, magic: bool) {
            if magic {
                bytes.splice(0..0, *b"verity\0\0\x01\0\0\0\x01\0\0\0");
            }
            bytes.resize(8192, 0);
            assert!(recognise(&mut bytes.as_slice(), &RootHash::new([7; 32])).is_err());
        }
    }
}
