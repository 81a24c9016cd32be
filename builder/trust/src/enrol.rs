//! Handing our certificates to firmware: the files that put PK, KEK and db into EFI variables.
//!
//! **The same keys and the same time give the same files**, so an image with enrolment files on its ESP is reproducible.
//!
//! ```text
//! <name>.der    the certificate                                  for firmware menus
//! <name>.esl    EFI_SIGNATURE_LIST { owner, certificate }        the variable's value
//! <NAME>.auth   EFI_TIME | WIN_CERTIFICATE(PKCS#7) | value       what SetVariable() takes: EFI_VARIABLE_AUTHENTICATION_2
//!                     PKCS#7 signs: name in UTF-16 | namespace | attributes | EFI_TIME | value
//! PK is signed by PK, KEK by PK, db by KEK. In setup mode firmware checks PK alone, and with it setup mode ends.
//! ```
//! systemd-boot takes `loader/keys/<set>/{PK,KEK,db}.auth` and writes db, KEK, PK in that order, so that a failure half-way
//! leaves the machine in setup mode. Firmware refuses an update whose time is not later than the stored one: the first
//! enrolment has [`EfiTime::FIRST`], a replacement needs a later time. Sources: UEFI 2.10 §8.2.2, §32.4.1, §32.6;
//! systemd-boot(7) for the names.

use cms::signed_data::SignedData;
use der::Decode;
use uuid::{Uuid, uuid};

use crate::cert::Cert;
use crate::pkcs7::{self, Pkcs7Error};
use crate::signer::Signer;

/// `EFI_CERT_X509_GUID`: the entry is a certificate in DER.
const CERT_X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// `EFI_CERT_TYPE_PKCS7_GUID`: the authentication is a PKCS#7 SignedData.
const CERT_TYPE_PKCS7: Uuid = uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7");
/// `EFI_GLOBAL_VARIABLE`: where PK and KEK live.
const GLOBAL: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: where db lives.
const IMAGE_SECURITY: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// Kept over power-off, visible before and after ExitBootServices, written with a time-based authentication.
const ATTRIBUTES: u32 = 0x01 | 0x02 | 0x04 | 0x20;

/// The Secure Boot variables that we fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variable {
    /// The platform key: who may change KEK, and PK itself.
    Pk,
    /// The key exchange keys: who may change db.
    Kek,
    /// The signature database: whose programs run.
    Db,
}

impl Variable {
    /// All of them, in the order in which trust flows.
    pub const ALL: [Self; 3] = [Self::Pk, Self::Kek, Self::Db];

    /// The name as firmware spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
        }
    }

    fn namespace(self) -> Uuid {
        match self {
            Self::Pk | Self::Kek => GLOBAL,
            Self::Db => IMAGE_SECURITY,
        }
    }
}

/// A moment as EFI writes it, to the second, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EfiTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl EfiTime {
    /// The time of a first enrolment: earlier than any replacement can be, and always the same.
    pub const FIRST: Self = Self { year: 2020, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

    /// A later time, for a replacement; `None` if there is no such date or it is before [`EfiTime::FIRST`].
    pub fn new(date: (u16, u8, u8), time: (u8, u8, u8)) -> Option<Self> {
        der::DateTime::new(date.0, date.1, date.2, time.0, time.1, time.2).ok()?;
        let (hour, minute, second) = time;
        let time = Self { year: date.0, month: date.1, day: date.2, hour, minute, second };
        (time >= Self::FIRST).then_some(time)
    }

    /// EFI_TIME; for a variable its other fields (fractions, zone, daylight) must be 0.
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&self.year.to_le_bytes());
        bytes[2..7].copy_from_slice(&[self.month, self.day, self.hour, self.minute, self.second]);
        bytes
    }
}

/// The files for one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableFiles {
    /// Which variable.
    pub variable: Variable,
    /// The signature list: the variable's value.
    pub esl: Vec<u8>,
    /// The signed update.
    pub auth: Vec<u8>,
    /// Our own certificate.
    pub der: Vec<u8>,
}

impl VariableFiles {
    /// File names and contents: `PK.auth`, `PK.esl`, `PK.der`.
    pub fn files(&self) -> [(String, &[u8]); 3] {
        let name = self.variable.name();
        [
            (format!("{name}.auth"), &self.auth),
            (format!("{name}.esl"), &self.esl),
            (format!("{name}.der"), &self.der),
        ]
    }
}

/// Makes the files of `variable`: a list of `certificates` (the first one is ours), signed by `signer` at `time`.
///
/// # Errors
/// If the key does not sign.
pub(crate) fn variable_files(
    variable: Variable,
    owner: Uuid,
    certificates: &[&Cert],
    signer: &Signer,
    time: EfiTime,
) -> Result<VariableFiles, Pkcs7Error> {
    let esl: Vec<u8> = certificates.iter().flat_map(|cert| signature_list(owner, cert.der())).collect();
    let auth = authenticated(variable, &esl, signer, time)?;
    let der = certificates.first().map(|cert| cert.der().to_vec()).unwrap_or_default();
    Ok(VariableFiles { variable, esl, auth, der })
}

/// EFI_SIGNATURE_LIST with one certificate. Firmware wants a list per certificate, as all entries of a list are of one size.
fn signature_list(owner: Uuid, der: &[u8]) -> Vec<u8> {
    let entry = length(16 + der.len());
    let mut list = Vec::with_capacity(44 + der.len());
    list.extend(CERT_X509.to_bytes_le());
    list.extend((28 + entry).to_le_bytes()); // SignatureListSize
    list.extend(0u32.to_le_bytes()); // SignatureHeaderSize
    list.extend(entry.to_le_bytes()); // SignatureSize
    list.extend(owner.to_bytes_le());
    list.extend(der);
    list
}

fn authenticated(
    variable: Variable,
    value: &[u8],
    signer: &Signer,
    time: EfiTime,
) -> Result<Vec<u8>, Pkcs7Error> {
    let pkcs7 = pkcs7::sign_detached(signer, &signed_message(variable, value, time))?;
    let mut auth = time.bytes().to_vec();
    auth.extend(length(24 + pkcs7.len()).to_le_bytes()); // WIN_CERTIFICATE: dwLength with header
    auth.extend(0x0200u16.to_le_bytes()); // wRevision
    auth.extend(0x0ef1u16.to_le_bytes()); // WIN_CERT_TYPE_EFI_GUID
    auth.extend(CERT_TYPE_PKCS7.to_bytes_le());
    auth.extend(pkcs7);
    auth.extend(value);
    Ok(auth)
}

fn signed_message(variable: Variable, value: &[u8], time: EfiTime) -> Vec<u8> {
    let mut message: Vec<u8> = variable.name().encode_utf16().flat_map(u16::to_le_bytes).collect();
    message.extend(variable.namespace().to_bytes_le());
    message.extend(ATTRIBUTES.to_le_bytes());
    message.extend(time.bytes());
    message.extend(value);
    message
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a certificate or signature is never 4 GiB long")
}

/// Why an `.auth` file would be refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It ends early, or is no authenticated update at all.
    #[error("this is not an authenticated EFI variable update")]
    Parse,
    /// The signature in it does not hold.
    #[error("the update of {} is not signed as firmware wants it", variable.name())]
    Signature {
        /// Which variable.
        variable: Variable,
        /// What is wrong.
        source: Pkcs7Error,
    },
}

/// Checks an `.auth` file as firmware in user mode does; returns the certificate that signed and the variable's new value.
///
/// # Errors
/// [`AuthError`]: it is no such file, or it was signed for another variable, or changed.
pub fn read_auth(variable: Variable, auth: &[u8]) -> Result<(Cert, Vec<u8>), AuthError> {
    let header: &[u8; 40] = auth.first_chunk().ok_or(AuthError::Parse)?;
    let certificate = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    if header[20..24] != [0x00, 0x02, 0xf1, 0x0e] || header[24..40] != CERT_TYPE_PKCS7.to_bytes_le() {
        return Err(AuthError::Parse);
    }
    let end = usize::try_from(certificate)
        .ok()
        .and_then(|length| length.checked_add(16))
        .ok_or(AuthError::Parse)?;
    let pkcs7 = auth.get(40..end).ok_or(AuthError::Parse)?;
    let value = auth.get(end..).ok_or(AuthError::Parse)?;
    let mut time = [0; 16];
    time.copy_from_slice(&header[..16]);
    let mut message = signed_message(variable, &[], EfiTime::FIRST);
    let at = message.len() - 16;
    message[at..].copy_from_slice(&time);
    message.extend(value);
    SignedData::from_der(pkcs7).map_err(|_| AuthError::Parse)?;
    let checked =
        pkcs7::check_detached(pkcs7, &message).map_err(|source| AuthError::Signature { variable, source })?;
    Ok((checked.signer, value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::development_keys;

    #[test]
    fn each_update_is_signed_by_the_key_above_it() {
        let keys = development_keys();
        for (files, signer) in
            keys.enrolment(EfiTime::FIRST, &[]).unwrap().iter().zip([keys.pk(), keys.pk(), keys.kek()])
        {
            let (cert, value) = read_auth(files.variable, &files.auth).unwrap();
            assert_eq!(&cert, signer.certificate(), "{:?}", files.variable);
            assert_eq!(value, files.esl);
        }
    }

    #[test]
    fn an_update_holds_for_its_own_variable_and_time_only() {
        let files = development_keys().enrolment(EfiTime::FIRST, &[]).unwrap();
        let kek = &files[1].auth;
        assert!(matches!(read_auth(Variable::Db, kek), Err(AuthError::Signature { .. })));
        for at in [0, 2, kek.len() - 1] {
            let mut changed = kek.clone();
            changed[at] ^= 1;
            assert!(
                matches!(read_auth(Variable::Kek, &changed), Err(AuthError::Signature { .. })),
                "byte {at}"
            );
        }
        for length in [0, 39, 40, 100] {
            assert!(
                matches!(read_auth(Variable::Kek, &kek[..length]), Err(AuthError::Parse)),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_signature_list_names_owner_and_size() {
        let owner = uuid!("11111111-2222-3333-4444-555555555555");
        let list = signature_list(owner, &[0xaa; 3]);
        let expected = "a159c0a5e494a74a87b5ab155c2bf0722f00000000000000130000001111111122223333\
                        4444555555555555aaaaaa";
        assert_eq!(hex::encode(&list), expected);
    }

    #[test]
    fn enrolment_files_are_the_same_every_time_and_take_further_certificates_into_db() {
        let keys = development_keys();
        assert_eq!(
            keys.enrolment(EfiTime::FIRST, &[]).unwrap(),
            keys.enrolment(EfiTime::FIRST, &[]).unwrap()
        );
        let later = EfiTime::new((2031, 2, 28), (1, 2, 3)).unwrap();
        assert_ne!(keys.enrolment(EfiTime::FIRST, &[]).unwrap(), keys.enrolment(later, &[]).unwrap());
        let other = keys.kek().certificate().clone();
        let files = keys.enrolment(EfiTime::FIRST, std::slice::from_ref(&other)).unwrap();
        assert!(files[2].esl.ends_with(other.der()));
        assert_eq!(files[2].der, keys.db().certificate().der());
    }

    #[test]
    fn times_that_do_not_exist_or_lie_before_the_first_are_refused() {
        assert_eq!(EfiTime::new((2020, 1, 1), (0, 0, 0)), Some(EfiTime::FIRST));
        assert_eq!(EfiTime::new((2019, 12, 31), (23, 59, 59)), None);
        assert_eq!(EfiTime::new((2023, 2, 29), (0, 0, 0)), None);
        assert_eq!(hex::encode(EfiTime::FIRST.bytes()), "e4070101000000000000000000000000");
    }
}
