//! `seed.toml`: what a host is told at its first boot.
//!
//! ```toml
//! hostname = "rack4-host7"
//! ssh_authorized_keys = ["ssh-ed25519 AAAAC3… admin@example"]
//! ```
//! Both may be left out; nothing else may be there. The text comes from whatever was plugged in, so it is bounded
//! first ([`MAX_SEED`]) and taken whole or not at all.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use xenolith_layout::Bytes;

/// A longer seed is refused before it is read.
pub const MAX_SEED: Bytes = Bytes::kib(64);
/// More keys than anybody gives to one host.
const MAX_KEYS: usize = 64;
/// A key with 16384 RSA bits and a long comment fits.
const MAX_KEY: usize = 8192;
/// Key types that sshd takes by default and that are strong today (OpenSSH 10.0, sshd_config(5),
/// PubkeyAcceptedAlgorithms; `ssh-rsa` keys sign with SHA-2).
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// What a seed says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// The host's name, if it gets another one.
    pub host_name: Option<HostName>,
    /// Who may come in over SSH as root. Empty: SSH stays off.
    pub keys: Vec<SshKey>,
}

/// Why a seed is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadSeed {
    /// Longer than [`MAX_SEED`].
    #[error("the seed is longer than {MAX_SEED}")]
    TooLong,
    /// Not UTF-8.
    #[error("the seed is not text")]
    NotText,
    /// Not TOML, or not the keys that a seed has.
    #[error("{0}")]
    Toml(String),
    /// No host name.
    #[error("hostname = {0:?} is no host name: letters, digits and hyphens in parts of 1 to 63, 64 in all")]
    HostName(String),
    /// Too many keys.
    #[error("ssh_authorized_keys has {0} entries; {MAX_KEYS} are enough")]
    TooManyKeys(usize),
    /// A key that is none.
    #[error("ssh_authorized_keys[{index}]: {why}")]
    Key {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it. Never the key itself.
        why: BadKey,
    },
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Several lines, or control characters.
    #[error("a key is one line of printable text")]
    NotOneLine,
    /// Longer than any key.
    #[error("longer than {MAX_KEY} characters")]
    TooLong,
    /// A type that sshd does not take, or options before it.
    #[error(
        "starts with no key type that is accepted (ssh-ed25519, ecdsa-sha2-…, ssh-rsa, sk-…); options are not"
    )]
    Type,
    /// The second word is not base64.
    #[error("its second word is not base64")]
    Base64,
    /// The second word is base64 of something else.
    #[error("what is encoded is not a key of that type")]
    Content,
}

/// The form on disk. Unknown keys are errors: a typing mistake must not end as a host without access.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    hostname: Option<String>,
    #[serde(default)]
    ssh_authorized_keys: Vec<String>,
}

impl Seed {
    /// Reads a seed.
    ///
    /// # Errors
    /// [`BadSeed`]; nothing of a seed with a mistake is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSeed> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_SEED.get()) {
            return Err(BadSeed::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadSeed::NotText)?;
        let form: Form = toml::from_str(text).map_err(|error| BadSeed::Toml(said(text, &error)))?;
        if form.ssh_authorized_keys.len() > MAX_KEYS {
            return Err(BadSeed::TooManyKeys(form.ssh_authorized_keys.len()));
        }
        let keys = form.ssh_authorized_keys.iter().enumerate();
        Ok(Self {
            host_name: form.hostname.map(HostName::new).transpose()?,
            keys: keys
                .map(|(index, key)| SshKey::new(key).map_err(|why| BadSeed::Key { index, why }))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// `line 3: ` and what is wrong. Neither the line nor a value that the parser quotes: either may be a key.
fn said(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place =
        before.map(|before| format!("line {}: ", before.matches('\n').count() + 1)).unwrap_or_default();
    let message = error.message();
    let quoted = message.find('"').zip(message.rfind('"')).filter(|(first, last)| first < last);
    match quoted.and_then(|(first, last)| Some((message.get(..=first)?, message.get(last..)?))) {
        Some((head, tail)) => format!("{place}{head}…{tail}"),
        None => format!("{place}{message}"),
    }
}

/// A name of a host (RFC 1123 §2.1), at most 64 characters as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    fn new(name: String) -> Result<Self, BadSeed> {
        let part = |part: &str| {
            (1..=63).contains(&part.len())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        // All digits and dots would read as an address.
        let good =
            name.len() <= 64 && name.split('.').all(part) && name.contains(|c: char| c.is_ascii_alphabetic());
        if good { Ok(Self(name)) } else { Err(BadSeed::HostName(name)) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of `authorized_keys`: type, key and perhaps a comment.
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey {
    line: String,
}

impl SshKey {
    fn new(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        if text.len() > MAX_KEY {
            return Err(BadKey::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadKey::NotOneLine);
        }
        let mut words = text.split_whitespace();
        let kind = words.next().filter(|kind| KEY_TYPES.contains(kind)).ok_or(BadKey::Type)?;
        let blob = STANDARD.decode(words.next().ok_or(BadKey::Base64)?).map_err(|_| BadKey::Base64)?;
        // RFC 4253 §6.6: the encoded key begins with its type, a string with its length in four bytes.
        let named = blob.get(4..).and_then(|rest| rest.get(..kind.len()));
        let length = blob.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let whole = length.and_then(|length| usize::try_from(length).ok()) == Some(kind.len())
            && named == Some(kind.as_bytes())
            && blob.len() > 4 + kind.len();
        if whole { Ok(Self { line: text.to_owned() }) } else { Err(BadKey::Content) }
    }

    /// The line for `authorized_keys`, without its end.
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// Type and comment: enough to tell keys apart in a log, without the key.
impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.line.splitn(3, char::is_whitespace);
        let kind = words.next().unwrap_or_default();
        match words.nth(1) {
            Some(comment) => write!(f, "{kind} … {}", comment.trim()),
            None => write!(f, "{kind} …"),
        }
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";

    #[test]
    fn a_key_is_never_printed_whole() {
        let key = SshKey::new(KEY).unwrap();
        assert_eq!(key.to_string(), "ssh-ed25519 … admin@example");
        assert_eq!(format!("{key:?}"), "SshKey(ssh-ed25519 … admin@example)");
        assert_eq!(key.line(), KEY);
    }

    #[test]
    fn a_mistake_in_the_toml_names_its_line_and_shows_no_key() {
        let error = Seed::parse(format!("hostname = \"a\"\nssh_authorized_keys = [\"{KEY}]\n").as_bytes());
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("line 2: "), "{text}");
        assert!(!text.contains("AAAAC3"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = Seed::parse(b"host_name = \"a\"\n").unwrap_err().to_string();
        assert!(text.contains("host_name"), "{text}");
    }

    #[test]
    fn a_long_seed_is_refused() {
        assert!(matches!(Seed::parse(&vec![b'#'; 64 * 1024 + 1]), Err(BadSeed::TooLong)));
        assert!(Seed::parse(&vec![b'\n'; 64 * 1024]).is_ok());
    }
}
