//! An ISO into which answers and a seed were put after it was built: the seed lets us in, and it installs by its own answers.

use std::path::Path;

use anyhow::{Context as _, ensure};
use fs_err as fs;
use xenolith_vm::{Medium, READY, Vm};

use super::{
    install::empty_disk,
    unattended::{DONE_BEFORE, INSTALLED},
};
use crate::{
    context::{Context, Count},
    host::{BOOT, Bench, power_off, ready, status},
};

/// The name that the medium itself gets by its seed, and the installed host by its answers.
const SEEDED: &str = "from-the-seed";
const ANSWERED: &str = "from-the-answers";

/// As a USB stick it installs by itself; as a CD, of which the kernel makes no partitions, it finds the same answers and that they were
/// carried out; and the disk boots.
pub fn customized(context: &Context) -> anyhow::Result<Count> {
    // With a seed volume of its own, which is not plugged in: nothing but the ISO's area lets us in.
    let mut bench = Bench::new(context, "iso-customized", None)?;
    let key = fs::read_to_string(bench.folder().join("id.pub"))?;
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let iso = customize(context, folder.path(), key.trim())?;
    let target = empty_disk(folder.path())?;
    bench.machine().media = vec![Medium::Usb(iso.clone()), target.clone()];
    bench.run(|vm| {
        says(vm, INSTALLED)?;
        medium_is_up(vm)?;
        let asked = vm.ssh("xenolith-install --answers medium < /dev/null")?;
        let words = format!("{}{}", asked.stdout, asked.stderr);
        ensure!(
            asked.code == Some(3) && words.contains("erase"),
            "a disk that is full is not refused:\n{words}"
        );
        power_off(vm)
    })?;
    bench.machine().media = vec![Medium::Cd(iso), target.clone()];
    bench.run(|vm| {
        says(vm, DONE_BEFORE)?;
        medium_is_up(vm)?;
        power_off(vm)
    })?;
    bench.machine().media = vec![target];
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["boot"]["medium"] == "disk", "booted from elsewhere: {status}");
        let name = vm.ssh_ok("hostname")?;
        ensure!(name.trim() == ANSWERED, "the installed host is called {}", name.trim());
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

/// Waits for these words of the unattended installation; they may have come already.
fn says(vm: &mut Vm, words: &str) -> anyhow::Result<()> {
    if !vm.lines().iter().any(|line| line.contains(words)) {
        vm.line(words, 2 * BOOT)?;
    }
    Ok(())
}

fn medium_is_up(vm: &mut Vm) -> anyhow::Result<()> {
    if !vm.lines().iter().any(|line| line.contains(READY)) {
        ready(vm)?;
    }
    let status = status(vm)?;
    ensure!(status["boot"]["medium"] == "iso", "not started from the medium: {status}");
    ensure!(status["installation"].is_null(), "the installation failed: {status}");
    let name = vm.ssh_ok("hostname")?;
    ensure!(name.trim() == SEEDED, "the seed in the medium was not taken: {}", name.trim());
    Ok(())
}

/// Makes a customized copy of the ISO, as a user would.
fn customize(context: &Context, folder: &Path, key: &str) -> anyhow::Result<std::path::PathBuf> {
    let access = format!("[access]\nssh_keys = [\"{key}\"]\n");
    let answers = format!(
        "version = 1\n[target]\ndisks = [{{ path = \"vda\", size = \">= 8 GiB\" }}]\n[network]\n[host]\nname = \"{ANSWERED}\"\n\
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
