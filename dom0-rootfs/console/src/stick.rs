//! A USB stick that somebody has plugged in to carry something away.

use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use xenolith_layout::names::{ESP_FS_LABEL, STATE_FS_LABEL};
use xenolith_machine::lsblk::{Answer, Device};

const MOUNT_POINT: &str = "/run/xenolith/stick";
/// File systems that are written to.
const FILE_SYSTEMS: &[&str] = &["vfat", "ext4"];

/// The volumes that something can be written to: on USB, writable, in use for nothing, and on no disk of ours. Several are no choice for
/// a program.
pub fn volumes(devices: &Answer) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for disk in devices.blockdevices.iter().filter(|disk| disk.tran.as_deref() == Some("usb")) {
        let all: Vec<&Device> = std::iter::once(disk).chain(&disk.children).collect();
        let used = |device: &&&Device| {
            let ours = matches!(device.label.as_deref(), Some(ESP_FS_LABEL | STATE_FS_LABEL));
            let held = !device.children.is_empty() && device.kind == "part";
            ours || held || device.mountpoints.iter().flatten().next().is_some()
        };
        if disk.ro || all.iter().any(|device| used(&device)) {
            continue;
        }
        for device in all {
            let kind = device.fstype.as_deref().filter(|kind| FILE_SYSTEMS.contains(kind));
            if let Some(kind) = kind.filter(|_| !device.ro) {
                found.push((Path::new("/dev").join(&device.kname), kind.to_owned()));
            }
        }
    }
    found
}

/// Copies a file onto a volume and takes the volume away again, so that it may be pulled out.
///
/// # Errors
/// When the volume cannot be mounted or written to.
pub fn copy(file: &Path, volume: &Path, kind: &str) -> anyhow::Result<()> {
    fs::create_dir_all(MOUNT_POINT)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(volume), MOUNT_POINT, Some(kind), flags, None::<&str>)?;
    let copied = copy_into(file, Path::new(MOUNT_POINT));
    let left = umount2(MOUNT_POINT, MntFlags::empty());
    copied?;
    Ok(left?)
}

fn copy_into(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let to = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, &to)?;
    fs::File::open(&to)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<String> {
        let devices = serde_json::from_str(&format!("{{\"blockdevices\":{json}}}")).unwrap();
        volumes(&devices).into_iter().map(|(path, kind)| format!("{} {kind}", path.display())).collect()
    }

    #[test]
    fn only_a_stick_that_nothing_uses_is_written_to() {
        let stick = |more: &str, mounted: &str| {
            format!(
                r#"[{{"kname":"sdb","type":"disk","tran":"usb"{more},"children":[{{"kname":"sdb1","type":"part","fstype":"vfat","mountpoints":[{mounted}]}}]}}]"#
            )
        };
        assert_eq!(found(&stick("", "null")), ["/dev/sdb1 vfat"]);
        assert!(found(&stick("", "\"/mnt\"")).is_empty(), "it is mounted");
        assert!(found(&stick(",\"ro\":true", "null")).is_empty(), "it cannot be written");
        let other = stick("", "null").replace("usb", "sata");
        assert!(found(&other).is_empty(), "a disk of the machine");
        let ours = stick("", "null").replace("\"vfat\"", "\"vfat\",\"label\":\"XENO_ESP\"");
        assert!(found(&ours).is_empty(), "a host boots from it");
        let whole = r#"[{"kname":"sdc","type":"disk","tran":"usb","fstype":"ext4","mountpoints":[null]}]"#;
        assert_eq!(found(whole), ["/dev/sdc ext4"]);
    }
}
