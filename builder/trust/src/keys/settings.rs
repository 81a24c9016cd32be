//! `keys.toml`: what the keys are for, and where each private key is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::{read_public, read_secret};
use super::{Identity, KeyError, Kind, OWNER, Place, SETTINGS};
use crate::cert::{Cert, CertError};
use crate::dsse::{UpdateKey, UpdatePublicKey};
use crate::enrol::Variable;
use crate::signer::{FileKey, Signer};
use crate::uri::Pkcs11Uri;

const FORMAT: u32 = 1;

/// What must be there for development keys to be complete.
const FILES: [&str; 10] = [
    SETTINGS,
    OWNER,
    "pk.crt",
    "pk.key",
    "kek.crt",
    "kek.key",
    "db.crt",
    "db.key",
    "update.pub",
    "update.key",
];

/// The file's content. Unknown keys are refused; so is another format.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    format: u32,
    kind: Kind,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<KeyName, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyName {
    Pk,
    Kek,
    Db,
    Update,
}

impl Settings {
    /// Reads `keys.toml` in `dir`, and for development keys makes sure that every file is there.
    pub(super) fn read(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(SETTINGS);
        if !path.exists() && missing(dir).len() < FILES.len() {
            return Err(KeyError::Incomplete { dir: dir.to_owned(), missing: missing(dir) });
        }
        let text = read_public(&path)?;
        let settings: Self =
            toml::from_str(&text).map_err(|source| KeyError::Settings { path: path.clone(), source })?;
        if settings.format != FORMAT {
            return Err(KeyError::Content { path, what: "is of a format that this version does not know" });
        }
        if settings.kind == Kind::Development && !missing(dir).is_empty() {
            return Err(KeyError::Incomplete { dir: dir.to_owned(), missing: missing(dir) });
        }
        Ok(settings)
    }

    /// The text for new development keys.
    pub(super) fn development() -> String {
        format!(
            "# Made by `xenolith keys init`. Development keys: for trying things out, not for machines that others rely on.\n\
             format = {FORMAT}\nkind = \"development\"\n"
        )
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Reads a certificate and its key, if the key is a file.
    pub(super) fn identity(&self, dir: &Path, variable: Variable) -> Result<Identity, KeyError> {
        let path = certificate_path(dir, variable);
        let certificate = Cert::from_pem(read_public(&path)?.as_bytes())
            .map_err(|source: CertError| KeyError::Certificate { path, source })?;
        let place = self.place(dir, key_name(variable))?;
        let signer = OnceLock::new();
        if let Place::File(path) = &place {
            let pem = read_secret(path)?;
            let key = FileKey::from_pem(&pem, path, certificate.clone())
                .map_err(|source| KeyError::Signer { name: variable.name(), source })?;
            signer.get_or_init(|| Signer::File(key));
        }
        Ok(Identity { variable, certificate, place, signer })
    }

    /// Reads the update key, and makes sure that `update.pub` is its other half: that file is what gets published.
    pub(super) fn update(&self, dir: &Path) -> Result<UpdateKey, KeyError> {
        let path = match self.place(dir, KeyName::Update)? {
            Place::File(path) => path,
            Place::Token(_) => {
                return Err(KeyError::Content {
                    path: dir.join(SETTINGS),
                    what: "puts the update key in a token; it must be a file",
                });
            }
            Place::Absent => dir.join("update.key"),
        };
        let pem = read_secret(&path)?;
        let key = UpdateKey::from_pem(&pem).map_err(|source| KeyError::Update { path, source })?;
        let path = dir.join("update.pub");
        let public = UpdatePublicKey::from_pem(&read_public(&path)?)
            .map_err(|source| KeyError::Update { path: path.clone(), source })?;
        if public == key.public() {
            Ok(key)
        } else {
            Err(KeyError::Content { path, what: "is not the public half of the update key" })
        }
    }

    /// Where a private key is: as `[keys]` says, else in its usual file, else not here.
    fn place(&self, dir: &Path, name: KeyName) -> Result<Place, KeyError> {
        match self.keys.get(&name) {
            Some(text) if text.starts_with("pkcs11:") => text
                .parse::<Pkcs11Uri>()
                .map(|uri| Place::Token(Box::new(uri)))
                .map_err(|source| KeyError::TokenUri { path: dir.join(SETTINGS), source }),
            Some(path) => Ok(Place::File(dir.join(path))),
            None => {
                let path = dir.join(format!("{}.key", name.stem()));
                // The db key signs every build: without it a set of keys is of no use.
                let needed = matches!(name, KeyName::Db | KeyName::Update);
                Ok(if needed || path.exists() { Place::File(path) } else { Place::Absent })
            }
        }
    }
}

impl KeyName {
    fn stem(self) -> &'static str {
        match self {
            Self::Pk => "pk",
            Self::Kek => "kek",
            Self::Db => "db",
            Self::Update => "update",
        }
    }
}

/// The file of a certificate.
pub(super) fn certificate_path(dir: &Path, variable: Variable) -> PathBuf {
    dir.join(format!("{}.crt", key_name(variable).stem()))
}

pub(super) fn owner(dir: &Path) -> Result<Uuid, KeyError> {
    let path = dir.join(OWNER);
    let text = read_public(&path)?;
    Uuid::parse_str(text.trim()).map_err(|_| KeyError::Content { path, what: "does not hold a GUID" })
}

fn missing(dir: &Path) -> Vec<&'static str> {
    FILES.into_iter().filter(|name| !dir.join(name).exists()).collect()
}

fn key_name(variable: Variable) -> KeyName {
    match variable {
        Variable::Pk => KeyName::Pk,
        Variable::Kek => KeyName::Kek,
        Variable::Db => KeyName::Db,
    }
}
