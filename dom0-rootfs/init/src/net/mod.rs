//! The root over the network, when it is nowhere on the machine.
//!
//! ```text
//!   all NICs up ─▶ DHCP on each ─▶ URL of the boot file ─▶ its folder: root.verity, recognised, then root.erofs
//!                  first offer      (or http://<next server>/xenolith/)   into RAM, exactly as long as the tree says
//!                  with a place
//! ```
//! Plain HTTP and any DHCP server will do, since nothing that comes from there is believed: the tree has to
//! hash to the root hash of the signed boot file, and the kernel proves every block of the image against the
//! tree. What an attacker can do is keep us from booting, and for that there is a limit to everything: time,
//! attempts, length, memory.
//!
//! The files stay in RAM as long as the system runs. The address is taken back before it starts.
//!
//! Left out: IPv6, VLANs, static addresses (there is nowhere to write them down: the command line is signed),
//! TLS.

pub mod dhcp;
pub mod http;
pub mod link;
mod talk;
pub mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::MsFlags;
use xenolith_layout::disk::{ROOT_SIZE, VERITY_SIZE};
use xenolith_layout::{Bytes, RootHash, VERITY_BLOCK};

use crate::console::say;
use crate::error::InitError;
use crate::events::readable;
use crate::mounts::{mount_new, unmount};
use crate::probe::{ProbeError, recognise};
use http::Size;
use link::Lease;
use url::Base;

/// Where the files are kept.
const FOLDER: &str = "/run/xenolith/image";
/// The verity tree's name in the folder that is fetched from.
const TREE: &str = "root.verity";
/// The image's name there.
const IMAGE: &str = "root.erofs";
/// What the system needs beside the image.
const HEADROOM: Bytes = Bytes::mib(256);

/// Why the root did not come over the network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No Ethernet device, or none that could be brought up.
    #[error("there is no network device")]
    NoDevice,
    /// No server told an address and a place.
    #[error("no DHCP server offered an address and a boot URL on {devices} devices{}{heard}", if heard.is_empty() { "" } else { ": " })]
    NoLease {
        /// On how many devices we asked.
        devices: usize,
        /// What was said instead.
        heard: String,
    },
    /// A socket.
    #[error("cannot talk on {device}")]
    Socket {
        /// Which device.
        device: String,
        /// Why.
        source: Errno,
    },
    /// The server answers in a way that another try would not change.
    #[error("cannot fetch {url}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        source: http::BadHead,
    },
    /// Too long, or not as long as the tree says.
    #[error("{url} is {length} long, which cannot be right")]
    Length {
        /// What was asked for.
        url: String,
        /// What the server says.
        length: Bytes,
    },
    /// The connection, time after time.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What was asked for.
        url: String,
        /// Why the last try failed.
        source: std::io::Error,
    },
    /// The place for the file.
    #[error("cannot keep {url}")]
    Store {
        /// What was asked for.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// The tree is not the one that is looked for.
    #[error("{url} is not the tree of this root")]
    Tree {
        /// What was asked for.
        url: String,
        /// Why.
        source: ProbeError,
    },
    /// Not enough memory to keep the image.
    #[error("the image needs {needed} of memory, and {available} are left")]
    Memory {
        /// The image's length and some room.
        needed: Bytes,
        /// What the kernel can give.
        available: Bytes,
    },
}

/// What was fetched, and what was said about it.
pub struct Fetched {
    /// Image and tree, in this order.
    pub files: [PathBuf; 2],
    /// The folder that they came from, as a URL.
    pub base: String,
    /// Where answers for an installation are, if a DHCP server said so.
    pub answers: Option<String>,
}

/// Fetches image and tree and says where they are.
///
/// # Errors
/// Nothing stays behind then: neither files nor an address.
pub fn fetch(root_hash: &RootHash) -> Result<Fetched, InitError> {
    let lease = link::lease(Path::new("/sys"))?;
    say(format_args!("{} on {}: fetching from {}", lease.answer.address, lease.nic.name, lease.base));
    let files = with_address(&lease, root_hash);
    link::release(&lease);
    let files = files.inspect_err(|_| discard())?;
    Ok(Fetched { files, base: lease.base.to_string(), answers: lease.answer.answers })
}

/// Frees what was fetched.
pub fn discard() {
    unmount(FOLDER);
}

fn with_address(lease: &Lease, root_hash: &RootHash) -> Result<[PathBuf; 2], InitError> {
    link::configure(lease)?;
    // The limit is what a slot may hold; a tmpfs takes only what is written.
    let options = format!("mode=0700,size={}", (ROOT_SIZE + VERITY_SIZE).get());
    mount_new("tmpfs", FOLDER, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, &options)?;
    let (image, tree) = (Path::new(FOLDER).join(IMAGE), Path::new(FOLDER).join(TREE));
    store(&lease.base, TREE, Size::AtMost(VERITY_SIZE), &tree)?;
    let length = image_length(&lease.base, &tree, root_hash)?;
    room_for(length, available(&fs_err::read_to_string("/proc/meminfo")?))?;
    store(&lease.base, IMAGE, Size::Exactly(length), &image)?;
    Ok([image, tree])
}

/// The tree is the right one, so what it says about the image's length is true.
fn image_length(base: &Base, tree: &Path, root_hash: &RootHash) -> Result<Bytes, InitError> {
    let url = || format!("{base}{TREE}");
    let mut file = fs_err::File::open(tree)?;
    let superblock =
        recognise(&mut file, root_hash).map_err(|source| NetError::Tree { url: url(), source })?;
    // The superblock itself is not hashed: its number of blocks is only a claim.
    let length = VERITY_BLOCK.checked_mul(superblock.data_blocks).unwrap_or(Bytes::new(u64::MAX));
    if length > ROOT_SIZE { Err(NetError::Length { url: url(), length }.into()) } else { Ok(length) }
}

fn room_for(length: Bytes, available: Bytes) -> Result<(), NetError> {
    let needed = length + HEADROOM;
    if needed > available { Err(NetError::Memory { needed, available }) } else { Ok(()) }
}

/// `MemAvailable` of `/proc/meminfo`; nothing if it is not there.
fn available(meminfo: &str) -> Bytes {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.and_then(|kib: u64| kib.checked_mul(1024)).map_or(Bytes::ZERO, Bytes::new)
}

fn store(base: &Base, name: &str, size: Size, to: &Path) -> Result<(), InitError> {
    let mut file = fs_err::File::create(to)?;
    let mut told = 0;
    let progress = |have: Bytes, whole: Bytes| {
        let tenths = have.get().saturating_mul(10).checked_div(whole.get()).unwrap_or(10);
        // Small files are not worth a line each.
        if whole > Bytes::mib(16) && tenths > told {
            told = tenths;
            say(format_args!("{name}: {have} of {whole}"));
        }
    };
    http::fetch(base, name, size, &mut file, pause, progress)?;
    Ok(())
}

/// Waits a while before the next attempt: there is no event that says when a server is well again.
fn pause(attempt: u32) {
    let _ = readable(&[], Duration::from_secs(u64::from(attempt) * 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_that_is_left_is_read() {
        let text = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(available(text), Bytes::mib(2));
        for odd in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(available(odd), Bytes::ZERO);
        }
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused_before_it_is_fetched() {
        assert!(room_for(Bytes::mib(400), Bytes::gib(1)).is_ok());
        assert!(matches!(room_for(Bytes::gib(1), Bytes::gib(1)), Err(NetError::Memory { .. })));
    }

    #[test]
    fn only_the_right_tree_tells_the_length() {
        let base: Base = "http://h/".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tree");
        let data = vec![1; 8 * 4096];
        let mut tree = std::io::Cursor::new(Vec::new());
        let hash = xenolith_verity::build(&mut data.as_slice(), Bytes::kib(32), &mut tree).unwrap();
        let mut tree = tree.into_inner();
        fs_err::write(&path, &tree).unwrap();
        assert_eq!(image_length(&base, &path, &hash).unwrap(), Bytes::kib(32));
        assert!(image_length(&base, &path, &RootHash::new([0; 32])).is_err());
        tree[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        fs_err::write(&path, &tree).unwrap();
        assert!(image_length(&base, &path, &hash).is_err(), "the count is outside the hash");
    }
}
