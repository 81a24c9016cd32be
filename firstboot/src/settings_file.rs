//! The settings of this host as a file: read with limits, since it may lie on a volume that somebody has plugged in.

use std::path::Path;

use anyhow::Context as _;
use xenolith_layout::names::STATE_SETTINGS;
use xenolith_probe::plain_file;
use xenolith_settings::{MAX_SETTINGS, Settings, VERSION};

/// Reads settings that are a plain file of bounded length.
///
/// # Errors
/// When it is no such file, or is refused.
pub fn read_settings(path: &Path) -> anyhow::Result<(Settings, String)> {
    let bytes = plain_file(path, MAX_SETTINGS)?.with_context(|| format!("there is no {}", path.display()))?;
    parse_settings(bytes, &path.display().to_string())
}

/// Settings and their text; `what` says to people where they come from.
///
/// # Errors
/// When they are refused.
pub fn parse_settings(bytes: Vec<u8>, what: &str) -> anyhow::Result<(Settings, String)> {
    let settings = Settings::parse(&bytes).with_context(|| format!("{what} is refused"))?;
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
