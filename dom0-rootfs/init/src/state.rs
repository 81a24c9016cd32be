//! The state partition. The promise: **state that exists is never overwritten; a host whose state cannot be
//! used still starts, and says so loudly.**
//!
//! ```text
//!   what is on the partition       what happens
//!   nothing (4 KiB of zeros)       grow the partition, make a file system: the first boot of this disk
//!   ext4                           e2fsck -p (then from the backup superblock), mount, grow the file system if
//!                                  the partition is longer
//!   a member of a mirror           the array is started ([`mirror`]), and the rest of this table is about it
//!   a container (LUKS2)            the TPM opens it, or a person ([`container`]), and the rest is about what is in it
//!   one that nobody opens          tmpfs, "tmpfs (locked: …)"
//!   ext4 that stays damaged        tmpfs, "tmpfs (damaged: …)": for people to mend
//!   zeros, but a backup superblock the start was lost: as damaged, after an attempt to mend it
//!   anything else                  tmpfs, "tmpfs (damaged: …)"
//! ```
//! A power cut while the file system is made leaves no superblock (mkfs.ext4 of e2fsprogs 1.47 wipes the place
//! first and writes it last), so the next boot makes it again; the first 4 KiB are the test for that reason.
//! The file system is found by the partition's GPT name on the disk the root is on, never by a label: a second
//! disk with the same labels must not lend its state.
//!
//! An old disk that is written anew has to have the start of the partition wiped by whoever writes it.

use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use xenolith_layout::Bytes;
use xenolith_layout::disk::{Role, STATE_BACKUP_SUPERBLOCK, STATE_FS_OPTIONS};
use xenolith_layout::names::STATE_CLAIMED;
use xenolith_layout::seal::{LUKS_MAGIC, LUKS_SECOND, LUKS_SECOND_MAGIC, STATE_CONTAINER_NODE, StateKey};

use crate::blocks::{self, Disk};
use crate::console::{alarm, note, say};
use crate::error::InitError;
use crate::events::Events;
use crate::grow::grow;
use crate::mounts::{mount_new, unmount};
use crate::needs::Tool;
use crate::{container, mirror, tpm};

/// Where the state is mounted; it moves along with `/run`.
pub use xenolith_layout::names::STATE_MOUNT as STATE;

/// Has e2fsck begin at [`STATE_BACKUP_SUPERBLOCK`]: 32768 blocks of 4 KiB; `-b` needs `-B`.
const FROM_BACKUP: [&str; 4] = ["-b", "32768", "-B", "4096"];
/// Less than this between file system and partition is what rounding leaves.
const WORTH_GROWING: Bytes = Bytes::mib(128);

/// What a state partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing yet.
    Blank,
    /// An ext4 file system of this length.
    Ext4(Bytes),
    /// A lost start: no superblock, but its backup.
    Headless,
    /// An encrypted container.
    Luks,
    /// Something else.
    Foreign,
}

/// What the state turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// This partition, or this array.
    Partition(PathBuf),
    /// In an encrypted container, opened with this.
    Encrypted(StateKey),
    /// RAM, as it has to be on a medium.
    Memory,
    /// RAM in place of a partition that cannot be used.
    Damaged(String),
    /// RAM in place of a container that nothing opens.
    Locked(String),
}

impl State {
    /// As `boot.json` says it.
    pub fn describe(&self) -> String {
        match self {
            Self::Partition(node) => node.display().to_string(),
            Self::Encrypted(_) => STATE_CONTAINER_NODE.to_owned(),
            Self::Memory => "tmpfs".to_owned(),
            Self::Damaged(why) => format!("tmpfs (damaged: {why})"),
            Self::Locked(why) => format!("tmpfs (locked: {why})"),
        }
    }

    /// What an encrypted one was opened with.
    pub fn key(&self) -> Option<StateKey> {
        match self {
            Self::Encrypted(key) => Some(*key),
            Self::Partition(_) | Self::Memory | Self::Damaged(_) | Self::Locked(_) => None,
        }
    }
}

/// Sees what is there from the first 4 KiB, the 4 KiB at the place of the backup superblock, and the start of what could be a
/// container's second header. cryptsetup mends the first by the second.
pub fn content(head: &[u8; 4096], backup: &[u8], second: &[u8]) -> Content {
    if head.starts_with(&LUKS_MAGIC) {
        return Content::Luks;
    }
    if let Some(length) = head.get(1024..).and_then(ext4_length) {
        return Content::Ext4(length);
    }
    if head.iter().any(|byte| *byte != 0) {
        return Content::Foreign;
    }
    if second.starts_with(&LUKS_SECOND_MAGIC) {
        return Content::Luks;
    }
    if ext4_length(backup).is_some() { Content::Headless } else { Content::Blank }
}

/// The length of the file system that a superblock describes; `None` if it is not one (Linux 6.12,
/// Documentation/filesystems/ext4/super.rst). A length that cannot be counts as 0: e2fsck decides what it is.
fn ext4_length(superblock: &[u8]) -> Option<Bytes> {
    let word = |at: usize| Some(u32::from_le_bytes(*superblock.get(at..)?.first_chunk()?));
    if superblock.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let has_64_bits = word(0x60)? & 0x80 != 0;
    let high = if has_64_bits { u64::from(word(0x150)?) } else { 0 };
    let blocks = high << 32 | u64::from(word(4)?);
    let block = 1024_u64.checked_shl(word(0x18)?).filter(|block| (1024..=65536).contains(block));
    Some(block.and_then(|block| block.checked_mul(blocks)).map_or(Bytes::ZERO, Bytes::new))
}

/// Makes the slots' state ready before the root is opened: a blank partition gets its length now, while no
/// partition of this disk is in use. A failure leaves it as long as it is.
pub fn make_room(disk: &Disk) {
    let Some(partition) = disk.labelled(Role::State.label()) else { return };
    if disk.read_only || !matches!(look(&partition.node()), Ok(Content::Blank)) {
        return;
    }
    match grow(&disk.node(), disk.sector) {
        Ok(true) => {
            say(format_args!("the state partition {} takes the free room", partition.node().display()))
        }
        Ok(false) => {}
        Err(error) => alarm(format_args!("the state partition stays as long as it is: {}", error.line())),
    }
}

/// Mounts the state: the partition of the disk with this kernel name, or RAM where none is to be used.
///
/// # Errors
/// Only if not even RAM can be mounted.
pub fn mount(disk: Option<&str>, events: &mut Events, sys: &Path) -> Result<State, InitError> {
    let found = disk.map(|disk| find(disk, events, sys));
    tpm::close(sys);
    let state = match found.map(|found| found.and_then(Found::mount)) {
        None => State::Memory,
        Some(Ok(state)) => state,
        Some(Err(InitError::Locked(why))) => State::Locked(why.to_owned()),
        Some(Err(error)) => State::Damaged(error.line()),
    };
    match &state {
        State::Partition(_) | State::Encrypted(_) => return Ok(state),
        State::Memory => {}
        State::Damaged(why) => {
            alarm(format_args!("STATE NOT USED, everything is lost at power-off: {why}"));
        }
        State::Locked(why) => alarm(format_args!(
            "STATE LOCKED AND NOT USED: {why}. Start the host anew and type the recovery key when it is asked for; \
             until then everything is lost at power-off"
        )),
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // At most half of the memory, like any tmpfs.
    mount_new("tmpfs", STATE, "tmpfs", flags, "mode=0755")?;
    Ok(state)
}

/// Whether nothing has claimed this state, mounted at `at`. A host whose state cannot be read may have been
/// claimed long ago, so a seed must not take it over: that counts as claimed.
pub fn is_first_boot(state: &State, at: &Path) -> bool {
    match state {
        State::Partition(_) | State::Encrypted(_) | State::Memory => !at.join(STATE_CLAIMED).exists(),
        State::Damaged(_) | State::Locked(_) => false,
    }
}

/// Where the state lies, opened as far as that goes.
struct Found {
    node: PathBuf,
    /// What a container was opened with.
    key: Option<StateKey>,
    /// Whether it may have become longer than its file system. An array is as long as it was made.
    grows: bool,
}

fn find(disk: &str, events: &mut Events, sys: &Path) -> Result<Found, InitError> {
    let disk = blocks::disks(sys).into_iter().find(|found| found.name == disk);
    let disk = disk.ok_or(InitError::Refused("the disk of the root is gone"))?;
    let label = Role::State.label();
    let partition =
        disk.labelled(label).ok_or(InitError::Refused("the disk has no partition named xenolith-state"))?;
    if disk.read_only {
        return Err(InitError::Refused("the disk is read-only"));
    }
    let node = mirror::device(&disk, partition.node(), events, sys)?;
    let grows = node == partition.node();
    if look(&node)? != Content::Luks {
        return Ok(Found { node, key: None, grows });
    }
    let key = container::open(&node, sys)?;
    Ok(Found { node: STATE_CONTAINER_NODE.into(), key: Some(key), grows })
}

impl Found {
    fn mount(self) -> Result<State, InitError> {
        let Self { node, key, grows } = self;
        let content = look(&node)?;
        match content {
            Content::Blank => {
                say(format_args!("making the state file system on {}", node.display()));
                make(&node)?;
            }
            // What cannot be mended safely by the first superblock may be by its backup; -p changes nothing else.
            Content::Ext4(_) => check(&node, &[]).or_else(|_| check(&node, &FROM_BACKUP))?,
            Content::Headless => check(&node, &FROM_BACKUP)?,
            Content::Foreign | Content::Luks => {
                return Err(InitError::Refused("the state partition holds something else than ext4"));
            }
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount_new(&node, STATE, "ext4", flags, "errors=remount-ro")?;
        // A container is opened as long as the partition is.
        if let Content::Ext4(length) = content
            && grows
            && self::length(&node)?.checked_sub(length).is_some_and(|more| more >= WORTH_GROWING)
        {
            say(format_args!("growing the state file system on {}", node.display()));
            if let Err(error) = Tool::Resize2fs.run().arg(&node).done() {
                alarm(format_args!("the state file system stays as long as it is: {error}"));
            }
        }
        if let Err(error) = fs_err::set_permissions(STATE, std::fs::Permissions::from_mode(0o755)) {
            unmount(STATE);
            return Err(error.into());
        }
        Ok(key.map_or(State::Partition(node), State::Encrypted))
    }
}

fn length(node: &Path) -> Result<Bytes, InitError> {
    Ok(Bytes::new(fs_err::File::open(node)?.seek(SeekFrom::End(0))?))
}

fn look(node: &Path) -> Result<Content, InitError> {
    let device = fs_err::File::open(node)?;
    let device = device.file();
    let mut head = [0; 4096];
    device.read_exact_at(&mut head, 0)?;
    let mut backup = [0; 4096];
    // A short partition has no such place, and a block that cannot be read holds nothing to go by.
    let backup = if device.read_exact_at(&mut backup, STATE_BACKUP_SUPERBLOCK.get()).is_ok() {
        &backup[..]
    } else {
        &[]
    };
    let mut second = [0; LUKS_SECOND_MAGIC.len()];
    device.read_exact_at(&mut second, LUKS_SECOND)?;
    Ok(content(&head, backup, &second))
}

/// No discard: it can take minutes.
fn make(node: &Path) -> Result<(), InitError> {
    Tool::MkfsExt4.run().args(STATE_FS_OPTIONS).args(["-E", "nodiscard"]).arg(node).done()?;
    Ok(())
}

/// 0: clean. 1, 2: mended. From 4 on it needs a person.
fn check(node: &Path, more: &[&str]) -> Result<(), InitError> {
    match Tool::E2fsck.run().arg("-p").args(more).arg(node).code()? {
        0 => Ok(()),
        1..=3 => {
            note(format_args!("{} was mended", node.display()));
            Ok(())
        }
        _ => Err(InitError::Refused("e2fsck -p could not mend the state file system")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(blocks: u32, log_block: u32) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[4..8].copy_from_slice(&blocks.to_le_bytes());
        bytes[0x18..0x1c].copy_from_slice(&log_block.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
        bytes
    }

    fn head(superblock: &[u8]) -> [u8; 4096] {
        let mut head = [0; 4096];
        head[1024..1024 + superblock.len()].copy_from_slice(superblock);
        head
    }

    #[test]
    fn zeros_are_blank_and_only_zeros_are() {
        assert_eq!(content(&[0; 4096], &[0; 4096], &[]), Content::Blank);
        assert_eq!(content(&[0; 4096], &[], &[]), Content::Blank);
        let mut one = [0; 4096];
        one[4095] = 1;
        assert_eq!(content(&one, &[], &[]), Content::Foreign);
    }

    #[test]
    fn a_file_system_tells_its_length() {
        assert_eq!(content(&head(&superblock(262_144, 2)), &[], &[]), Content::Ext4(Bytes::gib(1)));
        let mut large = superblock(0, 2);
        large[0x60] = 0x80;
        large[0x150] = 1;
        assert_eq!(content(&head(&large), &[], &[]), Content::Ext4(Bytes::gib(16 * 1024)));
    }

    #[test]
    fn a_superblock_that_makes_no_sense_is_still_a_file_system_and_never_blank() {
        assert_eq!(content(&head(&superblock(u32::MAX, u32::MAX)), &[], &[]), Content::Ext4(Bytes::ZERO));
    }

    #[test]
    fn a_lost_start_is_seen_by_the_backup() {
        assert_eq!(content(&[0; 4096], &superblock(262_144, 2), &[]), Content::Headless);
    }

    #[test]
    fn other_file_systems_are_foreign() {
        let mut xfs = [0; 4096];
        xfs[..4].copy_from_slice(b"XFSB");
        assert_eq!(content(&xfs, &[], &[]), Content::Foreign);
    }

    #[test]
    fn a_container_is_one_by_either_of_its_headers_and_never_blank() {
        let mut luks = [0; 4096];
        luks[..6].copy_from_slice(&LUKS_MAGIC);
        assert_eq!(content(&luks, &[], &[]), Content::Luks);
        assert_eq!(content(&[0; 4096], &[], &LUKS_SECOND_MAGIC), Content::Luks, "a lost start");
        assert_eq!(content(&[0; 4096], &superblock(262_144, 2), b"SKUL"), Content::Headless);
        // An ext4 that was made where a container had been is an ext4.
        assert_eq!(
            content(&head(&superblock(262_144, 2)), &[], &LUKS_SECOND_MAGIC),
            Content::Ext4(Bytes::gib(1))
        );
    }

    #[test]
    fn states_read_like_this_in_boot_json() {
        assert_eq!(State::Partition("/dev/vda7".into()).describe(), "/dev/vda7");
        assert_eq!(State::Memory.describe(), "tmpfs");
        assert_eq!(State::Damaged("no".into()).describe(), "tmpfs (damaged: no)");
        assert_eq!(State::Locked("no".into()).describe(), "tmpfs (locked: no)");
        assert_eq!(State::Encrypted(StateKey::Tpm).describe(), "/dev/mapper/xenolith-state");
    }

    #[test]
    fn a_claimed_state_is_no_first_boot() {
        let state = tempfile::tempdir().unwrap();
        assert!(is_first_boot(&State::Memory, state.path()));
        assert!(!is_first_boot(&State::Damaged(String::new()), state.path()), "nobody knows, so no seed");
        assert!(!is_first_boot(&State::Locked(String::new()), state.path()));
        fs_err::write(state.path().join(STATE_CLAIMED), "").unwrap();
        assert!(!is_first_boot(&State::Partition("/dev/vda7".into()), state.path()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_none_but_zeros_are_blank(bytes: Vec<u8>, at in 0_usize..4096) {
            let mut head = [0; 4096];
            let end = (at + bytes.len()).min(4096);
            head[at..end].copy_from_slice(&bytes[..end - at]);
            let is_zero = head.iter().all(|byte| *byte == 0);
            assert_eq!(content(&head, &bytes, &[]) == Content::Blank, is_zero && ext4_length(&bytes).is_none());
        }
    }
}
