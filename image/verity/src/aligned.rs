//! Memory for what is read and written past all caches.

use std::ops::{Deref, DerefMut};

use xenolith_layout::VERITY_BLOCK;

/// Bytes that begin at a multiple of a block, which is what a disk wants that no cache stands in front of (open(2), `O_DIRECT`).
#[derive(Debug)]
pub struct Aligned {
    room: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// So many bytes, all zero.
    pub fn new(length: usize) -> Self {
        let block = usize::try_from(VERITY_BLOCK.get()).expect("a block fits into memory");
        let room = vec![0; length + block];
        let start = room.as_ptr().align_offset(block);
        Self { room, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_multiple_of_a_block() {
        for length in [0, 1, 4096, 100_000] {
            let mut bytes = Aligned::new(length);
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(4096)), (length, 0));
            bytes.fill(1);
        }
    }
}
