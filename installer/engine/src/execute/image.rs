//! The system's image on a disk: written, and **read back while the rest is still being written**.
//!
//! ```text
//!   writer   source ─▶ disk ─▶ "there are so many bytes"
//!   reader                        └─▶ flush ─▶ read, past all caches ─▶ hash ─▶ compare with the tree
//! ```
//! The tree goes first, is read back, and is proven by the root hash; from there on each block of the root is. A medium is slower than
//! a disk, so reading back costs what is left when the last block was written.

use std::{
    io::{self, Read, Seek as _, SeekFrom},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
};

use fs_err as fs;
use xenolith_layout::{Bytes, RootHash};
use xenolith_verity::Aligned;

use super::{Disk, Source, StepError, steps::copy};
use crate::plan::Image;

/// Where the image goes.
pub(super) struct Slot<'a, D> {
    pub(super) disk: &'a D,
    pub(super) root: Bytes,
    pub(super) verity: Bytes,
}

/// Writes root image and verity tree, and proves that the disk gives them back. `progress` hears how much of how much is written.
///
/// # Errors
/// [`StepError::Length`] when the source ends early, [`StepError::ReadBack`] when the disk gives back something else.
pub(super) fn write<D: Disk>(
    slot: &Slot<'_, D>,
    image: &Image,
    source: &Source,
    mut progress: impl FnMut(Bytes, Bytes),
) -> Result<(), StepError> {
    let total = image.root + image.verity;
    let mut tree = open("the verity tree", &source.verity, image.verity)?;
    let mut root = open("the root image", &source.root, image.root)?;
    copy(&mut tree, slot.disk, slot.verity, |done| progress(done, total))?;
    slot.disk.flush()?;
    let mut tree = Aligned::new(usize::try_from(image.verity.get()).map_err(io::Error::other)?);
    slot.disk.read_back(slot.verity, &mut tree)?;
    thread::scope(|scope| {
        let (written, so_far) = mpsc::channel();
        let proof = scope.spawn(|| prove(slot, so_far, &tree, &image.root_hash));
        let copied = copy(&mut root, slot.disk, slot.root, |done| {
            // A reader that has stopped says why below.
            let _ = written.send(done);
            progress(image.verity + done, total);
        });
        drop(written);
        let proven = proof.join().expect("the reader does not panic");
        copied?;
        proven.map_err(StepError::ReadBack)
    })
}

fn prove<D: Disk>(
    slot: &Slot<'_, D>,
    written: Receiver<Bytes>,
    mut tree: &[u8],
    root_hash: &RootHash,
) -> Result<(), xenolith_verity::VerityError> {
    let mut root =
        ReadBack { disk: slot.disk, first: slot.root, written, flushed: Bytes::ZERO, read: Bytes::ZERO };
    xenolith_verity::verify(&mut root, &mut tree, root_hash)
}

/// What is to be written. A block device is as long as its partition; a file exactly as long as it should be.
fn open(what: &'static str, path: &Path, planned: Bytes) -> Result<io::Take<fs::File>, StepError> {
    let mut file = fs::File::open(path)?;
    let found = Bytes::new(file.seek(SeekFrom::End(0))?);
    if found < planned {
        return Err(StepError::Length { what, found, planned });
    }
    file.rewind()?;
    Ok(file.take(planned.get()))
}

/// Reads what somebody is writing, as far as that is; waits for more, and ends when they stop.
struct ReadBack<'a, D> {
    disk: &'a D,
    first: Bytes,
    written: Receiver<Bytes>,
    flushed: Bytes,
    read: Bytes,
}

impl<D: Disk> Read for ReadBack<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.flushed {
            let Ok(written) = self.written.recv() else { return Ok(0) };
            // One flush for all that has come meanwhile.
            let written = self.written.try_iter().last().unwrap_or(written);
            self.disk.flush()?;
            self.flushed = written;
        }
        let left = self.flushed.checked_sub(self.read).expect("no more is read than was flushed");
        let length = buffer.len().min(usize::try_from(left.get()).unwrap_or(usize::MAX));
        self.disk.read_back(self.first + self.read, &mut buffer[..length])?;
        self.read = self.read + Bytes::new(length as u64);
        Ok(length)
    }
}
