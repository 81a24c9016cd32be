//! The device mapper's words about a dm-verity device.
//!
//! ```text
//!   dmsetup table root    0 615416 verity 1 253:3 253:4 4096 4096 76927 1 sha256 <root hash> <salt> 1 panic_on_corruption
//!   dmsetup status root   0 615416 verity V
//! ```
//! Source: Linux 6.12, Documentation/admin-guide/device-mapper/verity.rst.

use xenolith_layout::{BadRootHash, RootHash};

use crate::report::Verity;

/// A table or status line that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// The device has another target, or several.
    #[error("not one dm-verity target: {0:?}")]
    Target(String),
    /// The root hash is not at its place.
    #[error("no root hash in the dm-verity table")]
    Hash(#[source] BadRootHash),
}

/// The root hash in a table.
pub fn root_hash(table: &str) -> Result<RootHash, BadTable> {
    let words = target(table)?;
    let hash = words.get(11).copied().unwrap_or_default();
    hash.parse().map_err(BadTable::Hash)
}

/// What dm-verity found so far.
pub fn state(status: &str) -> Result<Verity, BadTable> {
    let words = target(status)?;
    match words.get(3).copied() {
        Some("V") => Ok(Verity::Good),
        Some("C") => Ok(Verity::Corrupted),
        _ => Err(BadTable::Target(status.trim().to_owned())),
    }
}

/// The words of the one line, if it speaks of dm-verity.
fn target(text: &str) -> Result<Vec<&str>, BadTable> {
    let refuse = || BadTable::Target(text.trim().to_owned());
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(refuse()) };
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.get(2) == Some(&"verity") { Ok(words) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "abababababababababababababababababababababababababababababababab";

    fn table(hash: &str) -> String {
        format!("0 615416 verity 1 253:3 253:4 4096 4096 76927 1 sha256 {hash} 35 1 panic_on_corruption\n")
    }

    #[test]
    fn the_root_hash_stands_in_the_table() {
        assert_eq!(root_hash(&table(HASH)).unwrap().to_string(), HASH);
    }

    #[test]
    fn a_short_hash_is_refused() {
        assert!(matches!(root_hash(&table("abab")), Err(BadTable::Hash(_))));
        assert!(matches!(root_hash("0 8 verity 1"), Err(BadTable::Hash(_))));
    }

    #[test]
    fn another_target_or_two_of_them_are_refused() {
        assert!(matches!(root_hash("0 8 linear 253:3 0"), Err(BadTable::Target(_))));
        assert!(matches!(root_hash(&table(HASH).repeat(2)), Err(BadTable::Target(_))));
        assert!(matches!(root_hash(""), Err(BadTable::Target(_))));
    }

    #[test]
    fn v_is_good_and_c_is_corrupted() {
        assert_eq!(state("0 615416 verity V \n"), Ok(Verity::Good));
        assert_eq!(state("0 615416 verity C"), Ok(Verity::Corrupted));
        assert!(state("0 615416 verity X").is_err());
    }
}
