use std::{os::unix::fs::symlink, path::Path};

use fs_err as fs;
use proptest::prelude::*;
use xenolith_trust::{InitOptions, KeySet};

use super::{
    compare::{Comparison, Keys},
    difference::How,
    *,
};
use crate::commands::inspect::testing;

fn compare(keys: Keys, a: &Path, b: &Path) -> Vec<String> {
    let found = Comparison { keys, tools: None }.trees(a, b).unwrap();
    found.iter().map(ToString::to_string).collect()
}

/// Two folders, each with the file that `make` leaves in it.
fn two(make: impl Fn(&Path, bool)) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for (path, second) in [(&a, false), (&b, true)] {
        fs::create_dir(path).unwrap();
        make(path, second);
    }
    (folder, a, b)
}

fn cpio(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members {
        let mut writer = cpio::newc::Builder::new(name)
            .mode(0o100_644)
            .write(&mut out, u32::try_from(content.len()).unwrap());
        std::io::Write::write_all(&mut writer, content).unwrap();
        writer.finish().unwrap();
    }
    cpio::newc::trailer(&mut out).unwrap();
    out
}

fn initrd(modules: &[u8]) -> Vec<u8> {
    let mut out = cpio(&[("kernel/x86/microcode/AuthenticAMD.bin", b"microcode")]);
    out.resize(out.len().next_multiple_of(512), 0);
    out.extend(
        zstd::bulk::compress(&cpio(&[("init", b"program"), ("usr/lib/modules/x.ko", modules)]), 3).unwrap(),
    );
    out
}

#[test]
fn a_byte_in_the_initrd_is_named_from_the_iso_down_to_the_member() {
    let root = testing::root();
    let (_folder, a, b) = two(|path, second| {
        let ramdisk = initrd(if second { b"module two" } else { b"module one" });
        testing::iso(path, &testing::boot_file(&root.hash, &ramdisk), &root);
        fs::remove_file(path.join("esp.img")).unwrap();
    });
    let found = compare(Keys::Same, &a, &b);
    let entry = "test.iso › ESP › EFI/Linux/xenolith_0.1.0+3-0.efi";
    assert_eq!(
        found,
        [format!("{entry} › section .ramdisk › usr/lib/modules/x.ko: differs from byte 7 on (of 10)")]
    );
}

#[test]
fn a_byte_in_a_partition_of_a_disk_is_named() {
    let (_folder, a, b) = two(|path, second| {
        let mut root = testing::root();
        root.data[5000] ^= u8::from(second);
        testing::disk(path, &testing::boot_file(&root.hash, b"ramdisk"), &root);
        for name in ["esp.img", "root.erofs", "root.verity"] {
            fs::remove_file(path.join(name)).unwrap();
        }
    });
    let found = compare(Keys::Same, &a, &b);
    assert_eq!(
        found,
        ["disk.img › partition 3 (xenolith-root-a): differs from byte 5000 on (of 4294967296)"]
    );
}

#[test]
fn signatures_by_other_keys_differ_and_can_be_left_out() {
    let (folder, root) = (tempfile::tempdir().unwrap(), testing::root());
    let keys =
        ["k1", "k2"].map(|name| KeySet::init(&folder.path().join(name), &InitOptions::default()).unwrap());
    let (_folder, a, b) = two(|path, second| {
        let signed = keys[usize::from(second)].sign_pe(&testing::boot_file(&root.hash, b"ramdisk")).unwrap();
        fs::write(path.join("xenolith.efi"), &signed).unwrap();
        testing::iso(path, &signed, &root);
        fs::remove_file(path.join("esp.img")).unwrap();
    });
    let found = compare(Keys::Same, &a, &b);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("test.iso › ESP › EFI/Linux/xenolith_0.1.0+3-0.efi › signature: "),
        "{found:?}"
    );
    assert!(found[1].starts_with("xenolith.efi › signature: "), "{found:?}");
    assert_eq!(compare(Keys::Differ, &a, &b), Vec::<String>::new());

    // What is not a signature is still seen: in the ESP, in a file of the ISO, and between them.
    let whole = fs::read(b.join("test.iso")).unwrap();
    let find = |what: &[u8]| whole.windows(what.len()).position(|part| part == what).unwrap();
    let unused = 40 * 512;
    for (at, place) in [
        (find(b"timeout 0"), "loader/loader.conf"),
        (24 * 2048 + 3, "manifest.json"),
        (unused, "before the ESP"),
    ] {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        fs::write(b.join("test.iso"), changed).unwrap();
        let found = compare(Keys::Differ, &a, &b);
        assert!(found.iter().any(|one| one.contains(place)), "{place}: {found:?}");
    }
}

#[test]
fn files_modes_links_and_values_are_told_apart() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, a, b) = two(|path, second| {
        fs::write(path.join(if second { "new" } else { "old" }), "x").unwrap();
        fs::write(path.join("mode"), "x").unwrap();
        fs::set_permissions(path.join("mode"), PermissionsExt::from_mode(if second { 0o600 } else { 0o644 }))
            .unwrap();
        symlink(if second { "there" } else { "here" }, path.join("link")).unwrap();
        let json = format!("{{\"a\":[1,{{\"b\":{second}}}]}}");
        fs::write(path.join("x.json"), json).unwrap();
    });
    let found = compare(Keys::Same, &a, &b);
    assert_eq!(
        found,
        [
            "link: was \"a link to here\", is \"a link to there\"",
            "mode: mode was 644, is 600",
            "new: only in the second",
            "old: only in the first",
            "x.json › /a/1/b: was \"false\", is \"true\"",
        ]
    );
}

#[test]
fn another_mode_in_a_result_is_a_note_and_another_byte_a_failure() {
    let one = |how| Compared {
        name: "iso".into(),
        result: true,
        bytes: 1,
        differences: vec![Difference::here(how)],
    };
    assert!(!one(How::Mode { first: 0o644, second: 0o600 }).fails());
    assert!(one(How::OnlyInFirst).fails());
}

#[test]
fn the_second_build_never_has_the_jobs_of_the_first() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_ne!(other_jobs(None), cores);
    assert_eq!(other_jobs(Some(7)), 7);
}

/// A store with one graph, `lent` and `again`, whose second step writes what it is told to.
#[test]
fn what_is_lent_is_not_run_again_and_the_first_store_stays_as_it_is() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use xenolith_store::{Graph, Input, StepSpec};
    let cache = tempfile::tempdir().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let graph = |text: &'static str| {
        let counter = Arc::clone(&ran);
        let mut graph = Graph::new(StepName::of("test"));
        let lent = StepSpec::new(StepName::of("lent"), move |context| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(fs::write(context.out().join("x"), "lent")?)
        });
        graph.add(lent).unwrap();
        let again = StepSpec::new(StepName::of("again"), move |context| {
            let lent = fs::read_to_string(context.input("lent").join("x"))?;
            Ok(fs::write(context.out().join("y"), format!("{lent} {text}"))?)
        });
        graph.add(again.input("lent", Input::Step(StepName::of("lent")))).unwrap();
        graph
    };
    let targets = [StepName::of("again")];
    let run = |store: &Store, text| {
        Scheduler::new(store).run(graph(text), &targets, &RunOptions::default(), &mut |_| {}).unwrap()
    };
    let store = Store::open(cache.path()).unwrap();
    let first = run(&store, "one");
    let scratch = Scratch::new(cache.path(), Purpose::Verify).unwrap();
    let lent = first.values().filter(|output| output.step.as_str() == "lent");
    scratch.lend(cache.path(), scratch.path(), lent).unwrap();
    let second = run(&Store::open(scratch.path()).unwrap(), "two");
    assert_eq!(ran.load(Ordering::Relaxed), 1, "the first step's result was lent");
    let (ours, theirs) = (&first[&targets[0]], &second[&targets[0]]);
    assert_eq!(compare(Keys::Same, &ours.path, &theirs.path), ["y: differs from byte 5 on (of 8)"]);
    drop(second);
    drop(scratch);
    assert_eq!(fs::read_to_string(ours.path.join("y")).unwrap(), "lent one");
    assert!(first[&StepName::of("lent")].path.join("x").exists(), "what was lent is still there");
}

proptest! {
    #[test]
    fn no_bytes_make_the_initrd_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), at in 0..2000_usize) {
        let _ = initrd::differences(&bytes, &bytes);
        let mut archive = initrd(b"module");
        for (to, from) in archive.iter_mut().skip(at).zip(&bytes) {
            *to = *from;
        }
        let _ = initrd::differences(&archive, &bytes);
    }
}
