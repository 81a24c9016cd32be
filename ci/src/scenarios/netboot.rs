//! A machine without a medium: it boots over HTTP from `xenolith serve`, installs what it runs, and starts from its disk.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
};

use anyhow::{Context as _, ensure};
use fs_err as fs;
use xenolith_vm::{Vm, boot_from};

use super::{install as onto_disk, media::runs_from};
use crate::{
    context::{Context, Count},
    host::{ACTION, Bench, power_off, ready, status},
};

/// Where machines on QEMU's own network find 127.0.0.1 of this one.
const HOST: &str = "10.0.2.2";

/// `xenolith serve`, as long as this lives.
pub struct Serving {
    output: duct::ReaderHandle,
    port: u16,
}

impl Serving {
    /// Serves the network boot set that was built, on a port of 127.0.0.1.
    fn start(context: &Context, log: &Path) -> anyhow::Result<Self> {
        let set = context.artefacts()?.file("netboot", "");
        let set = set.to_str().context("the cache folder's name is no text")?;
        let args = ["--json", "serve", set, "--listen", "127.0.0.1:0"];
        let output = context.xenolith(&args).stderr_path(log).stdin_null().reader()?;
        let mut line = String::new();
        BufReader::new(&output).read_line(&mut line)?;
        let words = || fs::read_to_string(log).unwrap_or_default();
        let said: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("the server does not start:\n{}", words()))?;
        let url = said["boot_file"].as_str().context("the server names no boot file")?;
        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        Ok(Self { output, port: port.with_context(|| format!("{url} has no port"))? })
    }

    /// The boot file, as the machine sees it.
    fn url(&self) -> String {
        format!("http://{HOST}:{}/xenolith.efi", self.port)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // An error means that it ended by itself.
        let _ = self.output.kill();
    }
}

/// Lets a machine start from the network, its firmware once and its initrd after it.
pub fn from_network(context: &Context, bench: &mut Bench<'_>) -> anyhow::Result<Serving> {
    let folder = bench.folder().to_path_buf();
    let server = Serving::start(context, &folder.join("server.log"))?;
    boot_from(&bench.machine().tools.clone(), &folder, &server.url())?;
    bench.machine().boot_url = Some(server.url());
    // Boot file and root image are in RAM.
    bench.machine().memory = 4096;
    Ok(server)
}

/// Boots over HTTP under Secure Boot, offers the screens, installs, and starts from the disk without the server.
pub fn install(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = onto_disk::empty_disk(folder.path())?;
    let mut bench = Bench::new(context, "netboot-install", None)?;
    bench.machine().media.push(target.clone());
    bench.secure_boot()?;
    let server = from_network(context, &mut bench)?;
    bench.run(|vm| {
        ready(vm)?;
        runs_from(vm, "network", &["vda"])?;
        let url = vm.ssh_ok("cat /run/xenolith/boot.json")?;
        ensure!(
            url.contains(&server.url().replace("xenolith.efi", "")),
            "the host does not know its server:\n{url}"
        );
        vm.shows("Press Enter to install", ACTION)?;
        vm.type_serial("\r")?;
        vm.shows("Welcome (1 of 9)", ACTION)?;
        has_secure_boot(vm)?;
        onto_disk::installs(vm)?;
        power_off(vm)
    })?;
    drop(server);
    // Neither server nor seed: what lets us in is what was installed.
    bench.machine().media = vec![target];
    bench.machine().boot_url = None;
    bench.run(|vm| {
        ready(vm)?;
        onto_disk::is_installed(vm)?;
        has_secure_boot(vm)?;
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

fn has_secure_boot(vm: &Vm) -> anyhow::Result<()> {
    let status = status(vm)?;
    ensure!(status["firmware"]["secure_boot"] == "on", "something unsigned could have started: {status}");
    Ok(())
}
