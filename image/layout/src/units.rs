//! Lengths and positions. A length and a position do not mix by accident: `Lba + Lba` does not compile.
//!
//! The operators are for our own constants and for numbers that were checked before; they panic on overflow in
//! every profile. Numbers from outside go through the `checked_` functions.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize, Serializer};

/// A length in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

/// A length in sectors: bytes as soon as a [`SectorSize`] is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sectors(u64);

/// A position on a disk, counted in sectors from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lba(u64);

/// The logical sector sizes that disks have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectorSize {
    /// 512 bytes: nearly every disk, and every disk image that we make.
    B512,
    /// 4096 bytes: "4Kn" disks.
    B4096,
}

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);

    /// `n` bytes.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// `n` × 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n.checked_mul(1 << 10).expect("a constant of fewer than 2^64 bytes"))
    }

    /// `n` × 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n.checked_mul(1 << 20).expect("a constant of fewer than 2^64 bytes"))
    }

    /// `n` × 1024³ bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n.checked_mul(1 << 30).expect("a constant of fewer than 2^64 bytes"))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, unless it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless `other` is longer.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, unless it does not fit.
    pub fn checked_mul(self, times: u64) -> Option<Self> {
        self.0.checked_mul(times).map(Self)
    }

    /// The longest multiple of `unit` that is not longer than this; 0 if `unit` is 0.
    pub fn round_down(self, unit: Self) -> Self {
        Self(self.0 - self.0.checked_rem(unit.0).unwrap_or(self.0))
    }

    /// The shortest multiple of `unit` that is not shorter than this, unless it does not fit or `unit` is 0.
    pub fn round_up(self, unit: Self) -> Option<Self> {
        self.0.checked_next_multiple_of(unit.0).map(Self)
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that fits, cut (not rounded) to one decimal: `2 GiB`, `64 MiB`, `9.8 GiB`, `17 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let Some((name, shift)) = UNITS.into_iter().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{} bytes", self.0);
        };
        let whole = self.0 >> shift;
        // At most 2^50 - 1 remains below the unit, so ten times that fits.
        let tenths = ((self.0 - (whole << shift)) * 10) >> shift;
        if tenths == 0 { write!(f, "{whole} {name}") } else { write!(f, "{whole}.{tenths} {name}") }
    }
}

impl Sectors {
    /// `n` sectors.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The number of sectors.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The length in bytes, unless it does not fit.
    pub fn bytes(self, size: SectorSize) -> Option<Bytes> {
        size.bytes().checked_mul(self.0)
    }
}

impl Lba {
    /// The sector with the number `n`.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The sector's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sector `by` further on, unless that number does not fit.
    pub fn checked_add(self, by: Sectors) -> Option<Self> {
        self.0.checked_add(by.0).map(Self)
    }

    /// How far this sector lies behind `earlier`, unless it lies before it.
    pub fn checked_sub(self, earlier: Self) -> Option<Sectors> {
        self.0.checked_sub(earlier.0).map(Sectors)
    }

    /// The position in bytes from the start of the disk, unless it does not fit.
    pub fn offset(self, size: SectorSize) -> Option<Bytes> {
        size.bytes().checked_mul(self.0)
    }
}

/// As its number of bytes.
impl Serialize for SectorSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes().serialize(serializer)
    }
}

impl SectorSize {
    /// The sector size that a device reports, if it is one that we support.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// The size of one sector.
    pub const fn bytes(self) -> Bytes {
        match self {
            Self::B512 => Bytes(512),
            Self::B4096 => Bytes(4096),
        }
    }

    /// How many whole sectors `length` holds.
    pub const fn whole_sectors(self, length: Bytes) -> Sectors {
        Sectors(length.0 / self.bytes().0)
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        self.checked_add(other).expect("lengths were checked before they are added")
    }
}

impl Add<Sectors> for Lba {
    type Output = Lba;
    fn add(self, by: Sectors) -> Lba {
        self.checked_add(by).expect("positions were checked before they are moved")
    }
}

impl Sub for Lba {
    type Output = Sectors;
    fn sub(self, earlier: Lba) -> Sectors {
        self.checked_sub(earlier).expect("a distance is taken from the earlier sector to the later one")
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LBA {}", self.0)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_in_the_largest_unit_that_fits() {
        let shown = |n| Bytes::new(n).to_string();
        assert_eq!(shown(0), "0 bytes");
        assert_eq!(shown(1023), "1023 bytes");
        assert_eq!(shown(1024), "1 KiB");
        assert_eq!(shown(64 << 20), "64 MiB");
        assert_eq!(shown((4 << 30) - 1), "3.9 GiB");
        assert_eq!(shown(u64::MAX), "16383.9 PiB");
    }

    #[test]
    fn rounding_stays_within_one_unit() {
        let mib = Bytes::mib(1);
        assert_eq!(Bytes::new((1 << 20) + 1).round_down(mib), mib);
        assert_eq!(Bytes::new((1 << 20) + 1).round_up(mib), Some(Bytes::mib(2)));
        assert_eq!(Bytes::new(u64::MAX).round_up(mib), None);
        assert_eq!(Bytes::new(5).round_down(Bytes::ZERO), Bytes::ZERO);
        assert_eq!(Bytes::new(5).round_up(Bytes::new(0)), None);
    }

    #[test]
    fn positions_and_lengths_combine_only_in_ways_that_mean_something() {
        let at = Lba::new(2048) + Sectors::new(10);
        assert_eq!(at - Lba::new(2048), Sectors::new(10));
        assert_eq!(Lba::new(1).checked_sub(at), None);
        assert_eq!(Lba::new(256).offset(SectorSize::B4096), Some(Bytes::mib(1)));
        assert_eq!(Lba::new(u64::MAX).offset(SectorSize::B512), None);
        assert_eq!(SectorSize::from_bytes(520), None);
    }
}
