//! The management network as systemd-networkd has it.
//!
//! ```text
//!   interface ─────────────────────────┐
//!   members ─▶ bond0 ──────────────────┴─▶ [vlan<N>] ─▶ addresses, name servers
//!   every other interface: up, without an address
//! ```
//! Source: systemd.network(5), systemd.netdev(5), systemd 257. Files carry numbers below that of the image's own
//! `80-xenolith-dhcp.network`, which stays in force for settings that say nothing.

use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;
use xenolith_machine::Nic;
use xenolith_settings::{Addressing, BondMode, Implied, Network, NicName, V4, V6};

use crate::change::{Change, Reload};

const FOLDER: &str = "etc/systemd/network";
const BOND: &str = "20-xenolith-bond.netdev";
const VLAN: &str = "20-xenolith-vlan.netdev";
const MEMBERS_BY_MAC: &str = "30-xenolith-members-by-address.network";
const MEMBERS_BY_NAME: &str = "30-xenolith-members-by-name.network";
const TRUNK: &str = "40-xenolith-trunk.network";
const MANAGEMENT: &str = "50-xenolith-management.network";
const OTHERS: &str = "60-xenolith-others.network";
/// All that may be there; what settings do not ask for is removed.
const FILES: &[&str] = &[BOND, VLAN, MEMBERS_BY_MAC, MEMBERS_BY_NAME, TRUNK, MANAGEMENT, OTHERS];

/// The name of the bond.
const BOND_NAME: &str = "bond0";
const HEAD: &str = "# Written at first boot from the settings of this host.\n";
/// Hardware, and not a VLAN or bond on it that has its address.
const HARDWARE: &str = "Type=ether\nKind=!*\n";
/// What guests bring along is not ours.
const NOT_OF_GUESTS: &str = "Name=!vif* tap*\n";

/// Whether settings say anything about the network.
pub fn is_asked(network: &Network, name_servers: &[String]) -> bool {
    *network != Network::default() || !name_servers.is_empty()
}

/// The changes that set the network up.
///
/// # Errors
/// Why it cannot be set up on a machine with these interfaces.
pub fn changes(network: &Network, name_servers: &[String], nics: &[Nic]) -> Result<Vec<Change>, String> {
    let files = files(network, name_servers, nics)?;
    let changes = FILES.iter().map(|name| {
        let path = format!("{FOLDER}/{name}");
        match files.iter().find(|(known, _)| known == name) {
            Some((_, text)) => Change::Write { path, mode: 0o644, text: format!("{HEAD}{text}") },
            None => Change::Remove { path },
        }
    });
    Ok(changes.chain([Change::Reload(Reload::Network)]).collect())
}

/// The changes after which the image's own setting holds: every interface asks for an address.
pub fn reset() -> Vec<Change> {
    let removed = FILES.iter().map(|name| Change::Remove { path: format!("{FOLDER}/{name}") });
    removed.chain([Change::Reload(Reload::Network)]).collect()
}

/// Our files as they are below `root`, by their paths; nothing for one that is not there.
///
/// # Errors
/// Which file cannot be read, and why.
pub fn current(root: &Path) -> Result<Vec<(String, Option<String>)>, String> {
    let read = |name: &&str| {
        let path = format!("{FOLDER}/{name}");
        match fs::read_to_string(root.join(&path)) {
            Ok(text) => Ok((path, Some(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((path, None)),
            Err(error) => Err(error.to_string()),
        }
    };
    FILES.iter().map(read).collect()
}

/// `changes`, which set the network up, on a host with these files: bonds and VLANs that change or go are taken away before the daemon
/// reads its files, since it makes what is missing and leaves alone what is there (systemd.netdev(5)).
pub fn over(current: &[(String, Option<String>)], changes: Vec<Change>) -> Vec<Change> {
    let stays = |path: &str, text: &str| {
        changes.iter().any(
            |change| matches!(change, Change::Write { path: new, text: same, .. } if new == path && same == text),
        )
    };
    let gone: Vec<Change> = current
        .iter()
        .filter(|(path, _)| path.ends_with(".netdev"))
        .filter_map(|(path, text)| Some((path, text.as_deref()?)))
        .filter(|(path, text)| !stays(path, text))
        .filter_map(|(_, text)| {
            match NicName::parse(text.lines().find_map(|line| line.strip_prefix("Name="))?)? {
                NicName::Name(name) => Some(Change::RemoveLink(name)),
                NicName::Mac(_) => None,
            }
        })
        .collect();
    let (files, reload): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| !matches!(change, Change::Reload(_)));
    files.into_iter().chain(gone).chain(reload).collect()
}

type Files = Vec<(&'static str, String)>;

fn files(network: &Network, name_servers: &[String], nics: &[Nic]) -> Result<Files, String> {
    let mut files = Files::new();
    let base = base(network, nics, &mut files)?;
    let management = match network.vlan {
        None => base.clone(),
        Some(vlan) => {
            files.push((VLAN, format!("[NetDev]\nName=vlan{vlan}\nKind=vlan\n\n[VLAN]\nId={vlan}\n")));
            let trunk = format!("VLAN=vlan{vlan}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n");
            files.push((TRUNK, format!("[Match]\n{base}\n[Network]\n{trunk}")));
            format!("Name=vlan{vlan}\n")
        }
    };
    files.push((MANAGEMENT, format!("[Match]\n{management}\n{}", addresses(network, name_servers)?)));
    // Where every interface asks for an address, none is another one.
    if base != every() {
        let silent = "[Link]\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n";
        files.push((OTHERS, format!("[Match]\n{HARDWARE}{NOT_OF_GUESTS}\n{silent}")));
    }
    Ok(files)
}

fn every() -> String {
    format!("{HARDWARE}{NOT_OF_GUESTS}")
}

/// What matches the interface, bond or interfaces below the management network.
fn base(network: &Network, nics: &[Nic], files: &mut Files) -> Result<String, String> {
    if let Some(bond) = &network.bond {
        let mode = match bond.mode {
            BondMode::Lacp => "Mode=802.3ad\nLACPTransmitRate=fast\nTransmitHashPolicy=layer3+4\n",
            BondMode::ActiveBackup => "Mode=active-backup\n",
            BondMode::BalanceSlb => {
                return Err("bonds with balance-slb need the network service, which is not there yet; \
                            take lacp or active-backup"
                    .to_owned());
            }
        };
        // Without an address of its own it takes the first member's, which a DHCP server knows; the image's 70-xenolith-bond.link keeps
        // udev from giving it one.
        let device = format!("[NetDev]\nName={BOND_NAME}\nKind=bond\nMACAddress=none\n");
        files.push((BOND, format!("{device}\n[Bond]\n{mode}MIIMonitorSec=100ms\n")));
        let mut by_mac = Vec::new();
        let mut by_name = Vec::new();
        for member in &bond.members {
            match there(member, nics)? {
                NicName::Mac(mac) => by_mac.push(mac),
                NicName::Name(name) => by_name.push(name),
            }
        }
        for (file, key, values) in
            [(MEMBERS_BY_MAC, "PermanentMACAddress", by_mac), (MEMBERS_BY_NAME, "Name", by_name)]
        {
            if !values.is_empty() {
                let matched = format!("{HARDWARE}{key}={}\n", values.join(" "));
                files.push((file, format!("[Match]\n{matched}\n[Network]\nBond={BOND_NAME}\n")));
            }
        }
        return Ok(format!("Name={BOND_NAME}\n"));
    }
    if let Some(interface) = &network.interface {
        return Ok(match there(interface, nics)? {
            NicName::Mac(mac) => hardware(&mac),
            NicName::Name(name) => format!("{HARDWARE}Name={name}\n"),
        });
    }
    match network.implied(nics) {
        Implied::Every => Ok(every()),
        Implied::One(only) => Ok(hardware(&only.mac)),
        Implied::Unclear => Err(format!("network.interface has to say which interface: {}", listed(nics))),
    }
}

fn hardware(mac: &str) -> String {
    format!("{HARDWARE}PermanentMACAddress={mac}\n")
}

/// The name of an interface, if the machine has it.
fn there(text: &str, nics: &[Nic]) -> Result<NicName, String> {
    let name = NicName::parse(text).ok_or_else(|| format!("{text:?} names no interface"))?;
    let is_it = |nic: &Nic| match &name {
        NicName::Mac(mac) => nic.mac == *mac,
        NicName::Name(name) => nic.name == *name,
    };
    if nics.iter().any(is_it) {
        Ok(name)
    } else {
        Err(format!("there is no interface {text}; {}", listed(nics)))
    }
}

fn listed(nics: &[Nic]) -> String {
    if nics.is_empty() {
        return "this machine has none".to_owned();
    }
    let nic = |nic: &Nic| {
        let link = match nic.link {
            Some(true) => "with a link",
            Some(false) => "without a link",
            None => "down",
        };
        format!("{} ({}, {}, {link})", nic.name, nic.mac, nic.driver)
    };
    format!("there are {}", nics.iter().map(nic).collect::<Vec<_>>().join(", "))
}

/// The sections with addresses, routers and name servers.
fn addresses(network: &Network, name_servers: &[String]) -> Result<String, String> {
    let (v4, v6) = (network.ipv4 == V4::By(Addressing::Dhcp), network.ipv6 == V6::By(Addressing::Dhcp));
    let dhcp = match (v4, v6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let advertised = v6 || network.ipv6 == V6::By(Addressing::Auto);
    let none = network.ipv6 == V6::By(Addressing::None);
    let mut text = format!(
        "[Network]\nDHCP={dhcp}\nIPv6AcceptRA={}\nLinkLocalAddressing={}\nLLMNR=no\nMulticastDNS=no\n",
        if advertised { "yes" } else { "no" },
        if none { "no" } else { "ipv6" },
    );
    let mut fixed = |address: String, gateway: Option<String>| {
        let _ = writeln!(text, "Address={address}");
        if let Some(gateway) = gateway {
            let _ = writeln!(text, "Gateway={gateway}");
        }
    };
    let wrong = |text: &str| format!("{text:?} is no address with the length of a prefix");
    if let V4::Static(v4) = &network.ipv4 {
        let (address, prefix) = v4.parsed().ok_or_else(|| wrong(&v4.address))?;
        fixed(format!("{address}/{prefix}"), v4.gateway.map(|gateway| gateway.to_string()));
    }
    if let V6::Static(v6) = &network.ipv6 {
        let (address, prefix) = v6.parsed().ok_or_else(|| wrong(&v6.address))?;
        fixed(format!("{address}/{prefix}"), v6.gateway.map(|gateway| gateway.to_string()));
    }
    for server in name_servers {
        let _ = writeln!(text, "DNS={server}");
    }
    let own = if name_servers.is_empty() { "" } else { "UseDNS=no\n" };
    let _ = write!(
        text,
        "\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseDomains=yes\n{own}\n[DHCPv6]\nUseHostname=no\n{own}\n[IPv6AcceptRA]\n{own}"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_settings::Settings;

    fn nic(name: &str, number: u8, link: bool) -> Nic {
        Nic {
            name: name.to_owned(),
            mac: format!("52:54:00:00:00:{number:02x}"),
            link: Some(link),
            speed: None,
            driver: "igb".to_owned(),
            place: None,
        }
    }

    /// The files for two interfaces, of which the second has a link.
    fn rendered(text: &str) -> String {
        let settings = Settings::parse(format!("version = 1\n{text}").as_bytes()).unwrap();
        let nics = [nic("eno1", 1, false), nic("eno2", 2, true)];
        match files(&settings.network, &settings.host.name_servers, &nics) {
            Ok(files) => files.iter().map(|(name, text)| format!("== {name}\n{text}\n")).collect(),
            Err(why) => why,
        }
    }

    #[test]
    fn settings_that_say_nothing_leave_the_image_alone() {
        assert!(!is_asked(&Network::default(), &[]));
        assert!(is_asked(&Network::default(), &["192.0.2.53".to_owned()]));
    }

    #[test]
    fn a_fixed_address_goes_to_the_interface_with_the_link() {
        insta::assert_snapshot!(rendered(
            "[network]\nipv4 = { address = \"192.0.2.10/24\", gateway = \"192.0.2.1\" }\n[host]\nname_servers = [\"192.0.2.53\", \"2001:db8::53\"]"
        ));
    }

    #[test]
    fn a_bond_with_a_vlan_and_both_protocols() {
        insta::assert_snapshot!(rendered(
            "[network]\nbond = { members = [\"52:54:00:00:00:01\", \"eno2\"] }\nvlan = 120\nipv4 = \"dhcp\"\nipv6 = { address = \"2001:db8::10/64\", gateway = \"fe80::1\" }"
        ));
    }

    #[test]
    fn name_servers_alone_leave_every_interface_asking() {
        insta::assert_snapshot!(rendered("[host]\nname_servers = [\"192.0.2.53\"]"));
    }

    #[test]
    fn what_the_machine_does_not_have_is_named_with_what_it_has() {
        let text = rendered("[network]\ninterface = \"eth7\"");
        assert_eq!(
            text,
            "there is no interface eth7; there are eno1 (52:54:00:00:00:01, igb, without a link), \
             eno2 (52:54:00:00:00:02, igb, with a link)"
        );
        let settings = Settings::parse(b"version = 1\nnetwork.vlan = 5\n").unwrap();
        let nics = [nic("eno1", 1, true), nic("eno2", 2, true)];
        let why = files(&settings.network, &[], &nics).unwrap_err();
        assert!(why.starts_with("network.interface has to say which"), "{why}");
    }

    #[test]
    fn files_that_are_not_asked_for_are_removed() {
        let settings = Settings::parse(b"version = 1\nnetwork.interface = \"eno2\"\n").unwrap();
        let changes = changes(&settings.network, &[], &[nic("eno2", 2, true)]).unwrap();
        let removed = changes.iter().filter(|change| matches!(change, Change::Remove { .. })).count();
        assert_eq!((changes.len(), removed), (FILES.len() + 1, FILES.len() - 2));
        assert_eq!(changes.last(), Some(&Change::Reload(Reload::Network)));
    }

    proptest::proptest! {
        /// Each line of a unit file is one that we wrote: no value brings a line or a section of its own.
        #[test]
        fn no_settings_bring_a_line_of_their_own(interface in ".{0,20}", address in ".{0,30}", server in ".{0,30}") {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let text = format!(
                "{{\"version\":1,\"network\":{{\"interface\":{},\"ipv4\":{{\"address\":{}}}}},\"host\":{{\"name_servers\":[{}]}}}}",
                quoted(&interface), quoted(&address), quoted(&server)
            );
            let Ok(settings) = Settings::parse(text.as_bytes()) else { return Ok(()) };
            let nics = [nic(&interface, 1, true)];
            if let Ok(files) = files(&settings.network, &settings.host.name_servers, &nics) {
                for line in files.iter().flat_map(|(_, text)| text.lines()) {
                    let known = line.is_empty() || line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_alphanumeric()));
                    proptest::prop_assert!(known, "{}", line);
                }
            }
        }
    }
}
