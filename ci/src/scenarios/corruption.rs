//! A flipped bit is a failed boot.

use anyhow::{bail, ensure};
use xenolith_assemble::sparse;
use xenolith_layout::{Slot, disk::Role};
use xenolith_vm::{Event, Medium, READY};

use crate::{
    context::{Context, Count},
    host::{BOOT, Bench},
    image_file::flip_bit,
};

/// The superblock of the file system: the first block that is read.
const EROFS_SUPERBLOCK: u64 = 1024 + 20;
/// In the block on top of the tree, behind the superblock.
const VERITY_TOP: u64 = 4096 + 100;

/// In the root partition.
pub fn root(context: &Context) -> anyhow::Result<Count> {
    never_ready(context, "corrupt-root", Role::Root(Slot::A), EROFS_SUPERBLOCK)
}

/// In the verity partition.
pub fn verity(context: &Context) -> anyhow::Result<Count> {
    never_ready(context, "corrupt-verity", Role::Verity(Slot::A), VERITY_TOP)
}

fn never_ready(context: &Context, scenario: &'static str, role: Role, at: u64) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let image = folder.path().join("disk.img");
    sparse::copy(&context.artefacts()?.file("disk", "disk.img"), &image)?;
    flip_bit(&image, role, at)?;
    let mut bench = Bench::new(context, scenario, Medium::Disk { path: image, throw_away: true })?;
    // A failed boot restarts the machine, so that the loader counts the try; here the first restart is the end.
    bench.machine().stop_on_reset = true;
    bench.run(|vm| {
        let mut seen_xen = false;
        let end = vm.until("end of the failed boot", BOOT, |event| match event {
            Event::Line(line) if line.contains(READY) => Some(false),
            Event::Line(line) => {
                seen_xen |= line.contains("(XEN)");
                None
            }
            Event::Qmp { name, .. } if name == "SHUTDOWN" || name == "RESET" => Some(true),
            _ => None,
        })?;
        ensure!(seen_xen, "the boot failed before Xen, for another reason");
        if !end {
            bail!("the host became ready on a damaged image");
        }
        let said = |line: &String| line.contains("verity") || line.contains("corrupt");
        ensure!(vm.lines().iter().any(said), "nothing on the console says why the boot failed");
        Ok(Count::ONE)
    })
}
