//! A seed volume: what a host is told at its first boot, on a FAT volume that is plugged in like a USB stick.

use std::{io, path::Path};

use xenolith_layout::names;

use xenolith_disk::esp::{self, EspContent, EspFile};

/// FAT serial number of a seed volume.
const SERIAL: u32 = 0x5845_4e53;

/// Writes a volume labelled [`names::SEED_LABEL`] that lets these keys in as root over SSH, with more files beside.
///
/// # Errors
/// When `image` cannot be written or one of `more` cannot be read.
pub fn volume(image: &Path, ssh_keys: &[String], more: Vec<EspFile>) -> io::Result<()> {
    let keys = toml::Value::from(ssh_keys.to_vec());
    let seed = toml::Table::from_iter([("ssh_authorized_keys".to_owned(), keys)]);
    let seed =
        EspFile { path: names::SEED_FILE.into(), content: EspContent::Bytes(seed.to_string().into_bytes()) };
    let files: Vec<EspFile> = std::iter::once(seed).chain(more).collect();
    let size = esp::smallest_size(&files)?;
    esp::write(image, size, names::SEED_LABEL, SERIAL, &files)
}
