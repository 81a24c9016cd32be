//! Secure Boot: from the firmware's keys to Xen's options.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use anyhow::ensure;
use fs_err as fs;
use xenolith_assemble::sparse;
use xenolith_layout::names;
use xenolith_vm::{Event, Medium};

use crate::{
    context::{Context, Count},
    host::{BOOT, Bench, ready, status},
    image_file::{EspRoot, change_esp},
};

/// What is tried to be slipped in.
const INJECTED: &str = "dom0_mem=300M injected=1";

/// The image as it is.
pub fn signed(context: &Context) -> anyhow::Result<Count> {
    let image = context.artefacts()?.file("disk", "disk.img");
    let mut bench = Bench::new(context, "secure-boot", Medium::Disk { path: image, throw_away: true })?;
    bench.secure_boot()?;
    bench.run(|vm| {
        ready(vm)?;
        let status = status(vm)?;
        ensure!(status["firmware"]["secure_boot"] == "on", "dom0 does not see Secure Boot: {status}");
        Ok(Count::ONE)
    })
}

/// One byte of the boot file changed.
pub fn tampered(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let image = folder.path().join("disk.img");
    sparse::copy(&context.artefacts()?.file("disk", "disk.img"), &image)?;
    change_esp(&image, |root| {
        let entry = boot_file(root)?;
        let mut file = root.open_file(&entry)?;
        // In the middle: kernel or initrd, whose bytes no loader looks at.
        let at = file.seek(SeekFrom::End(0))? / 2;
        let mut byte = [0];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&[byte[0] ^ 1])?;
        Ok(())
    })?;
    let mut bench =
        Bench::new(context, "secure-boot-tamper", Medium::Disk { path: image, throw_away: true })?;
    bench.secure_boot()?;
    bench.run(|vm| {
        let refused = vm.until("refusal by the firmware", BOOT, |event| match event {
            Event::Line(line) if line.contains("(XEN)") => Some(false),
            Event::Line(line) if refusal(line) => Some(true),
            _ => None,
        })?;
        ensure!(refused, "a changed boot file was started");
        Ok(Count::ONE)
    })
}

/// How systemd-boot passes on `EFI_SECURITY_VIOLATION` and `EFI_ACCESS_DENIED`.
fn refusal(line: &str) -> bool {
    let line = line.to_lowercase();
    line.contains("access denied") || line.contains("security violation")
}

/// An unsigned loader entry with options of its own.
pub fn injected(context: &Context) -> anyhow::Result<Count> {
    let folder = tempfile::Builder::new().prefix("xci-").tempdir()?;
    let image = folder.path().join("disk.img");
    sparse::copy(&context.artefacts()?.file("disk", "disk.img"), &image)?;
    let boot_file = fs::read(context.artefacts()?.file("signed", "boot/xenolith.efi"))?;
    change_esp(&image, |root| {
        let put = |path: &str, bytes: &[u8]| -> anyhow::Result<()> {
            let mut file = root.create_file(path)?;
            file.truncate()?;
            Ok(file.write_all(bytes)?)
        };
        let entry = format!("title injected\nefi /xen/xenolith.efi\noptions x safe -- {INJECTED}\n");
        root.create_dir("xen")?;
        root.create_dir("loader/entries")?;
        put("xen/xenolith.efi", &boot_file)?;
        put("loader/entries/inject.conf", entry.as_bytes())?;
        put(names::ESP_LOADER_CONF, b"timeout 0\ndefault inject.conf\n")?;
        Ok(())
    })?;
    let mut bench =
        Bench::new(context, "secure-boot-inject", Medium::Disk { path: image, throw_away: true })?;
    bench.secure_boot()?;
    bench.run(|vm| {
        // The hypervisor says so only when the entry that was started had options.
        vm.line("load options ignored", BOOT)?;
        let options = vm.line("(XEN) Command line:", BOOT)?;
        ensure!(!options.contains("injected"), "an unsigned entry changed Xen's options: {options}");
        ensure!(options.contains("dom0_mem=1024M"), "the signed options are not in force: {options}");
        // dom0 was given its own command line: with the root hash, and nothing else can start.
        vm.line("xenolith-init: looking for", BOOT)?;
        Ok(Count::ONE)
    })
}

/// The path of the one boot file.
fn boot_file(root: &EspRoot<'_>) -> anyhow::Result<String> {
    let folder = root.open_dir(names::ESP_ENTRIES)?;
    let names: Vec<String> = folder
        .iter()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .filter(|name| name.ends_with(".efi"))
        .collect();
    ensure!(names.len() == 1, "there should be one boot file, and there are {names:?}");
    Ok(format!("{}/{}", self::names::ESP_ENTRIES, names[0]))
}
