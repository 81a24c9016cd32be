//! Sizes with units, as people write them on disks.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xenolith_layout::Bytes;

/// Units, the longer words first.
const UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Disks are sold by round numbers and are never quite so large: this much to either side still is "480 GB", in percent.
const ABOUT: u64 = 4;

/// A number of bytes with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub Bytes);

impl Size {
    /// Reads `64 GiB`, `1.92 TB`, `512 B`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        let number = text.strip_suffix(unit)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || (number.contains('.') && !digits(part)) || part.len() > 6 {
            return None;
        }
        let whole: u64 = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
        let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
        let part: u64 = if part.is_empty() { 0 } else { part.parse().ok()? };
        // At most 10^6 · 2^40, which fits.
        Some(Self(Bytes::new(whole.checked_add(part * factor / scale)?)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get();
        let fits = |&&(_, factor): &&(&str, u64)| bytes >= factor && bytes.is_multiple_of(factor);
        let (unit, factor) = UNITS.iter().filter(fits).max_by_key(|(_, factor)| *factor).unwrap_or(&("B", 1));
        write!(f, "{} {unit}", bytes / factor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("not a size; write a number and a unit, such as \"64 GiB\""))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]{1,6})? *([KMGT]iB|[kMGT]B|B)$",
        })
    }
}

/// Sizes that a disk may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeRange {
    /// `480 GB`: about that, as it is printed on the disk.
    About(Size),
    /// `>= 1 TB`.
    AtLeast(Size),
    /// `<= 1 TB`.
    AtMost(Size),
    /// `400 GB..600 GB`, both included.
    Between(Size, Size),
}

impl SizeRange {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (Size::parse(from)?, Size::parse(to)?);
            return (from <= to).then_some(Self::Between(from, to));
        }
        if let Some(least) = text.strip_prefix(">=") {
            return Size::parse(least).map(Self::AtLeast);
        }
        match text.strip_prefix("<=") {
            Some(most) => Size::parse(most).map(Self::AtMost),
            None => Size::parse(text).map(Self::About),
        }
    }

    /// Whether it holds this size.
    pub fn contains(&self, size: Bytes) -> bool {
        match self {
            Self::About(about) => {
                let slack = about.0.get() / 100 * ABOUT;
                size.get().abs_diff(about.0.get()) <= slack
            }
            Self::AtLeast(least) => size >= least.0,
            Self::AtMost(most) => size <= most.0,
            Self::Between(from, to) => (from.0..=to.0).contains(&size),
        }
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::About(size) => size.fmt(f),
            Self::AtLeast(size) => write!(f, ">= {size}"),
            Self::AtMost(size) => write!(f, "<= {size}"),
            Self::Between(from, to) => write!(f, "{from}..{to}"),
        }
    }
}

impl<'de> Deserialize<'de> for SizeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("not a size; write \"480 GB\", \">= 1 TB\", \"<= 2 TB\" or \"400 GB..600 GB\"")
        })
    }
}

impl Serialize for SizeRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SizeRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SizeRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "examples": ["480 GB", ">= 1 TB", "400 GB..600 GB"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(Size::parse("64 GiB").unwrap().0, Bytes::gib(64));
        assert_eq!(Size::parse("1.92 TB").unwrap().0.get(), 1_920_000_000_000);
        assert_eq!(Size::parse("512B").unwrap().0.get(), 512);
        for bad in
            ["", "64", "GiB", "-1 GB", "1. GB", ".5 GB", "1e3 GB", "99999999999 TiB", "1.1234567 TB", "+1 GB"]
        {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_disk_is_about_as_large_as_is_printed_on_it() {
        let range = SizeRange::parse("480 GB").unwrap();
        assert!(range.contains(Bytes::new(480_103_981_056)));
        assert!(!range.contains(Bytes::new(512_110_190_592)));
        assert!(!range.contains(Bytes::new(400_088_457_216)));
    }

    #[test]
    fn ranges_include_their_ends() {
        let range = SizeRange::parse("1 GB..2 GB").unwrap();
        let inside =
            [999_999_999, 1_000_000_000, 2_000_000_000, 2_000_000_001].map(|n| range.contains(Bytes::new(n)));
        assert_eq!(inside, [false, true, true, false]);
        assert_eq!(SizeRange::parse("2 GB..1 GB"), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_read_again(bytes: u64) {
            let size = Size(Bytes::new(bytes));
            proptest::prop_assert_eq!(Size::parse(&size.to_string()), Some(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = SizeRange::parse(&text);
        }
    }
}
