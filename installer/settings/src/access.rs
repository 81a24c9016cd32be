//! Who may come in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The shortest password that somebody may choose on a screen. It keeps nobody out who can try at leisure, and stops a slip of the hand.
pub const SHORTEST_PASSWORD: usize = 8;

/// Who may come in. One of the two has to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// root's password as crypt(5) hashes it: `$y$…` or `$6$…`, from `mkpasswd`. Never the password.
    #[serde(default)]
    pub root_password_hash: Option<String>,
    /// Public keys for SSH as root, one line each. With none SSH stays off.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
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

/// One line of `authorized_keys`: type, key and perhaps a comment.
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey {
    line: String,
}

impl SshKey {
    /// Takes a line of `authorized_keys` without options.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(text: &str) -> Result<Self, BadKey> {
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

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_key_of_two_lines(text: String) {
            if let Ok(key) = SshKey::new(&text) {
                proptest::prop_assert!(!key.line().contains(['\n', '\r']));
            }
        }
    }
}
