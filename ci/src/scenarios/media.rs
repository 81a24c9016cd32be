//! The ISO, as CD and as USB stick.

use anyhow::ensure;
use xenolith_vm::Medium;

use crate::{
    context::{Context, Count},
    host::{Bench, ready, status},
};

/// As a CD.
pub fn cd(context: &Context) -> anyhow::Result<Count> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    boots(&Bench::new(context, "iso-cd", Medium::Cd(iso))?, "optical")
}

/// Written to a USB stick.
pub fn usb(context: &Context) -> anyhow::Result<Count> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    boots(&Bench::new(context, "iso-usb", Medium::Usb(iso))?, "usb")
}

fn boots(bench: &Bench<'_>, medium: &str) -> anyhow::Result<Count> {
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["root"]["verity"] == "good", "the root is not verified: {status}");
        ensure!(status["xen"].is_object(), "there is no hypervisor below: {status}");
        ensure!(status["boot"]["medium"] == medium, "booted from something else than {medium}: {status}");
        ensure!(status["boot"]["slot"].is_null(), "a medium has no slot: {status}");
        Ok(Count::ONE)
    })
}
