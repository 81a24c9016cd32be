//! Areas in tables made here, as the ISO of a build has them.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// Where the area lies in the media of these tests.
const AT: u64 = 64 * 512;

/// A medium with a table of one entry, and an area in it.
fn medium(area: &[u8]) -> Vec<u8> {
    let mut entries = vec![0; 248 * 128];
    let entry = &mut entries[2 * 128..3 * 128];
    entry[..16].copy_from_slice(&TypeGuid::RESERVED.uuid().to_bytes_le());
    entry[16..32].fill(9);
    entry[32..40].copy_from_slice(&(AT / 512).to_le_bytes());
    entry[40..48].copy_from_slice(&((AT + area.len() as u64) / 512 - 1).to_le_bytes());
    let mut header = vec![0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[72..80].copy_from_slice(&2_u64.to_le_bytes());
    header[80..84].copy_from_slice(&248_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut medium = vec![0; 512];
    medium.extend_from_slice(&header);
    medium.resize(1024, 0);
    medium.extend_from_slice(&entries);
    medium.resize(usize::try_from(AT).unwrap(), 0);
    medium.extend_from_slice(area);
    medium
}

fn content(files: &[(Name, &[u8])]) -> Content {
    let mut content = Content::default();
    files.iter().for_each(|(name, bytes)| content.put(*name, bytes.to_vec()).unwrap());
    content
}

fn of(medium: &[u8]) -> Result<Option<Content>, ReservedError> {
    read(&mut Cursor::new(medium))
}

fn area(medium: &[u8]) -> Area {
    Area::load(&mut Cursor::new(medium)).unwrap().unwrap()
}

/// The message with its cause.
fn said<T>(result: Result<T, ReservedError>) -> String {
    let error = result.err().unwrap();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn any_content() -> impl Strategy<Value = Content> {
    let answers = prop::option::of((0..3_usize, vec(any::<u8>(), 0..3000)));
    let file = || prop::option::of(vec(any::<u8>(), 0..3000));
    (answers, file(), file()).prop_map(|(answers, ca, seed)| {
        let answers = answers.map(|(kind, bytes)| (Name::ALL[kind], bytes));
        let files = [answers, ca.map(|bytes| (Name::Ca, bytes)), seed.map(|bytes| (Name::Seed, bytes))];
        let mut content = Content::default();
        files.into_iter().flatten().for_each(|(name, bytes)| content.put(name, bytes).unwrap());
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_put_into_an_area_reads_back(content in any_content()) {
        prop_assert_eq!(of(&medium(&content.image())).unwrap().unwrap(), content);
    }

    #[test]
    fn a_power_cut_at_any_sector_leaves_the_old_content_the_new_one_or_none(
        old in any_content(),
        new in any_content(),
        cut in any::<Index>(),
        reached in any::<u64>(),
    ) {
        let mut disk = medium(&old.image());
        let writes = area(&disk).writes(&new).unwrap();
        prop_assume!(!writes.is_empty());
        let cut = cut.index(writes.len());
        for (number, write) in writes.iter().enumerate().take(cut + 1) {
            let at = usize::try_from(write.at).unwrap();
            for (sector, bytes) in write.bytes.chunks(SECTOR).enumerate() {
                // Of what was not flushed yet, any sectors may have been written.
                if number < cut || reached.rotate_left(u32::try_from(sector % 64).unwrap()) & 1 == 1 {
                    disk[at + sector * SECTOR..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            let found = of(&disk).unwrap().unwrap();
            prop_assert!(found == old || found == new || found.is_empty(), "{found:?}");
        }
        // Whatever is there can be replaced again.
        let again = area(&disk).writes(&new).unwrap();
        for write in again {
            disk[usize::try_from(write.at).unwrap()..][..write.bytes.len()].copy_from_slice(&write.bytes);
        }
        prop_assert_eq!(disk, medium(&new.image()));
    }

    #[test]
    fn no_bytes_in_an_area_make_a_reader_panic(
        content in any_content(),
        changes in vec((any::<Index>(), any::<u8>()), 1..40),
        within in prop_oneof![Just(512_usize), Just(40 * 512), Just(1 << 20)],
    ) {
        let mut image = content.image();
        for (place, byte) in changes {
            image[place.index(within)] = byte;
        }
        let disk = medium(&image);
        let _ = of(&disk);
        let _ = area(&disk).listed();
        let _ = area(&disk).writes(&content);
    }

    #[test]
    fn no_bytes_in_a_table_make_a_reader_panic(
        changes in vec((any::<Index>(), any::<u8>()), 1..8),
        length in 0..40_000_usize,
    ) {
        let mut disk = medium(&Content::default().image());
        for (place, byte) in changes {
            let place = place.index(usize::try_from(AT).unwrap());
            disk[place] = byte;
        }
        let _ = of(&disk);
        disk.truncate(length);
        let _ = of(&disk);
    }
}

#[test]
fn an_area_without_files_has_no_label_and_one_with_files_that_of_a_seed() {
    let label = |content: &Content| Volume::open(&content.image()).unwrap().label;
    assert_eq!(label(&Content::default()), None);
    assert_eq!(label(&content(&[(Name::Ca, b"x")])).as_deref(), Some(names::SEED_LABEL));
}

#[test]
fn every_area_has_the_same_boot_sector_and_lists_all_its_files_in_one_sector() {
    let longest = vec![7; usize::try_from(layout::MAX_FILE.get()).unwrap()];
    let full = content(&[(Name::AnswersToml, &longest), (Name::Ca, &longest), (Name::Seed, &longest)]);
    let (full_image, empty) = (full.image(), Content::default().image());
    assert_eq!(full_image[..SECTOR], empty[..SECTOR]);
    assert_eq!(full_image.len() as u64, layout::SIZE.get());
    let root = Shape::of(&full_image).unwrap().root;
    assert!(full_image[root.start + SECTOR..root.end].iter().all(|byte| *byte == 0));
    assert!(empty[root].iter().all(|byte| *byte == 0));
    assert_eq!(of(&medium(&full_image)).unwrap().unwrap(), full);
    // Frozen: a change here gives every rebuilt ISO other bytes, and areas of older ones another boot sector.
    assert_eq!(crc32fast::hash(&empty[..SECTOR]), 3_959_342_287);
}

#[test]
fn fatfs_reads_what_we_write() {
    let written = content(&[(Name::AnswersToml, b"version = 1\n"), (Name::Ca, b"")]);
    let volume = fatfs::FileSystem::new(Cursor::new(written.image()), FsOptions::new()).unwrap();
    assert_eq!(volume.fat_type(), FatType::Fat12);
    let mut text = String::new();
    volume.root_dir().open_file("answers.toml").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "version = 1\n");
    let names: Vec<String> = volume.root_dir().iter().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["answers.toml", "ca.pem"]);
}

#[test]
fn files_that_somebody_copied_onto_the_stick_are_read_and_others_passed_over() {
    let mut image = content(&[(Name::Ca, b"x")]).image();
    {
        let volume = fatfs::FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new()).unwrap();
        let root = volume.root_dir();
        root.create_dir("System Volume Information").unwrap();
        root.create_file("SEED.TOML").unwrap().write_all(b"version = 1\n").unwrap();
        root.create_file("read me.txt").unwrap().write_all(&[b'x'; 2000]).unwrap();
    }
    let disk = medium(&image);
    let expected = content(&[(Name::Ca, b"x"), (Name::Seed, b"version = 1\n")]);
    assert_eq!(of(&disk).unwrap().unwrap(), expected);
    let listed = area(&disk).listed().unwrap();
    assert_eq!(listed, [("ca.pem".into(), 1), ("SEED.TOML".into(), 12), ("read me.txt".into(), 2000)]);
}

#[test]
fn a_medium_without_an_area_has_none() {
    assert!(of(&[]).unwrap().is_none());
    assert!(of(&[0; 4096]).unwrap().is_none());
    let mut disk = medium(&Content::default().image());
    disk[1024 + 2 * 128] ^= 1;
    let sum = crc32fast::hash(&disk[1024..1024 + 248 * 128]);
    disk[512 + 88..512 + 92].copy_from_slice(&sum.to_le_bytes());
    disk[512 + 16..512 + 20].fill(0);
    let sum = crc32fast::hash(&disk[512..512 + 92]);
    disk[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    assert!(of(&disk).unwrap().is_none());
}

#[test]
fn what_cannot_be_an_area_is_refused_with_the_reason() {
    let image = content(&[(Name::AnswersToml, b"version = 1\n")]).image();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = image.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        medium(&changed)
    };
    let shape = Shape::of(&image).unwrap();
    // Behind the label: a part of a long name, then the entry.
    let entry = shape.root.start + 2 * 32;
    let cases: [(&str, Vec<u8>); 7] = [
        ("there is no FAT12 file system", with(510, &[0, 0])),
        ("does not fit into its partition", with(19, &[0xff, 0xff])),
        ("its first sector describes no volume", with(14, &[0, 0])),
        ("goes on in a cluster that does not exist", with(entry + 26, &[0, 0])),
        ("has more clusters than its length needs", with(shape.fat.start + 3, &[3, 0xf0])),
        ("goes on in a cluster that does not exist", with(entry + 28, &(250_u32 << 10).to_le_bytes())),
        ("the CRC of its header does not match", {
            let mut disk = medium(&image);
            disk[512 + 30] ^= 1;
            disk
        }),
    ];
    for (words, disk) in cases {
        let error = said(of(&disk));
        assert!(error.contains(words), "{error}");
    }
    let long = with(entry + 28, &(1_u32 << 20).to_le_bytes());
    assert_eq!(said(of(&long)), "answers.toml has 1048576 bytes; at most 256 KiB fit");
}

#[test]
fn an_area_that_is_mounted_or_was_formatted_anew_is_not_written() {
    let refused = |at: usize, byte: u8| {
        let mut image = Content::default().image();
        image[at] = byte;
        said(area(&medium(&image)).writes(&content(&[(Name::Ca, b"x")])))
    };
    assert_eq!(refused(BOOT_STATE, 1), "the reserved area is mounted somewhere, or was not unmounted");
    assert_eq!(refused(3, b'm'), "the reserved area was formatted by another program");
}

#[test]
fn content_has_limits_and_one_file_of_answers() {
    let mut content = Content::default();
    let long = vec![0; usize::try_from(layout::MAX_FILE.get()).unwrap() + 1];
    assert_eq!(said(content.put(Name::Seed, long)), "seed.toml has 262145 bytes; at most 256 KiB fit");
    content.put(Name::AnswersToml, vec![1]).unwrap();
    assert_eq!(
        said(content.put(Name::AnswersJson, vec![1])),
        "there are two files of answers, answers.toml and answers.json"
    );
    content.put(Name::AnswersToml, b"hash".to_vec()).unwrap();
    assert_eq!(format!("{content:?}"), "{AnswersToml: 4}", "no secret in it");
}

#[test]
fn a_change_is_carried_out_on_a_file_and_touches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("medium");
    let mut disk = medium(&Content::default().image());
    disk.extend_from_slice(&[5; 4096]);
    fs_err::write(&path, &disk).unwrap();
    let mut file = fs_err::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let new = content(&[(Name::AnswersJson, b"{}")]);
    let writes = Area::load(&mut file).unwrap().unwrap().writes(&new).unwrap();
    carry_out(&mut file, &writes).unwrap();
    let mut expected = medium(&new.image());
    expected.extend_from_slice(&[5; 4096]);
    assert!(fs_err::read(&path).unwrap() == expected);
    assert!(area(&expected).writes(&new).unwrap().is_empty(), "nothing is left to do");
}
