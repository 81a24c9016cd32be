//! What must last, lasts.

use anyhow::ensure;
use xenolith_vm::Vm;

use crate::host::status;

/// What makes a host this host, and what a user left behind.
const IDENTITY: &str =
    "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/hostname.d/mark /var/lib/mark; hostname";

/// Writes something on the first boot and gives what the second one must find.
///
/// # Errors
/// When this is not the first boot, or nothing can be written.
pub fn leave_a_mark(vm: &Vm) -> anyhow::Result<String> {
    let status = status(vm)?;
    ensure!(status["boot"]["first_boot"] == true, "the first boot does not know that it is: {status}");
    vm.ssh_ok("mkdir /etc/hostname.d && echo kept > /etc/hostname.d/mark && echo kept > /var/lib/mark")?;
    Ok(vm.ssh_ok(IDENTITY)?)
}

/// Looks for it on the second boot.
///
/// # Errors
/// When the host is another one now, or its boot entry was not made good.
pub fn found_again(vm: &Vm, before: &str) -> anyhow::Result<()> {
    let status = status(vm)?;
    ensure!(status["boot"]["first_boot"] == false, "the second boot takes itself for the first: {status}");
    let entry = status["boot"]["entry"].as_str().unwrap_or_default();
    ensure!(!entry.is_empty() && !entry.contains('+'), "the boot entry {entry:?} was not blessed");
    let after = vm.ssh_ok(IDENTITY)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    Ok(())
}
