//! From the raw answers to typed facts.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;
use xenolith_layout::{Bytes, names};

use crate::capture::Capture;
use crate::disk::{Bus, Content, Disk, Part, Use};
use crate::lsblk::{Device, LSBLK_UNIT, MAX_DEPTH};
use crate::nic::Nic;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Who made it.
    pub system: System,
    /// What starts it.
    pub firmware: Firmware,
    /// What keeps secrets for it.
    pub tpm: Tpm,
    /// Its memory.
    pub memory: Bytes,
    /// Its processors.
    pub processors: u32,
    /// Its disks, in the order of their names. Drives without a medium are not among them.
    pub disks: Vec<Disk>,
    /// Its network interfaces, in the order of their names.
    pub nics: Vec<Nic>,
    /// Kernel name of the disk that this system runs from.
    pub running_from: Option<String>,
}

/// What DMI says about a machine; firmware that was never filled in says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct System {
    /// Its maker.
    pub vendor: Option<String>,
    /// Its model.
    pub product: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID, in lower case.
    pub uuid: Option<String>,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Firmware {
    /// UEFI.
    Uefi {
        /// Its Secure Boot.
        secure_boot: SecureBoot,
    },
    /// A BIOS, or UEFI that plays one.
    Bios,
}

/// A machine's TPM, as far as the kernel drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tpm {
    /// None, or one that is switched off in the firmware.
    #[serde(rename = "none")]
    None,
    /// Version 1.2, which nothing is sealed with any more.
    #[serde(rename = "1.2")]
    V1,
    /// Version 2.0.
    #[serde(rename = "2.0")]
    V2,
}

/// The state of Secure Boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecureBoot {
    /// Signatures are checked.
    On,
    /// They are not.
    Off,
    /// No keys are enrolled, and anybody may enrol theirs.
    Setup,
    /// The firmware does not know it.
    Unknown,
}

/// Names of block devices that `lsblk` calls disks and that are none: RAM, network block devices and the boot areas of eMMC.
fn is_no_disk(name: &str) -> bool {
    ["ram", "zram", "nbd", "fd", "pmem"].iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("mmcblk") && name.contains("boot"))
}

/// Words with which makers leave a field empty.
const EMPTY_WORDS: &[&str] =
    &["", "none", "not specified", "to be filled by o.e.m.", "default string", "system serial number", "0"];

impl Machine {
    /// Reads a capture.
    pub fn of(capture: &Capture) -> Self {
        let mut disks: Vec<Disk> = Vec::new();
        for device in &capture.lsblk.blockdevices {
            if device.kind != "disk" || device.size == 0 || is_no_disk(&device.kname) {
                continue;
            }
            match device.children.iter().find(|child| child.kind == "mpath") {
                None => disks.push(disk(capture, device, device)),
                // Every path names the map again.
                Some(map) => match disks.iter_mut().find(|disk| disk.kernel_name == map.kname) {
                    Some(known) => known.paths.push(device.kname.clone()),
                    None => {
                        disks.push(Disk { paths: vec![device.kname.clone()], ..disk(capture, device, map) });
                    }
                },
            }
        }
        disks.sort_by_key(|disk| natural(&disk.name));
        let mut nics: Vec<Nic> = capture.nics.iter().filter_map(Nic::of).collect();
        nics.sort_by_key(|nic| natural(&nic.name));
        Self {
            system: System::of(&capture.dmi),
            firmware: firmware(capture),
            tpm: match capture.tpm_version.as_deref() {
                Some("2") => Tpm::V2,
                Some(_) => Tpm::V1,
                None => Tpm::None,
            },
            memory: Bytes::new(capture.memory),
            processors: capture.processors,
            running_from: capture
                .running_from
                .as_ref()
                .map(|name| above(&disks, name).unwrap_or_else(|| name.clone())),
            disks,
            nics,
        }
    }

    /// The disk with this kernel name or name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name || disk.kernel_name == name)
    }
}

impl System {
    fn of(dmi: &BTreeMap<String, String>) -> Self {
        let field = |name: &str| {
            let text = dmi.get(name)?.trim();
            let empty = EMPTY_WORDS.contains(&text.to_ascii_lowercase().as_str());
            (!empty).then(|| text.to_owned())
        };
        Self {
            vendor: field("sys_vendor"),
            product: field("product_name"),
            serial: field("product_serial"),
            uuid: field("product_uuid").map(|uuid| uuid.to_ascii_lowercase()),
        }
    }
}

fn firmware(capture: &Capture) -> Firmware {
    if !capture.efi {
        return Firmware::Bios;
    }
    let variable = |name: &str| capture.efi_variables.get(name).copied();
    let secure_boot = match (variable("SecureBoot"), variable("SetupMode")) {
        (Some(1), _) => SecureBoot::On,
        (_, Some(1)) => SecureBoot::Setup,
        (Some(0), _) => SecureBoot::Off,
        (Some(_) | None, _) => SecureBoot::Unknown,
    };
    Firmware::Uefi { secure_boot }
}

/// The disk that a partition, or a disk, of this name belongs to.
fn above(disks: &[Disk], name: &str) -> Option<String> {
    let of = |disk: &&Disk| {
        disk.kernel_name == name
            || disk.paths.iter().any(|path| path == name)
            || disk.content.parts.iter().any(|part| part.kernel_name == name)
    };
    disks.iter().find(of).map(|disk| disk.kernel_name.clone())
}

/// Names in the order in which people count: `sda`, `sdb`, …, `sdz`, `sdaa`; `nvme2n1` before `nvme10n1`.
fn natural(name: &str) -> (String, usize, Vec<u64>, String) {
    let word: String = name.chars().take_while(|c| !c.is_ascii_digit()).collect();
    let numbers =
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    // A longer name of the same kind of disk is a later one.
    let kind: String = word.chars().take(2).collect();
    (kind, word.len(), numbers, name.to_owned())
}

/// `bottom` is what the hardware says, `top` what is written to: the map, or the same.
fn disk(capture: &Capture, bottom: &Device, top: &Device) -> Disk {
    let mut uses = Vec::new();
    look_for_uses(top, &top.name, &mut uses, 0);
    Disk {
        name: top.name.clone(),
        kernel_name: top.kname.clone(),
        links: capture.links.get(&top.kname).cloned().unwrap_or_default(),
        model: model(bottom),
        serial: trimmed(bottom.serial.as_ref()),
        wwn: trimmed(bottom.wwn.as_ref()).map(|wwn| wwn.to_ascii_lowercase()),
        size: Bytes::new(top.size),
        sector: top.log_sec,
        bus: bus(bottom),
        rotating: bottom.rota,
        removable: bottom.rm || (bottom.hotplug && bus(bottom) == Bus::Usb),
        read_only: bottom.ro || top.ro,
        paths: Vec::new(),
        boot_target: capture.iscsi_boot.get(&bottom.kname).cloned(),
        content: content(capture, top),
        uses,
    }
}

fn content(capture: &Capture, device: &Device) -> Content {
    let group = |device: &Device| {
        let named = |pv: &&crate::capture::PhysicalVolume| {
            pv.pv_name == format!("/dev/{}", device.kname)
                || pv.pv_name == format!("/dev/mapper/{}", device.name)
        };
        let found = capture.physical_volumes.iter().find(named)?;
        (!found.vg_name.is_empty()).then(|| found.vg_name.clone())
    };
    let parts = device.children.iter().filter(|child| child.kind == "part").map(|part| Part {
        kernel_name: part.kname.clone(),
        number: part.partn,
        start: part.start.and_then(|units| units.checked_mul(LSBLK_UNIT)).map(Bytes::new),
        size: Bytes::new(part.size),
        guid: part.partuuid.as_deref().and_then(|guid| Uuid::parse_str(guid).ok()),
        label: part.partlabel.clone(),
        signature: part.fstype.clone(),
        volume: part.label.clone(),
        group: group(part),
        array: part
            .uuid
            .as_deref()
            .filter(|_| part.fstype.as_deref() == Some(names::RAID_MEMBER))
            .and_then(|array| Uuid::parse_str(array).ok()),
    });
    Content {
        signature: device.fstype.clone(),
        label: device.label.clone(),
        table: device.pttype.clone(),
        group: group(device),
        parts: parts.collect(),
    }
}

fn look_for_uses(device: &Device, name: &str, uses: &mut Vec<Use>, depth: usize) {
    for at in device.mountpoints.iter().flatten() {
        uses.push(match at.as_str() {
            "[SWAP]" => Use::Swap { device: name.to_owned() },
            at => Use::Mounted { device: name.to_owned(), at: at.to_owned() },
        });
    }
    if depth == MAX_DEPTH {
        return;
    }
    for child in &device.children {
        if child.kind != "part" {
            let (by, kind) = (child.name.clone(), child.kind.clone());
            uses.push(Use::Held { device: name.to_owned(), by, kind });
        }
        look_for_uses(child, &child.name, uses, depth + 1);
    }
}

fn bus(device: &Device) -> Bus {
    let maker = device.vendor.as_deref().map_or("", str::trim);
    match device.tran.as_deref() {
        Some("nvme") => Bus::Nvme,
        Some("sata" | "ata") => Bus::Sata,
        Some("sas") => Bus::Sas,
        Some("usb") => Bus::Usb,
        Some("mmc") => Bus::Mmc,
        Some("virtio") => Bus::Virtual,
        Some("iscsi") => Bus::Iscsi,
        Some("fc" | "fcoe") => Bus::Fc,
        Some("spi") => Bus::Scsi,
        Some(_) | None => match device.kname.as_str() {
            name if name.starts_with("nvme") => Bus::Nvme,
            name if name.starts_with("mmcblk") => Bus::Mmc,
            name if name.starts_with("vd") || name.starts_with("xvd") => Bus::Virtual,
            name if name.starts_with("sd") && maker == "QEMU" => Bus::Virtual,
            name if name.starts_with("sd") => Bus::Scsi,
            _ => Bus::Unknown,
        },
    }
}

/// SATA disks call their maker "ATA".
fn model(device: &Device) -> Option<String> {
    let model = trimmed(device.model.as_ref());
    let vendor = trimmed(device.vendor.as_ref()).filter(|vendor| vendor != "ATA" && vendor != "0x1af4");
    match (vendor, model) {
        (Some(vendor), Some(model)) if !model.starts_with(&vendor) => Some(format!("{vendor} {model}")),
        (_, Some(model)) => Some(model),
        (vendor, None) => vendor,
    }
}

fn trimmed(text: Option<&String>) -> Option<String> {
    let text = text?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_counted_as_people_do() {
        let mut names = ["sdaa", "nvme10n1", "sdb", "nvme2n1", "sda", "mpathb", "mpatha"].map(str::to_owned);
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["mpatha", "mpathb", "nvme2n1", "nvme10n1", "sda", "sdb", "sdaa"]);
    }

    #[test]
    fn a_field_that_nobody_filled_in_says_nothing() {
        let dmi = [("product_serial", "Default string"), ("sys_vendor", " Dell Inc. ")];
        let system = System::of(&dmi.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        assert_eq!((system.serial, system.vendor.as_deref()), (None, Some("Dell Inc.")));
    }
}
