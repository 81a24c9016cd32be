//! What has to hold of every plan, for any machine and any answers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use xenolith_answers::{Answers, DiskRule, Encryption, Size, SizeRange};
use xenolith_installer::{Image, Plan, Step, Target, plan};
use xenolith_layout::disk::Role;
use xenolith_layout::{Bytes, RootHash, Seed};
use xenolith_machine::lsblk::{Answer, Device};
use xenolith_machine::{Capture, Machine, Tpm, judge};

const GROUPS: [&str; 3] = ["", "VG_XenStorage-1", "data"];

/// A disk as lsblk would tell of it: everything about it may be the case.
fn device() -> impl Strategy<Value = (Device, String)> {
    let size = prop_oneof![1 => Just(0), 1 => Just(8 << 30), 4 => Just(64_u64 << 30), 8 => (16_u64 << 30)..(4 << 40)];
    let flags = (prop::bool::weighted(0.05), prop::bool::weighted(0.05));
    let words = (
        prop_oneof![8 => Just(512_u32), 8 => Just(4096), 1 => Just(520)],
        prop_oneof![8 => Just(Some("sata")), 4 => Just(None), 1 => Just(Some("usb")), 1 => Just(Some("iscsi"))],
        prop_oneof![12 => Just(None), 4 => Just(Some("LVM2_member")), 1 => Just(Some("iso9660")), 1 => Just(Some("isw_raid_member"))],
        prop::option::of(prop::sample::select(vec!["S1", "S2", "S3"])),
        prop::option::weighted(0.2, prop::sample::select(vec!["0x5001", "0x5002"])),
        prop::sample::select(GROUPS.to_vec()),
        prop_oneof![16 => Just("none"), 1 => Just("mounted"), 1 => Just("swap"), 1 => Just("raid1"), 1 => Just("lvm")],
    );
    (size, flags, words).prop_map(|(size, (ro, rm), (sector, tran, fs, serial, wwn, group, used))| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let mut device = Device {
            kind: "disk".to_owned(),
            size,
            log_sec: sector,
            ro,
            rm,
            tran: owned(tran),
            fstype: owned(fs),
            serial: owned(serial),
            wwn: owned(wwn),
            ..Device::default()
        };
        let holder = |kind: &str| Device {
            name: "held".into(),
            kname: "dm-9".into(),
            kind: kind.into(),
            ..Device::default()
        };
        match used {
            "mounted" => device.mountpoints = vec![None, Some("/srv".to_owned())],
            "swap" => device.mountpoints = vec![Some("[SWAP]".to_owned())],
            "raid1" | "lvm" => device.children.push(holder(used)),
            _ => {}
        }
        (device, group.to_owned())
    })
}

fn machine() -> impl Strategy<Value = Machine> {
    (
        prop::collection::vec(device(), 0..6),
        prop::option::weighted(0.5, 0_usize..6),
        prop::bool::weighted(0.9),
        prop_oneof![8 => Just(Some("2".to_owned())), 1 => Just(None), 1 => Just(Some("1".to_owned()))],
    )
        .prop_map(|(devices, running_from, efi, tpm_version)| {
            let mut capture = Capture { efi, tpm_version, ..Capture::new() };
            capture.running_from = running_from.map(name);
            let mut found = Vec::new();
            for (index, (device, group)) in devices.into_iter().enumerate() {
                capture.physical_volumes.push(
                    serde_json::from_value(
                        serde_json::json!({ "pv_name": format!("/dev/{}", name(index)), "vg_name": group }),
                    )
                    .unwrap(),
                );
                found.push(Device { name: name(index), kname: name(index), ..device });
            }
            capture.lsblk = Answer { blockdevices: found };
            Machine::of(&capture)
        })
}

fn name(index: usize) -> String {
    format!("sd{}", char::from(b'a' + u8::try_from(index).unwrap()))
}

/// Rules that somebody would write for a machine with so many disks; some fit.
fn rule(disks: usize) -> impl Strategy<Value = DiskRule> {
    let any_rule = || DiskRule { count: 1, ..DiskRule::default() };
    prop_oneof![
        12 => (0..disks.max(1)).prop_map(move |index| DiskRule { path: Some(name(index)), ..any_rule() }),
        1 => prop::sample::select(vec!["S1", "S*", "*"])
            .prop_map(move |serial| DiskRule { serial: Some(serial.to_owned()), ..any_rule() }),
        2 => Just(DiskRule {
            size: SizeRange::parse(">= 1 GiB"),
            pick: Some(xenolith_answers::Pick::Largest),
            ..any_rule()
        }),
        1 => (1_u16..3).prop_map(move |count| DiskRule {
            size: SizeRange::parse(">= 1 GiB"),
            count,
            ..any_rule()
        }),
    ]
}

fn answers(count: usize) -> impl Strategy<Value = Answers> {
    let kinds = prop::sample::select(vec!["none", "lvm", "ext", "keep"]);
    (prop::collection::vec(rule(count), 1..3), prop::collection::vec(rule(count), 0..2), kinds, (prop::bool::weighted(0.7), prop::bool::weighted(0.2)), prop::option::of(1_u64..100)).prop_map(
        |(targets, disks, kind, (erase, encrypted), state)| {
            let text = r#"{"version":1,"target":{"disks":[]},"network":{},"access":{"ssh_keys":["ssh-ed25519 AAAA"]}}"#;
            let mut answers: Answers = serde_json::from_str(text).unwrap();
            answers.target.disks = targets;
            answers.target.erase = erase;
            answers.target.encryption = if encrypted { Encryption::Tpm } else { Encryption::None };
            answers.target.state = state.map(|gib| Size(Bytes::gib(gib)));
            answers.storage.kind = serde_json::from_value(kind.into()).unwrap();
            answers.storage.disks = if matches!(kind, "none" | "keep") { Vec::new() } else { disks };
            answers
        },
    )
}

fn case() -> impl Strategy<Value = (Machine, Answers)> {
    machine().prop_flat_map(|machine| {
        let count = machine.disks.len();
        (Just(machine), answers(count))
    })
}

fn image() -> Image {
    Image {
        version: "1.0.0".parse().unwrap(),
        root_hash: RootHash::new([7; 32]),
        root: Bytes::mib(180),
        verity: Bytes::mib(2),
    }
}

/// A plan, if these answers have one on this machine.
fn planned(machine: &Machine, answers: &Answers) -> Option<Plan> {
    plan(machine, answers, &image(), Seed::new([3; 32])).ok()
}

/// Writes that destroy or create something, in other words all but the approval and what only reads.
fn writes(step: &Step) -> bool {
    !step.disks().is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, max_global_rejects: 65536, ..ProptestConfig::default() })]

    #[test]
    fn no_step_touches_a_disk_that_was_not_chosen_or_not_offered((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        let rules = answers.target.disks.iter().chain(&answers.storage.disks).cloned().collect::<Vec<_>>();
        let chosen: BTreeSet<String> =
            xenolith_answers::choose(&machine, &rules).unwrap().into_iter().flatten().map(|disk| disk.path()).collect();
        for disk in plan.steps.iter().flat_map(Step::disks) {
            prop_assert!(chosen.contains(&disk.path), "{} was not chosen", disk.path);
            let found = machine.disks.iter().find(|found| found.path() == disk.path).unwrap();
            prop_assert!(judge(&machine, found).is_offered(), "{} is not offered", disk.path);
        }
    }

    #[test]
    fn nothing_is_written_before_the_one_confirmation_and_it_names_every_disk((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        prop_assert_eq!(plan.steps.iter().filter(|step| **step == Step::Confirm).count(), 1);
        let before = plan.steps.iter().take_while(|step| **step != Step::Confirm);
        prop_assert!(!before.into_iter().any(writes));
        let named: BTreeSet<_> = plan.erases.iter().map(|erased| &erased.disk).collect();
        let touched: BTreeSet<_> = plan.steps.iter().flat_map(Step::disks).collect();
        prop_assert_eq!(named, touched);
    }

    #[test]
    fn a_disk_boots_only_after_everything_else_is_on_it_and_was_read_back((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        let at = |wanted: &dyn Fn(&Step) -> bool| plan.steps.iter().position(wanted);
        for erased in &plan.erases {
            let Some(activate) = at(&|step| matches!(step, Step::Activate { disk } if *disk == erased.disk)) else { continue };
            let clear = at(&|step| matches!(step, Step::Clear { disk } if *disk == erased.disk)).unwrap();
            prop_assert!(clear < activate);
            let is_target = plan.targets.iter().any(|target| target.disk == erased.disk);
            let image = at(&|step| matches!(step, Step::WriteImage { disk } if *disk == erased.disk));
            prop_assert!(image.is_some() == is_target && image.is_none_or(|image| clear < image && image < activate));
            let later = plan.steps[activate + 1..].iter().flat_map(Step::disks);
            prop_assert!(later.into_iter().all(|disk| *disk != erased.disk), "written after it was made to boot");
        }
    }

    #[test]
    fn data_are_lost_only_if_the_answers_allow_it((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        prop_assert!(answers.target.erase || plan.erases.iter().all(|erased| erased.holds.is_empty()));
        // A volume group is erased whole or not at all.
        let erased: BTreeSet<&str> = plan.erases.iter().map(|erased| erased.disk.path.as_str()).collect();
        for group in GROUPS.iter().filter(|group| !group.is_empty()) {
            let on: Vec<bool> = machine.disks.iter()
                .filter(|disk| disk.groups().any(|theirs| theirs == *group))
                .map(|disk| erased.contains(disk.path().as_str()))
                .collect();
            prop_assert!(on.iter().all(|gone| *gone) || !on.iter().any(|gone| *gone), "{group} loses a part");
        }
    }

    #[test]
    fn partitions_lie_on_their_disk_and_state_is_as_large_on_both((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        let mut states = BTreeSet::new();
        for Target { disk, layout } in &plan.targets {
            let mut end = Bytes::ZERO;
            for partition in &layout.partitions {
                let (first, length) = (layout.offset(partition), layout.length(partition));
                prop_assert!(first >= end, "{} overlaps", partition.label());
                end = first.checked_add(length).unwrap();
                if partition.role == Role::State {
                    states.insert(length);
                }
            }
            prop_assert!(end < disk.size);
        }
        prop_assert!(states.len() == 1, "{states:?}");
    }

    #[test]
    fn a_state_is_encrypted_if_and_only_if_it_is_asked_for_and_a_tpm_can_open_it((machine, answers) in case()) {
        let Some(plan) = planned(&machine, &answers) else { return Ok(()) };
        prop_assert_eq!(plan.seal().is_some(), answers.target.encryption == Encryption::Tpm);
        prop_assert!(plan.seal().is_none() || machine.tpm == Tpm::V2);
    }

    #[test]
    fn the_same_question_has_the_same_answer((machine, answers) in case()) {
        let hash = || planned(&machine, &answers).map(|plan| plan.hash());
        prop_assert_eq!(hash(), hash());
    }
}

/// The generators above have to reach plans at all, or the properties say nothing.
#[test]
fn many_of_the_machines_and_answers_have_a_plan() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut plans = 0;
    for _ in 0..4096 {
        let (machine, answers) = case().new_tree(&mut runner).unwrap().current();
        plans += usize::from(planned(&machine, &answers).is_some());
    }
    assert!(plans > 200, "only {plans} of 4096");
}
