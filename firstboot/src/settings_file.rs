//! The settings of this host as a file: read with limits, since it may lie on a volume that somebody has plugged in.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use xenolith_layout::names::STATE_SETTINGS;
use xenolith_settings::{MAX_SETTINGS, Settings, VERSION};

/// Reads settings that are a plain file of bounded length.
///
/// # Errors
/// When it is no such file, or is refused.
pub fn read_settings(path: &Path) -> anyhow::Result<(Settings, String)> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    anyhow::ensure!(file.metadata()?.is_file(), "{} is not a file", path.display());
    let mut bytes = Vec::new();
    file.take(MAX_SETTINGS as u64 + 1).read_to_end(&mut bytes)?;
    let settings = Settings::parse(&bytes).with_context(|| format!("{} is refused", path.display()))?;
    Ok((settings, String::from_utf8(bytes)?))
}

/// The settings that the host with this state has; those of a host that was told nothing, if there are none.
///
/// # Errors
/// As [`read_settings`].
pub fn current_settings(state: &Path) -> anyhow::Result<Settings> {
    let path = state.join(STATE_SETTINGS);
    if !path.exists() {
        return Ok(Settings {
            version: VERSION,
            host: Default::default(),
            network: Default::default(),
            access: Default::default(),
            storage: None,
            pool: None,
        });
    }
    Ok(read_settings(&path)?.0)
}
