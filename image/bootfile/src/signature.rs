//! What a signature covers, and where it is kept.
//!
//! ```text
//!   headers      hashed, but for the checksum and the certificate table's directory entry
//!   section data hashed
//!   other data   hashed (symbols, say)
//!   zeros        up to a multiple of 8; hashed
//!   certificates WIN_CERTIFICATE: length u32, revision 0x0200, type 0x0002 (PKCS#7), DER; zeros up to 8. Not hashed
//! ```
//! The specification hashes section by section, in the order of the file. Programs that hash the file from
//! start to end get the same only if nothing lies between the sections, so an image with gaps is refused here.
//! Attaching a signature adds bytes at the end and changes eight bytes of a header (and the checksum, if the image has
//! one), nothing else: a file that is signed and stripped again is the file before, filled up to a multiple of 8.
//! Source: "Windows Authenticode Portable Executable Signature Format"; PE specification, "The Attribute Certificate
//! Table"; checked with osslsigncode 2.9, sbsigntool 0.9.4 and pesign 116.

use sha2::{Digest, Sha256};

use crate::pe::{Directory, Pe, PeError, index, optional, put, u32_at};

const REVISION: u16 = 0x0200;
const PKCS_SIGNED_DATA: u16 = 0x0002;
const CERTIFICATE_HEADER: usize = 8;

/// The SHA-256 that a signature of this image signs. It is the same for the image with and without signature.
///
/// # Errors
/// If the bytes are not a PE32+ image for x86-64, or [`PeError::Gap`].
pub fn authenticode_digest(image: &[u8]) -> Result<[u8; 32], PeError> {
    let pe = Pe::parse(image)?;
    let end = certificate_table(&pe)?.map_or(image.len(), |table| table.start);
    check_contiguous(&pe, end)?;
    let checksum = pe.optional + optional::CHECKSUM;
    let mut hash = Sha256::new();
    let mut from = 0;
    for (hole, len) in [(Some(checksum), 4), (pe.directory_at(Directory::Certificates), 8)] {
        if let Some(hole) = hole {
            hash.update(image.get(from..hole).ok_or(PeError::Truncated("optional header"))?);
            from = hole + len;
        }
    }
    hash.update(image.get(from..end).ok_or(PeError::Truncated("optional header"))?);
    hash.update(&[0; 8][..end.next_multiple_of(8) - end]);
    Ok(hash.finalize().into())
}

/// The image with a PKCS#7 signature (DER) attached.
///
/// # Errors
/// [`PeError::Signed`] if it has one; [`PeError::Unsupported`] if its headers have no room for a certificate table.
pub fn attach_signature(image: &[u8], pkcs7_der: &[u8]) -> Result<Vec<u8>, PeError> {
    let pe = Pe::parse(image)?;
    let directory = certificate_directory(&pe)?;
    if certificate_table(&pe)?.is_some() {
        return Err(PeError::Signed);
    }
    if pkcs7_der.is_empty() {
        return Err(PeError::Certificates("the signature is empty"));
    }
    let start = image.len().next_multiple_of(8);
    let len = CERTIFICATE_HEADER + pkcs7_der.len();
    let mut out = image.to_vec();
    out.resize(start, 0);
    out.extend_from_slice(&fit(len)?.to_le_bytes());
    out.extend_from_slice(&REVISION.to_le_bytes());
    out.extend_from_slice(&PKCS_SIGNED_DATA.to_le_bytes());
    out.extend_from_slice(pkcs7_der);
    out.resize(start + len.next_multiple_of(8), 0);
    fit(out.len())?;
    put(&mut out, directory, &fit(start)?.to_le_bytes());
    put(&mut out, directory + 4, &fit(len.next_multiple_of(8))?.to_le_bytes());
    renew_checksum(&mut out, pe.optional + optional::CHECKSUM)?;
    Ok(out)
}

/// The image without any signature. An unsigned image comes back as it is.
///
/// # Errors
/// [`PeError::Certificates`] if the certificate table is not the end of the file.
pub fn strip_signature(image: &[u8]) -> Result<Vec<u8>, PeError> {
    let pe = Pe::parse(image)?;
    let mut out = image.to_vec();
    if let Some(table) = certificate_table(&pe)? {
        out.truncate(table.start);
        put(&mut out, certificate_directory(&pe)?, &[0; 8]);
        renew_checksum(&mut out, pe.optional + optional::CHECKSUM)?;
    }
    Ok(out)
}

/// The PKCS#7 signatures (DER) in the certificate table.
pub(crate) fn signatures<'a>(pe: &Pe<'a>) -> Result<Vec<&'a [u8]>, PeError> {
    let Some(table) = certificate_table(pe)? else { return Ok(Vec::new()) };
    let mut rest = pe.bytes.get(table).unwrap_or_default();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let what = "certificate table";
        let len = index(u32_at(rest, 0, what)?);
        let kind = u32_at(rest, 4, what)?;
        let body = rest.get(CERTIFICATE_HEADER..len).ok_or(PeError::Certificates("a length is wrong"))?;
        if kind == u32::from(PKCS_SIGNED_DATA) << 16 | u32::from(REVISION) {
            found.push(body);
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(found)
}

fn certificate_directory(pe: &Pe<'_>) -> Result<usize, PeError> {
    let none = PeError::Unsupported { field: "the number of data directories", value: 0 };
    pe.directory_at(Directory::Certificates).ok_or(none)
}

/// The bytes of the certificate table, which must be the end of the file, behind all sections.
fn certificate_table(pe: &Pe<'_>) -> Result<Option<std::ops::Range<usize>>, PeError> {
    let Some((at, size)) = pe.directory(Directory::Certificates)? else { return Ok(None) };
    let start = index(at);
    if start.checked_add(index(size)) != Some(pe.bytes.len()) {
        return Err(PeError::Certificates("it is not at the end of the file"));
    }
    // A section without data says nothing with its offset.
    let with_data = pe.sections.iter().filter(|s| s.raw_size > 0);
    let sections_end = with_data.map(|s| u64::from(s.raw_at) + u64::from(s.raw_size)).max().unwrap_or(0);
    if (start as u64) < sections_end.max(pe.size_of_headers.into()) || !start.is_multiple_of(8) {
        return Err(PeError::Certificates("it overlaps a section or is not aligned"));
    }
    Ok(Some(start..pe.bytes.len()))
}

fn check_contiguous(pe: &Pe<'_>, end: usize) -> Result<(), PeError> {
    let mut parts: Vec<(u32, u32)> =
        pe.sections.iter().filter(|s| s.raw_size > 0).map(|s| (s.raw_at, s.raw_size)).collect();
    parts.sort_unstable();
    let mut next = u64::from(pe.size_of_headers);
    for (at, size) in parts {
        if u64::from(at) != next {
            return Err(PeError::Gap { at: next });
        }
        next += u64::from(size);
    }
    if next > end as u64 { Err(PeError::Gap { at: end as u64 }) } else { Ok(()) }
}

/// Computes the checksum anew, unless the image has none: the 16-bit ones' complement sum of the file, plus its length.
fn renew_checksum(image: &mut [u8], at: usize) -> Result<(), PeError> {
    if u32_at(image, at, "optional header")? == 0 {
        return Ok(());
    }
    put(image, at, &[0; 4]);
    let mut sum = 0_u32;
    for pair in image.chunks(2) {
        let word = u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 8;
        sum += word;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = sum.checked_add(fit(image.len())?).ok_or(PeError::TooLarge)?;
    put(image, at, &sum.to_le_bytes());
    Ok(())
}

fn fit(len: usize) -> Result<u32, PeError> {
    u32::try_from(len).map_err(|_| PeError::TooLarge)
}
