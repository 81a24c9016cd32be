//! An unattended installation happens once: a machine that starts from its medium again and again is not erased again and again.
//!
//! The GUIDs of the new partition table follow from the answers, the image and the machine, and the table is the last thing that is
//! written. A disk that has the GUID already was therefore installed whole, from these answers.

use fs_err as fs;
use sha2::{Digest as _, Sha256};
use xenolith_disk::table::Table;
use xenolith_installer::{Image, Plan};
use xenolith_layout::Seed;
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

/// Whether every disk of a plan already holds what the plan would make of it.
pub fn is_done(plan: &Plan) -> bool {
    !plan.targets.is_empty()
        && plan.targets.iter().all(|target| {
            let Ok(mut disk) = fs::File::open(&target.disk.path) else { return false };
            Table::read(&mut disk, target.layout.sector).is_ok_and(|table| table.guid == target.layout.guid)
        })
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
            plan.targets[0].disk.path = disk.display().to_string();
            plan
        };
        let plan = planned(bytes);
        assert!(!is_done(&plan), "there is no disk");
        fs::write(&disk, vec![0; 1 << 20]).unwrap();
        assert!(!is_done(&plan), "an empty one");
        fs::remove_file(&disk).unwrap();
        xenolith_disk::disk::write(&disk, &plan.targets[0].layout, &[]).unwrap();
        assert!(is_done(&plan));
        assert!(!is_done(&planned(&[&bytes[..], b"# 2\n"].concat())), "a comment is enough");
    }
}
