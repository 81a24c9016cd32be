//! What a person fills in, and the answers that follow from it.

use std::collections::BTreeMap;
use std::str::FromStr;

use xenolith_answers::{
    Answers, DiskRule, Encryption, Ending, Finish, Keep, KeepAll, Storage, StorageKind, Target, hash_password,
};
use xenolith_installer::Product;
use xenolith_layout::Bytes;
use xenolith_machine::{Disk, Machine};
use xenolith_settings::{
    Access, Addressing, Bond, BondMode, Host, Implied, Network, Pool, Problem, Problems, SHORTEST_PASSWORD,
    StaticV4, StaticV6, V4, V6, VERSION,
};

/// From here on a disk is more than a system needs, and what is left of it becomes storage unless somebody says otherwise.
const ROOMY: Bytes = Bytes::gib(64);

/// Everything that can be filled in, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The chosen disks, by their places in the machine's list: one, or two that mirror each other.
    pub disks: Vec<usize>,
    /// Whether everything but access stays as it is proposed, and is not asked for.
    pub short: bool,
    /// What becomes of storage for guests: one of [`Form::storage_ways`]. Not chosen: what suits the disks.
    pub storage: Option<StorageKind>,
    /// What can be kept of the hosts that are on disks, a line each, by the places of the disks in the machine's list.
    pub formers: BTreeMap<usize, Vec<String>>,
    /// What becomes of those settings: one of [`SETTINGS_WAYS`].
    pub settings: usize,
    /// Disks that storage gets besides.
    pub storage_disks: Vec<usize>,
    /// Whether the state is encrypted: one of [`ENCRYPTION_WAYS`].
    pub encryption: usize,
    /// The console's keyboard; empty for the one that every host has.
    pub keyboard: String,
    /// The management interface: 0 for every one, else its place in the machine's list and one; behind all of them a bond.
    pub interface: usize,
    /// The bond's members, by their places in the machine's list.
    pub bond: Vec<usize>,
    /// How they share the work: one of [`BOND_MODES`].
    pub bond_mode: usize,
    /// The VLAN.
    pub vlan: String,
    /// How IPv4 addresses come: one of [`V4_WAYS`].
    pub v4: usize,
    /// An IPv4 address with the length of its prefix.
    pub v4_address: String,
    /// The IPv4 router.
    pub v4_gateway: String,
    /// How IPv6 addresses come: one of [`V6_WAYS`].
    pub v6: usize,
    /// An IPv6 address with the length of its prefix.
    pub v6_address: String,
    /// The IPv6 router.
    pub v6_gateway: String,
    /// The host's name.
    pub name: String,
    /// Servers of names, separated by spaces or commas.
    pub name_servers: String,
    /// Servers of time, likewise.
    pub time_servers: String,
    /// The time zone.
    pub time_zone: String,
    /// root's password.
    pub password: String,
    /// The same again.
    pub password_again: String,
    /// Public keys for SSH; empty ones do not count.
    pub ssh_keys: Vec<String>,
    /// One of [`POOL_WAYS`].
    pub pool: usize,
    /// A host of the pool.
    pub pool_address: String,
    /// Who vouches for this host there.
    pub pool_user: String,
    /// That user's password. It is no part of the answers.
    pub pool_password: String,
    /// The SHA-256 of that host's certificate.
    pub pool_fingerprint: String,
    /// Where logs are sent to.
    pub records_url: String,
}

/// As many keys for SSH as can be typed; a file of answers takes more.
pub const SSH_KEYS: usize = 8;
/// Ways to an IPv4 address.
pub const V4_WAYS: [&str; 3] = ["from DHCP", "fixed", "none"];
/// Ways to an IPv6 address.
pub const V6_WAYS: [&str; 4] = ["none", "from router advertisements", "from DHCP", "fixed"];
/// Whether what the host knows is encrypted, where there is a TPM to keep the key.
pub const ENCRYPTION_WAYS: [(Encryption, &str); 2] =
    [(Encryption::None, "is not encrypted"), (Encryption::Tpm, "is encrypted; this machine's TPM opens it")];
/// What becomes of the settings of a host that is there.
pub const SETTINGS_WAYS: [&str; 2] = ["are kept", "are asked for anew"];
/// Whether the host joins a pool.
pub const POOL_WAYS: [&str; 2] = ["stands alone", "joins a pool"];
/// Which of them takes an address and the rest.
pub const POOL_JOINS: usize = 1;
/// How bonded interfaces can share the work.
pub const BOND_MODES: [(BondMode, &str); 2] = [
    (BondMode::Lacp, "LACP (802.3ad), which the switch has to agree to"),
    (BondMode::ActiveBackup, "active-backup: one works, the others wait"),
];
/// Which of them takes an address.
pub const V4_FIXED: usize = 1;
/// Likewise.
pub const V6_FIXED: usize = 3;

impl Form {
    /// What can be kept of the host on the chosen disks: of a single one, which may lie on both.
    pub fn former(&self) -> Option<&[String]> {
        let mut found = self.disks.iter().filter_map(|disk| self.formers.get(disk));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first.as_slice())
    }

    /// Whether this disk would be taken, nothing is to be kept of it, and nothing else was changed but the keyboard and who may come in.
    pub fn is_as_proposed(&self, disk: usize) -> bool {
        let proposed = Self {
            disks: vec![disk],
            short: self.short,
            keyboard: self.keyboard.clone(),
            password: self.password.clone(),
            password_again: self.password_again.clone(),
            ssh_keys: self.ssh_keys.clone(),
            ..Self::default()
        };
        *self == proposed
    }

    /// How the state is encrypted.
    pub fn encryption(&self) -> Encryption {
        ENCRYPTION_WAYS[self.encryption].0
    }

    /// Whether settings are kept and so not asked for.
    pub fn keeps_settings(&self) -> bool {
        self.former().is_some() && self.settings == 0
    }

    /// What can become of storage for guests on the chosen disks.
    pub fn storage_ways(&self, machine: &Machine) -> Vec<StorageKind> {
        let mut ways = vec![StorageKind::None, StorageKind::Lvm, StorageKind::Ext];
        let stays = |disk: &Disk| {
            xenolith_installer::found(disk)
                .is_some_and(|found| found.product == Product::Xenolith && found.storage.is_some())
        };
        let mut chosen = self.disks.iter().filter_map(|index| machine.disks.get(*index)).peekable();
        if chosen.peek().is_some() && chosen.all(stays) {
            ways.push(StorageKind::Keep);
        }
        ways
    }

    /// What was chosen, or else what suits the disks: storage that is there stays, and a large disk gets some.
    pub fn storage_kind(&self, machine: &Machine) -> StorageKind {
        let ways = self.storage_ways(machine);
        if let Some(chosen) = self.storage.filter(|chosen| ways.contains(chosen)) {
            return chosen;
        }
        let roomy = |index: &usize| machine.disks.get(*index).is_some_and(|disk| disk.size >= ROOMY);
        match ways.contains(&StorageKind::Keep) {
            true => StorageKind::Keep,
            false if !self.disks.is_empty() && self.disks.iter().all(roomy) => StorageKind::Lvm,
            false => StorageKind::None,
        }
    }

    /// The answers as far as they can be understood, without the password; `add` hears of every mistake under the key of its field.
    pub(crate) fn unchecked(&self, machine: &Machine, add: &mut dyn FnMut(&str, String)) -> Answers {
        let rules = |chosen: &[usize]| -> Vec<DiskRule> {
            chosen.iter().filter_map(|index| machine.disks.get(*index)).map(DiskRule::naming).collect()
        };
        let disks = rules(&self.disks);
        if disks.is_empty() {
            add("disk", "choose the disk that the system goes to".to_owned());
        }
        let kind = self.storage_kind(machine);
        if kind == StorageKind::Keep {
            let chosen: Vec<&Disk> =
                self.disks.iter().filter_map(|index| machine.disks.get(*index)).collect();
            if let Err(error) = xenolith_installer::can_keep(&chosen) {
                add("storage", error.to_string());
            }
        }
        let storage_disks = match kind {
            StorageKind::Lvm | StorageKind::Ext => rules(&self.storage_disks),
            StorageKind::None | StorageKind::Keep => Vec::new(),
        };
        let interface = self.interface.checked_sub(1).and_then(|index| machine.nics.get(index));
        let mac = |index: &usize| machine.nics.get(*index).map(|nic| nic.mac.clone());
        let bond = self.is_bond(machine).then(|| Bond {
            members: self.bond.iter().filter_map(mac).collect(),
            mode: BOND_MODES[self.bond_mode].0,
        });
        if self.keeps_settings() {
            return Answers {
                version: VERSION,
                target: Target { disks, erase: true, state: None, encryption: self.encryption() },
                storage: Storage { kind, disks: storage_disks },
                kept: Some(Keep::All(KeepAll::Keep)),
                network: Network::default(),
                host: Host::default(),
                access: Access::default(),
                pool: self.pool(add),
                finish: Finish { then: Ending::Stay, ..Finish::default() },
            };
        }
        Answers {
            version: VERSION,
            kept: None,
            // Whoever confirms the summary has seen what is lost.
            target: Target { disks, erase: true, state: None, encryption: self.encryption() },
            storage: Storage { kind, disks: storage_disks },
            network: Network {
                interface: interface.map(|nic| nic.mac.clone()),
                bond,
                vlan: self.vlan(add),
                ipv4: self.ipv4(add),
                ipv6: self.ipv6(add),
            },
            host: Host {
                name: filled(&self.name),
                time_zone: filled(&self.time_zone),
                keyboard: filled(&self.keyboard),
                time_servers: several(&self.time_servers),
                name_servers: several(&self.name_servers),
            },
            access: Access { root_password_hash: None, ssh_keys: self.filled_ssh_keys().collect() },
            pool: self.pool(add),
            finish: Finish { then: Ending::Stay, ..Finish::default() },
        }
    }

    /// The answers without the password's hash.
    ///
    /// # Errors
    /// Every mistake that can be seen without trying, each under the key of its field.
    pub fn checked(&self, machine: &Machine) -> Result<Answers, Vec<Problem>> {
        let mut problems = Problems::default();
        let answers = self.unchecked(machine, &mut |at, what| problems.add(at, what));
        if self.keeps_settings() {
            answers.settings().check(&mut problems);
            return if problems.0.is_empty() { Ok(answers) } else { Err(problems.0) };
        }
        if !self.password.is_empty() && self.password.chars().count() < SHORTEST_PASSWORD {
            problems.add("password", format!("has to have at least {SHORTEST_PASSWORD} characters"));
        }
        problems.unless(self.password == self.password_again, "password_again", "is another one");
        let nobody = self.password.is_empty() && self.filled_ssh_keys().next().is_none();
        problems.unless(!nobody, "password", "nobody could come in: give a password, a key for SSH or both");
        let network = &answers.network;
        let named = network.interface.is_some() || network.bond.is_some();
        problems.unless(
            named || network.implied(&machine.nics) != Implied::Unclear,
            "network.interface",
            "choose one: a VLAN or a fixed address belongs to one of them",
        );
        answers.settings().check(&mut problems);
        if problems.0.is_empty() { Ok(answers) } else { Err(problems.0) }
    }

    /// The keys for SSH that were typed.
    pub(crate) fn filled_ssh_keys(&self) -> impl Iterator<Item = String> {
        self.ssh_keys.iter().filter_map(|key| filled(key))
    }

    /// How many fields for keys are shown: a further one below the last that is filled.
    pub(crate) fn ssh_key_fields(&self) -> usize {
        let last = self.ssh_keys.iter().rposition(|key| filled(key).is_some());
        last.map_or(1, |last| (last + 2).min(SSH_KEYS))
    }

    /// How many keys come before the one in this field, if there is one in it.
    pub(crate) fn ssh_keys_before(&self, place: usize) -> Option<usize> {
        filled(self.ssh_keys.get(place)?)?;
        Some(self.ssh_keys.iter().take(place).filter(|key| filled(key).is_some()).count())
    }

    /// Whether several interfaces work as one.
    pub fn is_bond(&self, machine: &Machine) -> bool {
        self.interface > machine.nics.len()
    }

    /// The password for the pool, if one was given for one.
    pub fn pool_password(&self) -> Option<&str> {
        let given = self.pool == POOL_JOINS && !self.pool_password.is_empty();
        given.then_some(self.pool_password.as_str())
    }

    fn pool(&self, add: &mut dyn FnMut(&str, String)) -> Option<Pool> {
        let wrong = "is no SHA-256 of a certificate: 64 hexadecimal digits, with or without colons";
        (self.pool == POOL_JOINS).then(|| Pool {
            join: self.pool_address.trim().to_owned(),
            user: filled(&self.pool_user).filter(|user| user != Pool::USER),
            fingerprint: parsed(&self.pool_fingerprint, "pool.fingerprint", wrong, add),
            password_in: None,
        })
    }

    /// Out of range is said by the rules for answers.
    fn vlan(&self, add: &mut dyn FnMut(&str, String)) -> Option<u16> {
        parsed(&self.vlan, "network.vlan", "has to be a number from 1 to 4094, or nothing", add)
    }

    fn ipv4(&self, add: &mut dyn FnMut(&str, String)) -> V4 {
        match self.v4 {
            0 => V4::By(Addressing::Dhcp),
            V4_FIXED => V4::Static(StaticV4 {
                address: self.v4_address.trim().to_owned(),
                gateway: parsed(&self.v4_gateway, "network.ipv4.gateway", "is no IPv4 address", add),
            }),
            _ => V4::By(Addressing::None),
        }
    }

    fn ipv6(&self, add: &mut dyn FnMut(&str, String)) -> V6 {
        match self.v6 {
            0 => V6::By(Addressing::None),
            1 => V6::By(Addressing::Auto),
            2 => V6::By(Addressing::Dhcp),
            _ => V6::Static(StaticV6 {
                address: self.v6_address.trim().to_owned(),
                gateway: parsed(&self.v6_gateway, "network.ipv6.gateway", "is no IPv6 address", add),
            }),
        }
    }

    /// The answers with the hash of the password.
    ///
    /// # Errors
    /// As [`Form::checked`].
    pub fn answers(&self, machine: &Machine) -> Result<Answers, Vec<Problem>> {
        let mut answers = self.checked(machine)?;
        if !self.password.is_empty() && !self.keeps_settings() {
            let hash = hash_password(&self.password).ok_or_else(|| {
                vec![Problem { at: "password".to_owned(), what: "cannot be hashed".to_owned() }]
            })?;
            answers.access.root_password_hash = Some(hash);
        }
        Ok(answers)
    }
}

/// What was typed, if anything; `add` hears if it is not understood.
fn parsed<T: FromStr>(text: &str, at: &str, wrong: &str, add: &mut dyn FnMut(&str, String)) -> Option<T> {
    let parsed = filled(text)?.parse().ok();
    if parsed.is_none() {
        add(at, wrong.to_owned());
    }
    parsed
}

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn several(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_of_one_host_that_may_lie_on_both_disks() {
        let kept = |disks: &[usize], formers: &[(usize, &str)]| {
            let formers = formers.iter().map(|(disk, name)| (*disk, vec![(*name).to_owned()])).collect();
            let form = Form { disks: disks.to_vec(), formers, ..Form::default() };
            form.former().map(|lines| lines.concat())
        };
        assert_eq!(kept(&[0], &[]), None);
        assert_eq!(kept(&[0], &[(0, "a"), (1, "b")]).as_deref(), Some("a"));
        assert_eq!(kept(&[0, 1], &[(0, "a"), (1, "a")]).as_deref(), Some("a"));
        assert_eq!(kept(&[0, 1], &[(1, "a")]).as_deref(), Some("a"), "beside a disk that is new");
        assert_eq!(kept(&[0, 1], &[(0, "a"), (1, "b")]), None, "which of them?");
    }
}
