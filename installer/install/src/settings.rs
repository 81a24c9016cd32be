//! What an installed host is told at its first start: the part of the answers that `xenolith-firstboot` knows.
//!
//! **What would be forgotten is refused.** An answer that nothing carries out yet ends the installation before it begins.

use serde::Serialize;
use xenolith_answers::{Addressing, Answers, StorageKind, V4, V6};
use xenolith_machine::Machine;

/// The document that first boot reads.
#[derive(Debug, Serialize)]
struct Seed {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    ssh_authorized_keys: Vec<String>,
}

/// The text of `seed.toml`.
///
/// # Errors
/// The keys of the answers that nothing carries out yet.
pub fn seed(answers: &Answers, machine: &Machine) -> Result<String, Vec<&'static str>> {
    let (network, host) = (&answers.network, &answers.host);
    let name = host.name.as_ref().map(|name| expanded(name, machine));
    let not_yet = [
        (answers.target.disks.len() > 1, "target.disks: a mirror of two disks"),
        (answers.storage.kind != StorageKind::None, "storage"),
        (network.interface.is_some(), "network.interface: every interface asks for an address"),
        (network.bond.is_some(), "network.bond"),
        (network.vlan.is_some(), "network.vlan"),
        (network.ipv4 != V4::By(Addressing::Dhcp), "network.ipv4 other than \"dhcp\""),
        (!matches!(network.ipv6, V6::By(_)), "network.ipv6 with an address"),
        (matches!(name, Some(None)), "host.name with something that this machine does not have"),
        (host.time_zone.is_some(), "host.time_zone"),
        (host.keyboard.is_some(), "host.keyboard"),
        (!host.time_servers.is_empty(), "host.time_servers"),
        (!host.name_servers.is_empty(), "host.name_servers"),
        (answers.access.root_password_hash.is_some(), "access.root_password_hash: give ssh_keys alone"),
        (answers.finish.report_to.is_some(), "finish.report_to"),
    ];
    let not_yet: Vec<&str> = not_yet.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
    if !not_yet.is_empty() {
        return Err(not_yet);
    }
    let seed = Seed { hostname: name.flatten(), ssh_authorized_keys: answers.access.ssh_keys.clone() };
    Ok(toml::to_string(&seed).expect("a seed is made of what TOML can hold"))
}

/// The name with the machine's own values; nothing if it lacks one that is asked for.
fn expanded(name: &str, machine: &Machine) -> Option<String> {
    let nic = machine.nics.iter().find(|nic| nic.link == Some(true)).or(machine.nics.first());
    let values = [
        ("{serial}", machine.system.serial.clone()),
        ("{uuid}", machine.system.uuid.clone()),
        ("{mac}", nic.map(|nic| nic.mac.replace(':', ""))),
    ];
    values.into_iter().try_fold(name.to_owned(), |name, (word, value)| {
        if name.contains(word) { Some(name.replace(word, &value?)) } else { Some(name) }
    })
}

#[cfg(test)]
mod tests {
    use xenolith_machine::{Capture, RawNic};

    use super::*;

    fn machine() -> Machine {
        let nic = RawNic {
            name: "eth0".into(),
            address: "52:54:00:AA:BB:CC".into(),
            carrier: Some(true),
            speed: None,
            driver: Some("virtio_net".into()),
            place: None,
        };
        let dmi = [("product_serial".to_owned(), "X1".to_owned())].into();
        Machine::of(&Capture { nics: vec![nic], dmi, ..Capture::new() })
    }

    fn answers(more: &str) -> Answers {
        let text = format!(
            "version = 1\ntarget = {{ disks = [{{ path = \"sda\" }}] }}\naccess.ssh_keys = [\"ssh-ed25519 AAAA a\"]\nnetwork = {{}}\n{more}"
        );
        Answers::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn first_boot_is_told_the_name_and_who_may_come_in() {
        let text = seed(&answers("host.name = \"r-{serial}-{mac}\""), &machine()).unwrap();
        assert_eq!(
            text,
            "hostname = \"r-X1-525400aabbcc\"\nssh_authorized_keys = [\"ssh-ed25519 AAAA a\"]\n"
        );
        let text = seed(&answers(""), &machine()).unwrap();
        assert_eq!(text, "ssh_authorized_keys = [\"ssh-ed25519 AAAA a\"]\n");
    }

    #[test]
    fn what_nothing_carries_out_is_refused_and_named() {
        let refused = seed(
            &answers("host.name = \"{uuid}\"\nhost.keyboard = \"de\"\nstorage.kind = \"lvm\""),
            &machine(),
        );
        assert_eq!(
            refused.unwrap_err(),
            ["storage", "host.name with something that this machine does not have", "host.keyboard"]
        );
    }
}
