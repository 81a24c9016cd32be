//! What each step does to disks.

use std::{
    collections::BTreeSet,
    io::{self, Read, Seek as _, SeekFrom},
    sync::mpsc::Receiver,
};

use fs_err as fs;
use uuid::Uuid;
use xenolith_disk::{disk, sparse::Sparse};
use xenolith_layout::{
    Bytes, Slot,
    boot_option::BootOption,
    disk::{DiskLayout, Partition, Role, STATE_BACKUP_SUPERBLOCK},
    names,
};
use xenolith_verity::Aligned;

use super::{Devices, Disk, Event, Place, Source, StatePlace, StepError, image};
use crate::plan::{DiskId, Plan, Step};

/// What old partition tables, file systems, arrays and volume groups leave lies within this of the start or the end of what they
/// were on: GPT 17 KiB, LVM 1 MiB, md and LUKS headers less.
const EDGE: Bytes = Bytes::mib(1);
/// Bytes that are copied at once.
const CHUNK: usize = 4 << 20;

/// The work of one step.
pub(super) struct Work<'a, D> {
    pub(super) plan: &'a Plan,
    pub(super) source: &'a Source,
    pub(super) devices: &'a D,
    pub(super) boot_files: &'a Receiver<io::Result<Sparse>>,
    pub(super) step: usize,
    pub(super) tell: &'a mut dyn FnMut(Event),
}

impl<D: Devices> Work<'_, D> {
    pub(super) fn run(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Confirm => Ok(()),
            Step::Clear { disk } => self.clear(disk),
            Step::WriteImage { disk } => self.write_image(disk),
            Step::MakeEsp { disk, .. } => self.make_esp(disk),
            Step::Activate { disk } => self.activate(disk),
            Step::ClearSystem { disk } => self.clear_system(disk),
            Step::MakeState { disks, seal } => self.make_state(disks, seal.is_some()),
            Step::Register { disks, gone } => {
                self.register(disks, gone);
                Ok(())
            }
        }
    }

    fn progress(&mut self, done: Bytes, total: Bytes) {
        (self.tell)(Event::Progress { step: self.step, done, total });
    }

    /// The start first: from there on the disk does not boot. Then nothing that lay where a partition will begin or end is taken
    /// for its contents later.
    fn clear(&mut self, id: &DiskId) -> Result<(), StepError> {
        let disk = self.devices.open(id)?;
        let last = id.size.checked_sub(EDGE).expect("a chosen disk is larger");
        for at in [Bytes::ZERO, last] {
            zero(&disk, at, EDGE)?;
            disk.flush()?;
        }
        let layout = layout(self.plan, id);
        for partition in &layout.partitions {
            empty(&disk, layout, partition)?;
        }
        Ok(disk.flush()?)
    }

    /// The ESP first, and flushed: from there on the disk does not boot. Neither table nor storage are touched.
    fn clear_system(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let disk = self.devices.open(id)?;
        let (esp, others): (Vec<_>, Vec<_>) = layout
            .partitions
            .iter()
            .filter(|partition| partition.role != Role::LocalSr)
            .partition(|partition| partition.role == Role::Esp);
        for partition in esp {
            empty(&disk, layout, partition)?;
        }
        disk.flush()?;
        for partition in others {
            empty(&disk, layout, partition)?;
        }
        Ok(disk.flush()?)
    }

    fn write_image(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let place = |role| layout.offset(layout.partition(role).expect("every layout has slot A"));
        let disk = self.devices.open(id)?;
        let slot = image::Slot {
            disk: &disk,
            root: place(Role::Root(Slot::A)),
            verity: place(Role::Verity(Slot::A)),
        };
        image::write(&slot, &self.plan.image, self.source, |done, total| self.progress(done, total))
    }

    /// The file system is put together in memory; its tables and files all lie at its start. Its first MiB comes last: without it there
    /// is no file system, where the table of an installation before still says that there should be one.
    fn make_esp(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let partition = layout.partition(Role::Esp).expect("every layout has an ESP");
        let mut made = self.boot_files.recv().expect("there is one for each of these steps")?;
        let disk = self.devices.open(id)?;
        let (first, length) = (layout.offset(partition), Bytes::new(made.end()));
        let head = length.min(EDGE);
        made.seek(SeekFrom::Start(head.get()))?;
        let rest = length.checked_sub(head).expect("a head is no longer");
        copy(&mut (&mut made).take(rest.get()), &disk, first + head, |done| self.progress(done, length))?;
        disk.flush()?;
        made.rewind()?;
        copy(&mut made.take(head.get()), &disk, first, |done| self.progress(rest + done, length))?;
        Ok(disk.flush()?)
    }

    /// An array has the GUID of its first partition.
    fn make_state(&mut self, disks: &[DiskId], encrypted: bool) -> Result<(), StepError> {
        let mut places = Vec::new();
        let mut id = None;
        for disk in disks {
            let layout = layout(self.plan, disk);
            let partition = layout.partition(Role::State).expect("every layout has a state partition");
            places.push(Place { disk, first: layout.offset(partition), length: layout.length(partition) });
            id = id.or(Some(partition.guid));
        }
        let id = id.expect("a plan has a target");
        let key = match (encrypted, &self.source.recovery_key) {
            (false, _) => None,
            (true, Some(key)) => Some(key.as_path()),
            (true, None) => return Err(StepError::NoRecoveryKey),
        };
        Ok(self.devices.make_state(&StatePlace { places: &places, id, key }, &self.source.state)?)
    }

    /// Firmware that takes no entries starts the fallback loader of a disk's ESP.
    fn register(&mut self, disks: &[DiskId], gone: &BTreeSet<Uuid>) {
        let entry = |disk: &DiskId| {
            let layout = layout(self.plan, disk);
            let esp = layout.partition(Role::Esp).expect("every layout has an ESP");
            let name = disk.path.rsplit('/').next().unwrap_or_default();
            BootOption {
                description: format!("Xenolith ({})", disk.serial.as_deref().unwrap_or(name)),
                number: esp.number(),
                first: esp.first.get(),
                sectors: esp.sectors().get(),
                guid: esp.guid,
                loader: names::ESP_FALLBACK_LOADER.to_owned(),
            }
        };
        let entries: Vec<BootOption> = disks.iter().map(entry).collect();
        if let Err(error) = self.devices.register(&entries, gone) {
            let what = format!(
                "the firmware's boot menu was not changed ({error}); choose the disk in the firmware's setup if the machine does not \
                 start from it"
            );
            (self.tell)(Event::Warning { step: self.step, what });
        }
    }

    /// The table's copy at the end, then its head at the start: the moment at which the disk begins to boot.
    fn activate(&mut self, id: &DiskId) -> Result<(), StepError> {
        let made = tempfile::tempdir_in(&self.source.scratch)?;
        let file = made.path().join("table.img");
        disk::write(&file, layout(self.plan, id), &[])?;
        let mut table = fs::File::open(&file)?;
        let disk = self.devices.open(id)?;
        let last = id.size.checked_sub(EDGE).expect("a chosen disk is larger");
        for at in [last, Bytes::ZERO] {
            table.seek(SeekFrom::Start(at.get()))?;
            copy(&mut (&mut table).take(EDGE.get()), &disk, at, |_| ())?;
            disk.flush()?;
        }
        Ok(())
    }
}

/// The layout of one of the plan's disks.
pub(super) fn layout<'a>(plan: &'a Plan, disk: &DiskId) -> &'a DiskLayout {
    let storage = plan.storage.iter().flat_map(|storage| &storage.disks);
    let target = plan.targets.iter().chain(storage).find(|target| target.disk == *disk);
    &target.expect("steps of a plan name its disks").layout
}

/// Nothing that lay where a partition begins or ends is taken for its contents later.
fn empty(disk: &impl Disk, layout: &DiskLayout, partition: &Partition) -> io::Result<()> {
    let (first, length) = (layout.offset(partition), layout.length(partition));
    let edge = length.min(EDGE);
    zero(disk, first, edge)?;
    zero(disk, first + length.checked_sub(edge).expect("an edge is no longer"), edge)?;
    if partition.role == Role::State {
        zero(disk, first + STATE_BACKUP_SUPERBLOCK, EDGE)?;
    }
    Ok(())
}

fn zero(disk: &impl Disk, at: Bytes, length: Bytes) -> io::Result<()> {
    copy(&mut io::repeat(0).take(length.get()), disk, at, |_| ())
}

/// Writes all that comes from `from` to one place. `progress` hears how much is written.
pub(super) fn copy(
    from: &mut impl Read,
    disk: &impl Disk,
    at: Bytes,
    mut progress: impl FnMut(Bytes),
) -> io::Result<()> {
    let mut buffer = Aligned::new(CHUNK);
    let mut done = Bytes::ZERO;
    loop {
        let length = fill(from, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        disk.write_at(at + done, &buffer[..length])?;
        done = done + Bytes::new(length as u64);
        progress(done);
    }
}

/// How many bytes came: fewer than there is room for only at the end.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
