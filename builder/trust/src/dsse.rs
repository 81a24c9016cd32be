//! Signed statements: the DSSE envelope, and bare Ed25519 signatures, made with the update key.
//!
//! DSSE signs the type together with the content, so that a provenance statement can never be passed off as anything else, and
//! it signs bytes, not JSON, so that nothing has to be put in a canonical form first. Ed25519 is deterministic. A key's id is
//! the SHA-256 of its 32 bytes; it is a hint for choosing the key, never a reason for trust.
//! Source: DSSE 1.0.2, <https://github.com/secure-systems-lab/dsse>.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cert::Fingerprint;
use crate::secret::Secret;

/// Why a statement is not accepted, or a key not read.
#[derive(Debug, thiserror::Error)]
pub enum DsseError {
    /// Not an envelope.
    #[error("this is not a DSSE envelope")]
    Envelope(#[source] serde_json::Error),
    /// A field that should be base64 is not.
    #[error("the {field} of the envelope is not base64")]
    Base64 {
        /// `payload` or `signature`.
        field: &'static str,
        /// Why.
        source: base64::DecodeError,
    },
    /// It is a statement of another kind than asked for.
    #[error("the envelope holds '{found}', not '{expected}'")]
    PayloadType {
        /// The type that was asked for.
        expected: String,
        /// The type in the envelope.
        found: String,
    },
    /// No signature by a trusted key holds.
    #[error("none of the {signatures} signatures is by a trusted key over these bytes")]
    Untrusted {
        /// How many signatures there are.
        signatures: usize,
    },
    /// Not an Ed25519 private key.
    #[error("this is not an Ed25519 private key in PEM (PKCS#8)")]
    PrivateKey(#[source] ed25519_dalek::pkcs8::Error),
    /// Not an Ed25519 public key.
    #[error("this is not an Ed25519 public key in PEM")]
    PublicKey(#[source] ed25519_dalek::pkcs8::spki::Error),
    /// A key could not be written.
    #[error("cannot encode the update key")]
    Encode(#[source] ed25519_dalek::pkcs8::Error),
}

/// The public half of an update key.
#[derive(Clone, PartialEq, Eq)]
pub struct UpdatePublicKey(VerifyingKey);

impl UpdatePublicKey {
    /// Reads PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// [`DsseError::PublicKey`].
    pub fn from_pem(pem: &str) -> Result<Self, DsseError> {
        VerifyingKey::from_public_key_pem(pem).map(Self).map_err(DsseError::PublicKey)
    }

    /// PEM with LF line ends.
    ///
    /// # Errors
    /// [`DsseError::PublicKey`], which does not happen for a key that exists.
    pub fn to_pem(&self) -> Result<String, DsseError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(DsseError::PublicKey)
    }

    /// SHA-256 of the key's 32 bytes.
    pub fn id(&self) -> Fingerprint {
        Fingerprint::of(self.0.as_bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `signature` is this key's over `message`; weak keys and malleable signatures are refused.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for UpdatePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpdatePublicKey({})", self.id())
    }
}

/// The key that signs update sets and statements about builds.
#[derive(Debug)]
pub struct UpdateKey(Secret<SigningKey>);

impl UpdateKey {
    pub(crate) fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(&mut seed[..]);
        Self(Secret::new(SigningKey::from_bytes(&seed)))
    }

    /// Reads PEM (`PRIVATE KEY`, PKCS#8).
    ///
    /// # Errors
    /// [`DsseError::PrivateKey`].
    pub fn from_pem(pem: &Zeroizing<String>) -> Result<Self, DsseError> {
        SigningKey::from_pkcs8_pem(pem).map(|key| Self(Secret::new(key))).map_err(DsseError::PrivateKey)
    }

    /// PKCS#8 version 1, without the public half: OpenSSL does not read version 2.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, DsseError> {
        KeypairBytes { secret_key: self.0.expose().to_bytes(), public_key: None }
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(DsseError::Encode)
    }

    /// The public half.
    pub fn public(&self) -> UpdatePublicKey {
        UpdatePublicKey(self.0.expose().verifying_key())
    }

    /// A bare signature (64 bytes) over `message`.
    pub fn sign_detached(&self, message: &[u8]) -> [u8; 64] {
        self.0.expose().sign(message).to_bytes()
    }

    /// The envelope around `payload`, as one line of JSON with a line end.
    pub fn sign_dsse(&self, payload_type: &str, payload: &[u8]) -> String {
        let signature = self.sign_detached(&pre_authentication(payload_type, payload));
        let envelope = Envelope {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: Some(self.public().id().to_string()),
                sig: STANDARD.encode(signature),
            }],
        };
        let mut json = serde_json::to_string(&envelope).expect("an envelope is strings only");
        json.push('\n');
        json
    }
}

/// A statement whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The trusted key that signed.
    pub key_id: Fingerprint,
}

/// Opens an envelope of `payload_type` if any of `trusted` has signed it. Further signatures, by whomever, do no harm.
///
/// # Errors
/// [`DsseError`]; nothing of the payload is handed out unless a signature holds.
pub fn verify_dsse(
    json: &str,
    payload_type: &str,
    trusted: &[UpdatePublicKey],
) -> Result<Verified, DsseError> {
    let envelope: Envelope = serde_json::from_str(json).map_err(DsseError::Envelope)?;
    if envelope.payload_type != payload_type {
        return Err(DsseError::PayloadType {
            expected: payload_type.to_owned(),
            found: envelope.payload_type,
        });
    }
    let decode =
        |field, text: &str| STANDARD.decode(text).map_err(|source| DsseError::Base64 { field, source });
    let payload = decode("payload", &envelope.payload)?;
    let message = pre_authentication(payload_type, &payload);
    for signature in &envelope.signatures {
        let bytes = decode("signature", &signature.sig)?;
        if let Some(key) = trusted.iter().find(|key| key.verifies(&message, &bytes)) {
            return Ok(Verified { payload, key_id: key.id() });
        }
    }
    Err(DsseError::Untrusted { signatures: envelope.signatures.len() })
}

/// PAE: what is really signed. The lengths keep type and content apart.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend(payload);
    message
}

/// Fields that we do not know are passed over, as the specification asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "application/example";

    /// RFC 8032 §7.1, test 1: a published key, so that these tests are the same on every machine.
    fn key() -> UpdateKey {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        UpdateKey(Secret::new(SigningKey::from_bytes(&seed.try_into().unwrap())))
    }

    #[test]
    fn the_signed_bytes_are_those_of_the_specification() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pre_authentication("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn an_envelope_is_the_same_every_time_and_opens_for_its_key() {
        let json = key().sign_dsse(KIND, b"{\"a\":1}");
        insta::assert_snapshot!(json);
        let verified = verify_dsse(&json, KIND, &[UpdateKey::generate().public(), key().public()]).unwrap();
        assert_eq!(verified, Verified { payload: b"{\"a\":1}".to_vec(), key_id: key().public().id() });
    }

    #[test]
    fn a_changed_payload_type_or_signature_is_refused() {
        let json = key().sign_dsse(KIND, b"payload");
        let trusted = [key().public()];
        assert!(matches!(verify_dsse(&json, "other", &trusted), Err(DsseError::PayloadType { .. })));
        let renamed = json.replace(KIND, "other");
        assert!(matches!(
            verify_dsse(&renamed, "other", &trusted),
            Err(DsseError::Untrusted { signatures: 1 })
        ));
        let changed = json.replace(&STANDARD.encode("payload"), &STANDARD.encode("Payload"));
        assert!(matches!(verify_dsse(&changed, KIND, &trusted), Err(DsseError::Untrusted { .. })));
        assert!(matches!(verify_dsse(&json, KIND, &[]), Err(DsseError::Untrusted { .. })));
        let none = r#"{"payload":"","payloadType":"application/example","signatures":[]}"#;
        assert!(matches!(verify_dsse(none, KIND, &trusted), Err(DsseError::Untrusted { signatures: 0 })));
        assert!(matches!(verify_dsse("{}", KIND, &trusted), Err(DsseError::Envelope(_))));
        assert!(matches!(
            verify_dsse(&json.replace("cGF5", "*"), KIND, &trusted),
            Err(DsseError::Base64 { .. })
        ));
    }

    #[test]
    fn keys_survive_pem_and_bare_signatures_verify() {
        let again = UpdateKey::from_pem(&key().to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key().public());
        let public = UpdatePublicKey::from_pem(&key().public().to_pem().unwrap()).unwrap();
        assert_eq!(public, key().public());
        let signature = key().sign_detached(b"bytes");
        assert!(public.verifies(b"bytes", &signature));
        assert!(!public.verifies(b"Bytes", &signature));
        assert!(!public.verifies(b"bytes", &signature[..63]));
    }
}
