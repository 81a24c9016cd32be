//! Reads the facts of a host. Whatever cannot be read is written down and left out.

use std::collections::BTreeMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use xenolith_firstboot::storage::StorageRecord;
use xenolith_firstboot::{Journal, Paths, host_certificate, host_uuid, left_to_do};
use xenolith_layout::names::{BOOT_FACTS, EFI_GLOBAL_VARIABLE, EntryName, INSTALL_FAILED, STATE_FIRSTBOOT};

use crate::boot::BootFacts;
use crate::health::{REQUIRED, judge};
use crate::host::{Host, Tool};
use crate::mirrors::mirrors;
use crate::report::{
    Boot, FailedInstallation, Firmware, Health, HostFacts, Identity, Report, RootImage, SCHEMA, Service,
    Switch, Unread, Verity, Xen,
};
use crate::verity;

/// The name of the root's dm-verity device, given by the initrd.
const ROOT_DEVICE: &str = "root";
/// The one key that sshd has (`xenolith-hostkeys.service`).
const SSH_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// The state of `host`. `asked` is what libxl said, if it was asked; without it sysfs has to do.
pub fn gather(host: &Host<'_>, asked: Option<Result<Xen, String>>) -> Report {
    let mut notes = Notes::default();
    let facts = notes.keep("boot facts", boot_facts(host));
    let paths = Paths::of(host.root);
    // Nothing was asked for as long as there is no file.
    let journal = notes.keep("first boot", Journal::read(&paths.state.join(STATE_FIRSTBOOT)));
    let left = journal.as_ref().and_then(|journal| {
        notes.keep("what first boot has left to do", left_to_do(&paths, journal)).flatten()
    });
    let mut report = Report {
        schema: SCHEMA,
        image: notes.keep("os-release", os_release(host)).unwrap_or_default(),
        root: root_image(host, facts.as_ref(), &mut notes),
        boot: facts.map(boot),
        firmware: firmware(host, &mut notes),
        xen: xen(host, asked, &mut notes),
        services: notes.keep("required units", services(host)).unwrap_or_default(),
        failed_units: notes.keep("failed units", failed_units(host)),
        firstboot: journal,
        ready: left.as_ref().map(Vec::is_empty),
        not_done: left.unwrap_or_default(),
        host: host_facts(host, &mut notes),
        storage: notes.keep("local storage", StorageRecord::read(host.root)).flatten(),
        mirrors: mirrors(host.root),
        installation: notes.keep("unattended installation", installation(host)).flatten(),
        health: Health::default(),
        unread: Vec::new(),
    };
    report.unread = notes.0;
    report.health = judge(&report);
    report
}

/// What could not be read.
#[derive(Default)]
struct Notes(Vec<Unread>);

impl Notes {
    fn keep<T, E: Into<anyhow::Error>>(&mut self, fact: &str, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                let error: anyhow::Error = error.into();
                self.0.push(Unread { fact: fact.to_owned(), because: format!("{error:#}") });
                None
            }
        }
    }
}

fn boot_facts(host: &Host<'_>) -> anyhow::Result<BootFacts> {
    Ok(serde_json::from_slice(&host.bytes(BOOT_FACTS)?)?)
}

fn host_facts(host: &Host<'_>, notes: &mut Notes) -> HostFacts {
    HostFacts {
        uuid: notes.keep("the host's UUID", host_uuid(host.root)).flatten(),
        certificate: notes.keep("the host's certificate", host_certificate(host.root)).flatten(),
        ssh_key: notes.keep("the host's SSH key", ssh_key(host)).flatten(),
    }
}

/// The fingerprint of sshd's key: SHA-256 of the decoded second word, in base64 (ssh-keygen(1), `-l`).
fn ssh_key(host: &Host<'_>) -> anyhow::Result<Option<String>> {
    if !host.root.join(SSH_KEY.trim_start_matches('/')).exists() {
        return Ok(None);
    }
    let text = host.text(SSH_KEY)?;
    let word = text.split_whitespace().nth(1).unwrap_or_default();
    let key = STANDARD.decode(word).with_context(|| format!("{SSH_KEY} is no public key"))?;
    Ok(Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))))
}

/// None failed as long as there is no file.
fn installation(host: &Host<'_>) -> anyhow::Result<Option<FailedInstallation>> {
    if !host.root.join(INSTALL_FAILED.trim_start_matches('/')).exists() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&host.bytes(INSTALL_FAILED)?)?))
}

fn boot(facts: BootFacts) -> Boot {
    let tries = facts.entry.as_deref().and_then(|name| name.parse::<EntryName>().ok()?.tries);
    Boot {
        medium: facts.medium,
        slot: facts.slot,
        disk: facts.disk.map(|disk| disk.display().to_string()),
        tries_left: tries.map(|tries| tries.left),
        entry: facts.entry,
        state: facts.state,
        state_key: facts.state_key,
        first_boot: facts.first_boot,
    }
}

fn os_release(host: &Host<'_>) -> anyhow::Result<Identity> {
    let text = host.text("/usr/lib/os-release")?;
    let mut fields: BTreeMap<&str, String> = text.lines().filter_map(assignment).collect();
    let mut take = |key: &str| fields.remove(key).filter(|value| !value.is_empty());
    Ok(Identity {
        id: take("IMAGE_ID"),
        name: take("PRETTY_NAME"),
        version: take("IMAGE_VERSION"),
        variant: take("VARIANT_ID"),
        build_id: take("BUILD_ID"),
        revision: take("XENOLITH_REVISION"),
        lock: take("XENOLITH_LOCK"),
    })
}

/// One line of os-release: `KEY=value`, the value perhaps in quotes (os-release(5); the builder never needs escapes).
fn assignment(line: &str) -> Option<(&str, String)> {
    let (key, value) = line.trim().split_once('=')?;
    let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!key.starts_with('#')).then(|| (key, value.to_owned()))
}

fn root_image(host: &Host<'_>, facts: Option<&BootFacts>, notes: &mut Notes) -> RootImage {
    let mut image = RootImage {
        hash_as_booted: facts.map(|facts| facts.root_hash),
        device: facts.map(|facts| facts.data_device.display().to_string()),
        ..RootImage::default()
    };
    match notes.keep("device of the root", mapped_root(host)) {
        None => {}
        Some(false) => image.verity = Verity::Absent,
        Some(true) => {
            let ask = |what: &str| host.programs.run(Tool::Dmsetup, &[what, ROOT_DEVICE]);
            let hash =
                ask("table").map_err(anyhow::Error::from).and_then(|text| Ok(verity::root_hash(&text)?));
            image.hash_as_verified = notes.keep("root hash as verified", hash);
            let state = ask("status").map_err(anyhow::Error::from).and_then(|text| Ok(verity::state(&text)?));
            image.verity = notes.keep("state of dm-verity", state).unwrap_or_default();
        }
    }
    image
}

/// Is the device that is mounted on `/` the one that the initrd opened? The table of a device that happens to have
/// the name would prove nothing.
fn mapped_root(host: &Host<'_>) -> anyhow::Result<bool> {
    let mounts = host.text("/proc/self/mountinfo")?;
    // proc(5): mount id, parent, major:minor, root within the file system, mount point, … The last one covers the others.
    let device = mounts
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words.get(4) == Some(&"/")).then(|| words.get(2).copied())?
        })
        .next_back()
        .ok_or_else(|| anyhow::anyhow!("nothing is mounted on /"))?;
    Ok(host.text(&format!("/sys/dev/block/{device}/dm/name")).is_ok_and(|name| name == ROOT_DEVICE))
}

fn firmware(host: &Host<'_>, notes: &mut Notes) -> Firmware {
    let variable = |name: &str| -> anyhow::Result<Switch> {
        if !host.root.join("sys/firmware/efi").exists() {
            return Ok(Switch::Absent);
        }
        // Firmware that has variables, but not these, cannot do Secure Boot (UEFI 2.10, 3.3: both are then left out).
        let folder = host.root.join("sys/firmware/efi/efivars");
        let own = folder.join(format!("{name}-{EFI_GLOBAL_VARIABLE}"));
        if !own.exists() && fs_err::read_dir(&folder)?.next().is_some() {
            return Ok(Switch::Off);
        }
        // efivarfs puts four bytes of attributes before the value.
        let bytes = host.bytes(&format!("/sys/firmware/efi/efivars/{name}-{EFI_GLOBAL_VARIABLE}"))?;
        match bytes.as_slice() {
            [_, _, _, _, 0] => Ok(Switch::Off),
            [_, _, _, _, 1] => Ok(Switch::On),
            other => Err(anyhow::anyhow!("{name} has {} bytes or an unknown value", other.len())),
        }
    };
    Firmware {
        secure_boot: notes.keep("Secure Boot", variable("SecureBoot")).unwrap_or_default(),
        setup_mode: notes.keep("setup mode", variable("SetupMode")).unwrap_or_default(),
        lockdown: notes.keep("lockdown", lockdown(host)),
    }
}

/// The word in brackets: `none [integrity] confidentiality`.
fn lockdown(host: &Host<'_>) -> anyhow::Result<String> {
    let text = host.text("/sys/kernel/security/lockdown")?;
    let chosen =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word.to_owned());
    chosen.ok_or_else(|| anyhow::anyhow!("no level is marked in {text:?}"))
}

fn xen(host: &Host<'_>, asked: Option<Result<Xen, String>>, notes: &mut Notes) -> Option<Xen> {
    if host.text("/sys/hypervisor/type").ok().as_deref() != Some("xen") {
        return None;
    }
    let asked = asked.and_then(|answer| notes.keep("libxl", answer.map_err(anyhow::Error::msg)));
    asked.or_else(|| notes.keep("hypervisor", xen_of_sysfs(host)))
}

/// What the kernel knows of the hypervisor (Linux 6.12, Documentation/ABI/*/sysfs-hypervisor-xen).
fn xen_of_sysfs(host: &Host<'_>) -> anyhow::Result<Xen> {
    let read = |name: &str| host.text(&format!("/sys/hypervisor/{name}"));
    let optional = |name: &str| read(name).ok().filter(|text| !text.is_empty() && text != "<denied>");
    Ok(Xen {
        version: format!("{}.{}{}", read("version/major")?, read("version/minor")?, read("version/extra")?),
        compiled_by: optional("compilation/compiled_by"),
        compiler: optional("compilation/compiler"),
        build_id: optional("buildid"),
        ..Xen::default()
    })
}

fn services(host: &Host<'_>) -> anyhow::Result<Vec<Service>> {
    let mut args = vec!["show", "--property=Id,LoadState,ActiveState"];
    args.extend(REQUIRED);
    let text = host.programs.run(Tool::Systemctl, &args)?;
    let mut services: Vec<Service> = text.split("\n\n").filter_map(service).collect();
    services.sort_by(|one, other| one.unit.cmp(&other.unit));
    Ok(services)
}

/// One unit of `systemctl show`.
fn service(block: &str) -> Option<Service> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let unit = field("Id")?.to_owned();
    let state = match field("LoadState")? {
        "loaded" => field("ActiveState")?,
        other => other,
    };
    Some(Service { unit, state: state.to_owned() })
}

fn failed_units(host: &Host<'_>) -> anyhow::Result<Vec<String>> {
    let args = ["list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"];
    let text = host.programs.run(Tool::Systemctl, &args)?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
