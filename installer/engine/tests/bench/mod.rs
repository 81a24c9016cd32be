//! Disks that are files, whose power fails when a test says so.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use fs_err::{self as fs, os::unix::fs::FileExt as _};
use serde_json::json;
use uuid::Uuid;
use xenolith_answers::Answers;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_installer::{
    Devices, Disk, DiskId, Event, ExecuteError, Image, Journal, Place, Plan, PlanError, Source, StatePlace,
    execute, plan,
};
use xenolith_layout::{
    Bytes, Seed, Slot,
    boot_option::BootOption,
    disk::{DiskLayout, Role, STATE_BACKUP_SUPERBLOCK, STATE_MIN},
};
use xenolith_machine::{Capture, Machine};

pub const SIZE: u64 = 13 << 30;
const STATE: &[u8] = b"a file system";
const ENTRY: &str = "EFI/Linux/xenolith_1.0.0+3-0.efi";

/// A machine with disks, a plan for them, and what is to be written.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub plan: Plan,
    pub source: Source,
}

/// One disk, no storage.
pub fn one_disk() -> Bench {
    Bench::new(&json!([disk("sda", "S1")]), "disks = [{ serial = \"S1\" }]", "")
}

/// A disk as lsblk tells of it.
pub fn disk(name: &str, serial: &str) -> serde_json::Value {
    json!({ "name": name, "kname": name, "type": "disk", "size": SIZE, "log-sec": 512, "tran": "sata", "serial": serial })
}

impl Bench {
    /// `target` and `more` are parts of the answers.
    pub fn new(disks: &serde_json::Value, target: &str, more: &str) -> Self {
        Self::try_new(disks, target, more).unwrap()
    }

    pub fn try_new(disks: &serde_json::Value, target: &str, more: &str) -> Result<Self, PlanError> {
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
        let source = Source {
            root,
            verity,
            esp,
            state: folder.path().into(),
            recovery_key: None,
            scratch: folder.path().into(),
        };
        Ok(Self { plan: planned(disks, target, more, &image)?, source, folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Disks full of somebody's marks where they would be looked for.
    pub fn disks(&self) -> Vec<PathBuf> {
        let storage = self.plan.storage.iter().flat_map(|storage| &storage.disks);
        self.plan
            .targets
            .iter()
            .chain(storage)
            .map(|target| self.disk_of(&target.disk.path, &target.layout))
            .collect()
    }

    /// The only disk.
    pub fn disk(&self) -> PathBuf {
        let [disk] = <[PathBuf; 1]>::try_from(self.disks()).unwrap();
        disk
    }

    fn disk_of(&self, device: &str, layout: &DiskLayout) -> PathBuf {
        let path = self.file_of(device);
        let _ = fs::remove_file(&path);
        let mut disk = fs::File::create(&path).unwrap();
        disk.set_len(SIZE).unwrap();
        let mut marks = vec![0, SIZE - (1 << 20)];
        for partition in &layout.partitions {
            let first = layout.offset(partition).get();
            marks.push(first);
            if partition.role == Role::State {
                marks.push(first + STATE_BACKUP_SUPERBLOCK.get());
            }
        }
        for at in marks {
            disk.seek(SeekFrom::Start(at)).unwrap();
            disk.write_all(&vec![0xaa; 1 << 20]).unwrap();
        }
        path
    }

    /// The file in place of a device.
    pub fn file_of(&self, device: &str) -> PathBuf {
        self.path(&format!("{}.img", device.rsplit('/').next().unwrap()))
    }

    /// Power that fails after so many writes, the last of them torn. Of those that no flush came after, some are lost.
    pub fn cut(&self, writes: usize) -> Cut {
        let luck = (writes as u64).max(1);
        Cut {
            folder: self.folder.path().into(),
            power: Arc::new(Mutex::new(Power { left: writes, cached: Vec::new(), luck })),
            bad: None,
            registered: RefCell::default(),
            no_firmware: false,
        }
    }

    pub fn run(&self, devices: &impl Devices, journal: &str) -> (Result<(), ExecuteError>, Vec<Event>) {
        let hash = self.plan.hash();
        let mut journal = Journal::open(&self.path(journal), &hash).unwrap();
        let mut events = Vec::new();
        let ran =
            execute(&self.plan, &hash, &self.source, devices, &mut journal, &mut |event| events.push(event));
        (ran, events)
    }

    /// Whether firmware would find a partition table.
    pub fn has_table(&self, disk: &Path) -> bool {
        let file = std::fs::File::open(disk).unwrap();
        gpt::GptConfig::new().writable(false).open_from_device(file).is_ok()
    }

    /// Panics unless all that was to be written is there.
    pub fn is_whole(&self, disk: &Path) {
        self.look(disk, true);
    }

    /// As [`Bench::is_whole`], on a disk where something stayed.
    pub fn has_system(&self, disk: &Path) {
        self.look(disk, false);
    }

    /// Whether firmware would find a loader.
    pub fn boots(&self, disk: &Path) -> bool {
        let layout = &self.plan.targets[0].layout;
        let esp = layout.partition(Role::Esp).unwrap();
        let (first, length) = (layout.offset(esp).get(), layout.length(esp).get());
        let file = std::fs::File::open(disk).unwrap();
        let part = fscommon::StreamSlice::new(file, first, first + length).unwrap();
        let volume = fatfs::FileSystem::new(part, fatfs::FsOptions::new());
        volume.is_ok_and(|volume| volume.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").is_ok())
    }

    fn look(&self, disk: &Path, emptied: bool) {
        let of = |target: &&xenolith_installer::Target| self.file_of(&target.disk.path) == disk;
        let layout = &self.plan.targets.iter().find(of).unwrap().layout;
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
        for partition in layout.partitions.iter().filter(|_| emptied) {
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

fn planned(disks: &serde_json::Value, target: &str, more: &str, image: &Image) -> Result<Plan, PlanError> {
    let capture = json!({ "format": 1, "efi": true, "lsblk": { "blockdevices": disks } });
    let machine = Machine::of(&Capture::parse(capture.to_string().as_bytes()).unwrap());
    let answers = format!(
        "version = 1\n[target]\n{target}\nerase = true\n{more}\n[network]\n[access]\n\
        ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a\"]\n"
    );
    let answers = Answers::parse(answers.as_bytes()).unwrap();
    plan(&machine, &answers, image, Seed::new([3; 32]))
}

/// Disks as files, each behind a cache that forgets, whose power fails after some writes; the last of them is torn in the middle.
pub struct Cut {
    folder: PathBuf,
    power: Arc<Mutex<Power>>,
    /// The one byte of each disk that is not read as it was written.
    pub bad: Option<Bytes>,
    /// What the firmware was told.
    pub registered: RefCell<Vec<BootOption>>,
    /// The firmware takes nothing.
    pub no_firmware: bool,
}

impl Cut {
    /// As it is, but all that was not flushed is lost.
    pub fn without_luck(self) -> Self {
        self.power().luck = 0;
        self
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap()
    }
}

/// The power of all disks.
struct Power {
    /// Writes until it fails.
    left: usize,
    /// What no flush came after, in its order.
    cached: Vec<Cached>,
    /// Says of each of those whether it reaches its disk all the same; 0 is none of them.
    luck: u64,
}

/// What a disk keeps or forgets as one.
const PIECE: usize = 64 << 10;

/// A piece of a write that a disk has taken and may forget.
struct Cached {
    disk: PathBuf,
    at: Bytes,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Power {
    /// The disks as they are found afterwards.
    fn fail(&mut self) -> io::Result<()> {
        let write = |disk: &Path, bytes: &[u8], at: Bytes| {
            fs::OpenOptions::new().write(true).open(disk)?.write_all_at(bytes, at.get())
        };
        for cached in self.cached.iter().rev() {
            write(&cached.disk, &cached.before, cached.at)?;
        }
        for (number, cached) in (1..).zip(&self.cached) {
            // Multiplied by odd numbers (2⁶⁴ divided by the golden ratio is one), the upper bits are as good as drawn.
            let drawn = (self.luck ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64) >> 63;
            if self.luck != 0 && drawn == 1 {
                write(&cached.disk, &cached.after, cached.at)?;
            }
        }
        self.cached.clear();
        Ok(())
    }
}

pub struct CutDisk {
    path: PathBuf,
    file: fs::File,
    power: Arc<Mutex<Power>>,
    bad: Option<Bytes>,
}

impl Devices for Cut {
    type Disk = CutDisk;

    fn open(&self, disk: &DiskId) -> io::Result<CutDisk> {
        let path = self.folder.join(format!("{}.img", disk.path.rsplit('/').next().unwrap()));
        let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(CutDisk { path, file, power: Arc::clone(&self.power), bad: self.bad })
    }

    /// A mark in the place of a file system.
    fn make_state(&self, state: &StatePlace<'_>, folder: &Path) -> io::Result<()> {
        for Place { disk, first, length } in state.places {
            assert!(*length >= STATE_MIN && folder.is_dir());
            let disk = self.open(disk)?;
            disk.write_at(*first, STATE)?;
            disk.flush()?;
        }
        Ok(())
    }

    fn register(&self, entries: &[BootOption], _gone: &BTreeSet<Uuid>) -> io::Result<()> {
        if self.no_firmware {
            return Err(io::Error::other("there are no variables"));
        }
        *self.registered.borrow_mut() = entries.to_vec();
        Ok(())
    }
}

fn dead() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the power is gone")
}

impl Disk for CutDisk {
    fn write_at(&self, at: Bytes, bytes: &[u8]) -> io::Result<()> {
        let mut power = self.power.lock().unwrap();
        if power.left == 0 {
            return Err(dead());
        }
        power.left -= 1;
        let taken = if power.left == 0 { &bytes[..bytes.len() / 2] } else { bytes };
        let mut before = vec![0; taken.len()];
        self.file.read_exact_at(&mut before, at.get())?;
        self.file.write_all_at(taken, at.get())?;
        for (number, (before, after)) in (0..).zip(before.chunks(PIECE).zip(taken.chunks(PIECE))) {
            let at = at + Bytes::new(number * PIECE as u64);
            let (before, after) = (before.to_vec(), after.to_vec());
            power.cached.push(Cached { disk: self.path.clone(), at, before, after });
        }
        if power.left == 0 {
            power.fail()?;
            return Err(dead());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut power = self.power.lock().unwrap();
        if power.left == 0 {
            return Err(dead());
        }
        power.cached.retain(|write| write.disk != self.path);
        Ok(())
    }

    fn read_back(&self, at: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, at.get())?;
        let bad =
            self.bad.and_then(|bad| bad.checked_sub(at)).and_then(|bad| usize::try_from(bad.get()).ok());
        if let Some(byte) = bad.and_then(|bad| buffer.get_mut(bad)) {
            *byte ^= 1;
        }
        Ok(())
    }
}
