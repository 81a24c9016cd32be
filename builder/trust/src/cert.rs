//! X.509 certificates as Secure Boot uses them: a public key with a name on it.
//!
//! Firmware compares certificates byte by byte and looks at neither validity nor revocation, so what counts is that the bytes
//! never change: a [`Cert`] keeps the DER it was read from. The certificates made here are self-signed on purpose. PK, KEK and
//! db are separate variables, none is looked up through another, and a chain would only tie the replacement of one key to the
//! others. Their validity is a fixed span (2020 to 2049), not "from now": a machine whose clock battery is empty must not
//! find its key "not yet valid", and 2049 is the last year that DER writes in its short form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use der::asn1::{BitString, OctetString, UtcTime};
use der::oid::AssociatedOid;
use der::oid::db::{rfc5280, rfc5912};
use der::{DateTime, Decode, DecodePem, Encode};
use rand_core::{OsRng, RngCore};
use rsa::pkcs1v15::{Signature, SigningKey, VerifyingKey};
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Verifier};
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde::{Serialize, Serializer};
use sha2::Digest;
use spki::{AlgorithmIdentifierOwned, DecodePublicKey, EncodePublicKey, SubjectPublicKeyInfoOwned};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

/// SHA-256 of a certificate's DER. Prints as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of any bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why bytes are not a certificate that we can use.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Neither DER nor PEM of a certificate.
    #[error("this is not an X.509 certificate")]
    Parse(#[source] der::Error),
    /// The key in it is not RSA; firmware's Secure Boot is only dependable with RSA.
    #[error("the certificate of {subject} does not hold an RSA key")]
    NotRsa {
        /// Whose certificate it is.
        subject: String,
        /// What the RSA reader said.
        source: spki::Error,
    },
    /// A certificate could not be written as DER.
    #[error("cannot encode the certificate")]
    Encode(#[source] der::Error),
    /// The name asked for cannot stand in a certificate.
    #[error("'{name}' cannot be the name in a certificate")]
    Name {
        /// The name asked for.
        name: String,
        /// Why.
        source: der::Error,
    },
    /// The RSA operation failed.
    #[error("cannot sign the certificate")]
    Sign(#[source] rsa::signature::Error),
    /// The public key could not be encoded.
    #[error("cannot encode the public key")]
    PublicKey(#[source] spki::Error),
}

/// A certificate together with the exact bytes it came as.
#[derive(Clone, PartialEq, Eq)]
pub struct Cert {
    der: Vec<u8>,
    parsed: Certificate,
    key: RsaPublicKey,
}

impl Cert {
    /// Reads DER.
    ///
    /// # Errors
    /// [`CertError::Parse`] if it is no certificate, [`CertError::NotRsa`] if its key is of another kind.
    pub fn from_der(der: &[u8]) -> Result<Self, CertError> {
        let parsed = Certificate::from_der(der).map_err(CertError::Parse)?;
        let spki = parsed.tbs_certificate.subject_public_key_info.to_der().map_err(CertError::Encode)?;
        let key = RsaPublicKey::from_public_key_der(&spki).map_err(|source| CertError::NotRsa {
            subject: parsed.tbs_certificate.subject.to_string(),
            source,
        })?;
        Ok(Self { der: der.to_vec(), parsed, key })
    }

    /// Reads the PEM of one certificate.
    ///
    /// # Errors
    /// As [`Cert::from_der`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertError> {
        let parsed = Certificate::from_pem(pem).map_err(CertError::Parse)?;
        Self::from_der(&parsed.to_der().map_err(CertError::Encode)?)
    }

    /// The bytes, as firmware stores them.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// PEM with LF line ends.
    ///
    /// # Errors
    /// [`CertError::Encode`], which only a certificate beyond any sensible size can cause.
    pub fn to_pem(&self) -> Result<String, CertError> {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &self.der)
            .map_err(|source| CertError::Encode(source.into()))
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The subject in RFC 4514 notation, e.g. `CN=Xenolith development db`.
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate.subject.to_string()
    }

    /// First and last second of validity, as RFC 3339.
    pub fn validity(&self) -> (String, String) {
        let validity = &self.parsed.tbs_certificate.validity;
        (validity.not_before.to_date_time().to_string(), validity.not_after.to_date_time().to_string())
    }

    /// The RSA key.
    pub fn public_key(&self) -> &RsaPublicKey {
        &self.key
    }

    /// Whether `signature` is this key's over `message` (RSA PKCS#1 v1.5 with SHA-256).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::try_from(signature) else { return false };
        VerifyingKey::<Sha256>::new(self.key.clone()).verify(message, &signature).is_ok()
    }

    /// Whether `issuer` has signed this certificate and is named as its issuer.
    pub fn is_issued_by(&self, issuer: &Cert) -> bool {
        let (Ok(tbs), Some(signature)) =
            (self.parsed.tbs_certificate.to_der(), self.parsed.signature.as_bytes())
        else {
            return false;
        };
        self.parsed.signature_algorithm.oid == rfc5912::SHA_256_WITH_RSA_ENCRYPTION
            // The one part of a certificate that its signature does not cover (RFC 5280 §4.1.1.2).
            && self.parsed.signature_algorithm == self.parsed.tbs_certificate.signature
            && self.parsed.tbs_certificate.issuer == issuer.parsed.tbs_certificate.subject
            && issuer.verifies(&tbs, signature)
    }

    pub(crate) fn parsed(&self) -> &Certificate {
        &self.parsed
    }
}

impl fmt::Debug for Cert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cert({}, {})", self.subject(), self.fingerprint())
    }
}

/// What a self-signed certificate is for; it decides the extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// PK and KEK sign updates of EFI variables.
    Variables,
    /// db signs programs.
    Code,
}

/// Makes the self-signed certificate of `key` with `common_name`. Only the serial number is random.
pub(crate) fn self_signed(
    key: &RsaPrivateKey,
    common_name: &str,
    purpose: Purpose,
) -> Result<Cert, CertError> {
    let subject = name(common_name)?;
    let spki_der = key.to_public_key().to_public_key_der().map_err(CertError::PublicKey)?;
    let spki = SubjectPublicKeyInfoOwned::from_der(spki_der.as_bytes()).map_err(CertError::Parse)?;
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: random_serial()?,
        signature: sha256_with_rsa(),
        issuer: subject.clone(),
        validity: validity()?,
        subject,
        extensions: Some(extensions(&spki, purpose)?),
        subject_public_key_info: spki,
        issuer_unique_id: None,
        subject_unique_id: None,
    };
    let message = tbs.to_der().map_err(CertError::Encode)?;
    let signature = SigningKey::<Sha256>::new(key.clone())
        .try_sign_with_rng(&mut OsRng, &message)
        .map_err(CertError::Sign)?;
    let certificate = Certificate {
        tbs_certificate: tbs,
        signature_algorithm: sha256_with_rsa(),
        signature: BitString::from_bytes(&signature.to_bytes()).map_err(CertError::Encode)?,
    };
    Cert::from_der(&certificate.to_der().map_err(CertError::Encode)?)
}

fn name(common_name: &str) -> Result<Name, CertError> {
    let refused = |source| CertError::Name { name: common_name.to_owned(), source };
    // RFC 4514 gives these a meaning; a name that needs them is a mistake.
    if common_name.is_empty()
        || common_name.len() > 64
        || common_name.contains([',', '+', '"', '\\', '<', '>', ';', '=', '#'])
    {
        return Err(refused(der::Tag::Utf8String.value_error()));
    }
    Name::from_str(&format!("CN={common_name}")).map_err(refused)
}

fn validity() -> Result<Validity, CertError> {
    let at = |year, month, day, hour, minute, second| -> Result<Time, CertError> {
        let time = DateTime::new(year, month, day, hour, minute, second).map_err(CertError::Encode)?;
        Ok(Time::UtcTime(
            UtcTime::from_unix_duration(Duration::from_secs(time.unix_duration().as_secs()))
                .map_err(CertError::Encode)?,
        ))
    };
    Ok(Validity { not_before: at(2020, 1, 1, 0, 0, 0)?, not_after: at(2049, 12, 31, 23, 59, 59)? })
}

fn random_serial() -> Result<SerialNumber, CertError> {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40; // positive, and always 16 bytes long
    SerialNumber::new(&bytes).map_err(CertError::Encode)
}

fn extensions(spki: &SubjectPublicKeyInfoOwned, purpose: Purpose) -> Result<Vec<Extension>, CertError> {
    let key_id = sha2::Sha256::digest(spki.subject_public_key.raw_bytes());
    let key_id = SubjectKeyIdentifier(OctetString::new(&key_id[..20]).map_err(CertError::Encode)?);
    let mut extensions = vec![
        extension(&BasicConstraints { ca: false, path_len_constraint: None }, true)?,
        extension(&KeyUsage(KeyUsages::DigitalSignature.into()), true)?,
        extension(&key_id, false)?,
    ];
    if purpose == Purpose::Code {
        extensions.push(extension(&ExtendedKeyUsage(vec![rfc5280::ID_KP_CODE_SIGNING]), false)?);
    }
    Ok(extensions)
}

fn extension<E: AssociatedOid + Encode>(value: &E, critical: bool) -> Result<Extension, CertError> {
    let value = value.to_der().and_then(OctetString::new).map_err(CertError::Encode)?;
    Ok(Extension { extn_id: E::OID, critical, extn_value: value })
}

fn sha256_with_rsa() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: rfc5912::SHA_256_WITH_RSA_ENCRYPTION, parameters: Some(der::Any::null()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::development_keys;

    #[test]
    fn a_certificate_survives_pem_and_names_its_key() {
        let cert = development_keys().db().certificate().clone();
        assert_eq!(Cert::from_pem(cert.to_pem().unwrap().as_bytes()).unwrap(), cert);
        assert_eq!(cert.subject(), "CN=Xenolith development db");
        assert_eq!(cert.validity(), ("2020-01-01T00:00:00Z".into(), "2049-12-31T23:59:59Z".into()));
        assert!(cert.is_issued_by(&cert), "self-signed");
        assert!(!cert.is_issued_by(development_keys().pk().certificate()));
    }

    #[test]
    fn names_with_a_meaning_in_rfc_4514_are_refused() {
        for bad in ["", "a,CN=b", "a+b", "#00", &"x".repeat(65)] {
            assert!(matches!(name(bad), Err(CertError::Name { .. })), "{bad}");
        }
    }

    #[test]
    fn rubbish_is_no_certificate() {
        assert!(matches!(Cert::from_der(b"rubbish"), Err(CertError::Parse(_))));
        assert!(matches!(Cert::from_pem(b"-----BEGIN NOTHING-----"), Err(CertError::Parse(_))));
    }
}
