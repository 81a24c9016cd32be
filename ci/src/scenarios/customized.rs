//! An ISO into which answers and a seed were put after it was built: the seed lets us in, and it installs by its own answers.

use std::path::Path;

use anyhow::{Context as _, ensure};
use fs_err as fs;
use xenolith_vm::{Medium, Vm};

use super::{install::empty_disk, media::runs_from};
use crate::{
    context::{Context, Count},
    host::{Bench, power_off, ready, status},
};

/// The name that the medium itself gets by its seed, and the installed host by its answers.
const SEEDED: &str = "from-the-seed";
const INSTALLED: &str = "from-the-answers";

/// As a CD, of which the kernel makes no partitions, it says what it would do; as a USB stick it installs, and the disk boots.
pub fn customized(context: &Context) -> anyhow::Result<Count> {
    // With a seed volume of its own, which is not plugged in: nothing but the ISO's area lets us in.
    let mut bench = Bench::new(context, "iso-customized", None)?;
    let key = fs::read_to_string(bench.folder().join("id.pub"))?;
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let iso = customize(context, folder.path(), key.trim())?;
    let target = empty_disk(folder.path())?;
    bench.machine().media = vec![Medium::Cd(iso.clone()), target.clone()];
    bench.run(|vm| {
        medium_is_up(vm)?;
        let plan = vm.ssh_ok("xenolith-install --answers medium --dry-run")?;
        ensure!(
            plan.contains("/dev/vda") && plan.contains("will be lost"),
            "the plan names no disk:\n{plan}"
        );
        power_off(vm)
    })?;
    bench.machine().media = vec![Medium::Usb(iso), target.clone()];
    bench.run(|vm| {
        medium_is_up(vm)?;
        let asked = vm.ssh("xenolith-install --answers medium < /dev/null")?;
        ensure!(
            asked.code == Some(9),
            "it went on though nobody said yes:\n{}{}",
            asked.stdout,
            asked.stderr
        );
        let said = vm.ssh_ok("xenolith-install --answers medium --yes")?;
        println!("{}", said.trim_end());
        ensure!(said.contains("Xenolith is installed"), "it does not say that it is done:\n{said}");
        power_off(vm)
    })?;
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["boot"]["medium"] == "disk", "booted from elsewhere: {status}");
        let name = vm.ssh_ok("hostname")?;
        ensure!(name.trim() == INSTALLED, "the installed host is called {}", name.trim());
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

fn medium_is_up(vm: &mut Vm) -> anyhow::Result<()> {
    ready(vm)?;
    runs_from(vm, "iso", &["vda"])?;
    let name = vm.ssh_ok("hostname")?;
    ensure!(name.trim() == SEEDED, "the seed in the medium was not taken: {}", name.trim());
    Ok(())
}

/// Makes a customized copy of the ISO, as a user would.
fn customize(context: &Context, folder: &Path, key: &str) -> anyhow::Result<std::path::PathBuf> {
    let access = format!("[access]\nssh_keys = [\"{key}\"]\n");
    let answers = format!(
        "version = 1\n[target]\ndisks = [{{ path = \"vda\", size = \">= 8 GiB\" }}]\n[network]\n[host]\nname = \"{INSTALLED}\"\n\
         {access}[finish]\nthen = \"stay\"\n"
    );
    let (answers_file, seed_file, made) =
        (folder.join("answers.toml"), folder.join("seed.toml"), folder.join("customized.iso"));
    fs::write(&answers_file, answers)?;
    fs::write(&seed_file, format!("version = 1\n[host]\nname = \"{SEEDED}\"\n{access}"))?;
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path is no text");
    let (iso, answers, seed, output) = (text(&iso)?, text(&answers_file)?, text(&seed_file)?, text(&made)?);
    let customize = ["iso", "customize", &iso];
    let files = ["--answers", &answers, "--seed", &seed, "--output", &output];
    context.xenolith(&[&customize[..], &files].concat()).run()?;
    let shown = context.xenolith(&["iso", "customize", &output, "--show"]).read()?;
    ensure!(shown.contains("answers.toml") && shown.contains("seed.toml"), "it does not show:\n{shown}");
    Ok(made)
}
