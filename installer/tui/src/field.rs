//! The fields: which text or choice of the form each stands for, and where problems about it are told.

use std::borrow::Cow;

use xenolith_machine::Machine;

use crate::form::{BOND_MODES, ENCRYPTION_WAYS, Form, POOL_WAYS, SETTINGS_WAYS, V4_WAYS, V6_WAYS};

/// Something that is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Encryption,
    StorageKind,
    Settings,
    Keyboard,
    Interface,
    BondMode,
    Vlan,
    V4,
    V4Address,
    V4Gateway,
    V6,
    V6Address,
    V6Gateway,
    Name,
    NameServers,
    TimeServers,
    TimeZone,
    Password,
    PasswordAgain,
    /// By its place among those that can be typed.
    SshKey(usize),
    Pool,
    PoolAddress,
    PoolUser,
    PoolPassword,
    PoolFingerprint,
    RecordsUrl,
}

impl Field {
    /// The key of problems that are told below it.
    pub(crate) fn at(self, form: &Form) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Encryption => "target.encryption",
            Self::StorageKind => "storage",
            Self::Settings => "settings",
            Self::Keyboard => "host.keyboard",
            Self::Interface => "network.interface",
            Self::BondMode => "network.bond.mode",
            Self::Vlan => "network.vlan",
            Self::V4 => "network",
            Self::V4Address => "network.ipv4.address",
            Self::V4Gateway => "network.ipv4.gateway",
            Self::V6 => "network.ipv6",
            Self::V6Address => "network.ipv6.address",
            Self::V6Gateway => "network.ipv6.gateway",
            Self::Name => "host.name",
            Self::NameServers => "host.name_servers",
            Self::TimeServers => "host.time_servers",
            Self::TimeZone => "host.time_zone",
            Self::Password => "password",
            Self::PasswordAgain => "password_again",
            // Fields that stayed empty are no answers.
            Self::SshKey(place) => match form.ssh_keys_before(place) {
                Some(before) => return Cow::Owned(format!("access.ssh_keys[{before}]")),
                None => "access.ssh_keys",
            },
            Self::Pool => "pool",
            Self::PoolAddress => "pool.join",
            Self::PoolUser => "pool.user",
            Self::PoolPassword => "pool.password",
            Self::PoolFingerprint => "pool.fingerprint",
            Self::RecordsUrl => "records",
        })
    }

    /// The text that is typed into it, if it is one.
    pub(crate) fn text(self, form: &mut Form) -> Option<&mut String> {
        Some(match self {
            Self::Vlan => &mut form.vlan,
            Self::V4Address => &mut form.v4_address,
            Self::V4Gateway => &mut form.v4_gateway,
            Self::V6Address => &mut form.v6_address,
            Self::V6Gateway => &mut form.v6_gateway,
            Self::Name => &mut form.name,
            Self::NameServers => &mut form.name_servers,
            Self::TimeServers => &mut form.time_servers,
            Self::TimeZone => &mut form.time_zone,
            Self::Password => &mut form.password,
            Self::PasswordAgain => &mut form.password_again,
            Self::SshKey(place) => {
                if form.ssh_keys.len() <= place {
                    form.ssh_keys.resize(place + 1, String::new());
                }
                form.ssh_keys.get_mut(place)?
            }
            Self::PoolAddress => &mut form.pool_address,
            Self::PoolUser => &mut form.pool_user,
            Self::PoolPassword => &mut form.pool_password,
            Self::PoolFingerprint => &mut form.pool_fingerprint,
            Self::RecordsUrl => &mut form.records_url,
            Self::Keyboard
            | Self::Encryption
            | Self::StorageKind
            | Self::Settings
            | Self::Interface
            | Self::BondMode
            | Self::V4
            | Self::V6
            | Self::Pool => return None,
        })
    }

    /// Whether what is typed into it must not be seen.
    pub(crate) const fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::PasswordAgain | Self::PoolPassword)
    }

    /// What is chosen in it and out of how many, if it is a choice that the arrows to the sides change.
    pub(crate) fn choice<'a>(self, form: &'a mut Form, machine: &Machine) -> Option<(&'a mut usize, usize)> {
        Some(match self {
            // Two or more can be bonded besides.
            Self::Interface => {
                let nics = machine.nics.len();
                (&mut form.interface, nics + 1 + usize::from(nics > 1))
            }
            Self::Encryption => (&mut form.encryption, ENCRYPTION_WAYS.len()),
            Self::BondMode => (&mut form.bond_mode, BOND_MODES.len()),
            Self::Pool => (&mut form.pool, POOL_WAYS.len()),
            Self::Settings => (&mut form.settings, SETTINGS_WAYS.len()),
            Self::V4 => (&mut form.v4, V4_WAYS.len()),
            Self::V6 => (&mut form.v6, V6_WAYS.len()),
            _ => return None,
        })
    }
}
