//! `xenolith bench install`: what an installation takes, beside a plain copy of the same bytes to the same place.
//!
//! Both read from files that lie in the kernel's cache, as they do over the network, or, cold, from a medium whose folder the user names;
//! write to a file in a folder of the user's choice, and end when everything lies on the disk below it. As a disk does, that file has its place before anything is measured: a round that does
//! not count writes to all of it that the others write to. The copy is the kernel's own (copy_file_range(2), as cp(1) does it). The
//! installation is the engine's, with all that it does besides copying: clearing, making two file systems, reading everything back past
//! the cache, proving it by the root hash, and writing the table. What it notes meanwhile lies in memory, as it does on a machine that
//! is installed. They take turns, so that what else the machine does falls on both.
//!
//! A copy proves nothing. What it takes to read it back past the cache, and no more than that, is measured too: whoever wants to know what
//! lies on the disk waits so long for the disk alone.

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
    Devices, Disk as _, DiskId, Event, FileDevices, Image, Journal, Place, Plan, Source, StatePlace, execute,
    plan,
};
use xenolith_layout::{
    Bytes, SectorSize, Seed,
    boot_option::BootOption,
    disk::minimum,
    names::{self, EntryName, TRIES},
};
use xenolith_machine::{Capture, Machine};
use xenolith_verity::Aligned;

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
/// Where the copy goes: a disk's first MiB is a table's.
const COPY_AT: Bytes = Bytes::mib(1);

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
    /// Seconds of reading back each copy, past the cache.
    read_back: Vec<f64>,
    /// The folder whose files were read cold, if it was not memory.
    medium: Option<PathBuf>,
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
    let sources = Sources::of(root, signed, args.medium.as_deref());
    let sources = sources.class(Class::Host, "cannot put the files of the system onto the medium")?;
    let bench = Bench::new(folder.path(), root, sources, &first.plan.recipe.image.version.to_string())
        .class(Class::Failed, "the installation cannot be prepared")?;
    let (mut installation, mut copy, mut read_back) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_steps: Vec<Vec<f64>> = vec![Vec::new(); bench.plan.steps.len()];
    for run in 0..=args.runs {
        go_on(&stop)?;
        let installed = bench.install(run).class(Class::Failed, "the installation failed")?;
        go_on(&stop)?;
        let copied = bench.copy().class(Class::Failed, "the copy failed")?;
        let back = bench.read_back().class(Class::Failed, "the copy cannot be read back")?;
        if run == 0 {
            continue;
        }
        tell(&format!("run {run}: installation {}, copy {}", seconds(installed.all), seconds(copied)));
        installation.push(installed.all);
        copy.push(copied);
        read_back.push(back);
        for (times, time) in of_steps.iter_mut().zip(installed.steps) {
            times.push(time);
        }
    }
    let (install, plain) = (median(&installation).unwrap_or_default(), median(&copy).unwrap_or_default());
    let proven = plain + median(&read_back).unwrap_or_default();
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
        let medium = args.medium.clone();
        let target = TARGET;
        let document = Document {
            format: FORMAT,
            processors,
            bytes,
            installation,
            copy,
            read_back,
            medium,
            steps,
            ratio,
            target,
        };
        say(&serde_json::to_string_pretty(&document).class(Class::Bug, "cannot print the table")?);
        return Ok(());
    }
    let mut table = Table::new(["what", "bytes", "time", "×"]);
    table.row(["installation".into(), megabytes(bench.bytes), seconds(install), format!("{ratio:.2}")]);
    for StepTime { step, seconds: time } in &steps {
        table.row([format!("  {step}"), String::new(), seconds(*time), format!("{:.2}", time / plain)]);
    }
    table.row(["plain copy and flush".into(), megabytes(bench.bytes), seconds(plain), "1.00".into()]);
    let factor = format!("{:.2}", proven / plain);
    table.row(["that copy, then read back".into(), megabytes(bench.bytes), seconds(proven), factor]);
    let verdict = if ratio <= TARGET { "met" } else { "missed" };
    say(table.to_string().trim_end());
    let from = args.medium.as_ref().map_or("memory".into(), |folder| folder.display().to_string());
    say(&format!("target: at most {TARGET} plain copies: {verdict} (both read from {from})"));
    Ok(())
}

/// Seconds of an installation.
struct Times {
    all: f64,
    /// Of each step.
    steps: Vec<f64>,
}

/// The files of the system.
struct Sources {
    root: PathBuf,
    verity: PathBuf,
    loader: PathBuf,
    boot_file: PathBuf,
    /// The folder on a medium where they are, which goes with this.
    medium: Option<tempfile::TempDir>,
}

impl Sources {
    /// What was built, or copies of it on a medium.
    fn of(root: &Path, signed: &Path, medium: Option<&Path>) -> io::Result<Self> {
        let (root, boot) = (|name| root.join(name), |name| signed.join("boot").join(name));
        let mut sources = Self {
            root: root("root.erofs"),
            verity: root("root.verity"),
            loader: boot("systemd-bootx64.efi"),
            boot_file: boot("xenolith.efi"),
            medium: None,
        };
        if let Some(medium) = medium {
            let folder = tempfile::Builder::new().prefix("bench-install-").tempdir_in(medium)?;
            for file in [&mut sources.root, &mut sources.verity, &mut sources.loader, &mut sources.boot_file]
            {
                let there = folder.path().join(file.file_name().expect("a file has a name"));
                fs::copy(&*file, &there)?;
                fs::File::open(&there)?.sync_all()?;
                *file = there;
            }
            sources.medium = Some(folder);
        }
        Ok(sources)
    }

    fn files(&self) -> [&Path; 4] {
        [&self.root, &self.verity, &self.loader, &self.boot_file]
    }

    /// Forgets what is known of a medium.
    fn cool(&self) -> io::Result<()> {
        if self.medium.is_some() {
            for file in self.files() {
                posix_fadvise(fs::File::open(file)?, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            }
        }
        Ok(())
    }
}

/// What is installed, and where.
struct Bench {
    folder: PathBuf,
    notes: tempfile::TempDir,
    plan: Plan,
    source: Source,
    sources: Sources,
    bytes: u64,
}

impl Bench {
    fn new(folder: &Path, root: &Path, sources: Sources, version: &str) -> anyhow::Result<Self> {
        let facts = RootFacts::read(root).map_err(|error| anyhow::anyhow!(error))?;
        let image = Image {
            version: version.parse()?,
            root_hash: facts.root_hash,
            root: Bytes::new(facts.size),
            verity: Bytes::new(facts.verity_size),
        };
        let entry = EntryName::offered(image.version.clone(), TRIES);
        let file = |path: String, from: &Path| EspFile { path, content: EspContent::File(from.to_owned()) };
        let esp = vec![
            file(names::ESP_FALLBACK_LOADER.into(), &sources.loader),
            file(format!("{}/{entry}", names::ESP_ENTRIES), &sources.boot_file),
        ];
        let mut bytes = 0;
        for file in sources.files() {
            bytes += fs::metadata(file)?.len();
        }
        let notes = tempfile::Builder::new().prefix("bench-install-").tempdir_in(MEMORY)?;
        let state = notes.path().join("state");
        fs::create_dir(&state)?;
        let source = Source {
            root: sources.root.clone(),
            verity: sources.verity.clone(),
            esp,
            state,
            recovery_key: None,
            scratch: notes.path().to_owned(),
        };
        Ok(Self { folder: folder.to_owned(), notes, plan: planned(&image)?, source, sources, bytes })
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Opens the disk, of which no cache holds anything.
    fn prepare(&self) -> io::Result<std::fs::File> {
        self.sources.cool()?;
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
        disk.seek(SeekFrom::Start(COPY_AT.get()))?;
        for file in self.sources.files() {
            // Of the standard library's own files: only those does it leave to the kernel.
            io::copy(&mut fs::File::open(file)?.into_parts().0, &mut disk)?;
        }
        disk.sync_all()?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds of reading back what was copied, past the cache and in the pieces in which an installation reads.
    fn read_back(&self) -> io::Result<f64> {
        let disk = InFile(self.disk()).open(&self.plan.targets[0].disk)?;
        let began = Instant::now();
        let mut buffer = Aligned::new(4 << 20);
        let end = COPY_AT.get() + self.bytes.next_multiple_of(SectorSize::B4096.bytes().get());
        let mut at = COPY_AT.get();
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            disk.read_back(Bytes::new(at), &mut buffer[..length])?;
            at += length as u64;
        }
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
