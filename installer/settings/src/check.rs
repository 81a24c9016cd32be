//! What types cannot see, all of it at once.

use std::fmt;

use crate::VERSION;
use crate::access::{Access, SshKey};
use crate::host::{Host, Known, is_dns_name};
use crate::network::{Addressing, Network, NicName, V4, V6};
use crate::settings::Settings;
use crate::storage::LocalStorage;

/// More partitions than a host has disks.
const MAX_PARTS: usize = 256;
/// Names are for people: one line that a screen can show.
const MAX_STORAGE_NAME: usize = 64;
/// Users of a directory service come with its name.
const MAX_USER: usize = 64;
/// More keys than anybody gives to one host.
const MAX_KEYS: usize = 64;
/// Hashes that crypt(5) calls strong enough for new passwords.
const HASHES: &[&str] = &["$y$", "$gy$", "$7$", "$2b$", "$6$", "$5$"];

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `network.vlan`.
    pub at: String,
    /// What is wrong, without the value.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Mistakes, collected under their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One more.
    pub fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem { at: at.into(), what: what.into() });
    }

    /// One more, unless something holds.
    pub fn unless(&mut self, holds: bool, at: &str, what: &str) {
        if !holds {
            self.add(at, what);
        }
    }
}

impl Settings {
    /// Adds every mistake that can be seen without a machine.
    pub fn check(&self, problems: &mut Problems) {
        problems.unless(self.version == VERSION, "version", "this program reads version 1");
        network(&self.network, problems);
        host(&self.host, problems);
        access(&self.access, problems);
        if let Some(local) = &self.storage {
            storage(local, problems);
        }
        if let Some(pool) = &self.pool {
            let join = &pool.join;
            let server = join.parse::<std::net::IpAddr>().is_ok() || is_dns_name(join);
            problems.unless(server, "pool.join", "has to be the name or address of a host");
            let name = |user: &String| {
                (1..=MAX_USER).contains(&user.len()) && user.chars().all(|c| c.is_ascii_graphic())
            };
            problems.unless(
                pool.user.as_ref().is_none_or(name),
                "pool.user",
                "has to be the name of a user: 1 to 64 characters without spaces",
            );
        }
    }
}

fn network(network: &Network, problems: &mut Problems) {
    if let Some(bond) = &network.bond {
        problems.unless(network.interface.is_none(), "network.interface", "cannot stand beside `bond`");
        problems.unless(
            bond.members.len() >= 2,
            "network.bond.members",
            "has to name at least two interfaces",
        );
        let mut sorted: Vec<String> = bond.members.iter().map(|member| member.to_ascii_lowercase()).collect();
        sorted.sort();
        sorted.dedup();
        problems.unless(
            sorted.len() == bond.members.len(),
            "network.bond.members",
            "names an interface twice",
        );
    }
    let members =
        network.bond.iter().flat_map(|bond| &bond.members).map(|name| ("network.bond.members", name));
    for (at, name) in network.interface.iter().map(|name| ("network.interface", name)).chain(members) {
        problems.unless(
            NicName::parse(name).is_some(),
            at,
            "has to be a MAC address or the name of an interface",
        );
    }
    let vlan = network.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan));
    problems.unless(vlan, "network.vlan", "has to be 1 to 4094");
    match &network.ipv4 {
        V4::By(Addressing::Auto) => problems.add("network.ipv4", "\"auto\" is for IPv6; say \"dhcp\""),
        V4::By(Addressing::Dhcp | Addressing::None) => {}
        V4::Static(fixed) => match fixed.parsed() {
            None => problems.add(
                "network.ipv4.address",
                "has to be an address with a prefix length, such as 192.0.2.10/24",
            ),
            Some((address, prefix)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                let same = |gateway: std::net::Ipv4Addr| gateway.to_bits() & mask == address.to_bits() & mask;
                let reachable = fixed.gateway.is_none_or(same);
                problems.unless(reachable, "network.ipv4.gateway", "lies outside of the address's network");
            }
        },
    }
    match &network.ipv6 {
        V6::By(_) => {}
        V6::Static(fixed) => {
            problems.unless(
                fixed.parsed().is_some(),
                "network.ipv6.address",
                "has to be an address with a prefix length, such as 2001:db8::10/64",
            );
        }
    }
    let none = network.ipv4 == V4::By(Addressing::None) && network.ipv6 == V6::By(Addressing::None);
    problems.unless(!none, "network", "without IPv4 and IPv6 the host cannot be reached");
}

fn host(host: &Host, problems: &mut Problems) {
    // The machine's own values are as they are; what is around them has to fit.
    let value = || Some("x".to_owned());
    let known = Known { serial: value(), uuid: value(), mac: value() };
    if let Err(why) = host.name_on(&known) {
        problems.add("host.name", why.to_string());
    }
    if let Some(zone) = &host.time_zone {
        let part = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
        };
        problems.unless(
            zone.split('/').all(part) && zone.len() <= 64,
            "host.time_zone",
            "is no name of a time zone, such as Europe/Vienna",
        );
    }
    if let Some(keyboard) = &host.keyboard {
        let right = !keyboard.is_empty()
            && keyboard.len() <= 32
            && keyboard.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        problems.unless(right, "host.keyboard", "is no name of a keyboard, such as de");
    }
    let server = |server: &String| server.parse::<std::net::IpAddr>().is_ok() || is_dns_name(server);
    problems.unless(
        host.time_servers.iter().all(server),
        "host.time_servers",
        "has to be names or addresses",
    );
    let address = |server: &String| server.parse::<std::net::IpAddr>().is_ok();
    problems.unless(host.name_servers.iter().all(address), "host.name_servers", "has to be addresses");
}

fn access(access: &Access, problems: &mut Problems) {
    if let Some(hash) = &access.root_password_hash {
        let known = HASHES.iter().any(|start| hash.starts_with(start));
        let clean = hash.len() <= 256 && hash.chars().all(|c| c.is_ascii_graphic() && c != ':');
        problems.unless(
            known && clean,
            "access.root_password_hash",
            "is no strong hash of crypt(5), such as `mkpasswd` prints; a password does not belong here",
        );
    }
    problems.unless(access.ssh_keys.len() <= MAX_KEYS, "access.ssh_keys", "has more than 64 keys");
    for (index, key) in access.ssh_keys.iter().enumerate().take(MAX_KEYS) {
        if let Err(why) = SshKey::new(key) {
            problems.add(format!("access.ssh_keys[{index}]"), why.to_string());
        }
    }
}

fn storage(storage: &LocalStorage, problems: &mut Problems) {
    let name = &storage.name;
    let shown = (1..=MAX_STORAGE_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    problems.unless(shown, "storage.name", "has to be one line of 1 to 64 characters");
    let parts = &storage.parts;
    problems.unless(
        (1..=MAX_PARTS).contains(&parts.len()),
        "storage.parts",
        "has to name at least one partition, and at most 256",
    );
    let mut sorted = parts.clone();
    sorted.sort_unstable();
    sorted.dedup();
    problems.unless(sorted.len() == parts.len(), "storage.parts", "names a partition twice");
    problems.unless(
        !storage.mirror || parts.len() == 2,
        "storage.mirror",
        "takes two partitions, no more and no fewer",
    );
}
