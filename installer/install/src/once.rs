//! An unattended installation happens once: a machine that starts from its medium again and again is not erased again and again.
//!
//! The GUIDs of the new partition table and the serial number of the ESP follow from the answers, the image and the machine. Of the two
//! the one that makes the disk boot is the last thing that is written to it: the table, or where that stays, the start of the ESP. A disk
//! that has both was therefore installed whole, from these answers.

use std::io::{self, Read as _, Seek as _, SeekFrom};

use fs_err as fs;
use sha2::{Digest as _, Sha256};
use xenolith_disk::table::Table;
use xenolith_installer::{Image, Plan, Step, Target};
use xenolith_layout::{Seed, TypeGuid, disk::Role};
use xenolith_machine::Machine;

/// Where GUIDs come from when nobody is there to want it done twice.
pub fn seed(answers: &[u8], image: &Image, machine: &Machine) -> Seed {
    let mut hash = Sha256::new_with_prefix("xenolith unattended v1\0");
    hash.update(Sha256::digest(answers));
    hash.update(image.root_hash.as_bytes());
    // No two machines may come out the same, and neither may one that got another disk in the meantime come out as another.
    let system = &machine.system;
    for text in
        [&system.serial, &system.uuid].into_iter().flatten().chain(machine.nics.iter().map(|nic| &nic.mac))
    {
        hash.update(text);
        hash.update([0]);
    }
    Seed::new(hash.finalize().into())
}

/// Where the serial number of a FAT32 file system lies in it, in bytes (FAT: General Overview of On-Disk Format 1.03, `BS_VolID`).
const FAT32_SERIAL: u64 = 67;

/// Whether every disk of a plan already holds what the plan would make of it.
pub fn is_done(plan: &Plan) -> bool {
    let mut esps = plan.steps.iter().filter_map(|step| match step {
        Step::MakeEsp { disk, serial } => Some((disk, *serial)),
        _ => None,
    });
    !plan.targets.is_empty()
        && esps.all(|(disk, serial)| {
            let target = plan.targets.iter().find(|target| target.disk == *disk);
            target.is_some_and(|target| holds(target, serial).unwrap_or(false))
        })
}

/// Whether a disk has the ESP of a target, with this serial number.
fn holds(target: &Target, serial: u32) -> io::Result<bool> {
    let mut disk = fs::File::open(&target.disk.path)?;
    let Ok(table) = Table::read(&mut disk, target.layout.sector) else { return Ok(false) };
    let planned = target.layout.partition(Role::Esp).expect("every layout has an ESP");
    let Some(esp) = table.first(TypeGuid::ESP).filter(|found| found.guid == planned.guid) else {
        return Ok(false);
    };
    disk.seek(SeekFrom::Start(esp.place.offset.saturating_add(FAT32_SERIAL)))?;
    let mut bytes = [0; 4];
    disk.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes) == serial)
}

#[cfg(test)]
mod tests {
    use xenolith_answers::Answers;
    use xenolith_layout::Bytes;
    use xenolith_machine::Capture;

    use super::*;

    fn of(answers: &str, root: &str, serial: &str) -> Seed {
        let image = Image {
            version: "1.0".parse().unwrap(),
            root_hash: root.repeat(32).parse().unwrap(),
            root: Bytes::mib(1),
            verity: Bytes::mib(1),
        };
        let dmi = [("product_serial".to_owned(), serial.to_owned())].into();
        seed(answers.as_bytes(), &image, &Machine::of(&Capture { dmi, ..Capture::new() }))
    }

    #[test]
    fn other_answers_images_and_machines_have_other_guids() {
        let one = of("a", "ab", "1");
        assert_eq!(one, of("a", "ab", "1"));
        for other in [of("b", "ab", "1"), of("a", "cd", "1"), of("a", "ab", "2")] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_disk_is_known_again_by_its_table_and_only_for_the_same_answers() {
        let machine = include_bytes!("../../machines/one-disk/machine.json");
        let machine = Machine::of(&Capture::parse(machine).unwrap());
        let bytes = include_bytes!("../../machines/one-disk/answers.toml");
        let image = Image {
            version: "1.0".parse().unwrap(),
            root_hash: "ab".repeat(32).parse().unwrap(),
            root: Bytes::mib(1),
            verity: Bytes::mib(1),
        };
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        let planned = |bytes: &[u8]| {
            let seed = seed(bytes, &image, &machine);
            let answers = Answers::parse(bytes).unwrap();
            let mut plan = xenolith_installer::plan(&machine, &answers, &image, seed).unwrap();
            let path = disk.display().to_string();
            plan.targets[0].disk.path.clone_from(&path);
            for step in &mut plan.steps {
                if let Step::MakeEsp { disk, .. } = step {
                    disk.path.clone_from(&path);
                }
            }
            plan
        };
        let serial = |plan: &Plan| {
            let serials = plan.steps.iter().filter_map(|step| match step {
                Step::MakeEsp { serial, .. } => Some(*serial),
                _ => None,
            });
            serials.collect::<Vec<_>>()[0]
        };
        let plan = planned(bytes);
        assert!(!is_done(&plan), "there is no disk");
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        assert!(!is_done(&plan), "an empty one");
        let esp = folder.path().join("esp");
        let made = |serial: u32| {
            for old in [&disk, &esp] {
                let _ = fs::remove_file(old);
            }
            xenolith_disk::esp::write(&esp, Bytes::mib(64).get(), "ESP", serial, &[]).unwrap();
            let contents = [(Role::Esp, esp.clone())];
            xenolith_disk::disk::write(&disk, &plan.targets[0].layout, &contents).unwrap();
        };
        made(serial(&plan));
        assert!(is_done(&plan));
        let other = planned(&[&bytes[..], b"# 2\n"].concat());
        assert!(!is_done(&other), "a comment is enough");
        // As an installation leaves it that keeps the table.
        made(serial(&other));
        assert!(!is_done(&plan), "the table alone says nothing");
    }
}
