//! Which volumes may hold answers.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fs_err as fs;
use xenolith_layout::names::SEED_LABEL;
use xenolith_machine::Machine;

/// The devices with a volume of that label: what the machine knows of, and what udev's link leads to, which may be a CD.
pub fn devices(machine: &Machine, root: &Path) -> Vec<PathBuf> {
    let named = |label: &Option<String>| label.as_deref() == Some(SEED_LABEL);
    let mut found = BTreeSet::new();
    for disk in &machine.disks {
        if named(&disk.content.label) {
            found.insert(PathBuf::from(disk.path()));
        }
        let parts = disk.content.parts.iter().filter(|part| named(&part.volume));
        found.extend(parts.map(|part| Path::new("/dev").join(&part.kernel_name)));
    }
    found.extend(fs::canonicalize(root.join("dev/disk/by-label").join(SEED_LABEL)).ok());
    found.into_iter().collect()
}
