//! The partition table. **It is written once, when a disk is made, and no upgrade ever changes it.**
//!
//! ```text
//!   nr  label              size       why this size
//!    1  xenolith-bios      1 MiB      GRUB's core image (0.2 MB), for machines without UEFI
//!    2  xenolith-esp       2 GiB      four boot files of some 70 MB, and room for ten years of firmware and kernel growth
//!    3  xenolith-root-a    4 GiB      the image may use half of it
//!    4  xenolith-verity-a  64 MiB     0.8 % of the root: 33 MiB for 4 GiB
//!    5  xenolith-root-b    4 GiB
//!    6  xenolith-verity-b  64 MiB
//!    7  xenolith-state     1…64 GiB   grown at the first boot ([`grow_state`])
//!    8  xenolith-sr        the rest   only when an installer asks for it
//! ```
//! Every partition begins and ends on a multiple of 1 MiB: right for 512 and 4096-byte sectors and for flash. The
//! numbers are the same on every disk, so a partition's number says what it is. State lies behind all that has a
//! fixed size, since it is the one that grows.
//!
//! The only later change is [`grow_state`]. A power cut while its table is written leaves the primary or the backup
//! table whole, and both describe the same data; the file system is grown after the table.
//! Source: UEFI 2.10 §5.3 (GPT).

use std::fmt;

use serde::{Serialize, Serializer};

use uuid::Uuid;

use crate::names::STATE_FS_LABEL;
use crate::{Bytes, Lba, SectorSize, Sectors, Seed, Slot, TypeGuid};

/// How the state file system is made, by whoever makes it: mkfs.ext4(8) of e2fsprogs 1.47. The label and what follows the place are
/// the caller's. Blocks have [`STATE_FS_BLOCK`] whatever the length, because [`STATE_BACKUP_SUPERBLOCK`] counts on it.
pub const STATE_FS_OPTIONS: &[&str] = &["-q", "-F", "-b", "4096", "-m", "1", "-L", STATE_FS_LABEL];
/// Its blocks.
pub const STATE_FS_BLOCK: Bytes = Bytes::kib(4);
/// Where in the state partition ext4 with blocks of 4 KiB keeps its first backup superblock. A host that finds one behind an empty
/// start takes its state for damaged, so whoever writes a disk anew empties both.
pub const STATE_BACKUP_SUPERBLOCK: Bytes = Bytes::mib(128);

/// Where partitions begin and end.
pub const ALIGNMENT: Bytes = Bytes::mib(1);
/// The BIOS boot partition.
pub const BIOS_BOOT_SIZE: Bytes = Bytes::mib(1);
/// The ESP.
pub const ESP_SIZE: Bytes = Bytes::gib(2);
/// The root partition of a slot.
pub const ROOT_SIZE: Bytes = Bytes::gib(4);
/// The verity partition of a slot.
pub const VERITY_SIZE: Bytes = Bytes::mib(64);
/// The least that the state partition gets.
pub const STATE_MIN: Bytes = Bytes::gib(1);
/// The most that the state partition gets, unless more is asked for.
pub const STATE_MAX: Bytes = Bytes::gib(64);
/// The least that a local SR is made with.
pub const LOCAL_SR_MIN: Bytes = Bytes::gib(1);

/// The device that the state lies on where two disks mirror each other: the same name at every boot, chosen by whoever starts the array.
pub const STATE_MIRROR: &str = "/dev/md127";
/// The name in the superblocks of that array.
pub const STATE_MIRROR_NAME: &str = "xenolith-state";
/// What an array keeps in front of its data: superblock, write-intent bitmap, and room for both to change. Each of the two options of
/// mdadm(8) that it sets is written down here, as an array is made in one place and its size is counted on in another.
pub const MIRROR_DATA_OFFSET: Bytes = Bytes::mib(1);

/// The partition array of a GPT: 128 entries of 128 bytes.
const TABLE: Bytes = Bytes::kib(16);

/// What a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// GRUB's core image.
    BiosBoot,
    /// The EFI system partition.
    Esp,
    /// The root image of a slot.
    Root(Slot),
    /// The verity tree of a slot.
    Verity(Slot),
    /// What outlives upgrades.
    State,
    /// The local storage repository.
    LocalSr,
}

impl Role {
    /// Every role, in the order of the partition numbers.
    pub const ALL: [Self; 8] = [
        Self::BiosBoot,
        Self::Esp,
        Self::Root(Slot::A),
        Self::Verity(Slot::A),
        Self::Root(Slot::B),
        Self::Verity(Slot::B),
        Self::State,
        Self::LocalSr,
    ];

    /// The partition's number, from 1.
    pub const fn number(self) -> u32 {
        match self {
            Self::BiosBoot => 1,
            Self::Esp => 2,
            Self::Root(Slot::A) => 3,
            Self::Verity(Slot::A) => 4,
            Self::Root(Slot::B) => 5,
            Self::Verity(Slot::B) => 6,
            Self::State => 7,
            Self::LocalSr => 8,
        }
    }

    /// The partition's GPT label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BiosBoot => "xenolith-bios",
            Self::Esp => "xenolith-esp",
            Self::Root(Slot::A) => "xenolith-root-a",
            Self::Verity(Slot::A) => "xenolith-verity-a",
            Self::Root(Slot::B) => "xenolith-root-b",
            Self::Verity(Slot::B) => "xenolith-verity-b",
            Self::State => "xenolith-state",
            Self::LocalSr => "xenolith-sr",
        }
    }

    /// The role with this GPT label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.label() == label)
    }

    /// The partition's type.
    pub const fn type_guid(self) -> TypeGuid {
        match self {
            Self::BiosBoot => TypeGuid::BIOS_BOOT,
            Self::Esp => TypeGuid::ESP,
            Self::Root(_) => TypeGuid::ROOT,
            Self::Verity(_) => TypeGuid::VERITY,
            Self::State => TypeGuid::STATE,
            Self::LocalSr => TypeGuid::LOCAL_SR,
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What may differ from disk to disk.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the unique GUIDs come from.
    pub seed: Seed,
    /// The most that the state partition gets; never less than [`STATE_MIN`].
    pub state_max: Bytes,
    /// Whether the rest of the disk becomes a local SR.
    pub local_sr: bool,
}

impl Options {
    /// The usual disk: state of at most [`STATE_MAX`], no local SR.
    pub const fn new(seed: Seed) -> Self {
        Self { seed, state_max: STATE_MAX, local_sr: false }
    }
}

/// A planned partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// What it is: number, label and type follow from it.
    pub role: Role,
    /// Its unique GUID.
    pub guid: Uuid,
    /// Its first sector.
    pub first: Lba,
    /// Its last sector, which belongs to it.
    pub last: Lba,
}

impl Partition {
    /// Its number, from 1.
    pub const fn number(&self) -> u32 {
        self.role.number()
    }

    /// Its GPT label.
    pub const fn label(&self) -> &'static str {
        self.role.label()
    }

    /// Its type.
    pub const fn type_guid(&self) -> TypeGuid {
        self.role.type_guid()
    }

    /// Its length.
    pub fn sectors(&self) -> Sectors {
        self.last + Sectors::new(1) - self.first
    }
}

/// A planned partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskLayout {
    /// The disk's own GUID.
    pub guid: Uuid,
    /// The sector size that all positions count in.
    pub sector: SectorSize,
    /// The disk's length; the backup header is in its last sector.
    pub sectors: Sectors,
    /// The first sector that a partition may use.
    pub first_usable: Lba,
    /// The last sector that a partition may use.
    pub last_usable: Lba,
    /// The partitions, by number and by position.
    pub partitions: Vec<Partition>,
}

impl DiskLayout {
    /// The partition with this role; only the local SR may be missing.
    pub fn partition(&self, role: Role) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.role == role)
    }

    /// Where a partition begins on the disk, in bytes.
    pub fn offset(&self, partition: &Partition) -> Bytes {
        partition.first.offset(self.sector).expect("planned partitions lie on the disk")
    }

    /// How long a partition is, in bytes.
    pub fn length(&self, partition: &Partition) -> Bytes {
        partition.sectors().bytes(self.sector).expect("planned partitions are no longer than the disk")
    }
}

/// Why a disk cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The disk is too small for what was asked.
    #[error("the disk holds {disk} ({} bytes), but at least {minimum} ({} bytes) are needed", disk.get(), minimum.get())]
    TooSmall {
        /// The disk's size.
        disk: Bytes,
        /// The smallest disk that would do.
        minimum: Bytes,
    },
    /// The state partition was limited to less than it needs.
    #[error("the state partition needs at least {STATE_MIN}, but was limited to {0}")]
    StateLimit(Bytes),
}

/// The smallest disk that [`plan`] accepts.
pub fn minimum(sector: SectorSize, local_sr: bool) -> Bytes {
    let sr = if local_sr { LOCAL_SR_MIN } else { Bytes::ZERO };
    fixed_end() + STATE_MIN + sr + reserved_at_end(sector)
}

/// Lays out a disk of `disk` bytes; a last, incomplete sector is not used.
///
/// # Errors
/// [`LayoutError::TooSmall`] names the smallest disk that would do; [`LayoutError::StateLimit`] if the options
/// contradict themselves.
pub fn plan(disk: Bytes, sector: SectorSize, options: &Options) -> Result<DiskLayout, LayoutError> {
    if options.state_max < STATE_MIN {
        return Err(LayoutError::StateLimit(options.state_max));
    }
    let sectors = sector.whole_sectors(disk);
    let whole = sectors.bytes(sector).expect("whole sectors are no longer than the disk");
    let minimum = minimum(sector, options.local_sr);
    if whole < minimum {
        return Err(LayoutError::TooSmall { disk, minimum });
    }
    let rest = usable_end(whole, sector).and_then(|end| end.checked_sub(fixed_end()));
    let rest = rest.expect("a disk of the minimum size has room for state");
    let (state, sr) = share(rest, options);

    let mut next = ALIGNMENT;
    let mut partitions = Vec::with_capacity(Role::ALL.len());
    for role in Role::ALL {
        let length = match role {
            Role::State => state,
            Role::LocalSr if !options.local_sr => continue,
            Role::LocalSr => sr,
            fixed => fixed_size(fixed),
        };
        let end = next + length;
        partitions.push(Partition {
            role,
            guid: options.seed.guid(role.label()),
            first: lba(next, sector),
            last: last_before(end, sector),
        });
        next = end;
    }
    Ok(table(options.seed, sector, sectors, partitions))
}

/// Lays out a disk that has nothing but storage for guests: one partition, whose number in the table is 1.
///
/// # Errors
/// [`LayoutError::TooSmall`] names the smallest disk that would do.
pub fn plan_storage(disk: Bytes, sector: SectorSize, seed: Seed) -> Result<DiskLayout, LayoutError> {
    let sectors = sector.whole_sectors(disk);
    let whole = sectors.bytes(sector).expect("whole sectors are no longer than the disk");
    let minimum = ALIGNMENT + LOCAL_SR_MIN + reserved_at_end(sector);
    let end = usable_end(whole, sector).filter(|_| whole >= minimum);
    let end = end.ok_or(LayoutError::TooSmall { disk, minimum })?;
    let partition = Partition {
        role: Role::LocalSr,
        guid: seed.guid(Role::LocalSr.label()),
        first: lba(ALIGNMENT, sector),
        last: last_before(end, sector),
    };
    Ok(table(seed, sector, sectors, vec![partition]))
}

/// A partition of a disk that somebody else laid out, or this system long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its GPT label.
    pub label: String,
    /// Its unique GUID.
    pub guid: Uuid,
    /// Where it begins.
    pub first: Bytes,
    /// Its length.
    pub length: Bytes,
}

/// Why a disk that is laid out already cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// It has other partitions than this system makes.
    #[error("its partitions are not those that this version makes: {0}")]
    Other(String),
    /// A partition has another size, or lies elsewhere.
    #[error("{label} has {length} at byte {}; this version needs {needed}", first.get())]
    Size {
        /// Which.
        label: &'static str,
        /// Where it begins.
        first: Bytes,
        /// Its length.
        length: Bytes,
        /// What it would have to have.
        needed: &'static str,
    },
}

/// The layout of a disk that is used as it is, with its local SR: every partition is where and as long as [`plan`] could have made it.
/// Its table is not written again, so the disk's own GUID does not matter.
///
/// # Errors
/// [`AdoptError`]; what is not exactly known is not touched.
pub fn adopt(disk: Bytes, sector: SectorSize, existing: &[Existing]) -> Result<DiskLayout, AdoptError> {
    let labels: Vec<&str> = existing.iter().map(|one| one.label.as_str()).collect();
    let all = Role::ALL.map(Role::label);
    if labels != all {
        return Err(AdoptError::Other(labels.join(", ")));
    }
    let sectors = sector.whole_sectors(disk);
    let mut end = ALIGNMENT;
    let mut partitions = Vec::with_capacity(existing.len());
    for (role, one) in Role::ALL.into_iter().zip(existing) {
        let wrong =
            |needed| AdoptError::Size { label: role.label(), first: one.first, length: one.length, needed };
        let aligned = |bytes: Bytes| bytes.round_down(ALIGNMENT) == bytes;
        if !aligned(one.first) || !aligned(one.length) || one.first < end {
            return Err(wrong("whole MiB behind the partition before"));
        }
        match role {
            Role::State if one.length < STATE_MIN => return Err(wrong("at least 1 GiB")),
            Role::State | Role::LocalSr => {}
            fixed if one.length != fixed_size(fixed) || one.first != end => {
                return Err(wrong("the size and place that a new one has"));
            }
            _ => {}
        }
        end = one.first.checked_add(one.length).ok_or_else(|| wrong("to end on the disk"))?;
        if one.length == Bytes::ZERO || usable_end(disk, sector).is_none_or(|usable| end > usable) {
            return Err(wrong("to end on the disk"));
        }
        let (first, last) = (lba(one.first, sector), last_before(end, sector));
        partitions.push(Partition { role, guid: one.guid, first, last });
    }
    Ok(table(Seed::new([0; 32]), sector, sectors, partitions))
}

fn table(seed: Seed, sector: SectorSize, sectors: Sectors, partitions: Vec<Partition>) -> DiskLayout {
    DiskLayout {
        guid: seed.guid("xenolith-disk"),
        sector,
        sectors,
        first_usable: lba(sector.bytes() + sector.bytes() + TABLE, sector),
        last_usable: last_usable(sectors, sector).expect("the disk has room for both tables"),
        partitions,
    }
}

/// What state and SR get of `rest`: without SR state takes all up to its limit, with one a quarter of it.
fn share(rest: Bytes, options: &Options) -> (Bytes, Bytes) {
    if !options.local_sr {
        return (rest.min(options.state_max).round_down(ALIGNMENT), Bytes::ZERO);
    }
    let state = Bytes::new(rest.get() / 4).clamp(STATE_MIN, options.state_max).round_down(ALIGNMENT);
    let sr = rest.checked_sub(state).expect("the minimum size leaves room for both");
    (state, sr)
}

/// The sizes that no disk changes; state and SR have none.
const fn fixed_size(role: Role) -> Bytes {
    match role {
        Role::BiosBoot => BIOS_BOOT_SIZE,
        Role::Esp => ESP_SIZE,
        Role::Root(_) => ROOT_SIZE,
        Role::Verity(_) => VERITY_SIZE,
        Role::State | Role::LocalSr => Bytes::ZERO,
    }
}

/// Where the partitions of fixed size end and state begins.
fn fixed_end() -> Bytes {
    Role::ALL.into_iter().map(fixed_size).fold(ALIGNMENT, |end, size| end + size)
}

/// The backup table and header, rounded up so that a disk of the minimum size ends aligned.
fn reserved_at_end(sector: SectorSize) -> Bytes {
    (TABLE + sector.bytes()).round_up(ALIGNMENT).expect("both tables take less than 1 MiB")
}

/// Where the last partition must end: before the backup table, aligned.
fn usable_end(disk: Bytes, sector: SectorSize) -> Option<Bytes> {
    disk.checked_sub(TABLE + sector.bytes()).map(|end| end.round_down(ALIGNMENT))
}

/// The backup header takes the last sector, the backup table those before it.
fn last_usable(sectors: Sectors, sector: SectorSize) -> Option<Lba> {
    let behind = sector.whole_sectors(TABLE).get().checked_add(2)?;
    sectors.get().checked_sub(behind).map(Lba::new)
}

fn lba(at: Bytes, sector: SectorSize) -> Lba {
    Lba::new(sector.whole_sectors(at).get())
}

fn last_before(end: Bytes, sector: SectorSize) -> Lba {
    Lba::new(sector.whole_sectors(end).get().checked_sub(1).expect("no partition ends where the disk begins"))
}

/// A partition as found in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number, from 1.
    pub number: u32,
    /// Its GPT label.
    pub label: String,
    /// Its first sector.
    pub first: Lba,
    /// Its last sector, which belongs to it.
    pub last: Lba,
}

/// What the first boot does to the state partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Nothing: it fills its room or has reached its limit.
    Keep,
    /// Its last sector is moved, never backwards.
    To {
        /// The partition's number.
        number: u32,
        /// Its first sector, as it is.
        first: Lba,
        /// Its new last sector.
        last: Lba,
        /// The last usable sector of the disk as it is now, for the table's header: a disk image may have been
        /// written to a longer disk, so that its backup table lies in the middle.
        last_usable: Lba,
    },
}

/// Why the state partition cannot be grown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowError {
    /// There is not exactly one.
    #[error("the disk has {0} partitions labelled xenolith-state instead of one")]
    NotOne(usize),
    /// The table does not describe this disk.
    #[error("partition {number} ends at {last}, but the last usable sector is {last_usable}")]
    BeyondDisk {
        /// The partition's number.
        number: u32,
        /// Its last sector.
        last: Lba,
        /// The last sector that a partition may use.
        last_usable: Lba,
    },
    /// Two partitions share sectors, or one ends before it begins.
    #[error("partition {number} overlaps the state partition or ends before it begins")]
    Overlap {
        /// The partition's number.
        number: u32,
    },
    /// The disk is too small to have a table at all.
    #[error("a disk of {0} has no room for a partition table")]
    NoRoom(Bytes),
}

/// How far the state partition grows: up to the next partition, the end of the disk or `limit`, whichever comes
/// first, and always to a multiple of 1 MiB.
///
/// # Errors
/// If the table makes no sense on this disk; nothing should be written then.
pub fn grow_state(
    found: &[Found],
    disk: Bytes,
    sector: SectorSize,
    limit: Bytes,
) -> Result<Growth, GrowError> {
    let last_usable = last_usable(sector.whole_sectors(disk), sector).ok_or(GrowError::NoRoom(disk))?;
    let mut states = found.iter().filter(|partition| partition.label == Role::State.label());
    let (Some(state), None) = (states.next(), states.next()) else {
        return Err(GrowError::NotOne(found.iter().filter(|p| p.label == Role::State.label()).count()));
    };
    for partition in found {
        let number = partition.number;
        if partition.last > last_usable {
            return Err(GrowError::BeyondDisk { number, last: partition.last, last_usable });
        }
        let apart = partition.last < state.first || partition.first > state.last;
        if partition.last < partition.first || (partition != state && !apart) {
            return Err(GrowError::Overlap { number });
        }
    }
    let next = found.iter().map(|partition| partition.first).filter(|&first| first > state.last).min();
    let room_end = next.unwrap_or(last_usable + Sectors::new(1));
    let room_end = room_end.offset(sector).ok_or(GrowError::NoRoom(disk))?;
    let begin = state.first.offset(sector).ok_or(GrowError::NoRoom(disk))?;
    let limit_end = begin.checked_add(limit).unwrap_or(room_end);
    let end = room_end.min(limit_end).round_down(ALIGNMENT);
    if end <= begin || last_before(end, sector) <= state.last {
        return Ok(Growth::Keep);
    }
    let last = last_before(end, sector);
    Ok(Growth::To { number: state.number, first: state.first, last, last_usable })
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
