//! The image: boot file, verity tree, names, media.

use std::{io::Cursor, str::from_utf8};

use xenolith_bootfile::{
    OsRelease, Section, XenConfig, assemble, attach_signature, authenticode_digest, inspect, strip_signature,
};
use xenolith_disk::{fat12::Volume, table::Table};
use xenolith_layout::{RootHash, SectorSize, names::EntryName};
use xenolith_verity::{Superblock, verify, verity_uuid};

/// A PE image, looked through, signed, stripped and extended.
pub fn boot_file(data: &[u8]) {
    if let Ok(found) = inspect(data) {
        for section in &found.sections {
            let _ = found.section(&section.name);
        }
        let _ = (found.config(), found.os_release(), found.is_signed());
    }
    if let (Ok(digest), Ok(signed)) =
        (authenticode_digest(data), attach_signature(data, &[0x30, 0x03, 2, 1, 0]))
    {
        assert_eq!(authenticode_digest(&signed), Ok(digest), "a signature is not covered by itself");
    }
    if let Ok(stripped) = strip_signature(data) {
        assert_eq!(
            strip_signature(&stripped).as_deref(),
            Ok(&stripped[..]),
            "stripping twice is stripping once"
        );
    }
    // The header may claim up to 4 GiB of address space, and sections are placed behind it, not padded up to it.
    if let Ok(extended) = assemble(data, &[Section { name: ".config", data: b"[global]\n" }]) {
        let again = inspect(&extended).expect("what was assembled can be read");
        assert_eq!(again.section(".config"), Some(&b"[global]\n"[..]));
    }
}

/// A superblock by itself; then a tree of 8 bytes of length, 32 of root hash, and blocks, whose superblock is right.
pub fn verity(data: &[u8]) {
    if let Some(head) = data.first_chunk::<{ Superblock::LEN }>()
        && let Ok(superblock) = Superblock::read(head)
    {
        assert_eq!(superblock.to_bytes(), *head);
    }
    let Some((length, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((root, blocks)) = rest.split_first_chunk::<32>() else { return };
    let root = RootHash::new(*root);
    let data_blocks = u64::from_le_bytes(*length);
    let mut tree = vec![0; 4096];
    let superblock = Superblock { uuid: verity_uuid(&root), data_blocks };
    tree[..Superblock::LEN].copy_from_slice(&superblock.to_bytes());
    tree.extend_from_slice(blocks);
    let levels = xenolith_verity::TreeShape::of(data_blocks).levels.iter().sum::<u64>();
    let tree_end = usize::try_from(levels).ok().and_then(|levels| levels.checked_mul(4096));
    let content = tree_end.and_then(|end| blocks.get(end..)).unwrap_or_default();
    let _ = xenolith_init::probe::recognise(&mut tree.as_slice(), &root);
    if verify(&mut &*content, &mut tree.as_slice(), &root).is_ok() {
        let length = usize::try_from(data_blocks).expect("the data were there") * 4096;
        let mut rebuilt = Vec::new();
        let built = xenolith_verity::build(
            &mut &content[..length],
            xenolith_layout::Bytes::new(length as u64),
            &mut rebuilt,
        );
        assert_eq!(built.expect("whole blocks make a tree"), root, "one root hash, one content");
    }
}

/// The section `.config`.
pub fn xen_config(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(config) = XenConfig::parse(text) {
        let rendered = config.render().expect("what can be read can be written");
        assert_eq!(XenConfig::parse(&rendered), Ok(config));
    }
}

/// The section `.osrel`.
pub fn os_release(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(found) = OsRelease::parse(text) {
        assert!(found.get("IMAGE_VERSION").is_some_and(|version| !version.is_empty()));
    }
}

/// The name of a boot entry, as any file in the loader's folder may have it.
pub fn entry_name(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    if let Ok(name) = text.parse::<EntryName>() {
        let written = name.to_string();
        assert_eq!(written.parse(), Ok(name));
    }
}

/// The first sectors of a medium: as they are, and with the sums made right, so that what lies behind them is reached.
pub fn medium_table(data: &[u8]) {
    let look = |data: &[u8]| {
        for sector in [SectorSize::B512, SectorSize::B4096] {
            let Ok(table) = Table::read(&mut Cursor::new(data), sector) else { continue };
            for place in table.partitions.iter().map(|partition| partition.place) {
                assert!(place.length > 0 && place.offset.checked_add(place.length).is_some());
            }
        }
    };
    look(data);
    // Shorter than a header, there is nothing to make right.
    if data.len() < 1024 {
        return;
    }
    let mut right = data.to_vec();
    let field = |bytes: &[u8], at: usize| {
        let number =
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|field| u32::from_le_bytes(*field));
        number.and_then(|number| usize::try_from(number).ok())
    };
    let (Some(count), Some(size)) = (field(data, 512 + 80), field(data, 512 + 84)) else { return };
    let (at, length) = (field(data, 512 + 72), field(data, 512 + 12));
    let entries = at.and_then(|at| {
        let start = at.checked_mul(512)?;
        data.get(start..start.checked_add(count.checked_mul(size)?)?)
    });
    if let Some(entries) = entries {
        right[512 + 88..512 + 92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    }
    right[512 + 16..512 + 20].fill(0);
    if let Some(header) = length.and_then(|length| right.get(512..512_usize.checked_add(length)?)) {
        let sum = crc32fast::hash(header);
        right[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    }
    look(&right);
}

/// The file system in the reserved area of a medium.
pub fn reserved(data: &[u8]) {
    let Ok(volume) = Volume::open(data) else { return };
    for file in &volume.files {
        assert!(!file.name.contains('/'), "a name is no path");
        if let Ok(bytes) = volume.read(file) {
            assert_eq!(bytes.len() as u64, u64::from(file.size), "a file has the length that it says");
        }
    }
}
