//! What the tests of several modules share.

use std::sync::LazyLock;

use crate::keys::{InitOptions, KeySet};

/// Development keys, made once for all tests of a run: nothing secret is in the repository.
pub(crate) fn development_keys() -> &'static KeySet {
    static KEYS: LazyLock<(tempfile::TempDir, KeySet)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeySet::init(&dir.path().join("keys"), &InitOptions::default()).unwrap();
        (dir, keys)
    });
    &KEYS.1
}

/// The smallest program that signing tools take: PE32+ for x86-64, one section that returns at once.
pub(crate) fn tiny_pe() -> Vec<u8> {
    let mut pe = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| pe[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &[0x64, 0x86, 1, 0]); // x86-64, one section
    put(0x54, &[240, 0, 0x2e, 0x02]); // size of the optional header, flags
    put(0x58, &[0x0b, 0x02]); // PE32+
    put(0x5c, &512u32.to_le_bytes()); // SizeOfCode
    put(0x68, &0x1000u32.to_le_bytes()); // AddressOfEntryPoint
    put(0x6c, &0x1000u32.to_le_bytes()); // BaseOfCode
    put(0x78, &0x1000u32.to_le_bytes()); // SectionAlignment
    put(0x7c, &512u32.to_le_bytes()); // FileAlignment
    put(0x90, &0x2000u32.to_le_bytes()); // SizeOfImage
    put(0x94, &512u32.to_le_bytes()); // SizeOfHeaders
    put(0x9c, &[10, 0]); // subsystem: EFI application
    put(0xc4, &16u32.to_le_bytes()); // NumberOfRvaAndSizes
    put(0x148, b".text");
    put(0x150, &4u32.to_le_bytes()); // VirtualSize
    put(0x154, &0x1000u32.to_le_bytes()); // VirtualAddress
    put(0x158, &512u32.to_le_bytes()); // SizeOfRawData
    put(0x15c, &512u32.to_le_bytes()); // PointerToRawData
    put(0x16c, &0x6000_0020u32.to_le_bytes()); // code, execute, read
    put(0x200, &[0x31, 0xc0, 0xc3]); // xor eax, eax; ret
    pe
}

/// DER as an outline. Long values and those as long as a serial number or key id show as their
/// length, `known` ones by name: what is left is the same for all keys.
pub(crate) fn outline(der: &[u8], known: &[(&str, &[u8])]) -> String {
    let mut text = String::new();
    walk(der, 0, known, &mut text);
    text
}

fn walk(mut der: &[u8], depth: usize, known: &[(&str, &[u8])], text: &mut String) {
    use der::{Decode, Reader};
    while !der.is_empty() {
        let mut reader = der::SliceReader::new(der).unwrap();
        let header = der::Header::decode(&mut reader).unwrap();
        let start = usize::try_from(u32::from(reader.position())).unwrap();
        let end = start + usize::try_from(u32::from(header.length)).unwrap();
        let (whole, value) = (&der[..end], &der[start..end]);
        der = &der[end..];
        text.push_str(&"  ".repeat(depth));
        if let Some((name, _)) = known.iter().find(|(_, bytes)| *bytes == whole) {
            text.push_str(&format!("<{name}>\n"));
        } else if header.tag == der::Tag::ObjectIdentifier {
            text.push_str(&format!("{}\n", der::asn1::ObjectIdentifier::from_der(whole).unwrap()));
        } else if header.tag.is_constructed() {
            text.push_str(&format!("{}\n", header.tag));
            walk(value, depth + 1, known, text);
        } else if value.len() <= 32 && ![16, 22].contains(&value.len()) {
            text.push_str(format!("{} {}", header.tag, hex::encode(value)).trim_end());
            text.push('\n');
        } else {
            text.push_str(&format!("{} ({} bytes)\n", header.tag, value.len()));
        }
    }
}
