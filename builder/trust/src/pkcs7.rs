//! PKCS#7 SignedData, in the two shapes that UEFI firmware reads.
//!
//! ```text
//! program (Authenticode):   ContentInfo { SignedData { content: SpcIndirectData, attributes: type + digest } }
//! variable (UEFI §8.2.2):                 SignedData { no content,              no attributes }
//! ```
//! Both carry SHA-256, one certificate, one signer, named by issuer and serial number, and **no signing time**: everything in
//! them follows from key and content. Sources: RFC 2315 (version 1.5, which the UEFI specification asks for) and RFC 5652 for
//! the types; UEFI 2.10 §8.2.2 and §32.2; Microsoft's "Windows Authenticode Portable Executable Signature Format".

use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo,
    SignerInfos,
};
use der::asn1::{ObjectIdentifier, OctetString, SetOfVec};
use der::oid::db::{rfc5911, rfc5912};
use der::{Any, Decode, Encode, Tagged};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;

use crate::cert::Cert;
use crate::signer::{Signer, SignerError};

/// Why there is no SignedData.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs7Error {
    /// The structure could not be written.
    #[error("cannot encode the signature")]
    Encode(#[source] der::Error),
    /// The structure could not be read.
    #[error("the signature is not DER of a PKCS#7 SignedData")]
    Parse(#[source] der::Error),
    /// It was read, but it is not what firmware accepts.
    #[error("the signature {0}")]
    Shape(&'static str),
    /// The key did not sign.
    #[error("cannot sign")]
    Sign(#[from] SignerError),
}

/// Signs a typed content with attributes; returns DER of the ContentInfo, as a PE file carries it.
pub(crate) fn sign_content(
    signer: &Signer,
    kind: ObjectIdentifier,
    content: &Any,
) -> Result<Vec<u8>, Pkcs7Error> {
    let attributes = SetOfVec::try_from(vec![
        attribute(rfc5911::ID_CONTENT_TYPE, Any::encode_from(&kind))?,
        // The digest leaves out the content's own tag and length (RFC 2315 §9.3).
        attribute(rfc5911::ID_MESSAGE_DIGEST, digest_value(content.value()))?,
    ])
    .map_err(Pkcs7Error::Encode)?;
    let signature = signer.sign(&attributes.to_der().map_err(Pkcs7Error::Encode)?)?;
    let content = EncapsulatedContentInfo { econtent_type: kind, econtent: Some(content.clone()) };
    let signed = signed_data(signer.certificate(), content, Some(attributes), signature)?;
    let content = Any::encode_from(&signed).map_err(Pkcs7Error::Encode)?;
    ContentInfo { content_type: rfc5911::ID_SIGNED_DATA, content }.to_der().map_err(Pkcs7Error::Encode)
}

/// Signs `message`, which is not included; returns DER of the bare SignedData, as an EFI variable update carries it.
pub(crate) fn sign_detached(signer: &Signer, message: &[u8]) -> Result<Vec<u8>, Pkcs7Error> {
    let signature = signer.sign(message)?;
    let content = EncapsulatedContentInfo { econtent_type: rfc5911::ID_DATA, econtent: None };
    signed_data(signer.certificate(), content, None, signature)?.to_der().map_err(Pkcs7Error::Encode)
}

fn signed_data(
    certificate: &Cert,
    content: EncapsulatedContentInfo,
    attributes: Option<SignedAttributes>,
    signature: Vec<u8>,
) -> Result<SignedData, Pkcs7Error> {
    let parsed = certificate.parsed();
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: parsed.tbs_certificate.issuer.clone(),
            serial_number: parsed.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha256(),
        signed_attrs: attributes,
        signature_algorithm: with_null(rfc5912::RSA_ENCRYPTION),
        signature: OctetString::new(signature).map_err(Pkcs7Error::Encode)?,
        unsigned_attrs: None,
    };
    let certificates = vec![CertificateChoices::Certificate(parsed.clone())];
    Ok(SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha256()]).map_err(Pkcs7Error::Encode)?,
        encap_content_info: content,
        certificates: Some(CertificateSet::try_from(certificates).map_err(Pkcs7Error::Encode)?),
        crls: None,
        signer_infos: SignerInfos::try_from(vec![signer]).map_err(Pkcs7Error::Encode)?,
    })
}

/// A signature that holds for the certificate it carries. Whether that certificate is trusted is another question.
#[derive(Debug)]
pub(crate) struct Checked {
    pub signer: Cert,
    /// Every certificate in the structure, the signer's among them.
    pub certificates: Vec<Cert>,
}

/// Reads DER of a ContentInfo around a SignedData.
pub(crate) fn parse(der: &[u8]) -> Result<SignedData, Pkcs7Error> {
    let info = ContentInfo::from_der(der).map_err(Pkcs7Error::Parse)?;
    if info.content_type != rfc5911::ID_SIGNED_DATA {
        return Err(Pkcs7Error::Shape("is a PKCS#7 structure of another kind than SignedData"));
    }
    info.content.decode_as().map_err(Pkcs7Error::Parse)
}

/// Checks the one signature in `signed` over its own content, with the certificate it carries.
pub(crate) fn check_content(signed: &SignedData) -> Result<Checked, Pkcs7Error> {
    let content =
        signed.encap_content_info.econtent.as_ref().ok_or(Pkcs7Error::Shape("carries no content"))?;
    let info = only_signer(signed)?;
    let attributes = info.signed_attrs.as_ref().ok_or(Pkcs7Error::Shape("has no signed attributes"))?;
    if only_value(attributes, rfc5911::ID_CONTENT_TYPE)? != encode(&signed.encap_content_info.econtent_type)?
    {
        return Err(Pkcs7Error::Shape("is over content of another type"));
    }
    let digest = OctetString::new(&Sha256::digest(content.value())[..]).map_err(Pkcs7Error::Encode)?;
    if only_value(attributes, rfc5911::ID_MESSAGE_DIGEST)? != encode(&digest)? {
        return Err(Pkcs7Error::Shape("does not match its content"));
    }
    check(signed, info, &encode(attributes)?)
}

/// Checks a bare SignedData over `message`, with the certificate it carries.
pub(crate) fn check_detached(der: &[u8], message: &[u8]) -> Result<Checked, Pkcs7Error> {
    let signed = SignedData::from_der(der).map_err(Pkcs7Error::Parse)?;
    let info = only_signer(&signed)?;
    if info.signed_attrs.is_some() || signed.encap_content_info.econtent.is_some() {
        return Err(Pkcs7Error::Shape("has attributes or content where UEFI allows none"));
    }
    check(&signed, info, message)
}

fn check(signed: &SignedData, info: &SignerInfo, message: &[u8]) -> Result<Checked, Pkcs7Error> {
    if info.digest_alg.oid != rfc5912::ID_SHA_256 {
        return Err(Pkcs7Error::Shape("uses another digest than SHA-256"));
    }
    if ![rfc5912::RSA_ENCRYPTION, rfc5912::SHA_256_WITH_RSA_ENCRYPTION]
        .contains(&info.signature_algorithm.oid)
    {
        return Err(Pkcs7Error::Shape("uses another algorithm than RSA PKCS#1 v1.5"));
    }
    let certificates = certificates(signed)?;
    let signer = certificates
        .iter()
        .find(|cert| names(&info.sid, cert))
        .cloned()
        .ok_or(Pkcs7Error::Shape("does not carry its signer's certificate"))?;
    if !signer.verifies(message, info.signature.as_bytes()) {
        return Err(Pkcs7Error::Shape("was not made by the key of its certificate, or was changed since"));
    }
    Ok(Checked { signer, certificates })
}

fn only_signer(signed: &SignedData) -> Result<&SignerInfo, Pkcs7Error> {
    match signed.signer_infos.0.as_slice() {
        [info] => Ok(info),
        [] => Err(Pkcs7Error::Shape("names no signer")),
        [_, _, ..] => Err(Pkcs7Error::Shape("names more than one signer")),
    }
}

fn only_value(attributes: &SignedAttributes, oid: ObjectIdentifier) -> Result<Vec<u8>, Pkcs7Error> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    match (found.next().map(|attribute| attribute.values.as_slice()), found.next()) {
        (Some([value]), None) => encode(value),
        (None | Some(_), _) => Err(Pkcs7Error::Shape("lacks a signed attribute, or has it twice")),
    }
}

/// Certificates that are not RSA cannot be the signer's here and are passed over.
fn certificates(signed: &SignedData) -> Result<Vec<Cert>, Pkcs7Error> {
    let Some(set) = &signed.certificates else { return Ok(Vec::new()) };
    let ders = set.0.iter().filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(encode(certificate)),
        CertificateChoices::Other(_) => None,
    });
    ders.filter_map(|der| der.map(|der| Cert::from_der(&der).ok()).transpose()).collect()
}

fn names(sid: &SignerIdentifier, cert: &Cert) -> bool {
    match sid {
        SignerIdentifier::IssuerAndSerialNumber(id) => {
            let tbs = &cert.parsed().tbs_certificate;
            id.issuer == tbs.issuer && id.serial_number == tbs.serial_number
        }
        // PKCS#7 version 1.5 knows only the other form.
        SignerIdentifier::SubjectKeyIdentifier(_) => false,
    }
}

fn attribute(oid: ObjectIdentifier, value: der::Result<Any>) -> Result<Attribute, Pkcs7Error> {
    let values = value.and_then(|value| SetOfVec::try_from(vec![value])).map_err(Pkcs7Error::Encode)?;
    Ok(Attribute { oid, values })
}

fn digest_value(bytes: &[u8]) -> der::Result<Any> {
    Any::encode_from(&OctetString::new(&Sha256::digest(bytes)[..])?)
}

fn encode<T: Encode + Tagged>(value: &T) -> Result<Vec<u8>, Pkcs7Error> {
    value.to_der().map_err(Pkcs7Error::Encode)
}

pub(crate) fn sha256() -> AlgorithmIdentifierOwned {
    with_null(rfc5912::ID_SHA_256)
}

fn with_null(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}
