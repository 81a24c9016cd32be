//! What an installed host is told at its first start: the part of the answers that is about the host itself.
//!
//! **What would be forgotten is refused.** An answer that nothing carries out yet ends the installation before it begins, and so does
//! one that first boot could not carry out on this machine: the medium is the image that will be installed, so first boot's own
//! decisions are asked here.

use xenolith_answers::{Answers, StorageKind};
use xenolith_firstboot::{Decision, Facts, Task, decide};
use xenolith_installer::Plan;
use xenolith_settings::{LocalKind, LocalStorage, PartGuid, SecretPlace, Settings};

/// Storage as first boot is told of it: its partitions have their GUIDs from the plan.
pub fn local_storage(plan: &Plan) -> Option<LocalStorage> {
    let planned = plan.storage.as_ref()?;
    let kind = match planned.kind {
        StorageKind::None => return None,
        StorageKind::Lvm => LocalKind::Lvm,
        StorageKind::Ext => LocalKind::Ext,
        StorageKind::Keep => LocalKind::Keep,
    };
    let parts = planned.targets.iter().copied().chain(planned.disk_parts()).map(PartGuid).collect();
    // Two targets without a part of it each carry the system alone.
    Some(LocalStorage::new(kind, parts, planned.targets.len() > 1))
}

/// The text of the settings that first boot reads. Before there is a plan, it is without storage. `password` says where the one for a
/// pool will be, if there is one.
///
/// # Errors
/// What of the answers would not be carried out, and why.
pub fn settings(
    answers: &Answers,
    plan: Option<&Plan>,
    facts: &Facts,
    password: Option<SecretPlace>,
) -> Result<String, Vec<String>> {
    let mut refused = Vec::new();
    let mut settings = answers.settings();
    if let Some(pool) = &mut settings.pool {
        pool.password_in = password;
    }
    for task in Task::ALL {
        match decide(task, &settings, facts) {
            Decision::NotAsked | Decision::Do(_) => {}
            // Whoever asks for it is told that it waits: the host asks again at each boot, and says so until it has joined.
            Decision::NotAvailable(_) if task == Task::PoolJoin => {}
            Decision::NotAvailable(why) => refused.push(format!("{task}: not available: {why}")),
            Decision::Cannot(why) => refused.push(format!("{task}: {why}")),
        }
    }
    // Its partitions are not there yet, so nothing can be decided about them here.
    let settings = Settings { storage: plan.and_then(local_storage), ..settings };
    if refused.is_empty() {
        Ok(toml::to_string(&settings).expect("settings are made of what TOML can hold"))
    } else {
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xenolith_machine::{Capture, Machine};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a";

    fn asked(access: &str, more: &str) -> Result<String, Vec<String>> {
        let text = format!(
            "version = 1\ntarget = {{ disks = [{{ path = \"sda\" }}] }}\nnetwork = {{}}\naccess = {{ {access} }}\n{more}"
        );
        let dmi = [("product_serial".to_owned(), "X1".to_owned())].into();
        let machine = Machine::of(&Capture { dmi, ..Capture::new() });
        let facts = Facts::on(machine, Path::new("/nowhere"));
        settings(&Answers::parse(text.as_bytes()).unwrap(), None, &facts, Some(SecretPlace::State))
    }

    #[test]
    fn first_boot_is_told_what_is_said_of_the_host() {
        let text = asked(&format!("ssh_keys = [\"{KEY}\"]"), "host.name = \"r-{serial}\"").unwrap();
        let settings = Settings::parse(text.as_bytes()).unwrap();
        assert_eq!(settings.host.name.as_deref(), Some("r-{serial}"), "the host itself puts its values in");
        assert_eq!(settings.access.ssh_keys, [KEY]);
    }

    #[test]
    fn a_host_that_is_to_join_a_pool_is_told_where_the_password_is() {
        let access = format!("ssh_keys = [\"{KEY}\"]");
        let host = "host.name = \"a\"";
        let text = asked(&access, &format!("{host}\npool.join = \"pool.example\"")).unwrap();
        let pool = Settings::parse(text.as_bytes()).unwrap().pool.unwrap();
        assert_eq!((pool.join.as_str(), pool.password_in), ("pool.example", Some(SecretPlace::State)));
        let text = asked(&access, host).unwrap();
        assert_eq!(Settings::parse(text.as_bytes()).unwrap().pool, None);
    }

    #[test]
    fn what_nothing_carries_out_is_refused_and_named() {
        let refused = asked(
            "root_password_hash = \"$y$x\"",
            "host = { name = \"{uuid}\", keyboard = \"de\", time_zone = \"Europe/Vienna\" }",
        );
        let refused = refused.unwrap_err();
        let begins = [
            "host-name: host.name asks for {uuid}",
            "root-password: ",
            "time-zone: there is no time zone Europe/Vienna",
            "keyboard: there is no keyboard de",
            "tls-certificate: /etc/hostname",
        ];
        assert_eq!(refused.len(), begins.len(), "{refused:?}");
        for (line, begin) in refused.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }
}
