//! `xenolith run`: boots a result in QEMU.

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_assemble::seed;
use xenolith_store::{StepName, Store};
use xenolith_trust::KeySet;
use xenolith_vm::{Display, Firmware, Machine, Medium, Serial, choose, enroll};

use super::build;
use crate::{
    cli::{BuildArgs, Global, MirrorArgs, RunArgs, Target},
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
};

/// Runs the command.
///
/// # Errors
/// [`Class::Usage`] when nothing has been built yet; [`Class::Host`] when QEMU does not start.
pub fn run(global: &Global, args: &RunArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let out = project.output(args.output.as_deref());
    let medium = medium(&out, args)?;
    let tools = vm_tree(global, &project)?;
    let folder =
        tempfile::Builder::new().prefix("xrun-").tempdir().class(Class::Host, "cannot make a folder")?;
    let mut media = vec![medium.clone()];
    if let Some(key) = &args.ssh_key {
        media.push(Medium::Usb(seed_volume(folder.path(), key)?));
    }
    let mut machine = Machine::new(&tools, folder.path(), media);
    machine.memory = args.memory;
    machine.cpus = args.cpus;
    machine.ssh_port = args.ssh_port;
    machine.serial = Serial::Terminal;
    if let Some(display) = args.vga {
        machine.display = Display::Vnc(display);
        eprintln!("the screen is at VNC 127.0.0.1:{display}");
    }
    if args.secure_boot {
        machine.firmware = Firmware::SecureBoot;
        let keys = project::keys_folder(None)?;
        let set = KeySet::load(&keys).class(Class::Trust, "there are no keys to enrol")?;
        let certificate = |name: &str| keys.join(format!("{name}.crt"));
        let owner = set.owner().to_string();
        enroll(&tools, folder.path(), &owner, &certificate("pk"), &certificate("kek"), &certificate("db"))
            .class(Class::Host, "cannot put the keys into the firmware's variables")?;
    }
    if args.tpm {
        let memory = folder.path().join("tpm");
        fs::create_dir(&memory).class(Class::Host, "cannot make a folder for the TPM")?;
        machine.tpm = Some(memory);
    }
    if args.dry_run {
        println!("{}", machine.command_line().class(Class::Host, "cannot prepare QEMU")?);
        return Ok(());
    }
    let (accelerator, words) = choose(&tools, &medium, &project.cache.join("accelerator"));
    machine.accelerator = accelerator;
    eprintln!("{words}");
    eprintln!("Ctrl-A X ends the machine");
    machine.run_in_terminal().class(Class::Host, "the machine did not run")
}

/// The one ISO or disk image of an output folder.
fn medium(out: &Path, args: &RunArgs) -> Result<Medium, Failure> {
    let ending = if args.disk { ".disk.img" } else { ".iso" };
    let file = newest(out, ending).ok_or_else(|| {
        Failure::new(Class::Usage, format!("{} holds no *{ending}", out.display()))
            .hint("run `xenolith build` first")
    })?;
    Ok(if args.disk {
        Medium::Disk { path: file, throw_away: true }
    } else if args.usb {
        Medium::Usb(file)
    } else {
        Medium::Cd(file)
    })
}

/// The file of a folder that was changed last and has this ending.
pub fn newest(folder: &Path, ending: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let files =
        entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().ends_with(ending));
    files.max_by_key(|entry| entry.metadata().and_then(|file| file.modified()).ok()).map(|entry| entry.path())
}

/// The tree with QEMU and OVMF, made if it is not there.
///
/// # Errors
/// As a build.
pub fn vm_tree(global: &Global, project: &Project) -> Result<PathBuf, Failure> {
    let args = BuildArgs {
        target: Target::All,
        variant: "default".into(),
        offline: false,
        jobs: None,
        explain: false,
        dry_run: false,
        output: None,
        keys: None,
        mirror: MirrorArgs { mirror: None, security_mirror: None },
    };
    let name = StepName::of("vm-tree");
    let built = build::build(global, project, &args, std::slice::from_ref(&name), &[])?;
    let output =
        built.outputs.get(&name).ok_or_else(|| Failure::new(Class::Bug, "the VM tree was not made"))?;
    // A store that is open keeps what it gave; from here on only `gc` could take it away.
    let _ = Store::open(&project.cache);
    Ok(output.path.clone())
}

/// A volume that lets this key in as root at the first boot.
fn seed_volume(folder: &Path, key: &Path) -> Result<PathBuf, Failure> {
    let line = fs::read_to_string(key).class(Class::Input, "cannot read the SSH key")?;
    let image = folder.join("seed.img");
    seed::volume(&image, &[line.trim().to_owned()], Vec::new())
        .class(Class::Host, "cannot write the seed volume")?;
    Ok(image)
}
