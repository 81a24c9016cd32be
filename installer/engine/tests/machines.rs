//! Captured machines: what is offered there, and what an installation would do.
//!
//! A folder of `installer/machines` has `machine.json`, which `xenolith-probe` wrote on that machine, and `answers.toml`; `plan.snap` is
//! what people would be shown. A new folder without one fails and shows it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_answers::Answers;
use xenolith_installer::{Image, Seal, plan};
use xenolith_layout::{Bytes, RootHash, Seed};
use xenolith_machine::{Capture, Firmware, Machine, SecureBoot, Tpm, judge, table};

fn machines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines");
    let mut machines: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    machines.retain(|path| path.is_dir());
    machines.sort();
    machines
}

fn read(folder: &Path) -> (Machine, Answers) {
    let capture = Capture::parse(&fs::read(folder.join("machine.json")).unwrap()).unwrap();
    let answers = Answers::parse(&fs::read(folder.join("answers.toml")).unwrap()).unwrap();
    (Machine::of(&capture), answers)
}

fn image() -> Image {
    Image {
        version: "1.0.0".parse().unwrap(),
        root_hash: RootHash::new([7; 32]),
        root: Bytes::mib(180),
        verity: Bytes::mib(2),
    }
}

#[test]
fn each_machine_has_its_plan() {
    let machines = machines();
    assert!(machines.len() >= 13, "{} machines: some are gone", machines.len());
    for folder in machines {
        let (machine, answers) = read(&folder);
        let outcome = match plan(&machine, &answers, &image(), Seed::new([3; 32])) {
            Ok(plan) => format!("{plan}\nplan {}", plan.hash()),
            Err(refused) => format!("refused: {refused}"),
        };
        let text = format!("{}\n\n{}", table(&machine), outcome.trim_end());
        insta::with_settings!({ snapshot_path => &folder, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("plan", text);
        });
    }
}

/// Nothing is encrypted that nobody could open.
#[test]
fn a_state_is_encrypted_only_where_there_is_a_tpm_to_open_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines/tpm");
    let (machine, answers) = read(&folder);
    let planned = |machine: &Machine| plan(machine, &answers, &image(), Seed::new([3; 32]));
    assert_eq!(planned(&machine).unwrap().seal(), Some(Seal::SecureBoot));
    let unsigned = Machine { firmware: Firmware::Uefi { secure_boot: SecureBoot::Off }, ..machine.clone() };
    let unsigned = planned(&unsigned).unwrap();
    assert_eq!(unsigned.seal(), Some(Seal::Unsigned));
    assert!(unsigned.to_string().contains("Secure Boot is off"), "{unsigned}");
    let refused = |tpm| planned(&Machine { tpm, ..machine.clone() }).unwrap_err().to_string();
    assert_eq!(
        refused(Tpm::None),
        "the state cannot be encrypted: this machine shows no TPM 2.0; switch one on in the firmware's setup, or leave \
         `target.encryption` out"
    );
    assert!(refused(Tpm::V1).contains("has a TPM of version 1.2 only"), "{}", refused(Tpm::V1));
}

#[test]
fn no_plan_of_theirs_writes_to_a_disk_that_is_not_offered() {
    for folder in machines() {
        let (machine, answers) = read(&folder);
        let Ok(plan) = plan(&machine, &answers, &image(), Seed::new([3; 32])) else { continue };
        let offered: BTreeSet<String> = machine
            .disks
            .iter()
            .filter(|disk| judge(&machine, disk).is_offered())
            .map(xenolith_machine::Disk::path)
            .collect();
        for disk in plan.steps.iter().flat_map(xenolith_installer::Step::disks) {
            assert!(offered.contains(&disk.path), "{}: {}", folder.display(), disk.path);
        }
    }
}
