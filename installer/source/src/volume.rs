//! Files on a volume labelled `XENOLITH`.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use xenolith_layout::names::SEED_LABEL;
use xenolith_machine::Machine;

const MOUNT_POINT: &str = "/run/xenolith/answers-volume";
/// File systems that answers may lie on, with options. ext4's journal is not replayed: nothing is written there.
const FILE_SYSTEMS: &[(&str, &str)] = &[("vfat", ""), ("iso9660", ""), ("ext4", "noload")];

/// The devices with a volume of that label: what the machine knows of, and what udev's link leads to, which may be a CD.
pub fn devices(machine: &Machine, root: &Path) -> Vec<PathBuf> {
    let named = |label: &Option<String>| label.as_deref() == Some(SEED_LABEL);
    let mut found = BTreeSet::new();
    for disk in &machine.disks {
        if named(&disk.content.label) {
            found.insert(PathBuf::from(disk.path()));
        }
        let parts = disk.content.parts.iter().filter(|part| named(&part.volume));
        found.extend(parts.map(|part| Path::new("/dev").join(&part.kernel_name)));
    }
    found.extend(fs::canonicalize(root.join("dev/disk/by-label").join(SEED_LABEL)).ok());
    found.into_iter().collect()
}

/// A volume that is mounted, read-only, as long as this is kept.
pub struct Volume(PathBuf);

impl Volume {
    /// Mounts a device.
    pub fn mount(device: &Path) -> io::Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (kind, options) in FILE_SYSTEMS {
            match mount(Some(device), MOUNT_POINT, Some(*kind), flags, Some(*options)) {
                Ok(()) => return Ok(Self(MOUNT_POINT.into())),
                // Another file system than this one.
                Err(Errno::EINVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("it has a file system that no answers may be on (vfat, iso9660 or ext4)"))
    }

    /// A file in the volume's root folder, if it is there.
    pub fn file(&self, name: &str, longest: usize) -> io::Result<Option<Vec<u8>>> {
        file(&self.0.join(name), longest)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A read-only mount that is left over harms nobody, and the next one covers it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A plain file, up to one byte more than `longest`, so that whoever reads it can see that it is too long.
pub fn file(path: &Path, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    opened.take(longest as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
