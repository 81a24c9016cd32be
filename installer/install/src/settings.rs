//! What an installed host is told at its first start: the part of the answers that is about the host itself.
//!
//! **What would be forgotten is refused.** An answer that nothing carries out yet ends the installation before it begins, and so does
//! one that first boot could not carry out on this machine: the medium is the image that will be installed, so first boot's own
//! decisions are asked here.

use xenolith_answers::{Answers, StorageKind};
use xenolith_firstboot::{Decision, Facts, Task, decide};

/// The text of the settings that first boot reads.
///
/// # Errors
/// What of the answers would not be carried out, and why.
pub fn settings(answers: &Answers, facts: &Facts) -> Result<String, Vec<String>> {
    let not_yet = [
        (answers.target.disks.len() > 1, "target.disks: a mirror of two disks is not carried out yet"),
        (answers.storage.kind != StorageKind::None, "storage: not carried out yet"),
    ];
    let mut refused: Vec<String> =
        not_yet.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()).collect();
    let settings = answers.settings();
    for task in Task::ALL {
        match decide(task, &settings, facts) {
            Decision::NotAsked | Decision::Do(_) => {}
            Decision::NotAvailable(why) => refused.push(format!("{task}: not available: {why}")),
            Decision::Cannot(why) => refused.push(format!("{task}: {why}")),
        }
    }
    if refused.is_empty() {
        Ok(toml::to_string(&settings).expect("settings are made of what TOML can hold"))
    } else {
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use xenolith_machine::{Capture, Machine};
    use xenolith_settings::Settings;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a";

    fn asked(access: &str, more: &str) -> Result<String, Vec<String>> {
        let text = format!(
            "version = 1\ntarget = {{ disks = [{{ path = \"sda\" }}] }}\nnetwork = {{}}\naccess = {{ {access} }}\n{more}"
        );
        let dmi = [("product_serial".to_owned(), "X1".to_owned())].into();
        let machine = Machine::of(&Capture { dmi, ..Capture::new() });
        let facts = Facts { machine, root: PathBuf::from("/nowhere") };
        settings(&Answers::parse(text.as_bytes()).unwrap(), &facts)
    }

    #[test]
    fn first_boot_is_told_what_is_said_of_the_host() {
        let text = asked(&format!("ssh_keys = [\"{KEY}\"]"), "host.name = \"r-{serial}\"").unwrap();
        let settings = Settings::parse(text.as_bytes()).unwrap();
        assert_eq!(settings.host.name.as_deref(), Some("r-{serial}"), "the host itself puts its values in");
        assert_eq!(settings.access.ssh_keys, [KEY]);
    }

    #[test]
    fn what_nothing_carries_out_is_refused_and_named() {
        let refused = asked(
            "root_password_hash = \"$y$x\"",
            "host = { name = \"{uuid}\", keyboard = \"de\", time_zone = \"Europe/Vienna\" }\nstorage.kind = \"lvm\"",
        );
        let refused = refused.unwrap_err();
        let begins = [
            "storage: not carried out yet",
            "host-name: host.name asks for {uuid}",
            "root-password: ",
            "time-zone: there is no time zone Europe/Vienna",
            "keyboard: not available",
        ];
        assert_eq!(refused.len(), begins.len(), "{refused:?}");
        for (line, begin) in refused.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }
}
