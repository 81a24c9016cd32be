//! What the host is called, and its clock.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenolith_machine::Machine;

use crate::network::{Network, NicName};

/// What the host is called, and its clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name. `{serial}`, `{uuid}` and `{mac}` stand for the machine's own, so that one file serves many. Left out:
    /// `xenolith`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its time zone, such as `Europe/Vienna`. Left out: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The keyboard of its console, such as `de`. Left out: `us`.
    #[serde(default)]
    pub keyboard: Option<String>,
    /// Servers of time. Left out: the distribution's pool.
    #[serde(default)]
    pub time_servers: Vec<String>,
    /// Servers of names. Left out: what DHCP says.
    #[serde(default)]
    pub name_servers: Vec<String>,
}

/// What a machine knows of itself, for names that serve many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// The MAC address of its management interface.
    pub mac: Option<String>,
}

impl Known {
    /// What `machine` knows, with `network` as its management network: the interface that it names, else the one with a link,
    /// else the first.
    pub fn of(machine: &Machine, network: &Network) -> Self {
        let named =
            network.interface.as_deref().or_else(|| Some(network.bond.as_ref()?.members.first()?.as_str()));
        let mac = match named.and_then(NicName::parse) {
            Some(NicName::Mac(mac)) => Some(mac),
            Some(NicName::Name(name)) => {
                machine.nics.iter().find(|nic| nic.name == name).map(|nic| nic.mac.clone())
            }
            None => {
                let linked = machine.nics.iter().find(|nic| nic.link == Some(true));
                linked.or(machine.nics.first()).map(|nic| nic.mac.clone())
            }
        };
        Self { serial: machine.system.serial.clone(), uuid: machine.system.uuid.clone(), mac }
    }
}

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It has other characters, or too many.
    #[error(
        "is no host name: letters, digits and hyphens, in parts of 1 to 63, 64 in all, and not all digits"
    )]
    Form,
    /// The machine lacks what the name is made of.
    #[error("asks for {0}, which this machine does not have")]
    Unknown(&'static str),
}

impl Host {
    /// The name with the machine's own values in it.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn name_on(&self, known: &Known) -> Result<Option<HostName>, BadName> {
        let Some(name) = &self.name else { return Ok(None) };
        let mut name = name.clone();
        let mac = known.mac.as_ref().map(|mac| mac.replace(':', ""));
        for (word, value) in [("{serial}", &known.serial), ("{uuid}", &known.uuid), ("{mac}", &mac)] {
            if name.contains(word) {
                name = name.replace(word, value.as_ref().ok_or(BadName::Unknown(word))?);
            }
        }
        HostName::new(name).map(Some)
    }
}

/// A name of a host (RFC 1123 §2.1), at most 64 characters as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`BadName::Form`].
    pub fn new(name: String) -> Result<Self, BadName> {
        // All digits and dots would read as an address.
        let good = is_dns_name(&name) && name.contains(|c: char| c.is_ascii_alphabetic());
        if good { Ok(Self(name)) } else { Err(BadName::Form) }
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

/// Letters, digits and hyphens in parts of 1 to 63, 64 in all.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 64 && name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, known: &Known) -> Result<String, BadName> {
        let host = Host { name: Some(name.to_owned()), ..Host::default() };
        host.name_on(known).map(|name| name.unwrap().to_string())
    }

    #[test]
    fn a_name_is_made_of_what_the_machine_has() {
        let known = Known { serial: Some("X1".into()), uuid: None, mac: Some("52:54:00:aa:bb:cc".into()) };
        assert_eq!(named("r-{serial}-{mac}.example", &known).unwrap(), "r-X1-525400aabbcc.example");
        assert_eq!(named("{uuid}", &known), Err(BadName::Unknown("{uuid}")));
        let known = Known { serial: Some("not / a name".into()), ..known };
        assert_eq!(named("r-{serial}", &known), Err(BadName::Form));
    }

    #[test]
    fn what_reads_as_an_address_or_as_nothing_is_no_name() {
        for name in ["", "192.0.2.7", "a b", "a\nb", "-a", "a-", "a..b", &"a".repeat(64), &"a.".repeat(33)] {
            assert_eq!(HostName::new(name.to_owned()), Err(BadName::Form), "{name:?}");
        }
        assert!(HostName::new("7.example".to_owned()).is_ok());
    }
}
