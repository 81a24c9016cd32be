//! The rules of the health gate, over a report and nothing else.
//!
//! A **problem** keeps the boot entry from being made good: on a trial the host goes back to the other slot. So only
//! what a wrong image would break, and what the host is useless or unsafe without, is a problem. The rest is a
//! **warning**: a disk that smartd complains about is no reason to roll back.

use xenolith_firstboot::Journal;

use crate::mirrors::Mirror;
use crate::report::{Health, Report, Verity};
use xenolith_layout::seal::StateKey;

/// Units without which a host is of no use, or not safe.
pub const REQUIRED: &[&str] = &[
    "dbus.service",
    "nftables.service",
    "openvswitch-switch.service",
    "systemd-journald.service",
    "systemd-networkd.service",
    "systemd-udevd.service",
    "xen-init-dom0.service",
    "xenconsoled.service",
    "xenstored.service",
];

/// Judges a report; its own `health` is not looked at.
pub fn judge(report: &Report) -> Health {
    let mut problems = Vec::new();
    root(report, &mut problems);
    if report.xen.is_none() {
        problems.push("there is no Xen below this kernel".to_owned());
    }
    for service in report.services.iter().filter(|service| service.state != "active") {
        problems.push(format!("{} is {}", service.unit, service.state));
    }
    for missing in REQUIRED.iter().filter(|unit| !report.services.iter().any(|known| known.unit == **unit)) {
        problems.push(format!("the state of {missing} is not known"));
    }
    Health { good: problems.is_empty(), problems, warnings: warnings(report) }
}

fn root(report: &Report, problems: &mut Vec<String>) {
    match &report.boot {
        None => problems.push("the initrd left no facts about this boot".to_owned()),
        Some(boot) if boot.state.starts_with("tmpfs (locked") => problems.push(format!(
            "the state is not used: {}; start the host anew and type its recovery key on the console",
            boot.state
        )),
        Some(boot) if boot.state.contains("damaged") => {
            problems.push(format!("the state partition is not used: {}", boot.state));
        }
        Some(_) => {}
    }
    match report.root.verity {
        Verity::Good => {}
        Verity::Corrupted => problems.push("dm-verity found a wrong block in the root image".to_owned()),
        Verity::Absent => problems.push("the root is not verified by dm-verity".to_owned()),
        Verity::Unknown => problems.push("whether the root is verified is not known".to_owned()),
    }
    if let (Some(booted), Some(verified)) = (report.root.hash_as_booted, report.root.hash_as_verified)
        && booted != verified
    {
        problems.push("the root hash that is verified is not the one that was booted".to_owned());
    }
}

fn warnings(report: &Report) -> Vec<String> {
    let required = |unit: &String| REQUIRED.contains(&unit.as_str());
    let mut warnings: Vec<String> = report
        .failed_units
        .iter()
        .flatten()
        .filter(|unit| !required(unit))
        .map(|unit| format!("{unit} failed"))
        .collect();
    if report.failed_units.is_none() {
        warnings.push("which units failed is not known".to_owned());
    }
    if report.boot.as_ref().and_then(|boot| boot.state_key) == Some(StateKey::RecoveryKey) {
        warnings.push(
            "the state was opened with its recovery key, since the TPM did not open it; `xenolith-state bind` seals it anew".to_owned(),
        );
    }
    warnings.extend(report.mirrors.iter().filter_map(Mirror::warning));
    for (task, why) in report.firstboot.iter().flat_map(Journal::failed) {
        warnings.push(format!("{task} was not set up: {why}"));
    }
    if let (Some(said), Some(boot)) = (&report.image.version, &report.boot)
        && boot.entry.as_ref().is_some_and(|entry| !entry.contains(said.as_str()))
    {
        warnings.push(format!("the image says it is {said}, its boot entry says otherwise"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Medium;
    use crate::report::{Boot, Firmware, HostFacts, Identity, RootImage, SCHEMA, Service, Xen};

    fn healthy() -> Report {
        let hash = "ab".repeat(32).parse().unwrap();
        Report {
            schema: SCHEMA,
            image: Identity::default(),
            boot: Some(Boot {
                medium: Medium::Disk,
                slot: None,
                disk: None,
                entry: None,
                tries_left: None,
                state: "/dev/vda7".into(),
                state_key: None,
                first_boot: false,
            }),
            root: RootImage {
                hash_as_booted: Some(hash),
                hash_as_verified: Some(hash),
                verity: Verity::Good,
                device: None,
            },
            firmware: Firmware::default(),
            xen: Some(Xen::default()),
            services: REQUIRED
                .iter()
                .map(|unit| Service { unit: (*unit).into(), state: "active".into() })
                .collect(),
            failed_units: Some(vec![]),
            firstboot: Some(Journal::default()),
            ready: None,
            not_done: vec![],
            host: HostFacts::default(),
            storage: None,
            mirrors: vec![],
            installation: None,
            health: Health::default(),
            unread: vec![],
        }
    }

    fn problem(change: impl FnOnce(&mut Report)) -> String {
        let mut report = healthy();
        change(&mut report);
        let health = judge(&report);
        assert!(!health.good);
        health.problems.join("; ")
    }

    #[test]
    fn a_healthy_host_passes() {
        assert_eq!(judge(&healthy()), Health { good: true, problems: vec![], warnings: vec![] });
    }

    #[test]
    fn each_thing_that_a_host_needs_is_missed() {
        assert_eq!(problem(|r| r.boot = None), "the initrd left no facts about this boot");
        assert_eq!(problem(|r| r.xen = None), "there is no Xen below this kernel");
        assert_eq!(problem(|r| r.root.verity = Verity::Absent), "the root is not verified by dm-verity");
        assert_eq!(problem(|r| r.root.verity = Verity::Unknown), "whether the root is verified is not known");
        assert_eq!(problem(|r| r.services[8].state = "failed".into()), "xenstored.service is failed");
        assert_eq!(
            problem(|r| drop(r.services.pop())),
            "the state of xenstored.service is not known",
            "what was not asked is not good"
        );
        assert!(
            problem(|r| r.root.hash_as_verified = Some("cd".repeat(32).parse().unwrap()))
                .contains("not the one")
        );
        assert!(
            problem(|r| r.boot.as_mut().unwrap().state = "tmpfs (damaged: no superblock)".into())
                .contains("no superblock")
        );
    }

    #[test]
    fn a_state_that_its_tpm_does_not_open_is_told_of() {
        let locked = problem(|r| r.boot.as_mut().unwrap().state = "tmpfs (locked: no TPM)".into());
        assert!(locked.contains("no TPM") && locked.contains("recovery key"), "{locked}");
        let mut report = healthy();
        report.boot.as_mut().unwrap().state_key = Some(StateKey::RecoveryKey);
        let health = judge(&report);
        assert!(health.good && health.warnings[0].contains("xenolith-state bind"), "{health:?}");
        report.boot.as_mut().unwrap().state_key = Some(StateKey::Tpm);
        assert!(judge(&report).warnings.is_empty());
    }

    #[test]
    fn a_failed_service_that_is_not_required_is_a_warning() {
        let mut report = healthy();
        report.failed_units = Some(vec!["smartmontools.service".into()]);
        let health = judge(&report);
        assert!(health.good);
        assert_eq!(health.warnings, ["smartmontools.service failed"]);
    }
}
