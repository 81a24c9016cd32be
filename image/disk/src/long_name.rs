//! Long names in FAT folders (VFAT), as they stand before the entry that they name, the last part first.
//!
//! Source: Microsoft FAT32 File System Specification, version 1.03, "FAT Long Directory Entries".

/// Units of UTF-16 in the longest name, with what fills its last part.
const MAX_UNITS: usize = 260;

/// The parts of a long name that were met so far.
#[derive(Default)]
pub struct LongName {
    units: Vec<u16>,
    sum: Option<u8>,
}

impl LongName {
    /// Takes an entry whose attributes say that it is a part.
    pub fn take(&mut self, entry: &[u8; 32]) {
        if entry[0] & 0x40 != 0 {
            self.units.clear();
            self.sum = Some(entry[13]);
        }
        if self.sum != Some(entry[13]) || self.units.len() > MAX_UNITS {
            *self = Self::default();
            return;
        }
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]);
        let unit = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let part: Vec<u16> = places.map(unit).take_while(|unit| *unit != 0).collect();
        self.units.splice(0..0, part);
    }

    /// The name of `entry`: the long one if it is this entry's, else the short one. Never with a `/` in it.
    pub fn finish(self, entry: &[u8; 32]) -> String {
        let sum = entry[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let long = String::from_utf16_lossy(&self.units);
        // A path is made of it, so it must not be one by itself.
        if self.sum == Some(sum) && !long.is_empty() && !long.contains('/') {
            return long;
        }
        let (base, extension) = entry[..11].split_at(8);
        // Bits 3 and 4 say that base and extension are lower case (Windows NT; VFAT writes them too).
        let text = |bytes: &[u8], lower: bool| {
            let text = String::from_utf8_lossy(bytes).trim_end().replace('/', "_");
            if lower { text.to_lowercase() } else { text }
        };
        let (base, extension) = (text(base, entry[12] & 0x08 != 0), text(extension, entry[12] & 0x10 != 0));
        if extension.is_empty() { base } else { format!("{base}.{extension}") }
    }
}
