//! Growth on sparse disk images, with a power cut after every write.

use xenolith_layout::Seed;
use xenolith_layout::disk::{self, DiskLayout, Options};

use super::*;

/// A sparse image of `made` bytes with our layout, then made longer.
fn image(made: Bytes, now: Bytes, sector: SectorSize) -> (tempfile::NamedTempFile, DiskLayout) {
    let layout = disk::plan(made, sector, &Options::new(Seed::new([1; 32]))).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(made.get()).unwrap();
    let mut gpt = GptConfig::new()
        .writable(true)
        .logical_block_size(block(sector))
        .create_from_device(file.reopen().unwrap(), Some(layout.guid))
        .unwrap();
    let partitions = layout.partitions.iter().map(|planned| {
        let entry = Partition {
            part_type_guid: gpt::partition_types::Type {
                guid: planned.type_guid().uuid(),
                os: gpt::partition_types::OperatingSystem::None,
            },
            part_guid: planned.guid,
            first_lba: planned.first.get(),
            last_lba: planned.last.get(),
            flags: 0,
            name: planned.label().to_owned(),
        };
        (planned.number(), entry)
    });
    gpt.update_partitions(partitions.collect()).unwrap();
    gpt.write().unwrap();
    file.as_file().set_len(now.get()).unwrap();
    (file, layout)
}

fn block(sector: SectorSize) -> LogicalBlockSize {
    match sector {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    }
}

/// Reads the table as kernel and firmware do: the first one if header and entries are whole, else the one in
/// the last sector (the crate itself falls back only for a bad header).
fn read(file: &File, sector: SectorSize) -> Option<Vec<(u32, String, u64, u64)>> {
    let length = file.metadata().unwrap().len();
    let read = |writes| {
        let layer = Staged { device: file, length, position: 0, writes };
        GptConfig::new().logical_block_size(block(sector)).open_from_device(layer)
    };
    let without_primary = vec![(sector.bytes().get(), vec![0; 512])];
    let gpt = read(Vec::new()).or_else(|_| read(without_primary)).ok()?;
    Some(gpt.partitions().iter().map(|(n, p)| (*n, p.name.clone(), p.first_lba, p.last_lba)).collect())
}

#[test]
fn state_grows_to_the_end_of_the_disk_and_nothing_else_changes() {
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let (file, layout) = image(disk::minimum(sector, false), Bytes::gib(20), sector);
        let (number, table) =
            plan(file.as_file(), file.path(), Bytes::gib(20), sector).unwrap().expect("it can grow");
        write_all(file.as_file(), &table.backup).unwrap();
        write_all(file.as_file(), &table.primary).unwrap();
        let after = read(file.as_file(), sector).unwrap();
        assert_eq!(number, Role::State.number());
        for (planned, (n, name, first, last)) in layout.partitions.iter().zip(&after) {
            assert_eq!((planned.number(), planned.label(), planned.first.get()), (*n, name.as_str(), *first));
            assert_eq!(planned.last.get() < *last, *n == number, "{name}");
        }
        assert_eq!(
            plan(file.as_file(), file.path(), Bytes::gib(20), sector).unwrap(),
            None,
            "once is enough"
        );
    }
}

#[test]
fn a_power_cut_after_any_write_leaves_a_whole_table() {
    let sector = SectorSize::B512;
    let (file, _) = image(disk::minimum(sector, false), Bytes::gib(20), sector);
    let old = read(file.as_file(), sector).unwrap();
    let (_, table) = plan(file.as_file(), file.path(), Bytes::gib(20), sector).unwrap().unwrap();
    let mut seen_new = false;
    for (at, bytes) in table.backup.iter().chain(&table.primary) {
        file.as_file().write_all_at(bytes, *at).unwrap();
        let now = read(file.as_file(), sector)
            .unwrap_or_else(|| panic!("no table after {} bytes at {at}", bytes.len()));
        let is_old = now == old;
        assert!(is_old || now.last().unwrap().3 > old.last().unwrap().3);
        seen_new |= !is_old;
    }
    assert!(seen_new);
}

#[test]
fn the_backup_is_written_before_the_primary_and_neither_touches_a_partition() {
    let sector = SectorSize::B512;
    let disk = Bytes::gib(20);
    let (file, layout) = image(disk::minimum(sector, false), disk, sector);
    let (_, table) = plan(file.as_file(), file.path(), disk, sector).unwrap().unwrap();
    let first = layout.partitions.first().map(|partition| layout.offset(partition).get()).unwrap();
    assert!(!table.backup.is_empty() && !table.primary.is_empty());
    assert!(table.primary.iter().all(|(at, bytes)| *at >= 512 && at + size(bytes.len()) <= first));
    assert!(table.backup.iter().all(|(at, _)| *at >= disk.get() - (1 << 20)));
}

#[test]
fn a_disk_that_is_full_is_left_alone() {
    let sector = SectorSize::B512;
    let (file, _) = image(Bytes::gib(20), Bytes::gib(20), sector);
    assert_eq!(plan(file.as_file(), file.path(), Bytes::gib(20), sector).unwrap(), None);
}

#[test]
fn without_a_table_nothing_is_written() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(Bytes::gib(20).get()).unwrap();
    let error = plan(file.as_file(), file.path(), Bytes::gib(20), SectorSize::B512).unwrap_err();
    assert!(matches!(error, InitError::Refused(_)), "{error}");
}

#[test]
fn a_damaged_primary_table_is_not_overwritten() {
    let sector = SectorSize::B512;
    let (file, _) = image(Bytes::gib(20), Bytes::gib(20), sector);
    file.as_file().write_all_at(b"x", 512).unwrap();
    let error = plan(file.as_file(), file.path(), Bytes::gib(20), sector).unwrap_err();
    assert!(error.to_string().contains("primary"), "{error}");
}
