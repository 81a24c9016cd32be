//! SHA-256 digests, and the one way in which several things are hashed into one.
//!
//! **Two different inputs never feed the same bytes to the hash.** Every part is framed: its length in eight
//! little-endian bytes, then the part itself. Without the frame `("ab", "c")` and `("a", "bc")` would collide,
//! and a step would take another step's result for its own.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use fs_err as fs;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 sum. Prints as 64 lower-case hex digits, in JSON too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no SHA-256: 64 hex digits are wanted")]
pub struct BadDigest {
    text: String,
}

impl Digest {
    /// The first 16 hex digits: enough to tell results apart in the name of a log or on a screen.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..8])
    }

    /// The sum as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut sum = [0; 32];
        // hex takes capitals as well; a digest names files, so that it must have one spelling.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut sum).is_err()
        {
            return Err(BadDigest { text: text.to_owned() });
        }
        Ok(Self(sum))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes a sequence of framed parts.
pub struct Hasher(Sha256);

impl Hasher {
    /// A hash that begins with `domain`, so that the same parts hashed for another purpose give another sum.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.part(domain.as_bytes());
        hasher
    }

    /// Adds one part, preceded by its length.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u64::try_from(bytes.len()).expect("a length in memory fits 64 bits");
        self.0.update(length.to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a number as a part of eight bytes.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.part(&number.to_le_bytes())
    }

    /// The sum over all parts so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The plain SHA-256 of some bytes, as `sha256sum` prints it.
pub fn digest_bytes(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// The plain SHA-256 of a file's contents; links are followed.
///
/// # Errors
/// The file cannot be opened or read; the error names it.
pub fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    digest_sized(&mut file, size)
}

/// The plain SHA-256 of all that `reader` still gives.
///
/// # Errors
/// The reader's own.
pub fn digest_reader(reader: &mut impl Read) -> io::Result<Digest> {
    digest_sized(reader, u64::MAX)
}

/// As [`digest_reader`], for about `size` bytes: most files are small, and clearing a large buffer for each of them
/// takes longer than hashing it.
pub(crate) fn digest_sized(reader: &mut impl Read, size: u64) -> io::Result<Digest> {
    let mut sum = Sha256::new();
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
    let mut buffer = vec![0; room.clamp(512, 128 * 1024)];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Digest(sum.finalize().into())),
            Ok(length) => sum.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sum_that_sha256sum_prints() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_bytes(b"abc").to_string(), abc);
        assert_eq!(abc.parse::<Digest>().unwrap(), digest_bytes(b"abc"));
        assert_eq!(serde_json::to_string(&digest_bytes(b"abc")).unwrap(), format!("\"{abc}\""));
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let sum = digest_bytes(b"abc").to_string();
        for bad in [&sum[1..], &sum.to_uppercase(), "", "zz", &format!("{sum}00")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_cannot_be_moved_from_one_frame_to_the_next() {
        let sum = |parts: &[&str]| {
            let mut hasher = Hasher::new("test");
            for part in parts {
                hasher.part(part.as_bytes());
            }
            hasher.finish()
        };
        assert_ne!(sum(&["ab", "c"]), sum(&["a", "bc"]));
        assert_ne!(sum(&["ab"]), sum(&["ab", ""]));
    }
}
