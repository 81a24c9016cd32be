//! Unpacking: what an honest package becomes, what a dishonest one is told, and that neither leaves the tree.

#![allow(clippy::unwrap_used)]

mod accept;
mod deb;
mod hostile;
mod many;
mod reject;

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Every path below `root` with what can be seen of it.
fn snapshot(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, seen: &mut BTreeMap<String, String>) {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            let what = if meta.is_symlink() {
                format!("-> {}", path.read_link().unwrap().display())
            } else if meta.is_dir() {
                format!("dir {mode:o} at {}", meta.mtime())
            } else {
                let content = fs_err::read(&path).unwrap().escape_ascii().to_string();
                format!("file {mode:o} at {} x{}: {content}", meta.mtime(), meta.nlink())
            };
            seen.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
            if meta.is_dir() {
                walk(root, &path, seen);
            }
        }
    }
    let mut seen = BTreeMap::new();
    walk(root, root, &mut seen);
    seen
}

/// The error and all that is behind it, as the reporter prints them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
