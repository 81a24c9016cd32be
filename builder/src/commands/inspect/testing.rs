//! Small real files to look at: a boot file, an ESP, an ISO, a disk, an update set.

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_bootfile::{Block, Section, XenConfig};
use xenolith_disk::{
    disk,
    esp::{self, EspContent, EspFile},
    reserved::Content,
};
use xenolith_layout::{
    Bytes, RootHash, SectorSize, Seed, Slot, TypeGuid,
    disk::{Options, Role, minimum, plan},
    names,
};

/// A PE image with one section, as small as `xenolith_bootfile` takes it.
pub fn tiny_pe() -> Vec<u8> {
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &0x8664_u16.to_le_bytes());
    put(0x86, &1_u16.to_le_bytes());
    put(0x94, &240_u16.to_le_bytes());
    put(0x98, &0x20b_u16.to_le_bytes());
    put(0x98 + 32, &0x1000_u32.to_le_bytes());
    put(0x98 + 36, &32_u32.to_le_bytes());
    put(0x98 + 56, &0x2000_u32.to_le_bytes());
    put(0x98 + 60, &0x200_u32.to_le_bytes());
    put(0x98 + 108, &16_u32.to_le_bytes());
    let section = 0x98 + 240;
    put(section, b".text");
    put(section + 8, &0x200_u32.to_le_bytes());
    put(section + 12, &0x1000_u32.to_le_bytes());
    put(section + 16, &0x200_u32.to_le_bytes());
    put(section + 20, &0x200_u32.to_le_bytes());
    put(section + 36, &0x6000_0020_u32.to_le_bytes());
    image
}

/// A boot file for a root image, not signed.
pub fn boot_file(hash: &RootHash, ramdisk: &[u8]) -> Vec<u8> {
    let dom0 = format!("console=hvc0 {}={hash}", names::KARG_ROOT_HASH);
    let block = Block { name: "xenolith".into(), xen_options: "dom0_mem=1G".into(), dom0_cmdline: dom0 };
    let config = XenConfig { default: "xenolith".into(), blocks: vec![block] }.render().unwrap();
    let os_release = "ID=xenolith\nVERSION_ID=0.1.0\nIMAGE_ID=xenolith\nIMAGE_VERSION=0.1.0\nPRETTY_NAME=\"Xenolith 0.1.0\"\n";
    let sections = [
        Section { name: ".config", data: config.as_bytes() },
        Section { name: ".osrel", data: os_release.as_bytes() },
        Section { name: ".kernel", data: b"kernel" },
        Section { name: ".ramdisk", data: ramdisk },
    ];
    xenolith_bootfile::assemble(&tiny_pe(), &sections).unwrap()
}

/// A root image and its tree.
pub struct Root {
    pub data: Vec<u8>,
    pub tree: Vec<u8>,
    pub hash: RootHash,
}

pub fn root() -> Root {
    let data: Vec<u8> = (0..40_u32 * 4096).map(|at| u8::try_from(at / 4096).unwrap()).collect();
    let mut tree = Vec::new();
    let hash =
        xenolith_verity::build(&mut data.as_slice(), Bytes::new(data.len() as u64), &mut tree).unwrap();
    Root { data, tree, hash }
}

fn bytes(path: &str, bytes: &[u8]) -> EspFile {
    EspFile { path: path.into(), content: EspContent::Bytes(bytes.to_vec()) }
}

/// An ESP with this boot file.
pub fn esp(folder: &Path, boot_file: &[u8]) -> PathBuf {
    let files = [
        bytes(names::ESP_FALLBACK_LOADER, &tiny_pe()),
        bytes("EFI/Linux/xenolith_0.1.0+3-0.efi", boot_file),
        bytes(names::ESP_LOADER_CONF, b"timeout 0\n"),
        bytes("loader/keys/xenolith/db.auth", &[7; 3000]),
    ];
    let path = folder.join("esp.img");
    let _ = fs::remove_file(&path);
    esp::write(&path, 34 << 20, names::ESP_FS_LABEL, 0x5845_4e32, &files).unwrap();
    path
}

/// A disk image with slot A filled.
pub fn disk(folder: &Path, boot_file: &[u8], root: &Root) -> PathBuf {
    let (data, tree) = (folder.join("root.erofs"), folder.join("root.verity"));
    fs::write(&data, &root.data).unwrap();
    fs::write(&tree, &root.tree).unwrap();
    let layout =
        plan(minimum(SectorSize::B512, false), SectorSize::B512, &Options::new(Seed::new([1; 32]))).unwrap();
    let contents =
        [(Role::Esp, esp(folder, boot_file)), (Role::Root(Slot::A), data), (Role::Verity(Slot::A), tree)];
    let path = folder.join("disk.img");
    let _ = fs::remove_file(&path);
    disk::write(&path, &layout, &contents).unwrap();
    path
}

/// An ISO with Rock Ridge names, an ESP and an empty reserved area as GPT partitions behind the files, and an El Torito entry.
pub fn iso(folder: &Path, boot_file: &[u8], root: &Root) -> PathBuf {
    iso_with(folder, boot_file, root, &Content::default().image())
}

/// An ISO with these bytes for a reserved area; with none for an empty one.
pub fn iso_with(folder: &Path, boot_file: &[u8], root: &Root, area: &[u8]) -> PathBuf {
    let esp = fs::read(esp(folder, boot_file)).unwrap();
    let contents: [(&str, &str, &[u8]); 3] = [
        ("MANIFEST.JSO;1", "manifest.json", b"{\"version\":\"0.1.0\"}"),
        ("ROOT.ERO;1", "root.erofs", &root.data),
        ("ROOT.VER;1", "root.verity", &root.tree),
    ];
    let mut image = vec![0; 24 * 2048];
    let mut below = record("\0", 21, 2048, true, None);
    below.extend(record("\x01", 20, 2048, true, None));
    for (short, long, content) in contents {
        let block = u32::try_from(image.len() / 2048).unwrap();
        below.extend(record(short, block, u32::try_from(content.len()).unwrap(), false, Some(long)));
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(2048), 0);
    }
    let mut top = record("\0", 20, 2048, true, None);
    top.extend(record("\x01", 20, 2048, true, None));
    top.extend(record("XENOLITH", 21, 2048, true, Some("xenolith")));
    let esp_at = image.len();
    image.extend_from_slice(&esp);
    let area_at = image.len();
    image.extend_from_slice(area);
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(20 * 2048, &top);
    put(21 * 2048, &below);
    let descriptor = 16 * 2048;
    put(descriptor, b"\x01CD001\x01");
    put(descriptor + 40, format!("{:<32}", names::ISO_VOLUME_ID).as_bytes());
    put(descriptor + 128, &2048_u16.to_le_bytes());
    put(descriptor + 156, &record("\0", 20, 2048, true, None));
    put(17 * 2048, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17 * 2048 + 71, &19_u32.to_le_bytes());
    put(18 * 2048, b"\xffCD001\x01");
    put(19 * 2048, &[1, 0xef]);
    put(19 * 2048 + 32, &[0x88]);
    put(19 * 2048 + 40, &u32::try_from(esp_at / 2048).unwrap().to_le_bytes());
    image.resize((image.len() + 40 * 512).next_multiple_of(2048), 0);
    let path = folder.join("test.iso");
    fs::write(&path, &image).unwrap();
    write_table(
        &path,
        &[(Role::Esp.type_guid(), esp_at, esp.len()), (TypeGuid::RESERVED, area_at, area.len())],
    );
    path
}

fn record(short: &str, block: u32, size: u32, is_folder: bool, long: Option<&str>) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..6].copy_from_slice(&block.to_le_bytes());
    record[10..14].copy_from_slice(&size.to_le_bytes());
    record[25] = if is_folder { 2 } else { 0 };
    record[32] = u8::try_from(short.len()).unwrap();
    record.extend_from_slice(short.as_bytes());
    record.resize(record.len().next_multiple_of(2), 0);
    if let Some(long) = long {
        record.extend_from_slice(b"NM");
        record.extend_from_slice(&[u8::try_from(long.len() + 5).unwrap(), 1, 0]);
        record.extend_from_slice(long.as_bytes());
    }
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).unwrap();
    record
}

/// The partitions that are not empty, with the names that xorriso gives them, in primary and backup table.
fn write_table(path: &Path, partitions: &[(TypeGuid, usize, usize)]) {
    let mut image = fs::read(path).unwrap();
    let sectors = image.len() / 512;
    let mut entries = vec![0; 128 * 128];
    for (number, (kind, at, length)) in (2_u8..).zip(partitions).filter(|(_, (_, _, length))| *length > 0) {
        let entry = &mut entries[usize::from(number - 2) * 128..][..128];
        entry[..16].copy_from_slice(&kind.uuid().to_bytes_le());
        entry[16..32].fill(number + 7);
        entry[32..40].copy_from_slice(&(*at as u64 / 512).to_le_bytes());
        entry[40..48].copy_from_slice(&((at + length) as u64 / 512 - 1).to_le_bytes());
        for (place, letter) in format!("Appended{number}").encode_utf16().enumerate() {
            entry[56 + place * 2..58 + place * 2].copy_from_slice(&letter.to_le_bytes());
        }
    }
    for (here, other, table) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&(here as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(other as u64).to_le_bytes());
        header[56..72].fill(8);
        header[72..80].copy_from_slice(&(table as u64).to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        image[here * 512..here * 512 + 92].copy_from_slice(&header);
        image[table * 512..table * 512 + entries.len()].copy_from_slice(&entries);
    }
    fs::write(path, image).unwrap();
}
