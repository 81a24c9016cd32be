//! Guests of every kind, started by `xl` on the booted host.

use anyhow::{Context as _, ensure};
use xenolith_vm::Vm;

use crate::{
    context::Count,
    host::{ACTION, GUEST},
};

/// Where the seed volume is mounted on the host.
const SEED: &str = "/run/seed";
/// The guests' disk: a copy, because an HVM guest's emulated disk cannot be read-only.
const DISK: &str = "/run/guest-disk.img";

/// `type` in xl's configuration, what the guest's kernel calls itself, and its console.
const KINDS: &[(&str, &str, &str)] = &[("pv", "PV", "hvc0"), ("pvh", "PVH", "hvc0"), ("hvm", "HVM", "ttyS0")];

/// Starts one guest after the other.
///
/// # Errors
/// When one does not get to its userland, or does not end.
pub fn guests(vm: &Vm) -> anyhow::Result<Count> {
    vm.ssh_ok(&format!(
        "mkdir -p {SEED} && mount -o ro /dev/disk/by-label/XENOLITH {SEED} && cp {SEED}/{GUEST}/disk.img {DISK}"
    ))?;
    let mut count = Count::default();
    for (kind, called, console) in KINDS {
        guest(vm, kind, called, console).with_context(|| format!("the {called} guest"))?;
        count += Count::ONE;
    }
    let left = vm.ssh_ok("xl list | tail -n +3")?;
    ensure!(left.trim().is_empty(), "guests are left behind:\n{left}");
    Ok(count)
}

fn guest(vm: &Vm, kind: &str, called: &str, console: &str) -> anyhow::Result<()> {
    let serial = if kind == "hvm" { "serial='pty'\n" } else { "" };
    let config = format!(
        "name='{kind}'\ntype='{kind}'\nkernel='{SEED}/{GUEST}/vmlinuz'\nramdisk='{SEED}/{GUEST}/initrd'\n\
         extra='console={console} loglevel=3 panic=1'\nmemory=256\nvcpus=1\n{serial}\
         disk=['format=raw,vdev=xvda,target={DISK}']\n\
         on_poweroff='destroy'\non_reboot='destroy'\non_crash='destroy'\n"
    );
    let seconds = ACTION.as_secs();
    // A pipe that both sides keep open: the console client ends with the guest, not with its own input.
    let script = format!(
        "cat > /run/{kind}.cfg <<'EOF'\n{config}EOF\nmkfifo /run/{kind}.in; exec 3<>/run/{kind}.in\n\
         timeout {seconds} xl create -c /run/{kind}.cfg <&3 2>&1"
    );
    let output = vm.ssh(&script)?;
    let expected = format!("xenolith-testguest: up type={called} ");
    let line = output.stdout.lines().find(|line| line.contains(&expected));
    let line =
        line.with_context(|| format!("did not get to its userland:\n{}{}", output.stdout, output.stderr))?;
    ensure!(line.contains("disk=ok"), "its disk is not right: {line}");
    ensure!(output.code == Some(0), "xl create ended with {:?}:\n{}", output.code, output.stdout);
    println!("     {}", line.trim());
    Ok(())
}
