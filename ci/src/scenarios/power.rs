//! An installation whose power is cut, at moments that chance chooses.
//!
//! A machine that stands still has its memory, and its disk what the machine has given to it: a copy of the disk made at that moment is
//! what a power cut would have left. So one installation gives many cuts. Each copy has to be a whole system or a disk that no firmware
//! starts from; one of them is then installed on and starts.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use fs_err as fs;
use serde_json::json;
use xenolith_assemble::sparse;
use xenolith_layout::{RootHash, Slot, disk::Role};
use xenolith_verity::{Superblock, TreeShape};
use xenolith_vm::{Medium, Vm};

use super::storage::{ANSWERS, attached, install, roomy_disk, write_answers};
use crate::{
    context::{Context, Count},
    host::{Bench, power_off, ready, status},
    image_file::{change_esp, partition},
};

/// Fewer say little about an installation.
const CUTS: usize = 20;
/// The longest that a machine runs on between two of them, in milliseconds: between the first ones, and between any. A quick machine
/// is done in ten seconds, a slow one in two minutes.
const FIRST: u64 = 400;
const LONGEST: u64 = 2500;
/// After so many it is twice as long.
const STRETCH: usize = 10;
/// Says that an installation has ended, on the console.
const ENDED: &str = "INSTALLATION-ENDED";

/// Cuts, and a second installation on what the last harmful one has left.
pub fn cuts(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disk = roomy_disk(folder.path(), "disk.img")?;
    let iso = Medium::Cd(context.artefacts()?.file("iso", "xenolith.iso"));
    let mut bench = Bench::new(context, "power-cuts", iso.clone())?;
    let stick = bench.machine().media.last().cloned().context("no seed")?;
    bench.machine().media.push(attached(&disk));
    let left = folder.path().join("left.img");
    bench.run(|vm| {
        ready(vm)?;
        let root_hash = status(vm)?["root"]["hash_as_verified"].as_str().context("no root hash")?.parse()?;
        write_answers(vm, &["vda"], "lvm")?;
        let command = format!(
            "xenolith-install --answers {ANSWERS} --yes > /run/said 2>&1; echo \"<1>{ENDED}\" > /dev/kmsg"
        );
        vm.ssh_ok(&format!("systemd-run --quiet --collect /bin/sh -c '{command}'"))?;
        cut(vm, &disk, &left, &root_hash)?;
        power_off(vm)
    })?;
    // Chance is done with it: the same disk, in the middle of an installation, is installed on.
    bench.machine().media = vec![iso, stick, attached(&left)];
    bench.run(|vm| {
        ready(vm)?;
        write_answers(vm, &["vda"], "lvm")?;
        install(vm)?;
        power_off(vm)
    })?;
    bench.machine().media = vec![attached(&left)];
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(
            status["health"]["good"] == true && status["boot"]["medium"] == "disk",
            "not installed: {status}"
        );
        power_off(vm)
    })?;
    Ok(Count::ONE)
}

/// Cuts until the installation has ended. `left` becomes the last copy that did not boot.
fn cut(vm: &mut Vm, disk: &Path, left: &Path, root_hash: &RootHash) -> anyhow::Result<()> {
    let mut chance = Chance::new()?;
    let (mut cuts, mut whole) = (0, 0);
    println!("moments from seed {}", chance.0);
    loop {
        let longest = LONGEST.min(FIRST << (cuts / STRETCH).min(8));
        let run = Duration::from_millis(chance.below(longest));
        let ended = vm.line(ENDED, run);
        vm.qmp("stop", &json!({}))?;
        let copy = left.with_extension("new");
        sparse::copy(disk, &copy)?;
        match stands(&copy, root_hash)? {
            Stands::Whole => whole += 1,
            Stands::Dead => fs::rename(&copy, left)?,
        }
        if copy.exists() {
            fs::remove_file(&copy)?;
        }
        cuts += 1;
        vm.qmp("cont", &json!({}))?;
        if ended.is_ok() {
            break;
        }
    }
    let said = vm.ssh_ok("cat /run/said")?;
    println!("{cuts} cuts, {whole} of them left a whole system");
    ensure!(
        said.contains("Xenolith is installed"),
        "the installation that was cut did not end well:\n{said}"
    );
    ensure!(cuts >= CUTS, "only {cuts} cuts: the machine is too quick for them");
    ensure!(
        whole > 0 && left.exists(),
        "the cuts missed the installation: {whole} of {cuts} left a whole system"
    );
    Ok(())
}

/// What a disk is to firmware.
enum Stands {
    /// It starts, and all of the system is there.
    Whole,
    /// It does not start.
    Dead,
}

/// Anything between the two is an error.
fn stands(disk: &Path, root_hash: &RootHash) -> anyhow::Result<Stands> {
    let Ok((root, _)) = partition(disk, Role::Root(Slot::A)) else { return Ok(Stands::Dead) };
    let (tree, length) = partition(disk, Role::Verity(Slot::A))?;
    let mut boot_files = 0;
    change_esp(disk, |esp| {
        for entry in esp.open_dir("EFI/Linux")?.iter() {
            boot_files += usize::from(entry?.is_file());
        }
        let mut loader = Vec::new();
        esp.open_file("EFI/BOOT/BOOTX64.EFI")?.read_to_end(&mut loader)?;
        ensure!(loader.starts_with(b"MZ"), "the loader is none");
        Ok(())
    })
    .context("a disk with a table has no whole ESP")?;
    ensure!(boot_files == 1, "a disk with a table has {boot_files} boot files");
    let read = |at: u64, length: u64| -> anyhow::Result<std::io::Take<fs::File>> {
        let mut file = fs::File::open(disk)?;
        file.seek(SeekFrom::Start(at))?;
        Ok(file.take(length))
    };
    let mut head = [0; Superblock::LEN];
    read(tree, length)?.read_exact(&mut head)?;
    let blocks = Superblock::read(&head).context("a disk with a table has no verity tree")?.data_blocks;
    let mut image = std::io::BufReader::with_capacity(1 << 20, read(root, blocks * 4096)?);
    let mut tree = read(tree, TreeShape::of(blocks).len().get())?;
    xenolith_verity::verify(&mut image, &mut tree, root_hash)
        .context("a disk with a table has no whole root")?;
    let (state, _) = partition(disk, Role::State)?;
    let mut magic = [0; 2];
    read(state + 1024 + 0x38, 2)?.read_exact(&mut magic)?;
    ensure!(magic == [0x53, 0xef], "a disk with a table has no state");
    Ok(Stands::Whole)
}

/// Moments, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() | 1))
    }

    /// Xorshift (Marsaglia, 2003): spread enough for moments.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
