//! The root tree as one list of entries, and the archive that the root image is made of.
//!
//! **Promise: the same layers give the same archive**, whoever owns the files on this machine and whatever umask the
//! checkout was made with. Later layers win; a layer may replace a file, never turn a folder into something else.
//!
//! ```text
//!   packages (mkosi) ─┐
//!   Xen tools ────────┤
//!   Rust programs ────┼─▶ sorted entries ─▶ tar (mode, owner 0:0, one time) ─▶ mkfs.erofs
//!   overlay ──────────┤
//!   os-release … ─────┘
//! ```
//! Owners: all of the root image belongs to root. It is read-only, daemons own only what lies on the state partition,
//! and that is made by tmpfiles. So a build by an ordinary user, who cannot own files as others, gives the same bytes.
//! Set-user-ID and set-group-ID bits are dropped for the same reason: nobody but root logs in.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use fs_err as fs;

use super::EPOCH;

/// Where an entry's content comes from.
#[derive(Clone, Debug)]
pub enum Content {
    /// A folder.
    Folder,
    /// A symbolic link to this place.
    Link(PathBuf),
    /// A file of a layer.
    File(PathBuf),
    /// Text that the builder makes.
    Text(Vec<u8>),
}

/// One path of the tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Which layer it comes from.
    pub layer: &'static str,
}

/// How a layer's permission bits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// As they are: packages and installed programs.
    Kept,
    /// Only "executable or not" counts: files of a checkout, whose other bits come from the umask.
    Checkout,
}

/// The tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

/// The layers do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A folder of one layer is something else in another.
    #[error("{} is a folder in layer {folder} and something else in layer {other}", path.display())]
    Clash {
        /// Where.
        path: PathBuf,
        /// The layer with the folder.
        folder: &'static str,
        /// The other layer.
        other: &'static str,
    },
    /// A path leads through a symbolic link of another layer.
    #[error("{} of layer {layer} leads through the symbolic link {}; give the real path", path.display(), link.display())]
    ThroughLink {
        /// The path.
        path: PathBuf,
        /// Its layer.
        layer: &'static str,
        /// The link.
        link: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read the tree")]
    Read(#[from] io::Error),
}

impl Tree {
    /// Lays a folder's content over what is there.
    ///
    /// # Errors
    /// [`TreeError`]; device nodes and sockets are passed over, the image has none.
    pub fn add_layer(&mut self, layer: &'static str, root: &Path, modes: Modes) -> Result<(), TreeError> {
        for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
            let entry = entry.map_err(io::Error::from)?;
            let path = entry.path().strip_prefix(root).expect("a walk stays below its root").to_path_buf();
            let bits = entry.metadata().map_err(io::Error::from)?.permissions().mode();
            let kind = entry.file_type();
            let (content, full) = if kind.is_dir() {
                (Content::Folder, 0o755)
            } else if kind.is_symlink() {
                (Content::Link(fs::read_link(entry.path())?), 0o777)
            } else if kind.is_file() {
                (Content::File(entry.path().into()), if bits & 0o100 == 0 { 0o644 } else { 0o755 })
            } else {
                continue;
            };
            let mode = match modes {
                Modes::Checkout => full,
                Modes::Kept if kind.is_symlink() => full,
                Modes::Kept => bits & 0o1777,
            };
            self.put(layer, path, content, mode)?;
        }
        Ok(())
    }

    /// Puts one entry over what is there, and the folders above it.
    ///
    /// # Errors
    /// [`TreeError::Clash`] and [`TreeError::ThroughLink`].
    pub fn put(
        &mut self,
        layer: &'static str,
        path: PathBuf,
        content: Content,
        mode: u32,
    ) -> Result<(), TreeError> {
        assert!(
            path.components().all(|part| matches!(part, Component::Normal(_))),
            "{} is a plain relative path",
            path.display()
        );
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            match self.entries.get(above).map(|entry| &entry.content) {
                Some(Content::Folder) => break,
                Some(_) => {
                    let link = above.to_path_buf();
                    return Err(TreeError::ThroughLink { path, layer, link });
                }
                None => {
                    let folder = Entry { content: Content::Folder, mode: 0o755, layer };
                    self.entries.insert(above.into(), folder);
                }
            }
        }
        let new = Entry { content, mode, layer };
        if let Some(old) = self.entries.get(&path) {
            let was_folder = matches!(old.content, Content::Folder);
            let is_folder = matches!(new.content, Content::Folder);
            if was_folder != is_folder {
                let (folder, other) = if was_folder { (old.layer, layer) } else { (layer, old.layer) };
                return Err(TreeError::Clash { path, folder, other });
            }
            // A folder keeps the mode of the layer that made it: packages know that /root is 0700.
            if was_folder {
                return Ok(());
            }
        }
        self.entries.insert(path, new);
        Ok(())
    }

    /// Takes away a path and all below it; says whether anything was there.
    pub fn remove(&mut self, path: &Path) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry, _| !entry.starts_with(path));
        self.entries.len() != before
    }

    /// All entries, sorted by path; a folder comes before what it holds.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// One entry.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Writes the tree as a tar archive (POSIX pax where names are long).
    ///
    /// # Errors
    /// When a file cannot be read or the archive cannot be written.
    pub fn write_tar(&self, out: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        let mut root = header(tar::EntryType::Directory, 0o755, 0);
        archive.append_data(&mut root, "./", io::empty())?;
        for (path, entry) in &self.entries {
            match &entry.content {
                Content::Folder => {
                    let mut head = header(tar::EntryType::Directory, entry.mode, 0);
                    archive.append_data(&mut head, path, io::empty())?;
                }
                Content::Link(place) => {
                    let mut head = header(tar::EntryType::Symlink, 0o777, 0);
                    archive.append_link(&mut head, path, place)?;
                }
                Content::File(source) => {
                    let file = fs::File::open(source)?;
                    let mut head = header(tar::EntryType::Regular, entry.mode, file.metadata()?.len());
                    archive.append_data(&mut head, path, io::BufReader::new(file))?;
                }
                Content::Text(text) => {
                    let mut head = header(tar::EntryType::Regular, entry.mode, text.len() as u64);
                    archive.append_data(&mut head, path, text.as_slice())?;
                }
            }
        }
        archive.into_inner()?.flush()
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(EPOCH);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text, mode) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        folder
    }

    #[test]
    fn a_later_layer_replaces_a_file_and_the_umask_of_the_checkout_does_not_matter() {
        let below = layer(&[("usr/bin/a", "old", 0o4755), ("usr/lib/b", "b", 0o644)]);
        let mut archives = Vec::new();
        for umask_mode in [0o600, 0o664] {
            let above = layer(&[("usr/bin/a", "new", umask_mode)]);
            let mut tree = Tree::default();
            tree.add_layer("packages", below.path(), Modes::Kept).unwrap();
            tree.add_layer("overlay", above.path(), Modes::Checkout).unwrap();
            let mut archive = Vec::new();
            tree.write_tar(&mut archive).unwrap();
            archives.push(archive);
        }
        assert_eq!(archives[0], archives[1]);
        let mut read = tar::Archive::new(archives[0].as_slice());
        let names: Vec<_> =
            read.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["./", "usr", "usr/bin", "usr/bin/a", "usr/lib", "usr/lib/b"]);
    }

    #[test]
    fn set_user_id_bits_are_dropped() {
        let packages = layer(&[("usr/bin/su", "", 0o4755)]);
        let mut tree = Tree::default();
        tree.add_layer("packages", packages.path(), Modes::Kept).unwrap();
        assert_eq!(tree.get(Path::new("usr/bin/su")).unwrap().mode, 0o755);
    }

    #[test]
    fn a_path_through_a_link_and_a_folder_that_becomes_a_file_are_refused() {
        let mut tree = Tree::default();
        tree.put("packages", "lib".into(), Content::Link("usr/lib".into()), 0o777).unwrap();
        let through = tree.put("overlay", "lib/x".into(), Content::Text(vec![]), 0o644);
        assert!(matches!(through, Err(TreeError::ThroughLink { .. })));
        tree.put("packages", "usr/lib".into(), Content::Folder, 0o755).unwrap();
        let clash = tree.put("overlay", "usr/lib".into(), Content::Text(vec![]), 0o644);
        assert!(matches!(clash, Err(TreeError::Clash { .. })));
    }
}
