//! A disk in memory, which takes as much of it as holds anything.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
};

/// Bytes that are kept or left out together.
const PIECE: usize = 1 << 20;

/// A disk of a fixed size whose bytes are zero until something else is written.
///
/// File systems are made on it with a call for every cluster and every entry of a table: on a file each of them would be a system call.
#[derive(Debug)]
pub struct Sparse {
    size: u64,
    at: u64,
    /// By their numbers, those that hold anything.
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl Sparse {
    /// An empty disk of so many bytes.
    pub fn new(size: u64) -> Self {
        Self { size, at: 0, pieces: BTreeMap::new() }
    }

    /// Where the last piece ends that holds anything, in bytes.
    pub fn end(&self) -> u64 {
        let last = self.pieces.last_key_value();
        last.map_or(0, |(number, _)| ((number + 1) * PIECE as u64).min(self.size))
    }

    /// All that holds anything, each with its place in bytes, in their order.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.pieces.iter().map(|(number, piece)| {
            let at = number * PIECE as u64;
            let length = (self.size - at).min(PIECE as u64);
            (at, &piece[..usize::try_from(length).unwrap_or(PIECE)])
        })
    }

    /// The piece at this place, where in it that is, and how much of `length` bytes lies in it; nothing at the end of the disk.
    fn here(&self, length: usize) -> Option<(u64, usize, usize)> {
        let left = self.size.checked_sub(self.at).filter(|left| *left > 0)?;
        let (number, within) = (self.at / PIECE as u64, self.at % PIECE as u64);
        let within = usize::try_from(within).ok()?;
        let length = length.min(PIECE - within).min(usize::try_from(left).unwrap_or(usize::MAX));
        Some((number, within, length))
    }
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((number, within, length)) = self.here(buffer.len()) else { return Ok(0) };
        match self.pieces.get(&number) {
            Some(piece) => buffer[..length].copy_from_slice(&piece[within..within + length]),
            None => buffer[..length].fill(0),
        }
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((number, within, length)) = self.here(bytes.len()) else { return Ok(0) };
        let bytes = &bytes[..length];
        let is_there = self.pieces.contains_key(&number);
        if is_there || bytes.iter().any(|byte| *byte != 0) {
            let piece = self.pieces.entry(number).or_insert_with(|| vec![0; PIECE].into());
            piece[within..within + length].copy_from_slice(bytes);
        }
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_take_no_memory_and_the_end_is_the_end() {
        let mut disk = Sparse::new(1 << 40);
        disk.write_all(&vec![0; 1 << 20]).unwrap();
        assert_eq!((disk.end(), disk.pieces().count()), (0, 0));
        disk.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(disk.write(&[1, 2]).unwrap(), 1);
        assert_eq!(disk.write(&[2]).unwrap(), 0, "there is no more room");
        assert_eq!((disk.end(), disk.pieces().count()), (1 << 40, 1));
        assert!(disk.seek(SeekFrom::Current(-(1 << 41))).is_err());
    }

    proptest! {
        /// It holds what an array of its size would hold.
        #[test]
        fn it_is_an_array_of_its_size(
            size in 1_usize..200_000,
            writes in prop::collection::vec((0_usize..210_000, 0_usize..90_000, 0_u8..3), 0..12),
        ) {
            let (mut disk, mut array) = (Sparse::new(size as u64), vec![0; size]);
            for (at, length, byte) in writes {
                disk.seek(SeekFrom::Start(at as u64)).unwrap();
                let fits = length.min(size.saturating_sub(at));
                let wrote = disk.write_all(&vec![byte; length]);
                prop_assert_eq!(wrote.is_ok(), fits == length);
                if fits > 0 {
                    array[at..at + fits].fill(byte);
                }
            }
            let mut read = Vec::new();
            disk.seek(SeekFrom::Start(0)).unwrap();
            disk.read_to_end(&mut read).unwrap();
            prop_assert!(read == array);
            let mut pieces = vec![0; size];
            for (at, piece) in disk.pieces() {
                pieces[usize::try_from(at).unwrap()..][..piece.len()].copy_from_slice(piece);
            }
            prop_assert!(pieces == array);
        }
    }
}
