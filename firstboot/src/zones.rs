//! The time zones of the image.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;

/// Where they lie, below the root.
pub const TIME_ZONES: &str = "usr/share/zoneinfo";
/// `America/Argentina/Ushuaia`.
const DEPTH: usize = 3;

/// The names of all time zones of the image whose files lie below `root`.
pub fn time_zones(root: &Path) -> BTreeSet<String> {
    let mut zones = BTreeSet::new();
    collect(&root.join(TIME_ZONES), "", 0, &mut zones);
    zones
}

fn collect(folder: &Path, above: &str, depth: usize, zones: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        // Zones begin with capitals; beside them lie tables and copies for other purposes.
        if !path.starts_with(|c: char| c.is_ascii_uppercase()) || depth == DEPTH {
            continue;
        }
        if entry.path().is_dir() {
            collect(&entry.path(), &path, depth + 1, zones);
        } else {
            zones.insert(path);
        }
    }
}
