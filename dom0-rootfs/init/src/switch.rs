//! Making the mounted root the system's root: `/var`, `/etc`, the moved mounts, and the last step into systemd.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{chdir, chroot, execv};
use xenolith_layout::{RootHash, Slot};

use crate::console::note;
use crate::error::InitError;
use crate::mounts::{SYSROOT, bind, shift};
use crate::needs::Tool;
use crate::{etc, state};

/// What the kernel starts in the root image.
const SYSTEM: &str = "/usr/lib/systemd/systemd";

/// Mounts `/var` and `/etc` from the state.
///
/// `/var` begins as a copy of the image's, so that the folders that packages bring are there; what a later
/// version adds is for its tmpfiles.d. The copy appears by one rename, so half of one is never taken for it.
///
/// # Errors
/// [`InitError`]: without its own `/etc` and `/var` the system is not started.
pub fn writable_parts(slot: Option<Slot>, root_hash: RootHash) -> Result<(), InitError> {
    let (sysroot, state) = (Path::new(SYSROOT), Path::new(state::STATE));
    let var = state.join("var");
    if !var.is_dir() {
        let staged = state.join("var.new");
        if staged.exists() {
            fs_err::remove_dir_all(&staged)?;
        }
        Tool::Cp.run().args(["-a", "--"]).arg(sysroot.join("var")).arg(&staged).done()?;
        // Else the rename could last and the files' contents not.
        let folder = fs_err::File::open(&staged)?;
        nix::unistd::syncfs(&folder)
            .map_err(|source| InitError::System { what: "flush the state", source })?;
        fs_err::rename(&staged, &var)?; // the commit; cut: with it or without it
    }
    bind(&var, sysroot.join("var"))?;
    let generation = etc::prepare(state, slot, root_hash)?;
    etc::mount(&generation, sysroot)
}

/// Empties the initrd, makes the root `/` and becomes the system's init. Returns only on failure.
///
/// # Errors
/// [`InitError`].
pub fn into_system() -> Result<Infallible, InitError> {
    let system = |what| move |source| InitError::System { what, source };
    for folder in ["/dev", "/proc", "/sys", "/run"] {
        shift(folder, Path::new(SYSROOT).join(&folder[1..]))?;
    }
    empty_initrd();
    chdir(SYSROOT).map_err(system("enter the root"))?;
    shift(".", "/")?;
    chroot(".").map_err(system("change the root"))?;
    chdir("/").map_err(system("enter the root"))?;
    let path = CString::new(SYSTEM).map_err(|_| InitError::Refused("the system's init has no plain name"))?;
    execv(&path, &[&path]).map_err(system("start /usr/lib/systemd/systemd"))
}

/// Gives the initrd's memory back: it lives in RAM and nothing can reach it afterwards. Only its own file
/// system is touched. What cannot be removed costs memory and nothing else.
fn empty_initrd() {
    let Ok(root) = fs_err::metadata("/") else { return };
    empty(Path::new("/"), root.st_dev());
}

fn empty(folder: &Path, device: u64) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(facts) = fs_err::symlink_metadata(&path) else { continue };
        if facts.st_dev() != device {
            continue;
        }
        let removed = if facts.is_dir() {
            empty(&path, device);
            fs_err::remove_dir(&path)
        } else {
            fs_err::remove_file(&path)
        };
        // The mount points of what was moved are in use no more, but the root's own still is.
        if let Err(error) = removed
            && path != Path::new(SYSROOT)
        {
            note(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptying_stays_on_one_file_system_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("kept"), "").unwrap();
        let inside = root.path().join("initrd");
        fs_err::create_dir_all(inside.join("usr/bin")).unwrap();
        fs_err::write(inside.join("usr/bin/tool"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.join("link")).unwrap();
        let device = fs_err::metadata(&inside).unwrap().st_dev();
        empty(&inside, device + 1);
        assert!(inside.join("usr/bin/tool").exists(), "another file system");
        empty(&inside, device);
        assert_eq!(fs_err::read_dir(&inside).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
