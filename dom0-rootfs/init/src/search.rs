//! Where to look for the root, and in which order. The promise: **a machine runs from where it was booted; only
//! when that place has no root does it look elsewhere, and what it finds there must be the very same root.**
//!
//! ```text
//!   from the start      the disk the loader came from: slot A, slot B, then files on it as a medium
//!                       (loader on an optical medium, in RAM or on the network: optical and RAM disks)
//!   after a grace       slots on other disks, then media on other disks, each in the order of disk names
//!   after NETWORK       the network, again and again with a pause
//!   after DEADLINE      nothing: report what was refused and why, fail the boot; sooner (HERE_DEADLINE) if the
//!                       loader's disk is there, since waiting does not mend it and the other slot can boot
//! ```
//! All media carry the same signed boot file, so "installed host or installer" is decided here. A USB stick
//! must not start the host that is installed on a faster disk just because that disk was there first, and the
//! other way round: hence the grace, during which only the loader's own disk counts. It ends at once when
//! that disk has been there for a moment and has nothing. Without any word from the loader the slots are
//! taken as they come, and media have to wait a little for them.
//!
//! Trust plays no part: verity proves whatever is found, and a look in one place more costs only time.
//!
//! Pure: the caller says what disks there are and what time it is (since the search began), gets one step, and
//! says how it went. A refused candidate is not tried again until its disk changes, and at most
//! [`ATTEMPTS`] times. Left out: a slot on a disk that has lost its GPT names; reading every partition would
//! not help, as nothing then says which one holds the data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use xenolith_layout::Slot;
use xenolith_layout::disk::Role;

use crate::blocks::{Disk, DiskKind};
use crate::efi::Origin;

/// How long the disk that the loader came from is waited for before others count: a USB stick behind two hubs
/// takes seconds, a RAID controller that starts its disks one by one half a minute.
pub const ORIGIN_GRACE: Duration = Duration::from_secs(40);
/// How long a disk has to be there before it counts as fully seen; its partitions come one after another.
pub const SETTLED: Duration = Duration::from_secs(3);
/// How long media wait for slots when nothing is known about the loader.
pub const UNKNOWN_GRACE: Duration = Duration::from_secs(8);
/// When the network is asked, unless the loader came from no partition: then [`NETWORK_GRACE`].
pub const NETWORK: Duration = Duration::from_secs(60);
/// When the network is asked if the loader came from there, or from an optical medium that cannot be read.
pub const NETWORK_GRACE: Duration = Duration::from_secs(20);
/// Pause between two tries over the network.
pub const NETWORK_PAUSE: Duration = Duration::from_secs(10);
/// When the search ends. Generous: emulated and slow machines take four times as long as others.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// When the search ends if the disk that the loader came from is there and has nothing: the other slot waits.
pub const HERE_DEADLINE: Duration = Duration::from_secs(120);
/// How often one candidate is tried at most, however often its disk says that it changed.
pub const ATTEMPTS: u32 = 5;

/// A place where the root may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Candidate {
    /// A pair of partitions.
    Slot {
        /// Kernel name of the disk.
        disk: String,
        /// What kind of disk.
        kind: DiskKind,
        /// Which slot it is labelled as.
        slot: Slot,
        /// The root partition's node.
        data: PathBuf,
        /// The verity partition's node.
        hash: PathBuf,
    },
    /// A whole disk that may carry an ISO file system with both files.
    Medium {
        /// Kernel name of the disk.
        disk: String,
        /// What kind of disk.
        kind: DiskKind,
    },
    /// Both files over HTTP.
    Network,
}

impl Candidate {
    /// Kernel name of the disk it is on.
    pub fn disk(&self) -> Option<&str> {
        match self {
            Self::Slot { disk, .. } | Self::Medium { disk, .. } => Some(disk),
            Self::Network => None,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot { slot, data, hash, .. } => {
                write!(f, "slot {slot} on {} and {}", data.display(), hash.display())
            }
            Self::Medium { disk, .. } => write!(f, "files on the medium /dev/{disk}"),
            Self::Network => f.write_str("files over the network"),
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this, then tell [`Search::refused`] or stop searching.
    Try(Candidate),
    /// Wait for an event, at most until this time.
    Wait {
        /// When to ask again without an event, counted like `now`.
        until: Duration,
    },
    /// The deadline is over.
    GiveUp,
}

/// A candidate that did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    attempts: u32,
    /// False once the disk changed: it may be tried again.
    stands: bool,
    reason: String,
}

/// The state of a search: what was refused, and when the loader's disk was first seen.
#[derive(Clone, Debug)]
pub struct Search {
    origin: Origin,
    refused: BTreeMap<Candidate, Refused>,
    origin_seen: Option<Duration>,
    network_tried: Option<Duration>,
}

/// How near a disk is to the loader, nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Origin,
    Slot,
    Medium,
}

impl Search {
    /// A search that has not begun.
    pub fn new(origin: Origin) -> Self {
        Self { origin, refused: BTreeMap::new(), origin_seen: None, network_tried: None }
    }

    /// The next step, given the disks of this moment.
    pub fn next(&mut self, disks: &[Disk], now: Duration) -> Step {
        if self.origin_seen.is_none() && disks.iter().any(|disk| self.is_origin(disk)) {
            self.origin_seen = Some(now);
        }
        let deadline = self.deadline();
        if now >= deadline {
            return Step::GiveUp;
        }
        let open = self.open(disks);
        let near_is_open = open.iter().any(|(tier, _)| *tier == Tier::Origin);
        let mut until = deadline;
        for (tier, candidate) in open {
            let from = self.opens_at(tier, near_is_open);
            if now >= from {
                return Step::Try(candidate);
            }
            until = until.min(from);
        }
        let network = self.network_at();
        if now >= network { Step::Try(Candidate::Network) } else { Step::Wait { until: until.min(network) } }
    }

    /// Notes that a candidate did not do, and why.
    pub fn refused(&mut self, candidate: Candidate, now: Duration, reason: String) {
        if candidate == Candidate::Network {
            self.network_tried = Some(now);
        }
        let attempts = self.refused.get(&candidate).map_or(0, |refused| refused.attempts).saturating_add(1);
        self.refused.insert(candidate, Refused { attempts, stands: true, reason });
    }

    /// A disk or one of its partitions came or changed: what was refused on it may be tried again.
    pub fn changed(&mut self, device: &str) {
        for (candidate, refused) in &mut self.refused {
            let is_its_own = |disk: &str| {
                let number = device.strip_prefix(disk).map(|rest| rest.trim_start_matches('p'));
                number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            };
            if candidate.disk().is_some_and(is_its_own) {
                refused.stands = false;
            }
        }
    }

    /// What was tried and why it did not do, one line each.
    pub fn report(&self) -> Vec<String> {
        self.refused.iter().map(|(candidate, refused)| format!("{candidate}: {}", refused.reason)).collect()
    }

    /// What may still be tried, nearest first.
    fn open(&self, disks: &[Disk]) -> Vec<(Tier, Candidate)> {
        let mut open: Vec<(Tier, Candidate)> = disks
            .iter()
            .filter(|disk| disk.size.get() > 0)
            .flat_map(|disk| {
                let near = self.is_origin(disk);
                let tier = move |far| if near { Tier::Origin } else { far };
                let slots = slots(disk).map(move |candidate| (tier(Tier::Slot), candidate));
                let medium = Candidate::Medium { disk: disk.name.clone(), kind: disk.kind };
                slots.chain([(tier(Tier::Medium), medium)])
            })
            .filter(|(_, candidate)| {
                self.refused
                    .get(candidate)
                    .is_none_or(|refused| !refused.stands && refused.attempts < ATTEMPTS)
            })
            .collect();
        // Stable: disks stay in the order of their names, and a disk's slots before it as a medium.
        open.sort_by_key(|(tier, _)| *tier);
        open
    }

    fn is_origin(&self, disk: &Disk) -> bool {
        match self.origin {
            Origin::Partition(uuid) => disk.partitions.iter().any(|partition| partition.uuid == Some(uuid)),
            Origin::NotAPartition => {
                matches!(disk.kind, DiskKind::Optical | DiskKind::Memory) && disk.size.get() > 0
            }
            Origin::Unknown => false,
        }
    }

    /// When candidates of a tier may be tried. `near_is_open`: something nearer is still to be tried.
    fn opens_at(&self, tier: Tier, near_is_open: bool) -> Duration {
        let elsewhere = match self.origin_seen {
            Some(seen) if !near_is_open => (seen + SETTLED).min(ORIGIN_GRACE),
            Some(_) | None => ORIGIN_GRACE,
        };
        match (tier, self.origin) {
            (Tier::Origin, _) | (Tier::Slot, Origin::Unknown) => Duration::ZERO,
            (Tier::Medium, Origin::Unknown) => UNKNOWN_GRACE,
            (Tier::Slot | Tier::Medium, Origin::Partition(_) | Origin::NotAPartition) => elsewhere,
        }
    }

    /// A partition that is seen says for sure that its disk is the one; an optical drive only may be.
    fn deadline(&self) -> Duration {
        match (self.origin, self.origin_seen) {
            (Origin::Partition(_), Some(seen)) => (seen + NETWORK).clamp(HERE_DEADLINE, DEADLINE),
            (Origin::Partition(_) | Origin::NotAPartition | Origin::Unknown, _) => DEADLINE,
        }
    }

    fn network_at(&self) -> Duration {
        let first = match self.origin {
            Origin::NotAPartition => NETWORK_GRACE,
            Origin::Partition(_) | Origin::Unknown => NETWORK,
        };
        self.network_tried.map_or(first, |tried| tried + NETWORK_PAUSE)
    }
}

/// The slots whose both partitions a disk has.
fn slots(disk: &Disk) -> impl Iterator<Item = Candidate> + '_ {
    Slot::ALL.into_iter().filter_map(|slot| {
        let data = disk.labelled(Role::Root(slot).label())?;
        let hash = disk.labelled(Role::Verity(slot).label())?;
        Some(Candidate::Slot {
            disk: disk.name.clone(),
            kind: disk.kind,
            slot,
            data: data.node(),
            hash: hash.node(),
        })
    })
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
