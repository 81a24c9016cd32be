//! The flow from the kernel's start to the system's, in the order it happens.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::blocks;
use crate::boot::{BootFacts, Medium};
use crate::cmdline::{self, Cmdline};
use crate::console::{alarm, note, say};
use crate::efi::{self, Loader, Origin};
use crate::error::InitError;
use crate::events::Events;
use crate::guids::Guids;
use crate::mounts;
use crate::open::{self, Root};
use crate::search::{Search, Step};
use crate::state::{self, State};
use crate::switch;
use xenolith_layout::names::BOOT_FACTS;

/// How long modules that are still being loaded may hold up a system whose root is already there.
const SETTLE: Duration = Duration::from_secs(30);
const SYS: &str = "/sys";
/// What is added to the image's `efi.mount`, as long as this boot lasts.
const ESP_MOUNT_DROP_IN: &str = "/run/systemd/system/efi.mount.d";

/// Runs to the end: the system's init in place of this program.
///
/// # Errors
/// Whatever stops the boot; everything worth saying beforehand has been said.
pub fn run() -> Result<Infallible, InitError> {
    mounts::kernel_file_systems()?;
    // Each line of ours counts; without this the kernel drops some. The system sets its own limit later.
    let _ = fs_err::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    let cmdline = cmdline::parse(&fs_err::read_to_string("/proc/cmdline")?)?;
    say(format_args!("looking for version {}, root hash {}", cmdline.version, cmdline.root_hash));
    let mut events = Events::open()?;
    events.load_early_modules();
    mounts::efi_variables();
    let loader = efi::loader(&Path::new(SYS).join("firmware/efi/efivars"));
    note(format_args!("the loader says: {loader:?}"));
    // Nothing else asks a drive whether it has a disc now; the kernel does it itself from here on.
    let _ = fs_err::write("/sys/module/block/parameters/events_dfl_poll_msecs", "2000\n");
    events.coldplug(Path::new(SYS));
    let root = search(&mut events, &loader, &cmdline)?;
    let state = mount_state(&root, &mut events)?;
    switch::writable_parts(root.slot, cmdline.root_hash)?;
    name_esp(&root, &loader)?;
    write_facts(root, &state, cmdline, loader)?;
    events.settle(SETTLE)?;
    drop(events);
    switch::into_system()
}

/// Takes the search's steps until a root is mounted.
fn search(events: &mut Events, loader: &Loader, cmdline: &Cmdline) -> Result<Root, InitError> {
    let begin = Instant::now();
    let mut search = Search::new(loader.origin);
    let mut guids = Guids::default();
    let mut has_waited = false;
    loop {
        let mut disks = blocks::disks(Path::new(SYS));
        if matches!(loader.origin, Origin::Partition(_)) {
            guids.complete(&mut disks, Path::new("/dev"));
        }
        match search.next(&disks, begin.elapsed()) {
            Step::Try(candidate) => match open::open(&candidate, &disks, &cmdline.root_hash) {
                Ok(root) => {
                    say(format_args!("root found: {candidate}"));
                    return Ok(root);
                }
                Err(error) => {
                    let reason = error.line();
                    note(format_args!("not {candidate}: {reason}"));
                    search.refused(candidate, begin.elapsed(), reason);
                }
            },
            Step::Wait { until } => {
                if begin.elapsed() > Duration::from_secs(5) && !std::mem::replace(&mut has_waited, true) {
                    say("waiting for the disk that holds the root");
                }
                let patience = until.saturating_sub(begin.elapsed());
                for device in events.wait(patience, Path::new(SYS))? {
                    search.changed(&device);
                    guids.changed(&device);
                }
            }
            Step::GiveUp => {
                alarm(format_args!("no root with hash {} was found", cmdline.root_hash));
                report(&search, &disks);
                return Err(InitError::Refused("there is no root to boot"));
            }
        }
    }
}

fn report(search: &Search, disks: &[blocks::Disk]) {
    let seen: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    alarm(format_args!("disks seen: {}", if seen.is_empty() { "none".to_owned() } else { seen.join(" ") }));
    for line in search.report() {
        alarm(line);
    }
}

/// Only a slot on a disk keeps state; whatever came from a medium leaves no trace on the machine.
fn mount_state(root: &Root, events: &mut Events) -> Result<State, InitError> {
    let disk = root.disk.as_deref().filter(|_| root.medium == Medium::Disk);
    state::mount(disk, events, Path::new(SYS))
}

/// Of two disks that mirror each other each has an ESP, and its label does not say which one the loader counts the boots on.
fn name_esp(root: &Root, loader: &Loader) -> Result<(), InitError> {
    if let (Medium::Disk, Origin::Partition(guid)) = (root.medium, loader.origin) {
        let folder = Path::new(ESP_MOUNT_DROP_IN);
        fs_err::create_dir_all(folder)?;
        fs_err::write(
            folder.join("10-loader.conf"),
            format!("[Mount]\nWhat=/dev/disk/by-partuuid/{guid}\n"),
        )?;
    }
    Ok(())
}

fn write_facts(root: Root, state: &State, cmdline: Cmdline, loader: Loader) -> Result<(), InitError> {
    let (boot_url, answers) = root.network.map_or((None, None), |(url, answers)| (Some(url), answers));
    let facts = BootFacts {
        medium: root.medium,
        slot: root.slot,
        disk: root.disk.map(|disk| Path::new("/dev").join(disk)),
        data_device: root.data,
        hash_device: root.hash,
        root_hash: cmdline.root_hash,
        version: cmdline.version,
        state: state.describe(),
        state_key: state.key(),
        first_boot: state::is_first_boot(state, Path::new(state::STATE)),
        entry: loader.entry,
        boot_url,
        answers,
    };
    // Nobody reads it before the system runs, so there is no need for a rename.
    fs_err::write(BOOT_FACTS, facts.render())?;
    Ok(())
}
