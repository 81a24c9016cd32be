//! What is written down of a machine, from a tree of files and from what programs said.
#![allow(clippy::unwrap_used)]

use std::{os::unix::fs::symlink, path::Path};

use fs_err as fs;
use xenolith_layout::Bytes;
use xenolith_machine::{Bus, Capture, Firmware, Machine, SecureBoot, Tpm, judge};
use xenolith_probe::{Programs, Tool, capture};

const LSBLK: &str = r#"{"blockdevices": [
  {"name":"sda","kname":"sda","type":"disk","size":480103981056,"log-sec":512,"phy-sec":4096,"ro":false,"rm":false,"hotplug":false,
   "rota":false,"tran":"sata","vendor":"ATA","model":"INTEL SSD","serial":"S1","wwn":"0x5000aa","pttype":null,"fstype":"LVM2_member","mountpoints":[null]},
  {"name":"sdb","kname":"sdb","type":"disk","size":8000000000,"log-sec":512,"phy-sec":512,"ro":true,"rm":true,"hotplug":true,
   "rota":false,"tran":"usb","model":"Stick","serial":null,"fstype":"iso9660","label":"XENOLITH","mountpoints":[null]}]}"#;
const PVS: &str = r#"{"report":[{"pv":[{"pv_name":"/dev/sda","vg_name":"VG_XenStorage-1"}]}], "log": []}"#;
const XL: &str = "host : x\ntotal_memory           : 3071\nnr_cpus                : 2\n";

struct Said {
    pvs: Option<&'static str>,
    xl: &'static str,
}

impl Programs for Said {
    fn run(&self, tool: Tool, _args: &[&str]) -> anyhow::Result<String> {
        match tool {
            Tool::Lsblk => Ok(LSBLK.to_owned()),
            Tool::Pvs => self.pvs.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("pvs ended with 5")),
            Tool::Xl => Ok(self.xl.to_owned()),
        }
    }
}

fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

fn machine_tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    link(root, "dev/disk/by-id/wwn-0x5000aa", "../../sda");
    link(root, "dev/disk/by-path/pci-0000:00:17.0-ata-1", "../../sda");
    put(root, "sys/class/dmi/id/product_serial", "X1\n");
    put(root, "sys/class/dmi/id/sys_vendor", "Maker\n");
    let variable =
        |name: &str| format!("sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    put(root, &variable("SecureBoot"), [6, 0, 0, 0, 1]);
    put(root, &variable("SetupMode"), [6, 0, 0, 0, 0]);
    put(root, "sys/devices/net/eth0/address", "52:54:00:AA:BB:CC\n");
    put(root, "sys/devices/net/eth0/carrier", "1\n");
    put(root, "sys/devices/net/eth0/speed", "10000\n");
    link(root, "sys/devices/net/eth0/device", "../../0000:02:00.0");
    put(root, "sys/devices/0000:02:00.0/vendor", "0x8086");
    link(root, "sys/devices/0000:02:00.0/driver", "../../bus/pci/drivers/ixgbe");
    put(root, "sys/devices/net/lo/address", "00:00:00:00:00:00\n");
    link(root, "sys/class/net/eth0", "../../devices/net/eth0");
    link(root, "sys/class/net/lo", "../../devices/net/lo");
    put(root, "run/xenolith/boot.json", r#"{"medium":"iso","disk":"/dev/sdb","slot":null}"#);
    put(root, "sys/class/tpm/tpm0/tpm_version_major", "2\n");
    put(root, "proc/meminfo", "MemTotal:        1000 kB\nMemFree: 3 kB\n");
    put(root, "proc/cpuinfo", "processor : 0\nflags : x\nprocessor : 1\nprocessor : 2\n");
    folder
}

#[test]
fn a_machine_is_written_down_and_read_again() {
    let tree = machine_tree();
    let capture = capture(tree.path(), &Said { pvs: Some(PVS), xl: XL }, "a test").unwrap();
    let text = serde_json::to_vec(&capture).unwrap();
    assert_eq!(Capture::parse(&text).unwrap(), capture);
    let machine = Machine::of(&capture);
    assert_eq!(machine.system.serial.as_deref(), Some("X1"));
    assert_eq!(machine.firmware, Firmware::Uefi { secure_boot: SecureBoot::On });
    assert_eq!(machine.tpm, Tpm::V2);
    assert_eq!((machine.memory, machine.processors), (Bytes::new(3071 << 20), 2));
    let nic = &machine.nics[0];
    assert_eq!((machine.nics.len(), nic.driver.as_str(), nic.speed), (1, "ixgbe", Some(10_000)));
    assert_eq!((nic.mac.as_str(), nic.place.as_deref()), ("52:54:00:aa:bb:cc", Some("0000:02:00.0")));
    let sda = machine.disk("sda").unwrap();
    assert_eq!(sda.links, ["by-id/wwn-0x5000aa", "by-path/pci-0000:00:17.0-ata-1"]);
    assert_eq!((sda.bus, sda.groups().collect::<Vec<_>>()), (Bus::Sata, vec!["VG_XenStorage-1"]));
    assert!(judge(&machine, sda).is_offered());
    let stick = judge(&machine, machine.disk("sdb").unwrap());
    assert!(stick.refusals.len() >= 3, "running from it, a medium, read-only, removable: {stick:?}");
}

#[test]
fn without_a_hypervisor_the_kernel_says_how_large_the_machine_is() {
    let tree = machine_tree();
    let capture = capture(tree.path(), &Said { pvs: Some(PVS), xl: "" }, "").unwrap();
    assert_eq!((capture.memory, capture.processors), (1000 * 1024, 3));
}

#[test]
fn what_a_decision_needs_and_nobody_tells_ends_the_capture() {
    let tree = machine_tree();
    let error = capture(tree.path(), &Said { pvs: None, xl: XL }, "").unwrap_err();
    assert!(error.to_string().contains("pvs ended"), "{error}");
    put(tree.path(), "run/xenolith/boot.json", "{");
    let error = capture(tree.path(), &Said { pvs: Some(PVS), xl: XL }, "").unwrap_err();
    assert!(error.to_string().contains("boot facts"), "{error}");
}

#[test]
fn a_lun_that_firmware_starts_from_is_known_by_its_target() {
    let tree = machine_tree();
    let root = tree.path();
    put(root, "sys/firmware/ibft/initiator/initiator-name", "iqn.2026-01.org.example:host\n");
    put(root, "sys/firmware/ibft/target0/target-name", "iqn.2026-01.org.example:boot\n");
    put(root, "sys/class/iscsi_session/session1/targetname", "iqn.2026-01.org.example:boot\n");
    put(root, "sys/class/iscsi_session/session2/targetname", "iqn.2026-01.org.example:data\n");
    link(root, "sys/block/sda", "../devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sda");
    link(root, "sys/block/sdb", "../devices/platform/host4/session2/target4:0:0/4:0:0:1/block/sdb");
    link(
        root,
        "sys/block/sdc",
        "../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sdc",
    );
    let capture = capture(root, &Said { pvs: Some(PVS), xl: XL }, "").unwrap();
    let known: Vec<_> = capture.iscsi_boot.into_iter().collect();
    assert_eq!(known, [("sda".to_owned(), "iqn.2026-01.org.example:boot".to_owned())]);
}

#[test]
fn a_machine_without_anything_has_a_capture_too() {
    let root = tempfile::tempdir().unwrap();
    let capture = capture(root.path(), &Said { pvs: Some(PVS), xl: "" }, "").unwrap();
    assert!(!capture.efi && capture.nics.is_empty() && capture.running_from.is_none());
}
