//! What is kept of the host that is on the target: read from its state partition before anything is decided, and never written.
//!
//! It is read once and kept in RAM, since the installation empties the disk that it comes from: a run that failed and is started again
//! finds it there. After a power cut in the midst of an installation it is gone with the disk's old state.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use xenolith_firstboot::{Former, System as _, ThisHost};
use xenolith_installer::{Product, found};
use xenolith_layout::disk::Role;
use xenolith_machine::{Disk, Machine, Part, judge};

const MOUNT_POINT: &str = "/run/xenolith/install/former";
/// Where what was read waits. It holds private keys.
const FOLDER: &str = "/run/xenolith/install/formers";

/// The host on these disks of a machine, or what was read of it before they were emptied: on one of them, or on both halves of a mirror.
///
/// # Errors
/// When there is none, when there are several, or it is not understood.
pub fn on(machine: &Machine, disks: &[&Disk]) -> anyhow::Result<Former> {
    let mut found: Vec<(&str, Former)> = Vec::new();
    let mut why = anyhow::anyhow!("no disk was chosen");
    for disk in disks {
        match of(machine, disk) {
            Ok(former) => found.push((&disk.name, former)),
            Err(error) => why = error,
        }
    }
    let Some((first, former)) = found.pop() else { return Err(why) };
    if let Some((other, _)) = found.iter().find(|(_, other)| *other != former) {
        anyhow::bail!("{other} and {first} hold different hosts, and which one is to be kept cannot be told");
    }
    Ok(former)
}

fn of(machine: &Machine, disk: &Disk) -> anyhow::Result<Former> {
    let stash = stash(Path::new(FOLDER), disk);
    match read(machine, disk) {
        Ok(former) => {
            keep(&stash, &former).context("what is kept of the host cannot be noted")?;
            Ok(former)
        }
        Err(error) => kept(&stash).ok_or(error),
    }
}

/// The hosts on disks that are offered, by the places of the disks. One that cannot be read is not offered to be kept. A mirror is
/// started once, for both of its disks.
pub fn all(machine: &Machine) -> BTreeMap<usize, Former> {
    let mut mirrored: BTreeMap<Uuid, Option<Former>> = BTreeMap::new();
    let offered = machine.disks.iter().enumerate().filter(|(_, disk)| judge(machine, disk).is_offered());
    let mut read_once = |disk: &Disk| {
        let read = || of(machine, disk).ok();
        match state_of(machine, disk) {
            Some(StateOf::Array(array, _)) => mirrored.entry(array).or_insert_with(read).clone(),
            _ => read(),
        }
    };
    offered.filter_map(|(index, disk)| Some((index, read_once(disk)?))).collect()
}

fn read(machine: &Machine, disk: &Disk) -> anyhow::Result<Former> {
    match state_of(machine, disk) {
        None => bail!("there is no Xenolith on {} whose settings could be kept", disk.name),
        Some(StateOf::Part(device)) => read_from(&device),
        Some(StateOf::Array(array, members)) => {
            let array = Array::start(array, &members)?;
            let former = read_from(Path::new(Array::NODE))?;
            array.stop()?;
            Ok(former)
        }
    }
}

fn read_from(device: &Path) -> anyhow::Result<Former> {
    let state = State::mount(device)
        .with_context(|| format!("the state on {} cannot be looked at", device.display()))?;
    let former = Former::read(&state.0)?;
    // Else the disk would be in use when it is opened to be written.
    state.release().with_context(|| format!("{} is still in use", device.display()))?;
    Ok(former)
}

/// Where the state of a host is.
#[derive(Debug, PartialEq, Eq)]
enum StateOf {
    /// On a partition.
    Part(PathBuf),
    /// On an array, with the members of it that are there.
    Array(Uuid, Vec<PathBuf>),
}

/// The state of the Xenolith on a disk.
fn state_of(machine: &Machine, disk: &Disk) -> Option<StateOf> {
    found(disk).filter(|found| found.product == Product::Xenolith)?;
    let is_state = |part: &&Part| part.label.as_deref() == Some(Role::State.label());
    let state = disk.content.parts.iter().find(is_state)?;
    let path = |part: &Part| Path::new("/dev").join(&part.kernel_name);
    let Some(array) = state.array else {
        return (state.signature.as_deref() == Some("ext4")).then(|| StateOf::Part(path(state)));
    };
    let states = machine.disks.iter().flat_map(|disk| &disk.content.parts).filter(is_state);
    Some(StateOf::Array(array, states.filter(|part| part.array == Some(array)).map(path).collect()))
}

/// An array that runs read-only, so that its members stay as they are; the newer one counts.
struct Array(());

impl Array {
    const NODE: &str = "/dev/md/xenolith-former";

    fn start(array: Uuid, members: &[PathBuf]) -> anyhow::Result<Self> {
        let id = format!("--uuid={}", array.simple());
        let mut args: Vec<OsString> =
            ["--assemble", "--readonly", "--run", "--quiet", Self::NODE, &id].map(Into::into).into();
        args.extend(members.iter().map(Into::into));
        mdadm(args).context("the mirror of the host that is there does not start")?;
        Ok(Self(()))
    }

    fn stop(self) -> anyhow::Result<()> {
        std::mem::forget(self);
        mdadm(Self::STOP.map(Into::into)).context("the mirror of the host that is there does not stop")
    }

    const STOP: [&str; 3] = ["--stop", "--quiet", Self::NODE];
}

impl Drop for Array {
    fn drop(&mut self) {
        let _ = mdadm(Self::STOP.map(Into::into));
    }
}

fn mdadm(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let ran =
        duct::cmd("/usr/sbin/mdadm", args).stdin_null().stdout_null().stderr_capture().unchecked().run()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr).trim());
    Ok(())
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
        let array = Uuid::from_bytes([7; 16]);
        let with = |mark: &str, array: Option<Uuid>| {
            let mut machine = machine("xenolith");
            for part in machine.disks[0].content.parts.iter_mut().filter(|part| part.number == Some(7)) {
                (part.signature, part.array) = (Some(mark.to_owned()), array);
            }
            machine
        };
        let state = |machine: &Machine| state_of(machine, &machine.disks[0]);
        assert_eq!(state(&with("ext4", None)), Some(StateOf::Part("/dev/sda7".into())));
        assert_eq!(state(&with("crypto_LUKS", None)), None);
        let half = with("linux_raid_member", Some(array));
        assert_eq!(state(&half), Some(StateOf::Array(array, vec!["/dev/sda7".into()])));
        let mut both = half.clone();
        let mut second = half.disks[0].clone();
        for part in &mut second.content.parts {
            part.kernel_name = part.kernel_name.replace("sda", "sdb");
        }
        both.disks.push(second);
        assert_eq!(
            state(&both),
            Some(StateOf::Array(array, ["/dev/sda7", "/dev/sdb7"].map(Into::into).into()))
        );
        // That one was written to the disk and never started.
        for name in ["xenolith", "xcp-ng", "one-disk", "old-md-raid"] {
            let machine = machine(name);
            assert_eq!(machine.disks.iter().find_map(|disk| state_of(&machine, disk)), None, "{name}");
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
