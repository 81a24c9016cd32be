//! A disk that is installed anew and keeps its storage.
#![allow(clippy::unwrap_used)]

mod bench;

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bench::{Bench, disk};
use fs_err as fs;
use serde_json::{Value, json};
use xenolith_installer::{Event, Plan, Step};
use xenolith_layout::disk::{DiskLayout, Partition, Role};

const TARGET: &str = "disks = [{ serial = \"S1\" }]";
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

/// Where [`DATA`] lie.
fn places(layout: &DiskLayout) -> [u64; 2] {
    let part = layout.partition(Role::LocalSr).unwrap();
    let (first, length) = (layout.offset(part).get(), layout.length(part).get());
    [first, first + length - DATA.len() as u64]
}

/// A machine with a plan that keeps the storage of an installation.
fn again() -> (Bench, Bench) {
    let first = Bench::new(&json!([disk("sda", "S1")]), TARGET, "[storage]\nkind = \"lvm\"");
    let again = Bench::new(&installed(&first.plan), TARGET, "[storage]\nkind = \"keep\"");
    (first, again)
}

/// Installs, puts data into the storage, and moves the disk to the machine that installs anew.
fn with_data(first: &Bench, again: &Bench, journal: &str) -> PathBuf {
    let file = first.disk();
    first.run(&first.cut(usize::MAX), journal).0.unwrap();
    let mut disk = fs::OpenOptions::new().write(true).open(&file).unwrap();
    for at in places(&first.plan.targets[0].layout) {
        disk.seek(SeekFrom::Start(at)).unwrap();
        disk.write_all(&DATA).unwrap();
    }
    let moved = again.file_of("/dev/sda");
    fs::rename(&file, &moved).unwrap();
    moved
}

fn has_data(layout: &DiskLayout, file: &Path) -> bool {
    let mut disk = fs::File::open(file).unwrap();
    places(layout).into_iter().all(|at| {
        let mut bytes = vec![0; DATA.len()];
        disk.seek(SeekFrom::Start(at)).unwrap();
        disk.read_exact(&mut bytes).unwrap();
        bytes == DATA
    })
}

#[test]
fn the_table_is_used_as_it_is_and_what_stays_is_said() {
    let (first, again) = again();
    let partitions = |bench: &Bench| bench.plan.targets[0].layout.partitions.clone();
    assert_eq!(partitions(&first), partitions(&again));
    assert_eq!(again.plan.erases[0].keeps.as_deref(), Some("sda8"));
    assert!(again.plan.losses().contains("sda8 stays as it is"), "{}", again.plan.losses());
    assert!(!again.plan.steps.iter().any(|step| matches!(step, Step::Clear { .. } | Step::Activate { .. })));
}

#[test]
fn a_second_installation_has_the_same_storage_and_another_system() {
    let (first, again) = again();
    let file = with_data(&first, &again, "first");
    again.run(&again.cut(usize::MAX), "again").0.unwrap();
    assert!(has_data(&first.plan.targets[0].layout, &file));
    again.has_system(&file);
}

#[test]
fn power_that_fails_at_any_write_leaves_the_storage_and_no_half_of_a_system() {
    let (first, again) = again();
    let layout = &first.plan.targets[0].layout;
    for writes in 0.. {
        let file = with_data(&first, &again, &format!("first-{writes}"));
        let (ran, events) = again.run(&again.cut(writes), &format!("again-{writes}"));
        assert!(has_data(layout, &file) && again.has_table(&file), "after {writes} writes");
        let cleared = events.iter().any(|event| matches!(event, Event::Done { step: 1 }));
        if cleared && again.boots(&file) {
            again.has_system(&file);
        }
        if ran.is_ok() {
            return assert!(writes > 10, "only {writes} writes");
        }
        again.run(&again.cut(usize::MAX), &format!("third-{writes}")).0.unwrap();
        again.has_system(&file);
        assert!(has_data(layout, &file));
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn storage_that_cannot_be_kept_for_sure_is_a_refusal() {
    let first = Bench::new(&json!([disk("sda", "S1")]), TARGET, "[storage]\nkind = \"lvm\"");
    let refused = |disks: &Value, target: &str| {
        Bench::try_new(disks, target, "[storage]\nkind = \"keep\"").err().unwrap().to_string()
    };
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
    let mut alone = mirrored();
    alone[1]["children"][7]["uuid"] = json!("00000000-0000-0000-0000-000000000001");
    assert!(refused(&alone, MIRROR).contains("do not hold the halves of one mirror"));
    alone[0]["children"][7]["fstype"] = Value::Null;
    alone[1]["children"][7]["fstype"] = Value::Null;
    assert!(refused(&alone, MIRROR).contains("do not hold the halves of one mirror"));
}

const MIRROR: &str = "disks = [{ serial = \"S1\" }, { serial = \"S2\" }]";

/// A machine with a mirror, after it has made its storage.
fn mirrored() -> Value {
    let first =
        Bench::new(&json!([disk("sda", "S1"), disk("sdb", "S2")]), MIRROR, "[storage]\nkind = \"lvm\"");
    let mut disks =
        json!([installed_on(&first.plan, 0, "sda", "S1"), installed_on(&first.plan, 1, "sdb", "S2")]);
    for disk in disks.as_array_mut().unwrap() {
        disk["children"][7]["fstype"] = json!("linux_raid_member");
        disk["children"][7]["uuid"] = json!("7d9d2b4c-6f57-4a43-9d3c-0d9f5f1f6a10");
    }
    disks
}

#[test]
fn a_mirror_is_kept_on_both_disks_and_half_of_one_on_its_own() {
    let again = Bench::new(&mirrored(), MIRROR, "[storage]\nkind = \"keep\"");
    let keeps: Vec<_> = again.plan.erases.iter().map(|erased| erased.keeps.as_deref()).collect();
    assert_eq!(keeps, [Some("sda8"), Some("sdb8")]);
    let parts = again.plan.storage.as_ref().unwrap().targets.clone();
    let theirs = [0, 1].map(|disk| mirrored()[disk]["children"][7]["partuuid"].as_str().unwrap().to_owned());
    assert_eq!(parts.iter().map(ToString::to_string).collect::<Vec<_>>(), theirs);
    assert!(!again.plan.steps.iter().any(|step| matches!(step, Step::Clear { .. } | Step::Activate { .. })));
    let half = Bench::new(&mirrored(), TARGET, "[storage]\nkind = \"keep\"");
    assert_eq!(half.plan.erases[0].keeps.as_deref(), Some("sda8"));
}
