//! What the kernel tells in files.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use xenolith_layout::names::EFI_GLOBAL_VARIABLE;
use xenolith_machine::RawNic;

/// Folders below `/dev/disk` whose links a rule may name.
const LINKS: &[&str] = &["by-id", "by-path"];
/// Files of `/sys/class/dmi/id` that say which machine it is.
const DMI: &[&str] = &["sys_vendor", "product_name", "product_serial", "product_uuid"];
/// Those of UEFI's own variables that say what Secure Boot does.
const EFI_VARIABLES: &[&str] = &["SecureBoot", "SetupMode"];
/// Where the kernel says which TPM there is (Linux 6.12, Documentation/ABI/stable/sysfs-class-tpm).
pub(crate) const TPM_VERSION: &str = "sys/class/tpm/tpm0/tpm_version_major";
/// In efivarfs four bytes of attributes come before the data.
const EFI_DATA: usize = 4;

pub(crate) fn read(root: &Path, path: &str) -> io::Result<String> {
    let bytes = fs::read(root.join(path.trim_start_matches('/')))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// That something is not there is an answer.
pub(crate) fn absent<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Entries of a folder, sorted; none if it is not there.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = absent(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// Where a link points to, without the folders.
fn target(link: &Path) -> Option<String> {
    name(&fs::read_link(link).ok()?)
}

/// The links of each kernel name, without `/dev/disk`.
pub(crate) fn links(root: &Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for folder in LINKS {
        for link in entries(&root.join("dev/disk").join(folder))? {
            if let (Some(name), Some(target)) = (name(&link), target(&link)) {
                links.entry(target).or_default().push(format!("{folder}/{name}"));
            }
        }
    }
    Ok(links)
}

pub(crate) fn dmi(root: &Path) -> BTreeMap<String, String> {
    let field =
        |name: &&str| Some(((*name).to_owned(), read(root, &format!("sys/class/dmi/id/{name}")).ok()?));
    DMI.iter().filter_map(field).collect()
}

pub(crate) fn efi_variables(root: &Path) -> BTreeMap<String, u8> {
    let variable = |name: &&str| {
        let path = root.join("sys/firmware/efi/efivars").join(format!("{name}-{EFI_GLOBAL_VARIABLE}"));
        Some(((*name).to_owned(), *fs::read(path).ok()?.get(EFI_DATA)?))
    };
    EFI_VARIABLES.iter().filter_map(variable).collect()
}

/// The disks of sessions with targets that firmware has named in the iBFT (ACPI for iSCSI, Linux's Documentation/ABI/testing/
/// sysfs-ibft), with the target's name.
pub(crate) fn iscsi_boot(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let firmware = entries(&root.join("sys/firmware/ibft"))?;
    let firmware: Vec<_> = firmware.iter().filter_map(|folder| read(folder, "target-name").ok()).collect();
    if firmware.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut disks = BTreeMap::new();
    for disk in entries(&root.join("sys/block"))? {
        // ../devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sda
        let Ok(device) = fs::read_link(&disk) else { continue };
        let mut above = device.iter().filter_map(|part| part.to_str());
        let Some(session) = above.find(|part| part.starts_with("session")) else { continue };
        let target = read(root, &format!("sys/class/iscsi_session/{session}/targetname")).ok();
        if let (Some(disk), Some(target)) = (name(&disk), target.filter(|target| firmware.contains(target))) {
            disks.insert(disk, target);
        }
    }
    Ok(disks)
}

/// Every network interface. A file that an interface lacks, or that cannot be read while it is down, is left out.
pub(crate) fn nics(root: &Path) -> io::Result<Vec<RawNic>> {
    let mut nics = Vec::new();
    for folder in entries(&root.join("sys/class/net"))? {
        let Some(name) = name(&folder).filter(|_| folder.is_dir()) else { continue };
        let file = |name: &str| read(&folder, name).ok();
        nics.push(RawNic {
            name,
            address: file("address").unwrap_or_default(),
            carrier: file("carrier").map(|carrier| carrier == "1"),
            speed: file("speed").and_then(|speed| speed.parse().ok()),
            driver: target(&folder.join("device/driver")),
            place: target(&folder.join("device")),
        });
    }
    Ok(nics)
}

/// Bytes of memory that this kernel has.
pub(crate) fn memory(root: &Path) -> u64 {
    let text = read(root, "proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}

/// Processors that this kernel has.
pub(crate) fn processors(root: &Path) -> u32 {
    let text = read(root, "proc/cpuinfo").unwrap_or_default();
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
