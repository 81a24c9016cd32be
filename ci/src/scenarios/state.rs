//! What must last, lasts.

use anyhow::ensure;
use xenolith_assemble::sparse;
use xenolith_vm::{Medium, Vm};

use crate::{
    context::{Context, Count},
    host::{ACTION, Bench, ready, status},
};

/// What makes a host this host, and what a user left behind.
const IDENTITY: &str =
    "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/hostname.d/mark /var/lib/mark; hostname";

/// Boots twice from the same disk.
pub fn state(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let image = folder.path().join("disk.img");
    sparse::copy(&context.artefacts()?.file("disk", "disk.img"), &image)?;
    let bench = Bench::new(context, "state", Medium::Disk { path: image, throw_away: false })?;
    let before = bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["boot"]["first_boot"] == true, "the first boot does not know that it is: {status}");
        vm.ssh_ok("mkdir /etc/hostname.d && echo kept > /etc/hostname.d/mark && echo kept > /var/lib/mark")?;
        let identity = vm.ssh_ok(IDENTITY)?;
        power_off(vm)?;
        Ok(identity)
    })?;
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(
            status["boot"]["first_boot"] == false,
            "the second boot takes itself for the first: {status}"
        );
        let entry = status["boot"]["entry"].as_str().unwrap_or_default();
        ensure!(!entry.contains('+'), "the boot entry {entry:?} was not blessed");
        let after = vm.ssh_ok(IDENTITY)?;
        ensure!(before == after, "before:\n{before}\nafter:\n{after}");
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

fn power_off(vm: &mut Vm) -> anyhow::Result<()> {
    // The connection may end before the command does.
    let _ = vm.ssh("systemctl poweroff")?;
    Ok(vm.ended(ACTION)?)
}
