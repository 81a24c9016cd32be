//! Who made a Release file: the signature of `InRelease`.
//!
//! **Only text that a key of the Debian archive has signed leaves this module.** `InRelease` is a cleartext-signed
//! message (RFC 9580 §7):
//!
//! ```text
//! -----BEGIN PGP SIGNED MESSAGE-----     nothing may stand before it
//! Hash: SHA256
//!
//! Origin: Debian …                       the text: it is taken from the verified message, not from the file
//! -----BEGIN PGP SIGNATURE-----
//! …                                      several signatures while keys change; one good one is enough
//! -----END PGP SIGNATURE-----            nothing may stand behind it
//! ```
//!
//! The frame is checked line by line before the OpenPGP library sees it, because what can go wrong with cleartext
//! signatures is text beside the signed part that a reader takes for signed. A signature counts if it is over text,
//! with SHA-256 or better, not from the future, and made by a key of the embedded keyring (or a signing subkey that
//! the key has bound to itself) that had neither expired nor been revoked.
//!
//! A true signature may still be an old one, replayed to keep fixes away. `Valid-Until` bounds that ([`check_fresh`]);
//! the clock comes from the caller.
//!
//! The keys are those of the package debian-archive-keyring for releases 12 and 13. A release of Debian that signs
//! with other keys needs a new version of this program.

use std::io::Cursor;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, VerifyingKey};

use crate::date::Timestamp;
use crate::index::Release;

/// Certificates whose signatures count.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// Why a signed text is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Longer than any InRelease.
    #[error("the signed file is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// Not text.
    #[error("the signed file is not text")]
    NotText(#[source] std::str::Utf8Error),
    /// The message does not begin where the file begins, has no signature, or something follows it.
    #[error("line {line}: {problem}")]
    Frame {
        /// Where.
        line: usize,
        /// What is wrong there.
        problem: FrameProblem,
    },
    /// OpenPGP that cannot be read.
    #[error("the signed message cannot be read")]
    Message(#[source] Box<pgp::errors::Error>),
    /// A certificate that cannot be read.
    #[error("a certificate cannot be read")]
    Certificate(#[source] Box<pgp::errors::Error>),
    /// No signature counts.
    #[error("none of the signatures is a good one by a key of the Debian archive (signed by {})", issuers.join(", "))]
    NotTrusted {
        /// The keys that the signatures name.
        issuers: Vec<String>,
    },
    /// The Release file ran out.
    #[error(
        "the Release file of {suite} was valid until {until}, now it is {now}: the mirror is behind, or the clock of this machine is wrong"
    )]
    Expired {
        /// The suite.
        suite: String,
        /// Its last second.
        until: Timestamp,
        /// The clock.
        now: Timestamp,
    },
    /// The Release file is from the future.
    #[error(
        "the Release file of {suite} was made at {date}, now it is {now}: the clock of this machine is wrong"
    )]
    FromTheFuture {
        /// The suite.
        suite: String,
        /// When it was made.
        date: Timestamp,
        /// The clock.
        now: Timestamp,
    },
}

/// What is wrong with the frame of a signed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameProblem {
    /// Something stands before it.
    #[error("a signed message must start on the first line")]
    NoStart,
    /// A second message, or a frame inside the frame.
    #[error("there is more than one signed message")]
    Second,
    /// The text is not followed by a signature.
    #[error("the text has no signature")]
    NoSignature,
    /// Something stands behind it.
    #[error("something follows the signature")]
    Rest,
}

const MAX_MESSAGE: usize = 4 << 20;
const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// Clocks differ; a day is less than the time for which a Release file is valid.
const CLOCK_TOLERANCE: u64 = 24 * 3600;

const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("../keys/debian-archive-bookworm-automatic.gpg"),
    include_bytes!("../keys/debian-archive-bookworm-security-automatic.gpg"),
    include_bytes!("../keys/debian-archive-bookworm-stable.gpg"),
    include_bytes!("../keys/debian-archive-trixie-automatic.gpg"),
    include_bytes!("../keys/debian-archive-trixie-security-automatic.gpg"),
    include_bytes!("../keys/debian-archive-trixie-stable.gpg"),
];

impl Keyring {
    /// The keys of the Debian archive.
    pub fn debian() -> Self {
        let keys = DEBIAN_KEYS.iter().flat_map(|file| {
            let keys = SignedPublicKey::from_bytes_many(Cursor::new(*file));
            keys.expect("embedded keys are read by a test")
                .map(|key| key.expect("embedded keys are read by a test"))
        });
        Self { keys: keys.collect() }
    }

    /// The keys of a file of certificates, binary as in a `.gpg` keyring.
    ///
    /// # Errors
    /// [`SignatureError::Certificate`].
    pub fn read(certificates: &[u8]) -> Result<Self, SignatureError> {
        let failed = |source| SignatureError::Certificate(Box::new(source));
        let keys = SignedPublicKey::from_bytes_many(Cursor::new(certificates)).map_err(failed)?;
        Ok(Self { keys: keys.collect::<Result<_, _>>().map_err(failed)? })
    }

    /// Verifies an InRelease file and returns the text that was signed.
    ///
    /// # Errors
    /// [`SignatureError`] but for `Expired` and `FromTheFuture`, which are [`check_fresh`]'s.
    pub fn verify(&self, message: &[u8], now: Timestamp) -> Result<String, SignatureError> {
        if message.len() > MAX_MESSAGE {
            return Err(SignatureError::TooLong);
        }
        let text = std::str::from_utf8(message).map_err(SignatureError::NotText)?;
        check_frame(text).map_err(|(line, problem)| SignatureError::Frame { line, problem })?;
        let (message, _headers) = CleartextSignedMessage::from_string(text)
            .map_err(|source| SignatureError::Message(Box::new(source)))?;
        let signed = message.signed_text();
        if message.signatures().iter().any(|signature| self.is_good(signature, &signed, now)) {
            return Ok(signed.replace("\r\n", "\n"));
        }
        Err(SignatureError::NotTrusted { issuers: message.signatures().iter().map(issuer).collect() })
    }

    fn is_good(&self, signature: &Signature, text: &str, now: Timestamp) -> bool {
        let strong = matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        );
        let of_text = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
        let Some(made) = signature.created().map(|made| u64::from(made.as_secs())) else { return false };
        let lasts = signature.signature_expiration_time().map_or(0, |lasts| u64::from(lasts.as_secs()));
        let timely = made <= now.unix() + CLOCK_TOLERANCE && (lasts == 0 || now.unix() <= made + lasts);
        strong && of_text && timely && self.keys.iter().any(|key| signs(key, signature, text, made))
    }
}

/// Whether `key` or one of its signing subkeys made the signature, at a time when it could.
fn signs(key: &SignedPublicKey, signature: &Signature, text: &str, made: u64) -> bool {
    let own = self_signatures(key);
    if !key.details.revocation_signatures.is_empty() || !alive(&key.primary_key, &own, made) {
        return false;
    }
    if verifies(signature, &key.primary_key, text) {
        return own.iter().any(|own| own.key_flags().sign());
    }
    key.public_subkeys.iter().any(|subkey| {
        let bindings: Vec<_> = subkey.signatures.iter().collect();
        let revoked = bindings.iter().any(|binding| binding.typ() == Some(SignatureType::SubkeyRevocation));
        !revoked
            && bindings.iter().any(|binding| binding.key_flags().sign())
            && alive(&subkey.key, &bindings, made)
            && verifies(signature, &subkey.key, text)
            && subkey.verify_bindings(&key.primary_key).is_ok()
    })
}

/// The signatures with which a key says what it is for and how long. Others may have certified the key as well: the
/// archive's keys vouch for each other, and that is not needed here.
fn self_signatures(key: &SignedPublicKey) -> Vec<&Signature> {
    let users = key.details.users.iter().flat_map(|user| user.signatures.iter().map(move |own| (user, own)));
    let own = users.filter(|(user, own)| {
        let certified = || own.verify_certification(&key.primary_key, Tag::UserId, &user.id).is_ok();
        issued_by(own, &key.primary_key) && certified()
    });
    own.map(|(_, own)| own).collect()
}

fn verifies(signature: &Signature, key: &impl VerifyingKey, text: &str) -> bool {
    signature.verify(key, text.as_bytes()).is_ok()
}

fn issued_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprint = key.fingerprint();
    let id = key.legacy_key_id();
    signature.issuer_fingerprint().into_iter().any(|issuer| *issuer == fingerprint)
        || signature.issuer_key_id().into_iter().any(|issuer| *issuer == id)
}

/// Whether a key existed and had not expired at `made`, by the newest of the signatures that say so.
fn alive(key: &impl KeyDetails, bindings: &[&Signature], made: u64) -> bool {
    let born = u64::from(key.created_at().as_secs());
    let newest = bindings.iter().max_by_key(|binding| binding.created().map(|created| created.as_secs()));
    let lasts = newest
        .and_then(|binding| binding.key_expiration_time())
        .map_or(0, |lasts| u64::from(lasts.as_secs()));
    newest.is_some() && born <= made && (lasts == 0 || made <= born + lasts)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().into_iter().next().map(|print| print.to_string());
    let id = || signature.issuer_key_id().into_iter().next().map(|id| id.to_string());
    fingerprint.or_else(id).unwrap_or_else(|| "an unnamed key".to_owned()).to_uppercase()
}

/// One message that is the whole file: the text cannot have a frame line in it, since those are dash-escaped.
fn check_frame(text: &str) -> Result<(), (usize, FrameProblem)> {
    let mut expected = [BEGIN, SIGNATURE, END].into_iter();
    let mut next = expected.next();
    let mut last = 0;
    for (at, line) in text.lines().enumerate() {
        last = at + 1;
        match next {
            Some(frame) if line == frame => next = expected.next(),
            Some(BEGIN) => return Err((last, FrameProblem::NoStart)),
            Some(_) if line.starts_with("-----") => return Err((last, FrameProblem::Second)),
            Some(_) => {}
            None if line == BEGIN => return Err((last, FrameProblem::Second)),
            None => return Err((last, FrameProblem::Rest)),
        }
    }
    match next {
        None => Ok(()),
        Some(BEGIN) => Err((1, FrameProblem::NoStart)),
        Some(_) => Err((last, FrameProblem::NoSignature)),
    }
}

/// Checks that a verified Release file is neither too old nor from the future.
///
/// # Errors
/// [`SignatureError::Expired`], [`SignatureError::FromTheFuture`].
pub fn check_fresh(release: &Release<'_>, now: Timestamp) -> Result<(), SignatureError> {
    let suite = || release.codename.to_owned();
    match release.valid_until {
        Some(until) if until < now => Err(SignatureError::Expired { suite: suite(), until, now }),
        _ if release.date.unix() > now.unix() + CLOCK_TOLERANCE => {
            Err(SignatureError::FromTheFuture { suite: suite(), date: release.date, now })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
