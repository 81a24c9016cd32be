//! A disk that is installed anew and keeps its storage.
#![allow(clippy::unwrap_used)]

mod bench;

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use bench::{Bench, disk};
use fs_err as fs;
use serde_json::{Value, json};
use xenolith_installer::{Event, Plan, Step};
use xenolith_layout::disk::{DiskLayout, Partition, Role};

const TARGET: &str = "disks = [{ serial = \"S1\" }]";
const MIRROR: &str = "disks = [{ serial = \"S1\" }, { serial = \"S2\" }]";
const LVM: &str = "[storage]\nkind = \"lvm\"";
const KEEP: &str = "[storage]\nkind = \"keep\"";
/// What somebody has at the start and at the end of the storage.
static DATA: [u8; 1 << 20] = [0x5a; 1 << 20];

/// The machine after `plan` was carried out on its disk.
fn installed(plan: &Plan) -> Value {
    json!([installed_on(plan, 0, "sda", "S1")])
}

/// One of its disks.
fn installed_on(plan: &Plan, target: usize, name: &str, serial: &str) -> Value {
    let layout = &plan.targets[target].layout;
    let part = |partition: &Partition| {
        let name = format!("{name}{}", partition.number());
        json!({
            "name": name, "kname": name, "type": "part", "size": layout.length(partition).get(), "log-sec": 512,
            "partn": partition.number(), "partlabel": partition.label(), "partuuid": partition.guid.to_string(),
            "start": layout.offset(partition).get() / 512, "pttype": "gpt",
        })
    };
    let mut disk = disk(name, serial);
    disk["pttype"] = json!("gpt");
    disk["children"] = layout.partitions.iter().map(part).collect();
    disk
}

/// Its disks, after it has mirrored its storage.
fn mirrored(plan: &Plan) -> Value {
    let disk = |(target, name, serial)| {
        let mut disk = installed_on(plan, target, name, serial);
        disk["children"][7]["fstype"] = json!("linux_raid_member");
        disk["children"][7]["uuid"] = json!("7d9d2b4c-6f57-4a43-9d3c-0d9f5f1f6a10");
        disk
    };
    [(0, "sda", "S1"), (1, "sdb", "S2")].map(disk).to_vec().into()
}

/// Where [`DATA`] lie.
fn places(layout: &DiskLayout) -> [u64; 2] {
    let part = layout.partition(Role::LocalSr).unwrap();
    let (first, length) = (layout.offset(part).get(), layout.length(part).get());
    [first, first + length - DATA.len() as u64]
}

/// A machine with a plan that keeps the storage of an installation, after that one.
fn again() -> (Bench, Bench) {
    let first = Bench::new(&json!([disk("sda", "S1")]), TARGET, LVM);
    let again = Bench::new(&installed(&first.plan), TARGET, KEEP);
    (first, again)
}

/// The same with two disks that mirror each other.
fn again_mirrored() -> (Bench, Bench) {
    let first = Bench::new(&json!([disk("sda", "S1"), disk("sdb", "S2")]), MIRROR, LVM);
    let again = Bench::new(&mirrored(&first.plan), MIRROR, KEEP);
    (first, again)
}

/// Installs, puts data into the storage, and moves the disks to the machine that installs anew.
fn with_data(first: &Bench, again: &Bench, journal: &str) -> Vec<PathBuf> {
    let files = first.disks();
    first.run(&first.cut(usize::MAX), journal).0.unwrap();
    let moved = files.iter().zip(&first.plan.targets).map(|(file, target)| {
        let mut disk = fs::OpenOptions::new().write(true).open(file).unwrap();
        for at in places(&target.layout) {
            disk.seek(SeekFrom::Start(at)).unwrap();
            disk.write_all(&DATA).unwrap();
        }
        let moved = again.file_of(&target.disk.path);
        fs::rename(file, &moved).unwrap();
        moved
    });
    moved.collect()
}

fn has_data(plan: &Plan, files: &[PathBuf]) -> bool {
    files.iter().zip(&plan.targets).all(|(file, target)| {
        let mut disk = fs::File::open(file).unwrap();
        places(&target.layout).into_iter().all(|at| {
            let mut bytes = vec![0; DATA.len()];
            disk.seek(SeekFrom::Start(at)).unwrap();
            disk.read_exact(&mut bytes).unwrap();
            bytes == DATA
        })
    })
}

#[test]
fn the_table_is_used_as_it_is_and_what_stays_is_said() {
    for (first, again) in [again(), again_mirrored()] {
        let partitions = |bench: &Bench| -> Vec<_> {
            bench.plan.targets.iter().map(|target| target.layout.partitions.clone()).collect()
        };
        assert_eq!(partitions(&first), partitions(&again));
        for (erased, part) in again.plan.erases.iter().zip(["sda8", "sdb8"]) {
            assert_eq!(erased.keeps.as_deref(), Some(part));
            assert!(again.plan.losses().contains(&format!("{part} stays as it is")));
        }
        let parts = |bench: &Bench| bench.plan.storage.as_ref().unwrap().targets.clone();
        assert_eq!(parts(&first), parts(&again));
        let empties = |step: &Step| matches!(step, Step::Clear { .. } | Step::Activate { .. });
        assert!(!again.plan.steps.iter().any(empties));
    }
}

#[test]
fn a_second_installation_has_the_same_storage_and_another_system() {
    for (first, again) in [again(), again_mirrored()] {
        let files = with_data(&first, &again, "first");
        again.run(&again.cut(usize::MAX), "again").0.unwrap();
        assert!(has_data(&first.plan, &files));
        files.iter().for_each(|file| again.has_system(file));
    }
}

#[test]
fn power_that_fails_at_any_write_leaves_the_storage_and_no_half_of_a_system() {
    power_fails(&again());
}

#[test]
fn power_that_fails_at_any_write_to_a_mirror_does_no_harm_either() {
    power_fails(&again_mirrored());
}

fn power_fails((first, again): &(Bench, Bench)) {
    for writes in 0.. {
        let files = with_data(first, again, &format!("first-{writes}"));
        let (ran, events) = again.run(&again.cut(writes), &format!("again-{writes}"));
        assert!(has_data(&first.plan, &files), "after {writes} writes");
        let last_cleared = files.len();
        let cleared =
            events.iter().any(|event| matches!(event, Event::Done { step } if *step == last_cleared));
        for file in &files {
            assert!(again.has_table(file), "after {writes} writes");
            if cleared && again.boots(file) {
                again.has_system(file);
            }
        }
        if ran.is_ok() {
            return assert!(writes > 10, "only {writes} writes");
        }
        again.run(&again.cut(usize::MAX), &format!("third-{writes}")).0.unwrap();
        assert!(has_data(&first.plan, &files));
        for file in files {
            again.has_system(&file);
            fs::remove_file(&file).unwrap();
        }
    }
}

#[test]
fn half_of_a_mirror_is_kept_on_its_own() {
    let (first, _) = again_mirrored();
    let half = Bench::new(&mirrored(&first.plan), TARGET, KEEP);
    assert_eq!(half.plan.erases[0].keeps.as_deref(), Some("sda8"));
    assert_eq!(half.plan.erases.len(), 1);
}

#[test]
fn storage_that_cannot_be_kept_for_sure_is_a_refusal() {
    let (first, _) = again();
    let refused =
        |disks: &Value, target: &str| Bench::try_new(disks, target, KEEP).err().unwrap().to_string();
    let whole = installed(&first.plan);
    let mut moved = whole.clone();
    moved[0]["children"][3]["start"] = json!(4096);
    assert!(refused(&moved, TARGET).contains("xenolith-verity-a"), "{}", refused(&moved, TARGET));
    let mut nowhere = whole.clone();
    nowhere[0]["children"][7]["start"] = Value::Null;
    assert!(refused(&nowhere, TARGET).contains("not known where"));
    assert!(refused(&json!([disk("sda", "S1")]), TARGET).contains("no Xenolith with storage"));
    let two = json!([whole[0], disk("sdb", "S2")]);
    assert!(refused(&two, MIRROR).contains("storage on sdb cannot be kept: no Xenolith with storage"));
    let mut alone = mirrored(&again_mirrored().0.plan);
    alone[1]["children"][7]["uuid"] = json!("00000000-0000-0000-0000-000000000001");
    assert!(refused(&alone, MIRROR).contains("do not hold the halves of one mirror"));
    alone[0]["children"][7]["fstype"] = Value::Null;
    alone[1]["children"][7]["fstype"] = Value::Null;
    assert!(refused(&alone, MIRROR).contains("do not hold the halves of one mirror"));
}
