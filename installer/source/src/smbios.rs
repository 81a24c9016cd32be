//! A hint in the tables that firmware leaves: an OEM string (type 11) that begins with `xenolith.answers=`.
//!
//! Source: DMTF DSP0134 (SMBIOS 3.7), 6.1.2 "structure header", 6.1.3 "text strings", 7.12 "OEM strings". Linux shows the table as
//! `/sys/firmware/dmi/tables/DMI`.

use crate::hint::{BadHint, Hint};

/// What the string begins with.
pub const SMBIOS_PREFIX: &str = "xenolith.answers=";
/// Larger tables are not read: machines with hundreds of memory modules have some 64 KiB.
pub(crate) const LONGEST_TABLE: usize = 1 << 20;

const HEADER: usize = 4;
const OEM_STRINGS: u8 = 11;
const END: u8 = 127;

/// The hint in a table. Where a table is broken, what comes after that is not looked at: firmware has bugs, and most machines have no
/// hint there anyway.
///
/// # Errors
/// [`BadHint`] for a string with the prefix that is no hint; the first one counts.
pub fn of_smbios(table: &[u8]) -> Result<Option<Hint>, BadHint> {
    let mut rest = &table[..table.len().min(LONGEST_TABLE)];
    while let Some((kind, strings, after)) = structure(rest) {
        if kind == OEM_STRINGS {
            let mut strings = strings.split(|byte| *byte == 0);
            if let Some(line) = strings.find_map(|text| text.strip_prefix(SMBIOS_PREFIX.as_bytes())) {
                return Hint::parse(line).map(Some);
            }
        }
        if kind == END {
            break;
        }
        rest = after;
    }
    Ok(None)
}

/// The type of the first structure, its strings with zeros between them, and what follows it.
fn structure(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    if length < HEADER {
        return None;
    }
    let strings = bytes.get(length..)?;
    let end = strings.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, &strings[..end], &strings[end + 2..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(structures: &[(u8, &[&str])]) -> Vec<u8> {
        let mut table = Vec::new();
        for (kind, strings) in structures {
            table.extend([*kind, 5, 0, 0, u8::try_from(strings.len()).unwrap()]);
            table.extend(strings.iter().flat_map(|text| [text.as_bytes(), b"\0"].concat()));
            table.extend(if strings.is_empty() { &b"\0\0"[..] } else { b"\0" });
        }
        table
    }

    #[test]
    fn the_hint_is_found_among_other_strings() {
        let table = table(&[
            (1, &["maker", "xenolith.answers=https://not.here/"]),
            (2, &[]),
            (11, &["something", "xenolith.answers=https://a/ ca=ca.pem"]),
            (127, &[]),
        ]);
        assert_eq!(of_smbios(&table).unwrap().unwrap().line(), "https://a/ ca=ca.pem");
    }

    #[test]
    fn a_string_that_promises_a_hint_has_to_be_one() {
        assert_eq!(of_smbios(&table(&[(11, &["xenolith.answers=http://a/"])])), Err(BadHint::Plain));
        assert_eq!(of_smbios(&table(&[(11, &["xenolith.answers="])])), Err(BadHint::Empty));
    }

    #[test]
    fn what_comes_after_the_end_or_a_break_is_not_looked_at() {
        let hint: (u8, &[&str]) = (11, &["xenolith.answers=https://a/"]);
        assert_eq!(of_smbios(&table(&[(127, &[]), hint])), Ok(None));
        let broken = [&[1, 3, 0, 0, 0, 0][..], &table(&[hint])].concat();
        assert_eq!(of_smbios(&broken), Ok(None));
        let whole = table(&[hint]);
        assert_eq!(of_smbios(&whole[..whole.len() - 1]), Ok(None), "cut off");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = of_smbios(&bytes);
        }
    }
}
