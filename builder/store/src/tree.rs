//! File trees: what is in them, which part of it counts, and the digest over it.
//!
//! **Two trees have the same digest exactly if a step could not tell them apart.** What is hashed, and why:
//!
//! | of each entry         | inputs ([`Modes::Executable`])        | outputs ([`Modes::Exact`])          |
//! |-----------------------|---------------------------------------|-------------------------------------|
//! | relative path         | yes                                   | yes                                 |
//! | kind                  | files, links, device nodes            | directories too: an empty one stays |
//! | mode                  | whether the owner may execute it      | all twelve bits                     |
//! | contents, link target | yes                                   | yes                                 |
//! | times, inode          | no: they differ in every checkout     | no                                  |
//! | owner, group, xattrs  | no: a checkout has the user's         | no: root in a namespace is not root |
//!
//! Inputs come from a checkout. git keeps one bit of a mode and no empty directories; the rest is the user's
//! umask and editor, which must not reach the key. Hence a step may not look at more of its inputs than this.
//!
//! Paths are ordered by their bytes, whatever the locale and the order of the directory on disk.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher, digest_file};

/// How much of a file's mode belongs to its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// Only whether the owner may execute it, as git has it; directories do not count by themselves.
    Executable,
    /// All twelve bits, and directories are entries of their own.
    Exact,
}

/// What the file system says about a file without reading it. Equal stamps: the same contents, unless the
/// change came within one tick of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Inode number; another one if the file was replaced or the store was copied.
    pub ino: u64,
    /// Modification time: seconds and nanoseconds. Anyone can set it.
    pub mtime: (i64, i64),
    /// Change time of the inode: seconds and nanoseconds. Only the kernel sets it.
    pub ctime: (i64, i64),
}

impl Stamp {
    /// The stamp in some metadata.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.len(),
            ino: metadata.ino(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What an entry of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and where it points; it is never followed.
    Link(PathBuf),
    /// A device node, FIFO or socket: its type bits and its device number.
    Special {
        /// `S_IFMT` part of the mode.
        kind: u32,
        /// Device number, 0 where there is none.
        device: u64,
    },
}

/// One entry of a tree, as `lstat` shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path relative to the root of the tree.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 12 of them.
    pub mode: u32,
    /// Its stamp.
    pub stamp: Stamp,
}

impl Entry {
    fn read(root: &Path, path: PathBuf) -> io::Result<Self> {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        let file_type = metadata.file_type();
        let kind = if file_type.is_file() {
            Kind::File
        } else if file_type.is_dir() {
            Kind::Directory
        } else if file_type.is_symlink() {
            Kind::Link(fs::read_link(&full)?)
        } else {
            let device = file_type.is_block_device() || file_type.is_char_device();
            Kind::Special {
                kind: metadata.mode() & 0o170_000,
                device: if device { metadata.rdev() } else { 0 },
            }
        };
        Ok(Self { path, kind, mode: metadata.mode() & 0o7777, stamp: Stamp::of(&metadata) })
    }

    /// The part of the mode that counts: links have none of their own.
    fn identity_mode(&self, modes: Modes) -> u64 {
        match (&self.kind, modes) {
            (Kind::Link(_), _) => 0,
            (_, Modes::Executable) => u64::from(self.mode & 0o100 != 0),
            (_, Modes::Exact) => u64::from(self.mode),
        }
    }
}

/// Which entries of a tree count as input. It needs no place in a step's key: what it lets through has one.
///
/// A pattern without a slash is compared with every component of a path, one with a slash with the beginning
/// of the relative path; a leading `*` stands for any text, so `*.md` leaves out documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeFilter {
    only: Vec<String>,
    without: Vec<String>,
}

impl TreeFilter {
    /// Lets everything through.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Leaves out what matches `pattern`, with all that is below it.
    #[must_use]
    pub fn without(mut self, pattern: impl Into<String>) -> Self {
        self.without.push(pattern.into());
        self
    }

    /// Lets through only the entries at or below the relative `path`; several calls add up.
    #[must_use]
    pub fn only(mut self, path: impl Into<String>) -> Self {
        self.only.push(path.into());
        self
    }

    /// Whether the entry counts.
    pub fn admits(&self, path: &Path) -> bool {
        self.admits_below(path)
            && (self.only.is_empty() || self.only.iter().any(|only| path.starts_with(only)))
    }

    /// Whether an entry at or below this directory may count: if not, it is not even read.
    fn admits_below(&self, path: &Path) -> bool {
        let wanted = self.only.is_empty()
            || self.only.iter().any(|only| path.starts_with(only) || Path::new(only).starts_with(path));
        wanted && !self.without.iter().any(|pattern| matches(pattern, path))
    }
}

fn matches(pattern: &str, path: &Path) -> bool {
    if pattern.contains('/') {
        return path.starts_with(pattern.trim_matches('/'));
    }
    path.iter().any(|part| match pattern.strip_prefix('*') {
        Some(end) => part.as_bytes().ends_with(end.as_bytes()),
        None => part.as_bytes() == pattern.as_bytes(),
    })
}

/// All entries below `root` that the filter admits, ordered by the bytes of their paths. Links are not
/// followed, so a tree with a loop of links ends.
///
/// # Errors
/// A directory or an entry cannot be read; the error names it.
pub fn entries(root: &Path, filter: &TreeFilter) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for child in fs::read_dir(root.join(&folder))? {
            let path = folder.join(child?.file_name());
            if !filter.admits_below(&path) {
                continue;
            }
            let entry = Entry::read(root, path)?;
            if entry.kind == Kind::Directory {
                folders.push(entry.path.clone());
            }
            if filter.admits(&entry.path) {
                found.push(entry);
            }
        }
    }
    found.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(found)
}

/// The digest of an output tree: sorted relative paths, modes, link targets, contents; times do not count.
///
/// # Errors
/// A part of the tree cannot be read; the error names it.
pub fn digest_tree(root: &Path) -> io::Result<Digest> {
    let found = entries(root, &TreeFilter::everything())?;
    digest_entries(&found, Modes::Exact, &mut |entry| digest_file(&root.join(&entry.path)))
}

/// The digest over `entries`; `contents` gives the sum of a regular file, from the disk or from memory.
///
/// # Errors
/// Those of `contents`.
pub fn digest_entries(
    entries: &[Entry],
    modes: Modes,
    contents: &mut dyn FnMut(&Entry) -> io::Result<Digest>,
) -> io::Result<Digest> {
    let mut hasher = Hasher::new("xenolith tree 1");
    for entry in entries {
        if entry.kind == Kind::Directory && modes == Modes::Executable {
            continue;
        }
        head(&mut hasher, entry, modes);
        match &entry.kind {
            Kind::File => hasher.part(contents(entry)?.as_bytes()),
            Kind::Directory => hasher.part(b""),
            Kind::Link(target) => hasher.part(target.as_os_str().as_bytes()),
            Kind::Special { device, .. } => hasher.number(*device),
        };
    }
    Ok(hasher.finish())
}

/// The digest over all that `lstat` tells and a copy keeps: as for [`digest_tree`], but with the size and the
/// modification time of each file in place of its contents: an `lstat` per entry.
pub fn digest_shape(entries: &[Entry]) -> Digest {
    let mut hasher = Hasher::new("xenolith shape 1");
    for entry in entries {
        head(&mut hasher, entry, Modes::Exact);
        match &entry.kind {
            Kind::File => {
                let (seconds, nanoseconds) = entry.stamp.mtime;
                hasher.number(entry.stamp.size).part(&seconds.to_le_bytes()).part(&nanoseconds.to_le_bytes())
            }
            Kind::Directory => hasher.part(b""),
            Kind::Link(target) => hasher.part(target.as_os_str().as_bytes()),
            Kind::Special { device, .. } => hasher.number(*device),
        };
    }
    hasher.finish()
}

fn head(hasher: &mut Hasher, entry: &Entry, modes: Modes) {
    let kind = match &entry.kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Link(_) => 2,
        Kind::Special { kind, .. } => u64::from(*kind),
    };
    hasher.number(kind).part(entry.path.as_os_str().as_bytes()).number(entry.identity_mode(modes));
}

/// The bytes in the regular files among `entries`; a file with two names counts twice.
pub fn total_size(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| entry.kind == Kind::File).map(|entry| entry.stamp.size).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn input_digest(root: &Path, filter: &TreeFilter) -> Digest {
        let found = entries(root, filter).unwrap();
        digest_entries(&found, Modes::Executable, &mut |entry| digest_file(&root.join(&entry.path))).unwrap()
    }

    fn sample() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        fs::write(tree.path().join("a/b/file"), "one").unwrap();
        fs::write(tree.path().join("a-file"), "two").unwrap();
        symlink("b/file", tree.path().join("a/link")).unwrap();
        tree
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn equal_trees_have_equal_digests_whatever_their_times() {
        let (one, two) = (sample(), sample());
        let file = std::fs::File::options().write(true).open(two.path().join("a-file")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(digest_tree(one.path()).unwrap(), digest_tree(two.path()).unwrap());
    }

    #[test]
    fn every_part_of_an_output_tree_counts() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 7] = [
            ("contents", |root| fs::write(root.join("a/b/file"), "onE").unwrap()),
            ("name", |root| fs::rename(root.join("a-file"), root.join("b-file")).unwrap()),
            ("mode", |root| set_mode(&root.join("a-file"), 0o4755)),
            ("mode of a folder", |root| set_mode(&root.join("a"), 0o700)),
            ("empty folder", |root| fs::create_dir(root.join("empty")).unwrap()),
            ("link target", |root| {
                fs::remove_file(root.join("a/link")).unwrap();
                symlink("b/files", root.join("a/link")).unwrap();
            }),
            ("kind", |root| {
                fs::remove_file(root.join("a/link")).unwrap();
                fs::write(root.join("a/link"), "b/file").unwrap();
            }),
        ];
        for (what, change) in changes {
            let tree = sample();
            set_mode(&tree.path().join("a"), 0o755);
            let before = digest_tree(tree.path()).unwrap();
            change(tree.path());
            assert_ne!(digest_tree(tree.path()).unwrap(), before, "{what}");
        }
    }

    #[test]
    fn of_an_input_tree_neither_umask_nor_empty_folders_count_but_the_executable_bit_does() {
        let tree = sample();
        let all = TreeFilter::everything();
        let before = input_digest(tree.path(), &all);
        set_mode(&tree.path().join("a-file"), 0o600);
        set_mode(&tree.path().join("a"), 0o700);
        fs::create_dir(tree.path().join("empty")).unwrap();
        assert_eq!(input_digest(tree.path(), &all), before);
        set_mode(&tree.path().join("a-file"), 0o700);
        assert_ne!(input_digest(tree.path(), &all), before);
    }

    #[test]
    fn a_filter_takes_names_prefixes_and_endings() {
        let filter = TreeFilter::everything().without("target").without("docs/api").without("*.md");
        for (path, admitted) in [
            ("src/main.rs", true),
            ("target/debug/x", false),
            ("deep/target", false),
            ("targets", true),
            ("docs/api/index", false),
            ("docs/guide", true),
            ("README.md", false),
        ] {
            assert_eq!(filter.admits(Path::new(path)), admitted, "{path}");
        }
        let only = TreeFilter::everything().only("src").only("Cargo.toml").without("src/old");
        let admitted = |path| only.admits(Path::new(path));
        assert!(
            admitted("src/a") && admitted("Cargo.toml") && !admitted("Cargo.lock") && !admitted("src/old/a")
        );
    }

    #[test]
    fn what_a_filter_leaves_out_is_not_even_read() {
        let tree = sample();
        let filter = TreeFilter::everything().only("a/b");
        let found: Vec<_> =
            entries(tree.path(), &filter).unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(found, [Path::new("a/b"), Path::new("a/b/file")]);
    }

    #[test]
    fn paths_are_ordered_by_bytes_and_not_by_components() {
        let tree = sample();
        let found = entries(tree.path(), &TreeFilter::everything()).unwrap();
        let paths: Vec<_> = found.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a", "a-file", "a/b", "a/b/file", "a/link"]);
    }
}
