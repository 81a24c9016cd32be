//! `xenolith flash`: writes the ISO to a USB stick.
//!
//! Looking ([`device`]), judging ([`plan`]) and writing ([`write`]) are apart: the judgement that a user sees in the list
//! is the one that the command obeys. A device is opened with `O_EXCL`, so that the kernel refuses it if anything has
//! claimed it that neither mounts nor holders show (ZFS, a machine that runs from it), and is looked at again when it is open:
//! between the question and the answer a stick may have been replaced by another one.

mod device;
mod plan;
#[cfg(test)]
mod tests;
mod write;

use std::{
    io::{self, BufRead as _, IsTerminal as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde::Serialize;
use xenolith_layout::Bytes;

use self::{
    device::{Disk, Machine, Roots, Use},
    plan::{Plan, Refusal},
    write::{Progress, WriteError},
};
use super::{
    build,
    inspect::{gpt, iso, window::Window},
    run::newest,
};
use crate::{
    cli::{FlashArgs, Global},
    exit::{Class, Classify as _, Failure},
    project::Project,
};

/// Counts up when readers of the JSON documents would have to change.
const FORMAT: u32 = 1;

/// Runs the command.
///
/// # Errors
/// [`Class::Device`] if the device must not be or could not be written, [`Class::Usage`] if nobody can be asked,
/// [`Class::Input`] if the image is none.
pub fn run(global: &Global, args: &FlashArgs) -> Result<(), Failure> {
    let machine =
        Machine::read(&Roots::default()).class(Class::Host, "cannot list the disks of this machine")?;
    let Some(path) = &args.device else {
        // A list needs no image; with one it also says which sticks are too small.
        let image = image(global, args).ok().map(|(_, size)| size);
        return list(global, &machine, image, args.all_devices);
    };
    let (image, size) = image(global, args)?;
    let target = Target::find(&machine, path, size, args.all_devices)?;
    let plan = plan::plan(size, target.size);
    target.describe(&image, &plan);
    if args.dry_run {
        return print_json(
            global,
            &Done { format: FORMAT, device: &target.path, image: &image, plan: &plan, sha256: None },
        );
    }
    if !args.yes {
        confirm(&target)?;
    }
    let sum = flash(&target, &image, &plan, global.json)?;
    let sha256 = Some(hex::encode(sum));
    eprintln!("{} is written and verified; it can be taken out", target.path.display());
    print_json(global, &Done { format: FORMAT, device: &target.path, image: &image, plan: &plan, sha256 })
}

/// What `flash DEVICE --json` prints in the end.
#[derive(Serialize)]
struct Done<'a> {
    format: u32,
    device: &'a Path,
    image: &'a Path,
    plan: &'a Plan,
    /// Of the image, as it was read back; nothing after a dry run.
    sha256: Option<String>,
}

fn print_json(global: &Global, document: &impl Serialize) -> Result<(), Failure> {
    if global.json {
        super::say(&serde_json::to_string_pretty(document).class(Class::Bug, "cannot print the result")?);
    }
    Ok(())
}

/// The image to write and its length.
fn image(global: &Global, args: &FlashArgs) -> Result<(PathBuf, u64), Failure> {
    let path = match &args.image {
        Some(path) => path.clone(),
        None => {
            let out = Project::find(global)?.output(None);
            newest(&out, ".iso").ok_or_else(|| {
                Failure::new(Class::Usage, format!("{} holds no *.iso", out.display()))
                    .hint("run `xenolith build` first, or name a file with --image")
            })?
        }
    };
    let cannot = || format!("cannot use the image {}", path.display());
    let window = fs::File::open(&path).and_then(Window::of_file).class(Class::Input, cannot())?;
    if let Err(error) = gpt::read(&window) {
        let hint = if iso::is_iso(&window) {
            "this ISO boots as a CD only"
        } else {
            "flash writes ISOs and disk images that a build has made"
        };
        return Err(Failure::new(Class::Input, cannot()).because(error).hint(hint));
    }
    let size = window.len();
    Ok((path, size))
}

/// Where the image goes.
struct Target {
    path: PathBuf,
    size: u64,
    /// Nothing for a regular file.
    disk: Option<Disk>,
}

fn refused(path: &Path, refusal: &Refusal) -> Failure {
    let failure = Failure::new(Class::Device, format!("{} was not touched: {refusal}", path.display()));
    refusal.hint().into_iter().fold(failure, Failure::hint)
}

impl Target {
    fn find(machine: &Machine, path: &Path, image: u64, all: bool) -> Result<Self, Failure> {
        let cannot = || format!("cannot use {}", path.display());
        let path = fs::canonicalize(path).class(Class::Device, cannot())?;
        let metadata = fs::metadata(&path).class(Class::Device, cannot())?;
        if metadata.is_file() && all {
            if metadata.len() < image {
                let refusal = Refusal::TooSmall { disk: metadata.len(), image };
                return Err(refused(&path, &refusal));
            }
            return Ok(Self { path, size: metadata.len(), disk: None });
        }
        if !metadata.file_type().is_block_device() {
            return Err(refused(&path, &Refusal::NotABlockDevice));
        }
        let disk =
            plan::find(machine, &number(metadata.rdev())).map_err(|refusal| refused(&path, &refusal))?;
        plan::judge(disk, Some(image), all).map_err(|refusal| refused(&path, &refusal))?;
        Ok(Self { path, size: disk.size, disk: Some(disk.clone()) })
    }

    /// What will be erased, in words that name it.
    fn describe(&self, image: &Path, plan: &Plan) {
        eprintln!("{} ({}) goes to", image.display(), Bytes::new(plan.image));
        eprintln!("  device   {}", self.path.display());
        let Some(disk) = &self.disk else {
            eprintln!("  size     {} (a regular file)", Bytes::new(self.size));
            return;
        };
        eprintln!("  model    {}", or_dash(&disk.model));
        eprintln!("  serial   {}", disk.serial.as_deref().unwrap_or("-"));
        eprintln!("  size     {} ({} bytes)", Bytes::new(disk.size), disk.size);
        eprintln!("  bus      {}{}", disk.bus.name(), if disk.removable { ", removable" } else { "" });
        let names: Vec<&str> = disk.partitions.iter().map(|part| part.name.as_str()).collect();
        let holds = if names.is_empty() { "no partitions".to_owned() } else { names.join(", ") };
        eprintln!("  erases   {holds}");
    }

    /// Opens the device and makes sure that it still is the one that was judged.
    fn open(&self) -> Result<fs::File, Failure> {
        let flags = if self.disk.is_some() { nix::libc::O_EXCL } else { 0 };
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        let mut file = options.open(&self.path).map_err(|error| {
            let busy = error.kind() == io::ErrorKind::ResourceBusy;
            let failure = Failure::new(
                Class::Device,
                format!("{} was not touched: it cannot be opened", self.path.display()),
            );
            let failure = failure.because(error);
            match busy {
                true => failure
                    .hint("something uses it that shows in no mount: a virtual machine, ZFS, an installer"),
                false => failure,
            }
        })?;
        let mut look =
            || -> io::Result<(u64, u64)> { Ok((file.metadata()?.rdev(), file.seek(SeekFrom::End(0))?)) };
        let (rdev, size) = look().class(Class::Device, format!("cannot use {}", self.path.display()))?;
        let same_number = self.disk.as_ref().is_none_or(|disk| disk.number == number(rdev));
        if !same_number || size != self.size {
            let what = format!(
                "{} was not touched: it is no longer the device that was asked about",
                self.path.display()
            );
            return Err(Failure::new(Class::Device, what));
        }
        Ok(file)
    }
}

fn number(rdev: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Asks for the device's name: a reflex types `y`, nobody types `sdb` by reflex.
fn confirm(target: &Target) -> Result<(), Failure> {
    let name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Class::Usage,
            format!("{} was not touched: there is no terminal to ask at", target.path.display()),
        )
        .hint("say --yes if it is the right device"));
    }
    eprint!("Everything on it will be lost. Type {name} to go on: ");
    let _ = io::stderr().flush();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).class(Class::Usage, "cannot read the answer")?;
    if answers(&line, &name) {
        return Ok(());
    }
    Err(Failure::new(
        Class::Usage,
        format!("{} was not touched: the answer was not {name}", target.path.display()),
    ))
}

fn answers(line: &str, name: &str) -> bool {
    let line = line.trim();
    line == name || line.strip_prefix("/dev/") == Some(name)
}

fn flash(target: &Target, image: &Path, plan: &Plan, json: bool) -> Result<[u8; 32], Failure> {
    let mut source = fs::File::open(image).class(Class::Input, format!("cannot read {}", image.display()))?;
    let mut device = target.open()?;
    let cancel = build::interrupt_flag()?;
    let mut shown = Shown::new(plan, json);
    let stop = || cancel.load(Ordering::Relaxed);
    let written = write::write(plan, &mut source, &mut device, &stop, &mut |progress| shown.show(progress));
    shown.finish();
    let unbootable = format!("{} does not boot now, and what was on it is gone", target.path.display());
    written.map_err(|error| match error {
        WriteError::Interrupted => {
            Failure::new(Class::Interrupted, format!("interrupted: {unbootable}")).hint("flash it again")
        }
        WriteError::Image(_) => Failure::new(Class::Input, unbootable).because(error),
        WriteError::Mismatch { .. } => Failure::new(Class::Device, unbootable)
            .because(error)
            .hint("the stick is worn out, or has less memory than it says; use another one"),
        WriteError::Write { .. } | WriteError::Read { .. } => {
            Failure::new(Class::Device, unbootable).because(error)
        }
    })
}

/// Bars on a terminal, a line per tenth elsewhere.
struct Shown {
    bar: Option<indicatif::ProgressBar>,
    json: bool,
    total: u64,
    verifying: bool,
    tenth: u64,
    began: Instant,
}

impl Shown {
    fn new(plan: &Plan, json: bool) -> Self {
        let bar = (!json && io::stderr().is_terminal()).then(|| {
            let template =
                "{msg:9} {bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
            let style = indicatif::ProgressStyle::with_template(template).expect("our templates are valid");
            let bar = indicatif::ProgressBar::new(plan.image).with_style(style.progress_chars("━╸ "));
            bar.with_message("writing")
        });
        Self { bar, json, total: plan.image, verifying: false, tenth: 0, began: Instant::now() }
    }

    fn show(&mut self, progress: Progress) {
        let (done, verifying) = match progress {
            Progress::Written(done) => (done, false),
            Progress::Verified(done) => (done, true),
        };
        if verifying && !self.verifying {
            (self.verifying, self.tenth, self.began) = (true, 0, Instant::now());
            if let Some(bar) = &self.bar {
                bar.reset();
                bar.set_message("verifying");
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let tenth = done.saturating_mul(10) / self.total.max(1);
        if self.json || tenth <= self.tenth {
            return;
        }
        self.tenth = tenth;
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = done.saturating_mul(1000) / millis;
        let left = (self.total - done) / rate.max(1);
        let what = if verifying { "verified" } else { "written" };
        let (done, total, rate) = (Bytes::new(done), Bytes::new(self.total), Bytes::new(rate));
        eprintln!("{what} {done} of {total}, {rate}/s, {left} s left");
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A disk in the list.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    disk: &'a Disk,
    /// Whether it can be written.
    offered: bool,
    /// Why not, for programs.
    refusal: Option<Refusal>,
    /// Why not, for people.
    because: Option<String>,
}

fn list(global: &Global, machine: &Machine, image: Option<u64>, all: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct List<'a> {
        format: u32,
        disks: Vec<Listed<'a>>,
    }
    let judged = machine.disks.iter().map(|disk| {
        let refusal = plan::judge(disk, image, all).err();
        Listed {
            disk,
            offered: refusal.is_none(),
            because: refusal.as_ref().map(ToString::to_string),
            refusal,
        }
    });
    // Loop devices that nobody has set up are not worth a line.
    let disks: Vec<Listed<'_>> =
        judged.filter(|one| one.disk.bus != device::Bus::Loop || one.disk.size > 0).collect();
    if global.json {
        return print_json(global, &List { format: FORMAT, disks });
    }
    let (offered, others): (Vec<_>, Vec<_>) = disks.iter().partition(|one| one.offered);
    if offered.is_empty() {
        super::say("no disk is offered; plug in a USB stick");
    } else {
        super::say("can be written with `xenolith flash DEVICE`:");
        offered.iter().for_each(|one| super::say(&line(one)));
    }
    if !others.is_empty() {
        super::say("not offered:");
        others.iter().for_each(|one| super::say(&line(one)));
    }
    Ok(())
}

fn line(one: &Listed<'_>) -> String {
    let disk = one.disk;
    let size = Bytes::new(disk.size).to_string();
    let mut text = format!(
        "  /dev/{:<8} {size:>10}  {:<8} {:<28} {}",
        disk.name,
        disk.bus.name(),
        or_dash(&disk.model),
        disk.serial.as_deref().unwrap_or("-")
    );
    let mounts = disk.partitions.iter().flat_map(|part| part.uses.iter().map(move |of| (&part.name, of)));
    for (name, of) in disk.uses.iter().map(|of| (&disk.name, of)).chain(mounts) {
        let words = match of {
            Use::Mounted { at } => format!("mounted at {at}"),
            Use::Swap => "swap".into(),
            Use::Held { by } => format!("used by {by}"),
        };
        text.push_str(&format!("\n      {name}: {words}"));
    }
    if let Some(because) = &one.because {
        text.push_str(&format!("\n      {because}"));
    }
    text
}
