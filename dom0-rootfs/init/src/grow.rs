//! Growing the state partition in the partition table, once, at the first boot of a disk whose state is still
//! blank. The promise: **after a power cut at any moment the kernel and the firmware still find a whole
//! table, and every entry but one is what it was.**
//!
//! ```text
//!   MBR | header | entries |  … partitions …  | state ->        … free …      | entries | header
//!   1 write entries and header at the very end of the disk, flush   cut: the old table is untouched
//!   2 write entries and header at the start, flush                  cut: the one at the end is whole (firmware mends)
//!   3 the kernel reads the table anew                               cut: so it does at the next boot
//! ```
//! A disk image that was written to a longer disk has its backup table in the middle, where nobody looks for
//! it; step 1 comes first so that step 2 is never without a backup that firmware and kernel find (last
//! sector).
//!
//! It happens after a slot on this disk has been recognised and before it is opened, so that nothing on the
//! disk is in use and `blockdev --rereadpt` is granted; the nodes are there again when it returns. If it is
//! refused after all, this boot makes its file system as short as the partition was, and the next one grows
//! it. `partx --update` (util-linux 2.41) would work beside partitions in use, but after it the kernel no
//! longer knows the partition's GPT name; `resizepart` is not in Debian's package.
//!
//! The new table is made by the `gpt` crate over a layer that collects its writes (the crate itself writes
//! both tables interleaved); what is collected is then compared with what may change, and written in this
//! order. Left out: the disk's length in the protective MBR, which neither firmware nor kernel compares;
//! making a state partition where the table has none; growing one that has a file system already.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::partition::Partition;
use xenolith_layout::disk::{Found, Growth, Role, STATE_MAX, grow_state};
use xenolith_layout::{Bytes, Lba, SectorSize};

use crate::error::InitError;
use crate::needs::Tool;

/// The writes that make the new table, each as position and bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct NewTable {
    /// Behind the partitions: written first.
    backup: Vec<(u64, Vec<u8>)>,
    /// Before the partitions.
    primary: Vec<(u64, Vec<u8>)>,
}

/// Grows the state partition as far as it may. Gives whether anything was written.
///
/// # Errors
/// Nothing was written if the table cannot be read or makes no sense. After an I/O error while writing, the old
/// table is still whole, or its backup is.
pub fn grow(disk: &Path, sector: u32) -> Result<bool, InitError> {
    let sector = SectorSize::from_bytes(sector.into()).ok_or(InitError::Refused("unknown sector size"))?;
    // No create, no truncate; the kernel refuses nothing here, so this is the place to be careful.
    let mut device = fs_err::OpenOptions::new().read(true).write(true).open(disk)?.into_parts().0;
    let length = Bytes::new(device.seek(SeekFrom::End(0))?);
    let Some((_, table)) = plan(&device, disk, length, sector)? else { return Ok(false) };
    write_all(&device, &table.backup)?; // cut: the old table is untouched
    device.sync_all()?;
    write_all(&device, &table.primary)?; // cut: the backup just written is whole
    device.sync_all()?; // cut: the new table holds
    drop(device);
    Tool::Blockdev.run().arg("--rereadpt").arg(disk).done()?;
    Ok(true)
}

fn write_all(device: &File, writes: &[(u64, Vec<u8>)]) -> io::Result<()> {
    writes.iter().try_for_each(|(at, bytes)| device.write_all_at(bytes, *at))
}

/// Which partition changes and what to write; nothing if it is long enough.
fn plan(
    device: &File,
    disk: &Path,
    length: Bytes,
    sector: SectorSize,
) -> Result<Option<(u32, NewTable)>, InitError> {
    let table_error = |source| InitError::Table { disk: disk.into(), source };
    let block = match sector {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    };
    // The crate (4.1) panics on entries of another size, which the specification allows and nobody uses.
    let mut size = [0; 4];
    device.read_exact_at(&mut size, block.as_u64() + 84)?;
    if size != 128_u32.to_le_bytes() {
        return Err(InitError::Refused("the first partition table is damaged or of an unusual kind"));
    }
    let staged = Staged { device, length: length.get(), position: 0, writes: Vec::new() };
    let mut gpt = GptConfig::new()
        .writable(true)
        .logical_block_size(block)
        .open_from_device(staged)
        .map_err(table_error)?;
    if gpt.primary_header().is_err() {
        // The loader found the disk by its backup table. Mending is left to people: something is wrong here.
        return Err(InitError::Refused("the primary partition table is damaged"));
    }
    let before = gpt.partitions().clone();
    let is_one_to_n = before.keys().copied().eq(1..=u32::try_from(before.len()).unwrap_or(0));
    if !is_one_to_n {
        // The crate would number them anew.
        return Err(InitError::Refused("the partition table has gaps in its numbers"));
    }
    let found: Vec<Found> = before.iter().map(|(number, partition)| found(*number, partition)).collect();
    let Growth::To { number, last, first, .. } = grow_state(&found, length, sector, STATE_MAX)? else {
        return Ok(None);
    };
    let mut after = before.clone();
    let state =
        after.get_mut(&number).ok_or(InitError::Refused("the state partition vanished from its table"))?;
    state.last_lba = last.get();
    gpt.update_partitions(after).map_err(table_error)?;
    gpt.write_inplace().map_err(table_error)?;
    let staged = gpt.take_device();
    let fence =
        first.offset(sector).ok_or(InitError::Refused("the state partition begins beyond any disk"))?;
    let table = staged.split(fence.get());
    check(device, length, block, &table, &before, number)?;
    Ok(Some((number, table)))
}

fn found(number: u32, partition: &Partition) -> Found {
    Found {
        number,
        label: partition.name.clone(),
        first: Lba::new(partition.first_lba),
        last: Lba::new(partition.last_lba),
    }
}

/// Reads the new table back through the layer, once with the primary and once without: both must show the old
/// partitions with one difference.
fn check(
    device: &File,
    length: Bytes,
    block: LogicalBlockSize,
    table: &NewTable,
    before: &std::collections::BTreeMap<u32, Partition>,
    grown: u32,
) -> Result<(), InitError> {
    let bad = InitError::Refused("the new partition table does not read back as planned");
    let mut writes: Vec<_> = table.backup.iter().chain(&table.primary).cloned().collect();
    for without_primary in [false, true] {
        if without_primary {
            writes.push((block.as_u64(), vec![0; 512]));
        }
        let layer = Staged { device, length: length.get(), position: 0, writes: writes.clone() };
        let Ok(read) = GptConfig::new().logical_block_size(block).open_from_device(layer) else {
            return Err(bad);
        };
        let is_as_planned = read.partitions().len() == before.len()
            && read.partitions().iter().all(|(number, new)| {
                before.get(number).is_some_and(|old| {
                    let longer = *number == grown && new.last_lba > old.last_lba;
                    let old = Partition {
                        last_lba: if longer { new.last_lba } else { old.last_lba },
                        ..old.clone()
                    };
                    *new == old && (longer || *number != grown)
                })
            });
        if !is_as_planned
            || read.partitions().get(&grown).is_none_or(|state| state.name != Role::State.label())
        {
            return Err(bad);
        }
    }
    Ok(())
}

/// A device whose writes are kept in memory; reads see them.
#[derive(Debug)]
struct Staged<'a> {
    device: &'a File,
    length: u64,
    position: u64,
    writes: Vec<(u64, Vec<u8>)>,
}

impl Staged<'_> {
    /// The writes behind and before `fence`, in the order they were made.
    fn split(self, fence: u64) -> NewTable {
        let (backup, primary) = self.writes.into_iter().partition(|(at, _)| *at >= fence);
        NewTable { backup, primary }
    }
}

impl Read for Staged<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.device.read_at(buffer, self.position)?;
        for (at, bytes) in &self.writes {
            // Where this write and the read overlap, as positions on the device.
            let from = (*at).max(self.position);
            let to = at.saturating_add(size(bytes.len())).min(self.position + size(count));
            for place in from..to {
                buffer[index(place - self.position)] = bytes[index(place - at)];
            }
        }
        self.position += size(count);
        Ok(count)
    }
}

impl Write for Staged<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.position.saturating_add(size(bytes.len()));
        if end > self.length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the table would lie beyond the disk"));
        }
        self.writes.push((self.position, bytes.to_vec()));
        self.position = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Staged<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

fn size(length: usize) -> u64 {
    u64::try_from(length).expect("a buffer is shorter than 2^64 bytes")
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset within a buffer")
}

#[cfg(test)]
#[path = "grow_tests.rs"]
mod tests;
