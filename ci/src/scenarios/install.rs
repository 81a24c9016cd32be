//! An installation by answers, from the ISO onto an empty disk that then boots by itself.

use anyhow::ensure;
use fs_err as fs;
use xenolith_layout::{Bytes, SectorSize, disk::minimum};
use xenolith_machine::Refusal;
use xenolith_vm::{Medium, Vm};

use crate::{
    context::{Context, Count},
    host::{Bench, disks_not_offered, power_off, ready, status},
};

/// Answers for the machine's one disk, with the key that the seed has let in.
const WRITE_ANSWERS: &str = r#"umask 077; key=$(cat /etc/ssh/authorized_keys.d/root); cat > /run/answers.toml <<END
version = 1
[target]
disks = [{ path = "vda", size = ">= 8 GiB" }]
[network]
[host]
name = "installed-{mac}"
[access]
ssh_keys = ["$key"]
[finish]
then = "stay"
END"#;

/// Installs, and starts from the disk without the medium.
pub fn install(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let disk = folder.path().join("disk.img");
    let size = minimum(SectorSize::B512, false) + Bytes::gib(2);
    fs::File::create(&disk)?.set_len(size.get())?;
    let target = Medium::Disk { path: disk, throw_away: false };
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, "install", Medium::Cd(iso))?;
    bench.machine().media.push(target.clone());
    bench.run(|vm| {
        ready(vm)?;
        installs(vm)?;
        power_off(vm)
    })?;
    // Neither the medium nor the seed: what lets us in is what was installed.
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        is_installed(vm)?;
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

fn installs(vm: &Vm) -> anyhow::Result<()> {
    let disks = disks_not_offered(vm)?;
    ensure!(disks.get("vda").is_some_and(Vec::is_empty), "the empty disk is not offered: {disks:?}");
    vm.ssh_ok(WRITE_ANSWERS)?;
    let plan = vm.ssh_ok("xenolith-install --answers /run/answers.toml --dry-run")?;
    ensure!(plan.contains("/dev/vda") && plan.contains("will be lost"), "the plan names no disk:\n{plan}");
    let table = "wipefs --no-act --output TYPE --noheadings /dev/vda";
    ensure!(vm.ssh_ok(table)?.trim().is_empty(), "a dry run wrote something");
    let asked = vm.ssh("xenolith-install --answers /run/answers.toml < /dev/null")?;
    ensure!(asked.code == Some(9), "it went on though nobody said yes:\n{}{}", asked.stdout, asked.stderr);
    ensure!(vm.ssh_ok(table)?.trim().is_empty(), "it wrote something though nobody said yes");
    let said = vm.ssh_ok("xenolith-install --answers /run/answers.toml --yes")?;
    println!("{}", said.trim_end());
    ensure!(said.contains("Xenolith is installed"), "it does not say that it is done:\n{said}");
    Ok(())
}

fn is_installed(vm: &Vm) -> anyhow::Result<()> {
    let status = status(vm)?;
    ensure!(
        status["boot"]["medium"] == "disk" && status["boot"]["slot"] == "A",
        "booted from elsewhere: {status}"
    );
    ensure!(status["root"]["verity"] == "good", "the root is not verified: {status}");
    ensure!(status["health"]["good"] == true, "the installed host is not fit to stay: {status}");
    let name = vm.ssh_ok("hostname")?;
    ensure!(name.starts_with("installed-5254"), "it is called {name}");
    let disks = disks_not_offered(vm)?;
    let own = disks.get("vda").is_some_and(|why| why.contains(&Refusal::RunningFrom));
    ensure!(own, "an installation would take the disk that the host runs from: {disks:?}");
    vm.ssh_ok(WRITE_ANSWERS)?;
    let again = vm.ssh("xenolith-install --answers /run/answers.toml --yes")?;
    ensure!(again.code == Some(4), "an installed host installs:\n{}{}", again.stdout, again.stderr);
    Ok(())
}
