use std::{
    io::{Cursor, Read, Seek, Write},
    process::Command,
};

use proptest::prelude::*;

use super::{write::Device, *};
use crate::commands::inspect::testing;

/// A captured machine: an NVMe disk that it runs from, a stick, a card reader with and without card, a SATA disk in
/// a RAID and one with LVM on it, a stick with a mounted partition.
struct Captured(tempfile::TempDir);

impl Captured {
    fn new() -> Self {
        let captured = Self(tempfile::tempdir().unwrap());
        let pci = "devices/pci0000:00";
        let usb = "0000:00:14.0/usb2/2-1";
        captured.write("proc/self/mountinfo", MOUNTS);
        captured.write("proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 1 0 -2\n");
        captured.disk(&format!("{pci}/0000:00:1d.0/nvme/nvme0"), "nvme0n1", "259:0", 1_000_000, false);
        captured.part("nvme0n1", 1, "259:1");
        captured.part("nvme0n1", 3, "259:3");
        captured.write(&format!("sys/{pci}/{usb}/idVendor"), "0781\n");
        captured.write(&format!("sys/{pci}/{usb}/serial"), "4C530001234\n");
        captured.disk(
            &format!("{pci}/{usb}/2-1:1.0/host6/target6:0:0/6:0:0:0"),
            "sda",
            "8:0",
            60_000_000,
            true,
        );
        captured.part("sda", 1, "8:1");
        captured.disk(
            &format!("{pci}/{usb}/2-1:1.0/host7/target7:0:0/7:0:0:0"),
            "sdb",
            "8:16",
            60_000_000,
            true,
        );
        captured.part("sdb", 1, "8:17");
        captured.disk(&format!("{pci}/{usb}/2-1:1.0/host8/target8:0:0/8:0:0:0"), "sdc", "8:32", 0, true);
        captured.disk(
            &format!("{pci}/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0"),
            "sdd",
            "8:48",
            9_000_000,
            false,
        );
        captured.part("sdd", 2, "8:50");
        captured.write("sys/block-of/sdd/sdd2/holders/md0/x", "");
        captured.disk(
            &format!("{pci}/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0"),
            "sde",
            "8:64",
            9_000_000,
            false,
        );
        captured.write("sys/block-of/sde/holders/dm-0/x", "");
        captured.disk("devices/virtual", "dm-0", "254:0", 8_000_000, false);
        captured.disk(
            &format!("{pci}/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0"),
            "sdf",
            "8:80",
            9_000_000,
            false,
        );
        captured
    }

    fn write(&self, path: &str, text: &str) {
        // `block-of` stands for the folder behind a disk's link.
        let path = match path.strip_prefix("sys/block-of/") {
            Some(rest) => self.0.path().join("sys/block").join(rest),
            None => self.0.path().join(path),
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn disk(&self, above: &str, name: &str, number: &str, sectors: u64, removable: bool) {
        let folder = format!("sys/{above}/block/{name}");
        for (file, text) in [
            ("dev", number.to_owned()),
            ("size", sectors.to_string()),
            ("removable", u8::from(removable).to_string()),
            ("ro", "0".into()),
            ("device/vendor", "SanDisk ".into()),
            ("device/model", "Ultra Fit       ".into()),
        ] {
            self.write(&format!("{folder}/{file}"), &format!("{text}\n"));
        }
        let links = self.0.path().join("sys/block");
        fs::create_dir_all(&links).unwrap();
        std::os::unix::fs::symlink(self.0.path().join(&folder), links.join(name)).unwrap();
    }

    fn part(&self, disk: &str, number: u32, dev: &str) {
        let name =
            if disk.starts_with("nvme") { format!("{disk}p{number}") } else { format!("{disk}{number}") };
        self.write(&format!("sys/block-of/{disk}/{name}/partition"), &format!("{number}\n"));
        self.write(&format!("sys/block-of/{disk}/{name}/dev"), &format!("{dev}\n"));
    }

    fn machine(&self) -> Machine {
        Machine::read(&Roots { sys: self.0.path().join("sys"), proc: self.0.path().join("proc") }).unwrap()
    }
}

/// Root is btrfs, whose device number is its own; `/dev/mapper/data` is dm-0.
const MOUNTS: &str = "\
22 1 0:25 / / rw shared:1 - btrfs /dev/nvme0n1p1 rw
30 22 8:17 / /media/my\\040stick rw - vfat /dev/sdb1 rw
31 22 254:0 / /srv rw - ext4 /dev/mapper/data rw
32 22 0:5 / /proc rw - proc proc rw
";

fn disk<'a>(machine: &'a Machine, name: &str) -> &'a Disk {
    machine.disks.iter().find(|disk| disk.name == name).unwrap()
}

#[test]
fn a_stick_is_known_by_the_serial_of_its_usb_device() {
    let machine = Captured::new().machine();
    let stick = disk(&machine, "sda");
    assert_eq!((stick.model.as_str(), stick.serial.as_deref()), ("SanDisk Ultra Fit", Some("4C530001234")));
    assert_eq!((stick.size, stick.bus, stick.removable), (60_000_000 * 512, Bus::Usb, true));
    assert_eq!(disk(&machine, "sdf").serial, None);
    let names: Vec<&str> = machine.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda", "sdb", "sdc", "sdd", "sde", "sdf", "nvme0n1"]);
}

use super::device::Bus;

#[test]
fn only_the_unused_stick_is_offered_and_the_others_say_why_not() {
    let machine = Captured::new().machine();
    let why =
        |name: &str, all| plan::judge(disk(&machine, name), Some(1 << 20), all).map_err(|no| no.to_string());
    assert_eq!(why("sda", false), Ok(()));
    for (name, expected) in [
        ("nvme0n1", "this system runs from it: it holds /"),
        ("sdb", "sdb1 is mounted at /media/my stick"),
        ("sdc", "there is no medium in it"),
        ("sdd", "sdd2 is used by md0"),
        ("sde", "sde is used by dm-0"),
    ] {
        assert_eq!(why(name, true), Err(expected.to_owned()), "{name}, though all devices were asked for");
        assert_eq!(why(name, false), Err(expected.to_owned()));
    }
    assert_eq!(why("sdf", false), Err("it is built in (SATA), neither removable nor USB".into()));
    assert_eq!(why("sdf", true), Ok(()));
    let uses = &disk(&machine, "sde").uses;
    assert!(uses.contains(&Use::Mounted { at: "/srv".into() }), "{uses:?}");
}

#[test]
fn swap_makes_a_system_disk_and_so_does_boot() {
    let captured = Captured::new();
    captured.write("proc/self/mountinfo", "22 1 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw\n");
    let holds = |captured: &Captured| match plan::judge(disk(&captured.machine(), "nvme0n1"), None, true) {
        Err(Refusal::System { holds }) => holds,
        other => panic!("{other:?}"),
    };
    assert_eq!(holds(&captured), "/boot/efi");
    captured.write("proc/self/mountinfo", "");
    assert_eq!(holds(&captured), "swap");
}

#[test]
fn small_and_write_protected_disks_are_refused() {
    let captured = Captured::new();
    let machine = captured.machine();
    let size = 60_000_000 * 512;
    assert_eq!(plan::judge(disk(&machine, "sda"), Some(size), false), Ok(()));
    let refusal = plan::judge(disk(&machine, "sda"), Some(size + 1), false).unwrap_err();
    assert_eq!(refusal, Refusal::TooSmall { disk: size, image: size + 1 });
    captured.write("sys/block-of/sda/ro", "1\n");
    assert_eq!(plan::judge(disk(&captured.machine(), "sda"), Some(1), true), Err(Refusal::ReadOnly));
}

#[test]
fn a_partition_names_its_disk_and_a_stacked_device_is_none() {
    let machine = Captured::new().machine();
    assert_eq!(plan::find(&machine, "8:0").unwrap().name, "sda");
    assert_eq!(plan::find(&machine, "8:17").unwrap_err(), Refusal::Partition { of: "sdb".into() });
    assert_eq!(plan::find(&machine, "254:0").unwrap_err(), Refusal::NotADisk);
}

#[test]
fn the_list_for_programs_has_the_reasons() {
    let machine = Captured::new().machine();
    let refusal = plan::judge(disk(&machine, "sdb"), None, false).err();
    let because = refusal.as_ref().map(ToString::to_string);
    let one = Listed { disk: disk(&machine, "sdb"), offered: false, refusal, because };
    let json = serde_json::to_value(&one).unwrap();
    assert_eq!(
        (&json["name"], &json["bus"], &json["offered"]),
        (&"sdb".into(), &"usb".into(), &false.into())
    );
    assert_eq!(json["refusal"]["why"], "in_use");
    assert_eq!(json["refusal"]["by"]["at"], "/media/my stick");
    assert!(
        line(&one).ends_with("sdb1: mounted at /media/my stick\n      sdb1 is mounted at /media/my stick")
    );
}

#[test]
fn only_the_name_of_the_device_is_a_yes() {
    assert!(answers("sdb\n", "sdb") && answers(" /dev/sdb \n", "sdb"));
    for no in ["", "\n", "y\n", "yes\n", "sd\n", "sdb1\n", "sdc\n"] {
        assert!(!answers(no, "sdb"), "{no:?}");
    }
}

/// A device in memory that can fail in the ways devices do.
struct Stick {
    memory: Cursor<Vec<u8>>,
    /// Writes that still succeed.
    writes: usize,
    /// Addresses wrap here, as those of a stick do that claims more than it has.
    real_size: u64,
    /// The first MiB as it was after each write, if it was not all zeros.
    heads: usize,
}

impl Stick {
    fn new(size: u64) -> Self {
        let memory = Cursor::new(vec![0xaa; usize::try_from(size).unwrap()]);
        Self { memory, writes: usize::MAX, real_size: size, heads: 0 }
    }

    fn bootable(&self) -> bool {
        self.memory.get_ref()[..1024].iter().any(|byte| *byte != 0)
    }
}

impl Read for Stick {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.memory.position();
        self.memory.set_position(at % self.real_size);
        let count = self.memory.read(buffer);
        self.memory.set_position(at + *count.as_ref().unwrap_or(&0) as u64);
        count
    }
}

impl Write for Stick {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writes =
            self.writes.checked_sub(1).ok_or_else(|| io::Error::other("the stick was pulled out"))?;
        let at = self.memory.position();
        self.memory.set_position(at % self.real_size);
        let count = self.memory.write(buffer);
        self.memory.set_position(at + *count.as_ref().unwrap_or(&0) as u64);
        self.heads += usize::from(self.bootable());
        count
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stick {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.memory.seek(to)
    }
}

impl Device for Stick {
    fn flush_all(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn image_of(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at / 7 + at / 4096) % 251 + 1).unwrap()).collect()
}

const IMAGE: usize = (5 << 20) + 2048;

fn write_to(stick: &mut Stick, size: u64, stop: &dyn Fn() -> bool) -> Result<[u8; 32], WriteError> {
    let image = image_of(IMAGE);
    write::write(&plan::plan(IMAGE as u64, size), &mut Cursor::new(image), stick, stop, &mut |_| {})
}

#[test]
fn the_image_is_on_the_stick_and_old_tables_at_its_end_are_gone() {
    let size = 16 << 20;
    let mut stick = Stick::new(size);
    let sum = write_to(&mut stick, size, &|| false).unwrap();
    let image = image_of(IMAGE);
    let memory = stick.memory.get_ref();
    assert_eq!(hex::encode(sum), crate::commands::inspect::image::sum(&mut image.as_slice()).unwrap());
    assert!(memory[..IMAGE] == image[..], "the image");
    assert!(memory[15 << 20..].iter().all(|byte| *byte == 0), "the last MiB is cleared");
    assert!(memory[IMAGE..15 << 20].iter().all(|byte| *byte == 0xaa), "what lies between is left alone");
}

#[test]
fn the_end_of_the_image_is_not_taken_for_old_tables() {
    for size in [IMAGE as u64, IMAGE as u64 + 512, IMAGE as u64 + (1 << 20) + 512] {
        let mut stick = Stick::new(size);
        write_to(&mut stick, size, &|| false).unwrap();
        assert!(stick.memory.get_ref()[..IMAGE] == image_of(IMAGE)[..], "{size}");
    }
}

#[test]
fn a_stick_pulled_out_at_any_write_does_not_boot_by_half() {
    let size = 16 << 20;
    let mut counted = Stick::new(size);
    write_to(&mut counted, size, &|| false).unwrap();
    let all = usize::MAX - counted.writes;
    // The first write clears the head and the last one writes it: in between nothing may look like a system.
    for writes in 1..all {
        let mut stick = Stick::new(size);
        stick.writes = writes;
        assert!(write_to(&mut stick, size, &|| false).is_err());
        assert!(!stick.bootable(), "after {writes} of {all} writes");
    }
    assert_eq!(counted.heads, 1, "the head was there after the last write only");
}

#[test]
fn a_stick_that_lies_about_its_size_is_found_and_does_not_boot() {
    let size = 16 << 20;
    let mut stick = Stick::new(size);
    stick.real_size = 4 << 20;
    let error = write_to(&mut stick, size, &|| false).unwrap_err();
    assert!(matches!(error, WriteError::Mismatch { .. }), "{error}");
    assert!(
        stick.heads > 0 && !stick.bootable(),
        "the end of the image went to its start, and was cleared there"
    );
}

#[test]
fn a_bad_read_back_names_the_place() {
    struct Worn(Stick);
    impl Read for Worn {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let at = self.0.memory.position();
            let count = self.0.read(buffer)?;
            if (at..at + count as u64).contains(&(3 << 20)) {
                buffer[usize::try_from((3 << 20) - at).unwrap()] ^= 1;
            }
            Ok(count)
        }
    }
    impl Write for Worn {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0.write(buffer)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Worn {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    impl Device for Worn {
        fn flush_all(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn forget(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut worn = Worn(Stick::new(16 << 20));
    let plan = plan::plan(IMAGE as u64, 16 << 20);
    let error = write::write(&plan, &mut Cursor::new(image_of(IMAGE)), &mut worn, &|| false, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, WriteError::Mismatch { at, end } if at == 3 << 20 && end == 4 << 20), "{error}");
    assert!(!worn.0.bootable());
}

#[test]
fn an_interruption_leaves_nothing_that_boots() {
    use std::cell::Cell;
    for after in 0..11 {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > after
        };
        let mut stick = Stick::new(16 << 20);
        let error = write_to(&mut stick, 16 << 20, &stop).unwrap_err();
        assert!(matches!(error, WriteError::Interrupted), "{after}: {error}");
        assert!(!stick.bootable(), "{after}");
    }
}

proptest! {
    #[test]
    fn a_plan_never_clears_the_image_or_what_lies_beyond_the_device(image in 1..1_u64 << 40, more in 0..1_u64 << 40) {
        let plan = plan::plan(image, image + more);
        prop_assert!(plan.head <= image);
        if let Some((start, length)) = plan.stale_end {
            prop_assert!(start >= image && start + length == image + more && length <= 1 << 20);
        } else {
            prop_assert_eq!(more, 0);
        }
    }
}

/// A loop device over a file; nothing where this machine gives none.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let made = made.ok().filter(|made| made.status.success());
        if made.is_none() {
            eprintln!("SKIPPED: losetup gives no loop device here (not root, or none in this container)");
        }
        Some(Self(PathBuf::from(String::from_utf8(made?.stdout).unwrap().trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

fn iso(folder: &Path) -> (PathBuf, u64) {
    let root = testing::root();
    let path = testing::iso(folder, &testing::boot_file(&root.hash, b"ramdisk"), &root);
    let size = fs::metadata(&path).unwrap().len();
    (path, size)
}

fn blank(folder: &Path, size: u64) -> PathBuf {
    let path = folder.join("stick");
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    path
}

#[test]
fn a_loop_device_is_written_verified_and_refused_while_it_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let (image, size) = iso(folder.path());
    let Some(device) = Loop::new(&blank(folder.path(), 64 << 20)) else { return };
    let machine = || Machine::read(&Roots::default()).unwrap();
    let find = |all| Target::find(&machine(), &device.0, size, all);
    assert!(find(false).err().unwrap().what.contains("built in (loop)"));
    let target = find(true).unwrap_or_else(|failure| panic!("{failure}"));
    let plan = plan::plan(size, target.size);
    assert_eq!(plan.device, 64 << 20);

    let holder = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(&device.0).unwrap();
    let failure = flash(&target, &image, &plan, true).unwrap_err();
    assert_eq!(failure.class, Class::Device);
    assert!(failure.what.contains("was not touched") && failure.hint.is_some(), "{failure:?}");
    drop(holder);

    let sum = flash(&target, &image, &plan, true).unwrap_or_else(|failure| panic!("{failure:?}"));
    let mut written = fs::File::open(&device.0).unwrap();
    assert_eq!(
        hex::encode(sum),
        crate::commands::inspect::image::sum(&mut (&mut written).take(size)).unwrap()
    );

    let look = crate::commands::inspect::image::Look { quick: false, trusted: &Default::default() };
    let found = crate::commands::inspect::inspect(&device.0, &look).unwrap();
    assert_eq!(found.broken(), Vec::<String>::new(), "what is on the stick is a whole ISO");
}

#[test]
fn a_loop_device_with_a_mounted_file_system_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = Loop::new(&blank(folder.path(), 16 << 20)) else { return };
    let at = folder.path().join("mnt");
    fs::create_dir(&at).unwrap();
    let ran = |command: &mut Command| command.output().is_ok_and(|ran| ran.status.success());
    let made = ran(Command::new("mkfs.ext4").arg("-q").arg(&device.0));
    if !made || !ran(Command::new("mount").arg(&device.0).arg(&at)) {
        eprintln!("SKIPPED: this machine cannot make and mount ext4");
        return;
    }
    let machine = Machine::read(&Roots::default()).unwrap();
    let refused = Target::find(&machine, &device.0, 1 << 20, true).err();
    let unmounted = Command::new("umount").arg(&at).status().unwrap();
    assert!(unmounted.success());
    let refused = refused.unwrap();
    assert!(refused.what.contains(&format!("is mounted at {}", at.display())), "{}", refused.what);
}

#[test]
fn files_short_devices_and_other_things_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::default();
    let file = blank(folder.path(), 1 << 20);
    let why = |path: &Path, size, all| Target::find(&machine, path, size, all).err().unwrap().what;
    assert!(why(&file, 1 << 20, false).contains("not a block device"));
    assert!(why(&file, (1 << 20) + 1, true).contains("and the image needs"));
    assert!(why(folder.path(), 1, true).contains("not a block device"));
    assert!(why(Path::new("/dev/null"), 1, true).contains("not a block device"));
    assert!(Target::find(&machine, &folder.path().join("none"), 1, true).is_err());
    let target = Target::find(&machine, &file, 1 << 20, true).unwrap_or_else(|failure| panic!("{failure}"));
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(2 << 20).unwrap();
    assert!(target.open().unwrap_err().what.contains("no longer the device"));
}

#[test]
fn a_regular_file_becomes_a_whole_iso() {
    let folder = tempfile::tempdir().unwrap();
    let (image, size) = iso(folder.path());
    let file = blank(folder.path(), size + (3 << 20));
    let target =
        Target::find(&Machine::default(), &file, size, true).unwrap_or_else(|failure| panic!("{failure}"));
    flash(&target, &image, &plan::plan(size, target.size), true)
        .unwrap_or_else(|failure| panic!("{failure:?}"));
    let look = crate::commands::inspect::image::Look { quick: false, trusted: &Default::default() };
    assert_eq!(crate::commands::inspect::inspect(&file, &look).unwrap().broken(), Vec::<String>::new());
}
