//! A tiny PE image that has what is particular about Xen's: headers without room, long names, debug sections behind
//! the last real one, a section without data, a debug directory with a file offset, symbols at the end.

#![allow(clippy::unwrap_used, reason = "for tests")]

use crate::pe::SECTION_HEADER_LEN;

pub(crate) const IMAGE_BASE: u64 = 0xffff_82d0_4000_0000;
const PE_AT: usize = 0x80;
const OPTIONAL: usize = PE_AT + 24;
const TABLE: usize = OPTIONAL + 112 + 16 * 8;

/// Name as in the header, RVA, size in memory, data, flags.
type Row = (&'static [u8], u32, u32, Vec<u8>, u32);

/// Offset of the string table's names: `.data.read_mostly`, then `.debug_info`.
const STRINGS: &[u8] = b".data.read_mostly\0.debug_info\0";

/// The image.
pub fn xen_like() -> Vec<u8> {
    // One debug directory entry, and 0x19 bytes that it names, as in Xen's .buildid.
    let mut build_id = vec![0; 28 + 25];
    build_id[12..16].copy_from_slice(&2_u32.to_le_bytes());
    build_id[16..20].copy_from_slice(&25_u32.to_le_bytes());
    build_id[20..24].copy_from_slice(&(0x0040_0140_u32 + 28).to_le_bytes());
    build_id[28..32].copy_from_slice(b"RSDS");
    let rows: [Row; 8] = [
        (b".text", 0x20_0000, 100, (0..100).collect(), 0x6000_0020),
        (b".rodata", 0x40_0000, 0x140, vec![0x11; 0x140], 0x4000_0040),
        (b".buildid", 0x40_0140, 53, build_id, 0x4000_0040),
        (b"/4", 0x60_0000, 40, vec![0x22; 40], 0xc000_0040),
        (b".bss", 0x60_0040, 0x1234, Vec::new(), 0xc000_0080),
        (b".reloc", 0x60_1280, 12, vec![0, 0, 0x20, 0, 12, 0, 0, 0, 8, 0xa0, 0, 0], 0x4200_0040),
        (b"/22", 0x60_1290, 77, vec![0xdb; 77], 0x4200_0040),
        (b".annobin", 0xa0_0000, 9, vec![0xab; 9], 0x4200_0040),
    ];
    let headers = (TABLE + rows.len() * SECTION_HEADER_LEN).next_multiple_of(32);
    let mut image = vec![0; headers];
    let mut data = Vec::new();
    for (number, (name, rva, size, content, flags)) in rows.iter().enumerate() {
        let at = TABLE + number * SECTION_HEADER_LEN;
        let raw_size = content.len().next_multiple_of(32);
        let raw_at = if content.is_empty() { 0 } else { headers + data.len() };
        image[at..at + name.len()].copy_from_slice(name);
        put(&mut image, at + 8, *size);
        put(&mut image, at + 12, *rva);
        put(&mut image, at + 16, u32::try_from(raw_size).unwrap());
        put(&mut image, at + 20, u32::try_from(raw_at).unwrap());
        put(&mut image, at + 36, *flags);
        data.extend_from_slice(content);
        data.resize(data.len().next_multiple_of(32), 0);
        if name == b".buildid" {
            let offset = u32::try_from(raw_at + 28).unwrap();
            put(&mut data, raw_at - headers + 24, offset);
        }
    }
    let symbols = headers + data.len();
    fill_headers(&mut image, rows.len(), symbols);
    image.extend_from_slice(&data);
    image.extend_from_slice(&[0x55; 18]); // one symbol
    image.extend_from_slice(&u32::try_from(STRINGS.len() + 4).unwrap().to_le_bytes());
    image.extend_from_slice(STRINGS);
    image
}

fn fill_headers(image: &mut [u8], sections: usize, symbols: usize) {
    image[..2].copy_from_slice(b"MZ");
    put(image, 0x3c, u32::try_from(PE_AT).unwrap());
    image[PE_AT..PE_AT + 4].copy_from_slice(b"PE\0\0");
    let coff = PE_AT + 4;
    image[coff..coff + 2].copy_from_slice(&0x8664_u16.to_le_bytes());
    image[coff + 2..coff + 4].copy_from_slice(&u16::try_from(sections).unwrap().to_le_bytes());
    put(image, coff + 4, 1_700_000_000);
    put(image, coff + 8, u32::try_from(symbols).unwrap());
    put(image, coff + 12, 1);
    image[coff + 16..coff + 18].copy_from_slice(&240_u16.to_le_bytes());
    image[coff + 18..coff + 20].copy_from_slice(&0x26_u16.to_le_bytes());
    image[OPTIONAL..OPTIONAL + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    put(image, OPTIONAL + 16, 0x20_0010); // entry point
    image[OPTIONAL + 24..OPTIONAL + 32].copy_from_slice(&IMAGE_BASE.to_le_bytes());
    put(image, OPTIONAL + 32, 0x20_0000);
    put(image, OPTIONAL + 36, 32);
    put(image, OPTIONAL + 56, 0xc0_0000);
    put(image, OPTIONAL + 60, u32::try_from(image.len()).unwrap());
    put(image, OPTIONAL + 64, 0x0123_4567); // checksum, a wrong one
    image[OPTIONAL + 68..OPTIONAL + 70].copy_from_slice(&10_u16.to_le_bytes());
    put(image, OPTIONAL + 108, 16);
    put(image, OPTIONAL + 112 + 5 * 8, 0x60_1280);
    put(image, OPTIONAL + 112 + 5 * 8 + 4, 12);
    put(image, OPTIONAL + 112 + 6 * 8, 0x40_0140);
    put(image, OPTIONAL + 112 + 6 * 8 + 4, 28);
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
