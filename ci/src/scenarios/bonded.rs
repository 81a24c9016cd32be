//! A host whose management network is a VLAN on two links that a switch takes for one.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use xenolith_assemble::seed;
use xenolith_vm::{Medium, Vm};

use crate::{
    context::{Context, Count},
    host::{Bench, power_off, ready, status},
    wire::{self, MACHINE, VLAN, Wire},
};

/// What the kernel says of the bond (Linux, Documentation/networking/bonding.rst).
const BOND: &str = "/proc/net/bonding/bond0";

/// The disk image with a seed that asks for a bond by LACP with a VLAN: the switch agrees, a DHCP server answers, we get in that way,
/// and still do when either cable is pulled.
pub fn bonded(context: &Context) -> anyhow::Result<Count> {
    let image = context.artefacts()?.file("disk", "disk.img");
    let mut bench = Bench::new(context, "bonded", Medium::Disk { path: image, throw_away: true })?;
    let key = fs_err::read_to_string(bench.folder().join("id.pub"))?;
    let seed = format!(
        "version = 1\n\n[network]\nbond = {{ members = [\"52:54:00:12:34:56\", \"52:54:00:12:34:57\"], mode = \"lacp\" }}\n\
         vlan = {VLAN}\nipv4 = \"dhcp\"\nipv6 = \"none\"\n\n[access]\nssh_keys = [\"{}\"]\n",
        key.trim()
    );
    let volume = bench.folder().join("seed.img");
    fs_err::remove_file(&volume)?;
    seed::volume_of(&volume, seed, Vec::new())?;
    let run = bench.folder().to_path_buf();
    let machine = bench.machine();
    let port = machine.ssh_port.context("a bench has a port")?;
    let _wire = Wire::aggregate(&run, &machine.tools, port)?;
    machine.wires = wire::LINKS;
    bench.run(|vm| {
        ready(vm)?;
        links_up(vm, wire::LINKS).context("the switch and the host do not agree")?;
        let bond = vm.ssh_ok(&format!("cat {BOND}"))?;
        let says = |text: &str| bond.to_lowercase().contains(&text.to_lowercase());
        ensure!(says("IEEE 802.3ad Dynamic link aggregation"), "the bond is of another mode:\n{bond}");
        let partner = wire::lag::SWITCH.map(|byte| format!("{byte:02x}")).join(":");
        ensure!(says(&format!("Partner Mac Address: {partner}")), "it has another partner:\n{bond}");
        ensure!(says("LACP rate: fast"), "it speaks too seldom:\n{bond}");
        has_the_address(vm)?;
        let status = status(vm)?;
        ensure!(status["health"]["good"] == true, "the host is not fit to stay: {status}");
        for (pulled, name) in ["net0", "net1"].into_iter().enumerate() {
            vm.qmp("set_link", &json!({ "name": name, "up": false }))?;
            links_up(vm, 1).with_context(|| format!("without link {pulled}"))?;
            has_the_address(vm)?;
            vm.qmp("set_link", &json!({ "name": name, "up": true }))?;
            links_up(vm, wire::LINKS).with_context(|| format!("link {pulled} is back"))?;
        }
        power_off(vm)?;
        Ok(Count::ONE)
    })
}

/// Waits, on the host and so over the bond, until so many links carry what it sends.
fn links_up(vm: &Vm, links: usize) -> anyhow::Result<()> {
    let wait = format!(
        "timeout 300 sh -c 'until grep -q \"Number of ports: {links}$\" {BOND}; do sleep 0.5; done' || {{ cat {BOND}; exit 1; }}"
    );
    vm.ssh_ok(&wait)?;
    Ok(())
}

/// The VLAN has the address that the DHCP server gives, and nothing else has one.
fn has_the_address(vm: &Vm) -> anyhow::Result<()> {
    let text = vm.ssh_ok("ip -json -4 address show scope global")?;
    let found: Vec<Value> = serde_json::from_str(&text)?;
    let found: Vec<(&Value, &Value)> =
        found.iter().map(|link| (&link["ifname"], &link["addr_info"][0]["local"])).collect();
    let wanted = (json!(format!("vlan{VLAN}")), json!(MACHINE.to_string()));
    ensure!(found == [(&wanted.0, &wanted.1)], "other addresses: {text}");
    Ok(())
}
