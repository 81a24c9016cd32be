//! Local storage for guests' disks, made of the partitions that an installation has left for it.
//!
//! ```text
//!   partitions ──▶ [mirror: md RAID1] ──▶ physical volumes ──▶ VG_XenStorage-<uuid>                     lvm
//!                                                         └──▶ XSLocalEXT-<uuid>/<uuid> ─▶ ext4 ─▶ mounted   ext
//! ```
//! **Nothing that is not empty is ever written to.** A partition counts as empty if no signature is found on it; whatever else is there,
//! but for what this task has made, ends the task before it begins, and says what was found. What is finished is written down in the
//! state, and from then on nothing is made any more: a disk that comes back empty is for somebody to judge, not for a task.
//!
//! **Repeating it after a power cut finishes the same thing.** Every name and UUID follows from the GUIDs of the partitions alone, and
//! what is decided starts from what is there. What a cut leaves, after each step:
//!
//! | step | what is there then | and next time |
//! | --- | --- | --- |
//! | `mdadm.conf` | the line of an array that is not there | written again |
//! | mirror | our array on one or both partitions; udev starts it by `mdadm.conf`, with one after half a minute | the other one is added |
//! | physical volume | a volume of ours in no group | taken into the group |
//! | group, extended | a group with some of our volumes | extended by the others |
//! | logical volume | one that is tagged as unfinished: what is on it is left over from before | a file system is made on it |
//! | file system | the same, with a file system | it is made anew, since nobody has used it |
//! | tag taken away | a finished file system | kept |
//!
//! A new mirror is not made with `--assume-clean`: two partitions without signatures may still differ in every block, and a later check
//! would count that as damage. It synchronises while it is used.
//!
//! Names are XCP-ng's (sm: `LVHDSR`, `EXTSR`), so that whoever looks finds what they know. Its volume of metadata (`MGT`) is left to the
//! toolstack that wants it.

mod look;
mod record;
mod step;
mod units;

use std::collections::BTreeMap;

use uuid::Uuid;
use xenolith_layout::{
    Bytes, Seed,
    names::{LVM_MEMBER, RAID_MEMBER},
};
use xenolith_settings::{LocalKind, LocalStorage, PartGuid};

use crate::change::Change;

pub(crate) use look::settle;
pub use look::{Programs, ThisMachine, read_groups, read_signatures, read_volumes};
pub use record::{MAX_RECORD, RECORD, StorageRecord};
pub use step::{Command, Program, Step};

/// What the one logical volume with a file system carries until it is finished.
pub const UNFINISHED: &str = "xenolith-unfinished";
/// What the names of volume groups begin with.
const LVM_GROUP: &str = "VG_XenStorage-";
const EXT_GROUP: &str = "XSLocalEXT-";
/// The name of the mirror below `/dev/md`.
pub const ARRAY_NAME: &str = "xenolith-sr";

/// What storage is called, all of it from the GUIDs of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The SR.
    pub sr: Uuid,
    /// The array, if there is one.
    pub array: Uuid,
    /// The volume group.
    pub group: String,
    /// Where it is mounted, if it is.
    pub mount_point: String,
}

impl Names {
    /// The names of `storage`. The order of its partitions makes no difference.
    pub fn of(storage: &LocalStorage) -> Self {
        let mut parts = storage.parts.clone();
        parts.sort_unstable();
        let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let seed = Seed::new([0; 32]).child(&format!("local storage\n{}", parts.join("\n")));
        let sr = seed.guid("sr");
        Self::with(storage.kind, sr, seed.guid("array"))
    }

    fn with(kind: LocalKind, sr: Uuid, array: Uuid) -> Self {
        let prefix = if kind == LocalKind::Ext { EXT_GROUP } else { LVM_GROUP };
        Self { sr, array, group: format!("{prefix}{sr}"), mount_point: format!("/run/sr-mount/{sr}") }
    }

    /// Where udev links the array.
    pub fn array_device(&self) -> String {
        array_device(self.array)
    }
}

/// What a volume group's name says of the storage in it: its kind and the SR.
fn of_group(group: &str) -> Option<(LocalKind, Uuid)> {
    [(LVM_GROUP, LocalKind::Lvm), (EXT_GROUP, LocalKind::Ext)]
        .into_iter()
        .find_map(|(prefix, kind)| Some((kind, Uuid::try_parse(group.strip_prefix(prefix)?).ok()?)))
}

/// An array's UUID as mdadm writes it: in four groups.
fn array_id(array: Uuid) -> String {
    let digits = array.simple().to_string();
    let groups: Vec<&str> = (0..4).map(|group| &digits[group * 8..group * 8 + 8]).collect();
    groups.join(":")
}

/// Where udev links an array (mdadm, 63-md-raid-arrays.rules).
fn array_device(array: Uuid) -> String {
    format!("/dev/disk/by-id/md-uuid-{}", array_id(array))
}

/// The UUID of the physical volume on a partition or array, in LVM's form: 32 characters in groups of 6-4-4-4-4-4-6, of which
/// hexadecimal digits are some.
pub fn volume_uuid(of: Uuid) -> String {
    let digits = Seed::new([0; 32]).child("physical volume").guid(&of.to_string()).simple().to_string();
    let mut at = 0;
    let groups = [6, 4, 4, 4, 4, 4, 6].map(|length| {
        at += length;
        &digits[at - length..at]
    });
    groups.join("-")
}

/// Where udev links a partition.
pub fn part_device(guid: PartGuid) -> String {
    format!("/dev/disk/by-partuuid/{guid}")
}

/// Something that says what a partition holds, found where programs look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its type, in libblkid's words: `ext4`, `LVM2_member`, `linux_raid_member`, `gpt`.
    pub kind: String,
    /// Its UUID, as it writes it.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is not there, though it was waited for.
    Missing,
    /// It is there.
    Present {
        /// The kernel's name, such as `sda7`.
        name: String,
        /// Its size.
        size: Bytes,
        /// What was found on it.
        signatures: Vec<Signature>,
    },
    /// It is there and cannot be read.
    Unreadable(String),
}

/// What decisions about storage look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// The partitions that settings name.
    pub parts: BTreeMap<PartGuid, Part>,
    /// What was found on our array, if it runs.
    pub array: Option<Vec<Signature>>,
    /// Physical volumes by their UUID, each with its group; an empty name for those in none.
    pub groups: BTreeMap<String, String>,
    /// Logical volumes as `group/volume`, each with its tags.
    pub volumes: BTreeMap<String, Vec<String>>,
    /// What was finished before.
    pub record: Option<StorageRecord>,
}

/// What makes this storage of what is there.
///
/// # Errors
/// Why it cannot be made, with what was found and what to do. Nothing has been written then.
pub fn changes(storage: &LocalStorage, facts: &StorageFacts) -> Result<Vec<Change>, String> {
    if let Some(record) = &facts.record {
        return finished(storage, record);
    }
    if storage.kind == LocalKind::Keep {
        return kept(storage, facts);
    }
    let names = Names::of(storage);
    let parts = all_there(storage, facts)?;
    let mut steps = Vec::new();
    let devices = if storage.mirror {
        let signatures = mirror(&parts, facts, &names, &mut steps)?;
        vec![Device { path: names.array_device(), id: names.array, signatures }]
    } else {
        parts.iter().map(Found::device).collect()
    };
    group(&devices, facts, &names, &mut steps)?;
    if storage.kind == LocalKind::Ext {
        file_system(facts, &names, &mut steps);
    }
    let mut changes = brought_up(storage, &names, steps);
    // The last thing: from here on nothing is made any more.
    changes.push(StorageRecord::new(storage, &names, size(storage.mirror, &parts)).change());
    Ok(changes)
}

/// What brings storage up that was finished before.
fn finished(storage: &LocalStorage, record: &StorageRecord) -> Result<Vec<Change>, String> {
    let sorted = |mut parts: Vec<String>| {
        parts.sort_unstable();
        parts
    };
    let parts = storage.parts.iter().map(ToString::to_string).collect();
    if sorted(parts) != sorted(record.parts.clone()) {
        return Err(format!(
            "this host already has local storage {} on other partitions; it is left alone. For another one, remove /{RECORD} and what \
             it names first",
            record.uuid
        ));
    }
    let array = record.array.unwrap_or_else(|| Names::of(storage).array);
    let names = Names::with(record.kind, record.uuid, array);
    let storage = LocalStorage { kind: record.kind, mirror: record.mirror, ..storage.clone() };
    Ok(brought_up(&storage, &names, Vec::new()))
}

/// What brings storage up at this start and at each one after it, with the steps that make it between.
fn brought_up(storage: &LocalStorage, names: &Names, steps: Vec<Step>) -> Vec<Change> {
    let mut changes = units::array(storage, names);
    changes.extend(steps.into_iter().map(Change::Storage));
    changes.extend(units::changes(storage, names));
    changes
}

/// What an installation before has made: nothing is written to it, its name says what it is.
fn kept(storage: &LocalStorage, facts: &StorageFacts) -> Result<Vec<Change>, String> {
    let parts = all_there(storage, facts)?;
    let array = kept_array(&facts.parts)?;
    let on_it = match array {
        None => parts.iter().map(|part| (format!("/dev/{}", part.name), part.signatures)).collect(),
        Some(array) => {
            let device = array_device(array);
            let paths: Vec<String> = parts.iter().map(|part| format!("/dev/{}", part.name)).collect();
            let on_it = facts.array.as_deref().ok_or_else(|| does_not_run(&paths))?;
            vec![(device, on_it)]
        }
    };
    let mut groups: Vec<&str> = Vec::new();
    for (device, signatures) in on_it {
        let volume = signatures.iter().find(|found| found.kind == LVM_MEMBER);
        let group = volume
            .and_then(|found| facts.groups.get(found.uuid.as_deref()?))
            .filter(|group| !group.is_empty());
        groups.push(group.ok_or_else(|| format!("{device} belongs to no volume group; it is left alone"))?);
    }
    groups.dedup();
    let [group] = groups.as_slice() else {
        return Err(format!("what was to be kept belongs to several volume groups: {}", groups.join(", ")));
    };
    let (kind, sr) = of_group(group).ok_or_else(|| {
        format!("the volume group {group} is no local storage of this system; it is left alone")
    })?;
    let names = Names::with(kind, sr, array.unwrap_or_default());
    let storage = LocalStorage { kind, mirror: array.is_some(), ..storage.clone() };
    let mut changes = brought_up(&storage, &names, Vec::new());
    changes.push(StorageRecord::new(&storage, &names, size(storage.mirror, &parts)).change());
    Ok(changes)
}

/// The array that these partitions are halves of, if they are.
fn kept_array(parts: &BTreeMap<PartGuid, Part>) -> Result<Option<Uuid>, String> {
    let array_of = |part: &Part| {
        let Part::Present { signatures, .. } = part else { return None };
        let member = signatures.iter().find(|found| found.kind == RAID_MEMBER)?;
        Uuid::try_parse(member.uuid.as_deref()?).ok()
    };
    let mut arrays: Vec<Option<Uuid>> = parts.values().map(array_of).collect();
    arrays.dedup();
    match arrays.as_slice() {
        [] => Ok(None),
        [array] => Ok(*array),
        _ => Err("what was to be kept is not one mirror; it is left alone".to_owned()),
    }
}

/// A partition that is there.
struct Found<'a> {
    guid: PartGuid,
    name: &'a str,
    size: Bytes,
    signatures: &'a [Signature],
}

impl Found<'_> {
    fn device(&self) -> Device {
        let signatures = self.signatures.to_vec();
        Device { path: part_device(self.guid), id: self.guid.0, signatures }
    }
}

/// What is to become a physical volume, or is one.
struct Device {
    path: String,
    /// What its volume's UUID is made of.
    id: Uuid,
    signatures: Vec<Signature>,
}

fn all_there<'a>(storage: &LocalStorage, facts: &'a StorageFacts) -> Result<Vec<Found<'a>>, String> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for guid in &storage.parts {
        match facts.parts.get(guid) {
            Some(Part::Present { name, size, signatures }) => {
                found.push(Found { guid: *guid, name, size: *size, signatures });
            }
            Some(Part::Unreadable(why)) => wrong.push(format!("partition {guid} cannot be read: {why}")),
            Some(Part::Missing) | None => {
                wrong.push(format!("partition {guid} is not there: is its disk plugged in?"));
            }
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong.join("; ")) }
}

/// What a device holds that is to become part of storage.
enum Holds {
    Nothing,
    Ours,
}

/// Nothing, what is ours, or a refusal with what was found.
fn judge(what: &str, signatures: &[Signature], kind: &str, uuid: &str) -> Result<Holds, String> {
    match signatures {
        [] => Ok(Holds::Nothing),
        [one] if one.kind == kind && one.uuid.as_deref() == Some(uuid) => Ok(Holds::Ours),
        found => {
            let found: Vec<String> = found
                .iter()
                .map(|found| {
                    let name = found.label.as_ref().or(found.uuid.as_ref());
                    found.kind.clone() + &name.map(|name| format!(" {name:?}")).unwrap_or_default()
                })
                .collect();
            Err(format!(
                "{what} is not empty: it holds {}. It is left alone. If nothing of that is needed: `wipefs --all {what}`, then \
                 `xenolith-firstboot retry storage`",
                found.join(", ")
            ))
        }
    }
}

/// Steps to a running mirror, and what is on it.
fn mirror(
    parts: &[Found<'_>],
    facts: &StorageFacts,
    names: &Names,
    steps: &mut Vec<Step>,
) -> Result<Vec<Signature>, String> {
    let (mut ours, mut empty, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let path = format!("/dev/{}", part.name);
        match judge(&path, part.signatures, RAID_MEMBER, &names.array.to_string()) {
            Ok(Holds::Nothing) => empty.push(part_device(part.guid)),
            Ok(Holds::Ours) => ours.push(path),
            Err(why) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let (array, device) = (names.array, names.array_device());
    if ours.is_empty() {
        if facts.array.is_some() {
            return Err(format!("{device} runs on other partitions, and is left alone"));
        }
        steps.push(Step::MakeArray { array, device, members: empty });
        return Ok(Vec::new());
    }
    // What is on it can only be said while it runs.
    let on_it = facts.array.as_ref().ok_or_else(|| does_not_run(&ours))?;
    steps.extend(empty.into_iter().map(|member| Step::AddMember { device: device.clone(), member }));
    Ok(on_it.clone())
}

fn does_not_run(members: &[String]) -> String {
    let members = members.join(" ");
    format!(
        "the mirror of {members} does not run; `mdadm --assemble --run /dev/md/{ARRAY_NAME} {members}` says why"
    )
}

/// Steps to a group of all devices.
fn group(
    devices: &[Device],
    facts: &StorageFacts,
    names: &Names,
    steps: &mut Vec<Step>,
) -> Result<(), String> {
    let (mut wrong, mut joined, mut to_join) = (Vec::new(), false, Vec::new());
    for Device { path: device, id, signatures } in devices {
        let uuid = volume_uuid(*id);
        let group = facts.groups.get(&uuid).map_or("", String::as_str);
        match judge(device, signatures, LVM_MEMBER, &uuid) {
            Err(why) => wrong.push(why),
            Ok(Holds::Nothing) => {
                to_join.push(device);
                steps.push(Step::MakePhysicalVolume { device: device.clone(), uuid });
            }
            Ok(Holds::Ours) if group.is_empty() => to_join.push(device),
            Ok(Holds::Ours) if group == names.group => joined = true,
            Ok(Holds::Ours) => {
                wrong.push(format!("{device} belongs to the volume group {group}, which is left alone"))
            }
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    for device in to_join {
        let (group, device) = (names.group.clone(), device.clone());
        steps.push(if joined {
            Step::ExtendGroup { group, device }
        } else {
            Step::MakeGroup { group, device }
        });
        joined = true;
    }
    Ok(())
}

/// Steps to a finished file system on the group's one volume.
fn file_system(facts: &StorageFacts, names: &Names, steps: &mut Vec<Step>) {
    let volume = format!("{}/{}", names.group, names.sr);
    let tags = facts.volumes.get(&volume);
    if tags.is_none() {
        steps.push(Step::MakeVolume { group: names.group.clone(), volume: names.sr.to_string() });
    }
    if tags.is_none_or(|tags| tags.iter().any(|tag| tag == UNFINISHED)) {
        steps.push(Step::MakeFileSystem { volume: volume.clone(), uuid: names.sr });
        steps.push(Step::Finish { volume });
    }
}

/// What the partitions hold together; of a mirror the smaller one.
fn size(mirror: bool, parts: &[Found<'_>]) -> Bytes {
    let sizes = parts.iter().map(|part| part.size.get());
    let bytes = if mirror { sizes.min() } else { sizes.reduce(u64::saturating_add) };
    Bytes::new(bytes.unwrap_or_default())
}
