//! Mounting, with errors that say what was to go where.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::InitError;

/// Where the root is put together before it becomes `/`.
pub const SYSROOT: &str = "/sysroot";

/// The file systems that the kernel itself provides. `/dev/pts` and the like are the system's business.
///
/// # Errors
/// [`InitError::Mount`]; without these nothing can go on.
pub fn kernel_file_systems() -> Result<(), InitError> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_new("proc", "/proc", "proc", quiet, "")?;
    mount_new("sysfs", "/sys", "sysfs", quiet, "")?;
    mount_new("devtmpfs", "/dev", "devtmpfs", MsFlags::MS_NOSUID, "mode=0755")?;
    mount_new("tmpfs", "/run", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755")
}

/// EFI variables, if the machine has them. Needs the module `efivarfs`.
pub fn efi_variables() {
    let at = "/sys/firmware/efi/efivars";
    if Path::new(at).is_dir() {
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if let Err(error) = mount_new("efivarfs", at, "efivarfs", quiet, "") {
            crate::console::note(error.line());
        }
    }
}

/// Makes the mount point if it can, and mounts.
///
/// # Errors
/// [`InitError::Mount`], also when the mount point cannot be made.
pub fn mount_new(
    what: impl AsRef<Path>,
    at: impl AsRef<Path>,
    kind: &str,
    flags: MsFlags,
    options: &str,
) -> Result<(), InitError> {
    let (what, at) = (what.as_ref(), at.as_ref());
    // On a read-only root it has to be there already; if not, mount says so.
    let _ = fs_err::create_dir_all(at);
    mount(Some(what), at, Some(kind), flags, Some(options)).map_err(|source| InitError::Mount {
        what: what.display().to_string(),
        at: at.into(),
        source,
    })
}

/// Shows a folder at another place too.
///
/// # Errors
/// [`InitError::Mount`].
pub fn bind(what: impl AsRef<Path>, at: impl AsRef<Path>) -> Result<(), InitError> {
    change(what.as_ref(), at.as_ref(), MsFlags::MS_BIND)
}

/// Moves a mount with everything below it.
///
/// # Errors
/// [`InitError::Mount`].
pub fn shift(what: impl AsRef<Path>, at: impl AsRef<Path>) -> Result<(), InitError> {
    change(what.as_ref(), at.as_ref(), MsFlags::MS_MOVE)
}

/// Takes a mount away, for a candidate that did not do.
pub fn unmount(at: impl AsRef<Path>) {
    // Best effort: what stays mounted read-only does no harm.
    let _ = umount2(at.as_ref(), MntFlags::MNT_DETACH);
}

fn change(what: &Path, at: &Path, flags: MsFlags) -> Result<(), InitError> {
    mount(Some(what), at, None::<&str>, flags, None::<&str>).map_err(|source| InitError::Mount {
        what: what.display().to_string(),
        at: at.into(),
        source,
    })
}
