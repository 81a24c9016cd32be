//! What a boot file holds.

use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use xenolith_layout::Bytes;

use crate::os_release::{OsRelease, OsReleaseError};
use crate::pe::{Pe, PeError, coff, u32_at};
use crate::signature::{authenticode_digest, signatures};
use crate::xen_config::{ConfigError, XenConfig};

/// A SHA-256 sum; prints as 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256Sum(pub [u8; 32]);

impl fmt::Display for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A section of a PE image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionInfo {
    /// Its name.
    pub name: String,
    /// Its address, relative to the image's.
    pub rva: u32,
    /// Its length in memory.
    pub virtual_size: Bytes,
    /// The length of its data in the file, without padding.
    pub size: Bytes,
    /// The sum of these data.
    pub sha256: Sha256Sum,
}

/// A PE image, looked through. It need not be one of ours: loaders and kernels are read as well.
#[derive(Clone, Debug)]
pub struct BootFile<'a> {
    /// Its sections, in the order of the file.
    pub sections: Vec<SectionInfo>,
    /// What a signature signs, or why that is not clear.
    pub digest: Result<Sha256Sum, PeError>,
    /// The PKCS#7 signatures (DER) in it; whether they hold is for others to say.
    pub signatures: Vec<&'a [u8]>,
    /// The time in the header; 0 in a boot file.
    pub timestamp: u32,
    contents: Vec<&'a [u8]>,
}

/// Looks through a PE image.
///
/// # Errors
/// If the bytes are not a PE32+ image for x86-64, or its certificate table is malformed.
pub fn inspect(image: &[u8]) -> Result<BootFile<'_>, PeError> {
    let pe = Pe::parse(image)?;
    let contents = pe.sections.iter().map(|section| section.data(image)).collect::<Result<Vec<_>, _>>()?;
    let info = |(section, data): (&crate::pe::SectionHeader, &&[u8])| SectionInfo {
        name: section.name.clone(),
        rva: section.rva,
        virtual_size: Bytes::new(section.virtual_size.into()),
        size: Bytes::new(data.len() as u64),
        sha256: Sha256Sum(Sha256::digest(data).into()),
    };
    Ok(BootFile {
        sections: pe.sections.iter().zip(&contents).map(info).collect(),
        digest: authenticode_digest(image).map(Sha256Sum),
        signatures: signatures(&pe)?,
        timestamp: u32_at(image, pe.coff + coff::TIMESTAMP, "COFF header")?,
        contents,
    })
}

impl<'a> BootFile<'a> {
    /// The data of the section with this name.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let number = self.sections.iter().position(|section| section.name == name)?;
        self.contents.get(number).copied()
    }

    /// Whether a signature is attached.
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// The embedded configuration, if there is one.
    pub fn config(&self) -> Option<Result<XenConfig, ConfigError>> {
        self.section(".config").map(|text| XenConfig::parse(&String::from_utf8_lossy(text)))
    }

    /// The embedded os-release, if there is one.
    pub fn os_release(&self) -> Option<Result<OsRelease, OsReleaseError>> {
        self.section(".osrel").map(|text| OsRelease::parse(&String::from_utf8_lossy(text)))
    }
}
