//! The disk image: a GPT by the `gpt` crate around file system images, sparse, without loop devices or mounts.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR, partition, partition_types};
use nix::unistd::{Whence, lseek64};
use xenolith_layout::{
    SectorSize,
    disk::{DiskLayout, Role},
};

/// What goes wrong while a disk image is written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The image file or a content file.
    #[error("cannot write the disk image")]
    Io(#[from] io::Error),
    /// The partition table.
    #[error("cannot write the partition table")]
    Gpt(#[from] gpt::GptError),
    /// A content is larger than its partition.
    #[error("{} has {size} bytes and does not fit into {label}, which has {room}", content.display())]
    TooLarge {
        /// The content.
        content: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The partition.
        label: &'static str,
        /// Its size in bytes.
        room: u64,
    },
}

/// Writes a new sparse disk image with this layout; partitions not named in `contents` stay holes.
///
/// # Errors
/// [`DiskError`].
pub fn write(out: &Path, layout: &DiskLayout, contents: &[(Role, PathBuf)]) -> Result<(), DiskError> {
    let mut file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(out)?;
    let sector = match layout.sector {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    };
    let length = layout.sectors.bytes(layout.sector).expect("a planned disk has a length").get();
    file.set_len(length)?;
    write_table(file.file_mut(), layout, sector)?;
    for (role, content) in contents {
        let partition = layout.partition(*role).expect("a layout has every fixed partition");
        let (size, room) = (fs::metadata(content)?.len(), layout.length(partition).get());
        if size > room {
            return Err(DiskError::TooLarge { content: content.clone(), size, label: role.label(), room });
        }
        copy_data(content, file.file_mut(), layout.offset(partition).get())?;
    }
    file.sync_all()?;
    Ok(())
}

fn write_table(
    file: &mut std::fs::File,
    layout: &DiskLayout,
    sector: LogicalBlockSize,
) -> Result<(), DiskError> {
    let last = u32::try_from(layout.sectors.get() - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(last)
        .overwrite_lba0(&mut *file)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(sector)
        .create_from_device(&mut *file, Some(uuid::Uuid::from_bytes(*layout.guid.as_bytes())))?;
    let partitions = layout.partitions.iter().map(|planned| {
        let entry = partition::Partition {
            part_type_guid: partition_types::Type {
                guid: uuid::Uuid::from_bytes(*planned.type_guid().uuid().as_bytes()),
                os: partition_types::OperatingSystem::None,
            },
            part_guid: uuid::Uuid::from_bytes(*planned.guid.as_bytes()),
            first_lba: planned.first.get(),
            last_lba: planned.last.get(),
            flags: 0,
            name: planned.label().to_owned(),
        };
        (planned.number(), entry)
    });
    table.update_partitions(partitions.collect::<BTreeMap<_, _>>())?;
    table.write()?;
    Ok(())
}

/// Copies the data of a sparse file to `offset`, leaving its holes as holes.
fn copy_data(from: &Path, to: &mut std::fs::File, offset: u64) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut at: i64 = 0;
    loop {
        let start = match lseek64(source.file(), at, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::errno::Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = lseek64(source.file(), start, Whence::SeekHole)?;
        source.seek(SeekFrom::Start(start.cast_unsigned()))?;
        to.seek(SeekFrom::Start(offset + start.cast_unsigned()))?;
        io::copy(&mut (&mut source).take((end - start).cast_unsigned()), to)?;
        to.flush()?;
        at = end;
    }
}
