//! The key folder.
//!
//! **A key that exists is never overwritten, no key is ever readable by others, and a folder is there completely or not at
//! all.**
//!
//! ```text
//! <dir>/  mode 0700
//!   keys.toml            format, kind = "development" | "release", where private keys are if not here
//!   owner.guid           who put our certificates into firmware: a random GUID
//!   pk.crt  pk.key       platform key        RSA-2048, X.509 in PEM; .key is PKCS#8 in PEM, mode 0600
//!   kek.crt kek.key      key exchange key
//!   db.crt  db.key       signs programs
//!   update.pub update.key  signs update sets and statements: Ed25519
//!   .gitignore           "*": a folder inside a checkout stays out of git
//! ```
//! Development keys are made on first use: all files go into a hidden folder beside the place, each flushed, then one rename.
//! A cut before the rename leaves nothing in place; two first uses at once end with the keys of one, which both use.
//!
//! Release keys come from outside: the same folder with `kind = "release"`. PK and KEK may be missing there, as they are only
//! needed to make enrolment files and belong in a safe. `[keys]` in `keys.toml` says where a private key is: a path, or for
//! pk, kek and db a PKCS#11 URI (RFC 7512). A token is opened when it is first asked to sign, so showing keys needs no PIN.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cert::{Cert, Fingerprint};
use crate::dsse::UpdateKey;
use crate::enrol::{self, EfiTime, Variable, VariableFiles};
use crate::signer::{Signer, SignerError};
use crate::uri::Pkcs11Uri;
use crate::{TrustError, authenticode};

mod error;
mod files;
mod generate;
mod settings;

pub use error::KeyError;
#[cfg(feature = "pkcs11")]
pub(crate) use files::read_secret;
use settings::Settings;

const SETTINGS: &str = "keys.toml";
const OWNER: &str = "owner.guid";

/// What keys are for. Everything signed with development keys is for machines that trust their maker's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Made on first use, kept in plain files.
    Development,
    /// Brought by the user.
    Release,
}

/// Choices for new development keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitOptions {
    /// Added to the names in the certificates, so that firmware menus tell whose keys they are.
    pub label: Option<String>,
}

/// A certificate and where its private key is.
#[derive(Debug)]
pub struct Identity {
    variable: Variable,
    certificate: Cert,
    place: Place,
    signer: OnceLock<Signer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Token(Box<Pkcs11Uri>),
    Absent,
}

impl Identity {
    /// The certificate.
    pub fn certificate(&self) -> &Cert {
        &self.certificate
    }

    /// The way to sign; opens the token if the key is in one.
    ///
    /// # Errors
    /// [`KeyError::Absent`] if the key is kept elsewhere, [`KeyError::Signer`] if the token cannot be used.
    pub fn signer(&self) -> Result<&Signer, KeyError> {
        if let Some(signer) = self.signer.get() {
            return Ok(signer);
        }
        let name = self.variable.name();
        let signer = match &self.place {
            Place::Token(uri) => {
                open_token(uri, &self.certificate).map_err(|source| KeyError::Signer { name, source })?
            }
            Place::File(_) | Place::Absent => return Err(KeyError::Absent { name }),
        };
        Ok(self.signer.get_or_init(|| signer))
    }
}

#[cfg(feature = "pkcs11")]
fn open_token(uri: &Pkcs11Uri, certificate: &Cert) -> Result<Signer, SignerError> {
    Ok(Signer::Pkcs11(crate::token::TokenKey::open(
        uri,
        certificate.clone(),
        &crate::token::Access::from_env(),
    )?))
}

#[cfg(not(feature = "pkcs11"))]
fn open_token(uri: &Pkcs11Uri, _certificate: &Cert) -> Result<Signer, SignerError> {
    Err(SignerError::NoTokens { uri: uri.to_string() })
}

/// A complete set of keys.
#[derive(Debug)]
pub struct KeySet {
    dir: PathBuf,
    kind: Kind,
    owner: Uuid,
    pk: Identity,
    kek: Identity,
    db: Identity,
    update: UpdateKey,
}

impl KeySet {
    /// Loads the keys in `dir`; makes development keys there if the folder does not exist or is empty.
    ///
    /// # Errors
    /// [`KeyError::Incomplete`] and [`KeyError::Occupied`] rather than adding to what is there; [`KeyError::Write`].
    pub fn init(dir: &Path, options: &InitOptions) -> Result<Self, KeyError> {
        // A link to a folder elsewhere is the user's choice; the rename must happen there.
        let dir = fs_err::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        if generate::is_vacant(&dir)? {
            let draft = generate::draft(&dir, options)?;
            match draft.commit(&dir) {
                // Somebody else was faster: theirs are as good, if they are keys.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                done => done.map_err(|source| KeyError::Write { dir: dir.clone(), source })?,
            }
        }
        Self::load(&dir)
    }

    /// Loads the keys in `dir`. Tokens are not opened yet.
    ///
    /// # Errors
    /// [`KeyError::Exposed`] if others can read a key or write to the folder; what is missing or wrong otherwise.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        files::check_folder(dir)?;
        let settings = Settings::read(dir)?;
        Ok(Self {
            kind: settings.kind(),
            owner: settings::owner(dir)?,
            pk: settings.identity(dir, Variable::Pk)?,
            kek: settings.identity(dir, Variable::Kek)?,
            db: settings.identity(dir, Variable::Db)?,
            update: settings.update(dir)?,
            dir: dir.to_owned(),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What these keys are for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The GUID under which firmware files our certificates.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    /// The platform key.
    pub fn pk(&self) -> &Identity {
        &self.pk
    }

    /// The key exchange key.
    pub fn kek(&self) -> &Identity {
        &self.kek
    }

    /// The key that signs programs.
    pub fn db(&self) -> &Identity {
        &self.db
    }

    /// The key that signs update sets and statements.
    pub fn update(&self) -> &UpdateKey {
        &self.update
    }

    /// Signs an EFI program with the db key.
    ///
    /// # Errors
    /// [`TrustError`]; [`TrustError::Key`] if the key is not here or its token cannot be used.
    pub fn sign_pe(&self, pe: &[u8]) -> Result<Vec<u8>, TrustError> {
        authenticode::sign_pe(pe, self.db.signer()?)
    }

    /// The files that enrol PK, KEK and db, in this order. `also_trusted` goes into db beside ours: machines whose option
    /// ROMs are signed by somebody else do not start without that signer's certificate.
    ///
    /// # Errors
    /// [`TrustError::Key`] if PK or KEK are not here, [`TrustError::Signature`] if they do not sign.
    pub fn enrolment(&self, time: EfiTime, also_trusted: &[Cert]) -> Result<[VariableFiles; 3], TrustError> {
        let db: Vec<&Cert> = [&self.db.certificate].into_iter().chain(also_trusted).collect();
        let files = |variable, certificates: &[&Cert], by: &Identity| {
            enrol::variable_files(variable, self.owner, certificates, by.signer()?, time)
                .map_err(TrustError::Signature)
        };
        Ok([
            files(Variable::Pk, &[&self.pk.certificate], &self.pk)?,
            files(Variable::Kek, &[&self.kek.certificate], &self.pk)?,
            files(Variable::Db, &db, &self.kek)?,
        ])
    }

    /// Whether enrolment files can be made: the private keys of PK and KEK are at hand.
    pub fn can_enrol(&self) -> bool {
        [&self.pk, &self.kek].iter().all(|identity| identity.place != Place::Absent)
    }

    /// What may be shown about these keys. No secret is in it.
    pub fn describe(&self) -> Description {
        let certificates = [&self.pk, &self.kek, &self.db].map(|identity| {
            let (not_before, not_after) = identity.certificate.validity();
            CertificateDescription {
                name: identity.variable.name(),
                subject: identity.certificate.subject(),
                fingerprint: identity.certificate.fingerprint(),
                not_before,
                not_after,
                certificate: settings::certificate_path(&self.dir, identity.variable),
                key: match &identity.place {
                    Place::File(path) => Some(path.display().to_string()),
                    Place::Token(uri) => Some(uri.to_string()),
                    Place::Absent => None,
                },
            }
        });
        Description {
            directory: self.dir.clone(),
            kind: self.kind,
            owner: self.owner,
            certificates,
            update_key_id: self.update.public().id(),
            update_public_key: self.dir.join("update.pub"),
        }
    }
}

/// A set of keys as `keys show` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The key folder.
    pub directory: PathBuf,
    /// Development or release.
    pub kind: Kind,
    /// The owner's GUID.
    pub owner: Uuid,
    /// PK, KEK, db.
    pub certificates: [CertificateDescription; 3],
    /// SHA-256 of the update key's public half.
    pub update_key_id: Fingerprint,
    /// The file with it.
    pub update_public_key: PathBuf,
}

/// One certificate of a [`Description`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateDescription {
    /// `PK`, `KEK` or `db`.
    pub name: &'static str,
    /// The subject, e.g. `CN=Xenolith development db`.
    pub subject: String,
    /// SHA-256 of the DER.
    pub fingerprint: Fingerprint,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The private key's file, or its PKCS#11 URI without any PIN; `None` if it is kept elsewhere.
    pub key: Option<String>,
}

#[cfg(test)]
mod tests;
