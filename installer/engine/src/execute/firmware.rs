//! The firmware's boot menu, through efivarfs.
//!
//! Every value is written by one call, as the file system asks for (Linux 6.12, Documentation/filesystems/efivarfs.rst); boot entries
//! and their order are among the variables that it does not protect from being changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    path::Path,
};

use fs_err as fs;
use uuid::Uuid;
use xenolith_layout::{
    boot_option::{BootOption, changes},
    names::EFI_GLOBAL_VARIABLE,
};

/// Where the variables are.
const VARIABLES: &str = "/sys/firmware/efi/efivars";
/// Kept in the firmware's memory, there while it starts the machine and while a system runs (UEFI 2.10 §8.2).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];
/// A longer value is no boot entry.
const LONGEST: u64 = 64 << 10;

/// Puts entries in front of the firmware's own order and takes out those of partitions that are gone.
///
/// # Errors
/// When the firmware refuses; what was written until then is harmless.
pub(super) fn register(wanted: &[BootOption], gone: &BTreeSet<Uuid>) -> io::Result<()> {
    register_in(Path::new(VARIABLES), wanted, gone)
}

fn register_in(folder: &Path, wanted: &[BootOption], gone: &BTreeSet<Uuid>) -> io::Result<()> {
    let mut entries = BTreeMap::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        let name = found.file_name().to_string_lossy().into_owned();
        if let Some(number) = number(&name)
            && found.metadata()?.len() <= LONGEST
        {
            entries.insert(number, value(&found.path())?);
        }
    }
    let order = folder.join(format!("BootOrder-{EFI_GLOBAL_VARIABLE}"));
    let numbers: Vec<u16> = match value(&order) {
        Ok(bytes) => bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let entry = |number: &u16| folder.join(format!("Boot{number:04X}-{EFI_GLOBAL_VARIABLE}"));
    let changes = changes(&entries, &numbers, wanted, gone);
    for (number, bytes) in &changes.write {
        write(&entry(number), bytes)?;
    }
    if changes.order != numbers {
        let bytes: Vec<u8> = changes.order.iter().flat_map(|number| number.to_le_bytes()).collect();
        write(&order, &bytes)?;
    }
    for number in &changes.remove {
        fs::remove_file(entry(number))?;
    }
    Ok(())
}

/// The number of a boot entry's variable.
fn number(name: &str) -> Option<u16> {
    let digits = name.strip_suffix(EFI_GLOBAL_VARIABLE)?.strip_suffix('-')?.strip_prefix("Boot")?;
    let digits = (digits.len() == 4).then_some(digits)?;
    u16::from_str_radix(digits, 16).ok()
}

/// Without the attributes in front; a value that is shorter than those is empty.
fn value(path: &Path) -> io::Result<Vec<u8>> {
    Ok(fs::read(path)?.get(ATTRIBUTES.len()..).unwrap_or_default().to_vec())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let whole = [&ATTRIBUTES[..], bytes].concat();
    let written = file.write(&whole)?;
    if written == whole.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_with_their_attributes_and_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(format!("{name}-{EFI_GLOBAL_VARIABLE}"));
        fs::write(path("Boot0000"), [7, 0, 0, 0, 1, 2]).unwrap();
        fs::write(path("BootOrder"), [7, 0, 0, 0, 0, 0]).unwrap();
        fs::write(path("BootOptionSupport"), [6, 0, 0, 0, 1, 0, 0, 0]).unwrap();
        let option = BootOption {
            description: "Xenolith".into(),
            number: 2,
            first: 4096,
            sectors: 8,
            guid: Uuid::from_u128(1),
            loader: "EFI/BOOT/BOOTX64.EFI".into(),
        };
        register_in(folder.path(), std::slice::from_ref(&option), &BTreeSet::new()).unwrap();
        assert_eq!(fs::read(path("BootOrder")).unwrap(), [7, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(fs::read(path("Boot0001")).unwrap()[4..], option.bytes());
        // The partition is gone: so is its entry.
        register_in(folder.path(), &[], &[Uuid::from_u128(1)].into()).unwrap();
        assert!(!path("Boot0001").exists());
        // efivarfs takes what is written for the whole value; a plain file keeps its tail.
        assert_eq!(fs::read(path("BootOrder")).unwrap()[4..6], [0, 0]);
    }

    #[test]
    fn only_boot_entries_are_boot_entries() {
        assert_eq!(number(&format!("Boot00FF-{EFI_GLOBAL_VARIABLE}")), Some(255));
        for name in ["BootOrder", "Boot1", "Boot00001", "BootNext"] {
            assert_eq!(number(&format!("{name}-{EFI_GLOBAL_VARIABLE}")), None);
        }
    }
}
