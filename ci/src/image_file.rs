//! Changing a disk image from outside, as bad hardware or an attacker would.

use std::{
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use anyhow::Context as _;
use fs_err as fs;
use gpt::{GptConfig, disk::LogicalBlockSize};
use xenolith_layout::disk::Role;

/// Where a partition begins and how long it is, in bytes.
///
/// # Errors
/// When the image has no such partition.
pub fn partition(image: &Path, role: Role) -> anyhow::Result<(u64, u64)> {
    let config = GptConfig::new().logical_block_size(LogicalBlockSize::Lb512);
    let disk = config.open(image).with_context(|| format!("{} has no partition table", image.display()))?;
    let found = disk.partitions().values().find(|partition| partition.name == role.label());
    let found = found.with_context(|| format!("no partition is called {}", role.label()))?;
    Ok((found.first_lba * 512, (found.last_lba - found.first_lba + 1) * 512))
}

/// Flips the lowest bit of one byte of a partition.
///
/// # Errors
/// When the image cannot be changed.
pub fn flip_bit(image: &Path, role: Role, at: u64) -> anyhow::Result<()> {
    let (start, length) = partition(image, role)?;
    anyhow::ensure!(at < length, "byte {at} is outside of {}", role.label());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(start + at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(start + at))?;
    file.write_all(&[byte[0] ^ 1])?;
    Ok(())
}

/// Opens the ESP of a disk image, hands its file system to `change`, and writes it back.
///
/// # Errors
/// When the image has no ESP, or `change` fails.
pub fn change_esp(
    image: &Path,
    change: impl FnOnce(&EspRoot<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (start, length) = partition(image, Role::Esp)?;
    let file = fs::OpenOptions::new().read(true).write(true).open(image)?.into_parts().0;
    let slice = fscommon::StreamSlice::new(file, start, start + length)?;
    let fat = fatfs::FileSystem::new(slice, fatfs::FsOptions::new()).context("the ESP holds no FAT")?;
    change(&fat.root_dir())?;
    fat.unmount()?;
    Ok(())
}

/// The root folder of an ESP.
pub type EspRoot<'a> = fatfs::Dir<'a, fscommon::StreamSlice<std::fs::File>>;
