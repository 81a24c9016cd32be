//! Which volumes may hold a seed.

use std::path::{Path, PathBuf};

use xenolith_layout::names::SEED_LABEL;
use xenolith_machine::lsblk::{Answer, Device};

/// The volumes labelled [`SEED_LABEL`], in the order of the machine's devices. There may be several, so the one link that udev makes
/// for a label is not enough; those on the medium that was started are left out, since its own area comes after what somebody has
/// plugged in.
pub fn plugged_in(devices: &Answer, medium: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    devices.blockdevices.iter().for_each(|device| collect(device, medium, &mut found));
    found
}

fn collect(device: &Device, medium: Option<&Path>, found: &mut Vec<PathBuf>) {
    let path = Path::new("/dev").join(&device.kname);
    if medium == Some(&path) {
        return;
    }
    if device.label.as_deref() == Some(SEED_LABEL) && !found.contains(&path) {
        found.push(path);
    }
    device.children.iter().for_each(|child| collect(child, medium, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kname: &str, label: Option<&str>, children: Vec<Device>) -> Device {
        Device { kname: kname.into(), label: label.map(str::to_owned), children, ..Device::default() }
    }

    #[test]
    fn volumes_are_found_on_whole_disks_and_partitions_but_not_on_the_medium() {
        let seed = Some(SEED_LABEL);
        let medium = device("sda", Some("XENOLITH_MEDIA"), vec![device("sda3", seed, Vec::new())]);
        let stick =
            device("sdb", None, vec![device("sdb1", seed, Vec::new()), device("sdb2", None, Vec::new())]);
        let plain = device("sdc", seed, Vec::new());
        let devices = Answer { blockdevices: vec![medium, stick, plain] };
        let paths = |medium: Option<&str>| {
            let found = plugged_in(&devices, medium.map(Path::new));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(paths(Some("/dev/sda")), ["/dev/sdb1", "/dev/sdc"]);
        assert_eq!(paths(None), ["/dev/sda3", "/dev/sdb1", "/dev/sdc"]);
    }
}
