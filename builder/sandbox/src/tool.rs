//! The programs that a step may start, one variant each.

/// A program of the tools tree. Closed on purpose: what the build can run is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Generates Rust bindings from the headers of the Xen just compiled.
    Bindgen,
    /// Compiles the crates that go into dom0.
    Cargo,
    /// A source package's own `configure`.
    Configure,
    /// Writes `modules.dep` for a kernel's modules.
    Depmod,
    /// Gives addresses away on a test network.
    Dnsmasq,
    /// Unpacks a Debian source package with the distribution's patches.
    DpkgSource,
    /// Makes folders, for a recipe whose `make` wants them to be there.
    Mkdir,
    /// Writes the root image.
    MkfsErofs,
    /// Checks a root image.
    FsckErofs,
    /// Writes an ext4 file system into a file.
    MkfsExt4,
    /// Installs packages into a root tree.
    Mkosi,
    /// Compiles Xen.
    Make,
    /// Splits debug symbols from programs.
    Objcopy,
    /// Applies our patches to Xen.
    Patch,
    /// The machine emulator.
    Qemu,
    /// The machine emulator's disk image tool.
    QemuImg,
    /// A shell, where a shell is the interface.
    Sh,
    /// The client that talks to a booted host.
    Ssh,
    /// Makes throw-away keys for a booted host.
    SshKeygen,
    /// A TPM for the machine emulator.
    Swtpm,
    /// Strips symbols from programs.
    Strip,
    /// Unpacks source archives.
    Tar,
    /// Puts keys into a firmware variable store.
    VirtFwVars,
    /// Checks verity trees independently of ours.
    Veritysetup,
    /// Writes the ISO.
    Xorriso,
}

impl Tool {
    /// What a declarative recipe (`hypervisor-src/build.toml`) may name.
    const NAMEABLE: [Self; 8] = [
        Self::Bindgen,
        Self::Configure,
        Self::Make,
        Self::Mkdir,
        Self::Objcopy,
        Self::Patch,
        Self::Strip,
        Self::Tar,
    ];

    /// The tool that a recipe names.
    pub fn named(program: &str) -> Option<Self> {
        Self::NAMEABLE.into_iter().find(|tool| tool.program() == program)
    }

    /// The program's name or path inside the tree.
    pub fn program(self) -> &'static str {
        match self {
            Self::Bindgen => "bindgen",
            Self::Cargo => "cargo",
            Self::Configure => "./configure",
            Self::Depmod => "depmod",
            Self::Dnsmasq => "dnsmasq",
            Self::DpkgSource => "dpkg-source",
            Self::Mkdir => "mkdir",
            Self::MkfsErofs => "mkfs.erofs",
            Self::FsckErofs => "fsck.erofs",
            Self::MkfsExt4 => "mkfs.ext4",
            Self::Mkosi => "mkosi",
            Self::Make => "make",
            Self::Objcopy => "objcopy",
            Self::Patch => "patch",
            Self::Qemu => "qemu-system-x86_64",
            Self::QemuImg => "qemu-img",
            Self::Sh => "sh",
            Self::Ssh => "ssh",
            Self::SshKeygen => "ssh-keygen",
            Self::Swtpm => "swtpm",
            Self::Strip => "strip",
            Self::Tar => "tar",
            Self::VirtFwVars => "virt-fw-vars",
            Self::Veritysetup => "veritysetup",
            Self::Xorriso => "xorriso",
        }
    }
}
