//! What the kernel says about disks: sysfs, mounts and swap, read once into plain data.
//!
//! ```text
//!   /sys/block/sdb ─▶ ../devices/pci…/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb
//!     dev removable ro size          numbers; size in units of 512 bytes whatever the sector size
//!     queue/logical_block_size
//!     device/{vendor,model,type}     names; a USB stick's serial is the `serial` of the USB device above it
//!     holders/                       what is stacked on it: dm-0, md0
//!     sdb1/{partition,dev,holders/}  partitions
//!   /proc/self/mountinfo             major:minor and source of each mount (btrfs has a device number of its own)
//!   /proc/swaps                      swap devices
//! ```
//! The three folders are given, so that a captured tree can be read as well as this machine's.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::Serialize;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }
}

/// The disks of a machine, and what uses them.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Whole disks, by name.
    pub disks: Vec<Disk>,
}

/// A whole disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The kernel's name: `sdb`.
    pub name: String,
    /// Major and minor number: `8:16`.
    pub number: String,
    /// Vendor and model.
    pub model: String,
    /// Serial number, if the device has one.
    pub serial: Option<String>,
    /// Bytes.
    pub size: u64,
    /// What it is connected by.
    pub bus: Bus,
    /// Whether the kernel says that its medium or itself can be taken out.
    pub removable: bool,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Its partitions.
    pub partitions: Vec<Part>,
    /// What uses the disk itself.
    pub uses: Vec<Use>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The kernel's name: `sdb1`.
    pub name: String,
    /// Major and minor number.
    pub number: String,
    /// Its number on the disk.
    pub partition: u32,
    /// What uses it.
    pub uses: Vec<Use>,
}

/// How something uses a disk or partition, directly or through devices stacked on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "use", rename_all = "snake_case")]
pub enum Use {
    /// A file system on it is mounted.
    Mounted {
        /// Where.
        at: String,
    },
    /// It is swapped to.
    Swap,
    /// A device-mapper, RAID or similar device is stacked on it.
    Held {
        /// That device.
        by: String,
    },
}

/// What a disk is connected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bus {
    /// USB.
    Usb,
    /// An SD card or eMMC.
    Mmc,
    /// NVMe.
    Nvme,
    /// SATA or PATA.
    Ata,
    /// Another SCSI transport.
    Scsi,
    /// A hypervisor's disk.
    Virtual,
    /// A loop device.
    Loop,
    /// Anything else.
    #[default]
    Other,
}

impl Bus {
    /// As people say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usb => "USB",
            Self::Mmc => "SD/MMC",
            Self::Nvme => "NVMe",
            Self::Ata => "SATA",
            Self::Scsi => "SCSI",
            Self::Virtual => "virtual",
            Self::Loop => "loop",
            Self::Other => "other",
        }
    }

    fn of(name: &str, path: &str) -> Self {
        let has = |part: &str| path.split('/').any(|component| component.starts_with(part));
        if has("usb") {
            Self::Usb
        } else if name.starts_with("mmcblk") {
            Self::Mmc
        } else if name.starts_with("nvme") {
            Self::Nvme
        } else if name.starts_with("loop") {
            Self::Loop
        } else if has("ata") {
            Self::Ata
        } else if has("virtio") || has("vbd-") {
            Self::Virtual
        } else if has("host") {
            Self::Scsi
        } else {
            Self::Other
        }
    }
}

/// A mount or swap area.
struct Claim {
    number: String,
    source: String,
    of: Use,
}

impl Machine {
    /// Reads everything.
    ///
    /// # Errors
    /// When sysfs or the mounts cannot be read at all; a disk that goes while it is looked at is left out.
    pub fn read(roots: &Roots) -> io::Result<Self> {
        let claims = claims(roots)?;
        let mut disks = Vec::new();
        for entry in fs::read_dir(roots.sys.join("block"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // Stacked devices are what holds disks, not disks; memory is neither.
            let stacked =
                ["dm-", "md", "zram", "ram", "zd", "drbd"].iter().any(|prefix| name.starts_with(prefix));
            if !stacked {
                disks.extend(read_disk(roots, &name, &claims));
            }
        }
        disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Ok(Self { disks })
    }
}

fn claims(roots: &Roots) -> io::Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for line in fs::read_to_string(roots.proc.join("self/mountinfo"))?.lines() {
        // 36 35 98:0 /root /mount/point options … - type source options
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(number), Some(at)) = (fields.get(2), fields.get(4)) else { continue };
        let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1));
        let source = unescape(source.unwrap_or_default());
        claims.push(Claim { number: (*number).to_owned(), source, of: Use::Mounted { at: unescape(at) } });
    }
    // A kernel without swap has no such file.
    let swaps = fs::read_to_string(roots.proc.join("swaps")).unwrap_or_default();
    for line in swaps.lines().skip(1) {
        let source = unescape(line.split_whitespace().next().unwrap_or_default());
        claims.push(Claim { number: String::new(), source, of: Use::Swap });
    }
    Ok(claims)
}

/// Spaces and the like are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code =
            behind.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_disk(roots: &Roots, name: &str, claims: &[Claim]) -> Option<Disk> {
    let folder = fs::canonicalize(roots.sys.join("block").join(name)).ok()?;
    let root = fs::canonicalize(&roots.sys).ok()?;
    let below = folder.strip_prefix(&root).unwrap_or(&folder).to_string_lossy().into_owned();
    let flag = |file: &str| text(&folder.join(file)).as_deref() == Some("1");
    let sectors: u64 = text(&folder.join("size"))?.parse().ok()?;
    let bus = Bus::of(name, &below);
    let mut partitions = Vec::new();
    for entry in fs::read_dir(&folder).ok()?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(partition) = text(&entry.path().join("partition")).and_then(|text| text.parse().ok()) else {
            continue;
        };
        let Some(number) = text(&entry.path().join("dev")) else { continue };
        let uses = uses(roots, &entry.path(), &name, &number, claims, &mut BTreeSet::new());
        partitions.push(Part { name, number, partition, uses });
    }
    partitions.sort_by_key(|part| part.partition);
    let number = text(&folder.join("dev"))?;
    let uses = uses(roots, &folder, name, &number, claims, &mut BTreeSet::new());
    let words = |file: &str| text(&folder.join("device").join(file)).filter(|text| !text.is_empty());
    // An SD card is as removable as a stick, and its reader says so only if it is a USB one.
    let card = bus == Bus::Mmc && words("type").as_deref() == Some("SD");
    // Of a hypervisor's disk the vendor is a PCI number, which tells nobody anything.
    let named = |text: &String| !text.starts_with("0x");
    let model: Vec<String> =
        ["vendor", "model", "name"].into_iter().filter_map(words).filter(named).collect();
    let backing = text(&folder.join("loop/backing_file"));
    Some(Disk {
        name: name.to_owned(),
        number,
        model: backing.unwrap_or_else(|| model.join(" ")),
        serial: serial(&folder, &root, bus),
        size: sectors.checked_mul(512)?,
        bus,
        removable: flag("removable") || card,
        read_only: flag("ro"),
        partitions,
        uses,
    })
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&text).trim_matches(['\0', '\n', ' ']).to_owned())
}

/// The device's own serial number, or that of the USB device that it belongs to.
fn serial(folder: &Path, root: &Path, bus: Bus) -> Option<String> {
    // virtio has it beside the disk's size, NVMe and SD cards with the device.
    let places = ["device/serial", "serial"].map(|place| text(&folder.join(place)));
    let own = places.into_iter().flatten().find(|serial| !serial.is_empty());
    if own.is_some() || bus != Bus::Usb {
        return own;
    }
    let above = folder.ancestors().take_while(|path| path.starts_with(root));
    // Only a USB device has both; interfaces and host controllers lack one of them.
    let device =
        above.filter(|path| path.join("idVendor").exists()).find_map(|path| text(&path.join("serial")));
    device.filter(|serial| !serial.is_empty())
}

/// What uses a device, or a device stacked on it, and so on.
fn uses(
    roots: &Roots,
    folder: &Path,
    name: &str,
    number: &str,
    claims: &[Claim],
    seen: &mut BTreeSet<String>,
) -> Vec<Use> {
    let named = format!("/dev/{name}");
    // Mounts of stacked devices are known as /dev/mapper/… too, but their number is always theirs.
    let ours =
        claims.iter().filter(|claim| claim.source == named || !number.is_empty() && claim.number == number);
    let mut found: Vec<Use> = ours.map(|claim| claim.of.clone()).collect();
    for holder in fs::read_dir(folder.join("holders")).into_iter().flatten().filter_map(Result::ok) {
        let holder = holder.file_name().to_string_lossy().into_owned();
        if !seen.insert(holder.clone()) {
            continue;
        }
        found.push(Use::Held { by: holder.clone() });
        let above = roots.sys.join("block").join(&holder);
        let number = text(&above.join("dev")).unwrap_or_default();
        found.extend(uses(roots, &above, &holder, &number, claims, seen));
    }
    found.dedup();
    found
}
