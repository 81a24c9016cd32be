//! A seed volume: what a host is told at its first boot, on a FAT volume that is plugged in like a USB stick.

use std::{io, path::Path};

use xenolith_disk::esp::{self, EspContent, EspFile};
use xenolith_layout::names;
use xenolith_settings::{Access, Host, Network, Settings, VERSION};

/// FAT serial number of a seed volume.
const SERIAL: u32 = 0x5845_4e53;

/// Writes a volume labelled [`names::SEED_LABEL`] that lets these keys in as root over SSH, with more files beside.
///
/// # Errors
/// When `image` cannot be written or one of `more` cannot be read.
pub fn volume(image: &Path, ssh_keys: &[String], more: Vec<EspFile>) -> io::Result<()> {
    let access = Access { ssh_keys: ssh_keys.to_vec(), ..Access::default() };
    let settings = Settings {
        version: VERSION,
        host: Host::default(),
        network: Network::default(),
        access,
        storage: None,
        pool: None,
    };
    let text = toml::to_string(&settings).expect("settings are made of what TOML can hold");
    volume_of(image, text, more)
}

/// As [`volume`], of a seed that somebody has written.
///
/// # Errors
/// As [`volume`].
pub fn volume_of(image: &Path, text: String, more: Vec<EspFile>) -> io::Result<()> {
    let seed = EspFile { path: names::SEED_FILE.into(), content: EspContent::Bytes(text.into_bytes()) };
    let files: Vec<EspFile> = std::iter::once(seed).chain(more).collect();
    let size = esp::smallest_size(&files)?;
    esp::write(image, size, names::SEED_LABEL, SERIAL, &files)
}
