//! `xenolith-firstboot`: looks for a seed and applies it, once. Run by `xenolith-firstboot.service`.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Deserialize;
use xenolith_firstboot::{MAX_SEED, Paths, Plan, Seed, Step, execute, plan};
use xenolith_layout::names::{BOOT_FACTS, SEED_FILE, SEED_LABEL};

const STATE: &str = "/run/xenolith/state";
const MOUNT_POINT: &str = "/run/xenolith/seed";
/// File systems that a seed may lie on, with options. ext4's journal is not replayed: nothing is written there.
const FILE_SYSTEMS: &[(&str, &str)] = &[("vfat", ""), ("iso9660", ""), ("ext4", "noload")];

/// Apply the seed of a volume labelled XENOLITH at first boot
///
/// Exit codes: 0 done or nothing to do, 2 usage, 3 the seed was refused, 7 a device or file failed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-firstboot", version)]
struct Args {
    /// Say what a seed would change, and change nothing
    #[arg(long, value_name = "SEED.TOML")]
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.check {
        Some(file) => check(&file),
        None => first_boot(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            let refused = error.downcast_ref::<xenolith_firstboot::BadSeed>().is_some();
            ExitCode::from(if refused { 3 } else { 7 })
        }
    }
}

fn check(file: &Path) -> anyhow::Result<()> {
    describe(&plan(&read_seed(file)?));
    Ok(())
}

fn first_boot() -> anyhow::Result<()> {
    /// The one fact of `boot.json` that matters here.
    #[derive(Deserialize)]
    struct Facts {
        first_boot: bool,
    }
    let facts: Facts = serde_json::from_slice(&fs::read(BOOT_FACTS)?).context(BOOT_FACTS)?;
    if !facts.first_boot {
        println!("this host is claimed: seeds are not looked at");
        return Ok(());
    }
    let (device, left) = (Path::new("/dev/disk/by-label").join(SEED_LABEL), Path::new(STATE).join(SEED_FILE));
    // What the installer was told goes before what happens to be plugged in.
    let seed = if left.exists() {
        read_seed(&left)?
    } else if device.exists() {
        let volume = Volume::mount(&device)?;
        read_seed(&volume.0.join(SEED_FILE))?
    } else {
        println!("no volume labelled {SEED_LABEL}: the host stays unclaimed");
        return Ok(());
    };
    let plan = plan(&seed);
    describe(&plan);
    let paths = Paths { root: "/".into(), state: STATE.into() };
    execute(&plan, &paths, &mut |name| nix::unistd::sethostname(name.as_str()).map_err(io::Error::from))
        .context("the seed was not applied, the host stays unclaimed")
}

/// Reads a seed that is a plain file of bounded length.
fn read_seed(path: &Path) -> anyhow::Result<Seed> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    anyhow::ensure!(file.metadata()?.is_file(), "{} is not a file", path.display());
    let mut bytes = Vec::new();
    file.take(MAX_SEED.get() + 1).read_to_end(&mut bytes)?;
    Ok(Seed::parse(&bytes)?)
}

fn describe(plan: &Plan) {
    for step in &plan.0 {
        match step {
            Step::Write { path, text, .. } => println!("/{path}: {} line(s)", text.lines().count()),
            Step::SetHostName(name) => println!("host name: {name}"),
            Step::Claim => println!("the host is claimed"),
        }
    }
}

/// A volume that is mounted, read-only, as long as this is kept.
struct Volume(PathBuf);

impl Volume {
    fn mount(device: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (kind, options) in FILE_SYSTEMS {
            match mount(Some(device), MOUNT_POINT, Some(*kind), flags, Some(*options)) {
                Ok(()) => return Ok(Self(MOUNT_POINT.into())),
                // Another file system than this one.
                Err(Errno::EINVAL) => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot mount {} as {kind}", device.display()));
                }
            }
        }
        anyhow::bail!("{} has a file system that no seed may be on (vfat, iso9660 or ext4)", device.display())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A failure leaves a read-only mount in this unit's own namespace, which ends with it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
