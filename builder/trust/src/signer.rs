//! Who signs: an RSA key in a file, or one in a token that never leaves it.
//!
//! **The same key and the same message give the same signature, always.** That is what makes signed images reproducible, and it
//! is why this is RSA PKCS#1 v1.5 (no salt) and why nothing here reads a clock. Blinding is used against timing attacks; it
//! does not show in the result. Every signature is checked with the certificate before it is handed out, so a token that holds
//! another key than the certificate says, or a computer that miscalculates, is found here and not by firmware.

use std::path::{Path, PathBuf};

use rand_core::OsRng;
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::traits::PublicKeyParts;
use zeroize::Zeroizing;

use crate::cert::Cert;
use crate::secret::Secret;
#[cfg(feature = "pkcs11")]
use crate::token::TokenKey;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A private key that is neither PKCS#8 nor PKCS#1 PEM of RSA.
    #[error("{} is not an RSA private key in PEM (PKCS#8 or PKCS#1)", path.display())]
    Parse {
        /// The key's file.
        path: PathBuf,
        /// What the PKCS#8 reader said.
        source: rsa::pkcs8::Error,
    },
    /// A key with a passphrase.
    #[error("{} is encrypted with a passphrase", path.display())]
    Encrypted {
        /// The key's file.
        path: PathBuf,
    },
    /// Secure Boot firmware is only dependable with 2048 to 4096 bits.
    #[error("{what} has {bits} bits; Secure Boot needs 2048 to 4096")]
    Size {
        /// Which key.
        what: String,
        /// How long it is.
        bits: usize,
    },
    /// Key and certificate are not a pair.
    #[error("{what} is not the key of the certificate {subject}")]
    NotAPair {
        /// Which key.
        what: String,
        /// Whose certificate.
        subject: String,
    },
    /// The computation failed.
    #[error("cannot sign with {what}")]
    Rsa {
        /// Which key.
        what: String,
        /// Why.
        source: rsa::signature::Error,
    },
    /// The key is in a token, and this program cannot talk to one.
    #[error("the key {uri} is in a token, and this program was built without PKCS#11")]
    NoTokens {
        /// The key's URI, without any PIN.
        uri: String,
    },
    /// The token failed.
    #[cfg(feature = "pkcs11")]
    #[error(transparent)]
    Token(#[from] crate::token::TokenError),
}

impl SignerError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Encrypted { path } => Some(format!(
                "keep the key in a PKCS#11 token, or write a plain copy with mode 0600: openssl pkey -in {}",
                path.display()
            )),
            Self::NoTokens { .. } => Some("build it with: --features pkcs11".to_owned()),
            #[cfg(feature = "pkcs11")]
            Self::Token(error) => error.hint(),
            Self::Parse { .. } | Self::Size { .. } | Self::NotAPair { .. } | Self::Rsa { .. } => None,
        }
    }
}

/// A certificate and the way to sign in its name.
#[derive(Debug)]
pub enum Signer {
    /// The private key was read from a file.
    File(FileKey),
    /// The private key stays in a PKCS#11 token.
    #[cfg(feature = "pkcs11")]
    Pkcs11(TokenKey),
}

impl Signer {
    /// The certificate that signatures are checked with.
    pub fn certificate(&self) -> &Cert {
        match self {
            Self::File(key) => &key.certificate,
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(key) => key.certificate(),
        }
    }

    /// Signs `message`: RSA PKCS#1 v1.5 over its SHA-256.
    ///
    /// # Errors
    /// [`SignerError::NotAPair`] if the signature does not check with the certificate, else what the key or token says.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signature = match self {
            Self::File(key) => key.sign(message)?,
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(key) => key.sign(message)?,
        };
        if self.certificate().verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(SignerError::NotAPair { what: self.what(), subject: self.certificate().subject() })
        }
    }

    fn what(&self) -> String {
        match self {
            Self::File(key) => key.what.clone(),
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(key) => key.what(),
        }
    }
}

/// An RSA key in memory, and its certificate.
#[derive(Debug)]
pub struct FileKey {
    key: Secret<RsaPrivateKey>,
    certificate: Cert,
    what: String,
}

impl FileKey {
    /// Reads a PEM key (PKCS#8 or PKCS#1) that came from `path`, and checks that it belongs to `certificate`.
    ///
    /// # Errors
    /// [`SignerError::Parse`], [`SignerError::Encrypted`], [`SignerError::Size`] or [`SignerError::NotAPair`].
    pub fn from_pem(pem: &Zeroizing<String>, path: &Path, certificate: Cert) -> Result<Self, SignerError> {
        if pem.contains("ENCRYPTED") {
            return Err(SignerError::Encrypted { path: path.to_owned() });
        }
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|source| RsaPrivateKey::from_pkcs1_pem(pem).map_err(|_| source))
            .map_err(|source| SignerError::Parse { path: path.to_owned(), source })?;
        let what = path.display().to_string();
        check_size(&what, key.size() * 8)?;
        if key.to_public_key() != *certificate.public_key() {
            return Err(SignerError::NotAPair { what, subject: certificate.subject() });
        }
        Ok(Self { key: Secret::new(key), certificate, what })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let signature = SigningKey::<Sha256>::new(self.key.expose().clone())
            .try_sign_with_rng(&mut OsRng, message)
            .map_err(|source| SignerError::Rsa { what: self.what.clone(), source })?;
        Ok(signature.to_vec())
    }
}

pub(crate) fn check_size(what: &str, bits: usize) -> Result<(), SignerError> {
    if (2048..=4096).contains(&bits) {
        Ok(())
    } else {
        Err(SignerError::Size { what: what.to_owned(), bits })
    }
}
