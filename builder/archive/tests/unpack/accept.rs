use xenolith_archive::unpack::{
    Fixups, ListedKind, Rules, SetId, Special, control_fields, file_list, finish_tree, unpack_data,
};

use crate::deb::{Tar, deb_of, gz, xz, zst};
use crate::snapshot;

fn honest() -> Tar {
    Tar::default()
        .dir("./")
        .dir("./usr/")
        .dir("./usr/bin/")
        .member(b'0', b"./usr/bin/tool", b"", 0o4755, b"#!")
        .hard_link("./usr/bin/other", "./usr/bin/tool")
        .symlink("./usr/bin/short", "tool")
        .dir("./usr/share/")
        .file("./usr/share/empty", "")
}

#[test]
fn files_links_modes_and_times_are_those_of_the_package() {
    let tree = tempfile::tempdir().unwrap();
    let stats = unpack_data(honest().deb().as_slice(), tree.path(), &Rules::default()).unwrap();
    assert_eq!(
        (stats.files, stats.directories, stats.symlinks, stats.hard_links, stats.bytes),
        (2, 4, 1, 1, 2)
    );
    let seen = snapshot(tree.path());
    let expected = [
        ("usr", "dir 755 at 1700000000"),
        ("usr/bin", "dir 755 at 1700000000"),
        ("usr/bin/other", "file 755 at 1700000000 x2: #!"),
        ("usr/bin/short", "-> tool"),
        ("usr/bin/tool", "file 755 at 1700000000 x2: #!"),
        ("usr/share", "dir 755 at 1700000000"),
        ("usr/share/empty", "file 644 at 1700000000 x1: "),
    ];
    assert_eq!(seen, expected.map(|(path, what)| (path.to_owned(), what.to_owned())).into());
}

#[test]
fn every_compression_gives_the_same_list() {
    let tar = honest().end();
    let plain = file_list(deb_of(&[("data.tar", &tar)]).as_slice()).unwrap();
    assert_eq!(plain.len(), 7);
    for (name, bytes) in [("data.tar.xz", xz(&tar)), ("data.tar.zst", zst(&tar)), ("data.tar.gz", gz(&tar))] {
        assert_eq!(file_list(deb_of(&[(name, &bytes)]).as_slice()).unwrap(), plain, "{name}");
    }
}

#[test]
fn private_members_between_the_parts_are_skipped() {
    let tar = honest().end();
    let deb = deb_of(&[("_extra", b"odd"), ("data.tar", &tar), ("_gpgorigin", b"x")]);
    assert_eq!(file_list(deb.as_slice()).unwrap().len(), 7);
}

#[test]
fn set_id_bits_survive_only_when_asked_for() {
    let deb = honest().deb();
    let tree = tempfile::tempdir().unwrap();
    let rules = Rules { set_id: SetId::Keep, ..Rules::default() };
    unpack_data(deb.as_slice(), tree.path(), &rules).unwrap();
    assert!(snapshot(tree.path())["usr/bin/tool"].starts_with("file 4755 "));
}

#[test]
fn a_member_under_a_link_of_the_layout_lands_in_its_target() {
    let tree = tempfile::tempdir().unwrap();
    for (link, target) in [("bin", "usr/bin"), ("sbin", "/usr/sbin"), ("odd", "usr/../usr/./bin/../lib")] {
        std::os::unix::fs::symlink(target, tree.path().join(link)).unwrap();
    }
    let deb = Tar::default().dir("./bin/").file("./bin/a", "a").file("sbin/b", "b").file("odd/c", "c").deb();
    unpack_data(deb.as_slice(), tree.path(), &Rules::default()).unwrap();
    let seen = snapshot(tree.path());
    assert_eq!(seen["bin"], "-> usr/bin");
    for path in ["usr/bin/a", "usr/sbin/b", "usr/lib/c"] {
        assert!(seen.contains_key(path), "{path} in {seen:?}");
    }
}

#[test]
fn a_file_takes_the_place_of_a_link_and_not_of_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
    fs_err::create_dir(&tree).unwrap();
    fs_err::write(&outside, "untouched").unwrap();
    std::os::unix::fs::symlink(&outside, tree.join("x")).unwrap();
    unpack_data(Tar::default().file("x", "new").deb().as_slice(), &tree, &Rules::default()).unwrap();
    assert_eq!(fs_err::read_to_string(tree.join("x")).unwrap(), "new");
    assert!(!tree.join("x").is_symlink());
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "untouched");
}

#[test]
fn directories_stay_usable_and_files_readable_for_their_owner() {
    let tree = tempfile::tempdir().unwrap();
    let deb = Tar::default()
        .member(b'5', b"closed", b"", 0o000, b"")
        .member(b'0', b"closed/secret", b"", 0o000, b"s")
        .deb();
    unpack_data(deb.as_slice(), tree.path(), &Rules::default()).unwrap();
    let seen = snapshot(tree.path());
    assert_eq!(seen["closed"], "dir 700 at 1700000000");
    assert_eq!(seen["closed/secret"], "file 400 at 1700000000 x1: s");
}

#[test]
fn long_names_and_targets_are_whole() {
    let name = format!("{}/{}", "d".repeat(200), "n".repeat(255));
    let target = "t".repeat(300);
    let list = file_list(Tar::default().symlink(&name, &target).deb().as_slice()).unwrap();
    assert_eq!(list[0].path.as_bytes(), name.as_bytes());
    assert_eq!(list[0].kind, ListedKind::Symlink(target.into_bytes()));
}

#[test]
fn device_nodes_and_fifos_are_left_out_or_refused() {
    let deb = Tar::default()
        .member(b'3', b"null", b"", 0o666, b"")
        .member(b'6', b"fifo", b"", 0o666, b"")
        .file("f", "")
        .deb();
    let tree = tempfile::tempdir().unwrap();
    let stats = unpack_data(deb.as_slice(), tree.path(), &Rules::default()).unwrap();
    assert_eq!((stats.skipped, stats.files), (2, 1));
    assert_eq!(snapshot(tree.path()).len(), 1);
    let strict = Rules { special: Special::Refuse, ..Rules::default() };
    let error = unpack_data(deb.as_slice(), tree.path(), &strict).unwrap_err();
    assert_eq!(crate::chain(&error), "member \"null\" is refused: it is a device node or a FIFO");
}

#[test]
fn control_fields_keep_their_line_breaks() {
    let fields = control_fields(honest().deb().as_slice()).unwrap();
    assert_eq!(fields["Package"], "demo");
    assert_eq!(fields["Description"], "a demo\nwith more\n.\nto say");
    assert_eq!(fields.len(), 4);
}

#[test]
fn a_finished_tree_has_users_directories_and_alternatives() {
    let tree = tempfile::tempdir().unwrap();
    let deb = Tar::default()
        .file("usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n")
        .file("usr/bin/mawk", "")
        .file("usr/bin/gcc", "")
        .symlink("usr/bin/cc", "mine")
        .deb();
    unpack_data(deb.as_slice(), tree.path(), &Rules::default()).unwrap();
    for round in 0..2 {
        let made = finish_tree(tree.path(), &Fixups::default()).unwrap();
        assert_eq!(made.len(), if round == 0 { 2 } else { 0 }, "awk and nawk, once");
        let seen = snapshot(tree.path());
        assert_eq!(seen["usr/bin/awk"], "-> mawk");
        assert_eq!(seen["usr/bin/cc"], "-> mine");
        assert_eq!(seen["etc/passwd"], "file 644 at 0 x1: root:*:0:0:root:/root:/bin/bash\\n");
        assert_eq!(seen["etc/machine-id"], "file 644 at 0 x1: ");
        assert_eq!(seen["tmp"], "dir 1777 at 0");
        assert_eq!(seen["root"], "dir 700 at 0");
        for path in ["etc/group", "etc/hosts", "etc/nsswitch.conf", "proc", "sys", "dev", "run", "var/tmp"] {
            assert!(seen.contains_key(path), "{path}");
        }
    }
}
