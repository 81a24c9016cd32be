//! What differs, said so that one knows where to look.

use std::fmt;

use serde::Serialize;

/// One difference between two things that should be the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// From the outermost file inwards: `xenolith.efi`, `section .ramdisk`, `usr/lib/modules/…`.
    pub place: Vec<String>,
    /// What is different there.
    #[serde(flatten)]
    pub how: How,
}

/// How two things differ. The first is the one that was there, the second the one made anew or given with `--against`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum How {
    /// Only the first has it.
    OnlyInFirst,
    /// Only the second has it.
    OnlyInSecond,
    /// Other bytes.
    Bytes {
        /// The first offset that differs; the shorter length, if one is the beginning of the other.
        at: u64,
        /// Length of the first.
        first: u64,
        /// Length of the second.
        second: u64,
    },
    /// Another text: a link's target, a value of a JSON document, a header of an archive's member.
    Text {
        /// In the first.
        first: String,
        /// In the second.
        second: String,
    },
    /// Only the permissions.
    Mode {
        /// Of the first.
        first: u32,
        /// Of the second.
        second: u32,
    },
    /// One of the two cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

impl Difference {
    /// A difference in this very thing.
    pub fn here(how: How) -> Self {
        Self { place: Vec::new(), how }
    }

    /// The same difference, seen from outside.
    pub fn within(mut self, name: impl Into<String>) -> Self {
        self.place.insert(0, name.into());
        self
    }

    /// Whether bytes differ, as against permissions that no result carries.
    pub fn of_content(&self) -> bool {
        !matches!(self.how, How::Mode { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place.join(" › "))?;
        match &self.how {
            How::OnlyInFirst => f.write_str("only in the first"),
            How::OnlyInSecond => f.write_str("only in the second"),
            How::Bytes { at, first, second } if first == second => {
                write!(f, "differs from byte {at} on (of {first})")
            }
            How::Bytes { at, first, second } => {
                write!(f, "differs from byte {at} on ({first} bytes, now {second})")
            }
            How::Text { first, second } => write!(f, "was {first:?}, is {second:?}"),
            How::Mode { first, second } => write!(f, "mode was {first:o}, is {second:o}"),
            How::Unreadable { why } => write!(f, "cannot be compared: {why}"),
        }
    }
}
