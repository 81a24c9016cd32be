//! What somebody fills in, and the change that follows from it.

use std::str::FromStr;

use xenolith_settings::{Addressing, Bond, Network, Problem, SHORTEST_PASSWORD, StaticV4, StaticV6, V4, V6};

use crate::edit::Edit;
use crate::look::Known;
use crate::secret::Secret;

/// Ways to an IPv4 address.
pub(crate) const V4_WAYS: [&str; 3] = ["from DHCP", "fixed", "none"];
/// Ways to an IPv6 address.
pub(crate) const V6_WAYS: [&str; 4] = ["none", "from router advertisements", "from DHCP", "fixed"];
const V4_FIXED: usize = 1;
const V6_FIXED: usize = 3;
/// Boots that logs can be read of.
pub(crate) const BOOTS: [&str; 2] = ["this boot", "the boot before"];

/// Everything that can be filled in, as it was typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    /// The management interface, by its place in [`interfaces`].
    pub(crate) interface: usize,
    pub(crate) vlan: String,
    pub(crate) v4: usize,
    pub(crate) v4_address: String,
    pub(crate) v4_gateway: String,
    pub(crate) v6: usize,
    pub(crate) v6_address: String,
    pub(crate) v6_gateway: String,
    pub(crate) name_servers: String,
    pub(crate) name: String,
    pub(crate) time_servers: String,
    pub(crate) time_zone: String,
    pub(crate) keyboard: usize,
    pub(crate) password: Secret,
    pub(crate) password_again: Secret,
    pub(crate) ssh_key: String,
    pub(crate) target: String,
    pub(crate) lookup: String,
    pub(crate) unit: usize,
    pub(crate) boot: usize,
}

/// A field of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The management interface.
    Interface,
    /// The VLAN.
    Vlan,
    /// How IPv4 addresses come.
    V4,
    /// A fixed IPv4 address.
    V4Address,
    /// Its router.
    V4Gateway,
    /// How IPv6 addresses come.
    V6,
    /// A fixed IPv6 address.
    V6Address,
    /// Its router.
    V6Gateway,
    /// Servers of names.
    NameServers,
    /// The host's name.
    Name,
    /// Servers of time.
    TimeServers,
    /// The time zone.
    TimeZone,
    /// The console's keyboard.
    Keyboard,
    /// root's new password.
    Password,
    /// The same again.
    PasswordAgain,
    /// A key for SSH.
    SshKey,
    /// What is pinged.
    Target,
    /// What is looked up.
    Lookup,
    /// Whose log.
    Unit,
    /// Of which boot.
    Boot,
}

/// What the management network can be on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Interface {
    /// The only one with a link; with DHCP every one.
    Any,
    /// This one, by its MAC address.
    Nic(String),
    /// The bond that the settings have. A console makes none: a mistake in it is hard to undo from there.
    Bond(Bond),
}

/// What can be chosen, in words.
pub(crate) fn interfaces(known: &Known) -> Vec<(Interface, String)> {
    let mut all = vec![(Interface::Any, "whichever has a link".to_owned())];
    all.extend(known.nics.iter().map(|nic| {
        let link = match (nic.link, nic.speed) {
            (Some(true), Some(speed)) => format!("{speed} Mbit/s"),
            (Some(true), None) => "link".to_owned(),
            (Some(false), _) => "no link".to_owned(),
            (None, _) => "down".to_owned(),
        };
        (Interface::Nic(nic.mac.clone()), format!("{} {} {link}", nic.name, nic.mac))
    }));
    if let Some(bond) = &known.settings.network.bond {
        all.push((Interface::Bond(bond.clone()), format!("bond of {}", bond.members.join(", "))));
    }
    all
}

impl Form {
    /// As the host is.
    pub(crate) fn of(known: &Known) -> Self {
        let (network, host) = (&known.settings.network, &known.settings.host);
        let named = network.interface.as_deref().unwrap_or_default();
        let is_chosen = |interface: &Interface| match interface {
            Interface::Any => network.interface.is_none() && network.bond.is_none(),
            Interface::Nic(mac) => {
                let called = known.nics.iter().any(|nic| nic.mac == *mac && nic.name == named);
                mac.eq_ignore_ascii_case(named) || called
            }
            Interface::Bond(_) => network.bond.is_some(),
        };
        let interface = interfaces(known).iter().position(|(interface, _)| is_chosen(interface));
        let mut form = Self {
            interface: interface.unwrap_or_default(),
            vlan: network.vlan.map(|vlan| vlan.to_string()).unwrap_or_default(),
            name_servers: host.name_servers.join(" "),
            name: host.name.clone().unwrap_or_default(),
            time_servers: host.time_servers.join(" "),
            time_zone: host.time_zone.clone().unwrap_or_default(),
            ..Self::default()
        };
        match &network.ipv4 {
            V4::By(way) => form.v4 = if *way == Addressing::None { 2 } else { 0 },
            V4::Static(fixed) => {
                form.v4 = V4_FIXED;
                form.v4_address.clone_from(&fixed.address);
                form.v4_gateway = fixed.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
            }
        }
        match &network.ipv6 {
            V6::By(Addressing::None) => form.v6 = 0,
            V6::By(Addressing::Auto) => form.v6 = 1,
            V6::By(Addressing::Dhcp) => form.v6 = 2,
            V6::Static(fixed) => {
                form.v6 = V6_FIXED;
                form.v6_address.clone_from(&fixed.address);
                form.v6_gateway = fixed.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
            }
        }
        let keyboard = host.keyboard.as_deref().unwrap_or("us");
        form.keyboard = known.keyboards.iter().position(|(name, _)| name == keyboard).unwrap_or_default();
        form
    }

    /// The text that is typed into a field, if it is one; passwords are none.
    pub(crate) fn text(&mut self, field: Field) -> Option<&mut String> {
        Some(match field {
            Field::Vlan => &mut self.vlan,
            Field::V4Address => &mut self.v4_address,
            Field::V4Gateway => &mut self.v4_gateway,
            Field::V6Address => &mut self.v6_address,
            Field::V6Gateway => &mut self.v6_gateway,
            Field::NameServers => &mut self.name_servers,
            Field::Name => &mut self.name,
            Field::TimeServers => &mut self.time_servers,
            Field::TimeZone => &mut self.time_zone,
            Field::SshKey => &mut self.ssh_key,
            Field::Target => &mut self.target,
            Field::Lookup => &mut self.lookup,
            _ => return None,
        })
    }

    /// A password that is typed into a field.
    pub(crate) fn secret(&mut self, field: Field) -> Option<&mut Secret> {
        match field {
            Field::Password => Some(&mut self.password),
            Field::PasswordAgain => Some(&mut self.password_again),
            _ => None,
        }
    }

    /// What is chosen in a field and out of how many.
    pub(crate) fn choice(&mut self, field: Field, known: &Known) -> Option<(&mut usize, usize)> {
        Some(match field {
            Field::Interface => (&mut self.interface, interfaces(known).len()),
            Field::V4 => (&mut self.v4, V4_WAYS.len()),
            Field::V6 => (&mut self.v6, V6_WAYS.len()),
            Field::Keyboard => (&mut self.keyboard, known.keyboards.len()),
            Field::Unit => (&mut self.unit, known.units.len()),
            Field::Boot => (&mut self.boot, BOOTS.len()),
            _ => return None,
        })
    }

    pub(crate) fn v4_is_fixed(&self) -> bool {
        self.v4 == V4_FIXED
    }

    pub(crate) fn v6_is_fixed(&self) -> bool {
        self.v6 == V6_FIXED
    }

    pub(crate) fn network(&self, known: &Known) -> Result<Edit, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |at: &str, what: &str| {
            problems.push(Problem { at: at.to_owned(), what: what.to_owned() });
        };
        let chosen = interfaces(known).into_iter().nth(self.interface).map(|(interface, _)| interface);
        let (interface, bond) = match chosen {
            Some(Interface::Nic(mac)) => (Some(mac), None),
            Some(Interface::Bond(bond)) => (None, Some(bond)),
            Some(Interface::Any) | None => (None, None),
        };
        let vlan = optional(&self.vlan).unwrap_or_else(|| {
            wrong("network.vlan", "has to be a number from 1 to 4094");
            None
        });
        let ipv4 = match self.v4 {
            V4_FIXED => V4::Static(StaticV4 {
                address: self.v4_address.trim().to_owned(),
                gateway: optional(&self.v4_gateway).unwrap_or_else(|| {
                    wrong("network.ipv4.gateway", "has to be an address, such as 192.0.2.1");
                    None
                }),
            }),
            0 => V4::By(Addressing::Dhcp),
            _ => V4::By(Addressing::None),
        };
        let ipv6 = match self.v6 {
            V6_FIXED => V6::Static(StaticV6 {
                address: self.v6_address.trim().to_owned(),
                gateway: optional(&self.v6_gateway).unwrap_or_else(|| {
                    wrong("network.ipv6.gateway", "has to be an address, such as fe80::1");
                    None
                }),
            }),
            1 => V6::By(Addressing::Auto),
            2 => V6::By(Addressing::Dhcp),
            _ => V6::By(Addressing::None),
        };
        let network = Network { interface, bond, vlan, ipv4, ipv6 };
        let edit = Edit::Network { network, name_servers: list(&self.name_servers) };
        problems.extend(edit.problems(&known.settings).0);
        checked(edit, problems)
    }

    pub(crate) fn names(&self, known: &Known) -> Result<Edit, Vec<Problem>> {
        let edit = Edit::Names { name: filled(&self.name), name_servers: list(&self.name_servers) };
        let problems = edit.problems(&known.settings).0;
        checked(edit, problems)
    }

    pub(crate) fn clock(&self, known: &Known) -> Result<Edit, Vec<Problem>> {
        let zone = filled(&self.time_zone);
        let edit = Edit::Clock { servers: list(&self.time_servers), zone: zone.clone() };
        let mut problems = edit.problems(&known.settings).0;
        if let Some(zone) = zone.filter(|zone| !known.zones.contains(zone)) {
            let lower = zone.to_ascii_lowercase();
            let like = known.zones.iter().find(|known| known.to_ascii_lowercase().contains(&lower));
            let like = like.map(|like| format!("; did you mean {like}?")).unwrap_or_default();
            problems.retain(|problem| problem.at != "host.time_zone");
            let what = format!("is no time zone of this image{like}");
            problems.push(Problem { at: "host.time_zone".to_owned(), what });
        }
        checked(edit, problems)
    }

    pub(crate) fn password(&self) -> Result<Edit, Vec<Problem>> {
        let wrong = |at: &str, what: String| Err(vec![Problem { at: at.to_owned(), what }]);
        if self.password.count() < SHORTEST_PASSWORD {
            return wrong("password", format!("has to have at least {SHORTEST_PASSWORD} characters"));
        }
        if self.password != self.password_again {
            return wrong("password_again", "is not the same".to_owned());
        }
        Ok(Edit::Password(self.password.clone()))
    }

    pub(crate) fn ssh_key(&self, known: &Known) -> Result<Edit, Vec<Problem>> {
        let key = self.ssh_key.trim();
        if let Err(why) = xenolith_settings::SshKey::new(key) {
            return Err(vec![Problem { at: "ssh_key".to_owned(), what: why.to_string() }]);
        }
        let edit = Edit::SshKey(key.to_owned());
        let problems = edit.problems(&known.settings).0;
        checked(edit, problems)
    }
}

/// The settings may have had a mistake in another place before; that is not whoever stands here to mend.
fn checked(edit: Edit, mut problems: Vec<Problem>) -> Result<Edit, Vec<Problem>> {
    let ours = |at: &str| match &edit {
        Edit::Network { .. } => at.starts_with("network") || at == "host.name_servers",
        Edit::Names { .. } => at == "host.name" || at == "host.name_servers",
        Edit::Clock { .. } => at.starts_with("host.time"),
        Edit::Keyboard(_) => at == "host.keyboard",
        Edit::Password(_) => at.starts_with("password"),
        Edit::SshKey(_) => at.starts_with("access.ssh_keys"),
    };
    problems.retain(|problem| ours(&problem.at));
    if problems.is_empty() { Ok(edit) } else { Err(problems) }
}

/// Nothing, or what was typed; the outer nothing is a mistake.
fn optional<T: FromStr>(text: &str) -> Option<Option<T>> {
    match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    }
}

fn filled(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn list(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
