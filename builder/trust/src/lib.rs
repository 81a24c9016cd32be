//! The keys of a build and everything that is made with them.
//!
//! | module         | what it makes                                                                   |
//! |----------------|---------------------------------------------------------------------------------|
//! | [`keys`]       | the key folder: development keys on first use, release keys from files or token |
//! | [`authenticode`] | signed EFI programs (boot file, loader), and their check                      |
//! | [`enrol`]      | the files that bring PK, KEK and db into firmware                               |
//! | [`dsse`]       | signed statements and bare Ed25519 signatures with the update key               |
//! | [`provenance`] | the statement of where a build came from                                        |
//!
//! **Whatever is signed here is signed the same way again with the same key**: no clock, no random padding. A comparison of two
//! builds needs no exception for signatures as long as the keys are the same.

pub mod authenticode;
pub mod cert;
pub mod dsse;
pub mod enrol;
pub mod keys;
mod pkcs7;
pub mod provenance;
pub mod secret;
pub mod signer;
#[cfg(feature = "pkcs11")]
pub mod token;
pub mod uri;

#[cfg(test)]
mod testing;

pub use authenticode::{SignatureInfo, read_signatures, sign_pe, verify_pe};
pub use cert::{Cert, Fingerprint};
pub use dsse::{UpdateKey, UpdatePublicKey, verify_dsse};
pub use enrol::{EfiTime, Variable, VariableFiles};
pub use keys::{Description, InitOptions, KeyError, KeySet, Kind};
pub use pkcs7::Pkcs7Error;
pub use secret::Secret;
pub use signer::{Signer, SignerError};

/// Why something was not signed, or a signature not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The bytes are no PE file that can be signed.
    #[error("this is not an EFI program that can be signed or checked")]
    Image(#[source] xenolith_bootfile::PeError),
    /// There is no signature.
    #[error("the program is not signed")]
    Unsigned,
    /// The program is not the one that was signed.
    #[error(
        "the program was changed after it was signed: its digest is {now}, the signature is for {signed}"
    )]
    Changed {
        /// The digest in the signature.
        signed: String,
        /// The digest of the program.
        now: String,
    },
    /// A good signature by somebody else.
    #[error("the program is signed by {signer}, whom none of the given certificates vouches for")]
    Untrusted {
        /// Whose signature it is.
        signer: String,
    },
    /// The signature itself could not be made or does not hold.
    #[error("the program's signature cannot be made or does not hold")]
    Signature(#[source] Pkcs7Error),
    /// The key to sign with is not at hand.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl TrustError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Signature(Pkcs7Error::Sign(error)) => error.hint(),
            Self::Unsigned | Self::Changed { .. } | Self::Untrusted { .. } => None,
            Self::Image(_) | Self::Signature(_) => None,
        }
    }
}
