//! The ISO, as CD and as USB stick; the boot file, over HTTP.

use anyhow::ensure;
use xenolith_vm::{FileServer, Medium, boot_from};

use crate::{
    context::{Context, Count},
    host::{Bench, disks_not_offered, ready, status},
};

/// As a CD.
pub fn cd(context: &Context) -> anyhow::Result<Count> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    boots(&Bench::new(context, "iso-cd", Medium::Cd(iso))?, "iso")
}

/// Written to a USB stick.
pub fn usb(context: &Context) -> anyhow::Result<Count> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    boots(&Bench::new(context, "iso-usb", Medium::Usb(iso))?, "iso")
}

/// By the firmware straight from an HTTP server, with the root image beside the boot file.
pub fn http(context: &Context) -> anyhow::Result<Count> {
    let mut bench = Bench::new(context, "http", None)?;
    let tools = bench.machine().tools.clone();
    let folder = bench.folder().to_path_buf();
    let files = context.artefacts()?.file("netboot", "");
    let server = FileServer::start(&tools, &files, &folder.join("server.log"))?;
    let url = server.url("xenolith.efi");
    boot_from(&tools, &folder, &url)?;
    bench.machine().boot_url = Some(url);
    // Boot file and root image are in RAM.
    bench.machine().memory = 4096;
    boots(&bench, "network")
}

fn boots(bench: &Bench<'_>, medium: &str) -> anyhow::Result<Count> {
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["root"]["verity"] == "good", "the root is not verified: {status}");
        ensure!(status["xen"].is_object(), "there is no hypervisor below: {status}");
        ensure!(status["boot"]["medium"] == medium, "booted from something else than {medium}: {status}");
        ensure!(status["boot"]["slot"].is_null(), "a medium has no slot: {status}");
        // There is the seed's stick and, of a USB boot, the medium itself: an installation must have neither.
        let disks = disks_not_offered(vm)?;
        ensure!(!disks.is_empty(), "the host does not see the stick");
        ensure!(disks.values().all(|why| !why.is_empty()), "an installation would take a medium: {disks:?}");
        Ok(Count::ONE)
    })
}
