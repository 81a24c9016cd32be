//! What the boot loader left in EFI variables: where it came from, and which entry it started.
//!
//! systemd-boot sets `LoaderDevicePartUUID` when it was started from a GPT partition, and leaves it out when
//! firmware started it from an optical medium or over the network (its device path then has no hard-disk node).
//! Both facts are worth something: see [`Origin`]. A value is four bytes of attributes, then UTF-16LE with an
//! end mark. (Boot Loader Interface; systemd-boot 257.)

use std::path::Path;

use uuid::Uuid;

/// The vendor GUID of the loader's variables.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Where the boot loader was started from, which decides whether this machine runs as an installed host or from
/// a medium. A signed boot file cannot say it, because all media carry the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A GPT partition with this unique GUID: an installed disk, or a USB stick.
    Partition(Uuid),
    /// A loader that announces itself, but no partition: an optical medium, a RAM disk, or the network.
    NotAPartition,
    /// Nothing is known: no EFI, or another loader.
    Unknown,
}

/// What the loader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    /// Where it came from.
    pub origin: Origin,
    /// The entry it started (`LoaderEntrySelected`).
    pub entry: Option<String>,
}

/// Reads the loader's variables below `efivars` (the mount point of efivarfs). What cannot be read counts as
/// not said: a machine without EFI boots too.
pub fn loader(efivars: &Path) -> Loader {
    let read = |name: &str| {
        let bytes = fs_err::read(efivars.join(format!("{name}-{LOADER}"))).ok()?;
        text(&bytes)
    };
    let partition = read("LoaderDevicePartUUID").and_then(|text| Uuid::parse_str(text.trim()).ok());
    let origin = match (partition, read("LoaderInfo")) {
        (Some(uuid), _) => Origin::Partition(uuid),
        (None, Some(_)) => Origin::NotAPartition,
        (None, None) => Origin::Unknown,
    };
    let plain = |entry: &String| {
        entry.len() <= 255 && entry.chars().all(|character| character.is_ascii_graphic() && character != '/')
    };
    Loader { origin, entry: read("LoaderEntrySelected").filter(plain) }
}

/// The text of a variable, without its attributes and end mark. `None` if it is no UTF-16, or empty.
fn text(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes
        .get(4..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16(&units).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(folder: &Path, name: &str, value: &str) {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        fs_err::write(folder.join(format!("{name}-{LOADER}")), bytes).unwrap();
    }

    #[test]
    fn a_loader_on_a_partition_names_it() {
        let folder = tempfile::tempdir().unwrap();
        variable(folder.path(), "LoaderInfo", "systemd-boot 257.13");
        variable(folder.path(), "LoaderDevicePartUUID", "3F1E0C9A-0000-4000-8000-00000000000A");
        variable(folder.path(), "LoaderEntrySelected", "xenolith_0.1.0+3-0.efi");
        let loader = loader(folder.path());
        let uuid = Uuid::parse_str("3f1e0c9a-0000-4000-8000-00000000000a").unwrap();
        assert_eq!(loader.origin, Origin::Partition(uuid));
        assert_eq!(loader.entry.as_deref(), Some("xenolith_0.1.0+3-0.efi"));
    }

    #[test]
    fn a_loader_on_an_optical_medium_names_no_partition() {
        let folder = tempfile::tempdir().unwrap();
        variable(folder.path(), "LoaderInfo", "systemd-boot 257.13");
        assert_eq!(loader(folder.path()).origin, Origin::NotAPartition);
    }

    #[test]
    fn without_efi_nothing_is_known() {
        let nowhere = loader(Path::new("/nonexistent"));
        assert_eq!(nowhere, Loader { origin: Origin::Unknown, entry: None });
    }

    #[test]
    fn odd_values_count_as_not_said() {
        let folder = tempfile::tempdir().unwrap();
        variable(folder.path(), "LoaderDevicePartUUID", "not a uuid");
        variable(folder.path(), "LoaderEntrySelected", "../../etc/shadow");
        assert_eq!(loader(folder.path()), Loader { origin: Origin::Unknown, entry: None });
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = text(&bytes);
        }
    }
}
