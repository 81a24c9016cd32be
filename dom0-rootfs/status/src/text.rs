//! The report for people, for the console, and as the one line that says a host is ready.

use std::fmt::Write as _;

use xenolith_firstboot::storage::StorageRecord;
use xenolith_firstboot::{Journal, Outcome};
use xenolith_layout::{Bytes, seal::StateKey};

use crate::mirrors::Mirror;
use crate::report::{Boot, FailedInstallation, Report, Switch, Verity, Xen};

/// A fact for people. One without a name belongs to the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub name: String,
    /// What is so.
    pub value: String,
}

/// As a line of a table; the values start in column 16, so that a root hash ends in column 80.
impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  {:<14}{}", self.name, self.value)
    }
}

/// The report as a table, one fact a line.
pub fn text(report: &Report) -> String {
    let mut out = Vec::new();
    rows(report, &mut out);
    if let Some(uuid) = report.host.uuid {
        row(&mut out, "host", &uuid.to_string());
    }
    fingerprints(report, &mut out);
    for mirror in &report.mirrors {
        mirror_row(mirror, &mut out);
    }
    if let Some(storage) = &report.storage {
        storage_rows(storage, &mut out);
    }
    for unread in &report.unread {
        row(&mut out, "not read", &format!("{}: {}", unread.fact, unread.because));
    }
    let mut text = format!("{}\n", title(report));
    for row in out {
        let _ = writeln!(text, "{row}");
    }
    text
}

/// What the console shows of a report to whoever stands before it.
pub fn seen(report: &Report) -> Vec<Row> {
    let mut out = Vec::new();
    rows(report, &mut out);
    fingerprints(report, &mut out);
    for mirror in &report.mirrors {
        mirror_row(mirror, &mut out);
    }
    out
}

/// `xenolith: ready version=… slot=… medium=…`. The form is an interface.
pub fn ready(report: &Report) -> String {
    let version = report.image.version.as_deref().unwrap_or("unknown");
    let slot =
        report.boot.as_ref().and_then(|boot| boot.slot).map_or("none".to_owned(), |slot| slot.to_string());
    let medium = report.boot.as_ref().map_or("unknown".to_owned(), |boot| boot.medium.to_string());
    format!("xenolith: ready version={version} slot={slot} medium={medium}")
}

/// The image by its name, version and build.
pub fn title(report: &Report) -> String {
    let image = &report.image;
    let version = image.version.as_deref().unwrap_or("(version unknown)");
    let mut title = match &image.name {
        Some(name) if name.contains(version) => name.clone(),
        Some(name) => format!("{name} {version}"),
        None => format!("Xenolith {version}"),
    };
    if let Some(build) = &image.build_id {
        let _ = write!(title, " (build {build})");
    }
    title
}

fn rows(report: &Report, out: &mut Vec<Row>) {
    let health = if report.health.good { "good" } else { "NOT GOOD" };
    row(out, "health", health);
    for problem in &report.health.problems {
        row(out, "", problem);
    }
    for warning in &report.health.warnings {
        row(out, "", &format!("warning: {warning}"));
    }
    boot_rows(report, out);
    row(out, "root", verity(report.root.verity));
    let hash =
        |hash: Option<xenolith_layout::RootHash>| hash.map_or("unknown".to_owned(), |hash| hash.to_string());
    if report.root.hash_as_booted == report.root.hash_as_verified {
        row(out, "root hash", &hash(report.root.hash_as_verified));
    } else {
        row(out, "  as booted", &hash(report.root.hash_as_booted));
        row(out, "  as verified", &hash(report.root.hash_as_verified));
    }
    row(out, "Secure Boot", &secure_boot(report));
    match &report.xen {
        Some(xen) => xen_rows(xen, out),
        None => row(out, "Xen", "none"),
    }
}

/// Where the state is, and what opened it.
fn state(boot: &Boot) -> String {
    match boot.state_key {
        None => boot.state.clone(),
        Some(StateKey::Tpm) => format!("{}, encrypted, opened by the TPM", boot.state),
        Some(StateKey::RecoveryKey) => format!("{}, encrypted, opened by its recovery key", boot.state),
    }
}

fn boot_rows(report: &Report, out: &mut Vec<Row>) {
    if let Some(revision) = &report.image.revision {
        row(out, "revision", revision);
    }
    let Some(boot) = &report.boot else { return row(out, "booted from", "unknown") };
    let medium = match &boot.disk {
        Some(disk) => format!("{} ({disk})", boot.medium),
        None => boot.medium.to_string(),
    };
    row(out, "booted from", &medium);
    if let Some(slot) = boot.slot {
        row(out, "slot", &slot.to_string());
    }
    if let Some(entry) = &boot.entry {
        let tries = boot.tries_left.map(|left| format!(", {left} tries left")).unwrap_or_default();
        row(out, "boot entry", &format!("{entry}{tries}"));
    }
    row(out, "state", &state(boot));
    if let Some(journal) = report.firstboot.as_ref().filter(|journal| !journal.tasks.is_empty()) {
        row(out, "first boot", &firstboot(report, journal));
    }
    if let Some(failed) = &report.installation {
        installation_rows(failed, out);
    }
}

/// What failed and why, one line each; the installer's messages may have several.
fn installation_rows(failed: &FailedInstallation, out: &mut Vec<Row>) {
    let from = match failed.answers_from.as_str() {
        "" => String::new(),
        from => format!(" (answers from {from})"),
    };
    row(out, "installation", &format!("FAILED{from}"));
    for line in failed.error.iter().flat_map(|error| error.lines()) {
        row(out, "", line);
    }
}

/// `ready; 6 of 6 done`, or `5 of 6 done; network failed; storage not done`. Why, the warnings say.
fn firstboot(report: &Report, journal: &Journal) -> String {
    let done = journal.tasks.keys().filter(|task| journal.is_done(**task)).count();
    let ready = if report.ready == Some(true) { "ready; " } else { "" };
    let untried: Vec<_> = report.not_done.iter().filter(|task| !journal.tasks.contains_key(task)).collect();
    let mut text = format!("{ready}{done} of {} done", journal.tasks.len() + untried.len());
    for (task, entry) in &journal.tasks {
        match entry.outcome {
            Outcome::Done => {}
            Outcome::Failed => drop(write!(text, "; {task} failed")),
            Outcome::NotAvailable => drop(write!(text, "; {task} not available")),
        }
    }
    for task in untried {
        let _ = write!(text, "; {task} not done");
    }
    text
}

/// What whoever connects to the host the first time compares.
fn fingerprints(report: &Report, out: &mut Vec<Row>) {
    if let Some(certificate) = &report.host.certificate {
        row(out, "TLS SHA-256", &certificate.sha256);
    }
    if let Some(key) = &report.host.ssh_key {
        row(out, "SSH key", key);
    }
}

fn mirror_row(mirror: &Mirror, out: &mut Vec<Row>) {
    let members: Vec<String> =
        mirror.members.iter().map(|member| format!("{} {}", member.device, member.state)).collect();
    row(out, "mirror", &format!("{} of {} disks: {}", mirror.device, mirror.disks, members.join(", ")));
}

fn storage_rows(storage: &StorageRecord, out: &mut Vec<Row>) {
    let mirror = if storage.mirror { ", a mirror" } else { "" };
    let size = Bytes::new(storage.size);
    row(out, "local storage", &format!("{} ({}, {size}{mirror})", storage.name, storage.kind));
    row(out, "", &storage.uuid.to_string());
    row(out, "", storage.mount_point.as_ref().unwrap_or(&storage.group));
}

fn xen_rows(xen: &Xen, out: &mut Vec<Row>) {
    let by = xen.compiled_by.as_ref().map(|by| format!(", compiled by {by}")).unwrap_or_default();
    row(out, "Xen", &format!("{}{by}", xen.version));
    if let (Some(total), Some(free)) = (xen.total_memory, xen.free_memory) {
        row(out, "memory", &format!("{} MiB, {} MiB of it free", total >> 20, free >> 20));
    }
    if let Some(domains) = xen.domains {
        row(out, "domains", &domains.to_string());
    }
}

fn verity(state: Verity) -> &'static str {
    match state {
        Verity::Good => "read-only, every block verified",
        Verity::Corrupted => "CORRUPTED",
        Verity::Absent => "NOT VERIFIED",
        Verity::Unknown => "unknown",
    }
}

fn secure_boot(report: &Report) -> String {
    let firmware = &report.firmware;
    let mut text = match firmware.secure_boot {
        Switch::On => "on",
        Switch::Off => "off",
        Switch::Absent => "not on this machine (no UEFI)",
        Switch::Unknown => "unknown",
    }
    .to_owned();
    if firmware.setup_mode == Switch::On {
        text.push_str(", setup mode: anybody can enrol keys");
    }
    if let Some(lockdown) = &firmware.lockdown {
        let _ = write!(text, ", kernel lockdown {lockdown}");
    }
    text
}

fn row(out: &mut Vec<Row>, name: &str, value: &str) {
    out.push(Row { name: name.to_owned(), value: value.to_owned() });
}
