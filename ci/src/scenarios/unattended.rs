//! Installations that nobody touches: answers on a stick, and answers from a server that the firmware names.

use std::{ffi::OsString, net::TcpListener, path::Path};

use anyhow::{Context as _, ensure};
use fs_err as fs;
use serde_json::Value;
use xenolith_assemble::seed;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_vm::{Medium, Vm};

use super::install::empty_disk;
use crate::{
    answering::serve,
    context::{Context, Count},
    host::{ACTION, BOOT, Bench, power_off, ready, status},
    wire::Wire,
};

/// What the console says at the end, from `xenolith-install`.
pub const INSTALLED: &str = "Xenolith is installed.";
pub const DONE_BEFORE: &str = "installed from these answers before";
/// What a machine on QEMU's own network calls the one that it runs on.
const HOST: &str = "10.0.2.2";
/// The name that QEMU's first network interface has in its hardware.
const MAC: &str = "52:54:00:12:34:56";

/// Answers for the machine's one disk. A disk that is not empty is refused, so the second installation would be, too, if it were tried.
fn answers(key: &str, more: &str) -> String {
    format!(
        "version = 1\n\n[target]\ndisks = [{{ path = \"vda\", size = \">= 8 GiB\" }}]\n\n[network]\n\n[host]\nname = \"unattended\"\n\n\
         [access]\nssh_keys = [\"{key}\"]\n\n[finish]\nthen = \"power-off\"\n{more}"
    )
}

/// A machine with the ISO and an empty disk, and the key that lets us in.
fn bench<'a>(
    context: &'a Context,
    scenario: &'static str,
    target: &Medium,
) -> anyhow::Result<(Bench<'a>, String)> {
    let iso = context.artefacts()?.file("iso", "xenolith.iso");
    let mut bench = Bench::new(context, scenario, Medium::Cd(iso))?;
    bench.machine().media.push(target.clone());
    let key = fs::read_to_string(bench.folder().join("id.pub"))?.trim().to_owned();
    Ok((bench, key))
}

/// A stick labelled XENOLITH with answers, which stays in the machine.
pub fn volume(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let (mut bench, key) = bench(context, "unattended-volume", &target)?;
    let file =
        EspFile { path: "answers.toml".into(), content: EspContent::Bytes(answers(&key, "").into_bytes()) };
    let stick = bench.folder().join("seed.img");
    fs::remove_file(&stick)?;
    seed::volume(&stick, &[key], vec![file])?;
    bench.run(installs)?;
    // Started from the medium again, it leaves the machine alone and says why.
    bench.run(|vm| {
        ready(vm)?;
        // The two come in either order.
        if !vm.lines().iter().any(|line| line.contains(DONE_BEFORE)) {
            vm.line(DONE_BEFORE, BOOT)?;
        }
        let status = status(vm)?;
        ensure!(status["boot"]["medium"] == "iso", "not the medium again: {status}");
        ensure!(status["installation"].is_null(), "it counts as a failure: {status}");
        let left = vm.ssh("xenolith-install --answers auto --yes")?;
        ensure!(left.code == Some(3), "answers without target.erase erase:\n{}{}", left.stdout, left.stderr);
        power_off(vm)
    })?;
    bench.machine().media = vec![target];
    bench.run(is_installed)
}

/// An OEM string names a server on the machine that it runs on, which answers for the machine and gets a report. QEMU's own device for
/// facts names it as well.
pub fn url(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let (mut bench, key) = bench(context, "unattended-url", &target)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = format!("http://{HOST}:{}", listener.local_addr()?.port());
    let report = format!("report_to = \"{place}/report\"\nreport_insecure = true\n");
    let told = serve(listener, answers(&key, &report));
    bench.machine().oem_string = Some(format!("xenolith.answers={place}/answers insecure"));
    bench.run(installs)?;
    let (line, asked) = told.recv_timeout(ACTION).context("the machine has asked for nothing")?;
    ensure!(line.starts_with("POST /answers "), "it asks otherwise: {line}");
    let identity: Value = serde_json::from_str(&asked).context("it does not say who it is in JSON")?;
    ensure!(identity["macs"][0] == MAC && identity["format"] == 1, "it is somebody else: {identity}");
    let disks = identity["disks"].as_array().context("it tells of no disks")?;
    ensure!(disks.iter().any(|disk| disk["name"] == "vda"), "its disk is missing: {identity}");
    let (line, report) = told.recv_timeout(ACTION).context("it has not told how it ended")?;
    ensure!(line.starts_with("POST /report "), "it reports otherwise: {line}");
    let report: Value = serde_json::from_str(&report).context("the report is no JSON")?;
    ensure!(report["outcome"] == "succeeded" && report["machine"]["macs"][0] == MAC, "another end: {report}");
    ensure!(report["plan"].is_string() && report["log"][0].is_string(), "too little is told: {report}");
    let machine = bench.machine();
    machine.oem_string = None;
    machine.fw_cfg = Some(format!("{place}/answers insecure"));
    bench.run(|vm| {
        vm.line(DONE_BEFORE, 2 * BOOT)?;
        ready(vm)?;
        power_off(vm)
    })?;
    let (line, _) = told.recv_timeout(ACTION).context("fw_cfg leads nowhere")?;
    ensure!(line.starts_with("POST /answers "), "it asks otherwise: {line}");
    let machine = bench.machine();
    machine.fw_cfg = None;
    machine.media = vec![target];
    bench.run(is_installed)
}

/// A machine with nothing but an empty disk, on a wire with a DHCP server that gives addresses and no more. Its firmware starts by PXE
/// what the proxy of `xenolith serve` names, and the proxy's option 224 leads to the answers.
pub fn dhcp(context: &Context) -> anyhow::Result<Count> {
    over_wire(context, "unattended-dhcp", |rack, answers| {
        fs::create_dir(rack)?;
        fs::write(rack.join(format!("{}.toml", MAC.replace(':', "-"))), answers)?;
        let rack = rack.to_str().context("a folder's name is no text")?;
        Ok((vec!["--answers".into(), rack.into()], None))
    })
}

/// The same, but `xenolith serve` knows of no answers: a TXT record below the domain that DHCP gives leads to a server that has them.
pub fn dns(context: &Context) -> anyhow::Result<Count> {
    over_wire(context, "unattended-dns", |_, answers| Ok((Vec::new(), Some(answers))))
}

/// Further arguments of `xenolith serve`, and answers that DNS leads to.
type Given = (Vec<String>, Option<String>);

fn over_wire(
    context: &Context,
    scenario: &'static str,
    give: fn(&Path, String) -> anyhow::Result<Given>,
) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let target = empty_disk(folder.path())?;
    let (mut bench, key) = bench(context, scenario, &target)?;
    let (more, by_dns) = give(&folder.path().join("rack"), answers(&key, ""))?;
    let set = context.artefacts()?.file("netboot", "");
    let set = set.to_str().context("a folder's name is no text")?;
    let words = context.xenolith_words(&["--json", "serve", set]);
    let words: Result<Vec<String>, _> = words.into_iter().map(OsString::into_string).collect();
    let mut words = words.ok().context("a program's name is no text")?;
    words.extend(more);
    let run = bench.folder().to_path_buf();
    let machine = bench.machine();
    let wire = Wire::lay(&run, &machine.tools, &context.root, words, by_dns)?;
    machine.wires = 1;
    machine.media = vec![target];
    // Boot file and root image are in RAM.
    machine.memory = 4096;
    bench.run(installs)?;
    drop(wire);
    bench.machine().wires = 0;
    bench.run(is_installed)
}

/// Nobody touches it, and it ends switched off.
fn installs(vm: &mut Vm) -> anyhow::Result<()> {
    vm.line(INSTALLED, 2 * BOOT)?;
    Ok(vm.ended(BOOT)?)
}

fn is_installed(vm: &mut Vm) -> anyhow::Result<Count> {
    ready(vm)?;
    let status = status(vm)?;
    ensure!(status["boot"]["medium"] == "disk", "booted from elsewhere: {status}");
    ensure!(status["health"]["good"] == true, "the installed host is not fit to stay: {status}");
    let name = vm.ssh_ok("hostname")?;
    ensure!(name.trim() == "unattended", "the answers were not taken: {name}");
    let state = vm.ssh_ok("systemctl is-failed xenolith-unattended.service || true")?;
    ensure!(state.trim() == "inactive", "an installed host tries to install: {state}");
    power_off(vm)?;
    Ok(Count::ONE)
}
