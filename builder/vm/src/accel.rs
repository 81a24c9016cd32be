//! Whether KVM can really run what we boot: found out by trying.
//!
//! The presence of `/dev/kvm` says little: inside many virtual machines it opens and then cannot run firmware,
//! or runs firmware and not Xen. So a medium is started with KVM and must get as far as Xen's first line.

use std::{path::Path, time::Duration};

use fs_err as fs;

use crate::{Event, Machine, Medium};

/// How instructions are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// By QEMU's translator.
    Emulation,
}

impl Accelerator {
    /// As QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "tcg",
        }
    }

    /// Under emulation `max` and `EPYC` crash a PV dom0; `qemu64` with SVM and nested paging boots PV, PVH and
    /// HVM guests (seen with QEMU 7.2 and 10.0, Xen 4.20).
    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Emulation => "qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+sha-ni",
        }
    }
}

/// Tries KVM on a medium and says in one line what came of it.
///
/// The answer is kept in `memory` (a file) for as long as this kernel runs.
pub fn choose(tools: &Path, medium: &Medium, memory: &Path) -> (Accelerator, String) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let remembered = fs::read_to_string(memory).unwrap_or_default();
    if let Some((before, words)) = remembered.split_once('\n')
        && before == boot.trim()
    {
        let accelerator =
            if words.starts_with("KVM runs") { Accelerator::Kvm } else { Accelerator::Emulation };
        return (accelerator, words.to_owned());
    }
    let (accelerator, words) = match try_kvm(tools, medium) {
        Ok(()) => (Accelerator::Kvm, "KVM runs firmware and Xen: using it".to_owned()),
        Err(why) => (Accelerator::Emulation, format!("using emulation, which is slow: {why}")),
    };
    let _ = fs::write(memory, format!("{}\n{words}", boot.trim()));
    (accelerator, words)
}

fn try_kvm(tools: &Path, medium: &Medium) -> Result<(), String> {
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Err(format!("no KVM here ({})", error.kind()));
    }
    let run = tempfile::Builder::new().prefix("xkvm-").tempdir().map_err(|error| error.to_string())?;
    let mut machine = Machine::new(tools, run.path(), vec![medium.clone()]);
    machine.accelerator = Accelerator::Kvm;
    machine.stop_on_reset = true;
    machine.memory = 2048;
    let first_line = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
    };
    let mut vm = machine.start().map_err(|error| format!("KVM does not start ({})", first_line(&error)))?;
    let mut stopped = false;
    vm.until("line of Xen", Duration::from_secs(45), |event| match event {
        Event::Line(line) if line.contains("(XEN)") => Some(()),
        Event::Qmp { name, .. } if name == "STOP" || name == "GUEST_PANICKED" => {
            stopped = true;
            Some(())
        }
        _ => None,
    })
    .map_err(|_| "KVM is here, but firmware and Xen do not get through on it".to_owned())?;
    if stopped { Err("KVM is here, but it cannot run firmware".into()) } else { Ok(()) }
}
