//! An installation that keeps what the one before has left: storage for guests, and what the host was told and is known by.

use anyhow::ensure;
use xenolith_vm::{Medium, Vm};

use super::storage::{
    ANSWERS, attached, install, mirrored, roomy_disk, rules, storage_is_there, write_answers,
};
use crate::{
    context::{Context, Count},
    host::{Bench, power_off, ready},
};

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
    let answers = format!(
        "version = 1\nsettings = \"keep\"\n[target]\ndisks = [{}]\nerase = true\n[storage]\nkind = \"keep\"\n\
         [network]\n[access]\n[finish]\nthen = \"stay\"\n",
        rules(disks)
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

/// Installs with storage, fills a volume, installs anew with what is there kept, and compares. A rule that matches nothing is refused.
pub fn on_one_disk(context: &Context) -> anyhow::Result<Count> {
    again(context, "reinstall", &["vda"], |_| Ok(()))
}

/// The same on two disks that mirror each other. What the host knows last is known to the first disk alone, so that half counts.
pub fn on_a_mirror(context: &Context) -> anyhow::Result<Count> {
    again(context, "reinstall-mirror", &["vda", "vdb"], |vm| {
        mirrored(vm, 0)?;
        vm.ssh_ok("mdadm /dev/md127 --fail /dev/vdb7 && mdadm /dev/md127 --remove /dev/vdb7")?;
        mirrored(vm, 1)
    })
}

fn again(
    context: &Context,
    scenario: &'static str,
    names: &[&str],
    before_the_marks: impl FnOnce(&Vm) -> anyhow::Result<()>,
) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disks: Result<Vec<Medium>, _> =
        names.iter().map(|name| roomy_disk(folder.path(), name).map(|path| attached(&path))).collect();
    let disks = disks?;
    let iso = Medium::Cd(context.artefacts()?.file("iso", "xenolith.iso"));
    let mut bench = Bench::new(context, scenario, iso)?;
    bench.machine().media.extend(disks.clone());
    let with_medium = bench.machine().media.clone();
    bench.run(|vm| {
        ready(vm)?;
        write_answers(vm, &["vdz"], "lvm")?;
        let wrong = vm.ssh(&format!("xenolith-install --answers {ANSWERS} --yes"))?;
        let words = format!("{}{}", wrong.stdout, wrong.stderr);
        ensure!(wrong.code == Some(3) && words.contains("vda"), "a wrong rule is not refused:\n{words}");
        write_answers(vm, names, "lvm")?;
        install(vm)?;
        power_off(vm)
    })?;
    bench.machine().media = disks.clone();
    let before = bench.run(|vm| {
        ready(vm)?;
        storage_is_there(vm)?;
        before_the_marks(vm)?;
        leave_marks(vm)
    })?;
    bench.machine().media = with_medium;
    bench.run(|vm| install_keeping(vm, names))?;
    bench.machine().media = disks;
    bench.run(|vm| {
        ready(vm)?;
        if names.len() > 1 {
            mirrored(vm, 0)?;
        }
        is_kept(vm, &before)
    })
}
