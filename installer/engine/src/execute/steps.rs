//! What each step does to disks.

use std::{
    collections::BTreeSet,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
};

use fs_err as fs;
use uuid::Uuid;
use xenolith_disk::{disk, esp};
use xenolith_layout::{
    Bytes, Slot,
    boot_option::BootOption,
    disk::{DiskLayout, Partition, Role, STATE_BACKUP_SUPERBLOCK},
    names,
};

use super::{Devices, Event, Place, Source, StatePlace, StepError};
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
    pub(super) step: usize,
    pub(super) tell: &'a mut dyn FnMut(Event),
}

impl<D: Devices> Work<'_, D> {
    pub(super) fn run(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Confirm => Ok(()),
            Step::Clear { disk } => self.clear(disk),
            Step::WriteImage { disk } => self.write_image(disk),
            Step::VerifyImage { disk } => self.verify_image(disk),
            Step::MakeEsp { disk, serial } => self.make_esp(disk, *serial),
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
        let mut disk = self.devices.open(id)?;
        let last = id.size.checked_sub(EDGE).expect("a chosen disk is larger");
        for at in [Bytes::ZERO, last] {
            zero(&mut disk, at, EDGE)?;
            self.devices.flush(&mut disk)?;
        }
        let layout = layout(self.plan, id);
        for partition in &layout.partitions {
            empty(&mut disk, layout, partition)?;
        }
        Ok(self.devices.flush(&mut disk)?)
    }

    /// The ESP first, and flushed: from there on the disk does not boot. Neither table nor storage are touched.
    fn clear_system(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let mut disk = self.devices.open(id)?;
        let (esp, others): (Vec<_>, Vec<_>) = layout
            .partitions
            .iter()
            .filter(|partition| partition.role != Role::LocalSr)
            .partition(|partition| partition.role == Role::Esp);
        for partition in esp {
            empty(&mut disk, layout, partition)?;
        }
        self.devices.flush(&mut disk)?;
        for partition in others {
            empty(&mut disk, layout, partition)?;
        }
        Ok(self.devices.flush(&mut disk)?)
    }

    fn write_image(&mut self, id: &DiskId) -> Result<(), StepError> {
        let image = &self.plan.image;
        let mut disk = self.devices.open(id)?;
        let total = image.root + image.verity;
        let mut before = Bytes::ZERO;
        for (what, from, role, planned) in [
            ("the root image", &self.source.root, Role::Root(Slot::A), image.root),
            ("the verity tree", &self.source.verity, Role::Verity(Slot::A), image.verity),
        ] {
            let mut from = fs::File::open(from)?;
            let found = Bytes::new(from.seek(SeekFrom::End(0))?);
            // A block device is as long as its partition; a file exactly as long as the image.
            if found < planned {
                return Err(StepError::Length { what, found, planned });
            }
            from.rewind()?;
            let layout = layout(self.plan, id);
            let partition = layout.partition(role).expect("every layout has slot A");
            disk.seek(SeekFrom::Start(layout.offset(partition).get()))?;
            copy(&mut from.take(planned.get()), &mut disk, |done| self.progress(before + done, total))?;
            before = before + planned;
        }
        Ok(self.devices.flush(&mut disk)?)
    }

    fn verify_image(&mut self, id: &DiskId) -> Result<(), StepError> {
        let (image, layout) = (&self.plan.image, layout(self.plan, id));
        let place = |role| layout.offset(layout.partition(role).expect("every layout has slot A"));
        let mut disk = self.devices.open(id)?;
        self.devices.flush(&mut disk)?;
        self.devices.forget(&mut disk)?;
        let mut tree = Vec::new();
        disk.seek(SeekFrom::Start(place(Role::Verity(Slot::A)).get()))?;
        (&mut disk).take(image.verity.get()).read_to_end(&mut tree)?;
        disk.seek(SeekFrom::Start(place(Role::Root(Slot::A)).get()))?;
        let mut root = BufReader::with_capacity(CHUNK, disk.take(image.root.get()));
        xenolith_verity::verify(&mut root, &mut tree.as_slice(), &image.root_hash)
            .map_err(StepError::ReadBack)
    }

    /// The file system is put together in memory; its tables and files all lie at its start. Its first MiB comes last: without it there
    /// is no file system, where the table of an installation before still says that there should be one.
    fn make_esp(&mut self, id: &DiskId, serial: u32) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let partition = layout.partition(Role::Esp).expect("every layout has an ESP");
        let size = layout.length(partition).get();
        let mut made = esp::make(size, names::ESP_FS_LABEL, serial, &self.source.esp)?;
        let mut disk = self.devices.open(id)?;
        let (first, length) = (layout.offset(partition), Bytes::new(made.end()));
        let head = length.min(EDGE);
        made.seek(SeekFrom::Start(head.get()))?;
        disk.seek(SeekFrom::Start((first + head).get()))?;
        let rest = length.checked_sub(head).expect("a head is no longer");
        copy(&mut (&mut made).take(rest.get()), &mut disk, |done| self.progress(done, length))?;
        self.devices.flush(&mut disk)?;
        made.rewind()?;
        disk.seek(SeekFrom::Start(first.get()))?;
        copy(&mut made.take(head.get()), &mut disk, |done| self.progress(rest + done, length))?;
        Ok(self.devices.flush(&mut disk)?)
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
        let mut disk = self.devices.open(id)?;
        let last = id.size.checked_sub(EDGE).expect("a chosen disk is larger");
        for at in [last, Bytes::ZERO] {
            table.seek(SeekFrom::Start(at.get()))?;
            disk.seek(SeekFrom::Start(at.get()))?;
            copy(&mut (&mut table).take(EDGE.get()), &mut disk, |_| ())?;
            self.devices.flush(&mut disk)?;
        }
        Ok(())
    }
}

/// The layout of one of the plan's disks.
fn layout<'a>(plan: &'a Plan, disk: &DiskId) -> &'a DiskLayout {
    let storage = plan.storage.iter().flat_map(|storage| &storage.disks);
    let target = plan.targets.iter().chain(storage).find(|target| target.disk == *disk);
    &target.expect("steps of a plan name its disks").layout
}

/// Nothing that lay where a partition begins or ends is taken for its contents later.
fn empty(disk: &mut (impl Write + Seek), layout: &DiskLayout, partition: &Partition) -> io::Result<()> {
    let (first, length) = (layout.offset(partition), layout.length(partition));
    let edge = length.min(EDGE);
    zero(disk, first, edge)?;
    zero(disk, first + length.checked_sub(edge).expect("an edge is no longer"), edge)?;
    if partition.role == Role::State {
        zero(disk, first + STATE_BACKUP_SUPERBLOCK, EDGE)?;
    }
    Ok(())
}

fn zero(disk: &mut (impl Write + Seek), at: Bytes, length: Bytes) -> io::Result<()> {
    disk.seek(SeekFrom::Start(at.get()))?;
    copy(&mut io::repeat(0).take(length.get()), disk, |_| ())
}

fn copy(from: &mut impl Read, to: &mut impl Write, mut progress: impl FnMut(Bytes)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut done = Bytes::ZERO;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..length])?;
        done = done + Bytes::new(length as u64);
        progress(done);
    }
}
