//! An encrypted state: the machine's TPM opens it, another one does not, and the recovery key always does.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use anyhow::{Context as _, ensure};
use fs_err as fs;
use serde_json::Value;
use xenolith_assemble::seed;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_layout::{
    disk::Role,
    seal::{LUKS_MAGIC, RecoveryKey},
};
use xenolith_vm::{Event, Medium, Vm};

use super::{install::empty_disk, unattended::INSTALLED};
use crate::{
    context::{Context, Count},
    host::{BOOT, Bench, power_off, ready, status},
    image_file::partition,
};

/// A word that the state holds, and nothing else on a disk does.
const WORD: &str = "a-name-that-nobody-else-has";
/// What the installed host leaves in its state.
const MARK: &str = "/var/lib/xenolith-mark";
/// What a running host must not get: the key that the TPM gives to its initrd.
const ASK_TPM: &str = "cryptsetup open --test-passphrase --token-only --token-type systemd-tpm2 /dev/vda7";

/// Installs with nobody there, and starts the host with its own TPM and with another one.
pub fn encrypted(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for memory in [&first, &second] {
        fs::create_dir(memory)?;
    }
    let target = empty_disk(folder.path())?;
    let Medium::Disk { path: image, .. } = &target else { unreachable!("it was just made as one") };
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "encrypted", Medium::Cd(iso))?;
    bench.secure_boot()?;
    let key = fs::read_to_string(bench.folder().join("id.pub"))?.trim().to_owned();
    let file =
        EspFile { path: "answers.toml".into(), content: EspContent::Bytes(answers(&key).into_bytes()) };
    let stick = bench.folder().join("seed.img");
    // In place of the one that only lets us in; it writes to no file that is there.
    fs::remove_file(&stick)?;
    seed::volume(&stick, &[key], vec![file])?;
    bench.machine().media.push(target.clone());
    bench.machine().tpm = Some(first.clone());
    let recovery = bench.run(installs)?;
    is_unreadable(image)?;

    bench.machine().media = vec![target];
    bench.run(|vm| opened_by_its_tpm(vm, &recovery))?;
    bench.machine().tpm = Some(second);
    bench.run(locked)?;
    bench.run(|vm| opened_by_hand(vm, &recovery))?;
    // The other TPM is its own now.
    bench.run(|vm| {
        ready(vm)?;
        ensure!(state_key(vm)? == "tpm", "it was not bound to the new TPM");
        power_off(vm)
    })?;
    Ok(Count::ONE)
}

fn answers(key: &str) -> String {
    format!(
        "version = 1\n[target]\ndisks = [{{ path = \"vda\" }}]\nencryption = \"tpm\"\n[network]\n[host]\nname = \"{WORD}\"\n[access]\n\
         ssh_keys = [\"{key}\"]\n[finish]\nthen = \"power-off\"\n"
    )
}

/// Waits for the end of the installation and gives the recovery key that the console has shown.
fn installs(vm: &mut Vm) -> anyhow::Result<RecoveryKey> {
    let mut shown = None;
    vm.until("end of the installation", 2 * BOOT, |event| {
        let Event::Line(line) = event else { return None };
        if let Ok(key) = line.trim().parse() {
            shown = Some(key);
        }
        line.contains(INSTALLED).then_some(())
    })?;
    vm.ended(BOOT)?;
    shown.context("the console has not shown the recovery key")
}

/// The state partition begins as a container does, and nowhere in it can be read what is in it.
fn is_unreadable(image: &Path) -> anyhow::Result<()> {
    let (start, length) = partition(image, Role::State)?;
    let mut disk = fs::File::open(image)?;
    disk.seek(SeekFrom::Start(start))?;
    let mut part = disk.take(length);
    let (mut chunk, mut at) = (vec![0; 4 << 20], 0_u64);
    // As much of the chunk before as a word could begin in.
    let mut window: Vec<u8> = Vec::new();
    loop {
        let count = part.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        if at == 0 {
            ensure!(chunk.starts_with(&LUKS_MAGIC), "the state partition is no container");
        }
        window.extend(&chunk[..count]);
        let found = window.windows(WORD.len()).any(|bytes| bytes == WORD.as_bytes());
        ensure!(!found, "the host's name can be read in the state partition, near byte {at}");
        window.drain(..window.len().saturating_sub(WORD.len()));
        at += count as u64;
    }
}

fn state_key(vm: &Vm) -> anyhow::Result<Value> {
    Ok(status(vm)?["boot"]["state_key"].clone())
}

fn opened_by_its_tpm(vm: &mut Vm, recovery: &RecoveryKey) -> anyhow::Result<()> {
    ready(vm)?;
    let status = status(vm)?;
    ensure!(status["boot"]["state_key"] == "tpm", "the TPM has not opened the state: {status}");
    ensure!(status["firmware"]["secure_boot"] == "on", "without Secure Boot: {status}");
    ensure!(status["health"]["good"] == true, "the host is not fit to stay: {status}");
    let name = vm.ssh_ok("hostname")?;
    ensure!(name.trim() == WORD, "it is called {name}");
    let asked = vm.ssh(ASK_TPM)?;
    ensure!(asked.code != Some(0), "a running host gets the key of its state out of the TPM");
    let checked = vm.ssh_ok(&format!("echo {} | xenolith-state check", recovery.reveal()))?;
    ensure!(checked.contains("opens the state"), "{checked}");
    let wrong = vm.ssh(&format!("echo {} | xenolith-state check", RecoveryKey::new([0; 32]).reveal()))?;
    ensure!(wrong.code == Some(3), "any key opens the state: {wrong:?}");
    vm.ssh_ok(&format!("echo kept > {MARK}"))?;
    power_off(vm)
}

/// Nobody types anything: the host is up, and says what is wrong with it.
fn locked(vm: &mut Vm) -> anyhow::Result<()> {
    vm.line("THE STATE IS LOCKED", BOOT)?;
    vm.line("STATE LOCKED AND NOT USED", BOOT)?;
    vm.line("(locked: the TPM does not give the key", BOOT)?;
    Ok(())
}

fn opened_by_hand(vm: &mut Vm, recovery: &RecoveryKey) -> anyhow::Result<()> {
    vm.line("Type its recovery key", BOOT)?;
    vm.type_serial(&format!("{}\r", recovery.reveal()))?;
    ready(vm)?;
    ensure!(state_key(vm)? == "recovery-key", "something else has opened the state");
    let mark = vm.ssh_ok(&format!("cat {MARK}"))?;
    ensure!(mark.trim() == "kept", "it is another state: {mark}");
    let bound = vm.ssh_ok(&format!("echo {} | xenolith-state bind", recovery.reveal()))?;
    ensure!(bound.contains("from the next start on"), "{bound}");
    power_off(vm)
}
