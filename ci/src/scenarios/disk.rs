//! The disk image: what runs is what was built, and it does what a host is for.

use anyhow::{Context as _, ensure};
use fs_err as fs;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use xenolith_assemble::sparse;
use xenolith_machine::Refusal;
use xenolith_vm::{Medium, Vm};

use super::{guests::guests, state};
use crate::{
    context::{Artefacts, Context, Count},
    host::{Bench, disks_not_offered, power_off, ready, status},
};

/// Files of the Xen tools that must reach dom0 as they were compiled.
const COMPILED: &[&str] =
    &["usr/sbin/xl", "usr/sbin/xenstored", "usr/lib/x86_64-linux-gnu/libxenlight.so.4.20.0"];

/// Boots the disk image: compares the host with what was built, runs guests on it, and boots it again.
///
/// One machine for all of it, because a boot is what costs time.
pub fn disk(context: &Context) -> anyhow::Result<Count> {
    let artefacts = context.artefacts()?;
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let image = folder.path().join("disk.img");
    sparse::copy(&artefacts.file("disk", "disk.img"), &image)?;
    let mut bench = Bench::new(context, "disk", Medium::Disk { path: image, throw_away: false })?;
    // With two, QEMU's emulation of nested paging now and then loses a page of a PVH or HVM guest.
    bench.machine().cpus = 1;
    let mut count = Count::default();
    let before = bench.run(|vm| {
        ready(vm)?;
        says_what_was_built(vm, artefacts)?;
        runs_what_was_compiled(vm, artefacts)?;
        lets_nobody_else_in(vm)?;
        let disks = disks_not_offered(vm)?;
        let own = disks.get("vda").is_some_and(|why| why.contains(&Refusal::RunningFrom));
        ensure!(own, "an installation would take the disk that the host runs from: {disks:?}");
        count += Count::ONE;
        count += guests(vm)?;
        let before = state::leave_a_mark(vm)?;
        power_off(vm)?;
        Ok(before)
    })?;
    bench.run(|vm| {
        ready(vm)?;
        state::found_again(vm, &before)?;
        power_off(vm)?;
        count += Count::ONE;
        Ok(count)
    })
}

fn says_what_was_built(vm: &Vm, artefacts: &Artefacts) -> anyhow::Result<()> {
    let facts: Value = serde_json::from_slice(&fs::read(artefacts.file("root", "root.json"))?)?;
    let status = status(vm)?;
    let root = &status["root"];
    ensure!(root["hash_as_booted"] == facts["root_hash"], "another root hash was booted: {status}");
    ensure!(root["hash_as_verified"] == facts["root_hash"], "another root hash is verified: {status}");
    ensure!(root["verity"] == "good", "the root is not verified: {status}");
    ensure!(status["boot"]["slot"] == "A", "slot A was not booted: {status}");
    ensure!(status["image"]["build_id"] == facts["build_id"], "another build runs: {status}");
    ensure!(status["firmware"]["secure_boot"] == "off", "Secure Boot is not off: {status}");
    ensure!(status["failed_units"] == Value::Array(Vec::new()), "units failed: {status}");
    Ok(())
}

fn runs_what_was_compiled(vm: &Vm, artefacts: &Artefacts) -> anyhow::Result<()> {
    let info = vm.ssh_ok("xl info")?;
    let shown = info.lines().find_map(|line| line.strip_prefix("build_id")?.split_once(':'));
    let shown =
        shown.map(|(_, id)| id.trim()).with_context(|| format!("xl info shows no build id:\n{info}"))?;
    let compiled = build_id(&fs::read(artefacts.file("xen-hypervisor", "hypervisor/xen.efi"))?)?;
    ensure!(shown == compiled, "Xen {shown} runs, {compiled} was compiled");
    for name in COMPILED {
        let sum = vm.ssh_ok(&format!("sha256sum /{name}"))?;
        let expected =
            hex::encode(Sha256::digest(fs::read(artefacts.file("xen-tools", &format!("tools/{name}")))?));
        ensure!(sum.starts_with(&expected), "/{name} is not the one that was compiled");
    }
    Ok(())
}

/// The build id of a PE: 16 bytes behind the signature of its CodeView record (PE format, "Debug Directory").
fn build_id(pe: &[u8]) -> anyhow::Result<String> {
    let record = pe.windows(4).position(|window| window == b"RSDS").context("xen.efi has no build id")?;
    Ok(hex::encode(pe.get(record + 4..record + 20).context("xen.efi ends in its build id")?))
}

fn lets_nobody_else_in(vm: &Vm) -> anyhow::Result<()> {
    let rules = vm.ssh_ok("nft list chain inet xenolith input")?;
    ensure!(rules.contains("policy drop"), "the input policy is not to drop:\n{rules}");
    let settings = vm.ssh_ok("sshd -T")?;
    ensure!(
        settings.lines().any(|line| line == "passwordauthentication no"),
        "SSH takes passwords:\n{settings}"
    );
    let shadow = vm.ssh_ok("getent shadow root")?;
    ensure!(shadow.starts_with("root:*:") || shadow.starts_with("root:!"), "root has a password: {shadow}");
    let refused = vm.ssh("touch /usr/xenolith-was-here")?;
    ensure!(refused.code != Some(0), "the root can be written to");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_what_follows_rsds() {
        let mut pe = b"MZ....RSDS".to_vec();
        pe.extend(0..=255_u8);
        assert_eq!(build_id(&pe).unwrap(), "000102030405060708090a0b0c0d0e0f");
        assert!(build_id(b"MZ").is_err());
        assert!(build_id(b"RSDS123").is_err());
    }
}
