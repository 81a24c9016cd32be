//! Who asks for answers: what a machine says of itself, as far as it chooses a file.
//!
//! Read with patience: a newer installer may say more, and what is of another type than expected counts as not said. Nothing here
//! is proof of anything; whoever may ask may ask for any machine.

use std::fmt;

use serde_json::Value;

/// A longer identity is refused before it is read.
pub const MAX_IDENTITY: usize = 64 << 10;
const MAX_MACS: usize = 64;
const MAX_TEXT: usize = 256;

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The serial number that its firmware knows.
    pub serial: Option<String>,
    /// The UUID that its firmware knows.
    pub uuid: Option<String>,
    /// The addresses of its network devices.
    pub macs: Vec<String>,
}

/// Why an identity is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Longer than any.
    #[error("it is longer than {MAX_IDENTITY} bytes")]
    TooLong,
    /// No JSON object.
    #[error("it is no JSON object")]
    Shape,
}

impl Identity {
    /// Reads the JSON object that an installation sends. Nothing at all is an identity that says nothing.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadIdentity> {
        if bytes.len() > MAX_IDENTITY {
            return Err(BadIdentity::TooLong);
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let Ok(Value::Object(object)) = serde_json::from_slice(bytes) else { return Err(BadIdentity::Shape) };
        let text = |name: &str| object.get(name).and_then(Value::as_str).and_then(sane);
        let list = |name: &str| object.get(name).and_then(Value::as_array).into_iter().flatten();
        let nics = list("nics").filter_map(|nic| nic.get("mac"));
        let macs = list("macs").chain(nics).filter_map(Value::as_str).filter_map(sane).take(MAX_MACS);
        Ok(Self { serial: text("serial"), uuid: text("uuid"), macs: macs.collect() })
    }

    /// Reads the query of a URL: `serial=…&uuid=…&mac=…`. Escapes are not understood, as none of the three needs any.
    pub fn of_query(query: &str) -> Self {
        let mut identity = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = sane(value);
            match name {
                "serial" => identity.serial = value,
                "uuid" => identity.uuid = value,
                "mac" if identity.macs.len() < MAX_MACS => identity.macs.extend(value),
                _ => {}
            }
        }
        identity
    }

    /// All that it says, in the form in which file names are compared.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.serial.iter().chain(&self.uuid).chain(&self.macs).map(|text| same_form(text))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.names().take(4).collect();
        if names.is_empty() { f.write_str("a machine without a name") } else { f.write_str(&names.join(" ")) }
    }
}

fn sane(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.to_owned())
}

/// Lower case, with `-` for whatever is not a letter, a digit, `.`, `_` or `-`: a serial number with a slash and an address with
/// colons become names that a file can have.
pub fn same_form(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.chars().map(|c| if plain(c) { c.to_ascii_lowercase() } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installation_sends_is_read_and_the_rest_passed_over() {
        let text = br#"{"format":9,"serial":" S/3Z8 ","uuid":7,"macs":["52:54:00:12:34:56",1],
            "nics":[{"mac":"52:54:00:AB:CD:EF"}],"disks":[{"name":"sda"}]}"#;
        let identity = Identity::parse(text).unwrap();
        let names: Vec<String> = identity.names().collect();
        assert_eq!(names, ["s-3z8", "52-54-00-12-34-56", "52-54-00-ab-cd-ef"]);
        assert_eq!(identity.uuid, None);
    }

    #[test]
    fn a_query_says_the_same() {
        let identity = Identity::of_query("mac=52:54:00:12:34:56&serial=S1&x=y&uuid=");
        assert_eq!(identity.names().collect::<Vec<_>>(), ["s1", "52-54-00-12-34-56"]);
        assert_eq!(Identity::of_query(""), Identity::default());
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        assert_eq!(Identity::parse(b"[]"), Err(BadIdentity::Shape));
        assert_eq!(Identity::parse(b"{"), Err(BadIdentity::Shape));
        assert_eq!(Identity::parse(&vec![b' '; MAX_IDENTITY + 1]), Err(BadIdentity::TooLong));
        assert_eq!(Identity::parse(b" \n"), Ok(Identity::default()));
    }

    #[test]
    fn one_machine_cannot_say_without_end() {
        let macs = vec!["\"a\""; 1000].join(",");
        let identity = Identity::parse(format!("{{\"macs\":[{macs}]}}").as_bytes()).unwrap();
        assert_eq!(identity.macs.len(), MAX_MACS);
        let long = format!("{{\"serial\":\"{}\"}}", "x".repeat(MAX_TEXT + 1));
        assert_eq!(Identity::parse(long.as_bytes()).unwrap(), Identity::default());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_names_are_names(bytes: Vec<u8>, text: String) {
            let _ = Identity::parse(&bytes);
            for name in Identity::of_query(&text).names() {
                assert!(!name.contains('/'));
            }
        }
    }
}
