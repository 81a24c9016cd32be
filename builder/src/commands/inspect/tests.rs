use std::path::Path;

use fs_err as fs;
use proptest::prelude::*;
use xenolith_disk::reserved::{Content, Name};
use xenolith_trust::{InitOptions, KeySet};

use super::{
    image::Look,
    inspect,
    model::{Inspection, Program, RootImage, Signature, Verity, What},
    program::Trusted,
    show, testing,
    window::Window,
    *,
};

fn look(path: &Path) -> Inspection {
    inspect(path, &Look { quick: false, trusted: &Trusted::default() }).unwrap()
}

fn only_program(found: &Inspection) -> &Program {
    match &found.what {
        What::BootFile(program) => program,
        What::Iso(iso) => &iso.esp.as_ref().unwrap().programs[1],
        What::Disk(disk) => &disk.esp.as_ref().unwrap().programs[1],
        What::UpdateSet(set) => set.boot_file.as_ref().unwrap(),
        What::Netboot(set) => set.boot_file.as_ref().unwrap(),
    }
}

fn only_root(found: &Inspection) -> &RootImage {
    match &found.what {
        What::BootFile(_) => panic!("a boot file has no root image"),
        What::Iso(iso) => iso.root.as_ref().unwrap(),
        What::Disk(disk) => disk.slots[0].root.as_ref().unwrap(),
        What::UpdateSet(set) => &set.root,
        What::Netboot(set) => set.root.as_ref().unwrap(),
    }
}

#[test]
fn a_boot_file_says_its_version_its_command_lines_and_its_sections() {
    let folder = tempfile::tempdir().unwrap();
    let (path, root) = (folder.path().join("x.efi"), testing::root());
    fs::write(&path, testing::boot_file(&root.hash, b"ramdisk")).unwrap();
    let found = look(&path);
    let program = only_program(&found);
    assert_eq!(program.version.as_deref(), Some("0.1.0"));
    assert_eq!(program.root_hash, Some(root.hash));
    assert_eq!(program.command_lines[0].xen, "dom0_mem=1G");
    let names: Vec<&str> = program.sections.iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, [".text", ".config", ".osrel", ".kernel", ".ramdisk"]);
    assert_eq!(program.signature, Signature::Unsigned);
    assert_eq!(found.broken(), Vec::<String>::new());
    let text = show::text(&found);
    assert!(text.contains("\n  version        0.1.0\n"), "{text}");
}

#[test]
fn a_signature_is_trusted_unknown_or_bad() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |name: &str| {
        let folder = folder.path().join(name);
        let keys = KeySet::init(&folder, &InitOptions::default()).unwrap();
        (keys, Trusted::load(&folder).unwrap())
    };
    let ((ours, our_trust), (_, others)) = (keys("ours"), keys("others"));
    let path = folder.path().join("x.efi");
    let mut bytes = ours.sign_pe(&testing::boot_file(&testing::root().hash, b"ramdisk")).unwrap();
    fs::write(&path, &bytes).unwrap();
    let of = |trusted: &Trusted| {
        let found = inspect(&path, &Look { quick: true, trusted }).unwrap();
        (only_program(&found).signature.clone(), found.broken().len())
    };
    let fingerprint = ours.db().certificate().fingerprint();
    let signer = ours.db().certificate().subject();
    assert_eq!(of(&our_trust), (Signature::Trusted { signer: signer.clone(), fingerprint }, 0));
    let unknown = (Signature::Unknown { signer, fingerprint: Some(fingerprint) }, 0);
    assert_eq!(of(&others), unknown);
    assert_eq!(of(&Trusted::default()), unknown);
    bytes[0x300] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (signature, broken) = of(&our_trust);
    assert!(matches!(signature, Signature::Bad { .. }), "{signature:?}");
    assert_eq!(broken, 1);
}

#[test]
fn an_iso_shows_its_files_its_esp_and_a_root_image_that_holds() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let path = testing::iso(folder.path(), &testing::boot_file(&root.hash, b"ramdisk"), &root);
    let found = look(&path);
    assert_eq!(found.broken(), Vec::<String>::new());
    let What::Iso(iso) = &found.what else { panic!("not taken for an ISO") };
    assert_eq!(iso.volume_id, "XENOLITH_MEDIA");
    let paths: Vec<&str> = iso.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/xenolith/manifest.json", "/xenolith/root.erofs", "/xenolith/root.verity"]);
    assert_eq!(iso.manifest.as_ref().unwrap()["version"], "0.1.0");
    assert_eq!(iso.boot_images[0].platform, "EFI");
    let table = iso.table.as_ref().unwrap();
    assert_eq!((table.partitions[0].label.as_str(), &table.backup), ("Appended2", &gpt::Backup::Same));
    assert_eq!(table.partitions[0].offset, iso.boot_images[0].offset);
    assert_eq!(iso.esp.as_ref().unwrap().label, "XENO_ESP");
    assert_eq!(only_root(&found).verity, Verity::Holds);
    assert_eq!(only_root(&found).root_hash, Some(root.hash));
    assert!(show::text(&found).contains("EFI/Linux/xenolith_0.1.0+3-0.efi"));
    assert_eq!(iso.reserved.as_ref().map(|area| area.files.len()), Some(0));
    assert!(
        show::text(&found)
            .lines()
            .any(|line| line.starts_with("  reserved area, 1 MiB") && line.ends_with(", empty"))
    );
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(
        (&json["kind"], &json["format"], &json["root"]["verity"]["state"]),
        (&"iso".into(), &1.into(), &"holds".into())
    );
}

#[test]
fn an_iso_lists_what_was_put_into_its_reserved_area_and_not_what_it_says() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let boot_file = testing::boot_file(&root.hash, b"ramdisk");
    let mut content = Content::default();
    content.put(Name::AnswersToml, b"password-hash".to_vec()).unwrap();
    content.put(Name::Seed, b"x".to_vec()).unwrap();
    let mut area = content.image();
    let found = look(&testing::iso_with(folder.path(), &boot_file, &root, &area));
    assert_eq!(found.broken(), Vec::<String>::new());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(
        json["reserved"]["files"],
        serde_json::json!([{ "path": "answers.toml", "size": 13 }, { "path": "seed.toml", "size": 1 }])
    );
    let text = show::text(&found);
    assert!(text.contains("    answers.toml  13 bytes\n") && !text.contains("password-hash"), "{text}");
    let older = look(&testing::iso_with(folder.path(), &boot_file, &root, &[]));
    assert_eq!(older.broken(), Vec::<String>::new());
    assert!(serde_json::to_value(&older).unwrap()["reserved"].is_null());
    area[14..16].fill(0);
    let damaged = look(&testing::iso_with(folder.path(), &boot_file, &root, &area));
    assert_eq!(
        damaged.broken(),
        [
            "the reserved area cannot be understood: the FAT12 file system is damaged: its first sector describes no volume"
        ]
    );
}

#[test]
fn a_flipped_bit_in_the_root_image_is_found_and_placed() {
    let (folder, mut root) = (tempfile::tempdir().unwrap(), testing::root());
    let boot_file = testing::boot_file(&root.hash, b"ramdisk");
    root.data[17 * 4096 + 5] ^= 4;
    for path in
        [testing::iso(folder.path(), &boot_file, &root), testing::disk(folder.path(), &boot_file, &root)]
    {
        let found = look(&path);
        assert_eq!(found.broken().len(), 1, "{:?}", found.broken());
        assert!(found.broken()[0].contains("data block 17"), "{:?}", found.broken());
        let quick = inspect(&path, &Look { quick: true, trusted: &Trusted::default() }).unwrap();
        assert_eq!(quick.broken(), Vec::<String>::new());
    }
}

#[test]
fn a_boot_file_that_asks_for_another_root_is_found() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let boot_file = testing::boot_file(&xenolith_layout::RootHash::new([3; 32]), b"ramdisk");
    let iso = look(&testing::iso(folder.path(), &boot_file, &root));
    assert!(iso.broken()[0].contains("no boot file here asks for the root image"), "{:?}", iso.broken());
    let disk = look(&testing::disk(folder.path(), &boot_file, &root));
    assert!(matches!(only_root(&disk).verity, Verity::NotChecked { .. }));
}

#[test]
fn a_disk_shows_its_partitions_and_slots() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let path = testing::disk(folder.path(), &testing::boot_file(&root.hash, b"ramdisk"), &root);
    let found = look(&path);
    assert_eq!(found.broken(), Vec::<String>::new());
    let What::Disk(disk) = &found.what else { panic!("not taken for a disk") };
    assert_eq!(disk.table.partitions.len(), 7);
    assert_eq!(disk.table.partitions[2].kind, Some("Xenolith root"));
    assert_eq!(only_root(&found).size, 40 * 4096);
    assert_eq!(only_root(&found).verity, Verity::Holds);
    assert!(disk.slots[1].root.is_none(), "slot B is empty");
    let entry =
        disk.esp.as_ref().unwrap().files.iter().find(|file| file.path.starts_with("EFI/Linux/")).unwrap();
    assert_eq!(entry.size, only_program(&found).size);
}

/// An update set as the build step writes it.
fn update_set(folder: &Path, keys: &KeySet, root: &testing::Root) {
    let frames: Vec<Vec<u8>> =
        root.data.chunks(65536).map(|part| zstd::bulk::compress(part, 3).unwrap()).collect();
    fs::write(folder.join("root.frames"), frames.concat()).unwrap();
    fs::write(folder.join("root.verity"), &root.tree).unwrap();
    fs::write(folder.join("xenolith.efi"), testing::boot_file(&root.hash, b"ramdisk")).unwrap();
    let mut stored_at = 0;
    let frames = frames.iter().zip(0..).map(|(frame, number)| {
        let stored = frame.len() as u64;
        stored_at += stored;
        crate::steps::media::Frame { at: number * 65536, stored_at: stored_at - stored, stored }
    });
    let sum = |name: &str| image::sum(&mut fs::File::open(folder.join(name)).unwrap()).unwrap();
    let index = crate::steps::media::UpdateIndex {
        format: 1,
        version: "0.1.0".into(),
        root_hash: root.hash.to_string(),
        root_size: root.data.len() as u64,
        verity_size: root.tree.len() as u64,
        frame: 65536,
        frames: frames.collect(),
        files: ["root.frames", "root.verity", "xenolith.efi"].map(|name| (name.to_owned(), sum(name))).into(),
    };
    let text = serde_json::to_vec(&index).unwrap();
    fs::write(
        folder.join(update::INDEX),
        keys.update().sign_dsse(crate::steps::media::UPDATE_INDEX_TYPE, &text),
    )
    .unwrap();
}

#[test]
fn an_update_set_is_checked_down_to_the_blocks_in_its_frames() {
    let folder = tempfile::tempdir().unwrap();
    let (set, keys) = (folder.path().join("set"), folder.path().join("keys"));
    fs::create_dir(&set).unwrap();
    let (root, keys, trusted) = {
        let made = KeySet::init(&keys, &InitOptions::default()).unwrap();
        (testing::root(), made, Trusted::load(&keys).unwrap())
    };
    update_set(&set, &keys, &root);
    let found = inspect(&set, &Look { quick: false, trusted: &trusted }).unwrap();
    assert_eq!(found.broken(), Vec::<String>::new());
    let What::UpdateSet(shown) = &found.what else { panic!("not taken for an update set") };
    assert!(matches!(shown.signature, Signature::Trusted { .. }));
    assert_eq!((shown.frames, &shown.root.verity), (3, &Verity::Holds));
    let stranger = look(&set);
    assert!(
        matches!(&stranger.what, What::UpdateSet(set) if matches!(set.signature, Signature::Unknown { .. }))
    );

    let mut other = testing::root();
    other.data[9 * 4096] ^= 1;
    let frames: Vec<Vec<u8>> =
        other.data.chunks(65536).map(|part| zstd::bulk::compress(part, 3).unwrap()).collect();
    fs::write(set.join("root.frames"), frames.concat()).unwrap();
    let text = fs::read_to_string(set.join(update::INDEX)).unwrap();
    let payload = text.find("\"payload\":\"").unwrap() + 30;
    let mut changed = text.into_bytes();
    changed[payload] = if changed[payload] == b'Q' { b'R' } else { b'Q' };
    let broken = inspect(&set, &Look { quick: false, trusted: &trusted }).unwrap().broken();
    assert!(
        broken.iter().any(|why| why.contains("root.frames is missing or not what the index says")),
        "{broken:?}"
    );
    fs::write(set.join(update::INDEX), changed).unwrap();
    match inspect(&set, &Look { quick: true, trusted: &trusted }) {
        Ok(found) => {
            assert!(found.broken().iter().any(|why| why.contains("was changed after key")), "{found:?}")
        }
        Err(failure) => assert_eq!(failure.class, crate::exit::Class::Input),
    }
}

#[test]
fn files_of_other_kinds_are_refused_with_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for bytes in [&b""[..], b"MZ", b"text\n", &[0; 70_000]] {
        fs::write(&path, bytes).unwrap();
        let failure = inspect(&path, &Look { quick: false, trusted: &Trusted::default() }).unwrap_err();
        assert_eq!(failure.class, crate::exit::Class::Input);
    }
    assert!(inspect(folder.path(), &Look { quick: false, trusted: &Trusted::default() }).is_err());
}

#[test]
fn every_truncation_of_an_iso_is_described_or_refused() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let path = testing::iso(folder.path(), &testing::boot_file(&root.hash, b"ramdisk"), &root);
    let whole = fs::read(&path).unwrap();
    for length in
        [0, 1, 512, 1024, 32768, 32769, 34816, 40960, 43008, 45056, 50_000, 300_000, whole.len() - 600]
    {
        fs::write(&path, &whole[..length]).unwrap();
        match inspect(&path, &Look { quick: false, trusted: &Trusted::default() }) {
            Ok(found) => assert_ne!(found.broken(), Vec::<String>::new(), "{length}"),
            Err(failure) => assert!(failure.source.is_some() || failure.hint.is_some(), "{length}"),
        }
    }
}

#[test]
fn a_ring_of_clusters_and_a_ring_of_folders_end() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let esp = fs::read(testing::esp(folder.path(), &testing::boot_file(&root.hash, b"ramdisk"))).unwrap();
    let fat = usize::from(u16::from_le_bytes([esp[14], esp[15]])) * 512;
    for value in [0_u32, 1, 2, 3, 0x0fff_fff7, u32::MAX] {
        let mut bytes = esp.clone();
        for entry in bytes[fat + 8..fat + 512].as_chunks_mut::<4>().0 {
            *entry = value.to_le_bytes();
        }
        let length = bytes.len() as u64;
        if let Ok(volume) = fat::Volume::open(Window::new(bytes, length)) {
            for file in &volume.files {
                let _ = volume.read(file, 1 << 20);
            }
        }
    }
    let mut iso = fs::read(testing::iso(folder.path(), b"no program", &root)).unwrap();
    // The folder /xenolith lies in block 21; now it is in block 20, which holds it.
    let at = 20 * 2048 + 34 * 2 + 2;
    assert_eq!(iso[at], 21);
    iso[at] = 20;
    let length = iso.len() as u64;
    assert!(iso::read(&Window::new(iso, length)).is_err());
}

/// A file's start and the places in it that decide most, with random bytes put over them.
fn damaged(original: &[u8], damage: &[(usize, Vec<u8>)], hot: &[usize]) -> Window {
    let mut bytes = original.to_vec();
    for (at, with) in damage {
        let place = hot[at % hot.len()] + (at / hot.len()) % 600;
        for (to, from) in bytes.iter_mut().skip(place).zip(with) {
            *to = *from;
        }
    }
    let length = bytes.len() as u64;
    Window::new(bytes, length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..8192)) {
        let length = bytes.len() as u64;
        let trusted = Trusted::default();
        let _ = program::inspect("x", &bytes, &trusted);
        let window = Window::new(bytes, length);
        let look = Look { quick: false, trusted: &trusted };
        prop_assert!(gpt::read(&window).is_err());
        prop_assert!(iso::read(&window).is_err());
        let _ = image::esp(&window, &look);
        let _ = image::root_image(&window, &window, &[], image::Orphan::Fine, &look);
    }

    #[test]
    fn no_damage_to_a_real_file_makes_a_reader_panic(
        damage in prop::collection::vec((any::<usize>(), prop::collection::vec(any::<u8>(), 1..8)), 1..12)
    ) {
        thread_local! {
            static ORIGINALS: (Vec<u8>, Vec<u8>) = {
                let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
                let boot_file = testing::boot_file(&root.hash, b"ramdisk");
                let iso = fs::read(testing::iso(folder.path(), &boot_file, &root)).unwrap();
                (iso, fs::read(folder.path().join("esp.img")).unwrap())
            };
        }
        let trusted = Trusted::default();
        let look = Look { quick: true, trusted: &trusted };
        ORIGINALS.with(|(iso, esp)| {
            let window = damaged(iso, &damage, &[512, 1024, 16 * 2048, 17 * 2048, 19 * 2048, 20 * 2048, 21 * 2048]);
            let _ = image::iso(&window, &look);
            let fat = usize::from(u16::from_le_bytes([esp[14], esp[15]])) * 512;
            let data = esp.len() - 60_000 * 512;
            let _ = image::esp(&damaged(esp, &damage, &[0, fat, fat + 400, data]), &look);
        });
    }
}
