//! A plan carried out on disks that are files, cut short at every write.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::{Bench, disk, one_disk};
use fs_err as fs;
use serde_json::json;
use xenolith_installer::{
    Devices as _, DiskId, Event, ExecuteError, FileDevices, Journal, StepError, execute,
};
use xenolith_layout::{Bytes, Slot, disk::Role};

#[test]
fn a_plan_is_carried_out_once_and_what_is_done_is_not_done_again() {
    let bench = one_disk();
    let disk = bench.disk();
    let (ran, events) = bench.run(&bench.cut(usize::MAX), "journal");
    ran.unwrap();
    bench.is_whole(&disk);
    let steps = bench.plan.steps.len();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Done { .. })).count(), steps);
    let whole = bench.plan.image.root + bench.plan.image.verity;
    assert!(events.iter().any(
        |event| matches!(event, Event::Progress { done, total, .. } if done == total && *total == whole)
    ));
    let (ran, events) = bench.run(&bench.cut(0), "journal");
    ran.unwrap();
    assert!(events.len() == steps && events.iter().all(|event| matches!(event, Event::Skipped { .. })));
}

#[test]
fn power_that_fails_at_any_write_leaves_a_whole_disk_or_one_that_does_not_boot() {
    let bench = one_disk();
    let mut cuts = 0;
    for writes in 0.. {
        let disk = bench.disk();
        let (ran, _) = bench.run(&bench.cut(writes), &format!("journal-{writes}"));
        if bench.has_table(&disk) {
            bench.is_whole(&disk);
        }
        if ran.is_ok() {
            break;
        }
        cuts = writes;
        let disk = bench.disk();
        bench.run(&bench.cut(writes).without_luck(), &format!("unlucky-{writes}")).0.unwrap_err();
        if bench.has_table(&disk) {
            bench.is_whole(&disk);
        }
        // The journal was in memory: the second installation knows nothing of the first.
        bench.run(&bench.cut(usize::MAX), &format!("again-{writes}")).0.unwrap();
        bench.is_whole(&disk);
    }
    assert!(cuts > 15, "only {cuts} writes: the cuts do not fall where they should");
}

#[test]
fn a_step_that_failed_is_tried_again_and_those_before_are_not() {
    let bench = one_disk();
    let disk = bench.disk();
    let root = fs::read(&bench.source.root).unwrap();
    fs::write(&bench.source.root, &root[..4096]).unwrap();
    let (ran, events) = bench.run(&bench.cut(usize::MAX), "journal");
    let error = ran.unwrap_err();
    assert!(matches!(error, ExecuteError::Step { source: StepError::Length { .. }, .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("step 3 of {} failed: write the system to /dev/sda and read it back", bench.plan.steps.len())
    );
    assert_eq!(events.last(), Some(&Event::Began { step: 2 }));
    fs::write(&bench.source.root, &root).unwrap();
    let (ran, events) = bench.run(&bench.cut(usize::MAX), "journal");
    ran.unwrap();
    assert_eq!(
        events[..3],
        [Event::Skipped { step: 0 }, Event::Skipped { step: 1 }, Event::Began { step: 2 }]
    );
    bench.is_whole(&disk);
}

#[test]
fn a_disk_that_gives_back_something_else_never_boots() {
    let bench = one_disk();
    let layout = &bench.plan.targets[0].layout;
    let place = |role| layout.offset(layout.partition(role).unwrap());
    let image = &bench.plan.image;
    let last = |role, length| place(role) + Bytes::new(length - 1);
    for bad in [
        place(Role::Verity(Slot::A)),
        last(Role::Verity(Slot::A), image.verity.get()),
        place(Role::Root(Slot::A)),
        last(Role::Root(Slot::A), image.root.get()),
    ] {
        let disk = bench.disk();
        let mut devices = bench.cut(usize::MAX);
        devices.bad = Some(bad);
        let error = bench.run(&devices, &format!("journal-{}", bad.get())).0.unwrap_err();
        assert!(matches!(error, ExecuteError::Step { source: StepError::ReadBack(_), .. }), "{error:?}");
        assert!(!bench.has_table(&disk));
    }
}

#[test]
fn nothing_is_opened_for_a_plan_that_nobody_approved() {
    let bench = one_disk();
    let missing = bench.cut(0);
    let mut journal = Journal::open(&bench.path("journal"), "something else").unwrap();
    for approved in ["something else", &bench.plan.hash()] {
        let ran = execute(&bench.plan, approved, &bench.source, &missing, &mut journal, &mut |_| {
            panic!("an event")
        });
        assert!(matches!(ran, Err(ExecuteError::NotApproved)));
    }
}

#[test]
fn firmware_that_takes_no_entries_is_a_warning_and_no_failure() {
    let bench = one_disk();
    let disk = bench.disk();
    let mut devices = bench.cut(usize::MAX);
    devices.no_firmware = true;
    let (ran, events) = bench.run(&devices, "journal");
    ran.unwrap();
    bench.is_whole(&disk);
    assert!(
        events.iter().any(|event| matches!(event, Event::Warning { what, .. } if what.contains("boot menu")))
    );
}

#[test]
fn two_disks_get_the_same_and_an_entry_each() {
    let disks = json!([disk("sda", "S1"), disk("sdb", "S2")]);
    let bench = Bench::new(&disks, "disks = [{ serial = \"S1\" }, { serial = \"S2\" }]", "");
    let files = bench.disks();
    let devices = bench.cut(usize::MAX);
    bench.run(&devices, "journal").0.unwrap();
    for file in &files {
        bench.is_whole(file);
    }
    let named: Vec<String> = devices.registered.borrow().iter().map(|one| one.description.clone()).collect();
    assert_eq!(named, ["Xenolith (S1)", "Xenolith (S2)"]);
}

#[test]
fn power_that_fails_while_a_mirror_is_made_leaves_no_disk_that_boots_by_halves() {
    let disks = json!([disk("sda", "S1"), disk("sdb", "S2")]);
    let targets = "disks = [{ serial = \"S1\" }, { serial = \"S2\" }]";
    let bench = Bench::new(&disks, targets, "[storage]\nkind = \"lvm\"");
    for writes in (0..).step_by(3) {
        let files = bench.disks();
        let (ran, _) = bench.run(&bench.cut(writes), &format!("journal-{writes}"));
        for file in files.iter().filter(|file| bench.has_table(file)) {
            bench.is_whole(file);
        }
        if ran.is_ok() {
            return assert!(writes > 30, "only {writes} writes");
        }
    }
}

#[test]
fn a_disk_for_storage_has_one_empty_partition_before_the_target_boots() {
    let disks = json!([disk("sda", "S1"), disk("sdb", "S2")]);
    let storage = "[storage]\nkind = \"lvm\"\ndisks = [{ serial = \"S2\" }]";
    let bench = Bench::new(&disks, "disks = [{ serial = \"S1\" }]", storage);
    for writes in (0..).step_by(2) {
        let files = bench.disks();
        let (ran, _) = bench.run(&bench.cut(writes), &format!("journal-{writes}"));
        if bench.has_table(&files[0]) {
            bench.is_whole(&files[0]);
            assert!(bench.has_table(&files[1]), "the host would look for a partition that is not there");
        }
        if ran.is_ok() {
            return;
        }
    }
}

#[test]
fn a_disk_of_another_size_than_planned_is_another_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![0; 4096]).unwrap();
    let id =
        |size| DiskId { path: path.display().to_string(), serial: None, wwn: None, size: Bytes::new(size) };
    FileDevices.open(&id(4096)).unwrap();
    let error = FileDevices.open(&id(8192)).unwrap_err().to_string();
    assert!(error.contains("4096") && error.contains("8192"), "{error}");
}
