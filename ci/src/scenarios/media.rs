//! Hosts that run from media: the ISO as USB stick, the boot file over HTTP. As a CD the ISO also installs (`install`), and so does
//! what came over the network (`netboot`).

use anyhow::ensure;
use xenolith_vm::{Medium, Vm};

use crate::{
    context::{Context, Count},
    host::{Bench, disks_not_offered, ready, status},
};

use super::netboot;

/// Written to a USB stick.
pub fn usb(context: &Context) -> anyhow::Result<Count> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    boots(&Bench::new(context, "iso-usb", Medium::Usb(iso))?, "iso")
}

/// By the firmware straight from an HTTP server, with the root image beside the boot file.
pub fn http(context: &Context) -> anyhow::Result<Count> {
    let mut bench = Bench::new(context, "http", None)?;
    let _server = netboot::from_network(context, &mut bench)?;
    boots(&bench, "network")
}

fn boots(bench: &Bench<'_>, medium: &str) -> anyhow::Result<Count> {
    bench.run(|vm| {
        ready(vm)?;
        runs_from(vm, medium, &[])?;
        Ok(Count::ONE)
    })
}

/// What holds of a host that runs from a medium. `empty` are the disks that an installation may have: never the seed's stick, or the
/// medium itself.
pub fn runs_from(vm: &Vm, medium: &str, empty: &[&str]) -> anyhow::Result<()> {
    let status = status(vm)?;
    ensure!(status["root"]["verity"] == "good", "the root is not verified: {status}");
    ensure!(status["xen"].is_object(), "there is no hypervisor below: {status}");
    ensure!(status["boot"]["medium"] == medium, "booted from something else than {medium}: {status}");
    ensure!(status["boot"]["slot"].is_null(), "a medium has no slot: {status}");
    let disks = disks_not_offered(vm)?;
    ensure!(disks.len() > empty.len(), "the host does not see the stick: {disks:?}");
    for (name, why) in &disks {
        let may = empty.contains(&name.as_str());
        ensure!(why.is_empty() == may, "an installation would take the wrong disks: {disks:?}");
    }
    Ok(())
}
