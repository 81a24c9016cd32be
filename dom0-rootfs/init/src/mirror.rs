//! The state of two disks that mirror each other. The promise: **a host starts with one of its two disks, and with what was written
//! last.**
//!
//! ```text
//!   state partition of the root's disk     what happens
//!   no member of an array                  nothing: it is the state itself
//!   a member; all others are there         mdadm assembles them; of two that differ it takes the newer one
//!   a member; others are missing           they are waited for ([`PATIENCE`]), then it starts without them
//!   a member that was away                 is taken in again, and brought up to date while the host runs
//! ```
//! Members are found by the array's UUID in their superblocks, in partitions that are labelled as state on any disk: names of disks
//! change. Everything else about arrays is mdadm's. No array is ever made here.
//!
//! Source: Linux 6.12, include/uapi/linux/raid/md_p.h, `struct mdp_superblock_1` (metadata 1.2: 4 KiB behind the start).

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;
use xenolith_layout::disk::{Role, STATE_MIRROR};

use crate::blocks::{self, Disk};
use crate::console::{alarm, note, say};
use crate::error::InitError;
use crate::events::Events;
use crate::needs::Tool;

/// How long the other disks of an array are waited for: a controller that starts its disks one by one takes half a minute.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where the superblock of metadata 1.2 begins.
const SUPERBLOCK: u64 = 4096;
const MAGIC: u32 = 0xa92b_4efc;
/// More disks than this are in none of our arrays.
const MOST: u32 = 16;

/// What a member says of its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The array.
    pub array: Uuid,
    /// How many disks it has.
    pub disks: u32,
}

/// Reads a superblock; `None` if it is none of a mirror.
pub fn member(superblock: &[u8]) -> Option<Member> {
    let word = |at: usize| Some(u32::from_le_bytes(*superblock.get(at..)?.first_chunk()?));
    let array = Uuid::from_bytes(*superblock.get(16..)?.first_chunk()?);
    let (magic, version, level, disks) = (word(0)?, word(4)?, word(72)?, word(92)?);
    (magic == MAGIC && version == 1 && level == 1 && (1..=MOST).contains(&disks))
        .then_some(Member { array, disks })
}

/// The device that the state of `disk` lies on: its partition, or the array that this is a part of, which is started then.
///
/// # Errors
/// When the array does not start.
pub fn device(
    disk: &Disk,
    partition: PathBuf,
    events: &mut Events,
    sys: &Path,
) -> Result<PathBuf, InitError> {
    let Some(own) = look(&partition) else { return Ok(partition) };
    let begin = Instant::now();
    let mut has_said = false;
    let parts = loop {
        let parts = members(&blocks::disks(sys), own);
        let left = PATIENCE.saturating_sub(begin.elapsed());
        if parts.len() >= own.disks as usize || left.is_zero() {
            break parts;
        }
        if !std::mem::replace(&mut has_said, true) {
            say("waiting for the other disk of the mirror that holds the state");
        }
        events.wait(left.min(Duration::from_secs(5)), sys)?;
    };
    if parts.len() < own.disks as usize {
        alarm(format_args!(
            "THE MIRROR OF THE STATE HAS {} OF {} DISKS: {} is used alone; put the other one back or replace it",
            parts.len(),
            own.disks,
            disk.name
        ));
    }
    assemble(&parts)?;
    Ok(STATE_MIRROR.into())
}

/// `--run` starts it with fewer disks than it had. Of members that are apart, mdadm leaves the older ones out.
fn assemble(parts: &[PathBuf]) -> Result<(), InitError> {
    Tool::Mdadm.run().args(["--assemble", "--run", STATE_MIRROR]).args(parts).done()?;
    let name = STATE_MIRROR.trim_start_matches("/dev/");
    let running = Path::new("/sys/block").join(name).join("md");
    for part in parts {
        let member = part.file_name().map(|part| running.join(format!("dev-{}", part.to_string_lossy())));
        if member.is_none_or(|member| member.exists()) {
            continue;
        }
        note(format_args!("{} was away; it is brought up to date", part.display()));
        // Only what has changed since; all of it if that is not known any more.
        let call = |how| Tool::Mdadm.run().args(["--manage", STATE_MIRROR, how]).arg(part).done();
        if let Err(error) = call("--re-add").or_else(|_| call("--add")) {
            alarm(format_args!("{} is not taken into the mirror again: {error}", part.display()));
        }
    }
    Ok(())
}

/// The state partitions that belong to the same array.
fn members(disks: &[Disk], own: Member) -> Vec<PathBuf> {
    let parts = disks.iter().flat_map(|disk| &disk.partitions);
    let labelled = parts.filter(|part| part.label.as_deref() == Some(Role::State.label()));
    labelled
        .map(|part| part.node())
        .filter(|node| look(node).is_some_and(|one| one.array == own.array))
        .collect()
}

fn look(node: &Path) -> Option<Member> {
    let mut superblock = [0; 256];
    let device = fs_err::File::open(node).ok()?;
    device.file().read_exact_at(&mut superblock, SUPERBLOCK).ok()?;
    member(&superblock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(level: u32, disks: u32) -> [u8; 256] {
        let mut bytes = [0; 256];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[16..32].copy_from_slice(&[7; 16]);
        bytes[72..76].copy_from_slice(&level.to_le_bytes());
        bytes[92..96].copy_from_slice(&disks.to_le_bytes());
        bytes
    }

    #[test]
    fn a_member_of_a_mirror_names_its_array() {
        assert_eq!(member(&superblock(1, 2)), Some(Member { array: Uuid::from_bytes([7; 16]), disks: 2 }));
    }

    #[test]
    fn other_arrays_and_other_bytes_are_no_member() {
        assert_eq!(member(&superblock(5, 3)), None);
        assert_eq!(member(&superblock(1, 0)), None);
        assert_eq!(member(&[0; 256]), None);
        assert_eq!(member(&superblock(1, 2)[..80]), None);
    }

    #[test]
    fn what_is_no_member_is_the_state_itself() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("part");
        fs_err::write(&plain, [0; 8192]).unwrap();
        assert_eq!(look(&plain), None);
        let mut bytes = vec![0; 8192];
        bytes[4096..4352].copy_from_slice(&superblock(1, 2));
        fs_err::write(&plain, bytes).unwrap();
        assert_eq!(look(&plain).map(|member| member.disks), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = member(&bytes);
        }
    }
}
