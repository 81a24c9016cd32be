use super::*;
use proptest::prelude::*;

const SEED: Seed = Seed::new([1; 32]);

fn sector() -> impl Strategy<Value = SectorSize> {
    prop_oneof![Just(SectorSize::B512), Just(SectorSize::B4096)]
}

/// Sizes around the minimum, ordinary sizes, and any size.
fn disk() -> impl Strategy<Value = Bytes> {
    let minimum = minimum(SectorSize::B512, false).get();
    prop_oneof![minimum - 9000..minimum + 9000, minimum..200 << 30, any::<u64>()].prop_map(Bytes::new)
}

fn options() -> impl Strategy<Value = Options> {
    (any::<[u8; 32]>(), STATE_MIN.get()..200 << 30, any::<bool>()).prop_map(|(seed, max, local_sr)| Options {
        seed: Seed::new(seed),
        state_max: Bytes::new(max),
        local_sr,
    })
}

fn found(layout: &DiskLayout) -> Vec<Found> {
    let found =
        |p: &Partition| Found { number: p.number(), label: p.label().into(), first: p.first, last: p.last };
    layout.partitions.iter().map(found).collect()
}

#[test]
fn the_table_of_a_small_disk_is_the_one_in_the_documentation() {
    let disk = minimum(SectorSize::B512, false);
    let layout = plan(disk, SectorSize::B512, &Options::new(SEED)).unwrap();
    let table: Vec<String> = layout
        .partitions
        .iter()
        .map(|p| format!("{} {} {} +{}", p.number(), p.label(), p.first.get(), layout.length(p)))
        .collect();
    assert_eq!(
        table,
        [
            "1 xenolith-bios 2048 +1 MiB",
            "2 xenolith-esp 4096 +2 GiB",
            "3 xenolith-root-a 4198400 +4 GiB",
            "4 xenolith-verity-a 12587008 +64 MiB",
            "5 xenolith-root-b 12718080 +4 GiB",
            "6 xenolith-verity-b 21106688 +64 MiB",
            "7 xenolith-state 21237760 +1 GiB",
        ]
    );
    assert_eq!((layout.first_usable, layout.last_usable), (Lba::new(34), Lba::new(disk.get() / 512 - 34)));
}

#[test]
fn a_disk_with_4096_byte_sectors_has_the_same_table_in_bytes() {
    let layouts = [SectorSize::B512, SectorSize::B4096]
        .map(|sector| plan(Bytes::gib(40), sector, &Options::new(SEED)).unwrap());
    let bytes = |layout: &DiskLayout| -> Vec<(Bytes, Bytes)> {
        layout.partitions.iter().map(|p| (layout.offset(p), layout.length(p))).collect()
    };
    assert_eq!(bytes(&layouts[0]), bytes(&layouts[1]));
    assert_eq!(layouts[1].first_usable, Lba::new(6));
}

#[test]
fn a_disk_that_is_too_small_is_refused_with_the_size_that_would_do() {
    let error = plan(Bytes::gib(8), SectorSize::B512, &Options::new(SEED)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the disk holds 8 GiB (8589934592 bytes), but at least 11.1 GiB (11948523520 bytes) are needed"
    );
}

#[test]
fn a_local_sr_takes_what_state_leaves() {
    let options = Options { local_sr: true, ..Options::new(SEED) };
    let layout = plan(Bytes::gib(1000), SectorSize::B512, &options).unwrap();
    let length = |role| layout.length(layout.partition(role).unwrap());
    assert_eq!(length(Role::State), Bytes::gib(64));
    assert!(length(Role::LocalSr) > Bytes::gib(900));
}

#[test]
fn numbers_follow_positions_and_labels_name_one_role() {
    for (index, role) in Role::ALL.into_iter().enumerate() {
        assert_eq!(role.number() as usize, index + 1);
        assert_eq!(Role::from_label(role.label()), Some(role));
        assert!(role.label().len() <= 36, "a GPT label has 36 UTF-16 units");
    }
    assert_eq!(Role::from_label("xenolith"), None);
}

#[test]
fn the_verity_partition_holds_the_tree_of_a_full_root_partition() {
    // Superblock, then one 32-byte hash per block on each level.
    let mut blocks = ROOT_SIZE.get() / 4096;
    let mut tree = 4096;
    while blocks > 1 {
        blocks = blocks.div_ceil(128);
        tree += blocks * 4096;
    }
    assert!(tree <= VERITY_SIZE.get(), "{tree}");
}

proptest! {
    #[test]
    fn partitions_of_any_disk_are_aligned_in_order_and_usable(
        disk in disk(), sector in sector(), options in options()
    ) {
        let layout = match plan(disk, sector, &options) {
            Ok(layout) => layout,
            Err(LayoutError::TooSmall { minimum, .. }) => {
                prop_assert!(disk < minimum);
                prop_assert!(plan(minimum, sector, &options).is_ok());
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let mut free = layout.first_usable;
        for partition in &layout.partitions {
            prop_assert!(partition.first >= free && partition.last >= partition.first, "{:?}", partition);
            prop_assert_eq!(layout.offset(partition).get() % ALIGNMENT.get(), 0);
            prop_assert_eq!(layout.length(partition).get() % ALIGNMENT.get(), 0);
            free = partition.last + Sectors::new(1);
        }
        prop_assert!(free.get() <= layout.last_usable.get() + 1);
        // Backup table and header fit behind the last usable sector.
        let behind = layout.sectors.get() - 1 - layout.last_usable.get();
        prop_assert_eq!(behind * sector.bytes().get(), TABLE.get() + sector.bytes().get());
        prop_assert!(layout.sectors.get() <= disk.get() / sector.bytes().get());

        let state = layout.partition(Role::State).unwrap();
        prop_assert!(layout.length(state) >= STATE_MIN && layout.length(state) <= options.state_max);
        prop_assert_eq!(layout.partition(Role::LocalSr).is_some(), options.local_sr);
        let mut guids: Vec<Uuid> = layout.partitions.iter().map(|p| p.guid).chain([layout.guid]).collect();
        guids.sort();
        guids.dedup();
        prop_assert_eq!(guids.len(), layout.partitions.len() + 1);
    }

    #[test]
    fn one_byte_below_the_minimum_is_refused(sector in sector(), local_sr: bool) {
        let options = Options { local_sr, ..Options::new(SEED) };
        let minimum = minimum(sector, local_sr);
        let less = Bytes::new(minimum.get() - 1);
        prop_assert!(plan(minimum, sector, &options).is_ok());
        prop_assert_eq!(plan(less, sector, &options), Err(LayoutError::TooSmall { disk: less, minimum }));
    }

    /// An image written to any longer disk ends up with the table that the disk would have been planned with.
    #[test]
    fn growing_reaches_what_planning_the_disk_would_give(disk in disk(), sector in sector(), options in options()) {
        let image = plan(minimum(sector, options.local_sr), sector, &options).unwrap();
        let Ok(planned) = plan(disk, sector, &options) else { return Ok(()) };
        let growth = grow_state(&found(&image), disk, sector, options.state_max).unwrap();
        let old = image.partition(Role::State).unwrap();
        let new = planned.partition(Role::State).unwrap();
        if options.local_sr || old == new {
            prop_assert_eq!(growth, Growth::Keep);
        } else {
            let to = Growth::To { number: 7, first: old.first, last: new.last, last_usable: planned.last_usable };
            prop_assert_eq!(growth, to);
            // And a second look changes nothing.
            prop_assert_eq!(grow_state(&found(&planned), disk, sector, options.state_max), Ok(Growth::Keep));
        }
    }

    #[test]
    fn growing_a_table_of_any_numbers_neither_panics_nor_shrinks_nor_overlaps(
        parts in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>()), 0..5),
        disk: u64, limit: u64, sector in sector(),
    ) {
        let found: Vec<Found> = parts.iter().zip(1..).map(|(&(state, first, length), number)| Found {
            number,
            label: if state { "xenolith-state".into() } else { format!("other{number}") },
            first: Lba::new(first >> 20),
            last: Lba::new((first >> 20).saturating_add(length >> 12)),
        }).collect();
        let Ok(Growth::To { number, first, last, .. }) =
            grow_state(&found, Bytes::new(disk), sector, Bytes::new(limit)) else { return Ok(()) };
        for other in &found {
            let apart = other.last < first || other.first > last;
            prop_assert!(if other.number == number { other.last < last } else { apart }, "{:?}", other);
        }
        prop_assert!(last.get() < disk / sector.bytes().get());
    }
}

#[test]
fn a_table_without_exactly_one_state_partition_is_not_touched() {
    let layout = plan(Bytes::gib(20), SectorSize::B512, &Options::new(SEED)).unwrap();
    let mut table = found(&layout);
    let grow = |table: &[Found]| grow_state(table, Bytes::gib(20), SectorSize::B512, STATE_MAX);
    table.retain(|p| p.label != "xenolith-state");
    assert_eq!(grow(&table), Err(GrowError::NotOne(0)));
    table = found(&layout);
    table.push(Found { number: 9, ..table[6].clone() });
    assert_eq!(grow(&table), Err(GrowError::NotOne(2)));
    assert!(matches!(
        grow_state(&found(&layout), Bytes::gib(19), SectorSize::B512, STATE_MAX),
        Err(GrowError::BeyondDisk { number: 7, .. })
    ));
}
