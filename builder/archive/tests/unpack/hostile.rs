//! Whatever the names and links, nothing beside the tree changes; whatever the bytes, nothing panics.

use std::path::Path;

use proptest::prelude::*;
use xenolith_archive::unpack::{
    Fixups, ListSink, Rules, control_fields, finish_tree, unpack_data, unpack_into, unpack_tree,
};

use crate::deb::{Tar, deb_of, xz};
use crate::{chain, snapshot};

/// Stands for the folder beside the tree in a generated name.
const OUTSIDE: &str = "OUTSIDE";

fn name() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "etc", "usr", "bin", "passwd"]),
        2 => Just(".."),
        1 => prop::sample::select(vec![".", "", "outside", "tree", "sentinel"]),
    ];
    let path = prop::collection::vec(component, 1..5).prop_map(|parts| parts.join("/"));
    prop_oneof![
        8 => path.clone(),
        1 => path.clone().prop_map(|path| format!("/{path}")),
        1 => path.prop_map(|path| format!("{OUTSIDE}/{path}")),
        1 => Just(OUTSIDE.to_owned()),
        1 => Just(format!("{OUTSIDE}/sentinel")),
    ]
}

fn member() -> impl Strategy<Value = (u8, String, String)> {
    let kind =
        prop_oneof![3 => Just(b'0'), 3 => Just(b'2'), 1 => Just(b'1'), 2 => Just(b'5'), 1 => Just(b'6')];
    (kind, name(), name())
}

fn add(tar: Tar, outside: &str, (kind, name, link): &(u8, String, String)) -> Tar {
    let (name, link) = (name.replace(OUTSIDE, outside), link.replace(OUTSIDE, outside));
    let link = if matches!(kind, b'1' | b'2') { link } else { String::new() };
    let content: &[u8] = if *kind == b'0' { b"hostile" } else { b"" };
    tar.member(*kind, name.as_bytes(), link.as_bytes(), 0o755, content)
}

/// A folder with a tree and, beside it, what must stay as it is.
struct Yard {
    folder: tempfile::TempDir,
    before: Vec<(String, String)>,
}

impl Yard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("tree/usr/bin")).unwrap();
        fs_err::create_dir_all(folder.path().join("outside/a/b")).unwrap();
        fs_err::write(folder.path().join("outside/sentinel"), "untouched").unwrap();
        fs_err::write(folder.path().join("passwd"), "untouched").unwrap();
        let mut yard = Self { folder, before: Vec::new() };
        yard.before = yard.beside();
        yard
    }

    fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }

    fn outside(&self) -> String {
        self.folder.path().join("outside").display().to_string()
    }

    fn beside(&self) -> Vec<(String, String)> {
        let inside = |path: &str| Path::new(path).starts_with("tree");
        snapshot(self.folder.path()).into_iter().filter(|(path, _)| !inside(path)).collect()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.beside(), self.before.clone());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Each member is a package of its own, so that links of one are there for the next to go through.
    #[test]
    fn no_sequence_of_packages_writes_beside_the_tree(members in prop::collection::vec(member(), 1..14)) {
        let yard = Yard::new();
        for member in &members {
            let deb = add(Tar::default(), &yard.outside(), member).deb();
            let _refused_or_not = unpack_data(deb.as_slice(), &yard.tree(), &Rules::default());
        }
        let _refused_or_not = finish_tree(&yard.tree(), &Fixups::default());
        yard.check()?;
    }

    /// The same in one list, several at a time.
    #[test]
    fn no_list_of_packages_writes_beside_the_tree(
        packages in prop::collection::vec(prop::collection::vec(member(), 1..4), 1..8),
    ) {
        let yard = Yard::new();
        let debs: Vec<_> = (0..packages.len()).map(|index| yard.folder.path().join(format!("{index}.deb"))).collect();
        for (members, deb) in packages.iter().zip(&debs) {
            let tar = members.iter().fold(Tar::default(), |tar, member| add(tar, &yard.outside(), member));
            fs_err::write(deb, tar.deb()).unwrap();
        }
        let _refused_or_not = unpack_tree(&debs, &yard.tree(), &Rules::default(), 3, &|_| {});
        for deb in debs {
            fs_err::remove_file(deb).unwrap();
        }
        yard.check()?;
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        let _any = unpack_into(bytes.as_slice(), &Rules::default(), &mut ListSink::default());
        let _any = control_fields(bytes.as_slice());
        let _any = unpack_into(deb_of(&[("data.tar", &bytes)]).as_slice(), &Rules::default(), &mut ListSink::default());
        let _any = unpack_into(deb_of(&[("data.tar.xz", &bytes)]).as_slice(), &Rules::default(), &mut ListSink::default());
    }

    #[test]
    fn no_change_of_an_honest_package_makes_the_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut: prop::sample::Index,
    ) {
        let tar = Tar::default().dir("usr").file("usr/file", "content").symlink("usr/link", "file");
        for mut deb in [tar.clone().deb(), deb_of(&[("data.tar.xz", &xz(&tar.end()))])] {
            for (at, byte) in &changes {
                let at = at.index(deb.len());
                deb[at] = *byte;
            }
            let _any = unpack_into(deb.as_slice(), &Rules::default(), &mut ListSink::default());
            let _any = unpack_into(&deb[..cut.index(deb.len())], &Rules::default(), &mut ListSink::default());
        }
    }
}

#[test]
fn links_in_the_tree_that_lead_out_of_it_or_in_circles_end_the_unpacking() {
    let yard = Yard::new();
    for (link, target) in
        [("up", "../outside"), ("far", "usr/../../outside"), ("ring", "ring2"), ("ring2", "ring")]
    {
        std::os::unix::fs::symlink(target, yard.tree().join(link)).unwrap();
    }
    fs_err::write(yard.tree().join("file"), "").unwrap();
    for (name, expected) in [
        ("up/x", "member \"up\" is refused: the links on its way lead out of the tree"),
        ("far/x", "member \"far\" is refused: the links on its way lead out of the tree"),
        ("ring/x", "member \"ring\" is refused: the links on its way go round in circles"),
        ("file/x", "member \"file\" is refused: something on its way is no directory"),
    ] {
        let deb = Tar::default().file(name, "hostile").deb();
        let error = unpack_data(deb.as_slice(), &yard.tree(), &Rules::default()).unwrap_err();
        assert_eq!(chain(&error), expected);
    }
    yard.check().unwrap();
}

#[test]
fn an_absolute_link_is_taken_from_the_root_of_the_tree() {
    let yard = Yard::new();
    std::os::unix::fs::symlink("/outside", yard.tree().join("link")).unwrap();
    let deb = Tar::default().file("link/x", "inside").deb();
    unpack_data(deb.as_slice(), &yard.tree(), &Rules::default()).unwrap();
    assert_eq!(fs_err::read_to_string(yard.tree().join("outside/x")).unwrap(), "inside");
    yard.check().unwrap();
}

#[test]
fn finishing_does_not_follow_links_of_packages() {
    let yard = Yard::new();
    for (link, target) in [("etc", yard.outside()), ("usr/share", "../../outside".to_owned())] {
        std::os::unix::fs::symlink(target, yard.tree().join(link)).unwrap();
    }
    let error = finish_tree(&yard.tree(), &Fixups::default()).unwrap_err();
    assert!(chain(&error).ends_with("the links on its way lead out of the tree"), "{error}");
    yard.check().unwrap();
}
