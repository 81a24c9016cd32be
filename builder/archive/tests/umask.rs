//! The umask is one for the whole process, so this test has a process of its own.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "unpack/deb.rs"]
mod deb;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use xenolith_archive::unpack::{Fixups, Rules, finish_tree, unpack_tree};

/// Mode, and time unless it is a file's, of everything in a new tree.
fn tree_under(mask: u32, deb: &Path) -> BTreeMap<String, (u32, i64)> {
    fn walk(folder: &Path, root: &Path, seen: &mut BTreeMap<String, (u32, i64)>) {
        let meta = folder.symlink_metadata().unwrap();
        let name = folder.strip_prefix(root).unwrap().display().to_string();
        seen.insert(name, (meta.permissions().mode(), meta.mtime()));
        if meta.is_dir() {
            fs_err::read_dir(folder).unwrap().for_each(|entry| walk(&entry.unwrap().path(), root, seen));
        }
    }
    umask(Mode::from_bits_truncate(mask));
    let tree = tempfile::tempdir().unwrap();
    unpack_tree(&[deb.to_owned()], tree.path(), &Rules::default(), 2, &|_| {}).unwrap();
    let mut seen = BTreeMap::new();
    walk(tree.path(), tree.path(), &mut seen);
    finish_tree(tree.path(), &Fixups::default()).unwrap();
    let unfinished = seen.len();
    walk(tree.path(), tree.path(), &mut seen);
    assert!(seen.len() > unfinished);
    seen
}

#[test]
fn a_tree_has_the_same_modes_and_times_under_any_umask_and_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let deb = folder.path().join("demo_1_all.deb");
    let tar = deb::Tar::default()
        .dir("usr")
        .file("usr/implied/deep/file", "x")
        .file("bin/mawk", "")
        .file("sbin/x", "");
    fs_err::write(&deb, tar.deb()).unwrap();
    let open = tree_under(0o000, &deb);
    let closed = tree_under(0o077, &deb);
    assert_eq!(open, closed);
    assert_eq!(open["usr/implied/deep"], (0o040_755, 0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let recent: Vec<_> = open.iter().filter(|(_, (_, time))| time.unsigned_abs() + 3600 > now).collect();
    assert!(recent.is_empty(), "{recent:?}");
}
