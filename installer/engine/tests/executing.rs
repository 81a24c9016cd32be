//! A plan carried out on disks that are files, cut short at every write.
#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use fs_err as fs;
use serde_json::json;
use xenolith_answers::Answers;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_installer::{
    Devices, DiskId, Event, ExecuteError, FileDevices, Image, Journal, Plan, Source, Step, StepError,
    execute, plan,
};
use xenolith_layout::{
    Bytes, Seed, Slot,
    disk::{Role, STATE_BACKUP_SUPERBLOCK, STATE_MIN},
};
use xenolith_machine::{Capture, Machine};

const SIZE: u64 = 12 << 30;
const STATE: &[u8] = b"a file system";
const ENTRY: &str = "EFI/Linux/xenolith_1.0.0+3-0.efi";

/// A machine with one disk, a plan for it, and what is to be written.
struct Bench {
    folder: tempfile::TempDir,
    plan: Plan,
    source: Source,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [root, verity] = ["root.erofs", "root.verity"].map(|name| folder.path().join(name));
        let data: Vec<u8> =
            (0_u32..3 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(&root, &data).unwrap();
        let mut tree = Vec::new();
        let length = Bytes::new(data.len() as u64);
        let root_hash = xenolith_verity::build(&mut data.as_slice(), length, &mut tree).unwrap();
        fs::write(&verity, &tree).unwrap();
        let image = Image {
            version: "1.0.0".parse().unwrap(),
            root_hash,
            root: length,
            verity: Bytes::new(tree.len() as u64),
        };
        let esp = vec![
            EspFile { path: "EFI/BOOT/BOOTX64.EFI".into(), content: EspContent::Bytes(vec![7; 100_000]) },
            EspFile { path: ENTRY.into(), content: EspContent::Bytes(b"boot file".to_vec()) },
        ];
        let source = Source { root, verity, esp, state: folder.path().into(), scratch: folder.path().into() };
        Self { plan: planned(&image), source, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk full of somebody's marks where they would be looked for.
    fn disk(&self) -> PathBuf {
        let path = self.path("disk.img");
        let _ = fs::remove_file(&path);
        let mut disk = fs::File::create(&path).unwrap();
        disk.set_len(SIZE).unwrap();
        let layout = &self.plan.targets[0].layout;
        let state = layout.offset(layout.partition(Role::State).unwrap()).get();
        for at in [0, SIZE - (1 << 20), state, state + STATE_BACKUP_SUPERBLOCK.get()] {
            disk.seek(SeekFrom::Start(at)).unwrap();
            disk.write_all(&vec![0xaa; 1 << 20]).unwrap();
        }
        path
    }

    fn run(&self, devices: &impl Devices, journal: &str) -> (Result<(), ExecuteError>, Vec<Event>) {
        let hash = self.plan.hash();
        let mut journal = Journal::open(&self.path(journal), &hash).unwrap();
        let mut events = Vec::new();
        let ran =
            execute(&self.plan, &hash, &self.source, devices, &mut journal, &mut |event| events.push(event));
        (ran, events)
    }

    /// Whether firmware would find a partition table.
    fn has_table(&self, disk: &Path) -> bool {
        let file = std::fs::File::open(disk).unwrap();
        gpt::GptConfig::new().writable(false).open_from_device(file).is_ok()
    }

    /// Panics unless all that was to be written is there.
    fn is_whole(&self, disk: &Path) {
        let layout = &self.plan.targets[0].layout;
        let place = |role| layout.offset(layout.partition(role).unwrap()).get();
        let read = |at: u64, length: usize| {
            let mut file = fs::File::open(disk).unwrap();
            let mut bytes = vec![0; length];
            file.seek(SeekFrom::Start(at)).unwrap();
            file.read_exact(&mut bytes).unwrap();
            bytes
        };
        for (role, file) in
            [(Role::Root(Slot::A), &self.source.root), (Role::Verity(Slot::A), &self.source.verity)]
        {
            let bytes = fs::read(file).unwrap();
            assert!(read(place(role), bytes.len()) == bytes, "{role} is not what was to be written");
        }
        let esp = layout.partition(Role::Esp).unwrap();
        let (first, length) = (place(Role::Esp), layout.length(esp).get());
        let part =
            fscommon::StreamSlice::new(std::fs::File::open(disk).unwrap(), first, first + length).unwrap();
        let volume = fatfs::FileSystem::new(part, fatfs::FsOptions::new()).unwrap();
        let mut text = String::new();
        volume.root_dir().open_file(ENTRY).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "boot file");
        for partition in &layout.partitions {
            let edge = read(layout.offset(partition).get(), 4096);
            let ours = matches!(
                partition.role,
                Role::Esp | Role::Root(Slot::A) | Role::Verity(Slot::A) | Role::State
            );
            assert!(ours || edge.iter().all(|byte| *byte == 0), "{} does not begin empty", partition.label());
        }
        assert_eq!(read(place(Role::State), STATE.len()), STATE);
        let backup = place(Role::State) + STATE_BACKUP_SUPERBLOCK.get();
        assert!(read(backup, 4096).iter().all(|byte| *byte == 0), "an old state would be found");
        let table = gpt::GptConfig::new()
            .writable(false)
            .open_from_device(std::fs::File::open(disk).unwrap())
            .unwrap();
        let found: Vec<(String, u64)> =
            table.partitions().values().map(|found| (found.name.clone(), found.first_lba)).collect();
        let planned: Vec<(String, u64)> =
            layout.partitions.iter().map(|one| (one.label().to_owned(), one.first.get())).collect();
        assert_eq!(found, planned);
    }
}

/// One disk, no storage.
fn planned(image: &Image) -> Plan {
    let capture = json!({ "format": 1, "efi": true, "lsblk": { "blockdevices": [
        { "name": "sda", "kname": "sda", "type": "disk", "size": SIZE, "log-sec": 512, "tran": "sata", "serial": "S1" },
    ] } });
    let machine = Machine::of(&Capture::parse(capture.to_string().as_bytes()).unwrap());
    let answers = "version = 1\n[target]\ndisks = [{ serial = \"S1\" }]\nerase = true\n[network]\n[access]\n\
        ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a\"]\n";
    let answers = Answers::parse(answers.as_bytes()).unwrap();
    plan(&machine, &answers, image, Seed::new([3; 32])).unwrap()
}

/// The one disk as a file, whose power fails after some writes; the last of them is torn in the middle.
struct Cut {
    disk: PathBuf,
    left: Rc<Cell<usize>>,
    /// What is read is not what was written.
    lies: bool,
}

impl Cut {
    fn after(disk: &Path, writes: usize) -> Self {
        Self { disk: disk.into(), left: Rc::new(Cell::new(writes)), lies: false }
    }
}

struct CutDisk {
    file: fs::File,
    left: Rc<Cell<usize>>,
    lies: bool,
}

impl Devices for Cut {
    type Disk = CutDisk;

    fn open(&self, disk: &DiskId) -> io::Result<CutDisk> {
        assert_eq!(disk.path, "/dev/sda");
        let file = fs::OpenOptions::new().read(true).write(true).open(&self.disk)?;
        Ok(CutDisk { file, left: Rc::clone(&self.left), lies: self.lies })
    }

    fn flush(&self, _disk: &mut CutDisk) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self, _disk: &mut CutDisk) -> io::Result<()> {
        Ok(())
    }

    /// A mark in the place of a file system.
    fn make_state(&self, disk: &DiskId, first: Bytes, length: Bytes, folder: &Path) -> io::Result<()> {
        assert!(length >= STATE_MIN && folder.is_dir());
        let mut disk = self.open(disk)?;
        disk.seek(SeekFrom::Start(first.get()))?;
        disk.write_all(STATE)
    }
}

impl Write for CutDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let dead = || io::Error::new(io::ErrorKind::BrokenPipe, "the power is gone");
        match self.left.get() {
            0 => Err(dead()),
            1 => {
                self.left.set(0);
                self.file.write_all(&bytes[..bytes.len() / 2])?;
                Err(dead())
            }
            left => {
                self.left.set(left - 1);
                self.file.write_all(bytes)?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for CutDisk {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(bytes)?;
        if self.lies && length > 0 {
            bytes[0] ^= 1;
        }
        Ok(length)
    }
}

impl Seek for CutDisk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_plan_is_carried_out_once_and_what_is_done_is_not_done_again() {
    let bench = Bench::new();
    let disk = bench.disk();
    let (ran, events) = bench.run(&Cut::after(&disk, usize::MAX), "journal");
    ran.unwrap();
    bench.is_whole(&disk);
    let steps = bench.plan.steps.len();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Done { .. })).count(), steps);
    let whole = bench.plan.image.root + bench.plan.image.verity;
    assert!(events.iter().any(
        |event| matches!(event, Event::Progress { done, total, .. } if done == total && *total == whole)
    ));
    let (ran, events) = bench.run(&Cut::after(&disk, 0), "journal");
    ran.unwrap();
    assert!(events.len() == steps && events.iter().all(|event| matches!(event, Event::Skipped { .. })));
}

#[test]
fn power_that_fails_at_any_write_leaves_a_whole_disk_or_one_that_does_not_boot() {
    let bench = Bench::new();
    let mut cuts = 0;
    for writes in 0.. {
        let disk = bench.disk();
        let (ran, _) = bench.run(&Cut::after(&disk, writes), &format!("journal-{writes}"));
        if bench.has_table(&disk) {
            bench.is_whole(&disk);
        }
        if ran.is_ok() {
            break;
        }
        cuts = writes;
        // The journal was in memory: the second installation knows nothing of the first.
        bench.run(&Cut::after(&disk, usize::MAX), &format!("again-{writes}")).0.unwrap();
        bench.is_whole(&disk);
    }
    assert!(cuts > 15, "only {cuts} writes: the cuts do not fall where they should");
}

#[test]
fn a_step_that_failed_is_tried_again_and_those_before_are_not() {
    let bench = Bench::new();
    let disk = bench.disk();
    let root = fs::read(&bench.source.root).unwrap();
    fs::write(&bench.source.root, &root[..4096]).unwrap();
    let (ran, events) = bench.run(&Cut::after(&disk, usize::MAX), "journal");
    let error = ran.unwrap_err();
    assert!(matches!(error, ExecuteError::Step { source: StepError::Length { .. }, .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("step 3 of {} failed: write the system to /dev/sda", bench.plan.steps.len())
    );
    assert_eq!(events.last(), Some(&Event::Began { step: 2 }));
    fs::write(&bench.source.root, &root).unwrap();
    let (ran, events) = bench.run(&Cut::after(&disk, usize::MAX), "journal");
    ran.unwrap();
    assert_eq!(
        events[..3],
        [Event::Skipped { step: 0 }, Event::Skipped { step: 1 }, Event::Began { step: 2 }]
    );
    bench.is_whole(&disk);
}

#[test]
fn a_disk_that_gives_back_something_else_never_boots() {
    let bench = Bench::new();
    let disk = bench.disk();
    let lying = Cut { lies: true, ..Cut::after(&disk, usize::MAX) };
    let error = bench.run(&lying, "journal").0.unwrap_err();
    assert!(matches!(error, ExecuteError::Step { source: StepError::ReadBack(_), .. }), "{error:?}");
    assert!(!bench.has_table(&disk));
}

#[test]
fn nothing_is_opened_for_a_plan_that_nobody_approved() {
    let bench = Bench::new();
    let missing = Cut::after(Path::new("/nonexistent"), 0);
    let mut journal = Journal::open(&bench.path("journal"), "something else").unwrap();
    for approved in ["something else", &bench.plan.hash()] {
        let ran = execute(&bench.plan, approved, &bench.source, &missing, &mut journal, &mut |_| {
            panic!("an event")
        });
        assert!(matches!(ran, Err(ExecuteError::NotApproved)));
    }
}

#[test]
fn a_step_that_is_not_implemented_ends_the_installation_before_the_disk_boots() {
    let mut bench = Bench::new();
    let disk = bench.disk();
    let disks = vec![bench.plan.targets[0].disk.clone(); 2];
    let activate = bench.plan.steps.iter().position(|step| matches!(step, Step::Activate { .. })).unwrap();
    bench.plan.steps.insert(activate, Step::MakeState { disks });
    let error = bench.run(&Cut::after(&disk, usize::MAX), "journal").0.unwrap_err();
    assert!(matches!(error, ExecuteError::Step { source: StepError::NotYet, .. }), "{error:?}");
    assert!(!bench.has_table(&disk));
}

#[test]
fn a_disk_of_another_size_than_planned_is_another_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![0; 4096]).unwrap();
    let id =
        |size| DiskId { path: path.display().to_string(), serial: None, wwn: None, size: Bytes::new(size) };
    FileDevices.open(&id(4096)).unwrap();
    let error = FileDevices.open(&id(8192)).unwrap_err().to_string();
    assert!(error.contains("4096") && error.contains("8192"), "{error}");
}
