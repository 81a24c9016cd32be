//! Asks a machine what it is made of, and writes the answers down word for word.
//!
//! ```text
//!   lsblk, pvs, xl info ─┐
//!   /dev/disk, sysfs ────┼─▶ Capture (JSON) ─▶ xenolith_machine::Machine
//!   boot.json ───────────┘
//! ```
//! Nothing is interpreted here: what is wrong in how we read a machine can then be found from its capture, on another one.
//! **What cannot be asked ends the capture**, unless not knowing it can only make fewer disks eligible: a disk that is offered though
//! it belongs to a volume group that `pvs` could not name would be lost.

mod sysfs;
mod volume;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use xenolith_layout::names::BOOT_FACTS;
use xenolith_machine::{
    Capture, PhysicalVolume,
    lsblk::{self, COLUMNS},
};

use sysfs::{absent, read};
pub use volume::{Volume, plain_file, short_file};

/// A program of dom0 that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Block devices, with what udev and blkid know of them.
    Lsblk,
    /// Physical volumes.
    Pvs,
    /// The hypervisor.
    Xl,
}

impl Tool {
    const fn path(self) -> &'static str {
        match self {
            Self::Lsblk => "/usr/bin/lsblk",
            Self::Pvs => "/usr/sbin/pvs",
            Self::Xl => "/usr/sbin/xl",
        }
    }
}

/// Whoever answers in place of programs.
pub trait Programs {
    /// Standard output of a run.
    ///
    /// # Errors
    /// If the program cannot be started or ends with an error.
    fn run(&self, tool: Tool, args: &[&str]) -> anyhow::Result<String>;
}

/// The programs of this host.
pub struct Installed;

impl Programs for Installed {
    fn run(&self, tool: Tool, args: &[&str]) -> anyhow::Result<String> {
        let said = duct::cmd(tool.path(), args)
            .full_env([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/usr/sbin")])
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .with_context(|| format!("cannot run {}", tool.path()))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        Err(anyhow!("{} ended with {}: {}", tool.path(), said.status, words.trim()))
    }
}

/// The machine whose files lie below `root`.
///
/// # Errors
/// When something that a decision needs cannot be asked.
pub fn capture(root: &Path, programs: &dyn Programs, about: &str) -> anyhow::Result<Capture> {
    let lsblk = programs.run(Tool::Lsblk, &["--json", "--bytes", "--output", COLUMNS])?;
    let lsblk: lsblk::Answer = serde_json::from_str(&lsblk).context("lsblk's answer cannot be understood")?;
    let (memory, processors) = size_of(root, programs);
    Ok(Capture {
        about: about.to_owned(),
        lsblk,
        links: sysfs::links(root).context("cannot read the links to disks")?,
        physical_volumes: physical_volumes(programs)?,
        dmi: sysfs::dmi(root),
        efi: root.join("sys/firmware/efi").is_dir(),
        efi_variables: sysfs::efi_variables(root),
        tpm_version: read(root, sysfs::TPM_VERSION).ok(),
        memory,
        processors,
        nics: sysfs::nics(root).context("cannot read the network interfaces")?,
        running_from: running_from(root)?,
        iscsi_boot: sysfs::iscsi_boot(root).context("cannot read the sessions over iSCSI")?,
        ..Capture::new()
    })
}

/// What files alone tell of the machine below `root`: its name plate and its network interfaces. No program runs, and no disk is
/// known.
///
/// # Errors
/// When the network interfaces cannot be read.
pub fn outside(root: &Path) -> anyhow::Result<Capture> {
    let nics = sysfs::nics(root).context("cannot read the network interfaces")?;
    Ok(Capture { dmi: sysfs::dmi(root), nics, ..Capture::new() })
}

/// `pvs --reportformat json`, as far as it is read.
#[derive(Deserialize)]
struct PvsAnswer {
    report: Vec<PvsReport>,
}

#[derive(Deserialize)]
struct PvsReport {
    pv: Vec<PhysicalVolume>,
}

fn physical_volumes(programs: &dyn Programs) -> anyhow::Result<Vec<PhysicalVolume>> {
    let said = programs.run(Tool::Pvs, &["--reportformat", "json", "--options", "pv_name,vg_name"])?;
    let answer: PvsAnswer = serde_json::from_str(&said).context("pvs's answer cannot be understood")?;
    Ok(answer.report.into_iter().flat_map(|report| report.pv).collect())
}

/// What `boot.json` says of the disk that the root lies on.
#[derive(Deserialize)]
struct BootFacts {
    disk: Option<String>,
}

/// The kernel's name of the disk that this system runs from.
fn running_from(root: &Path) -> anyhow::Result<Option<String>> {
    let Some(text) = absent(read(root, BOOT_FACTS))? else { return Ok(None) };
    let facts: BootFacts = serde_json::from_str(&text).context("the boot facts cannot be understood")?;
    Ok(facts.disk.map(|disk| disk.rsplit('/').next().unwrap_or_default().to_owned()))
}

/// Bytes of memory and number of processors: of the machine if the hypervisor tells, else of what this kernel sees.
fn size_of(root: &Path, programs: &dyn Programs) -> (u64, u32) {
    let info = programs.run(Tool::Xl, &["info"]).unwrap_or_default();
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    let info: BTreeMap<&str, &str> = lines.map(|(key, value)| (key.trim(), value.trim())).collect();
    let number = |key: &str| info.get(key).and_then(|value| value.parse::<u64>().ok());
    let memory = number("total_memory").and_then(|mebibytes| mebibytes.checked_mul(1 << 20));
    let processors = number("nr_cpus").and_then(|number| u32::try_from(number).ok());
    (memory.unwrap_or_else(|| sysfs::memory(root)), processors.unwrap_or_else(|| sysfs::processors(root)))
}
