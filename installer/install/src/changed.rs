//! What has become of a machine since it was looked at: somebody may pull a disk out, or write to one, while the screens are open.

use xenolith_installer::{Plan, holds};
use xenolith_machine::{Disk, Machine};

/// What is different about the disks, a line each.
pub fn changes(before: &Machine, now: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    for disk in &before.disks {
        let name = in_words(disk);
        let Some(now) = find(now, disk) else {
            lines.push(format!("{name} is not there any more."));
            continue;
        };
        if now.path() != disk.path() {
            lines.push(format!("{name} is called {} now.", now.name));
        }
        if now.content != disk.content {
            let holds = holds(now);
            lines.push(match holds.as_str() {
                "" => format!("{name} holds nothing that is known any more."),
                holds => format!("{name} holds something else than before: {holds}."),
            });
        }
        lines.extend(
            now.uses.iter().filter(|one| !disk.uses.contains(one)).map(|one| format!("{name}: {one}.")),
        );
    }
    let new = now.disks.iter().filter(|disk| find(before, disk).is_none());
    lines.extend(new.map(|disk| format!("{} is new.", in_words(disk))));
    lines
}

/// The disks of a plan that are not there any more, or others in their place, a line each. What is on them does not count: that is
/// what the installation itself has written.
pub fn missing(plan: &Plan, now: &Machine) -> Vec<String> {
    let lines = plan.erases.iter().map(|erased| &erased.disk).filter_map(|id| {
        let Some(disk) = now.disks.iter().find(|disk| disk.path() == id.path) else {
            return Some(format!("{} is not there any more", id.path));
        };
        let same = (&disk.serial, &disk.wwn, disk.size) == (&id.serial, &id.wwn, id.size);
        (!same).then(|| format!("{} is another disk now: {}", id.path, in_words(disk)))
    });
    lines.collect()
}

fn find<'a>(machine: &'a Machine, disk: &Disk) -> Option<&'a Disk> {
    machine.disks.iter().find(|other| is_same(disk, other))
}

/// By what is written on it, else by its place.
fn is_same(one: &Disk, other: &Disk) -> bool {
    let marks = |disk: &Disk| (disk.serial.clone(), disk.wwn.clone(), disk.size);
    let has_mark = one.serial.is_some() || one.wwn.is_some();
    marks(one) == marks(other) && (has_mark || one.path() == other.path())
}

fn in_words(disk: &Disk) -> String {
    let mark = disk.serial.as_ref().map(|serial| format!(", {serial}")).unwrap_or_default();
    format!("{} ({}{mark})", disk.name, disk.size)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xenolith_machine::{Capture, Use};

    use super::*;

    fn machine() -> Machine {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines/raid-hba/machine.json");
        Machine::of(&Capture::parse(&fs_err::read(path).unwrap()).unwrap())
    }

    fn after(how: impl FnOnce(&mut Vec<Disk>)) -> Vec<String> {
        let mut now = machine();
        how(&mut now.disks);
        changes(&machine(), &now)
    }

    #[test]
    fn it_is_said_which_disk_is_another_and_how() {
        assert_eq!(after(|_| {}), [""; 0]);
        let first = in_words(&machine().disks[0]);
        assert_eq!(after(|disks| drop(disks.remove(0))), [format!("{first} is not there any more.")]);
        let renamed = after(|disks| disks[0].name = "sdz".to_owned());
        assert_eq!(renamed, [format!("{first} is called sdz now.")]);
        let mounted = Use::Mounted { device: "sda1".to_owned(), at: "/mnt".to_owned() };
        let used = after(|disks| disks[0].uses.push(mounted));
        assert_eq!(used, [format!("{first}: sda1 is mounted at /mnt.")]);
        let exchanged = after(|disks| disks[0].serial = Some("new".to_owned()));
        assert_eq!(exchanged.len(), 2, "{exchanged:?}");
        assert!(exchanged[1].ends_with("new) is new."), "{exchanged:?}");
        let written = after(|disks| disks[0].content.signature = Some("swap".to_owned()));
        assert!(
            written[0].starts_with(&format!("{first} holds something else than before: ")),
            "{written:?}"
        );
    }

    #[test]
    fn a_disk_without_a_mark_is_known_by_its_place() {
        let unmarked = |name: &str| {
            let mut machine = machine();
            machine.disks.truncate(1);
            let disk = &mut machine.disks[0];
            (disk.serial, disk.wwn, disk.name) = (None, None, name.to_owned());
            machine
        };
        assert_eq!(changes(&unmarked("sda"), &unmarked("sda")), [""; 0]);
        assert_eq!(changes(&unmarked("sda"), &unmarked("sdb")).len(), 2);
    }
}
