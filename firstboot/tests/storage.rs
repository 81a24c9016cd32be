//! Local storage on a model of a host's disks: what is made of them, that a power cut between any two steps is made up for by the next
//! boot, and that nothing that is not empty is ever written to.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use xenolith_firstboot::Change;
use xenolith_firstboot::storage::{
    Names, Part, Signature, Step, StorageFacts, UNFINISHED, changes, part_device, volume_uuid,
};
use xenolith_layout::{
    Bytes,
    names::{LVM_MEMBER, RAID_MEMBER},
};
use xenolith_settings::{LocalKind, LocalStorage, PartGuid};

fn guid(number: u8) -> PartGuid {
    PartGuid(uuid::Uuid::from_bytes([number; 16]))
}

fn storage(kind: LocalKind, parts: u8, mirror: bool) -> LocalStorage {
    LocalStorage::new(kind, (1..=parts).map(guid).collect(), mirror)
}

const ALL: [(LocalKind, u8, bool); 6] = [
    (LocalKind::Lvm, 1, false),
    (LocalKind::Lvm, 3, false),
    (LocalKind::Lvm, 2, true),
    (LocalKind::Ext, 1, false),
    (LocalKind::Ext, 3, false),
    (LocalKind::Ext, 2, true),
];

fn signature(kind: &str, uuid: &str) -> Signature {
    Signature { kind: kind.to_owned(), uuid: Some(uuid.to_owned()), label: None }
}

/// Disks, as far as the programs care. Each method does what the program of its step does, and panics where that program would refuse or
/// destroy something.
#[derive(Clone, Debug, PartialEq)]
struct Disks {
    parts: BTreeMap<PartGuid, Vec<Signature>>,
    array: BTreeSet<String>,
    on_array: Vec<Signature>,
    groups: BTreeMap<String, String>,
    volumes: BTreeMap<String, Vec<String>>,
    /// What a logical volume begins with: what was there before, until a file system is made.
    content: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    mounted: Option<String>,
}

impl Disks {
    fn empty(storage: &LocalStorage) -> Self {
        Self {
            parts: storage.parts.iter().map(|guid| (*guid, Vec::new())).collect(),
            array: BTreeSet::new(),
            on_array: Vec::new(),
            groups: BTreeMap::new(),
            volumes: BTreeMap::new(),
            content: BTreeMap::new(),
            files: BTreeMap::new(),
            mounted: None,
        }
    }

    fn facts(&self) -> StorageFacts {
        let parts = self.parts.iter().map(|(guid, signatures)| {
            let name = format!("sd{}1", char::from(b'a' + guid.0.as_bytes()[0]));
            (*guid, Part::Present { name, size: Bytes::gib(10), signatures: signatures.clone() })
        });
        let record = self.files.get("var/lib/xenolith/storage.json");
        StorageFacts {
            parts: parts.collect(),
            array: (!self.array.is_empty()).then(|| self.on_array.clone()),
            groups: self.groups.clone(),
            volumes: self.volumes.clone(),
            record: record.map(|text| serde_json::from_str(text).unwrap()),
        }
    }

    fn without_record(&self) -> StorageFacts {
        StorageFacts { record: None, ..self.facts() }
    }

    fn part(&mut self, device: &str) -> &mut Vec<Signature> {
        self.parts.iter_mut().find(|(guid, _)| part_device(**guid) == device).unwrap().1
    }

    fn on(&mut self, device: &str) -> &mut Vec<Signature> {
        if device.contains("md-uuid") { &mut self.on_array } else { self.part(device) }
    }

    fn make(&mut self, change: &Change) {
        match change {
            Change::Storage(step) => self.step(step),
            Change::Write { path, text, .. } => drop(self.files.insert(path.clone(), text.clone())),
            Change::Link { path, target } => drop(self.files.insert(path.clone(), format!("-> {target}"))),
            other => panic!("storage does not need {other}"),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::MakeArray { array, members, .. } => {
                assert_eq!(members.len(), 2);
                for member in members {
                    self.join(member, &array.to_string());
                }
            }
            Step::AddMember { member, .. } => {
                let array = self.array.first().expect("it runs").clone();
                self.join(member, &array);
            }
            Step::MakePhysicalVolume { device, uuid } => {
                let on = self.on(device);
                assert!(on.is_empty(), "{device} is overwritten: {on:?}");
                on.push(signature(LVM_MEMBER, uuid));
                self.groups.insert(uuid.clone(), String::new());
            }
            Step::MakeGroup { group, device } => {
                assert!(self.groups.values().all(|known| known != group), "there is a group {group}");
                self.take(group, device);
            }
            Step::ExtendGroup { group, device } => {
                assert!(self.groups.values().any(|known| known == group), "there is no group {group}");
                self.take(group, device);
            }
            Step::MakeVolume { group, volume } => {
                let path = format!("{group}/{volume}");
                assert!(self.groups.values().all(|known| known == group), "not all of it");
                assert!(self.volumes.insert(path.clone(), vec![UNFINISHED.to_owned()]).is_none());
                self.content.insert(path, "what was there before".to_owned());
            }
            Step::MakeFileSystem { volume, uuid } => {
                assert!(self.volumes[volume].contains(&UNFINISHED.to_owned()), "{volume} is in use");
                self.content.insert(volume.clone(), format!("ext4 {uuid}"));
            }
            Step::Finish { volume } => self.volumes.get_mut(volume).unwrap().clear(),
            Step::Mount { unit } => {
                assert!(self.files.contains_key(&format!("etc/systemd/system/{unit}")));
                self.mounted = Some(unit.clone());
            }
        }
    }

    fn join(&mut self, member: &str, array: &str) {
        let on = self.part(member);
        assert!(on.is_empty(), "{member} is overwritten: {on:?}");
        on.push(signature(RAID_MEMBER, array));
        self.array.insert(array.to_owned());
    }

    fn take(&mut self, group: &str, device: &str) {
        let uuid = self.on(device)[0].uuid.clone().unwrap();
        let was = self.groups.insert(uuid, group.to_owned());
        assert_eq!(was.as_deref(), Some(""), "{device} is in a group");
    }
}

#[test]
fn storage_is_made_by_these_programs() {
    for (kind, parts, mirror) in ALL {
        let storage = storage(kind, parts, mirror);
        let mut text = String::new();
        for change in changes(&storage, &Disks::empty(&storage).facts()).unwrap() {
            text.push_str(&format!("{change}\n"));
            match &change {
                Change::Storage(step) => {
                    step.commands().iter().for_each(|command| text.push_str(&format!("    {command}\n")));
                }
                Change::Write { text: file, .. } => {
                    file.lines().for_each(|line| text.push_str(&format!("    | {line}\n")));
                }
                _ => {}
            }
        }
        let name = format!("{kind}-{parts}{}", if mirror { "-mirror" } else { "" });
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn wherever_the_power_is_cut_the_next_boot_finishes_the_same_storage() {
    for (kind, parts, mirror) in ALL {
        let storage = storage(kind, parts, mirror);
        let all = changes(&storage, &Disks::empty(&storage).facts()).unwrap();
        let mut whole = Disks::empty(&storage);
        all.iter().for_each(|change| whole.make(change));
        // A second cut in what the first one left to do.
        for first in 0..=all.len() {
            let mut disks = Disks::empty(&storage);
            all[..first].iter().for_each(|change| disks.make(change));
            let rest = changes(&storage, &disks.facts()).unwrap();
            for second in 0..=rest.len() {
                let mut disks = disks.clone();
                rest[..second].iter().for_each(|change| disks.make(change));
                for change in changes(&storage, &disks.facts()).unwrap() {
                    disks.make(&change);
                }
                assert_eq!(disks, whole, "{kind} {parts} {mirror}: cut after {first}, then after {second}");
            }
        }
    }
}

#[test]
fn a_mirror_that_was_cut_while_it_was_made_gets_its_other_half() {
    let storage = storage(LocalKind::Lvm, 2, true);
    let names = Names::of(&storage);
    let mut disks = Disks::empty(&storage);
    // mdadm writes to its members one after the other.
    disks.join(&part_device(guid(1)), &names.array.to_string());
    let changes = changes(&storage, &disks.facts()).unwrap();
    let first = Step::AddMember { device: names.array_device(), member: part_device(guid(2)) };
    // The first change lets udev start it.
    assert_eq!(changes[1], Change::Storage(first));
    changes.iter().for_each(|change| disks.make(change));
    assert!(disks.parts.values().all(|on| on[0].kind == RAID_MEMBER));
    let why =
        xenolith_firstboot::storage::changes(&storage, &StorageFacts { array: None, ..disks_of_ours() });
    assert!(why.unwrap_err().contains("does not run"));
}

/// A mirror of ours that does not run.
fn disks_of_ours() -> StorageFacts {
    let storage = storage(LocalKind::Lvm, 2, true);
    let mut disks = Disks::empty(&storage);
    let array = Names::of(&storage).array.to_string();
    storage.parts.iter().for_each(|guid| disks.join(&part_device(*guid), &array));
    disks.facts()
}

#[test]
fn what_is_not_empty_is_named_and_left_alone() {
    for (kind, parts, mirror) in ALL {
        let storage = storage(kind, parts, mirror);
        let mut disks = Disks::empty(&storage);
        let old = Signature { label: Some("backups".into()), ..signature("ext4", "5f0c") };
        disks.parts.insert(guid(parts), vec![old]);
        let why = changes(&storage, &disks.facts()).unwrap_err();
        assert!(why.contains("holds ext4 \"backups\"") && why.contains("wipefs --all"), "{why}");
    }
    let storage = storage(LocalKind::Lvm, 1, false);
    for uuid in ["someone-elses", &volume_uuid(guid(1).0)] {
        let mut disks = Disks::empty(&storage);
        disks.parts.insert(guid(1), vec![signature(LVM_MEMBER, uuid)]);
        disks.groups.insert(uuid.to_owned(), "VG_XenStorage-of-somebody".to_owned());
        assert!(changes(&storage, &disks.facts()).unwrap_err().contains("left alone"));
    }
}

#[test]
fn what_is_missing_or_cannot_be_read_is_named_all_at_once() {
    let storage = storage(LocalKind::Ext, 3, false);
    let mut facts = Disks::empty(&storage).facts();
    facts.parts.insert(guid(1), Part::Missing);
    facts.parts.insert(guid(3), Part::Unreadable("input/output error".to_owned()));
    assert_eq!(
        changes(&storage, &facts).unwrap_err(),
        "partition 01010101-0101-0101-0101-010101010101 is not there: is its disk plugged in?; \
         partition 03030303-0303-0303-0303-030303030303 cannot be read: input/output error"
    );
}

#[test]
fn what_is_finished_is_not_made_again_even_if_a_disk_comes_back_empty() {
    for (kind, parts, mirror) in ALL {
        let storage = storage(kind, parts, mirror);
        let mut disks = Disks::empty(&storage);
        for change in changes(&storage, &disks.facts()).unwrap() {
            disks.make(&change);
        }
        let before = disks.clone();
        disks.parts.insert(guid(1), Vec::new());
        for change in changes(&storage, &disks.facts()).unwrap() {
            let harmless = matches!(
                &change,
                Change::Write { .. } | Change::Link { .. } | Change::Storage(Step::Mount { .. })
            );
            assert!(harmless, "{change}");
            disks.make(&change);
        }
        assert_eq!(disks.files, before.files);
        // Other partitions than those that were finished are another storage.
        let other = LocalStorage::new(kind, vec![guid(7), guid(8)], mirror);
        assert!(changes(&other, &disks.facts()).unwrap_err().contains("already has local storage"));
    }
}

proptest! {
    /// Whatever is on the disks: the model panics where something would be overwritten.
    #[test]
    fn nothing_is_overwritten_whatever_is_there(
        which in 0..ALL.len(),
        on in prop::collection::vec(prop::option::of(0_u8..5), 3),
        array in prop::option::of(0_u8..3),
        in_group in 0_u8..3,
        volume in prop::option::of(any::<bool>()),
    ) {
        let (kind, parts, mirror) = ALL[which];
        let storage = storage(kind, parts, mirror);
        let names = Names::of(&storage);
        let mut disks = Disks::empty(&storage);
        for (guid, on) in storage.parts.iter().zip(on) {
            let found = match on {
                None => continue,
                Some(0) => signature(RAID_MEMBER, &names.array.to_string()),
                Some(1) => signature(LVM_MEMBER, &volume_uuid(guid.0)),
                Some(2) => signature(LVM_MEMBER, "someone-elses"),
                Some(3) => signature(RAID_MEMBER, "someone-elses"),
                Some(_) => signature("gpt", ""),
            };
            disks.parts.insert(*guid, vec![found]);
            let group = ["", names.group.as_str(), "other"][usize::from(in_group)];
            disks.groups.insert(volume_uuid(guid.0), group.to_owned());
        }
        if let Some(array) = array {
            disks.array.insert(names.array.to_string());
            disks.on_array = match array {
                0 => Vec::new(),
                1 => vec![signature(LVM_MEMBER, &volume_uuid(names.array))],
                _ => vec![signature("xfs", "0")],
            };
            disks.groups.insert(volume_uuid(names.array), names.group.clone());
        }
        if let Some(finished) = volume {
            let tags = if finished { Vec::new() } else { vec![UNFINISHED.to_owned()] };
            disks.volumes.insert(format!("{}/{}", names.group, names.sr), tags);
        }
        let before = disks.clone();
        let Ok(changes) = changes(&storage, &disks.facts()) else { return Ok(()) };
        for change in changes {
            if let Change::Storage(Step::MakeVolume { .. }) = &change {
                // A host with groups of others has them on other disks, too.
                disks.groups.retain(|_, group| *group == names.group);
            }
            if let Change::Storage(Step::MakePhysicalVolume { device, .. }) = &change {
                prop_assert!(disks.on(device).is_empty());
            }
            if let Change::Storage(Step::MakeGroup { .. } | Step::ExtendGroup { .. }) = &change {
                continue;
            }
            disks.make(&change);
        }
        for (guid, on) in before.parts {
            prop_assert!(on.is_empty() || disks.parts[&guid] == on, "{} was changed", guid);
        }
    }
}

#[test]
fn what_is_kept_is_looked_at_and_never_written_to() {
    for (kind, parts, mirror) in ALL {
        let made = storage(kind, parts, mirror);
        let mut disks = Disks::empty(&made);
        changes(&made, &disks.facts()).unwrap().iter().for_each(|change| disks.make(change));
        // The system was made anew: nothing is known of it any more.
        let record = disks.files.remove("var/lib/xenolith/storage.json").unwrap();
        disks.files.clear();
        disks.mounted = None;
        let kept = LocalStorage { kind: LocalKind::Keep, ..made.clone() };
        let before =
            (disks.parts.clone(), disks.groups.clone(), disks.volumes.clone(), disks.content.clone());
        changes(&kept, &disks.facts()).unwrap().iter().for_each(|change| disks.make(change));
        let after = (disks.parts.clone(), disks.groups.clone(), disks.volumes.clone(), disks.content.clone());
        assert_eq!(before, after);
        assert_eq!(disks.files["var/lib/xenolith/storage.json"], record, "it is the same storage");
        assert_eq!(disks.mounted.is_some(), kind == LocalKind::Ext);
        assert_eq!(disks.files.contains_key("etc/mdadm/mdadm.conf"), mirror);
        // Once more, when it is finished.
        let finished = disks.clone();
        changes(&kept, &disks.facts()).unwrap().iter().for_each(|change| disks.make(change));
        assert_eq!(disks, finished);
    }
    let empty = storage(LocalKind::Keep, 1, false);
    let why = changes(&empty, &Disks::empty(&empty).facts()).unwrap_err();
    assert!(why.contains("no volume group"), "{why}");
}

#[test]
fn half_of_a_mirror_is_kept_and_halves_of_two_are_not() {
    let made = storage(LocalKind::Lvm, 2, true);
    let mut disks = Disks::empty(&made);
    changes(&made, &disks.facts()).unwrap().iter().for_each(|change| disks.make(change));
    disks.files.clear();
    let mut other = disks.clone();
    other.parts.insert(guid(2), vec![signature(RAID_MEMBER, "00000000-0000-0000-0000-000000000001")]);
    let keep = |parts| LocalStorage { kind: LocalKind::Keep, ..storage(LocalKind::Lvm, parts, false) };
    let why = changes(&keep(2), &other.facts()).unwrap_err();
    assert!(why.contains("not one mirror"), "{why}");
    disks.parts.remove(&guid(2));
    let array = Names::of(&made).array_device();
    changes(&keep(1), &disks.facts()).unwrap().iter().for_each(|change| disks.make(change));
    let id = array.rsplit("md-uuid-").next().unwrap();
    assert!(disks.files["etc/mdadm/mdadm.conf"].contains(id));
    let why = changes(&keep(1), &StorageFacts { array: None, ..disks.without_record() }).unwrap_err();
    assert!(why.contains("does not run"), "{why}");
}
