//! Why there are no keys, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::SETTINGS;
use crate::cert::CertError;
use crate::dsse::DsseError;
use crate::signer::SignerError;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// New keys could not be put in place.
    #[error("cannot make keys in {}", dir.display())]
    Write {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Some keys are there and some are not; making the missing ones would give a set that does not fit together.
    #[error("the keys in {} are not complete: {} is missing", dir.display(), missing.join(", "))]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        missing: Vec<&'static str>,
    },
    /// The folder is used for something else.
    #[error("{} holds other files and no keys", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// Others than the owner have access.
    #[error("{} is open to others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// `keys.toml` is not as it should be.
    #[error("{} is not a valid description of keys", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// A small file holds something else than it should.
    #[error("{} {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A certificate could not be read or made.
    #[error("the certificate {} cannot be used", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CertError,
    },
    /// A private key or token could not be used.
    #[error("the key of {name} cannot be used")]
    Signer {
        /// `PK`, `KEK` or `db`.
        name: &'static str,
        /// Why.
        source: SignerError,
    },
    /// The update key could not be read.
    #[error("the update key {} cannot be used", path.display())]
    Update {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DsseError,
    },
    /// RSA keys could not be generated.
    #[error("cannot generate an RSA key")]
    Generate(#[source] rsa::Error),
    /// A new RSA key could not be written as PEM.
    #[error("cannot encode an RSA key")]
    Encode(#[source] rsa::pkcs8::Error),
    /// A PKCS#11 URI in `keys.toml` is wrong.
    #[error("{} names a token that cannot be understood", path.display())]
    TokenUri {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::uri::UriError,
    },
    /// The key is kept elsewhere.
    #[error("the private key of {name} is not here, so nothing can be signed with it")]
    Absent {
        /// `PK`, `KEK` or `db`.
        name: &'static str,
    },
}

impl KeyError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Incomplete { dir, .. } => Some(format!(
                "restore the missing files, or move {} away to have new development keys made",
                dir.display()
            )),
            Self::Occupied { .. } => Some("choose another folder for the keys".to_owned()),
            Self::Exposed { path, .. } => Some(format!(
                "if nobody else can have used it: chmod go= {}; otherwise replace the keys",
                path.display()
            )),
            Self::Signer { source, .. } => source.hint(),
            Self::Absent { name } => Some(format!(
                "say in {SETTINGS} under [keys] where it is: {} = \"<path or pkcs11: URI>\"",
                name.to_lowercase()
            )),
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Settings { .. }
            | Self::Content { .. }
            | Self::Certificate { .. }
            | Self::Update { .. }
            | Self::Generate(_)
            | Self::Encode(_)
            | Self::TokenUri { .. } => None,
        }
    }
}
