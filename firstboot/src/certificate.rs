//! The host's certificate for TLS: self-signed, so that whoever talks to it the first time compares its fingerprint with the one on the
//! console, and pins it from then on.
//!
//! Key and certificate lie in one file, so that one rename replaces both: there is no moment in which they do not fit. The key is on the
//! curve P-256, which every TLS of the last ten years takes, and which a slow processor makes and uses in no time; XenServer's RSA serves
//! clients that are older than that. It is valid for ten years, as theirs: who pins it notices a new one, and nothing renews it unasked.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use der::asn1::{BitString, OctetString};
use der::flagset::FlagSet;
use der::oid::AssociatedOid;
use der::oid::db::{rfc5280, rfc5912};
use der::pem::LineEnding;
use der::{Decode as _, DecodePem as _, Encode, EncodePem as _};
use fs_err as fs;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use uuid::Uuid;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};
use xenolith_settings::HostName;

/// Where key and certificate stand, below the root.
pub const CERTIFICATE: &str = "etc/xenolith/tls/host.pem";
/// A longer file is not ours, in bytes.
const MAX_FILE: u64 = 64 << 10;
const YEARS: u64 = 10;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateNames {
    /// The host's name.
    pub host: HostName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// When it was made. It is valid from a day before, since clocks differ.
    pub made: SystemTime,
}

/// What of a certificate people and programs compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// SHA-256 of its DER, as 64 hexadecimal digits.
    pub sha256: String,
    /// The last second of its validity, as RFC 3339 has it.
    pub valid_until: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file holds something else.
    #[error("/{CERTIFICATE} holds no key with its certificate")]
    Form(#[source] Option<der::Error>),
    /// It cannot be put together.
    #[error("the certificate cannot be made")]
    Make(#[from] der::Error),
    /// Its key cannot be written.
    #[error("the certificate's key cannot be written")]
    Key(#[source] p256::pkcs8::Error),
    /// Its public key cannot be written.
    #[error("the certificate's public key cannot be written")]
    PublicKey(#[source] spki::Error),
}

/// The certificate of the host whose files lie below `root`, if it has one.
///
/// # Errors
/// [`CertificateError::Io`] and [`CertificateError::Form`].
pub fn host_certificate(root: &Path) -> Result<Option<Shown>, CertificateError> {
    let path = root.join(CERTIFICATE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(metadata) if metadata.len() > MAX_FILE => return Err(CertificateError::Form(None)),
        Ok(_) => {}
    }
    shown(&fs::read_to_string(&path)?).map(Some)
}

/// What is shown of a file with key and certificate that fit each other.
pub(crate) fn shown(text: &str) -> Result<Shown, CertificateError> {
    // The key comes first, each ends with a line of its own.
    let at = text.find("-----BEGIN CERTIFICATE-----").ok_or(CertificateError::Form(None))?;
    let (key, certificate) = text.split_at(at);
    let key = SigningKey::from_pkcs8_pem(key).map_err(|_| CertificateError::Form(None))?;
    let certificate =
        Certificate::from_pem(certificate).map_err(|error| CertificateError::Form(Some(error)))?;
    let info = info(&key)?;
    if certificate.tbs_certificate.subject_public_key_info != info {
        return Err(CertificateError::Form(None));
    }
    let sha256 = Sha256::digest(certificate.to_der()?);
    Ok(Shown {
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        valid_until: certificate.tbs_certificate.validity.not_after.to_date_time().to_string(),
    })
}

fn info(key: &SigningKey) -> Result<SubjectPublicKeyInfoOwned, CertificateError> {
    let der = key.verifying_key().to_public_key_der().map_err(CertificateError::PublicKey)?;
    Ok(SubjectPublicKeyInfoOwned::from_der(der.as_bytes())?)
}

/// A new key and its certificate, as the text of [`CERTIFICATE`]. Key and serial number are drawn.
///
/// # Errors
/// [`CertificateError`], of which none is expected.
pub(crate) fn make(names: &CertificateNames) -> Result<String, CertificateError> {
    let key = SigningKey::random(&mut OsRng);
    let subject = subject(names)?;
    let info = info(&key)?;
    let algorithm = AlgorithmIdentifierOwned { oid: rfc5912::ECDSA_WITH_SHA_256, parameters: None };
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: serial()?,
        signature: algorithm.clone(),
        issuer: subject.clone(),
        validity: validity(names.made)?,
        subject,
        extensions: Some(extensions(names, &info)?),
        subject_public_key_info: info,
        issuer_unique_id: None,
        subject_unique_id: None,
    };
    let signature: DerSignature = key.sign(&tbs.to_der()?);
    let certificate = Certificate {
        tbs_certificate: tbs,
        signature_algorithm: algorithm,
        signature: BitString::from_bytes(signature.as_bytes())?,
    };
    let key = key.to_pkcs8_pem(LineEnding::LF).map_err(CertificateError::Key)?;
    Ok(format!("{}{}", key.as_str(), certificate.to_pem(LineEnding::LF)?))
}

fn subject(names: &CertificateNames) -> Result<Name, der::Error> {
    // A host name has no character that means something in RFC 4514.
    format!("CN={}", names.host).parse()
}

fn serial() -> Result<SerialNumber, der::Error> {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40; // positive, and always 16 bytes long
    SerialNumber::new(&bytes)
}

fn validity(made: SystemTime) -> Result<Validity, der::Error> {
    let time = |time: SystemTime| Time::try_from(time);
    let from = made.checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH);
    // Ten years have two or three leap days; nobody counts them.
    let until = made + DAY * u32::try_from(YEARS * 365).unwrap_or(u32::MAX);
    Ok(Validity { not_before: time(from)?, not_after: time(until)? })
}

fn extensions(
    names: &CertificateNames,
    info: &SubjectPublicKeyInfoOwned,
) -> Result<Vec<Extension>, der::Error> {
    let key = Sha256::digest(info.subject_public_key.raw_bytes());
    let mut all = vec![GeneralName::DnsName(names.host.as_str().to_owned().try_into()?)];
    // A name such as `rack4.example` is also looked up as `rack4`.
    if let Some((short, _)) = names.host.as_str().split_once('.') {
        all.push(GeneralName::DnsName(short.to_owned().try_into()?));
    }
    for address in &names.addresses {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        all.push(GeneralName::IpAddress(OctetString::new(octets)?));
    }
    let usage: FlagSet<KeyUsages> = KeyUsages::DigitalSignature.into();
    Ok(vec![
        extension(&BasicConstraints { ca: false, path_len_constraint: None }, true)?,
        extension(&KeyUsage(usage), true)?,
        extension(&ExtendedKeyUsage(vec![rfc5280::ID_KP_SERVER_AUTH]), false)?,
        extension(&SubjectKeyIdentifier(OctetString::new(&key[..20])?), false)?,
        extension(&SubjectAltName(all), false)?,
    ])
}

fn extension<E: AssociatedOid + Encode>(value: &E, critical: bool) -> Result<Extension, der::Error> {
    let value = value.to_der().and_then(OctetString::new)?;
    Ok(Extension { extn_id: E::OID, critical, extn_value: value })
}

/// A UUID that nothing else has.
pub(crate) fn fresh_uuid() -> Uuid {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names() -> CertificateNames {
        CertificateNames {
            host: HostName::new("rack4.example".to_owned()).unwrap(),
            addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            made: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        }
    }

    #[test]
    fn what_is_made_is_read_and_its_key_fits() {
        let text = make(&names()).unwrap();
        let one = shown(&text).unwrap();
        assert_eq!(one.sha256.len(), 64);
        assert_eq!(one.valid_until, "2036-09-18T14:13:20Z");
        let other = make(&names()).unwrap();
        assert_ne!(shown(&other).unwrap().sha256, one.sha256, "keys are drawn");
        let at = |text: &str| text.find("-----BEGIN CERTIFICATE-----").unwrap();
        let mixed = format!("{}{}", &text[..at(&text)], &other[at(&other)..]);
        for bad in ["", "-----BEGIN CERTIFICATE-----", &text[at(&text)..], &text[..at(&text)], &mixed] {
            assert!(matches!(shown(bad), Err(CertificateError::Form(_))), "{bad}");
        }
    }

    /// The other program that everybody has reads it, finds the signature good and the names in it.
    #[test]
    fn openssl_verifies_it_for_its_names_and_no_others() {
        let Ok(version) = duct::cmd!("openssl", "version").read() else { return };
        assert!(version.starts_with("OpenSSL"), "{version}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(make(&names()).unwrap().as_bytes()).unwrap();
        let path = file.path();
        let verify = |what: &str, name: &str| {
            duct::cmd!(
                "openssl",
                "verify",
                "-x509_strict",
                "-purpose",
                "sslserver",
                "-attime",
                "1790000001",
                what,
                name,
                "-CAfile",
                path,
                path
            )
            .stderr_to_stdout()
            .unchecked()
            .read()
            .unwrap()
        };
        for (what, name) in [
            ("-verify_hostname", "rack4.example"),
            ("-verify_hostname", "rack4"),
            ("-verify_ip", "192.0.2.10"),
            ("-verify_ip", "2001:db8::10"),
        ] {
            let said = verify(what, name);
            assert!(said.ends_with(": OK"), "{name}: {said}");
        }
        assert!(verify("-verify_ip", "192.0.2.11").contains("IP address mismatch"));
    }
}
