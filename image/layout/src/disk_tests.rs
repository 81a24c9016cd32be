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
    fn growing_any_table_never_shrinks_state_nor_reaches_its_neighbour(
        parts in prop::collection::vec((0..5000_u64, 1..5000_u64), 1..6), pick: prop::sample::Index,
        beyond in 0..5000_u64, limit in 0..20_000_u64, sector in sector(), backwards: bool,
    ) {
        let state = pick.index(parts.len());
        let mut end = 0;
        let mut table: Vec<Found> = Vec::new();
        for (number, (gap, length)) in parts.into_iter().enumerate() {
            let label = if number == state { "xenolith-state".into() } else { format!("other{number}") };
            let (first, last) = (Lba::new(end + gap), Lba::new(end + gap + length - 1));
            table.push(Found { number: u32::try_from(number).unwrap(), label, first, last });
            end += gap + length;
        }
        let (old, next) = (table[state].clone(), table.get(state + 1).map(|next| next.first));
        if backwards {
            table.reverse(); // numbers need not follow positions
        }
        let disk = Sectors::new(end + 40 + beyond).bytes(sector).unwrap();
        let limit = Sectors::new(limit).bytes(sector).unwrap();
        let per_mib = ALIGNMENT.get() / sector.bytes().get();
        let usable = Lba::new(disk.get() / sector.bytes().get() - TABLE.get() / sector.bytes().get() - 2);
        let room = next.map_or(usable.get() + 1, Lba::get).min(old.first.get() + limit.get() / sector.bytes().get());
        let room = room / per_mib * per_mib;
        let expected = if room > old.last.get() + 1 {
            Growth::To { number: old.number, first: old.first, last: Lba::new(room - 1), last_usable: usable }
        } else {
            Growth::Keep
        };
        prop_assert_eq!(grow_state(&table, disk, sector, limit), Ok(expected));
    }

    #[test]
    fn no_table_makes_growing_panic(
        parts in prop::collection::vec((any::<bool>(), any::<u64>(), any::<u64>()), 0..4),
        disk: u64, limit: u64, sector in sector(),
    ) {
        let label = |state| if state { "xenolith-state" } else { "other" };
        let table: Vec<Found> = parts.iter().map(|&(state, first, last)| Found {
            number: 1, label: label(state).into(), first: Lba::new(first), last: Lba::new(last),
        }).collect();
        let _ = grow_state(&table, Bytes::new(disk), sector, Bytes::new(limit));
    }
}

#[test]
fn tables_with_overlapping_partitions_are_not_touched() {
    let part = |number, label: &str, first, last| Found {
        number,
        label: label.into(),
        first: Lba::new(first),
        last: Lba::new(last),
    };
    let grow = |table: &[Found]| grow_state(table, Bytes::gib(1), SectorSize::B512, STATE_MAX);
    let state = part(1, "xenolith-state", 2048, 4095);
    assert!(grow(std::slice::from_ref(&state)).is_ok());
    assert_eq!(grow(&[state.clone(), part(2, "x", 4095, 9000)]), Err(GrowError::Overlap { number: 2 }));
    assert_eq!(grow(&[state, part(2, "x", 9000, 8999)]), Err(GrowError::Overlap { number: 2 }));
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

/// XCP-ng 8 has root and backup of 18 GiB each, an ESP of 512 MiB, 4 GiB of logs and 1 GiB of swap in front of its storage or around it: a
/// host that is converted in place has that much and no more.
#[test]
fn all_but_storage_fits_where_xcp_ng_has_its_own() {
    let theirs = Bytes::mib(2 * 18 * 1024 + 512 + 4 * 1024 + 1024);
    assert_eq!(theirs, Bytes::mib(42_496));
    for sector in [SectorSize::B512, SectorSize::B4096] {
        assert!(minimum(sector, false) <= theirs);
        let options = Options { state_max: Bytes::gib(16), ..Options::new(SEED) };
        let layout = plan(theirs, sector, &options).unwrap();
        assert!(layout.partition(Role::State).is_some_and(|state| layout.length(state) >= Bytes::gib(16)));
    }
}
