//! Part of a file, or of bytes in memory, that is read as if it were all there is.
//!
//! **Nothing that a file claims about itself makes us read outside of a window, or for ever.** A window of a window
//! can only be smaller, and all windows of one file draw on one allowance of reads: parsers that follow chains from outside
//! (FAT, directories) end with an error where the chain is a ring.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek64},
};

/// Reads that one inspection may do: a boot file of 100 MB in clusters of 512 bytes takes 400,000.
const READS: u64 = 50_000_000;

/// Something with bytes at offsets.
pub trait Source: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `at`; 0 at the end.
    ///
    /// # Errors
    /// As the file says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Where the next byte at or behind `at` is that may be something else than zero.
    fn next_data(&self, at: u64) -> u64 {
        at
    }
}

impl Source for fs_err::File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file().read_at(buffer, at)
    }

    fn next_data(&self, at: u64) -> u64 {
        let Ok(offset) = i64::try_from(at) else { return at };
        match lseek64(self.file(), offset, Whence::SeekData) {
            Ok(next) => u64::try_from(next).unwrap_or(at),
            Err(Errno::ENXIO) => u64::MAX,
            // Devices, and file systems without holes.
            Err(_) => at,
        }
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// A range of a [`Source`].
#[derive(Clone)]
pub struct Window {
    source: Arc<dyn Source>,
    allowance: Arc<AtomicU64>,
    start: u64,
    length: u64,
    at: u64,
}

impl Window {
    /// All of `source`, which is `length` bytes long.
    pub fn new(source: impl Source + 'static, length: u64) -> Self {
        let allowance = Arc::new(AtomicU64::new(READS));
        Self { source: Arc::new(source), allowance, start: 0, length, at: 0 }
    }

    /// All of a file or block device.
    ///
    /// # Errors
    /// When its end cannot be found.
    pub fn of_file(mut file: fs_err::File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self::new(file, length))
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// `length` bytes from `start` on, if they lie within this window.
    pub fn part(&self, start: u64, length: u64) -> Option<Self> {
        let end = start.checked_add(length)?;
        (end <= self.length).then(|| Self { start: self.start + start, length, at: 0, ..self.clone() })
    }

    /// Fills `buffer` from `at` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when it lies outside of the window.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let count = self.read_some(&mut buffer[done..], at.saturating_add(done as u64))?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            done += count;
        }
        Ok(())
    }

    /// As [`Source::next_data`]; at most the length.
    pub fn next_data(&self, at: u64) -> u64 {
        let next = self.source.next_data(self.start.saturating_add(at));
        next.saturating_sub(self.start).min(self.length)
    }

    /// `N` bytes at `at`.
    ///
    /// # Errors
    /// As [`Window::read_exact_at`].
    pub fn array<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// All bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] when there are more than `limit`.
    pub fn to_vec(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.length > limit {
            let why = format!("{} bytes are more than the {limit} that are read of such a file", self.length);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut bytes = Vec::new();
        let mut whole = Self { at: 0, ..self.clone() };
        whole.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn read_some(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let one_less = |left: u64| left.checked_sub(1);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).map_err(|_| {
            io::Error::other(
                "its structures are a ring, or far larger than any of ours: reading was given up",
            )
        })?;
        let rest = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = rest.min(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        self.source.read_at(&mut buffer[..count], self.start + at)
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_some(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// `fatfs` asks for it; nothing is ever written.
impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_part_never_reaches_beyond_it() {
        let whole = Window::new((0..100).collect::<Vec<u8>>(), 100);
        let part = whole.part(10, 20).unwrap();
        assert_eq!(part.part(5, 15).unwrap().to_vec(100).unwrap(), (15..30).collect::<Vec<u8>>());
        assert!(part.part(5, 16).is_none());
        assert!(part.part(u64::MAX, 2).is_none());
        assert!(part.array::<4>(18).is_err());
        assert_eq!(part.array::<2>(18).unwrap(), [28, 29]);
        assert!(part.to_vec(19).is_err());
        assert!(part.clone().seek(SeekFrom::Current(-1)).is_err());
    }

    #[test]
    fn a_source_shorter_than_it_said_is_an_error_and_not_zeros() {
        let whole = Window::new(vec![1; 10], 100);
        assert!(whole.to_vec(100).is_err());
        assert!(whole.array::<20>(0).is_err());
    }
}
