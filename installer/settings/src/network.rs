//! The management network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenolith_machine::Nic;

/// The management network: one interface, or several bonded into one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The interface: a MAC address or a name. Left out: the only one with a link.
    #[serde(default)]
    pub interface: Option<String>,
    /// Several interfaces as one, in the place of `interface`.
    #[serde(default)]
    pub bond: Option<Bond>,
    /// The VLAN, 1 to 4094, in which management lies. Left out: untagged.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// IPv4: "dhcp", "none" or a table with `address` and `gateway`.
    #[serde(default)]
    pub ipv4: V4,
    /// IPv6: "none", "auto" (router advertisements), "dhcp" or a table.
    #[serde(default)]
    pub ipv6: V6,
}

/// What is meant where no interface is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implied<'a> {
    /// Every interface asks for an address.
    Every,
    /// This one: the only one, or the only one with a link.
    One(&'a Nic),
    /// Nobody can say.
    Unclear,
}

impl Network {
    /// What is meant on a machine with these interfaces if no interface is named: a VLAN or a fixed address belongs to one of them.
    pub fn implied<'a>(&self, nics: &'a [Nic]) -> Implied<'a> {
        if self.vlan.is_none() && self.ipv4 == V4::By(Addressing::Dhcp) {
            return Implied::Every;
        }
        let linked: Vec<&Nic> = nics.iter().filter(|nic| nic.link == Some(true)).collect();
        match (nics, linked.as_slice()) {
            ([only], _) => Implied::One(only),
            (_, [only]) => Implied::One(only),
            _ => Implied::Unclear,
        }
    }
}

/// Interfaces that work as one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// Its members: MAC addresses or names, at least two.
    pub members: Vec<String>,
    /// How they share the work.
    #[serde(default)]
    pub mode: BondMode,
}

/// How bonded interfaces share the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// By agreement with the switch (IEEE 802.1AX).
    #[default]
    Lacp,
    /// One works, the others wait.
    ActiveBackup,
    /// Sources are spread; the switch knows nothing of it.
    BalanceSlb,
}

/// Words that stand for a way to get an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// From a DHCP server.
    Dhcp,
    /// Not at all.
    None,
    /// From router advertisements; IPv6 only.
    Auto,
}

/// IPv4 of the management network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "not \"dhcp\", \"none\" or a table with `address` and `gateway`")]
pub enum V4 {
    /// By a word.
    By(Addressing),
    /// As told.
    Static(StaticV4),
}

impl Default for V4 {
    fn default() -> Self {
        Self::By(Addressing::Dhcp)
    }
}

/// A fixed IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticV4 {
    /// The address with the length of its prefix: "192.0.2.10/24".
    pub address: String,
    /// The router.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
}

/// IPv6 of the management network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "not \"auto\", \"dhcp\", \"none\" or a table with `address` and `gateway`")]
pub enum V6 {
    /// By a word.
    By(Addressing),
    /// As told.
    Static(StaticV6),
}

impl Default for V6 {
    fn default() -> Self {
        Self::By(Addressing::None)
    }
}

/// A fixed IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticV6 {
    /// The address with the length of its prefix: "2001:db8::10/64".
    pub address: String,
    /// The router.
    #[serde(default)]
    pub gateway: Option<Ipv6Addr>,
}

impl StaticV4 {
    /// The address and the length of its prefix, if that is what the text is.
    pub fn parsed(&self) -> Option<(Ipv4Addr, u8)> {
        prefixed(&self.address, 32)
    }
}

impl StaticV6 {
    /// The address and the length of its prefix, if that is what the text is.
    pub fn parsed(&self) -> Option<(Ipv6Addr, u8)> {
        prefixed(&self.address, 128)
    }
}

/// `192.0.2.10/24`, with a prefix of 1 to `most`.
fn prefixed<A: FromStr>(text: &str, most: u8) -> Option<(A, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| (1..=most).contains(prefix))?;
    Some((address.parse().ok()?, prefix))
}

/// What names an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NicName {
    /// Its MAC address, in lower case.
    Mac(String),
    /// The kernel's name.
    Name(String),
}

impl NicName {
    /// Takes a MAC address with colons, or a name of at most 15 letters, digits, `-`, `_` and `.`, as all names of hardware are.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
        if text.split(':').count() == 6 && text.split(':').all(hex) {
            return Some(Self::Mac(text.to_ascii_lowercase()));
        }
        let good = (1..=15).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        good.then(|| Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_named_by_their_address_or_name() {
        assert_eq!(NicName::parse("52:54:00:AA:bb:cc"), Some(NicName::Mac("52:54:00:aa:bb:cc".into())));
        assert_eq!(NicName::parse("enp3s0f1np1"), Some(NicName::Name("enp3s0f1np1".into())));
        for text in ["", "..", "a/b", "eth0\nName=*", "52:54:00:aa:bb", "*", "sixteen-letters-"] {
            assert_eq!(NicName::parse(text), None, "{text:?}");
        }
    }
}
