//! `xenolith bench install`: what an installation takes, beside a plain copy of the same bytes to the same place.
//!
//! Both read from files that lie in the kernel's cache, as they do over the network, write to a file in a folder of the user's choice, and
//! end when everything lies on the disk below it. As a disk does, that file has its place before anything is measured: a round that does
//! not count writes to all of it that the others write to. The copy is the kernel's own (copy_file_range(2), as cp(1) does it). The
//! installation is the engine's, with all that it does besides copying: clearing, making two file systems, reading everything back past
//! the cache, proving it by the root hash, and writing the table. What it notes meanwhile lies in memory, as it does on a machine that
//! is installed. They take turns, so that what else the machine does falls on both.

use std::{
    collections::BTreeSet,
    io::{self, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Instant,
};

use fs_err as fs;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::Serialize;
use uuid::Uuid;
use xenolith_answers::Answers;
use xenolith_disk::esp::{EspContent, EspFile};
use xenolith_installer::{
    Devices, DiskId, Event, FileDevices, Image, Journal, Place, Plan, Source, StatePlace, execute, plan,
};
use xenolith_layout::{
    Bytes, SectorSize, Seed,
    boot_option::BootOption,
    disk::minimum,
    names::{self, EntryName, TRIES},
};
use xenolith_machine::{Capture, Machine};

use super::{
    built, go_on, on_two_processors, result,
    stats::{median, megabytes, seconds},
    table::Table,
    tell,
};
use crate::{
    cli::{BenchInstallArgs, Global},
    commands::{build as building, say},
    exit::{Class, Classify as _, Failure},
    project::Project,
    steps::image::RootFacts,
};

/// Counts up when readers of the JSON document would have to change.
const FORMAT: u32 = 1;
/// The most that an installation may take, in plain copies.
const TARGET: f64 = 1.2;
/// Where the installer has its notes on a machine is a file system in memory; this is one that every host has.
const MEMORY: &str = "/dev/shm";

#[derive(Debug, Serialize)]
struct Document {
    format: u32,
    processors: usize,
    /// Bytes that both write.
    bytes: u64,
    /// Seconds of each installation.
    installation: Vec<f64>,
    /// Seconds of each copy.
    copy: Vec<f64>,
    /// The steps of an installation, each with the median of its seconds.
    steps: Vec<StepTime>,
    /// Median of one by the median of the other.
    ratio: f64,
    target: f64,
}

#[derive(Debug, Serialize)]
struct StepTime {
    step: String,
    seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// As a build; [`Class::Host`] when the folder cannot be written to.
pub fn run(global: &Global, args: &BenchInstallArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let processors = on_two_processors()?;
    let first = built(global, &project, args.keys.as_deref(), &args.mirror, &["root", "signed"])?;
    let (root, signed) = (result(&first, "root")?, result(&first, "signed")?);
    let stop = building::interrupt_flag()?;
    let parent = args.folder.clone().unwrap_or_else(|| project.cache.clone());
    let folder = tempfile::Builder::new().prefix("bench-install-").tempdir_in(&parent);
    let folder = folder.class(Class::Host, "cannot make a folder for the disk")?;
    let bench = Bench::new(folder.path(), root, signed, &first.plan.recipe.image.version.to_string())
        .class(Class::Failed, "the installation cannot be prepared")?;
    let (mut installation, mut copy) = (Vec::new(), Vec::new());
    let mut of_steps: Vec<Vec<f64>> = vec![Vec::new(); bench.plan.steps.len()];
    for run in 0..=args.runs {
        go_on(&stop)?;
        let installed = bench.install(run).class(Class::Failed, "the installation failed")?;
        go_on(&stop)?;
        let copied = bench.copy().class(Class::Failed, "the copy failed")?;
        if run == 0 {
            continue;
        }
        tell(&format!("run {run}: installation {}, copy {}", seconds(installed.all), seconds(copied)));
        installation.push(installed.all);
        copy.push(copied);
        for (times, time) in of_steps.iter_mut().zip(installed.steps) {
            times.push(time);
        }
    }
    let (install, plain) = (median(&installation).unwrap_or_default(), median(&copy).unwrap_or_default());
    let ratio = install / plain;
    let times = of_steps.iter().map(|times| median(times).unwrap_or_default());
    let steps: Vec<StepTime> = bench
        .plan
        .steps_in_words()
        .into_iter()
        .zip(times)
        .map(|(step, seconds)| StepTime { step, seconds })
        .collect();
    if global.json {
        let bytes = bench.bytes;
        let document =
            Document { format: FORMAT, processors, bytes, installation, copy, steps, ratio, target: TARGET };
        say(&serde_json::to_string_pretty(&document).class(Class::Bug, "cannot print the table")?);
        return Ok(());
    }
    let mut table = Table::new(["what", "bytes", "time", "×"]);
    table.row(["installation".into(), megabytes(bench.bytes), seconds(install), format!("{ratio:.2}")]);
    for StepTime { step, seconds: time } in &steps {
        table.row([format!("  {step}"), String::new(), seconds(*time), format!("{:.2}", time / plain)]);
    }
    table.row(["plain copy and flush".into(), megabytes(bench.bytes), seconds(plain), "1.00".into()]);
    let verdict = if ratio <= TARGET { "met" } else { "missed" };
    say(table.to_string().trim_end());
    say(&format!("target: at most {TARGET} plain copies: {verdict}"));
    Ok(())
}

/// Seconds of an installation.
struct Times {
    all: f64,
    /// Of each step.
    steps: Vec<f64>,
}

/// What is installed, and where.
struct Bench {
    folder: PathBuf,
    notes: tempfile::TempDir,
    plan: Plan,
    source: Source,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Bench {
    fn new(folder: &Path, root: &Path, signed: &Path, version: &str) -> anyhow::Result<Self> {
        let facts = RootFacts::read(root).map_err(|error| anyhow::anyhow!(error))?;
        let image = Image {
            version: version.parse()?,
            root_hash: facts.root_hash,
            root: Bytes::new(facts.size),
            verity: Bytes::new(facts.verity_size),
        };
        let (loader, boot_file) = (signed.join("boot/systemd-bootx64.efi"), signed.join("boot/xenolith.efi"));
        let entry = EntryName::offered(image.version.clone(), TRIES);
        let file = |path: String, from: &Path| EspFile { path, content: EspContent::File(from.to_owned()) };
        let esp = vec![
            file(names::ESP_FALLBACK_LOADER.into(), &loader),
            file(format!("{}/{entry}", names::ESP_ENTRIES), &boot_file),
        ];
        let files = vec![root.join("root.erofs"), root.join("root.verity"), loader, boot_file];
        let mut bytes = 0;
        for file in &files {
            bytes += fs::metadata(file)?.len();
        }
        let notes = tempfile::Builder::new().prefix("bench-install-").tempdir_in(MEMORY)?;
        let state = notes.path().join("state");
        fs::create_dir(&state)?;
        let source = Source {
            root: files[0].clone(),
            verity: files[1].clone(),
            esp,
            state,
            recovery_key: None,
            scratch: notes.path().to_owned(),
        };
        Ok(Self { folder: folder.to_owned(), notes, plan: planned(&image)?, source, files, bytes })
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Opens the disk, of which no cache holds anything.
    fn prepare(&self) -> io::Result<std::fs::File> {
        let mut options = fs::OpenOptions::new();
        let disk = options.read(true).write(true).create(true).truncate(false).open(self.disk())?;
        disk.set_len(size().get())?;
        disk.sync_all()?;
        posix_fadvise(&disk, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(disk.into_parts().0)
    }

    fn install(&self, run: u16) -> anyhow::Result<Times> {
        drop(self.prepare()?);
        let hash = self.plan.hash();
        let mut journal = Journal::open(&self.notes.path().join(format!("journal-{run}")), &hash)?;
        let devices = InFile(self.disk());
        let mut steps = Vec::new();
        let began = Instant::now();
        let mut step_began = began;
        let mut tell = |event: Event| match event {
            Event::Began { .. } => step_began = Instant::now(),
            Event::Done { .. } => steps.push(step_began.elapsed().as_secs_f64()),
            _ => {}
        };
        execute(&self.plan, &hash, &self.source, &devices, &mut journal, &mut tell)?;
        Ok(Times { all: began.elapsed().as_secs_f64(), steps })
    }

    /// Seconds of a copy with a flush.
    fn copy(&self) -> io::Result<f64> {
        let mut disk = self.prepare()?;
        let began = Instant::now();
        disk.seek(SeekFrom::Start(1 << 20))?;
        for file in &self.files {
            // Of the standard library's own files: only those does it leave to the kernel.
            io::copy(&mut fs::File::open(file)?.into_parts().0, &mut disk)?;
        }
        disk.sync_all()?;
        Ok(began.elapsed().as_secs_f64())
    }
}

fn size() -> Bytes {
    minimum(SectorSize::B512, false) + Bytes::gib(2)
}

/// One empty disk.
fn planned(image: &Image) -> anyhow::Result<Plan> {
    let capture = serde_json::json!({ "format": 1, "efi": true, "lsblk": { "blockdevices": [
        { "name": "sda", "kname": "sda", "type": "disk", "size": size().get(), "log-sec": 512, "tran": "sata" },
    ] } });
    let machine = Machine::of(&Capture::parse(capture.to_string().as_bytes())?);
    let answers = "version = 1\n[target]\ndisks = [{ path = \"sda\" }]\n[network]\n[access]\n\
        root_password_hash = \"$6$nobody$nobody\"\n";
    Ok(plan(&machine, &Answers::parse(answers.as_bytes())?, image, Seed::new([1; 32]))?)
}

/// The plan's one disk, which is a file; the firmware of this machine is left alone.
struct InFile(PathBuf);

impl InFile {
    fn id(&self, disk: &DiskId) -> DiskId {
        DiskId { path: self.0.to_string_lossy().into_owned(), ..disk.clone() }
    }
}

impl Devices for InFile {
    type Disk = fs::File;

    fn open(&self, disk: &DiskId) -> io::Result<fs::File> {
        FileDevices.open(&self.id(disk))
    }

    fn make_state(&self, state: &StatePlace<'_>, folder: &Path) -> io::Result<()> {
        let ids: Vec<DiskId> = state.places.iter().map(|place| self.id(place.disk)).collect();
        let places: Vec<Place<'_>> =
            state.places.iter().zip(&ids).map(|(place, disk)| Place { disk, ..*place }).collect();
        FileDevices.make_state(&StatePlace { places: &places, ..*state }, folder)
    }

    fn register(&self, _: &[BootOption], _: &BTreeSet<Uuid>) -> io::Result<()> {
        Ok(())
    }
}
