//! Trying one candidate: recognise its verity tree, open it, mount it. What fails leaves nothing behind.

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use xenolith_layout::names::{ISO_VOLUME_ID, MEDIA_ROOT, MEDIA_VERITY};
use xenolith_layout::{RootHash, Slot};

use crate::blocks::{Disk, DiskKind};
use crate::boot::Medium;
use crate::console::note;
use crate::error::InitError;
use crate::mounts::{SYSROOT, mount_new, unmount};
use crate::needs::Tool;
use crate::probe::{ProbeError, recognise};
use crate::search::Candidate;
use crate::{net, state};

/// The device-mapper name of the verified root.
const NAME: &str = "root";
/// Where a medium's file system is mounted; it moves along with `/run`, since the root's loop devices need it.
pub const MEDIUM: &str = "/run/xenolith/medium";

/// A root that is mounted on [`SYSROOT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// What it was found on.
    pub medium: Medium,
    /// In which slot.
    pub slot: Option<Slot>,
    /// On which disk, by kernel name.
    pub disk: Option<String>,
    /// The device with the image.
    pub data: PathBuf,
    /// The device with its verity tree.
    pub hash: PathBuf,
    /// For a root that came over the network: the URL of the folder, and where answers are.
    pub network: Option<(String, Option<String>)>,
}

/// Tries a candidate.
///
/// # Errors
/// Each is a reason to try the next one; nothing of this one stays mounted or open then.
pub fn open(candidate: &Candidate, disks: &[Disk], root_hash: &RootHash) -> Result<Root, InitError> {
    match candidate {
        Candidate::Slot { disk, kind, slot, data, hash } => {
            recognise_in(hash, root_hash)?;
            let medium = if *kind == DiskKind::Memory { Medium::Memory } else { Medium::Disk };
            if medium == Medium::Disk
                && let Some(disk) = disks.iter().find(|now| now.name == *disk)
            {
                state::make_room(disk);
            }
            verify_and_mount(data, hash, root_hash)?;
            Ok(Root {
                medium,
                slot: Some(*slot),
                disk: Some(disk.clone()),
                data: data.clone(),
                hash: hash.clone(),
                network: None,
            })
        }
        Candidate::Medium { disk, kind } => {
            let node = Path::new("/dev").join(disk);
            if !carries_iso(&node)? {
                return Err(InitError::Refused("it carries no Xenolith medium"));
            }
            mount_new(
                &node,
                MEDIUM,
                "iso9660",
                MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
                "",
            )?;
            let files =
                [MEDIA_ROOT, MEDIA_VERITY].map(|path| Path::new(MEDIUM).join(path.trim_start_matches('/')));
            let (data, hash) = open_files(&files, root_hash).inspect_err(|_| unmount(MEDIUM))?;
            let medium = if *kind == DiskKind::Memory { Medium::Memory } else { Medium::Iso };
            Ok(Root { medium, slot: None, disk: Some(disk.clone()), data, hash, network: None })
        }
        Candidate::Network => {
            let net::Fetched { files, base, answers } = net::fetch(root_hash)?;
            let (data, hash) = open_files(&files, root_hash).inspect_err(|_| net::discard())?;
            let network = Some((base, answers));
            Ok(Root { medium: Medium::Network, slot: None, disk: None, data, hash, network })
        }
    }
}

fn recognise_in(tree: &Path, root_hash: &RootHash) -> Result<(), InitError> {
    let mut file = fs_err::File::open(tree)?;
    recognise(&mut file, root_hash)?;
    Ok(())
}

/// Whether the disk begins with an ISO 9660 volume of ours (ECMA-119 §8.4: the primary descriptor is sector 16
/// of 2048 bytes, with the volume id at byte 40). Looking first avoids mounting every data disk of a host.
fn carries_iso(node: &Path) -> Result<bool, ProbeError> {
    use std::os::unix::fs::FileExt;
    let mut descriptor = [0; 2048];
    let file = fs_err::File::open(node).map_err(ProbeError::Read)?;
    file.file().read_exact_at(&mut descriptor, 16 * 2048).map_err(ProbeError::Read)?;
    let volume = String::from_utf8_lossy(&descriptor[40..72]);
    Ok(descriptor.starts_with(b"\x01CD001") && volume.trim_end() == ISO_VOLUME_ID)
}

/// The image and its tree, as files, become read-only loop devices with the root opened over them.
fn open_files([data, hash]: &[PathBuf; 2], root_hash: &RootHash) -> Result<(PathBuf, PathBuf), InitError> {
    recognise_in(hash, root_hash)?;
    let data = attach(data)?;
    let opened = attach(hash).and_then(|hash| {
        let opened = verify_and_mount(&data, &hash, root_hash).inspect_err(|_| detach(&hash));
        opened.map(|()| hash)
    });
    let hash = opened.inspect_err(|_| detach(&data))?;
    Ok((data, hash))
}

fn attach(file: &Path) -> Result<PathBuf, InitError> {
    let node = Tool::Losetup.run().args(["--read-only", "--find", "--show"]).arg(file).done()?;
    Ok(PathBuf::from(node))
}

fn detach(node: &Path) {
    if let Err(error) = Tool::Losetup.run().arg("--detach").arg(node).done() {
        note(error);
    }
}

/// From here on a wrong block in what is read means panic, so that a failed boot is a failed boot.
fn verify_and_mount(data: &Path, hash: &Path, root_hash: &RootHash) -> Result<(), InitError> {
    let call = Tool::Veritysetup.run().args(["open", "--panic-on-corruption"]);
    call.arg(data).arg(NAME).arg(hash).arg(root_hash.to_string()).done()?;
    let mapped = Path::new("/dev/mapper").join(NAME);
    mount_new(mapped, SYSROOT, "erofs", MsFlags::MS_RDONLY, "").inspect_err(|_| {
        if let Err(error) = Tool::Veritysetup.run().args(["close", NAME]).done() {
            note(error);
        }
    })
}
