//! What an installation will do, decided before any of it is done.
//!
//! ```text
//!   Confirm ─▶ for each disk: Clear ─▶ image on each disk, read back ─▶ ESP on each disk ─▶ MakeState
//!           ─▶ for each disk: Activate ─▶ Register
//!   a disk whose storage stays (`keep`):  Confirm ─▶ ClearSystem ─▶ image, read back ─▶ MakeState ─▶ MakeEsp ─▶ Register
//! ```
//! `Clear` takes the start of the disk away and `Activate` writes it, so at no moment between them does the disk boot. On two disks the
//! slots are plain copies, as each is proven by verity wherever it lies; only state and storage, which change, are mirrored. Storage for
//! guests is partitions here and no more: first boot makes of them what [`StoragePlan`] says, so that an installation writes little and
//! a medium needs no volume manager.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use xenolith_answers::{Answers, Encryption, NoMatch, Size, StorageKind, choose};
use xenolith_layout::disk::{AdoptError, DiskLayout, LayoutError, Options, Role, STATE_MAX};
use xenolith_layout::{Bytes, RootHash, SectorSize, Seed, Version};
use xenolith_machine::{Disk, Firmware, Machine, SecureBoot, Tpm};

use crate::found::holds;
use crate::keep::{Kept, kept};

/// Counts up when the meaning of a plan changes.
const FORMAT: u32 = 3;

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
    pub(crate) fn of(disk: &Disk) -> Self {
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
    /// The partition that stays as it is all the same.
    pub keeps: Option<String>,
}

/// A disk that the system goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Which.
    pub disk: DiskId,
    /// Its partition table to be.
    pub layout: DiskLayout,
}

/// Storage for guests, as first boot makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoragePlan {
    /// Of which kind.
    pub kind: StorageKind,
    /// The partitions of the targets: none, one, or two that mirror each other.
    pub targets: Vec<Uuid>,
    /// Disks that have nothing but storage, and how they will be laid out.
    pub disks: Vec<Target>,
}

impl StoragePlan {
    /// The partitions of [`StoragePlan::disks`].
    pub fn disk_parts(&self) -> impl Iterator<Item = Uuid> {
        self.disks.iter().flat_map(|disk| disk.layout.partitions.iter().map(|one| one.guid))
    }
}

/// What the key of an encrypted state is sealed to, besides the machine's TPM: what that has registered of Secure Boot (PCR 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seal {
    /// Secure Boot is on: only what its keys have signed is started, and gets the key.
    SecureBoot,
    /// It is off: whatever is started on this machine gets the key, and switching it on later takes the recovery key.
    Unsigned,
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
    /// As [`Step::Clear`], of every partition but the one with storage for guests. The table stays, and the disk does not boot, as its
    /// ESP is emptied first.
    ClearSystem {
        /// Which.
        disk: DiskId,
    },
    /// Root image and verity tree are written into slot A, read back from the disk, past all caches, and proven by the root hash.
    WriteImage {
        /// Which.
        disk: DiskId,
    },
    /// The ESP with loader and boot file. Its first MiB is written last: without it there is no file system.
    MakeEsp {
        /// Which.
        disk: DiskId,
        /// The file system's serial number: what this installation is known by where the table is an older one's.
        serial: u32,
    },
    /// The file system for state, with name, network, access and the rest of the answers in it for the first start. On two disks it
    /// lies on an array of both partitions (RAID 1).
    MakeState {
        /// Which.
        disks: Vec<DiskId>,
        /// It lies in an encrypted container, on the partition or the array, whose key is sealed to this.
        #[serde(skip_serializing_if = "Option::is_none")]
        seal: Option<Seal>,
    },
    /// The partition table: its copy at the end, then the start of the disk. From here on it boots: firmware starts the loader at
    /// the fallback path of a disk's ESP.
    Activate {
        /// Which.
        disk: DiskId,
    },
    /// The firmware's boot menu names the disks, first things first. Firmware that takes no entries starts the disks all the same, so
    /// this is the one step that may fail.
    Register {
        /// Which.
        disks: Vec<DiskId>,
        /// Partitions that the erased disks had; entries that start from them go.
        gone: BTreeSet<Uuid>,
    },
}

impl Step {
    /// The disks that it writes to.
    pub fn disks(&self) -> Vec<&DiskId> {
        match self {
            // The firmware's own memory is no disk.
            Self::Confirm | Self::Register { .. } => Vec::new(),
            Self::Clear { disk }
            | Self::ClearSystem { disk }
            | Self::WriteImage { disk }
            | Self::MakeEsp { disk, .. }
            | Self::Activate { disk } => vec![disk],
            Self::MakeState { disks, .. } => disks.iter().collect(),
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
    /// Storage for guests.
    pub storage: Option<StoragePlan>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// What will be done, a step each, in words for people.
    pub fn steps_in_words(&self) -> Vec<String> {
        self.steps.iter().map(ToString::to_string).collect()
    }

    /// What the key of the state is sealed to, if it is encrypted.
    pub fn seal(&self) -> Option<Seal> {
        self.steps.iter().find_map(|step| match step {
            Step::MakeState { seal, .. } => *seal,
            _ => None,
        })
    }

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
    /// Storage is to stay, and this disk has none that this version knows how to keep.
    #[error("the storage on {disk} cannot be kept: {why}; nothing was changed")]
    Keep {
        /// Which.
        disk: String,
        /// Why.
        why: KeepError,
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
    /// The state is to be encrypted, and there is nothing to seal its key to.
    #[error(
        "the state cannot be encrypted: this machine {}; switch one on in the firmware's setup, or leave `target.encryption` out",
        match found {
            Tpm::V1 => "has a TPM of version 1.2 only, and 2.0 is needed",
            Tpm::None | Tpm::V2 => "shows no TPM 2.0",
        }
    )]
    NoTpm {
        /// What there is.
        found: Tpm,
    },
    /// The machine cannot start what would be installed.
    #[error(
        "this machine was started by a BIOS; installed hosts start by UEFI only so far. Switch the firmware to UEFI and start again"
    )]
    Bios,
}

/// Why storage cannot stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// Two that are no mirror.
    #[error("the two disks that were chosen do not hold the halves of one mirror")]
    Apart,
    /// There is no installation of this system with storage on it.
    #[error("no Xenolith with storage for guests was found on it")]
    Nothing,
    /// The kernel did not say where its partitions lie.
    #[error("it is not known where its partitions lie")]
    Unknown,
    /// It is laid out in another way.
    #[error(transparent)]
    Layout(#[from] AdoptError),
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
    let seal = seal(machine, answers.target.encryption)?;
    alike(&targets)?;
    let kept = match answers.storage.kind {
        StorageKind::Keep => kept(&targets)?,
        StorageKind::None | StorageKind::Lvm | StorageKind::Ext => Vec::new(),
    };
    let keeps = |disk: &Disk| kept.iter().find(|kept| kept.disk == disk.kernel_name);
    nothing_else_is_lost(machine, answers, &all, &keeps)?;
    let erases: Vec<Erased> = all
        .iter()
        .map(|disk| Erased {
            disk: DiskId::of(disk),
            model: disk.model.clone(),
            holds: holds(disk),
            keeps: keeps(disk).map(|kept| kept.part.clone()),
        })
        .collect();
    let layouts = match kept.as_slice() {
        [] => layouts(answers, &targets, !storage.is_empty(), seed)?,
        kept => kept.iter().map(|kept| kept.layout.clone()).collect(),
    };
    let target = |(disk, layout): (&Disk, DiskLayout)| Target { disk: DiskId::of(disk), layout };
    let made: Vec<Target> = targets.iter().copied().zip(layouts).map(target).collect();
    let disks: Vec<Target> =
        storage.iter().copied().zip(storage_layouts(&storage, seed)?).map(target).collect();
    let kind = answers.storage.kind;
    let storage = (kind != StorageKind::None).then(|| {
        let parts = made.iter().filter_map(|target| target.layout.partition(Role::LocalSr));
        StoragePlan { kind, targets: parts.map(|part| part.guid).collect(), disks: disks.clone() }
    });
    let ids = |targets: &[Target]| targets.iter().map(|target| target.disk.clone()).collect::<Vec<_>>();
    let gone = all.iter().flat_map(|disk| &disk.content.parts).filter_map(|part| part.guid).collect();
    let steps = steps(&ids(&made), &ids(&disks), !kept.is_empty(), seal, gone, seed);
    Ok(Plan { format: FORMAT, image: image.clone(), erases, targets: made, storage, steps })
}

/// What is done to the disks that the system goes to, and to those that have storage only.
fn steps(
    targets: &[DiskId],
    storage: &[DiskId],
    keep: bool,
    seal: Option<Seal>,
    gone: BTreeSet<Uuid>,
    seed: Seed,
) -> Vec<Step> {
    let mut steps = vec![Step::Confirm];
    let clear = |disk: &DiskId| match keep {
        true => Step::ClearSystem { disk: disk.clone() },
        false => Step::Clear { disk: disk.clone() },
    };
    steps.extend(targets.iter().map(clear));
    steps.extend(storage.iter().map(|disk| Step::Clear { disk: disk.clone() }));
    let esp = |number: usize, disk: &DiskId| Step::MakeEsp {
        disk: disk.clone(),
        serial: seed.volume_id(&format!("{}-{number}", Role::Esp.label())),
    };
    for (number, disk) in targets.iter().enumerate() {
        steps.push(Step::WriteImage { disk: disk.clone() });
        if !keep {
            steps.push(esp(number, disk));
        }
    }
    steps.push(Step::MakeState { disks: targets.to_vec(), seal });
    let activate = |(_, disk): (usize, &DiskId)| Step::Activate { disk: disk.clone() };
    // Storage first: a host that boots finds all that it was told of.
    steps.extend(storage.iter().enumerate().map(activate));
    let targets_last = targets.iter().enumerate();
    if keep {
        // A table that stays makes the disk boot as soon as it has an ESP.
        steps.extend(targets_last.map(|(number, disk)| esp(number, disk)));
    } else {
        steps.extend(targets_last.map(activate));
    }
    steps.push(Step::Register { disks: targets.to_vec(), gone });
    steps
}

/// What the key of the state is sealed to, if it is encrypted.
fn seal(machine: &Machine, encryption: Encryption) -> Result<Option<Seal>, PlanError> {
    let signed = Firmware::Uefi { secure_boot: SecureBoot::On };
    match (encryption, machine.tpm) {
        (Encryption::None, _) => Ok(None),
        (Encryption::Tpm, Tpm::V2) if machine.firmware == signed => Ok(Some(Seal::SecureBoot)),
        (Encryption::Tpm, Tpm::V2) => Ok(Some(Seal::Unsigned)),
        (Encryption::Tpm, found) => Err(PlanError::NoTpm { found }),
    }
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

fn nothing_else_is_lost<'a>(
    machine: &Machine,
    answers: &Answers,
    chosen: &[&Disk],
    keeps: &impl Fn(&Disk) -> Option<&'a Kept>,
) -> Result<(), PlanError> {
    let names: BTreeSet<&str> = chosen.iter().map(|disk| disk.kernel_name.as_str()).collect();
    for disk in chosen {
        // The group that stays is not touched, wherever else it lies.
        let stays = keeps(disk).and_then(|kept| kept.group.as_deref());
        for group in disk.groups().filter(|group| Some(*group) != stays) {
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
///
/// Storage gets the rest of the targets, mirrored if they are; but not beside whole disks on a mirror, since one repository would then be
/// mirrored in part.
fn layouts(
    answers: &Answers,
    targets: &[&Disk],
    has_disks: bool,
    seed: Seed,
) -> Result<Vec<DiskLayout>, PlanError> {
    let makes = matches!(answers.storage.kind, StorageKind::Lvm | StorageKind::Ext);
    let local_sr = makes && !(has_disks && targets.len() > 1);
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

/// Disks that have storage only; their GUIDs come from other seeds than the targets'.
fn storage_layouts(disks: &[&Disk], seed: Seed) -> Result<Vec<DiskLayout>, PlanError> {
    let layout = |(number, disk): (usize, &&Disk)| {
        let sector = SectorSize::from_bytes(disk.sector.into()).expect("no other disk is offered");
        xenolith_layout::disk::plan_storage(disk.size, sector, seed.child(&format!("storage-{number}")))
            .map_err(|source| PlanError::Layout { disk: disk.name.clone(), source })
    };
    disks.iter().enumerate().map(layout).collect()
}
