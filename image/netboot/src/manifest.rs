//! `netboot.json`: the files of a network boot set.
//!
//! ```text
//!   { "format": 1, "version": "0.1.0+…", "architecture": "x86_64", "root_hash": "…64 digits…",
//!     "files": { "xenolith.efi": { "size": 55574528, "sha256": "…64 digits…" }, … } }
//! ```
//! It is not signed and proves nothing to an attacker's victim: it shows a file that was cut, mixed up or half replaced. Names are a
//! closed list, so a manifest leads nowhere else, and each has a largest size, so that it cannot make anybody take memory or
//! listen without end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xenolith_layout::disk::{ROOT_SIZE, VERITY_SIZE};
use xenolith_layout::names::{
    NETBOOT_BOOT_FILE, NETBOOT_IPXE, NETBOOT_KEYS, NETBOOT_LOADER, NETBOOT_ROOT, NETBOOT_VERITY,
};
use xenolith_layout::{Bytes, RootHash, Version};

/// A longer manifest is refused before it is read.
pub const MAX_MANIFEST: usize = 64 << 10;
/// Files of a set besides the five that it must have.
const MAX_KEYS: usize = 32;
const FORMAT: u32 = 1;
const MUST: [&str; 5] = [NETBOOT_BOOT_FILE, NETBOOT_ROOT, NETBOOT_VERITY, NETBOOT_LOADER, NETBOOT_IPXE];

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format.
    pub format: u32,
    /// The version of the image.
    pub version: Version,
    /// What it runs on.
    pub architecture: Architecture,
    /// The hash that proves its root, and that stands in its boot file.
    pub root_hash: RootHash,
    /// Its files, this one excepted.
    pub files: BTreeMap<FileName, FileFacts>,
}

/// Processors that there are images for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86 with UEFI.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x86_64")
    }
}

/// Size and sum of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its length.
    pub size: Bytes,
    /// Its SHA-256.
    pub sha256: Sum,
}

impl FileFacts {
    /// Of what is read up to the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(mut from: impl Read) -> io::Result<Self> {
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(Self { size: Bytes::new(size), sha256: Sum(hasher.finalize().into()) }),
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    size += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A SHA-256 sum; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum([u8; 32]);

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for Sum {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut sum = [0; 32];
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(&text, &mut sum) {
            Ok(()) if is_lower => Ok(Self(sum)),
            _ => Err("a SHA-256 sum has 64 hexadecimal digits, in lower case"),
        }
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        sum.to_string()
    }
}

/// The name of a file of a set: one of the five that each set has, or one below `keys/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// A name that no file of a set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network boot set has no file with this name")]
pub struct NoSuchName;

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The largest size that the file may have.
    pub fn limit(&self) -> Bytes {
        match self.as_str() {
            NETBOOT_ROOT => ROOT_SIZE,
            NETBOOT_VERITY => VERITY_SIZE,
            // The firmware keeps it in memory.
            NETBOOT_BOOT_FILE => Bytes::mib(512),
            NETBOOT_LOADER => Bytes::mib(16),
            _ => Bytes::kib(64),
        }
    }

    /// For files that enrol keys: their name without the folder.
    pub fn key(&self) -> Option<&str> {
        self.0.strip_prefix(NETBOOT_KEYS)?.strip_prefix('/')
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FileName {
    type Error = NoSuchName;

    fn try_from(text: String) -> Result<Self, NoSuchName> {
        let is_plain = |name: &str| {
            (1..=64).contains(&name.len())
                && !name.starts_with('.')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let key = text.strip_prefix(NETBOOT_KEYS).and_then(|rest| rest.strip_prefix('/'));
        let is_ours = MUST.contains(&text.as_str()) || key.is_some_and(is_plain);
        if is_ours { Ok(Self(text)) } else { Err(NoSuchName) }
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Longer than any.
    #[error("it is longer than {MAX_MANIFEST} bytes")]
    TooLong,
    /// No JSON, or not of this shape.
    #[error("it cannot be read")]
    Shape(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("it has format {0}, and this program knows {FORMAT}; take the program of the same version")]
    Format(u32),
    /// A file that a set must have.
    #[error("it does not name {0}")]
    Missing(&'static str),
    /// More files than a set has.
    #[error("it names too many files")]
    TooMany,
    /// A size that cannot be.
    #[error("it says that {name} has {size}, and no such file has more than {limit} or nothing at all")]
    Size {
        /// Which file.
        name: FileName,
        /// What it says.
        size: Bytes,
        /// What may be.
        limit: Bytes,
    },
}

impl Manifest {
    /// Of a set with these files.
    ///
    /// # Errors
    /// [`BadManifest`] if there can be no such set.
    pub fn new(
        version: Version,
        root_hash: RootHash,
        files: BTreeMap<FileName, FileFacts>,
    ) -> Result<Self, BadManifest> {
        Self { format: FORMAT, version, architecture: Architecture::X86_64, root_hash, files }.checked()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`BadManifest`]; nothing of it is used then.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        if bytes.len() > MAX_MANIFEST {
            return Err(BadManifest::TooLong);
        }
        serde_json::from_slice::<Self>(bytes).map_err(BadManifest::Shape)?.checked()
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is made of what JSON can hold");
        text.push('\n');
        text
    }

    /// What is known of a file that each set has, or of one that this set may have.
    pub fn file(&self, name: &str) -> Option<(&FileName, FileFacts)> {
        self.files.iter().find(|(own, _)| own.as_str() == name).map(|(own, facts)| (own, *facts))
    }

    fn checked(self) -> Result<Self, BadManifest> {
        if self.format != FORMAT {
            return Err(BadManifest::Format(self.format));
        }
        if let Some(missing) = MUST.into_iter().find(|name| self.file(name).is_none()) {
            return Err(BadManifest::Missing(missing));
        }
        if self.files.len() > MUST.len() + MAX_KEYS {
            return Err(BadManifest::TooMany);
        }
        for (name, FileFacts { size, .. }) in &self.files {
            if *size > name.limit() || *size == Bytes::ZERO {
                return Err(BadManifest::Size { name: name.clone(), size: *size, limit: name.limit() });
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let facts = |name: &str| FileFacts::of(name.as_bytes()).unwrap();
        let names = MUST.into_iter().chain(["keys/PK.auth"]);
        let files = names.map(|name| (FileName::try_from(name.to_owned()).unwrap(), facts(name))).collect();
        let hash = "ab".repeat(32).parse().unwrap();
        Manifest::new("0.1.0+20260101.1".parse().unwrap(), hash, files).unwrap()
    }

    #[test]
    fn a_manifest_reads_back() {
        let manifest = example();
        assert_eq!(Manifest::parse(manifest.render().as_bytes()).unwrap(), manifest);
        let (name, facts) = manifest.file("keys/PK.auth").unwrap();
        assert_eq!((name.key(), facts.size), (Some("PK.auth"), Bytes::new(12)));
    }

    /// What is changed in the text of a good manifest, and what is said then.
    const REFUSED: &[(&str, &str, &str)] = &[
        ("\"format\": 1", "\"format\": 2", "it has format 2, and this program knows 1"),
        ("\"format\": 1", "\"format\": 1, \"more\": 1", "it cannot be read"),
        ("x86_64", "aarch64", "it cannot be read"),
        ("root.verity", "keys/verity", "it does not name root.verity"),
        ("keys/PK.auth", "../PK.auth", "it cannot be read"),
        ("keys/PK.auth", "keys/../PK", "it cannot be read"),
        ("keys/PK.auth", "keys/.auth", "it cannot be read"),
        ("keys/PK.auth", "shadow", "it cannot be read"),
        ("\"size\": 12", "\"size\": 0", "it says that"),
        ("\"size\": 12", "\"size\": 99999999999", "it says that"),
        ("\"size\": 12", "\"size\": -1", "it cannot be read"),
        ("\"sha256\": \"", "\"sha256\": \"0", "it cannot be read"),
        ("abab", "xbab", "it cannot be read"),
    ];

    #[test]
    fn what_no_build_writes_is_refused() {
        for (from, to, expected) in REFUSED {
            let text = example().render().replacen(from, to, 1);
            assert_ne!(text, example().render(), "{from}");
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{to}: {error}");
        }
        let long = vec![b' '; MAX_MANIFEST + 1];
        assert!(matches!(Manifest::parse(&long), Err(BadManifest::TooLong)));
    }

    #[test]
    fn a_set_with_too_many_files_is_refused() {
        let mut manifest = example();
        let facts = manifest.file("root.erofs").unwrap().1;
        for number in 0..=MAX_KEYS {
            manifest.files.insert(FileName(format!("keys/{number}")), facts);
        }
        assert!(matches!(Manifest::parse(manifest.render().as_bytes()), Err(BadManifest::TooMany)));
    }
}
