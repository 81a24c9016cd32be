//! A plan for people: what goes, what comes, and in which order.

use std::fmt;

use crate::plan::{DiskId, Erased, Plan, Seal, Step, Target};

impl Plan {
    /// What goes: a line for each disk.
    pub fn losses(&self) -> String {
        let line = |Erased { disk, model, holds, keeps }: &Erased| {
            let holds = if holds.is_empty() { "nothing" } else { holds };
            let (path, size) = (&disk.path, disk.size);
            format!(
                "  {path}  {size}  model {}  serial {}  holds {holds}{}\n",
                model.as_deref().unwrap_or("-"),
                disk.serial.as_deref().unwrap_or("-"),
                keeps.as_ref().map_or_else(String::new, |part| format!("; {part} stays as it is"))
            )
        };
        let head = format!(
            "Xenolith {} ({}) will be installed. All that is on these disks will be lost:\n",
            self.image.version,
            self.image.root + self.image.verity
        );
        self.erases.iter().map(line).fold(head, |text, line| text + &line)
    }
}

/// What goes, what comes, and in which order.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.losses())?;
        let storage = self.storage.iter().flat_map(|storage| &storage.disks);
        for Target { disk, layout } in self.targets.iter().chain(storage) {
            writeln!(f, "\n{} will have:", disk.path)?;
            for partition in &layout.partitions {
                let (offset, length) = (layout.offset(partition).get(), layout.length(partition).to_string());
                writeln!(f, "  {:<18} {length:>10} at byte {offset}", partition.label())?;
            }
        }
        f.write_str("\nSteps:\n")?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}  {step}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("encrypted, key sealed to this machine's TPM (PCR 7: Secure Boot's state and keys)")?;
        match self {
            Self::SecureBoot => Ok(()),
            Self::Unsigned => f.write_str(
                "; Secure Boot is off: this protects a disk that leaves the machine, and nothing against whoever can start the machine",
            ),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |disks: &[DiskId]| disks.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Self::Confirm => f.write_str("make sure that somebody has agreed"),
            Self::Clear { disk } => write!(f, "clear {}", disk.path),
            Self::ClearSystem { disk } => write!(f, "clear {}, all but its storage", disk.path),
            Self::WriteImage { disk } => write!(f, "write the system to {} and read it back", disk.path),
            Self::MakeEsp { disk, .. } => write!(f, "write the boot files to {}", disk.path),
            Self::MakeState { disks, seal } => {
                let mirrored = if disks.len() > 1 { ", mirrored" } else { "" };
                write!(f, "make the state file system{mirrored} on {}", names(disks))?;
                seal.map_or(Ok(()), |seal| write!(f, ", {seal}"))
            }
            Self::Activate { disk } => write!(f, "write the partition table of {}", disk.path),
            Self::Register { disks, .. } => write!(f, "tell the firmware to start from {}", names(disks)),
        }
    }
}
