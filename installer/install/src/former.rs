//! What is kept of the host that is on the target: read from its state partition before anything is decided, and never written.
//!
//! It is read once and kept in RAM, since the installation empties the disk that it comes from: a run that failed and is started again
//! finds it there. After a power cut in the midst of an installation it is gone with the disk's old state.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sha2::{Digest as _, Sha256};
use xenolith_firstboot::{Former, System as _, ThisHost};
use xenolith_installer::{Product, found};
use xenolith_layout::disk::Role;
use xenolith_machine::{Disk, Machine, judge};

const MOUNT_POINT: &str = "/run/xenolith/install/former";
/// Where what was read waits. It holds private keys.
const FOLDER: &str = "/run/xenolith/install/formers";

/// The host on a disk, or what was read of it before the disk was emptied.
///
/// # Errors
/// When there is none, or it is not understood.
pub fn of(disk: &Disk) -> anyhow::Result<Former> {
    let stash = stash(Path::new(FOLDER), disk);
    match read(disk) {
        Ok(former) => {
            keep(&stash, &former).context("what is kept of the host cannot be noted")?;
            Ok(former)
        }
        Err(error) => kept(&stash).ok_or(error),
    }
}

/// The hosts on disks that are offered, by the places of the disks. One that cannot be read is not offered to be kept.
pub fn all(machine: &Machine) -> BTreeMap<usize, Former> {
    let offered = machine.disks.iter().enumerate().filter(|(_, disk)| judge(machine, disk).is_offered());
    offered.filter_map(|(index, disk)| Some((index, of(disk).ok()?))).collect()
}

fn read(disk: &Disk) -> anyhow::Result<Former> {
    let device = state_of(disk)
        .with_context(|| format!("there is no Xenolith on {} whose settings could be kept", disk.name))?;
    let state = State::mount(&device)
        .with_context(|| format!("the state on {} cannot be looked at", device.display()))?;
    let former = Former::read(&state.0)?;
    // Else the disk would be in use when it is opened to be written.
    state.release().with_context(|| format!("{} is still in use", device.display()))?;
    Ok(former)
}

/// The state partition of the Xenolith on a disk.
fn state_of(disk: &Disk) -> Option<PathBuf> {
    found(disk).filter(|found| found.product == Product::Xenolith)?;
    let state = disk.content.parts.iter().find(|part| part.label.as_deref() == Some(Role::State.label()))?;
    // Half of a mirror is no file system by itself, and a medium starts no array.
    (state.signature.as_deref() == Some("ext4")).then(|| Path::new("/dev").join(&state.kernel_name))
}

/// Where what was on a disk is noted: whatever is on it now, it is the same disk.
fn stash(folder: &Path, disk: &Disk) -> PathBuf {
    let known = format!("{:?} {:?} {} {}", disk.serial, disk.wwn, disk.size.get(), disk.kernel_name);
    let hash: String = Sha256::digest(known).iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{hash}.json"))
}

fn keep(stash: &Path, former: &Former) -> io::Result<()> {
    let text = serde_json::to_string(former).expect("texts and numbers always serialise");
    ThisHost.write(stash, 0o600, &text)
}

/// Written by ourselves, at this start.
fn kept(stash: &Path) -> Option<Former> {
    serde_json::from_slice(&fs::read(stash).ok()?).ok()
}

/// A state partition that is mounted, read-only and without its journal being replayed: nothing is written there.
struct State(PathBuf);

impl State {
    fn mount(device: &Path) -> io::Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(device), MOUNT_POINT, Some("ext4"), flags, Some("noload"))?;
        Ok(Self(MOUNT_POINT.into()))
    }

    fn release(self) -> io::Result<()> {
        Ok(umount2(&self.0, MntFlags::empty())?)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // After a release nothing is mounted there any more, and that is all that this can find out.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[cfg(test)]
mod tests {
    use xenolith_machine::Capture;

    use super::*;

    fn machine(name: &str) -> Machine {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(name).join("machine.json");
        Machine::of(&Capture::parse(&fs::read(path).unwrap()).unwrap())
    }

    #[test]
    fn the_state_of_a_xenolith_is_found_and_of_nothing_else() {
        let with = |mark: &str| {
            let mut disk = machine("xenolith").disks.remove(0);
            for part in disk.content.parts.iter_mut().filter(|part| part.number == Some(7)) {
                part.signature = Some(mark.to_owned());
            }
            disk
        };
        assert_eq!(state_of(&with("ext4")).unwrap(), Path::new("/dev/sda7"));
        assert_eq!(state_of(&with("linux_raid_member")), None, "half of a mirror");
        // That one was written to the disk and never started.
        for name in ["xenolith", "xcp-ng", "one-disk", "old-md-raid"] {
            assert_eq!(machine(name).disks.iter().find_map(state_of), None, "{name}");
        }
    }

    #[test]
    fn what_was_read_is_found_again_when_the_disk_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("settings.toml"), "version = 1\nhost.name = \"old\"\n").unwrap();
        let former = Former::read(state.path()).unwrap();
        let mut disk = machine("xenolith").disks.remove(0);
        let noted = stash(folder.path(), &disk);
        assert_eq!(kept(&noted), None);
        keep(&noted, &former).unwrap();
        disk.content = Default::default();
        assert_eq!(kept(&stash(folder.path(), &disk)), Some(former));
        disk.serial = Some("another".into());
        assert_eq!(kept(&stash(folder.path(), &disk)), None);
    }
}
