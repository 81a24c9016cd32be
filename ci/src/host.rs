//! A machine that boots one of our artefacts, and what scenarios wait for on it.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use fs_err as fs;
use serde_json::Value;
use xenolith_assemble::seed;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_machine::{Capture, Refusal, judge};
use xenolith_vm::{Firmware, Machine, Medium, READY, SshKey, Vm, choose};

use crate::context::Context;

/// A quiet machine needs 60 s. Waiting longer costs nothing where nothing is wrong.
pub const BOOT: Duration = Duration::from_secs(900);
/// For what a running host does.
pub const ACTION: Duration = Duration::from_secs(600);
/// For what Xen prints of itself where a scenario failed.
const WORDS: Duration = Duration::from_secs(20);
/// What dom0's kernel says before it has a console; nothing else is said by so little of it.
const KERNEL_BEGINS: &str = "about to get started...";
/// Where the test guest lies on the seed volume.
pub const GUEST: &str = "guest";

/// Dom0's kernel was started and has not said a word, so that what was to be proven was never tried.
#[derive(Debug, thiserror::Error)]
#[error(
    "dom0's kernel was started and has said nothing since; what Xen says of it is at the end of serial.log"
)]
pub struct Silent;

/// A machine, prepared: media, keys, a run folder.
pub struct Bench<'a> {
    context: &'a Context,
    scenario: &'static str,
    folder: tempfile::TempDir,
    machine: Machine,
}

impl<'a> Bench<'a> {
    /// A machine that boots from `medium`, or else from the network, with a seed volume that lets us in.
    ///
    /// # Errors
    /// When its files cannot be made.
    pub fn new(
        context: &'a Context,
        scenario: &'static str,
        medium: impl Into<Option<Medium>>,
    ) -> anyhow::Result<Self> {
        let medium = medium.into();
        let artefacts = context.artefacts()?;
        let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
        let tools = artefacts.file("vm-tree", "");
        let key = SshKey::make(&tools, folder.path()).context("cannot make an SSH key")?;
        let guest = |name: &str| EspFile {
            path: format!("{GUEST}/{name}"),
            content: EspContent::File(artefacts.file("test-guest", name)),
        };
        let mut disk = b"xenolith test disk\n".to_vec();
        disk.resize(1 << 20, 0);
        let disk = EspFile { path: format!("{GUEST}/disk.img"), content: EspContent::Bytes(disk) };
        let volume = folder.path().join("seed.img");
        seed::volume(&volume, &[key.public], vec![guest("vmlinuz"), guest("initrd"), disk])?;
        let tried = medium.clone().unwrap_or_else(|| Medium::Cd(artefacts.file("iso", "xenolith.iso")));
        let (accelerator, words) = choose(&tools, &tried, &context.tools.join("accelerator"));
        let media = medium.into_iter().chain([Medium::Usb(volume)]).collect();
        let mut machine = Machine::new(&tools, folder.path(), media);
        tracing::info!("{words}");
        machine.accelerator = accelerator;
        machine.ssh_port = Some(free_port()?);
        Ok(Self { context, scenario, folder, machine })
    }

    /// The run folder, for files that live as long as the machine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The machine, to change what it is before it starts.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Puts our keys into the firmware and switches Secure Boot on.
    ///
    /// # Errors
    /// When the variable store cannot be made.
    pub fn secure_boot(&mut self) -> anyhow::Result<()> {
        let shown: Value = serde_json::from_str(&self.context.xenolith(&["--json", "keys", "show"]).read()?)?;
        let owner = shown["owner"].as_str().context("the keys have no owner")?;
        let certificate = |number: usize| -> anyhow::Result<PathBuf> {
            let path = shown["certificates"][number]["certificate"].as_str();
            Ok(path.context("a certificate is missing")?.into())
        };
        let (tools, folder) = (self.machine.tools.clone(), self.folder.path().to_path_buf());
        xenolith_vm::enroll(&tools, &folder, owner, &certificate(0)?, &certificate(1)?, &certificate(2)?)?;
        self.machine.firmware = Firmware::SecureBoot;
        Ok(())
    }

    /// Starts the machine, runs `test` on it, and keeps its files if that fails.
    ///
    /// # Errors
    /// What `test` says, with the place of the files.
    pub fn run<T>(&self, test: impl FnOnce(&mut Vm) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut vm = self.machine.start()?;
        let result = test(&mut vm);
        let Err(mut error) = result else { return result };
        if vm.lines().last().is_some_and(|line| line.contains(KERNEL_BEGINS)) {
            error = error.context(Silent);
        }
        let kept = self.keep(&mut vm)?;
        Err(error.context(format!("files of the machine are kept in {}", kept.display())))
    }

    fn keep(&self, vm: &mut Vm) -> anyhow::Result<PathBuf> {
        let kept = self.context.kept(self.scenario)?;
        if let Err(error) = vm.screenshot() {
            eprintln!("no screenshot: {error}");
        }
        ask_xen(vm);
        for entry in fs::read_dir(self.folder.path())? {
            let from = entry?.path();
            if from.extension().is_some_and(|end| end == "log" || end == "png") {
                fs::copy(&from, kept.join(from.file_name().expect("an entry has a name")))?;
            }
        }
        Ok(kept)
    }
}

/// Has Xen write into the serial log what a host that hangs cannot say itself.
fn ask_xen(vm: &mut Vm) {
    // Ctrl-A three times turns Xen's console from dom0 to Xen, whose keys print the registers of the processors (d) and of
    // dom0 (0), the domains (q) and the run queues (r). See Xen's common/keyhandler.c.
    const KEYS: &str = "\x01\x01\x01d0qr";
    if vm.type_serial(KEYS).is_ok() {
        // No line is the last one. A machine that has ended ends the waiting.
        let _ = vm.until("Xen's own words", WORDS, |_| None::<()>);
    }
}

/// Waits for the host's own word that it is fit to stay.
///
/// # Errors
/// When it does not come.
pub fn ready(vm: &mut Vm) -> anyhow::Result<String> {
    Ok(vm.line(READY, BOOT)?)
}

/// Why an installation would not offer each disk that the host sees, by its name; empty for one that it would.
///
/// # Errors
/// When the machine cannot be asked, or its capture not be read.
pub fn disks_not_offered(vm: &Vm) -> anyhow::Result<BTreeMap<String, Vec<Refusal>>> {
    let capture = vm.ssh_ok("xenolith-probe --about 'a scenario'")?;
    let machine = xenolith_machine::Machine::of(&Capture::parse(capture.as_bytes())?);
    Ok(machine.disks.iter().map(|disk| (disk.name.clone(), judge(&machine, disk).refusals)).collect())
}

/// What `xenolith-status --json` says.
///
/// # Errors
/// When it cannot be asked or understood.
pub fn status(vm: &Vm) -> anyhow::Result<Value> {
    let text = vm.ssh_ok("xenolith-status --json")?;
    serde_json::from_str(&text).with_context(|| format!("xenolith-status printed no JSON:\n{text}"))
}

/// Switches the host off from inside and waits for the end.
///
/// # Errors
/// When it stays on.
pub fn power_off(vm: &mut Vm) -> anyhow::Result<()> {
    // The connection may end before the command does.
    let _ = vm.ssh("systemctl poweroff")?;
    Ok(vm.ended(ACTION)?)
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
