//! Writing an image to a stick. **Until every byte was read back and is right, nothing on the stick can boot.**
//!
//! ```text
//!   1  zeros over the first MiB, flush       cut: no partition table, no boot sector; what was there is gone
//!   2  zeros over an old backup GPT          cut: likewise
//!   3  the image from 1 MiB on, flush        cut: likewise; firmware finds no partition
//!   4  drop the cache, read back, compare    cut: likewise
//!   5  the first MiB, flush                  cut: the stick boots or it does not; all behind the first MiB is right
//!   6  drop the cache, read back, compare; on any error: line 1 again
//! ```
//! An image in place of a device is written in the same order. The cache is dropped by `posix_fadvise`, which lets go of
//! clean pages only; hence the flush before it. A stick that lies about its capacity gives back other bytes than it
//! took, and is found at line 4. The kernel reads the new table when the device is closed: udev watches for that.

use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest as _, Sha256};

use super::plan::Plan;

/// Bytes in one write, and the unit of comparison.
const CHUNK: u64 = 1 << 20;
/// Bytes after which the device has to catch up, so that progress tells of the device and not of memory.
const FLUSH_EVERY: u64 = 32 << 20;

/// What is written to.
pub trait Device: Read + Write + Seek {
    /// Waits until all that was written is on the device.
    ///
    /// # Errors
    /// As the device says; what was written may be lost.
    fn flush_all(&mut self) -> io::Result<()>;

    /// Makes the next reads come from the device.
    ///
    /// # Errors
    /// When the cache cannot be dropped.
    fn forget(&mut self) -> io::Result<()>;
}

impl Device for fs_err::File {
    fn flush_all(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn forget(&mut self) -> io::Result<()> {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        posix_fadvise(self.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).map_err(io::Error::from)
    }
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Image(#[source] io::Error),
    /// The device does not take it.
    #[error("cannot write at byte {at} of the device")]
    Write {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The device does not give it back.
    #[error("cannot read back byte {at} of the device")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The device gives back something else.
    #[error("the device holds something else than was written, between byte {at} and byte {end}")]
    Mismatch {
        /// Where the difference is, to a chunk.
        at: u64,
        /// The end of that chunk.
        end: u64,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What happens, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are on the device.
    Written(u64),
    /// So many bytes were read back and are right.
    Verified(u64),
}

/// Writes, reads back, compares: the SHA-256 of the image.
///
/// # Errors
/// [`WriteError`]; the device then does not boot.
pub fn write(
    plan: &Plan,
    image: &mut (impl Read + Seek),
    device: &mut impl Device,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<[u8; 32], WriteError> {
    let written = write_all(plan, image, device, stop, progress);
    if written.is_err() {
        // The commit may have been cut, and a stick with less memory than it says writes its start anew when it is
        // full. If it takes nothing any more, there is nothing left to try.
        let _ = zero(device, 0, super::plan::HEAD.min(plan.device)).and_then(|()| flush(device, 0));
    }
    written
}

fn write_all(
    plan: &Plan,
    image: &mut (impl Read + Seek),
    device: &mut impl Device,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<[u8; 32], WriteError> {
    let mut whole = Sha256::new();
    let mut head = vec![0; index(plan.head)];
    image.seek(SeekFrom::Start(0)).and_then(|_| image.read_exact(&mut head)).map_err(WriteError::Image)?;
    whole.update(&head);

    zero(device, 0, super::plan::HEAD.min(plan.device))?;
    flush(device, 0)?; // cut: nothing boots, and so it stays up to the commit
    if let Some((start, length)) = plan.stale_end {
        zero(device, start, length)?;
        flush(device, start)?;
    }
    let mut sums = Vec::new();
    let mut at = plan.head;
    for_each_chunk(plan.head, plan.image, stop, |from, buffer| {
        image.read_exact(buffer).map_err(WriteError::Image)?;
        whole.update(&*buffer);
        sums.push(<[u8; 32]>::from(Sha256::digest(&*buffer)));
        put(device, from, buffer)?;
        at = from + buffer.len() as u64;
        if (at - plan.head).is_multiple_of(FLUSH_EVERY) {
            flush(device, at)?;
        }
        progress(Progress::Written(at));
        Ok(())
    })?;
    flush(device, at)?;
    device.forget().map_err(|source| WriteError::Read { at: 0, source })?;
    let mut expected = sums.iter();
    for_each_chunk(plan.head, plan.image, stop, |from, buffer| {
        get(device, from, buffer)?;
        let end = from + buffer.len() as u64;
        if expected.next().map(<[u8; 32]>::as_slice) != Some(Sha256::digest(&*buffer).as_slice()) {
            return Err(WriteError::Mismatch { at: from, end });
        }
        progress(Progress::Verified(end));
        Ok(())
    })?;
    if stop() {
        return Err(WriteError::Interrupted);
    }
    commit(device, &head)?;
    Ok(whole.finalize().into())
}

/// Lines 5 and 6.
fn commit(device: &mut impl Device, head: &[u8]) -> Result<(), WriteError> {
    put(device, 0, head)?;
    flush(device, 0)?;
    device.forget().map_err(|source| WriteError::Read { at: 0, source })?;
    let mut found = vec![0; head.len()];
    get(device, 0, &mut found)?;
    if found == head { Ok(()) } else { Err(WriteError::Mismatch { at: 0, end: head.len() as u64 }) }
}

fn index(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn for_each_chunk(
    from: u64,
    to: u64,
    stop: &dyn Fn() -> bool,
    mut each: impl FnMut(u64, &mut [u8]) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut buffer = vec![0; index(CHUNK)];
    let mut at = from;
    while at < to {
        if stop() {
            return Err(WriteError::Interrupted);
        }
        let length = CHUNK.min(to - at);
        each(at, &mut buffer[..index(length)])?;
        at += length;
    }
    Ok(())
}

fn put(device: &mut impl Device, at: u64, bytes: &[u8]) -> Result<(), WriteError> {
    let written = device.seek(SeekFrom::Start(at)).and_then(|_| device.write_all(bytes));
    written.map_err(|source| WriteError::Write { at, source })
}

fn get(device: &mut impl Device, at: u64, bytes: &mut [u8]) -> Result<(), WriteError> {
    let read = device.seek(SeekFrom::Start(at)).and_then(|_| device.read_exact(bytes));
    read.map_err(|source| WriteError::Read { at, source })
}

fn flush(device: &mut impl Device, at: u64) -> Result<(), WriteError> {
    device.flush_all().map_err(|source| WriteError::Write { at, source })
}

fn zero(device: &mut impl Device, at: u64, length: u64) -> Result<(), WriteError> {
    let zeros = vec![0; index(length.min(CHUNK))];
    let mut done = 0;
    while done < length {
        let part = index(CHUNK.min(length - done));
        put(device, at + done, &zeros[..part])?;
        done += part as u64;
    }
    Ok(())
}
