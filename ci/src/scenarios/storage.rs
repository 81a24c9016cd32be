//! Disks that outlive something: one of a mirror its twin, storage for guests the system beside it, and any disk a power cut.

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

/// Writes answers for these disks, with the key that the seed has let in.
///
/// # Errors
/// When the machine cannot be reached.
pub fn write_answers(vm: &Vm, disks: &[&str], storage: &str) -> anyhow::Result<()> {
    let rules: Vec<String> = disks.iter().map(|disk| format!("{{ path = \"{disk}\" }}")).collect();
    let command = format!(
        "umask 077; key=$(cat /etc/ssh/authorized_keys.d/root); cat > {ANSWERS} <<END\n\
         version = 1\n[target]\ndisks = [{}]\nerase = true\n[storage]\nkind = \"{storage}\"\n[network]\n[access]\n\
         ssh_keys = [\"$key\"]\n[finish]\nthen = \"stay\"\nEND",
        rules.join(", ")
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

/// Installs on two disks under Secure Boot; the host then starts with both, with the second, with both again, and with the first. What
/// it has then is kept by an installation on both anew, of which the second disk has an older half.
pub fn mirror(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disks = [roomy_disk(folder.path(), "a.img")?, roomy_disk(folder.path(), "b.img")?];
    let [a, b] = disks.each_ref().map(|path| attached(path));
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let iso = Medium::Cd(iso);
    let mut bench = Bench::new(context, "mirror", iso.clone())?;
    bench.secure_boot()?;
    let stick = bench.machine().media.last().cloned().context("no seed")?;
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
    let (both, only_a, only_b) = (vec![a.clone(), b.clone()], vec![a.clone()], vec![b.clone()]);
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
        storage_is_there_after_waiting(vm)?;
        vm.ssh_ok("echo second > /var/lib/mark; sync")?;
        Ok(())
    })?;
    // The firmware starts the first disk, whose copy of the state is the older one.
    with(both.clone(), ANY, &|vm| {
        holds(vm, "second")?;
        // Ends when the array is up to date; 1 says that there was nothing to wait for.
        vm.ssh_ok("mdadm --wait /dev/md127 || test $? = 1")?;
        mirrored(vm, 0)
    })?;
    bench.machine().media = only_a;
    let before = bench.run(|vm| {
        ready(vm)?;
        mirrored(vm, 1)?;
        holds(vm, "second")?;
        storage_is_there_after_waiting(vm)?;
        leave_marks(vm)
    })?;
    bench.machine().media = vec![iso, stick, a, b];
    bench.run(|vm| install_keeping(vm, &["vda", "vdb"]))?;
    bench.machine().media = both;
    bench.run(|vm| {
        ready(vm)?;
        mirrored(vm, 0)?;
        is_kept(vm, &before)
    })
}

/// However many disks are missing.
const ANY: u64 = u64::MAX;

/// The state lies on an array that misses so many disks, and the host says so.
fn mirrored(vm: &Vm, missing: u64) -> anyhow::Result<()> {
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

fn storage_is_there(vm: &Vm) -> anyhow::Result<()> {
    // It waits for disks, and nothing waits for it; a job for a unit that runs ends when the unit does.
    vm.ssh_ok("systemctl start xenolith-firstboot-late.service")?;
    let status = status(vm)?;
    ensure!(status["firstboot"]["tasks"]["storage"]["outcome"] == "done", "storage was not made: {status}");
    let groups = vm.ssh_ok("vgs --noheadings --options vg_name")?;
    ensure!(groups.contains("VG_XenStorage-"), "there is no volume group for storage:\n{groups}");
    Ok(())
}

/// As [`storage_is_there`] on a mirror that a disk is missing of: mdadm waits for the disk first.
fn storage_is_there_after_waiting(vm: &Vm) -> anyhow::Result<()> {
    vm.ssh_ok("udevadm wait --timeout=300 /dev/md/xenolith-sr")?;
    storage_is_there(vm)
}

/// In the only volume group: made, filled, and what its bytes come to.
const FILL: &str = "set -e; group=$(vgs --noheadings --options vg_name | tr -d ' '); \
    lvcreate --yes --quiet --size 64M --name kept $group > /dev/null; \
    head -c 64M /dev/urandom > /dev/$group/kept; sync; sha256sum < /dev/$group/kept";
const SUM: &str = "set -e; group=$(vgs --noheadings --options vg_name | tr -d ' '); \
    lvchange --activate y $group/kept; sha256sum < /dev/$group/kept";

/// What a host is known by.
const IDENTITY: &str = "hostname; cat /var/lib/xenolith/host-uuid /etc/ssh/ssh_host_ed25519_key.pub; \
    sha256sum /etc/xenolith/tls/host.pem; cat /etc/ssh/authorized_keys.d/root";

/// What an installation anew has to keep: the sum of a volume, and what the host is known by.
type Known = (String, String);

/// Fills a volume, gives the host a name, and says what it is known by. The host is switched off.
fn leave_marks(vm: &mut Vm) -> anyhow::Result<Known> {
    vm.ssh_ok("echo old > /var/lib/mark; hostnamectl hostname kept-host")?;
    let known = (vm.ssh_ok(FILL)?, vm.ssh_ok(IDENTITY)?);
    power_off(vm)?;
    Ok(known)
}

/// Installs on these disks by answers that keep all that the host on them was told, and its storage.
fn install_keeping(vm: &mut Vm, disks: &[&str]) -> anyhow::Result<()> {
    ready(vm)?;
    let rules: Vec<String> = disks.iter().map(|disk| format!("{{ path = \"{disk}\" }}")).collect();
    let answers = format!(
        "version = 1\nsettings = \"keep\"\n[target]\ndisks = [{}]\nerase = true\n[storage]\nkind = \"keep\"\n\
         [network]\n[access]\n[finish]\nthen = \"stay\"\n",
        rules.join(", ")
    );
    vm.ssh_ok(&format!("cat > {ANSWERS} <<END\n{answers}END"))?;
    let plan = vm.ssh_ok(&format!("xenolith-install --answers {ANSWERS} --dry-run"))?;
    println!("{}", plan.trim_end());
    for stays in disks.iter().map(|disk| format!("{disk}8 stays as it is")).chain(["kept-host".to_owned()]) {
        ensure!(plan.contains(&stays), "the plan does not say what stays ({stays}):\n{plan}");
    }
    install(vm)?;
    power_off(vm)
}

/// The state is another one, storage and identity are not.
fn is_kept(vm: &mut Vm, before: &Known) -> anyhow::Result<Count> {
    storage_is_there(vm)?;
    ensure!(vm.ssh("test -e /var/lib/mark")?.code == Some(1), "the state was not made anew");
    let after = (vm.ssh_ok(SUM)?, vm.ssh_ok(IDENTITY)?);
    ensure!(after.1.contains("kept-host"), "the host has another name:\n{}", after.1);
    ensure!(*before == after, "storage and identity are {after:?} instead of {before:?}");
    power_off(vm)?;
    Ok(Count::ONE)
}

/// Installs with storage, fills a volume, installs anew with what is there kept, and compares.
pub fn reinstall(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disk = attached(&roomy_disk(folder.path(), "disk.img")?);
    let iso = Medium::Cd(context.artefacts()?.file("iso", "xenolith.iso"));
    let mut bench = Bench::new(context, "reinstall", iso.clone())?;
    let stick = bench.machine().media.last().cloned().context("no seed")?;
    bench.machine().media.push(disk.clone());
    bench.run(|vm| {
        ready(vm)?;
        write_answers(vm, &["vdz"], "lvm")?;
        let wrong = vm.ssh(&format!("xenolith-install --answers {ANSWERS} --yes"))?;
        let words = format!("{}{}", wrong.stdout, wrong.stderr);
        ensure!(wrong.code == Some(3) && words.contains("vda"), "a wrong rule is not refused:\n{words}");
        write_answers(vm, &["vda"], "lvm")?;
        install(vm)?;
        power_off(vm)
    })?;
    bench.machine().media = vec![disk.clone()];
    let before = bench.run(|vm| {
        ready(vm)?;
        storage_is_there(vm)?;
        leave_marks(vm)
    })?;
    bench.machine().media = vec![iso, stick, disk.clone()];
    bench.run(|vm| install_keeping(vm, &["vda"]))?;
    bench.machine().media = vec![disk];
    bench.run(|vm| {
        ready(vm)?;
        is_kept(vm, &before)
    })
}
