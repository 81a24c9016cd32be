//! What each step does to disks.

use std::{
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use fs_err as fs;
use nix::unistd::{Whence, lseek64};
use xenolith_disk::{disk, esp};
use xenolith_layout::{
    Bytes, Slot,
    disk::{DiskLayout, Role, STATE_BACKUP_SUPERBLOCK},
    names,
};

use super::{Devices, Source, StepError};
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
    pub(super) progress: &'a mut dyn FnMut(Bytes, Bytes),
}

impl<D: Devices> Work<'_, D> {
    pub(super) fn run(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Confirm => Ok(()),
            Step::Clear { disk } => self.clear(disk),
            Step::WriteImage { disk } => self.write_image(disk),
            Step::VerifyImage { disk } => self.verify_image(disk),
            Step::MakeEsp { disk } => self.make_esp(disk),
            Step::Activate { disk } => self.activate(disk),
            Step::MakeState { disks } => match disks.as_slice() {
                [disk] => self.make_state(disk),
                _ => Err(StepError::NotYet),
            },
            Step::MakeMirror { .. } | Step::MakeStorage { .. } => Err(StepError::NotYet),
        }
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
        let target = self.plan.targets.iter().find(|target| target.disk == *id);
        for (layout, partition) in
            target.iter().flat_map(|target| target.layout.partitions.iter().map(|one| (&target.layout, one)))
        {
            let (first, length) = (layout.offset(partition), layout.length(partition));
            let edge = length.min(EDGE);
            zero(&mut disk, first, edge)?;
            zero(&mut disk, first + length.checked_sub(edge).expect("an edge is no longer"), edge)?;
            if partition.role == Role::State {
                zero(&mut disk, first + STATE_BACKUP_SUPERBLOCK, EDGE)?;
            }
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
            let progress = &mut *self.progress;
            copy(&mut from.take(planned.get()), &mut disk, |done| progress(before + done, total))?;
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

    /// The file system is put together in a sparse file; its tables and files all lie at its start.
    fn make_esp(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let partition = layout.partition(Role::Esp).expect("every layout has an ESP");
        let made = tempfile::tempdir_in(&self.source.scratch)?;
        let file = made.path().join("esp.img");
        let [a, b, c, d, ..] = *partition.guid.as_bytes();
        let serial = u32::from_le_bytes([a, b, c, d]);
        esp::write(&file, layout.length(partition).get(), names::ESP_FS_LABEL, serial, &self.source.esp)?;
        let mut disk = self.devices.open(id)?;
        disk.seek(SeekFrom::Start(layout.offset(partition).get()))?;
        let length = end_of_data(&file)?;
        let progress = &mut *self.progress;
        copy(&mut fs::File::open(&file)?.take(length.get()), &mut disk, |done| progress(done, length))?;
        Ok(self.devices.flush(&mut disk)?)
    }

    fn make_state(&mut self, id: &DiskId) -> Result<(), StepError> {
        let layout = layout(self.plan, id);
        let partition = layout.partition(Role::State).expect("every layout has a state partition");
        let (first, length) = (layout.offset(partition), layout.length(partition));
        Ok(self.devices.make_state(id, first, length, &self.source.state)?)
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

/// The layout of one of the plan's targets.
fn layout<'a>(plan: &'a Plan, disk: &DiskId) -> &'a DiskLayout {
    let target = plan.targets.iter().find(|target| target.disk == *disk);
    &target.expect("steps of a plan name its targets").layout
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

/// Where the last data of a sparse file end.
fn end_of_data(file: &Path) -> io::Result<Bytes> {
    let file = fs::File::open(file)?;
    let mut end = 0;
    loop {
        let start = match lseek64(file.file(), end, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::errno::Errno::ENXIO) => return Ok(Bytes::new(end.cast_unsigned())),
            Err(error) => return Err(error.into()),
        };
        end = lseek64(file.file(), start, Whence::SeekHole)?;
    }
}
