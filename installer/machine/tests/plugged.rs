//! Where records may be saved: on sticks, and on nothing else.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use xenolith_machine::lsblk::Device;
use xenolith_machine::{Capture, Machine, plugged_in};

/// A captured machine with these devices besides.
fn machine(folder: &str, more: Vec<Device>) -> Machine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(folder).join("machine.json");
    let mut capture = Capture::parse(&fs_err::read(path).unwrap()).unwrap();
    capture.lsblk.blockdevices.extend(more);
    Machine::of(&capture)
}

fn device(name: &str, kind: &str, file_system: Option<&str>) -> Device {
    Device {
        name: name.to_owned(),
        kname: name.to_owned(),
        kind: kind.to_owned(),
        size: 16_000_000_000,
        log_sec: 512,
        fstype: file_system.map(str::to_owned),
        ..Device::default()
    }
}

fn stick(name: &str, file_system: Option<&str>, children: Vec<Device>) -> Device {
    Device {
        tran: Some("usb".into()),
        hotplug: true,
        rm: true,
        children,
        ..device(name, "disk", file_system)
    }
}

fn names(machine: &Machine, avoid: &[&str]) -> Vec<String> {
    let avoid: BTreeSet<String> = avoid.iter().map(|name| (*name).to_owned()).collect();
    plugged_in(machine, &avoid).into_iter().map(|volume| volume.kernel_name).collect()
}

#[test]
fn sticks_with_and_without_a_partition_table_are_offered() {
    let table =
        stick("sdy", None, vec![device("sdy1", "part", Some("vfat")), device("sdy2", "part", Some("xfs"))]);
    let machine = machine("one-disk", vec![table, stick("sdz", Some("ext4"), Vec::new())]);
    assert_eq!(names(&machine, &[]), ["sdy1", "sdz"]);
    assert_eq!(names(&machine, &["sdz"]), ["sdy1"], "not the disk that the system goes to");
}

#[test]
fn media_disks_of_the_machine_and_what_is_in_use_are_not() {
    let medium = stick("sdw", Some("iso9660"), vec![device("sdw2", "part", Some("vfat"))]);
    let inside =
        Device { children: vec![device("sdx1", "part", Some("vfat"))], ..device("sdx", "disk", None) };
    let read_only = Device { ro: true, ..stick("sdy", Some("vfat"), Vec::new()) };
    let mounted = Device { mountpoints: vec![Some("/mnt".into())], ..stick("sdz", Some("vfat"), Vec::new()) };
    assert_eq!(names(&machine("one-disk", vec![medium, inside, read_only, mounted]), &[]), [""; 0]);
    // The sticks that these machines were started from.
    for folder in ["nvme", "usb-medium"] {
        assert_eq!(names(&machine(folder, Vec::new()), &[]), [""; 0], "{folder}");
    }
}

proptest! {
    /// Whatever a stick is: a disk that is to be avoided is never written to.
    #[test]
    fn nothing_that_is_avoided_is_offered(removable: bool, hotplug: bool, kind in "(vfat|ext4|iso9660|xfs)?", usb: bool) {
        let kind = Some(kind).filter(|kind| !kind.is_empty());
        let part = device("sdy1", "part", Some("vfat"));
        let mut disk = stick("sdy", kind.as_deref(), vec![part]);
        (disk.rm, disk.hotplug, disk.tran) = (removable, hotplug, usb.then(|| "usb".to_owned()));
        prop_assert!(names(&machine("one-disk", vec![disk]), &["sdy"]).is_empty());
    }
}
