//! The SHA-256 of a server's certificate, which stands for trust in exactly that certificate.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Text that is no [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no SHA-256 of a certificate; it has 64 hexadecimal digits, with or without colons between the bytes"
)]
pub struct BadFingerprint;

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    /// 64 digits, or 32 pairs with colons between them as `openssl x509 -fingerprint -sha256` prints.
    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let text = text.as_bytes();
        let step = match text.len() {
            64 => 2,
            95 => 3,
            _ => return Err(BadFingerprint),
        };
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.chunks(step)) {
            let (digits, mark) = pair.split_at(2);
            // `from_str_radix` would take a sign as well.
            if !digits.iter().all(u8::is_ascii_hexdigit) || !matches!(mark, b"" | b":") {
                return Err(BadFingerprint);
            }
            let digits = std::str::from_utf8(digits).map_err(|_| BadFingerprint)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fingerprint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31})$",
            "examples": ["5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_with_and_without_colons() {
        let plain = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        let pairs: Vec<&str> = (0..32).map(|at| &plain[2 * at..2 * at + 2]).collect();
        let read: Fingerprint = plain.parse().unwrap();
        assert_eq!(pairs.join(":").to_uppercase().parse(), Ok(read));
        assert_eq!(read.to_string(), plain);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "5f70", &"+f".repeat(32), &"5 ".repeat(32), &"ä".repeat(32), &"ab ".repeat(32)[..95]]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(BadFingerprint), "{text}");
        }
    }
}
