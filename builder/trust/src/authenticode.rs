//! Signing and checking EFI programs.
//!
//! **A program signed twice with the same key is the same file, and [`verify_pe`] accepts nothing that firmware with the same
//! certificates in db would refuse.**
//!
//! ```text
//! PE file ─ headers, sections (without checksum, without the table's own entry) ──SHA-256──▶ image digest
//!         └ certificate table: WIN_CERTIFICATE ▶ PKCS#7 ▶ SpcIndirectData { image digest } + attributes ▶ signature
//! ```
//! Which bytes count for the image digest, and where the table goes, is `xenolith-bootfile`'s business. Other people's
//! programs may carry several signatures; one that holds and is trusted is enough, as for firmware. Left out: time stamps by a third party
//! (firmware ignores them), page hashes, digests other than SHA-256, and revocation (dbx), which is firmware's alone.
//! Source: Microsoft, "Windows Authenticode Portable Executable Signature Format", 2008; UEFI 2.10 §32.2.

use der::asn1::{BitString, BmpString, ObjectIdentifier, OctetString};
use der::{Any, Choice, Sequence};
use serde::{Serialize, Serializer};
use spki::AlgorithmIdentifierOwned;
use xenolith_bootfile::{attach_signature, authenticode_digest};

use crate::TrustError;
use crate::cert::{Cert, Fingerprint};
use crate::pkcs7::{self, Pkcs7Error};
use crate::signer::Signer;

const SPC_INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
const SPC_PE_IMAGE_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");

/// What is known about one signature of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureInfo {
    /// Subject of the certificate whose key signed.
    pub signer: String,
    /// SHA-256 of that certificate.
    pub fingerprint: Fingerprint,
    /// The Authenticode SHA-256 of the program; it was computed, and the signature covers it.
    #[serde(serialize_with = "as_hex")]
    pub digest: [u8; 32],
    /// The trusted certificate that vouches for the signer (often the signer's own); `None` if trust was not asked for.
    pub trusted_by: Option<Fingerprint>,
}

fn as_hex<S: Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(digest))
}

/// Signs `pe`. One that is signed by somebody else has to be stripped first: whose word counts should be no accident.
///
/// # Errors
/// [`TrustError::Image`] if `pe` is no PE file or signed already, [`TrustError::Signature`] if the key does not sign.
pub fn sign_pe(pe: &[u8], signer: &Signer) -> Result<Vec<u8>, TrustError> {
    let digest = authenticode_digest(pe).map_err(TrustError::Image)?;
    let pkcs7 = sign_digest(&digest, signer).map_err(TrustError::Signature)?;
    attach_signature(pe, &pkcs7).map_err(TrustError::Image)
}

/// The PKCS#7 structure over an Authenticode digest, without a PE file at hand.
pub(crate) fn sign_digest(digest: &[u8; 32], signer: &Signer) -> Result<Vec<u8>, Pkcs7Error> {
    let content =
        SpcIndirectData::over(digest).and_then(|data| Any::encode_from(&data)).map_err(Pkcs7Error::Encode)?;
    pkcs7::sign_content(signer, SPC_INDIRECT_DATA, &content)
}

/// Every signature of `pe`, each checked against the program and against the certificate it carries, none for trust.
///
/// # Errors
/// [`TrustError::Unsigned`] without any, [`TrustError::Changed`] if the program is not what was signed, else why a signature
/// does not hold.
pub fn read_signatures(pe: &[u8]) -> Result<Vec<SignatureInfo>, TrustError> {
    let digest = authenticode_digest(pe).map_err(TrustError::Image)?;
    signatures(pe)?
        .into_iter()
        .map(|der| Ok(info(&check(without_padding(der), digest)?, digest, None)))
        .collect()
}

/// The first signature of `pe` that holds and that one of `trusted` made or vouches for.
///
/// # Errors
/// As [`read_signatures`]; [`TrustError::Untrusted`] if signatures hold but their signers are strangers.
pub fn verify_pe(pe: &[u8], trusted: &[Cert]) -> Result<SignatureInfo, TrustError> {
    let digest = authenticode_digest(pe).map_err(TrustError::Image)?;
    let mut refusal = TrustError::Unsigned;
    for der in signatures(pe)? {
        match check(without_padding(der), digest) {
            Err(error) => refusal = error,
            Ok(checked) => match voucher(&checked, trusted) {
                Some(cert) => return Ok(info(&checked, digest, Some(cert))),
                None => refusal = TrustError::Untrusted { signer: checked.signer.subject() },
            },
        }
    }
    Err(refusal)
}

fn check(der: &[u8], digest: [u8; 32]) -> Result<pkcs7::Checked, TrustError> {
    let signed = pkcs7::parse(der).map_err(TrustError::Signature)?;
    if signed.encap_content_info.econtent_type != SPC_INDIRECT_DATA {
        return Err(TrustError::Signature(Pkcs7Error::Shape("is not one of a program")));
    }
    let checked = pkcs7::check_content(&signed).map_err(TrustError::Signature)?;
    let content = signed.encap_content_info.econtent.ok_or(TrustError::Unsigned)?;
    let content: SpcIndirectData =
        content.decode_as().map_err(|e| TrustError::Signature(Pkcs7Error::Parse(e)))?;
    if content.message_digest.algorithm.oid != pkcs7::sha256().oid {
        return Err(TrustError::Signature(Pkcs7Error::Shape("covers another digest than SHA-256")));
    }
    if content.message_digest.digest.as_bytes() != digest {
        return Err(TrustError::Changed {
            signed: hex::encode(content.message_digest.digest.as_bytes()),
            now: hex::encode(digest),
        });
    }
    Ok(checked)
}

/// The trusted certificate at the end of the way up from the signer, if there is one.
fn voucher<'a>(checked: &pkcs7::Checked, trusted: &'a [Cert]) -> Option<&'a Cert> {
    let mut at = checked.signer.clone();
    // No chain of certificates can be longer than there are certificates.
    for _ in 0..=checked.certificates.len() {
        if let Some(found) = trusted.iter().find(|cert| **cert == at || at.is_issued_by(cert)) {
            return Some(found);
        }
        at = checked.certificates.iter().find(|cert| **cert != at && at.is_issued_by(cert))?.clone();
    }
    None
}

fn info(checked: &pkcs7::Checked, digest: [u8; 32], trusted_by: Option<&Cert>) -> SignatureInfo {
    SignatureInfo {
        signer: checked.signer.subject(),
        fingerprint: checked.signer.fingerprint(),
        digest,
        trusted_by: trusted_by.map(Cert::fingerprint),
    }
}

/// The PKCS#7 structures in the certificate table, in order, at least one.
fn signatures(pe: &[u8]) -> Result<Vec<&[u8]>, TrustError> {
    let found = xenolith_bootfile::inspect(pe).map_err(TrustError::Image)?.signatures;
    if found.is_empty() { Err(TrustError::Unsigned) } else { Ok(found) }
}

/// Some signers count the padding into the length; DER knows its own.
fn without_padding(body: &[u8]) -> &[u8] {
    use der::{Decode, Reader, SliceReader};
    let length = SliceReader::new(body).ok().and_then(|mut reader| {
        let header = der::Header::decode(&mut reader).ok()?;
        usize::try_from((reader.position() + header.length).ok()?).ok()
    });
    length.and_then(|length| body.get(..length)).unwrap_or(body)
}

/// SpcIndirectDataContent: "the data is elsewhere, and this is its digest".
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct SpcIndirectData {
    data: SpcData,
    message_digest: DigestInfo,
}

/// SpcAttributeTypeAndOptionalValue.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct SpcData {
    kind: ObjectIdentifier,
    value: Any,
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// SpcPeImageData; neither field means anything today.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
struct SpcPeImageData {
    flags: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    file: SpcLink,
}

#[derive(Clone, Debug, PartialEq, Eq, Choice)]
enum SpcLink {
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    File(SpcString),
}

#[derive(Clone, Debug, PartialEq, Eq, Choice)]
enum SpcString {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Unicode(BmpString),
}

impl SpcIndirectData {
    fn over(digest: &[u8; 32]) -> der::Result<Self> {
        // The specification wants this very text here.
        let file = SpcLink::File(SpcString::Unicode(BmpString::from_utf8("<<<Obsolete>>>")?));
        let image = SpcPeImageData { flags: BitString::from_bytes(&[])?, file };
        Ok(Self {
            data: SpcData { kind: SPC_PE_IMAGE_DATA, value: Any::encode_from(&image)? },
            message_digest: DigestInfo { algorithm: pkcs7::sha256(), digest: OctetString::new(&digest[..])? },
        })
    }
}

#[cfg(test)]
mod tests;
