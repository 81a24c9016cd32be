//! What an installation will do, decided before any of it is done.
//!
//! ```text
//!   Confirm ─▶ for each disk: Clear ─▶ image on each disk, read back ─▶ ESP on each disk
//!           ─▶ [MakeMirror] MakeState ─▶ [MakeStorage] ─▶ for each disk: Activate
//! ```
//! `Clear` takes the start of the disk away and `Activate` writes it, so at no moment between them does the disk boot. On two disks the slots are plain copies, as each is proven by verity wherever it lies;
//! only state and storage, which change, are mirrored.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::{Digest, Sha256};
use xenolith_answers::{Answers, NoMatch, Size, StorageKind, choose};
use xenolith_layout::disk::{DiskLayout, LayoutError, Options, Role, STATE_MAX};
use xenolith_layout::{Bytes, RootHash, SectorSize, Seed, Version};
use xenolith_machine::{Disk, Firmware, Machine};

use crate::found::found;

/// Counts up when the meaning of a plan changes.
const FORMAT: u32 = 1;

/// What is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its version.
    pub version: Version,
    /// The hash that proves its root.
    pub root_hash: RootHash,
    /// Length of the root image.
    pub root: Bytes,
    /// Length of its verity tree.
    pub verity: Bytes,
}

/// What names a disk in a plan: the kernel's name to open it, the rest to make sure that it is still the same disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DiskId {
    /// Where it is opened.
    pub path: String,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world wide name.
    pub wwn: Option<String>,
    /// Its size.
    pub size: Bytes,
}

impl DiskId {
    fn of(disk: &Disk) -> Self {
        Self { path: disk.path(), serial: disk.serial.clone(), wwn: disk.wwn.clone(), size: disk.size }
    }
}

/// A disk whose data go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Which.
    pub disk: DiskId,
    /// Its model.
    pub model: Option<String>,
    /// What is on it, in words; empty if nothing was found.
    pub holds: String,
}

/// A disk that the system goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Which.
    pub disk: DiskId,
    /// Its partition table to be.
    pub layout: DiskLayout,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Somebody, or the answers, says yes to the list of disks that are erased.
    Confirm,
    /// The start and the end of the disk, and of every partition to be, are emptied: no mark of a partition table, file system,
    /// array or volume group stays where it would be looked for.
    Clear {
        /// Which.
        disk: DiskId,
    },
    /// Root image and verity tree are written into slot A.
    WriteImage {
        /// Which.
        disk: DiskId,
    },
    /// Both are read back from the disk, past all caches, and proven by the root hash.
    VerifyImage {
        /// Which.
        disk: DiskId,
    },
    /// The ESP with loader and boot file.
    MakeEsp {
        /// Which.
        disk: DiskId,
    },
    /// The same partition of two disks becomes one device (RAID 1).
    MakeMirror {
        /// Which.
        disks: Vec<DiskId>,
        /// The partition's label.
        partition: &'static str,
    },
    /// The file system for state, with name, network, access and the rest of the answers in it for the first start.
    MakeState {
        /// Which.
        disks: Vec<DiskId>,
    },
    /// The local storage repository: the rest of the target, and whole disks.
    MakeStorage {
        /// Of which kind.
        kind: StorageKind,
        /// Disks of the target whose rest it gets.
        rest_of: Vec<DiskId>,
        /// Whole disks.
        disks: Vec<DiskId>,
    },
    /// The partition table: its copy at the end, then the start of the disk. From here on it boots: firmware starts the loader at
    /// the fallback path of a disk's ESP.
    Activate {
        /// Which.
        disk: DiskId,
    },
}

impl Step {
    /// The disks that it writes to.
    pub fn disks(&self) -> Vec<&DiskId> {
        match self {
            Self::Confirm | Self::VerifyImage { .. } => Vec::new(),
            Self::Clear { disk }
            | Self::WriteImage { disk }
            | Self::MakeEsp { disk }
            | Self::Activate { disk } => vec![disk],
            Self::MakeMirror { disks, .. } | Self::MakeState { disks } => disks.iter().collect(),
            Self::MakeStorage { rest_of, disks, .. } => rest_of.iter().chain(disks).collect(),
        }
    }
}

/// All that will be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Format of this document.
    pub format: u32,
    /// What is installed.
    pub image: Image,
    /// What goes.
    pub erases: Vec<Erased>,
    /// Where the system goes, and how these disks will be laid out.
    pub targets: Vec<Target>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// SHA-256 over the plan as JSON, in hexadecimal digits: what a person approved is what is carried out.
    pub fn hash(&self) -> String {
        let text = serde_json::to_vec(self).expect("a plan is made of what JSON can hold");
        hex::encode(Sha256::digest(text))
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A rule does not fit the disks.
    #[error(transparent)]
    Disks(#[from] NoMatch),
    /// The partition table does not fit on a disk.
    #[error("{disk} cannot be partitioned")]
    Layout {
        /// Which.
        disk: String,
        /// Why.
        source: LayoutError,
    },
    /// The image does not fit into a slot.
    #[error("the image has {size}, and a slot holds {room}")]
    Image {
        /// Its size.
        size: Bytes,
        /// The slot's.
        room: Bytes,
    },
    /// Data were found, and the answers do not allow to erase them.
    #[error("{disk} is not empty: it holds {holds}; set `target.erase = true` if that may be lost")]
    NotEmpty {
        /// Which.
        disk: String,
        /// What is on it.
        holds: String,
    },
    /// A volume group would lose a part.
    #[error(
        "the volume group {group} lies on {chosen} and on {other}, which was not chosen; choose both, or take {chosen} out of it first"
    )]
    GroupSpans {
        /// The group.
        group: String,
        /// The chosen disk.
        chosen: String,
        /// The other one.
        other: String,
    },
    /// Two disks that mirror each other have to have sectors of one size.
    #[error("{first} and {second} cannot mirror each other: their sectors have {} and {} bytes", sizes.0, sizes.1)]
    UnlikeSectors {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// Bytes in their sectors.
        sizes: (u32, u32),
    },
    /// The machine cannot start what would be installed.
    #[error(
        "this machine was started by a BIOS; installed hosts start by UEFI only so far. Switch the firmware to UEFI and start again"
    )]
    Bios,
}

/// Decides what an installation does. `seed` is where the new partitions' GUIDs come from; nothing else is drawn or asked.
///
/// # Errors
/// [`PlanError`].
pub fn plan(machine: &Machine, answers: &Answers, image: &Image, seed: Seed) -> Result<Plan, PlanError> {
    if machine.firmware == Firmware::Bios {
        return Err(PlanError::Bios);
    }
    let rules: Vec<_> = answers.target.disks.iter().chain(&answers.storage.disks).cloned().collect();
    let mut chosen = choose(machine, &rules)?.into_iter();
    let targets: Vec<&Disk> = chosen.by_ref().take(answers.target.disks.len()).flatten().collect();
    let storage: Vec<&Disk> = chosen.flatten().collect();
    let all: Vec<&Disk> = targets.iter().chain(&storage).copied().collect();

    fits(image)?;
    nothing_else_is_lost(machine, answers, &all)?;
    alike(&targets)?;
    let kind = answers.storage.kind;
    let layouts = layouts(answers, &targets, seed)?;
    let erases: Vec<Erased> = all
        .iter()
        .map(|disk| Erased { disk: DiskId::of(disk), model: disk.model.clone(), holds: holds(disk) })
        .collect();
    let ids: Vec<DiskId> = erases.iter().map(|erased| erased.disk.clone()).collect();
    let (target_ids, storage_ids) = ids.split_at(targets.len());

    let mut steps = vec![Step::Confirm];
    steps.extend(ids.iter().map(|disk| Step::Clear { disk: disk.clone() }));
    for disk in target_ids {
        steps.push(Step::WriteImage { disk: disk.clone() });
        steps.push(Step::VerifyImage { disk: disk.clone() });
        steps.push(Step::MakeEsp { disk: disk.clone() });
    }
    let mirrored = |role: Role| Step::MakeMirror { disks: target_ids.to_vec(), partition: role.label() };
    if targets.len() > 1 {
        steps.push(mirrored(Role::State));
    }
    steps.push(Step::MakeState { disks: target_ids.to_vec() });
    if kind != StorageKind::None {
        if targets.len() > 1 {
            steps.push(mirrored(Role::LocalSr));
        }
        let (rest_of, disks) = (target_ids.to_vec(), storage_ids.to_vec());
        steps.push(Step::MakeStorage { kind, rest_of, disks });
    }
    steps.extend(target_ids.iter().map(|disk| Step::Activate { disk: disk.clone() }));
    let targets = target_ids.iter().cloned().zip(layouts).map(|(disk, layout)| Target { disk, layout });
    Ok(Plan { format: FORMAT, image: image.clone(), erases, targets: targets.collect(), steps })
}

fn fits(image: &Image) -> Result<(), PlanError> {
    use xenolith_layout::disk::{ROOT_SIZE, VERITY_SIZE};
    for (size, room) in [(image.root, ROOT_SIZE), (image.verity, VERITY_SIZE)] {
        if size > room {
            return Err(PlanError::Image { size, room });
        }
    }
    Ok(())
}

fn nothing_else_is_lost(machine: &Machine, answers: &Answers, chosen: &[&Disk]) -> Result<(), PlanError> {
    let names: BTreeSet<&str> = chosen.iter().map(|disk| disk.kernel_name.as_str()).collect();
    for disk in chosen {
        for group in disk.groups() {
            let apart = |other: &&Disk| {
                !names.contains(other.kernel_name.as_str()) && other.groups().any(|theirs| theirs == group)
            };
            if let Some(other) = machine.disks.iter().find(apart) {
                let (group, chosen, other) = (group.to_owned(), disk.name.clone(), other.name.clone());
                return Err(PlanError::GroupSpans { group, chosen, other });
            }
        }
        if !answers.target.erase && !disk.content.is_empty() {
            return Err(PlanError::NotEmpty { disk: disk.name.clone(), holds: holds(disk) });
        }
    }
    Ok(())
}

fn alike(targets: &[&Disk]) -> Result<(), PlanError> {
    match targets {
        [first, second] if first.sector != second.sector => Err(PlanError::UnlikeSectors {
            first: first.name.clone(),
            second: second.name.clone(),
            sizes: (first.sector, second.sector),
        }),
        _ => Ok(()),
    }
}

/// Disks that mirror each other get state partitions of one size, the smallest's; each has GUIDs of its own.
fn layouts(answers: &Answers, targets: &[&Disk], seed: Seed) -> Result<Vec<DiskLayout>, PlanError> {
    let local_sr = answers.storage.kind != StorageKind::None;
    let layout = |disk: &Disk, number: usize, state_max: Bytes| {
        let sector = SectorSize::from_bytes(disk.sector.into()).expect("no other disk is offered");
        let options = Options { seed: seed.child(&number.to_string()), state_max, local_sr };
        xenolith_layout::disk::plan(disk.size, sector, &options)
            .map_err(|source| PlanError::Layout { disk: disk.name.clone(), source })
    };
    let mut state_max = answers.target.state.map_or(STATE_MAX, |Size(state)| state);
    for disk in targets {
        let alone = layout(disk, 0, state_max)?;
        let state = alone.partition(Role::State).expect("every layout has a state partition");
        state_max = state_max.min(alone.length(state));
    }
    targets.iter().enumerate().map(|(number, disk)| layout(disk, number, state_max)).collect()
}

/// What is on a disk, in words; empty if nothing was found.
pub fn holds(disk: &Disk) -> String {
    if let Some(installation) = found(disk) {
        return installation.to_string();
    }
    let content = &disk.content;
    let mut words = Vec::new();
    words.extend(content.group.iter().map(|group| format!("a part of the volume group {group}")));
    words.extend(
        content
            .signature
            .iter()
            .filter(|_| content.group.is_none())
            .map(|mark| mark_in_words(mark, content.label.as_deref())),
    );
    for part in &content.parts {
        let what = match (&part.group, &part.signature) {
            (Some(group), _) => format!("a part of the volume group {group}"),
            (None, Some(mark)) => mark_in_words(mark, part.volume.as_deref()),
            (None, None) => {
                part.label.clone().map_or_else(|| "nothing known".to_owned(), |label| format!("\"{label}\""))
            }
        };
        words.push(format!("{} ({what})", part.kernel_name));
    }
    if words.is_empty() && content.table.is_some() {
        words.push("an empty partition table".to_owned());
    }
    words.join(", ")
}

fn mark_in_words(mark: &str, label: Option<&str>) -> String {
    let what = match mark {
        "linux_raid_member" => "a member of a software RAID",
        "LVM2_member" => "a physical volume of LVM",
        "crypto_LUKS" => "an encrypted container",
        other => other,
    };
    label.map_or_else(|| what.to_owned(), |label| format!("{what} \"{label}\""))
}
