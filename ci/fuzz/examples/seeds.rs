//! Writes the binary seeds anew: `cargo run --example seeds`, in this folder. Keys are made for the occasion and thrown away.

use std::path::Path;

use fs_err as fs;
use xenolith_bootfile::{Section, assemble};
use xenolith_layout::{Bytes, TypeGuid};
use xenolith_trust::{InitOptions, KeySet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |path: &str, bytes: &[u8]| -> std::io::Result<()> {
        let path = seeds.join(path);
        fs::create_dir_all(path.parent().expect("below a folder"))?;
        fs::write(path, bytes)
    };
    let folder = tempfile::tempdir()?;
    let keys = KeySet::init(&folder.path().join("keys"), &InitOptions::default())?;
    let program = tiny_pe();
    let sections = [
        Section {
            name: ".config",
            data: b"[global]\ndefault=a\n\n[a]\noptions=console=com1\nkernel=dom0 panic=10\n",
        },
        Section { name: ".osrel", data: include_bytes!("../seeds/os_release/usual") },
        Section { name: ".kernel", data: b"kernel" },
        Section { name: ".ramdisk", data: b"initrd" },
    ];
    let boot_file = assemble(&program, &sections)?;
    let signed = keys.sign_pe(&boot_file)?;
    write("boot_file/program", &program)?;
    write("boot_file/assembled", &boot_file)?;
    write("boot_file/signed", &signed)?;
    write("signatures/signed", &keys.sign_pe(&program)?)?;
    write("signatures/certificate", keys.db().certificate().der())?;
    write("signatures/certificate-pem", keys.db().certificate().to_pem()?.as_bytes())?;
    write("dsse/signed", keys.update().sign_dsse("application/example", b"{\"a\":1}").as_bytes())?;
    for (name, blocks) in [("one-block", 1_u64), ("two-blocks", 2)] {
        let data = vec![7; usize::try_from(blocks)? * 4096];
        let mut tree = Vec::new();
        let root = xenolith_verity::build(&mut data.as_slice(), Bytes::new(blocks * 4096), &mut tree)?;
        let seed = [&blocks.to_le_bytes()[..], root.as_bytes(), &tree[4096..], &data].concat();
        write(&format!("verity/{name}"), &seed)?;
        write("verity/superblock", &tree[..512])?;
    }
    write("medium_table/third-of-four", &medium_table())?;
    write("reserved/two-files", &tiny_fat12())?;
    Ok(())
}

/// A table of four entries, the third of which is a reserved area.
fn medium_table() -> Vec<u8> {
    let mut disk = vec![0; 3 * 512];
    let entry = 1024 + 2 * 128;
    disk[entry..entry + 16].copy_from_slice(&TypeGuid::RESERVED.uuid().to_bytes_le());
    disk[entry + 32] = 3;
    disk[entry + 40] = 10;
    let sum = crc32fast::hash(&disk[1024..1024 + 4 * 128]);
    let mut put = |at: usize, bytes: &[u8]| disk[512 + at..512 + at + bytes.len()].copy_from_slice(bytes);
    put(0, b"EFI PART");
    put(12, &92_u32.to_le_bytes());
    put(72, &2_u64.to_le_bytes());
    put(80, &4_u32.to_le_bytes());
    put(84, &128_u32.to_le_bytes());
    put(88, &sum.to_le_bytes());
    let sum = crc32fast::hash(&disk[512..512 + 92]);
    disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    disk
}

/// The smallest FAT12 volume that has everything: a label, a long name, a file of two clusters and one of one.
fn tiny_fat12() -> Vec<u8> {
    let mut volume = vec![0; 6 * 512];
    let mut put = |at: usize, bytes: &[u8]| volume[at..at + bytes.len()].copy_from_slice(bytes);
    put(11, &[0, 2, 1, 1, 0, 1, 16, 0, 6, 0, 0xf8, 1, 0]); // sectors of 512, clusters of 1, one FAT of 1, 16 entries, 6 sectors
    put(510, &[0x55, 0xaa]);
    put(512, &[0xf8, 0xff, 0xff, 0x03, 0xf0, 0xff, 0xff, 0x0f]); // 2 → 3 → end, 4 → end
    put(1024, b"XENOLITH   \x08");
    let short = b"ANSWER~1TOM";
    let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut long = [0xff; 32];
    long[0] = 0x41;
    (long[11], long[12], long[13], long[26], long[27]) = (0x0f, 0, sum, 0, 0);
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
    for (place, unit) in places.zip("answers.toml\0".encode_utf16()) {
        long[place..place + 2].copy_from_slice(&unit.to_le_bytes());
    }
    put(1056, &long);
    put(1088, short);
    put(1088 + 26, &[2, 0, 0x58, 2]); // 600 bytes from cluster 2 on
    put(1120, b"CA      PEM");
    put(1120 + 26, &[4, 0, 9, 0]);
    put(1536, &[b'#'; 600]);
    put(2560, b"-----BEGI");
    volume
}

/// The smallest program that signing tools take: PE32+ for x86-64, one section that returns at once.
fn tiny_pe() -> Vec<u8> {
    let mut pe = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| pe[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &[0x64, 0x86, 1, 0]); // x86-64, one section
    put(0x54, &[240, 0, 0x2e, 0x02]); // size of the optional header, flags
    put(0x58, &[0x0b, 0x02]); // PE32+
    put(0x5c, &512_u32.to_le_bytes()); // SizeOfCode
    put(0x68, &0x1000_u32.to_le_bytes()); // AddressOfEntryPoint
    put(0x6c, &0x1000_u32.to_le_bytes()); // BaseOfCode
    put(0x78, &0x1000_u32.to_le_bytes()); // SectionAlignment
    put(0x7c, &512_u32.to_le_bytes()); // FileAlignment
    put(0x90, &0x2000_u32.to_le_bytes()); // SizeOfImage
    put(0x94, &512_u32.to_le_bytes()); // SizeOfHeaders
    put(0x9c, &[10, 0]); // subsystem: EFI application
    put(0xc4, &16_u32.to_le_bytes()); // NumberOfRvaAndSizes
    put(0x148, b".text");
    put(0x150, &4_u32.to_le_bytes()); // VirtualSize
    put(0x154, &0x1000_u32.to_le_bytes()); // VirtualAddress
    put(0x158, &512_u32.to_le_bytes()); // SizeOfRawData
    put(0x15c, &512_u32.to_le_bytes()); // PointerToRawData
    put(0x16c, &0x6000_0020_u32.to_le_bytes()); // code, execute, read
    put(0x200, &[0x31, 0xc0, 0xc3]); // xor eax, eax; ret
    pe
}
