//! What this program needs around it in the initrd: the programs it runs and the kernel modules it loads.
//!
//! The builder reads these tables and packs what they name, so that the list in the image and the list in the
//! code cannot drift apart. Shared libraries follow from the programs and are found by the builder; module
//! dependencies follow from `modules.dep`.
//!
//! Everything that would need an `ioctl` of our own is left to a small program instead: `losetup` for loop
//! devices, `blockdev` for having the kernel read a changed partition table, `ip` for addresses,
//! `veritysetup` for the device mapper. None of them is a shell, and none is run with text that came from
//! outside except as one whole argument.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program in the initrd. Closed: what is not named here is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Opens the verified root.
    Veritysetup,
    /// Loads kernel modules; the kernel itself calls it too, under this path.
    Modprobe,
    /// Makes the pair of files on a medium into block devices.
    Losetup,
    /// Has the kernel read a partition table that was changed.
    Blockdev,
    /// Makes the state partition's file system, at first boot only.
    MkfsExt4,
    /// Mends the state partition's file system.
    E2fsck,
    /// Grows the state partition's file system.
    Resize2fs,
    /// Copies a generation of `/etc` with owners, extended attributes and whiteouts.
    Cp,
    /// Brings a network device up and gives it its address.
    Ip,
    /// Starts the array that the state of two disks lies on.
    Mdadm,
    /// Opens an encrypted state, by the TPM or a recovery key.
    Cryptsetup,
}

impl Tool {
    /// All of them, in the order of [`PROGRAMS`].
    pub const ALL: [Self; 11] = [
        Self::Veritysetup,
        Self::Modprobe,
        Self::Losetup,
        Self::Blockdev,
        Self::MkfsExt4,
        Self::E2fsck,
        Self::Resize2fs,
        Self::Cp,
        Self::Ip,
        Self::Mdadm,
        Self::Cryptsetup,
    ];

    /// Where it lies, in the initrd as in the package it comes from.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Veritysetup => "/usr/sbin/veritysetup",
            Self::Modprobe => "/usr/sbin/modprobe",
            Self::Losetup => "/usr/sbin/losetup",
            Self::Blockdev => "/usr/sbin/blockdev",
            Self::MkfsExt4 => "/usr/sbin/mkfs.ext4",
            Self::E2fsck => "/usr/sbin/e2fsck",
            Self::Resize2fs => "/usr/sbin/resize2fs",
            Self::Cp => "/usr/bin/cp",
            Self::Ip => "/usr/bin/ip",
            Self::Mdadm => "/usr/sbin/mdadm",
            Self::Cryptsetup => "/usr/sbin/cryptsetup",
        }
    }

    /// The Debian package that brings it.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Veritysetup | Self::Cryptsetup => "cryptsetup-bin",
            Self::Modprobe => "kmod",
            Self::Losetup => "mount",
            Self::Blockdev => "util-linux",
            Self::MkfsExt4 | Self::E2fsck | Self::Resize2fs => "e2fsprogs",
            Self::Cp => "coreutils",
            Self::Ip => "iproute2",
            Self::Mdadm => "mdadm",
        }
    }

    /// A command line that begins with this program.
    pub fn run(self) -> Call {
        Call { tool: self, arguments: Vec::new() }
    }
}

/// The programs, as paths in the initrd (symbolic links among them have to be followed when packing).
pub const PROGRAMS: &[&str] = &[
    Tool::Veritysetup.path(),
    Tool::Modprobe.path(),
    Tool::Losetup.path(),
    Tool::Blockdev.path(),
    Tool::MkfsExt4.path(),
    Tool::E2fsck.path(),
    Tool::Resize2fs.path(),
    Tool::Cp.path(),
    Tool::Ip.path(),
    Tool::Mdadm.path(),
    Tool::Cryptsetup.path(),
];

/// What programs load by its path: the part of libcryptsetup that has a TPM open a state (systemd 257, package systemd-cryptsetup).
pub const PLUGINS: &[&str] = &["/usr/lib/x86_64-linux-gnu/cryptsetup/libcryptsetup-token-systemd-tpm2.so"];

/// Libraries that are opened by name at run time, so that nothing needs them as far as a linker sees: by threads that end, and by
/// [`PLUGINS`] to reach a TPM.
pub const LIBRARIES: &[&str] =
    &["libgcc_s.so.1", "libtss2-esys.so.0", "libtss2-mu.so.0", "libtss2-rc.so.0", "libtss2-tcti-device.so.0"];

/// Modules that an encrypted state needs, loaded only where there is one. The drivers of TPMs are built into Debian's kernel.
pub const CONTAINER_MODULES: &[&str] = &["dm_crypt", "xts", "aesni_intel"];

/// Symbolic links that the initrd needs besides the usual merged `/bin`, `/sbin`, `/lib` and `/lib64`: the
/// kernel starts `/sbin/modprobe` for what it misses, and finds it through the merged `/sbin`.
pub const LINKS: &[(&str, &str)] =
    &[("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")];

/// Modules that are loaded by name before anything else, because no device announces them.
pub const EARLY_MODULES: &[&str] = &[
    "sha256_ssse3",
    "dm_mod",
    "dm_verity",
    "erofs",
    "overlay",
    "loop",
    "isofs",
    "ext4",
    "md_mod",
    "raid1",
    "efivarfs",
];

/// Modules, by name, that the initrd carries. Those of [`EARLY_MODULES`] are loaded by name, the others when a
/// device asks for them. A name that the kernel has built in needs no file.
pub const MODULES: &[&str] = &[
    // the root and the state
    "sha256_ssse3",
    "dm_mod",
    "dm_verity",
    "erofs",
    "overlay",
    "loop",
    "isofs",
    "ext4",
    "md_mod",
    "raid1",
    "dm_crypt",
    "xts",
    "aesni_intel",
    "crc32c_intel",
    "crc32c_generic",
    "efivarfs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859_1",
    "nls_utf8",
    // disks of any bus
    "sd_mod",
    "sr_mod",
    "ses",
    "nvme",
    "ahci",
    "ata_piix",
    "ata_generic",
    "sata_sil24",
    "sata_mv",
    "megaraid_sas",
    "mpt3sas",
    "mpi3mr",
    "hpsa",
    "aacraid",
    "smartpqi",
    "arcmsr",
    "isci",
    "mvsas",
    "pm80xx",
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "mptspi",
    "xen_blkfront",
    "sdhci_pci",
    "sdhci_acpi",
    "mmc_block",
    "vmd",
    // USB
    "xhci_pci",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    "usb_storage",
    "uas",
    // a medium that firmware left in RAM
    "nfit",
    "nd_pmem",
    "nd_e820",
    // network, for a root that comes over it
    "virtio_net",
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "bnx2",
    "bnx2x",
    "bnxt_en",
    "tg3",
    "mlx4_en",
    "mlx5_core",
    "r8169",
    "qede",
    "be2net",
    "cxgb4",
    "enic",
    "sfc",
    "atlantic",
    "ena",
    "vmxnet3",
    "8139cp",
    "xen_netfront",
];

/// Firmware files that some of [`MODULES`] cannot do without for plain disk or network access, as patterns
/// below `/usr/lib/firmware`. Left to the builder to pack where the package is in the image.
pub const FIRMWARE: &[&str] = &["bnx2/*", "bnx2x/*", "qed/*", "tigon/*", "rtl_nic/rtl8168*", "cxgb4/t*fw*"];

/// A command line being put together.
#[derive(Clone, Debug)]
pub struct Call {
    tool: Tool,
    arguments: Vec<PathBuf>,
}

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its path.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("{command}: {status}{}{output}", if output.is_empty() { "" } else { ": " })]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it printed, in one line.
        output: String,
    },
}

impl Call {
    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(PathBuf::from(argument.as_ref()));
        self
    }

    /// Adds several.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| PathBuf::from(argument.as_ref())));
        self
    }

    /// Runs it to its end; only exit code 0 is good.
    ///
    /// # Errors
    /// [`ToolError::Start`] if it is not there, [`ToolError::Failed`] if it fails.
    pub fn done(self) -> Result<String, ToolError> {
        let (output, text) = self.output()?;
        if output.status.success() { Ok(text) } else { Err(self.failed(&output)) }
    }

    /// As [`Call::done`], with something to read: a secret has no other way into a program.
    ///
    /// # Errors
    /// As [`Call::done`].
    pub fn done_with(self, input: &str) -> Result<String, ToolError> {
        let start = |source| ToolError::Start { program: self.tool.path(), source };
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read says why by how it ends.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(start)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(self.failed(&output))
        }
    }

    /// Runs it to its end and gives its exit code, for programs whose codes mean something (`e2fsck`).
    ///
    /// # Errors
    /// [`ToolError::Start`] if it is not there, [`ToolError::Failed`] if a signal ended it.
    pub fn code(self) -> Result<i32, ToolError> {
        let (output, _) = self.output()?;
        output.status.code().ok_or_else(|| self.failed(&output))
    }

    /// The command with its cleared environment, for a caller that waits on its own.
    pub fn command(&self) -> Command {
        // The only place that starts a program.
        let mut command = Command::new(self.tool.path());
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .env("LC_ALL", "C")
            // There is no udev here that could answer the device mapper's cookies: nodes are made by the
            // library.
            .env("DM_DISABLE_UDEV", "1")
            .stdin(Stdio::null());
        command
    }

    fn output(&self) -> Result<(Output, String), ToolError> {
        let output = self
            .command()
            .output()
            .map_err(|source| ToolError::Start { program: self.tool.path(), source })?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok((output, text))
    }

    fn failed(&self, output: &Output) -> ToolError {
        let words = std::iter::once(Path::new(self.tool.path()))
            .chain(self.arguments.iter().map(PathBuf::as_path))
            .map(|word| word.display().to_string())
            .collect::<Vec<_>>();
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        ToolError::Failed { command: words.join(" "), status: output.status, output: last_line(said) }
    }
}

/// The last lines of what a program said, as one line of at most 300 characters.
fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let start = lines.len().saturating_sub(3);
    lines[start..].join("; ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_programs_is_the_enum() {
        let paths: Vec<_> = Tool::ALL.iter().map(|tool| tool.path()).collect();
        assert_eq!(paths, PROGRAMS);
    }

    #[test]
    fn early_modules_are_carried() {
        for name in EARLY_MODULES.iter().chain(CONTAINER_MODULES) {
            assert!(MODULES.contains(name), "{name} is loaded but not carried");
        }
    }

    #[test]
    fn no_module_is_named_twice_and_names_use_underscores() {
        let mut names = MODULES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MODULES.len());
        assert!(MODULES.iter().all(|name| !name.contains(['-', '.', '/'])));
    }

    #[test]
    fn a_failure_shows_only_the_end_of_what_was_said() {
        assert_eq!(last_line(b"one\ntwo\n\nthree \nfour\n"), "two; three; four");
        assert_eq!(last_line("x".repeat(5000).as_bytes()).len(), 300);
    }
}
