//! Entries of the firmware's boot menu: their bytes, and which to write.
//!
//! An entry names a partition by GUID, so it finds its disk in whatever order disks come. Source: UEFI 2.10 §3.1.3
//! (EFI_LOAD_OPTION), §10.3.5.1 (hard drive node), §10.3.5.4 (file path node).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// The entry is shown and started.
const ACTIVE: u32 = 1;
/// A node of the kind "media device path".
const MEDIA: u8 = 4;
const HARD_DRIVE: u8 = 1;
const FILE_PATH: u8 = 4;
/// The node that ends a device path.
const END: [u8; 4] = [0x7f, 0xff, 4, 0];
/// Partitions of a GPT, named by GUID.
const GPT: u8 = 2;
const BY_GUID: u8 = 2;
/// A hard drive node's length.
const HARD_DRIVE_LENGTH: u16 = 42;
/// Descriptions longer than this run out of the menus of some firmware.
const LONGEST: usize = 60;

/// An entry that starts a loader in a partition of a GPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOption {
    /// What the menu shows.
    pub description: String,
    /// The partition's number.
    pub number: u32,
    /// Its first sector.
    pub first: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// Its unique GUID.
    pub guid: Uuid,
    /// The loader, as a path in it with slashes.
    pub loader: String,
}

impl BootOption {
    /// The value of the variable.
    pub fn bytes(&self) -> Vec<u8> {
        let description: String =
            self.description.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(LONGEST).collect();
        let file = utf16(&format!("\\{}", self.loader.replace('/', "\\")));
        let mut path = Vec::new();
        path.extend([MEDIA, HARD_DRIVE]);
        path.extend(HARD_DRIVE_LENGTH.to_le_bytes());
        path.extend(self.number.to_le_bytes());
        path.extend(self.first.to_le_bytes());
        path.extend(self.sectors.to_le_bytes());
        path.extend(self.guid.to_bytes_le());
        path.extend([GPT, BY_GUID]);
        path.extend([MEDIA, FILE_PATH]);
        path.extend(short(file.len() + 4).to_le_bytes());
        path.extend(file);
        path.extend(END);
        let mut bytes = ACTIVE.to_le_bytes().to_vec();
        bytes.extend(short(path.len()).to_le_bytes());
        bytes.extend(utf16(&description));
        bytes.extend(path);
        bytes
    }
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("a loader's path has a few dozen characters")
}

/// With its end mark.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The partition that an entry starts from, if it is one of a GPT.
pub fn partition_of(option: &[u8]) -> Option<Uuid> {
    // Attributes and length, then the description up to its end mark.
    let text = option.get(6..)?;
    let end = text.chunks_exact(2).position(|unit| unit == [0, 0])?;
    let node = text.get((end + 1) * 2..)?;
    let is_drive = node.first_chunk() == Some(&[MEDIA, HARD_DRIVE, 42, 0]);
    let named = node.get(40..42) == Some(&[GPT, BY_GUID]);
    (is_drive && named).then_some(())?;
    Some(Uuid::from_bytes_le(*node.get(24..)?.first_chunk()?))
}

/// What is to be written, in this order, so that at any moment the firmware finds what it did before or what it shall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries by number.
    pub write: Vec<(u16, Vec<u8>)>,
    /// Which come first; the rest as before.
    pub order: Vec<u16>,
    /// Entries whose partitions are gone.
    pub remove: Vec<u16>,
}

/// Puts `wanted` in front of the firmware's own order. An entry for a partition in `gone` is taken out; every other one stays, since
/// it is somebody else's.
pub fn changes(
    entries: &BTreeMap<u16, Vec<u8>>,
    order: &[u16],
    wanted: &[BootOption],
    gone: &BTreeSet<Uuid>,
) -> Changes {
    let wanted: Vec<Vec<u8>> = wanted.iter().map(BootOption::bytes).collect();
    let remove: Vec<u16> = entries
        .iter()
        .filter(|(_, bytes)| {
            !wanted.contains(bytes) && partition_of(bytes).is_some_and(|part| gone.contains(&part))
        })
        .map(|(number, _)| *number)
        .collect();
    let mut free = (0..=u16::MAX).filter(|number| !entries.contains_key(number));
    let (mut write, mut first) = (Vec::new(), Vec::new());
    for bytes in wanted {
        let there = entries.iter().find(|(_, known)| **known == bytes).map(|(number, _)| *number);
        let Some(number) = there.or_else(|| free.next()) else { continue };
        if there.is_none() {
            write.push((number, bytes));
        }
        first.push(number);
    }
    let rest = order.iter().copied().filter(|number| !first.contains(number) && !remove.contains(number));
    let order = first.iter().copied().chain(rest).collect();
    Changes { write, order, remove }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn option(guid: u128) -> BootOption {
        BootOption {
            description: "Xenolith (S1)".to_owned(),
            number: 2,
            first: 4096,
            sectors: 4_194_304,
            guid: Uuid::from_u128(guid),
            loader: "EFI/BOOT/BOOTX64.EFI".to_owned(),
        }
    }

    #[test]
    fn an_entry_has_the_bytes_of_the_specification() {
        let bytes = option(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff).bytes();
        let text = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        // 21 characters and an end mark, in two bytes each, behind a head of four.
        let mut expected = vec![1, 0, 0, 0, 42 + 48 + 4, 0];
        expected.extend(text("Xenolith (S1)\0"));
        expected.extend([4, 1, 42, 0, 2, 0, 0, 0]);
        expected.extend([0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0]);
        expected.extend([0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
        expected.extend([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 2, 2]);
        expected.extend([4, 4, 48, 0]);
        expected.extend(text("\\EFI\\BOOT\\BOOTX64.EFI\0"));
        expected.extend([0x7f, 0xff, 4, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(partition_of(&bytes), Some(Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)));
    }

    #[test]
    fn ours_come_first_those_of_erased_disks_go_and_all_others_stay() {
        let other = BootOption { description: "Windows".into(), ..option(9) };
        let entries = [(0, vec![1, 2, 3]), (1, option(7).bytes()), (3, other.bytes())].into();
        let made = changes(&entries, &[3, 1, 0], &[option(1), option(2)], &[Uuid::from_u128(7)].into());
        assert_eq!(made.write, [(2, option(1).bytes()), (4, option(2).bytes())]);
        assert_eq!((made.order.as_slice(), made.remove.as_slice()), (&[2, 4, 3, 0][..], &[1][..]));
    }

    #[test]
    fn what_is_there_already_is_not_written_again() {
        let entries = [(5, option(1).bytes())].into();
        let made = changes(&entries, &[0, 5], &[option(1)], &[Uuid::from_u128(1)].into());
        assert_eq!(made, Changes { write: Vec::new(), order: vec![5, 0], remove: Vec::new() });
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = partition_of(&bytes);
        }

        #[test]
        fn what_is_written_names_its_partition(guid: u128, description in ".{0,80}") {
            let bytes = BootOption { description, ..option(guid) }.bytes();
            prop_assert_eq!(partition_of(&bytes), Some(Uuid::from_u128(guid)));
        }
    }
}
