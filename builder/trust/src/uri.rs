//! PKCS#11 URIs (RFC 7512): which key in which token, through which module.
//!
//! `pkcs11:token=Xenolith;object=db?module-path=/usr/lib/…/libsofthsm2.so&pin-source=file:/run/pin`
//!
//! Path attributes narrow down the token and the key; every one that is given must match. An attribute that we do not know is
//! an error in the path, since passing it over could select another key; in the query only vendors' own (`x-…`) are passed
//! over. A PIN in the URI is kept as a secret: neither `Display` nor `Debug` shows it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Where to look for a key.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pkcs11Uri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's maker.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The slot's number.
    pub slot_id: Option<u64>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id: any bytes.
    pub id: Option<Vec<u8>>,
    /// The shared library that talks to the token.
    pub module_path: Option<PathBuf>,
    /// A file that holds the PIN.
    pub pin_source: Option<PathBuf>,
    pin_value: Option<Zeroizing<String>>,
}

/// Why text is not a PKCS#11 URI that we can use. The text itself is not repeated, as it may hold a PIN.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It starts otherwise.
    #[error("a PKCS#11 URI starts with 'pkcs11:'")]
    Scheme,
    /// There is no `=`.
    #[error("an attribute of a PKCS#11 URI has no value")]
    NoValue,
    /// An attribute that would be ignored.
    #[error("the PKCS#11 attribute '{0}' is not known")]
    Unknown(String),
    /// An attribute given twice.
    #[error("the PKCS#11 attribute '{0}' is given twice")]
    Twice(String),
    /// A value that its attribute cannot have.
    #[error("the PKCS#11 attribute '{0}' has an impossible value")]
    Value(String),
}

impl Pkcs11Uri {
    /// The PIN, if the URI holds it.
    pub fn pin_value(&self) -> Option<&Zeroizing<String>> {
        self.pin_value.as_ref()
    }

    fn set_path(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        let text = || text(name, value);
        match name {
            "token" => once(&mut self.token, name, text()?),
            "manufacturer" => once(&mut self.manufacturer, name, text()?),
            "model" => once(&mut self.model, name, text()?),
            "serial" => once(&mut self.serial, name, text()?),
            "object" => once(&mut self.object, name, text()?),
            "id" => once(&mut self.id, name, bytes(name, value)?),
            "slot-id" => {
                once(&mut self.slot_id, name, text()?.parse().map_err(|_| UriError::Value(name.into()))?)
            }
            // We only ever look for private keys.
            "type" if value == "private" => Ok(()),
            "type" => Err(UriError::Value(name.into())),
            _ => Err(UriError::Unknown(name.into())),
        }
    }

    fn set_query(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        match name {
            "module-path" => once(&mut self.module_path, name, PathBuf::from(text(name, value)?)),
            "pin-value" => once(&mut self.pin_value, name, Zeroizing::new(text(name, value)?)),
            "pin-source" => {
                let source = text(name, value)?;
                let path = source.strip_prefix("file://").or(source.strip_prefix("file:")).unwrap_or(&source);
                // RFC 7512 also allows "|program"; running one is not for us.
                if !path.starts_with('/') {
                    return Err(UriError::Value(name.into()));
                }
                once(&mut self.pin_source, name, PathBuf::from(path))
            }
            _ if name.starts_with("x-") => Ok(()),
            _ => Err(UriError::Unknown(name.into())),
        }
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        let rest = uri.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parsed = Self::default();
        for attribute in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or(UriError::NoValue)?;
            parsed.set_path(name, value)?;
        }
        for attribute in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or(UriError::NoValue)?;
            parsed.set_query(name, value)?;
        }
        Ok(parsed)
    }
}

/// Renders the URI without a PIN.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot_id.map(|slot| slot.to_string());
        let path = [
            ("token", self.token.as_deref().map(str::as_bytes)),
            ("manufacturer", self.manufacturer.as_deref().map(str::as_bytes)),
            ("model", self.model.as_deref().map(str::as_bytes)),
            ("serial", self.serial.as_deref().map(str::as_bytes)),
            ("slot-id", slot.as_deref().map(str::as_bytes)),
            ("object", self.object.as_deref().map(str::as_bytes)),
            ("id", self.id.as_deref()),
        ];
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let query = [("module-path", file(&self.module_path)), ("pin-source", file(&self.pin_source))];
        let render =
            |(name, value): (&str, Option<&[u8]>)| value.map(|value| format!("{name}={}", escape(value)));
        let path: Vec<String> = path.into_iter().filter_map(render).collect();
        let query: Vec<String> =
            query.iter().filter_map(|(n, v)| render((n, v.as_deref().map(str::as_bytes)))).collect();
        write!(f, "pkcs11:{}", path.join(";"))?;
        if query.is_empty() { Ok(()) } else { write!(f, "?{}", query.join("&")) }
    }
}

impl fmt::Debug for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Uri({self}{})", if self.pin_value.is_some() { ", PIN hidden" } else { "" })
    }
}

fn once<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), UriError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name.into())),
    }
}

fn text(name: &str, value: &str) -> Result<String, UriError> {
    String::from_utf8(bytes(name, value)?).map_err(|_| UriError::Value(name.into()))
}

/// Undoes percent-encoding.
fn bytes(name: &str, value: &str) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let (digits, tail) = tail.split_at_checked(2).ok_or_else(|| UriError::Value(name.into()))?;
            decoded.extend(hex::decode(digits).map_err(|_| UriError::Value(name.into()))?);
            rest = tail;
        } else {
            decoded.push(first);
            rest = tail;
        }
    }
    Ok(decoded)
}

fn escape(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    bytes
        .iter()
        .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_module_and_pin() {
        let uri: Pkcs11Uri = "pkcs11:token=My%20Token;object=db;id=%00%ff;type=private;slot-id=7\
                              ?module-path=/usr/lib/m.so&pin-source=file:///run/pin&x-ours=1"
            .parse()
            .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My Token"));
        assert_eq!(uri.object.as_deref(), Some("db"));
        assert_eq!(uri.id, Some(vec![0, 0xff]));
        assert_eq!(uri.slot_id, Some(7));
        assert_eq!(uri.module_path, Some("/usr/lib/m.so".into()));
        assert_eq!(uri.pin_source, Some("/run/pin".into()));
    }

    #[test]
    fn a_pin_is_read_and_never_shown() {
        let uri: Pkcs11Uri = "pkcs11:token=t?pin-value=12%3334".parse().unwrap();
        assert_eq!(uri.pin_value().unwrap().as_str(), "12334");
        assert_eq!(uri.to_string(), "pkcs11:token=t");
        assert_eq!(format!("{uri:?}"), "Pkcs11Uri(pkcs11:token=t, PIN hidden)");
    }

    #[test]
    fn what_could_select_another_key_is_refused() {
        let reject = |text: &str| text.parse::<Pkcs11Uri>().unwrap_err();
        assert_eq!(reject("http://x"), UriError::Scheme);
        assert_eq!(reject("pkcs11:token"), UriError::NoValue);
        assert_eq!(reject("pkcs11:tokn=a"), UriError::Unknown("tokn".into()));
        assert_eq!(reject("pkcs11:x-vendor=a"), UriError::Unknown("x-vendor".into()));
        assert_eq!(reject("pkcs11:token=a;token=b"), UriError::Twice("token".into()));
        assert_eq!(reject("pkcs11:type=public"), UriError::Value("type".into()));
        assert_eq!(reject("pkcs11:token=%zz"), UriError::Value("token".into()));
        assert_eq!(reject("pkcs11:token=%f"), UriError::Value("token".into()));
        assert_eq!(reject("pkcs11:token=%ff"), UriError::Value("token".into()));
        assert_eq!(reject("pkcs11:slot-id=x"), UriError::Value("slot-id".into()));
        assert_eq!(reject("pkcs11:?pin-source=|sh"), UriError::Value("pin-source".into()));
        assert_eq!(reject("pkcs11:?module-name=softhsm"), UriError::Unknown("module-name".into()));
    }

    proptest::proptest! {
        #[test]
        fn parsing_what_was_rendered_gives_the_same_uri(token: Option<String>, object: String, id: Vec<u8>, slot_id: Option<u64>) {
            let uri = Pkcs11Uri { token, object: Some(object), id: Some(id), slot_id, ..Pkcs11Uri::default() };
            proptest::prop_assert_eq!(uri.to_string().parse::<Pkcs11Uri>().unwrap(), uri);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<Pkcs11Uri>();
            let _ = format!("pkcs11:{text}").parse::<Pkcs11Uri>();
        }
    }
}
