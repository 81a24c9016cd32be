//! systemd units that bring local storage up at each boot. LVM switches nothing on by itself (`etc/lvm/lvmlocal.conf`).

use xenolith_settings::{LocalKind, LocalStorage};

use super::{ARRAY_NAME, Names, Step, array_id, part_device};
use crate::change::Change;

const FOLDER: &str = "etc/systemd/system";
const VOLUMES: &str = "xenolith-local-storage.service";

/// The image's configuration of mdadm starts no array; this names the one that udev may start at each boot (mdadm.conf(5), ARRAY).
pub(super) fn array(storage: &LocalStorage, names: &Names) -> Vec<Change> {
    if !storage.mirror {
        return Vec::new();
    }
    let text = format!("AUTO -all\nARRAY /dev/md/{ARRAY_NAME} metadata=1.2 UUID={}\n", array_id(names.array));
    vec![Change::Write { path: "etc/mdadm/mdadm.conf".to_owned(), mode: 0o644, text }]
}

/// Units for storage with a file system, and that it is mounted. Logical volumes of guests are the toolstack's to switch on.
pub(super) fn changes(storage: &LocalStorage, names: &Names) -> Vec<Change> {
    if storage.kind == LocalKind::Lvm {
        return Vec::new();
    }
    let mount = format!("{}.mount", escaped(&names.mount_point));
    let write =
        |name: &str, text: String| Change::Write { path: format!("{FOLDER}/{name}"), mode: 0o644, text };
    vec![
        write(VOLUMES, volumes(storage, names)),
        write(&mount, mounted(names)),
        Change::Link {
            path: format!("{FOLDER}/multi-user.target.wants/{mount}"),
            target: format!("../{mount}"),
        },
        Change::Storage(Step::Mount { unit: mount }),
    ]
}

/// Waits for the devices themselves: LVM sees a group only when all of it is there. A disk that never comes holds up nothing else.
fn volumes(storage: &LocalStorage, names: &Names) -> String {
    let devices: Vec<String> = if storage.mirror {
        vec![names.array_device()]
    } else {
        storage.parts.iter().map(|guid| part_device(*guid)).collect()
    };
    let devices: Vec<String> = devices.iter().map(|device| format!("{}.device", escaped(device))).collect();
    let wants: String = devices.iter().map(|device| format!("Requires={device}\nAfter={device}\n")).collect();
    format!(
        "[Unit]\nDescription=Volumes of local storage\nDefaultDependencies=no\n{wants}Conflicts=shutdown.target\n\
         Before=shutdown.target\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/usr/sbin/vgchange --activate y {}\n",
        names.group
    )
}

fn mounted(names: &Names) -> String {
    format!(
        "[Unit]\nDescription=Local storage for guests\nDefaultDependencies=no\nRequires={VOLUMES}\nAfter={VOLUMES}\n\
         Conflicts=umount.target\nBefore=umount.target\n\n[Mount]\nWhat=/dev/{}/{}\nWhere={}\nType=ext4\n\
         Options=nodev,nosuid,noexec\n",
        names.group, names.sr, names.mount_point
    )
}

/// A path as the name of a unit (systemd.unit(5), "String escaping for inclusion in unit names").
fn escaped(path: &str) -> String {
    let path = path.trim_matches('/');
    let mut name = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if at == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_as_systemd_escape_writes_them() {
        // `systemd-escape --path`, systemd 257.
        assert_eq!(escaped("/run/sr-mount/0a-b"), r"run-sr\x2dmount-0a\x2db");
        assert_eq!(escaped("/dev/disk/by-id/md-uuid-aa:bb"), r"dev-disk-by\x2did-md\x2duuid\x2daa:bb");
        assert_eq!(escaped("/.a"), r"\x2ea");
    }
}
