//! What types cannot see, all of it at once.

use std::fmt;

use crate::disk_rule::DiskRule;
use crate::network::{Addressing, Network, V4, V6};
use crate::size::Size;
use crate::types::{Access, Answers, Host, StorageKind};
use xenolith_layout::disk::STATE_MIN;

/// The format that this program reads.
const VERSION: u32 = 1;
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

/// Collects problems under their places.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem { at: at.into(), what: what.into() });
    }

    fn unless(&mut self, holds: bool, at: &str, what: &str) {
        if !holds {
            self.add(at, what);
        }
    }
}

impl Answers {
    /// Every mistake that can be seen without a machine.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        problems.unless(self.version == VERSION, "version", "this program reads version 1");
        targets(self, &mut problems);
        network(&self.network, &mut problems);
        host(&self.host, &mut problems);
        access(&self.access, &mut problems);
        if let Some(url) = &self.finish.report_to {
            let web = url.starts_with("https://") || url.starts_with("http://");
            problems.unless(web, "finish.report_to", "has to be an http or https URL");
        }
        problems.0
    }
}

fn targets(answers: &Answers, problems: &mut Problems) {
    let target = &answers.target;
    problems.unless(
        (1..=2).contains(&target.disks.len()),
        "target.disks",
        "has to have one rule, or two for a mirror",
    );
    for (index, rule) in target.disks.iter().enumerate() {
        rule_problems(&format!("target.disks[{index}]"), rule, problems);
        problems.unless(rule.count == 1, "target.disks", "each rule matches one disk; leave `count` out");
    }
    let enough = target.state.is_none_or(|Size(state)| state >= STATE_MIN);
    problems.unless(enough, "target.state", &format!("has to be at least {STATE_MIN}"));
    for (index, rule) in answers.storage.disks.iter().enumerate() {
        rule_problems(&format!("storage.disks[{index}]"), rule, problems);
    }
    let pointless = answers.storage.kind == StorageKind::None && !answers.storage.disks.is_empty();
    problems.unless(!pointless, "storage.kind", "is \"none\", but disks are given; say \"lvm\" or \"ext\"");
}

fn rule_problems(at: &str, rule: &DiskRule, problems: &mut Problems) {
    problems.unless(!rule.is_empty(), at, "says nothing about the disk");
    problems.unless(rule.count > 0, at, "`count` has to be at least 1");
    problems.unless(rule.pick.is_none() || rule.count == 1, at, "`pick` chooses one disk; leave `count` out");
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
    let vlan = network.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan));
    problems.unless(vlan, "network.vlan", "has to be 1 to 4094");
    match &network.ipv4 {
        V4::By(Addressing::Auto) => problems.add("network.ipv4", "\"auto\" is for IPv6; say \"dhcp\""),
        V4::By(Addressing::Dhcp | Addressing::None) => {}
        V4::Static(fixed) => match address::<std::net::Ipv4Addr>(&fixed.address, 32) {
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
            let right = address::<std::net::Ipv6Addr>(&fixed.address, 128).is_some();
            problems.unless(
                right,
                "network.ipv6.address",
                "has to be an address with a prefix length, such as 2001:db8::10/64",
            );
        }
    }
    let none = network.ipv4 == V4::By(Addressing::None) && network.ipv6 == V6::By(Addressing::None);
    problems.unless(!none, "network", "without IPv4 and IPv6 the host cannot be reached");
}

/// `192.0.2.10/24`, with a prefix of 1 to `most`.
fn address<A: std::str::FromStr>(text: &str, most: u8) -> Option<(A, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| (1..=most).contains(prefix))?;
    Some((address.parse().ok()?, prefix))
}

fn host(host: &Host, problems: &mut Problems) {
    if let Some(name) = &host.name {
        // The machine's own values are as long as they are; what is around them has to fit.
        let plain =
            ["{serial}", "{uuid}", "{mac}"].iter().fold(name.clone(), |name, word| name.replace(word, "x"));
        problems.unless(
            is_host_name(&plain),
            "host.name",
            "is no host name: letters, digits and hyphens, in parts of 1 to 63, 64 in all",
        );
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
    let server = |server: &String| server.parse::<std::net::IpAddr>().is_ok() || is_host_name(server);
    problems.unless(
        host.time_servers.iter().all(server),
        "host.time_servers",
        "has to be names or addresses",
    );
    let address = |server: &String| server.parse::<std::net::IpAddr>().is_ok();
    problems.unless(host.name_servers.iter().all(address), "host.name_servers", "has to be addresses");
}

/// RFC 1123 §2.1, at most 64 characters as the kernel has it.
fn is_host_name(name: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 64 && name.split('.').all(part)
}

fn access(access: &Access, problems: &mut Problems) {
    let some = access.root_password_hash.is_some() || !access.ssh_keys.is_empty();
    problems.unless(some, "access", "nobody could come in: give root_password_hash, ssh_keys or both");
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
    for (index, key) in access.ssh_keys.iter().enumerate() {
        let at = format!("access.ssh_keys[{index}]");
        let line = key.len() <= 8192 && !key.contains(|c: char| c.is_control());
        let words = key.split(' ').count() >= 2;
        let kind = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-nistp", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"];
        let known = kind.iter().any(|kind| key.starts_with(kind));
        problems.unless(
            line && words && known,
            &at,
            "is no public key for SSH: one line that begins with ssh-ed25519, ssh-rsa, ecdsa-sha2-… or sk-…",
        );
    }
}
