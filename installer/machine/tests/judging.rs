//! What is read out of lsblk's answers, and which disks are offered.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use xenolith_machine::{Bus, Capture, CaptureError, Firmware, Machine, SecureBoot, judge};

const SIZE: u64 = 480_103_981_056;

/// A disk as lsblk prints it, with `more` on top.
fn disk(name: &str, more: Value) -> Value {
    let mut disk = json!({
        "name": name, "kname": name, "type": "disk", "size": SIZE, "log-sec": 512, "phy-sec": 4096, "ro": false, "rm": false,
        "hotplug": false, "rota": false, "tran": "sata", "vendor": "ATA     ", "model": "INTEL SSDSC2KB480G8", "serial": format!("S-{name}"),
        "wwn": format!("0x5000{name}"), "pttype": null, "partn": null, "parttype": null, "partlabel": null, "fstype": null,
        "fsver": null, "label": null, "uuid": null, "mountpoints": [null],
    });
    disk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    disk
}

fn machine(capture: Value) -> Machine {
    let mut whole = json!({ "format": 1, "efi": true });
    whole.as_object_mut().unwrap().extend(capture.as_object().unwrap().clone());
    Machine::of(&Capture::parse(whole.to_string().as_bytes()).unwrap())
}

fn with(disks: Vec<Value>) -> Machine {
    machine(json!({ "lsblk": { "blockdevices": disks } }))
}

/// The reasons against a disk, as people read them.
fn reasons(machine: &Machine, name: &str) -> Vec<String> {
    let disk = machine.disk(name).unwrap_or_else(|| panic!("no {name}"));
    judge(machine, disk).refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_disk_is_offered() {
    let machine = with(vec![disk("sda", json!({}))]);
    assert_eq!(reasons(&machine, "sda"), [""; 0]);
    let found = &machine.disks[0];
    assert_eq!((found.model.as_deref(), found.bus), (Some("INTEL SSDSC2KB480G8"), Bus::Sata));
    assert_eq!(found.path(), "/dev/sda");
}

#[test]
fn what_is_not_known_of_a_disk_counts_against_it_and_of_an_array_on_its_way_hides_no_disk() {
    let null =
        json!({ "log-sec": null, "phy-sec": null, "ro": null, "rm": null, "hotplug": null, "rota": null });
    let mut array = disk("md127", null.clone());
    array["type"] = json!("md");
    let machine =
        with(vec![disk("sda", json!({ "children": [array] })), disk("sdb", null), disk("sdc", json!({}))]);
    assert_eq!(reasons(&machine, "sda"), ["sda is in use by md127"]);
    assert_eq!(
        reasons(&machine, "sdb"),
        ["it is write-protected", "it has sectors of 0 bytes; 512 and 4096 are supported"]
    );
    assert_eq!(reasons(&machine, "sdc"), [""; 0]);
    let machine = with(vec![disk("sda", json!({ "size": null }))]);
    assert!(machine.disks.is_empty(), "as a drive without a medium");
}

#[test]
fn drives_without_a_medium_and_things_that_are_no_disks_are_not_there() {
    let machine = with(vec![
        disk("sr0", json!({ "type": "rom" })),
        disk("sdb", json!({ "size": 0 })),
        disk("zram0", json!({})),
        disk("nbd0", json!({})),
        disk("loop0", json!({ "type": "loop" })),
        disk("mmcblk0boot0", json!({})),
        disk("mmcblk0", json!({ "tran": "mmc" })),
    ]);
    let names: Vec<_> = machine.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["mmcblk0"]);
}

#[test]
fn every_reason_is_told_at_once() {
    let part = disk("sda1", json!({ "type": "part", "partn": 1, "mountpoints": ["/boot"] }));
    let machine =
        with(vec![disk("sda", json!({ "ro": true, "rm": true, "log-sec": 520, "children": [part] }))]);
    assert_eq!(
        reasons(&machine, "sda"),
        [
            "sda1 is mounted at /boot",
            "it is write-protected",
            "it is a removable disk",
            "it has sectors of 520 bytes; 512 and 4096 are supported",
        ]
    );
}

#[test]
fn whatever_lies_on_a_disk_keeps_it() {
    let raid = disk("md127", json!({ "type": "raid1", "mountpoints": ["/srv"] }));
    let volume = json!({ "name": "data-root", "kname": "dm-0", "type": "lvm", "mountpoints": ["[SWAP]"] });
    let part = disk("sdb2", json!({ "type": "part", "partn": 2, "children": [volume] }));
    let machine =
        with(vec![disk("sda", json!({ "children": [raid] })), disk("sdb", json!({ "children": [part] }))]);
    assert_eq!(
        reasons(&machine, "sda"),
        ["sda is a running member of the array md127", "md127 is mounted at /srv"]
    );
    assert_eq!(
        reasons(&machine, "sdb"),
        ["the logical volume data-root on sdb2 is active", "data-root is used for swapping"]
    );
}

#[test]
fn an_old_mark_of_an_array_that_does_not_run_is_content_and_no_use() {
    let machine = with(vec![disk("sda", json!({ "fstype": "linux_raid_member", "label": "old:127" }))]);
    assert_eq!(reasons(&machine, "sda"), [""; 0]);
    assert!(!machine.disks[0].content.is_empty());
}

#[test]
fn paths_to_one_disk_are_one_disk() {
    let map = json!({ "name": "mpatha", "kname": "dm-0", "type": "mpath", "size": SIZE, "log-sec": 512, "mountpoints": [null] });
    let path = |name: &str| {
        disk(name, json!({ "tran": "fc", "wwn": "0x60ab", "fstype": "mpath_member", "children": [map] }))
    };
    let machine = with(vec![path("sda"), path("sdb")]);
    let [found] = machine.disks.as_slice() else { panic!("{:?}", machine.disks) };
    assert_eq!(
        (found.path(), found.paths.as_slice()),
        ("/dev/mapper/mpatha".into(), ["sda".into(), "sdb".into()].as_slice())
    );
    assert_eq!(found.bus, Bus::Fc);
    assert_eq!(reasons(&machine, "mpatha"), [""; 0]);
}

#[test]
fn two_paths_that_nothing_has_joined_are_both_refused() {
    let path = |name: &str| disk(name, json!({ "wwn": "0x60AB" }));
    let machine = with(vec![path("sda"), path("sdb"), disk("sdc", json!({}))]);
    let expected = "it is the same disk as sdb, seen over another path; multipath has not joined them";
    assert_eq!(reasons(&machine, "sda"), [expected]);
    assert_eq!(reasons(&machine, "sdc"), [""; 0]);
}

#[test]
fn the_medium_is_known_by_where_we_run_from_and_by_what_is_on_it() {
    let part =
        disk("sda1", json!({ "type": "part", "partn": 1, "fstype": "iso9660", "label": "XENOLITH_MEDIA" }));
    let machine = machine(json!({
        "running_from": "sda1",
        "lsblk": { "blockdevices": [
            disk("sda", json!({ "children": [part] })),
            disk("sdb", json!({ "fstype": "iso9660", "label": "XCP-ng 8.3.0" })),
        ] },
    }));
    assert_eq!(
        reasons(&machine, "sda"),
        ["this system runs from it", "it is an installation medium (XENOLITH_MEDIA)"]
    );
    assert_eq!(reasons(&machine, "sdb"), ["it is an installation medium (XCP-ng 8.3.0)"]);
}

#[test]
fn small_remote_and_firmware_raid_disks_are_refused() {
    let machine = with(vec![
        disk("sda", json!({ "size": 8_u64 << 30 })),
        disk("sdb", json!({ "tran": "iscsi" })),
        disk("sdc", json!({ "fstype": "isw_raid_member" })),
    ]);
    assert!(reasons(&machine, "sda")[0].starts_with("it is too small; "), "{:?}", reasons(&machine, "sda"));
    assert_eq!(
        reasons(&machine, "sdb"),
        ["it is reached over iSCSI, and starting from there is not supported yet"]
    );
    assert!(
        reasons(&machine, "sdc")[0].starts_with("it belongs to a RAID of the firmware (isw_raid_member)")
    );
}

#[test]
fn groups_are_known_for_disks_and_partitions() {
    let part = disk("sda3", json!({ "type": "part", "partn": 3, "fstype": "LVM2_member" }));
    let machine = machine(json!({
        "lsblk": { "blockdevices": [disk("sda", json!({ "children": [part] })), disk("sdb", json!({}))] },
        "physical_volumes": [
            { "pv_name": "/dev/sda3", "vg_name": "VG_XenStorage-1" },
            { "pv_name": "/dev/sdb", "vg_name": "" },
        ],
    }));
    assert_eq!(machine.disks[0].groups().collect::<Vec<_>>(), ["VG_XenStorage-1"]);
    assert_eq!(machine.disks[1].groups().count(), 0);
}

#[test]
fn secure_boot_and_interfaces_are_read() {
    let machine = machine(json!({
        "lsblk": { "blockdevices": [] },
        "efi_variables": { "SecureBoot": 0, "SetupMode": 1 },
        "nics": [
            { "name": "lo", "address": "00:00:00:00:00:00" },
            { "name": "enp2s0", "address": "52:54:00:AB:CD:EF", "carrier": true, "speed": 10000, "driver": "ixgbe", "place": "0000:02:00.0" },
            { "name": "enp3s0", "address": "52:54:00:ab:cd:f0", "speed": -1, "driver": "ixgbe" },
        ],
    }));
    assert_eq!(machine.firmware, Firmware::Uefi { secure_boot: SecureBoot::Setup });
    let nics: Vec<_> = machine.nics.iter().map(|nic| (nic.mac.as_str(), nic.link, nic.speed)).collect();
    assert_eq!(nics, [("52:54:00:ab:cd:ef", Some(true), Some(10_000)), ("52:54:00:ab:cd:f0", None, None)]);
}

#[test]
fn what_is_no_capture_is_refused() {
    assert!(matches!(Capture::parse(b"{}"), Err(CaptureError::Json(_))));
    assert!(matches!(
        Capture::parse(br#"{"format": 2, "efi": true, "lsblk": {"blockdevices": []}}"#),
        Err(CaptureError::Format { found: 2 })
    ));
    assert!(matches!(Capture::parse(&vec![b' '; (32 << 20) + 1]), Err(CaptureError::TooLong)));
    // serde_json ends at 128 levels; nothing here is deep enough to need more.
    let deep =
        format!(r#"{{"format":1,"efi":true,"lsblk":{{"blockdevices":[{}"#, r#"{"children":["#.repeat(10_000));
    assert!(matches!(Capture::parse(deep.as_bytes()), Err(CaptureError::Json(_))));
}
