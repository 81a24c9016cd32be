//! Disks that outlive something: here one of a mirror its twin.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fs_err as fs;
use xenolith_layout::{Bytes, SectorSize, disk::minimum};
use xenolith_vm::{Medium, Vm};

use crate::{
    context::{Context, Count},
    host::{Bench, power_off, ready, status},
};

/// Where answers lie on the machine.
pub const ANSWERS: &str = "/run/answers.toml";

/// A disk with room for storage, with nothing on it.
pub fn roomy_disk(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    let size = minimum(SectorSize::B512, true) + Bytes::gib(2);
    fs::File::create(&path)?.set_len(size.get())?;
    Ok(path)
}

/// The disk as the machine has it.
pub fn attached(path: &Path) -> Medium {
    Medium::Disk { path: path.to_owned(), throw_away: false }
}

/// Rules of answers that choose these disks.
pub fn rules(disks: &[&str]) -> String {
    let rules: Vec<String> = disks.iter().map(|disk| format!("{{ path = \"{disk}\" }}")).collect();
    rules.join(", ")
}

/// Writes answers for these disks, with the key that the seed has let in.
///
/// # Errors
/// When the machine cannot be reached.
pub fn write_answers(vm: &Vm, disks: &[&str], storage: &str) -> anyhow::Result<()> {
    let command = format!(
        "umask 077; key=$(cat /etc/ssh/authorized_keys.d/root); cat > {ANSWERS} <<END\n\
         version = 1\n[target]\ndisks = [{}]\nerase = true\n[storage]\nkind = \"{storage}\"\n[network]\n[access]\n\
         ssh_keys = [\"$key\"]\n[finish]\nthen = \"stay\"\nEND",
        rules(disks)
    );
    vm.ssh_ok(&command)?;
    Ok(())
}

/// Carries the answers out and gives what was said.
///
/// # Errors
/// When the installation fails.
pub fn install(vm: &Vm) -> anyhow::Result<String> {
    let said = vm.ssh_ok(&format!("xenolith-install --answers {ANSWERS} --yes"))?;
    println!("{}", said.trim_end());
    ensure!(said.contains("Xenolith is installed"), "it does not say that it is done:\n{said}");
    Ok(said)
}

/// Installs on two disks under Secure Boot; the host then starts with both, with the second, with both again, and with the first.
pub fn mirror(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disks = [roomy_disk(folder.path(), "a.img")?, roomy_disk(folder.path(), "b.img")?];
    let [a, b] = disks.each_ref().map(|path| attached(path));
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "mirror", Medium::Cd(iso))?;
    bench.secure_boot()?;
    bench.machine().media.extend([a.clone(), b.clone()]);
    bench.run(|vm| {
        ready(vm)?;
        write_answers(vm, &["vda", "vdb"], "lvm")?;
        install(vm)?;
        // In UTF-16.
        let entries = vm.ssh_ok(
            "for entry in /sys/firmware/efi/efivars/Boot0*; do tr -d '\\0' < $entry | grep -a -o Xenolith; done | wc -l",
        )?;
        ensure!(entries.trim() == "2", "the firmware has {} entries of ours instead of two", entries.trim());
        power_off(vm)
    })?;
    let mut with = |media: Vec<Medium>, missing: u64, test: &dyn Fn(&Vm) -> anyhow::Result<()>| {
        bench.machine().media = media;
        bench.run(|vm| {
            ready(vm)?;
            mirrored(vm, missing)?;
            test(vm)?;
            power_off(vm)
        })
    };
    let (both, only_a, only_b) = (vec![a.clone(), b.clone()], vec![a], vec![b]);
    let holds = |vm: &Vm, expected: &str| -> anyhow::Result<()> {
        let mark = vm.ssh_ok("cat /var/lib/mark")?;
        ensure!(mark.trim() == expected, "the state holds {mark:?} instead of {expected:?}");
        Ok(())
    };
    with(both.clone(), 0, &|vm| {
        let status = status(vm)?;
        ensure!(status["firmware"]["secure_boot"] == "on", "Secure Boot is off: {status}");
        storage_is_there(vm)?;
        vm.ssh_ok("echo both > /var/lib/mark; sync")?;
        Ok(())
    })?;
    with(only_b, 1, &|vm| {
        holds(vm, "both")?;
        // Of an array that a disk is missing of, mdadm waits for the disk.
        vm.ssh_ok("udevadm wait --timeout=300 /dev/md/xenolith-sr")?;
        storage_is_there(vm)?;
        vm.ssh_ok("echo second > /var/lib/mark; sync")?;
        Ok(())
    })?;
    // The firmware starts the first disk, whose copy of the state is the older one.
    with(both, ANY, &|vm| {
        holds(vm, "second")?;
        // Ends when the array is up to date; 1 says that there was nothing to wait for.
        vm.ssh_ok("mdadm --wait /dev/md127 || test $? = 1")?;
        mirrored(vm, 0)
    })?;
    with(only_a, 1, &|vm| holds(vm, "second"))?;
    Ok(Count::ONE)
}

/// However many disks are missing.
const ANY: u64 = u64::MAX;

/// The state lies on an array that misses so many disks, and the host says so.
///
/// # Errors
/// When it is otherwise, or the host cannot be asked.
pub fn mirrored(vm: &Vm, missing: u64) -> anyhow::Result<()> {
    let status = status(vm)?;
    ensure!(status["health"]["good"] == true, "not fit to stay: {status}");
    ensure!(status["boot"]["state"] == "/dev/md127", "the state lies elsewhere: {status}");
    let mirrors = status["mirrors"].as_array().context("no mirrors are told of")?;
    let state = mirrors.iter().find(|mirror| mirror["device"] == "md127").context("md127 is not told of")?;
    ensure!(missing == ANY || state["missing"] == missing, "not {missing} missing: {status}");
    let warned = status["health"]["warnings"].to_string().contains("1 of 2 disks");
    ensure!(missing == ANY || warned == (missing > 0), "warned wrongly: {status}");
    Ok(())
}

/// First boot has made storage for guests.
///
/// # Errors
/// When it has not.
pub fn storage_is_there(vm: &Vm) -> anyhow::Result<()> {
    // It waits for disks, and nothing waits for it; a job for a unit that runs ends when the unit does.
    vm.ssh_ok("systemctl start xenolith-firstboot-late.service")?;
    let status = status(vm)?;
    ensure!(status["firstboot"]["tasks"]["storage"]["outcome"] == "done", "storage was not made: {status}");
    let groups = vm.ssh_ok("vgs --noheadings --options vg_name")?;
    ensure!(groups.contains("VG_XenStorage-"), "there is no volume group for storage:\n{groups}");
    Ok(())
}
