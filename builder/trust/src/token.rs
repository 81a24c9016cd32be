//! Signing with a key that never leaves its token (PKCS#11).
//!
//! The URI names the token and the key; both must be the only ones that match, since signing with *some* key is worse than not
//! signing. The token pads and encrypts (`CKM_RSA_PKCS`); the digest is made here, as not every token knows SHA-256 with RSA.
//! The module is looked for in the URI (`module-path`), then in `XENOLITH_PKCS11_MODULE`; the PIN in the URI (`pin-value`),
//! in the file it names (`pin-source`), then in `XENOLITH_PKCS11_PIN`. A token that would lock itself after one more wrong PIN
//! is left alone: a build that runs again and again must not be what uses up the last try.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cert::Cert;
use crate::keys::{self, KeyError};
use crate::secret::Secret;
use crate::uri::Pkcs11Uri;

/// Where the module is found if the URI does not say so.
pub const MODULE_VARIABLE: &str = "XENOLITH_PKCS11_MODULE";
/// Where the PIN is found if the URI does not say so.
pub const PIN_VARIABLE: &str = "XENOLITH_PKCS11_PIN";

/// DER of `DigestInfo { sha256, NULL, 32 bytes }` up to the digest (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// Why a token does not sign.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody said which library talks to the token.
    #[error("no PKCS#11 module is named for {uri}")]
    NoModule {
        /// The key.
        uri: String,
    },
    /// The library could not be loaded.
    #[error("cannot use the PKCS#11 module {}", module.display())]
    Module {
        /// The library.
        module: PathBuf,
        /// Why.
        source: Pkcs11Error,
    },
    /// The number of tokens that match is not one.
    #[error("{found} tokens match {uri}, not one; there are: {present}")]
    Tokens {
        /// The key.
        uri: String,
        /// How many match.
        found: usize,
        /// The labels of all tokens.
        present: String,
    },
    /// The number of keys that match is not one.
    #[error("{found} private RSA keys match {uri}, not one")]
    Keys {
        /// The key.
        uri: String,
        /// How many match.
        found: usize,
    },
    /// The file with the PIN could not be used.
    #[error("cannot read the PIN for {uri}")]
    PinSource {
        /// The key.
        uri: String,
        /// Why.
        source: Box<KeyError>,
    },
    /// The token wants a PIN and there is none.
    #[error("the token of {uri} wants a PIN")]
    NoPin {
        /// The key.
        uri: String,
    },
    /// One more wrong PIN would lock the token.
    #[error("the token of {uri} is locked or one wrong PIN away from it")]
    LastTry {
        /// The key.
        uri: String,
    },
    /// The token refused.
    #[error("the token of {uri} did not {action}")]
    Operation {
        /// The key.
        uri: String,
        /// What it was asked to do.
        action: &'static str,
        /// Why.
        source: Pkcs11Error,
    },
}

impl TokenError {
    /// What the user can do about it, if we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoModule { .. } => {
                Some(format!("add ?module-path=/path/to/module.so to the URI, or set {MODULE_VARIABLE}"))
            }
            Self::Keys { .. } => {
                Some("narrow the URI down with object= or id=, and check the PIN's rights".to_owned())
            }
            Self::Tokens { .. } => Some("narrow the URI down with token= or serial=".to_owned()),
            Self::NoPin { .. } => {
                Some(format!("set {PIN_VARIABLE}, or add ?pin-source=file:/path to the URI"))
            }
            Self::LastTry { .. } => {
                Some("log in once with the right PIN by the token's own tools".to_owned())
            }
            Self::Module { .. } | Self::PinSource { .. } | Self::Operation { .. } => None,
        }
    }
}

/// What the URI may leave open.
#[derive(Debug, Default)]
pub struct Access {
    /// The module.
    pub module: Option<PathBuf>,
    /// The PIN.
    pub pin: Option<Secret<Zeroizing<String>>>,
}

impl Access {
    /// From [`MODULE_VARIABLE`] and [`PIN_VARIABLE`].
    pub fn from_env() -> Self {
        let pin = std::env::var(PIN_VARIABLE).ok().map(|pin| Secret::new(Zeroizing::new(pin)));
        Self { module: std::env::var_os(MODULE_VARIABLE).map(PathBuf::from), pin }
    }
}

/// A key in a token, logged in to, and its certificate.
#[derive(Debug)]
pub struct TokenKey {
    uri: Pkcs11Uri,
    certificate: Cert,
    key: ObjectHandle,
    /// PKCS#11 signs in two calls per session, so one at a time.
    session: Mutex<Session>,
}

impl TokenKey {
    /// Opens the token and finds the key.
    ///
    /// # Errors
    /// [`TokenError`]. Whether key and certificate are a pair shows with the first signature.
    pub fn open(uri: &Pkcs11Uri, certificate: Cert, access: &Access) -> Result<Self, TokenError> {
        let module = load(uri, access)?;
        let (slot, token) = find_token(uri, &module)?;
        let session = module.open_ro_session(slot).map_err(refused(uri, "open a session"))?;
        if token.login_required() {
            log_in(uri, &session, &token, access)?;
        }
        let key = find_key(uri, &session)?;
        Ok(Self { uri: uri.clone(), certificate, key, session: Mutex::new(session) })
    }

    pub(crate) fn certificate(&self) -> &Cert {
        &self.certificate
    }

    pub(crate) fn what(&self) -> String {
        self.uri.to_string()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let digest_info = [&SHA256_DIGEST_INFO[..], &Sha256::digest(message)].concat();
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.sign(&Mechanism::RsaPkcs, self.key, &digest_info).map_err(refused(&self.uri, "sign"))
    }
}

fn load(uri: &Pkcs11Uri, access: &Access) -> Result<Pkcs11, TokenError> {
    let path = uri.module_path.as_ref().or(access.module.as_ref());
    let path = path.ok_or_else(|| TokenError::NoModule { uri: uri.to_string() })?;
    let unusable = |source| TokenError::Module { module: path.clone(), source };
    let module = Pkcs11::new(path).map_err(unusable)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another key of this process has loaded the same module.
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(source) => Err(unusable(source)),
    }
}

fn find_token(uri: &Pkcs11Uri, module: &Pkcs11) -> Result<(Slot, TokenInfo), TokenError> {
    let mut tokens = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(refused(uri, "list its slots"))? {
        tokens.push((slot, module.get_token_info(slot).map_err(refused(uri, "describe itself"))?));
    }
    let present: Vec<String> = tokens.iter().map(|(_, token)| format!("'{}'", token.label())).collect();
    tokens.retain(|(slot, token)| matches(uri, *slot, token));
    match tokens.len() {
        1 => Ok(tokens.remove(0)),
        found => Err(TokenError::Tokens { uri: uri.to_string(), found, present: present.join(", ") }),
    }
}

fn matches(uri: &Pkcs11Uri, slot: Slot, token: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    same(&uri.token, token.label())
        && same(&uri.manufacturer, token.manufacturer_id())
        && same(&uri.model, token.model())
        && same(&uri.serial, token.serial_number())
        && uri.slot_id.is_none_or(|wanted| wanted == slot.id())
}

fn log_in(uri: &Pkcs11Uri, session: &Session, token: &TokenInfo, access: &Access) -> Result<(), TokenError> {
    if token.user_pin_locked() || token.user_pin_final_try() {
        return Err(TokenError::LastTry { uri: uri.to_string() });
    }
    let pin = pin(uri, access)?;
    let pin = AuthPin::from(pin.as_str());
    match session.login(UserType::User, Some(&pin)) {
        // A login is for the process, not for the session.
        Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(source) => Err(refused(uri, "accept the PIN")(source)),
    }
}

fn pin(uri: &Pkcs11Uri, access: &Access) -> Result<Zeroizing<String>, TokenError> {
    if let Some(pin) = uri.pin_value() {
        return Ok(pin.clone());
    }
    if let Some(path) = &uri.pin_source {
        let text = keys::read_secret(path)
            .map_err(|source| TokenError::PinSource { uri: uri.to_string(), source: Box::new(source) })?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    match &access.pin {
        Some(pin) => Ok(pin.expose().clone()),
        None => Err(TokenError::NoPin { uri: uri.to_string() }),
    }
}

fn find_key(uri: &Pkcs11Uri, session: &Session) -> Result<ObjectHandle, TokenError> {
    let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA)];
    wanted.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    wanted.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let found = session.find_objects(&wanted).map_err(refused(uri, "look for the key"))?;
    match found[..] {
        [key] => Ok(key),
        _ => Err(TokenError::Keys { uri: uri.to_string(), found: found.len() }),
    }
}

fn refused(uri: &Pkcs11Uri, action: &'static str) -> impl Fn(Pkcs11Error) -> TokenError {
    let uri = uri.to_string();
    move |source| TokenError::Operation { uri: uri.clone(), action, source }
}

#[cfg(test)]
mod tests;
