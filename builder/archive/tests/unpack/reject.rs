//! Each dishonest package and the whole text of its refusal. The same text comes from the memory sink and from a
//! tree, and the tree's neighbours stay as they are.

use xenolith_archive::unpack::{Limits, ListSink, Rules, control_fields, unpack_data, unpack_into};

use crate::deb::{Tar, ar, control, deb_of, gz, xz, zst};
use crate::{chain, snapshot};

static ZEROS: [u8; 4 << 20] = [0; 4 << 20];

fn member_cases() -> Vec<(&'static str, Tar)> {
    let tar = Tar::default;
    vec![
        ("member \"../x\" is refused: its name goes upwards", tar().file("../x", "x")),
        ("member \"a/../../x\" is refused: its name goes upwards", tar().dir("a").file("a/../../x", "x")),
        ("member \"/etc/passwd\" is refused: its name is absolute", tar().file("/etc/passwd", "x")),
        ("member \"\" is refused: its name is empty", tar().file("", "x")),
        ("member \"./\" is refused: its name is that of the tree itself", tar().symlink("./", "/")),
        (
            "member \"d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d\" is refused: its name is too deep",
            tar().dir(&["d"; 65].join("/")),
        ),
        (
            "member \"evil/passwd\" is refused: it lies under a symbolic link of the same package",
            tar().symlink("evil", "/etc").file("evil/passwd", "x"),
        ),
        (
            "member \"./up/x\" is refused: it lies under a symbolic link of the same package",
            tar().symlink("up", "../..").dir("./up/x"),
        ),
        (
            "member \"x\" is refused: it is a hard link whose target goes upwards",
            tar().hard_link("x", "../outside"),
        ),
        (
            "member \"x\" is refused: it is a hard link whose target is absolute",
            tar().hard_link("x", "/etc/passwd"),
        ),
        (
            "member \"x\" is refused: it is a hard link to something that this package has not brought",
            tar().hard_link("x", "etc/passwd"),
        ),
        (
            "member \"x\" is refused: it is a hard link to something that this package has not brought",
            tar().symlink("l", "/etc/passwd").hard_link("x", "l"),
        ),
        (
            "member \"x\" is refused: it is a hard link to something that this package has not brought",
            tar().hard_link("x", "x"),
        ),
        (
            "member \"x\" is refused: it is a symbolic link whose target is empty or too long",
            tar().symlink("x", ""),
        ),
        (
            "member \"./x\" is refused: the package has two members of that name",
            tar().file("x", "1").file("./x", "2"),
        ),
        (
            "member \"x\" is refused: the package has two members of that name",
            tar().symlink("x", "/etc").dir("x"),
        ),
        (
            "member \"x/y\" is refused: something on its way is no directory",
            tar().file("x", "1").file("x/y", "2"),
        ),
        (
            "member \"x\" is refused: it is no file but claims to have content",
            tar().member(b'2', b"x", b"y", 0o777, b"z"),
        ),
        (
            "member \"x\" is refused: it is of the unknown type 0x78",
            tar().member(b'x', b"x", b"", 0, b"12 path=/x\n"),
        ),
        ("member \"x\" is refused: it is of the unknown type 0x53", tar().member(b'S', b"x", b"", 0, b"")),
    ]
}

fn long(length: usize) -> Tar {
    Tar::default().file(&"n".repeat(length), "")
}

fn archive_cases() -> Vec<(&'static str, Vec<u8>)> {
    let tar = Tar::default().file("f", "content").end();
    let whole = deb_of(&[("data.tar", &tar)]);
    let mut bad_sum = tar.clone();
    bad_sum[0] ^= 1;
    let no_end = Tar::default().file("f", "content").0;
    let mut cut_xz = xz(&tar);
    cut_xz.truncate(cut_xz.len() - 20);
    let mut later = deb_of(&[("data.tar", &tar), ("data.tar.xz", &xz(&tar))]);
    let doubled =
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), ("control.tar", &control())]);
    let swapped = ar(&[("debian-binary", b"2.0\n"), ("data.tar", &tar), ("control.tar", &control())]);
    let bomb = Tar::default().raw(b'0', b"zeros", b"", 0o644, 1 << 22, &ZEROS).end();
    let huge_name = Tar::default().raw(b'L', b"././@LongLink", b"", 0, 1 << 22, &ZEROS).file("x", "").end();
    let two_names = Tar::default().raw(b'L', b"l", b"", 0, 1, b"a").raw(b'L', b"l", b"", 0, 1, b"b").end();
    let dangling = Tar::default().raw(b'L', b"l", b"", 0, 1, b"a").end();
    let endless = Tar::default().raw(b'0', b"f", b"", 0o644, (1 << 33) - 1, b"").end();
    vec![
        ("the package file is malformed: it is no ar archive", Vec::new()),
        ("the package file is malformed: it is no ar archive", b"PK\x03\x04 something else".to_vec()),
        ("the package file is malformed: it ends before its end", b"!<arch>\n".to_vec()),
        ("the package file is malformed: it ends before its end", whole[..whole.len() - 9 * 512].to_vec()),
        ("the package file is malformed: it ends before its end", deb_of(&[])),
        ("the package file is malformed: it ends before its end", whole[..whole.len() - 512].to_vec()),
        ("data.tar is malformed: it ends before its end", whole[..whole.len() - 1200].to_vec()),
        (
            "the package file is malformed: it is not of the format \"2.x\"",
            ar(&[("debian-binary", b"3.0\n")]),
        ),
        ("the package file is malformed: it is not of the format \"2.x\"", ar(&[("control.tar", b"2.0\n")])),
        (PARTS, doubled),
        (PARTS, swapped),
        (PARTS, std::mem::take(&mut later)),
        (PARTS, deb_of(&[("data.tar", &tar), ("surprise", b"x")])),
        (
            "data.tar is malformed: its compression is none of xz, zst, gz, none",
            deb_of(&[("data.tar.bz2", &tar)]),
        ),
        ("data.tar is malformed: a header is invalid: its sum is wrong", deb_of(&[("data.tar", &bad_sum)])),
        ("data.tar is malformed: it ends before its end", deb_of(&[("data.tar", &no_end)])),
        ("data.tar is malformed: it ends before its end", deb_of(&[("data.tar.xz", &xz(&no_end))])),
        ("data.tar is malformed: it ends before its end", deb_of(&[("data.tar", &endless)])),
        (
            "data.tar is malformed: a header is invalid: a long name follows another",
            deb_of(&[("data.tar", &two_names)]),
        ),
        (
            "data.tar is malformed: a header is invalid: a long name without its member",
            deb_of(&[("data.tar", &dangling)]),
        ),
        (
            "data.tar goes beyond what a package may cost: more than 1000 bytes out of each compressed byte",
            deb_of(&[("data.tar.xz", &xz(&bomb))]),
        ),
        (
            "data.tar goes beyond what a package may cost: more than 1000 bytes out of each compressed byte",
            deb_of(&[("data.tar.zst", &zst(&bomb))]),
        ),
        (
            "data.tar goes beyond what a package may cost: names of more than 4096 bytes",
            deb_of(&[("data.tar.gz", &gz(&huge_name))]),
        ),
        ("member \"NAME\" is refused: its name is too long", long(256).deb()),
    ]
}

const PARTS: &str =
    "the package file is malformed: its parts are not control.tar and data.tar, once each and in this order";

fn refused(deb: &[u8], rules: &Rules) -> String {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs_err::create_dir(&tree).unwrap();
    fs_err::write(folder.path().join("outside"), "untouched").unwrap();
    let on_disk = chain(&unpack_data(deb, &tree, rules).unwrap_err());
    let in_memory = chain(&unpack_into(deb, rules, &mut ListSink::default()).unwrap_err());
    assert_eq!(on_disk, in_memory);
    let around: Vec<_> =
        snapshot(folder.path()).into_iter().filter(|(path, _)| !path.starts_with("tree")).collect();
    assert_eq!(around.len(), 1, "{around:?}");
    assert!(around[0].1.ends_with("x1: untouched"), "{around:?}");
    on_disk
}

#[test]
fn members_that_no_honest_package_has_are_refused() {
    for (expected, tar) in member_cases() {
        assert_eq!(refused(&tar.deb(), &Rules::default()), expected);
    }
}

#[test]
fn archives_that_are_cut_doubled_or_overblown_are_refused() {
    let name = "n".repeat(256);
    for (index, (expected, deb)) in archive_cases().into_iter().enumerate() {
        assert_eq!(refused(&deb, &Rules::default()), expected.replace("NAME", &name), "case {index}");
    }
}

#[test]
fn a_cut_compressed_stream_is_refused_whatever_the_compression() {
    let tar = Tar::default().file("f", "content").end();
    for (name, bytes) in [("data.tar.xz", xz(&tar)), ("data.tar.zst", zst(&tar)), ("data.tar.gz", gz(&tar))] {
        let deb = deb_of(&[(name, &bytes[..bytes.len() - 6])]);
        assert!(refused(&deb, &Rules::default()).starts_with("data.tar is malformed: it ends"), "{name}");
    }
}

#[test]
fn each_limit_is_held() {
    let deb = Tar::default().file("a", "12345").file("b", "67890").deb();
    let base = Limits::default;
    let cases = [
        ("more than 1 members", Limits { members: 1, ..base() }),
        ("more than 1500 bytes when decompressed", Limits { data: 1500, ..base() }),
        ("names of more than 1 bytes", Limits { names: 1, ..base() }),
    ];
    for (expected, limits) in cases {
        let text = refused(&deb, &Rules { limits, ..Rules::default() });
        assert_eq!(text, format!("data.tar goes beyond what a package may cost: {expected}"));
    }
}

#[test]
fn a_decompressor_gets_no_more_memory_than_it_may_have() {
    let tar = Tar::default().file("a", "12345").end();
    let deb = deb_of(&[("data.tar.xz", &xz(&tar))]);
    let limits = Limits { decoder: 64 << 10, ..Limits::default() };
    let text = refused(&deb, &Rules { limits, ..Rules::default() });
    assert!(text.starts_with("cannot read data.tar: "), "{text}");
}

#[test]
fn a_control_file_must_be_one_list_of_fields() {
    let with = |tar: Tar| ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar.end())]);
    let file = |text| with(Tar::default().file("./control", text));
    let prefix = "control.tar is malformed: its control file is no list of fields: ";
    for (expected, deb) in [
        ("it is missing", with(Tar::default().file("./md5sums", ""))),
        ("a line has no colon", file("Package\n")),
        ("it begins with a continuation", file(" x\n")),
        ("a field is there twice", file("A: 1\nA: 2\n")),
        ("a line has no colon", file("A: 1\n\nB: 2\n")),
        ("a field has no name", file(": 1\n")),
    ] {
        assert_eq!(chain(&control_fields(deb.as_slice()).unwrap_err()), format!("{prefix}{expected}"));
    }
    let twice = with(Tar::default().file("./control", "A: 1\n").file("control", "A: 2\n"));
    assert_eq!(
        chain(&control_fields(twice.as_slice()).unwrap_err()),
        "member \"control\" is refused: the package has two members of that name"
    );
}
