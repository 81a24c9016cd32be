//! What is there already: partitions, signatures on them, arrays, groups and volumes.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use serde::Deserialize;
use xenolith_layout::{Bytes, names::RAID_MEMBER};
use xenolith_settings::{LocalKind, LocalStorage, PartGuid};

use super::{
    ARRAY_NAME, Command, Names, Part, Program, Signature, StorageFacts, StorageRecord, array_device,
    array_id, kept_array, part_device,
};

/// A longer answer of a program is none, in bytes: thousands of volumes fit.
const MAX_ANSWER: usize = 16 << 20;
/// How long partitions may take to be seen: controllers with many disks take minutes.
const WAIT: &str = "--timeout=180";
/// How long our array may take to run: mdadm waits half a minute for its other half.
const WAIT_FOR_ARRAY: &str = "--timeout=90";
/// The kernel counts sizes in these (Linux 6.12, Documentation/ABI/stable/sysfs-block).
const SECTOR: u64 = 512;

/// Whoever runs programs.
pub trait Programs {
    /// What a program writes to standard output.
    ///
    /// # Errors
    /// Its words, when it cannot be started or ends with an error.
    fn ask(&self, command: &Command) -> Result<String, String>;
}

/// The programs of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Programs for ThisMachine {
    fn ask(&self, command: &Command) -> Result<String, String> {
        let said = duct::cmd(command.program.path(), &command.args)
            .full_env([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/sbin:/usr/bin")])
            // Where one of them asks something, that is a no.
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .map_err(|error| format!("{command}: {error}"))?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(format!("{command} ended with {}: {}", said.status, lines.join("; ")))
    }
}

/// Waits until udev has seen the devices that the kernel knows of. That it takes too long is no reason to do nothing.
pub(crate) fn settle(programs: &dyn Programs) {
    let _ = programs.ask(&Command::new(Program::Udevadm, &["settle", WAIT]));
}

impl StorageFacts {
    /// What is there of `storage` on the host whose files lie below `root`. Waits for its partitions.
    ///
    /// # Errors
    /// When it cannot be said what is there.
    pub fn look(storage: &LocalStorage, root: &Path, programs: &dyn Programs) -> Result<Self, String> {
        let record = StorageRecord::read(root).map_err(|error| error.to_string())?;
        if record.is_some() {
            // What is finished is not looked at.
            return Ok(Self { record, ..Self::default() });
        }
        let devices: Vec<String> = storage.parts.iter().map(|guid| part_device(*guid)).collect();
        let mut wait = vec!["wait", WAIT, "--settle"];
        wait.extend(devices.iter().map(String::as_str));
        // Which of them did not come is seen below.
        let _ = programs.ask(&Command::new(Program::Udevadm, &wait));
        let parts = storage.parts.iter().map(|guid| (*guid, part(root, &part_device(*guid), programs)));
        let parts: BTreeMap<PartGuid, Part> = parts.collect();
        let array = match storage.kind {
            LocalKind::Keep => kept(root, &parts, programs)?,
            LocalKind::Lvm | LocalKind::Ext if storage.mirror => {
                array(root, &Names::of(storage), &parts, programs)?
            }
            LocalKind::Lvm | LocalKind::Ext => None,
        };
        let report =
            |program, fields| programs.ask(&Command::new(program, &["--reportformat", "json", "-o", fields]));
        let groups = read_groups(&report(Program::Pvs, "pv_uuid,vg_name")?)?;
        let volumes = read_volumes(&report(Program::Lvs, "vg_name,lv_name,lv_tags")?)?;
        Ok(Self { parts, array, groups, volumes, record: None })
    }
}

fn part(root: &Path, link: &str, programs: &dyn Programs) -> Part {
    let Some(name) = kernel_name(root, link) else { return Part::Missing };
    let size = fs::read_to_string(root.join("sys/class/block").join(&name).join("size"));
    let size = size.ok().and_then(|text| text.trim().parse::<u64>().ok()?.checked_mul(SECTOR));
    let Some(size) = size else {
        return Part::Unreadable(format!("the kernel does not say how large {name} is"));
    };
    match signatures(link, programs) {
        Ok(signatures) => Part::Present { name, size: Bytes::new(size), signatures },
        Err(why) => Part::Unreadable(why),
    }
}

/// What is on the array of an installation before, which this starts: nothing names it to udev yet, and what is on it can only be said
/// while it runs. That changes nothing on its members.
fn kept(
    root: &Path,
    parts: &BTreeMap<PartGuid, Part>,
    programs: &dyn Programs,
) -> Result<Option<Vec<Signature>>, String> {
    // That they are several is for whoever decides to say.
    let Some(array) = kept_array(parts).ok().flatten() else { return Ok(None) };
    let link = array_device(array);
    if kernel_name(root, &link).is_none() {
        let (node, id) = (format!("/dev/md/{ARRAY_NAME}"), format!("--uuid={}", array_id(array)));
        let members: Vec<String> = parts.keys().map(|guid| part_device(*guid)).collect();
        // --run: half of a mirror is all that there may be left.
        let mut assemble = vec!["--assemble", "--run", &node, &id];
        assemble.extend(members.iter().map(String::as_str));
        programs.ask(&Command::new(Program::Mdadm, &assemble))?;
        let _ = programs.ask(&Command::new(Program::Udevadm, &["wait", WAIT_FOR_ARRAY, "--settle", &link]));
    }
    on(root, &link, programs)
}

/// What is on an array, if it runs.
fn on(root: &Path, link: &str, programs: &dyn Programs) -> Result<Option<Vec<Signature>>, String> {
    kernel_name(root, link).map(|_| signatures(link, programs)).transpose()
}

/// What is on our array, if it runs. Waits for it if a partition is one of its own.
fn array(
    root: &Path,
    names: &Names,
    parts: &BTreeMap<PartGuid, Part>,
    programs: &dyn Programs,
) -> Result<Option<Vec<Signature>>, String> {
    let (id, link) = (names.array.to_string(), names.array_device());
    let ours = |found: &Signature| found.kind == RAID_MEMBER && found.uuid.as_ref() == Some(&id);
    let expected = parts.values().any(|part| match part {
        Part::Present { signatures, .. } => signatures.iter().any(ours),
        Part::Missing | Part::Unreadable(_) => false,
    });
    if !expected {
        return Ok(None);
    }
    let _ = programs.ask(&Command::new(Program::Udevadm, &["wait", WAIT_FOR_ARRAY, "--settle", &link]));
    on(root, &link, programs)
}

/// Where one of udev's links leads to.
fn kernel_name(root: &Path, link: &str) -> Option<String> {
    let target = fs::read_link(root.join(link.trim_start_matches('/'))).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn signatures(device: &str, programs: &dyn Programs) -> Result<Vec<Signature>, String> {
    // Without --all it only lists; all that is found is listed, not the first.
    read_signatures(&programs.ask(&Command::new(Program::Wipefs, &["--json", device]))?)
}

/// What `wipefs --json` lists (util-linux 2.41). Nothing at all stands for nothing found.
///
/// # Errors
/// When it is something else.
pub fn read_signatures(text: &str) -> Result<Vec<Signature>, String> {
    #[derive(Deserialize)]
    struct Answer {
        signatures: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        r#type: String,
        uuid: Option<String>,
        label: Option<String>,
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let answer: Answer = answer("wipefs", text)?;
    let listed = answer.signatures.into_iter();
    Ok(listed.map(|one| Signature { kind: one.r#type, uuid: one.uuid, label: one.label }).collect())
}

/// LVM's reports: a list of reports, each with lists of rows (lvmreport(7)).
#[derive(Deserialize)]
struct Report<R> {
    report: Vec<R>,
}

/// What `pvs` says of physical volumes: by UUID, the group.
///
/// # Errors
/// When it is something else.
pub fn read_groups(text: &str) -> Result<BTreeMap<String, String>, String> {
    #[derive(Deserialize)]
    struct Rows {
        pv: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        pv_uuid: String,
        vg_name: String,
    }
    let report: Report<Rows> = answer("pvs", text)?;
    Ok(report.report.into_iter().flat_map(|rows| rows.pv).map(|row| (row.pv_uuid, row.vg_name)).collect())
}

/// What `lvs` says of logical volumes: by `group/volume`, the tags.
///
/// # Errors
/// When it is something else.
pub fn read_volumes(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    #[derive(Deserialize)]
    struct Rows {
        lv: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        vg_name: String,
        lv_name: String,
        lv_tags: String,
    }
    let report: Report<Rows> = answer("lvs", text)?;
    let rows = report.report.into_iter().flat_map(|rows| rows.lv);
    Ok(rows
        .map(|row| {
            let tags = row.lv_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
            (format!("{}/{}", row.vg_name, row.lv_name), tags)
        })
        .collect())
}

fn answer<'a, T: Deserialize<'a>>(program: &str, text: &'a str) -> Result<T, String> {
    let wrong = || format!("the answer of {program} is not understood");
    if text.len() > MAX_ANSWER {
        return Err(wrong());
    }
    serde_json::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use uuid::Uuid;

    use super::*;

    const WIPEFS: &str = include_str!("../../../ci/fuzz/seeds/storage_answers/wipefs");
    const PVS: &str = include_str!("../../../ci/fuzz/seeds/storage_answers/pvs");
    const LVS: &str = include_str!("../../../ci/fuzz/seeds/storage_answers/lvs");

    /// Answers by the end of the command; what is not there fails.
    struct Recorded(Vec<(String, &'static str)>);

    impl Programs for Recorded {
        fn ask(&self, command: &Command) -> Result<String, String> {
            let command = command.to_string();
            let answer = self.0.iter().find(|(end, _)| command.ends_with(end.as_str()));
            answer.map(|(_, text)| (*text).to_owned()).ok_or(format!("{command} ended with 1"))
        }
    }

    fn host(parts: &[(PartGuid, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("dev/disk/by-partuuid")).unwrap();
        for (guid, name) in parts {
            symlink(format!("../../{name}"), root.path().join(part_device(*guid).trim_start_matches('/')))
                .unwrap();
            let folder = root.path().join("sys/class/block").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("size"), "2048\n").unwrap();
        }
        root
    }

    #[test]
    fn partitions_are_looked_up_by_their_guid_and_what_is_on_them_is_listed() {
        let [one, two, gone] = [1, 2, 3].map(|number| PartGuid(Uuid::from_bytes([number; 16])));
        let root = host(&[(one, "sda7"), (two, "sdb1")]);
        let storage = LocalStorage::new(LocalKind::Lvm, vec![one, two, gone], false);
        let programs = Recorded(vec![
            (format!("--json {}", part_device(one)), WIPEFS),
            ("pv_uuid,vg_name".to_owned(), PVS),
            ("vg_name,lv_name,lv_tags".to_owned(), LVS),
        ]);
        let facts = StorageFacts::look(&storage, root.path(), &programs).unwrap();
        insta::assert_debug_snapshot!(facts);
        assert!(matches!(&facts.parts[&two], Part::Unreadable(why) if why.contains("wipefs")));
        // Without LVM's word nothing is decided.
        let programs = Recorded(vec![("pv_uuid,vg_name".to_owned(), PVS)]);
        assert!(StorageFacts::look(&storage, root.path(), &programs).unwrap_err().contains("lvs"));
    }

    #[test]
    fn an_array_is_only_waited_for_if_a_partition_is_its_own() {
        let [one, two] = [1, 2].map(|number| PartGuid(Uuid::from_bytes([number; 16])));
        let root = host(&[(one, "sda7"), (two, "sdb1")]);
        let storage = LocalStorage::new(LocalKind::Lvm, vec![one, two], true);
        let link = Names::of(&storage).array_device();
        let empty = "{\n   \"signatures\": [\n\n   ]\n}\n";
        let answers = |text: &'static str| {
            Recorded(vec![
                (part_device(one), text),
                (part_device(two), ""),
                (link.clone(), empty),
                ("pv_uuid,vg_name".to_owned(), PVS),
                ("vg_name,lv_name,lv_tags".to_owned(), LVS),
            ])
        };
        fs::create_dir_all(root.path().join("dev/disk/by-id")).unwrap();
        symlink("../../md127", root.path().join(link.trim_start_matches('/'))).unwrap();
        let facts = StorageFacts::look(&storage, root.path(), &answers(empty)).unwrap();
        assert_eq!(facts.array, None);
        let array = Names::of(&storage).array;
        let member = format!(
            r#"{{"signatures":[{{"type":"linux_raid_member","uuid":"{array}","label":"any:xenolith-sr"}}]}}"#
        );
        let facts = StorageFacts::look(&storage, root.path(), &answers(member.leak())).unwrap();
        assert_eq!(facts.array, Some(Vec::new()));
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        assert_eq!(read_signatures(" \n"), Ok(Vec::new()));
        for text in ["", "{}", "[]", "{\"report\": [{}]}", PVS, LVS] {
            assert!(read_signatures(text).is_err() || text.is_empty(), "{text}");
            assert!(read_groups(text).is_err() || text == PVS, "{text}");
            assert!(read_volumes(text).is_err() || text == LVS, "{text}");
        }
    }
}
