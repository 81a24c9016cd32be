//! How much of an image is other blocks than those of the image before it: what an upgrade must write or download.

use std::{
    collections::HashSet,
    io::{self, Read},
};

use sha2::{Digest as _, Sha256};

/// dm-verity's block, and the smallest piece that a delta of an image would be made of.
const BLOCK: usize = 4096;
type Sum = [u8; 32];

/// What differs in the newer of two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Blocks of the newer image.
    pub blocks: u64,
    /// Of those, the ones that differ from the older image's block at the same position.
    pub in_place: u64,
    /// Of those, the ones that the older image has nowhere.
    pub new: u64,
}

/// The sum of each block; the last one is filled up with zeros.
///
/// # Errors
/// When the image cannot be read.
pub fn sums(mut image: impl Read) -> io::Result<Vec<Sum>> {
    let mut sums = Vec::new();
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        if image.by_ref().take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            return Ok(sums);
        }
        block.resize(BLOCK, 0);
        sums.push(Sha256::digest(&block).into());
    }
}

/// Compares two images by the sums of their blocks.
pub fn compare(old: &[Sum], new: &[Sum]) -> Changed {
    let known: HashSet<&Sum> = old.iter().collect();
    let count = |differs: &dyn Fn(usize, &Sum) -> bool| {
        new.iter().enumerate().filter(|(at, sum)| differs(*at, sum)).count() as u64
    };
    Changed {
        blocks: new.len() as u64,
        in_place: count(&|at, sum| old.get(at) != Some(sum)),
        new: count(&|_, sum| !known.contains(sum)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_moved_differs_in_place_and_is_not_new() {
        let image = |blocks: &[u8]| {
            let bytes: Vec<u8> = blocks.iter().flat_map(|&byte| vec![byte; BLOCK]).collect();
            sums(bytes.as_slice()).unwrap()
        };
        let old = image(&[1, 2, 3]);
        assert_eq!(compare(&old, &old), Changed { blocks: 3, in_place: 0, new: 0 });
        assert_eq!(compare(&old, &image(&[1, 9, 2, 3])), Changed { blocks: 4, in_place: 3, new: 1 });
        assert_eq!(compare(&[], &old), Changed { blocks: 3, in_place: 3, new: 3 });
    }

    #[test]
    fn a_last_block_that_is_not_whole_counts_as_filled_with_zeros() {
        let mut bytes = vec![7; BLOCK + 5];
        let short = sums(bytes.as_slice()).unwrap();
        bytes.resize(2 * BLOCK, 0);
        assert_eq!(short, sums(bytes.as_slice()).unwrap());
    }
}
