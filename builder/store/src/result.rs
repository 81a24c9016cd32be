//! `result.json`: what a step's output was when it was committed, and whether it still is.
//!
//! **A result is used only if it is what its step left.** Its form depends on the step's identity:
//!
//! - *Content*: one record per entry of the output with mode, stamp and SHA-256. Reading compares the stamps
//!   (size, inode, both times); where one differs, the file is hashed again. So a copied or restored store
//!   costs one reading and then has new stamps; a changed, missing or additional file is [`Damage`].
//!   With many entries this waits, as below, until a step reads them.
//! - *Key*: the number of entries, the bytes in them, and the *shape*, a digest over every path, kind, mode, size
//!   and modification time. It takes an `lstat` per entry (10⁵ of them: 0.7 s in `--example large_tree`), so it is checked
//!   before a step reads the tree and not when a build only learns that nothing is to be done. What it does
//!   not see is a bit that rotted on the disk; [`verify_deep`](crate::Store::verify_deep) reads everything.
//!
//! The existence of `result.json` is the stamp of completion: it is written last, and the rename that gives the
//! folder its name comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::{Digest, digest_file};
use crate::graph::{Identity, InputDigest, StepName};
use crate::tree::{self, Entry, Kind, Modes, Stamp, TreeFilter};

/// A result with more entries is looked at when a step is about to read it, not whenever a build asks whether it is there: its digest
/// is on record, and nothing else of it counts as long as nobody reads it.
const FEW: u64 = 1024;

/// Counts up when the meaning of `result.json` changes; results of another format count as missing.
pub(crate) const RESULT_FORMAT: u32 = 1;

/// What is known of a stored result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepResult {
    /// Format of this record.
    pub format: u32,
    /// The step that made it.
    pub step: StepName,
    /// Under which key.
    pub key: Digest,
    /// How it is identified.
    pub identity: Identity,
    /// The digest that steps after it see.
    pub digest: Digest,
    /// Bytes in its files.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
    /// Digest over names, modes, sizes and modification times.
    pub shape: Digest,
    /// Digest over the contents: always there for `Content`, after the first deep verification for `Key`.
    pub contents: Option<Digest>,
    /// The entries themselves, for `Content` only.
    pub files: Listing,
    /// What the key was made of.
    pub inputs: BTreeMap<String, InputDigest>,
    /// Seconds the step took.
    pub seconds: f64,
    /// When it was committed, in seconds since 1970.
    pub made: u64,
}

/// The entries of an output as text, parsed when somebody asks for them: to parse those of ten thousand files takes longer than all
/// else in a build that has nothing to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing(Box<RawValue>);

impl Listing {
    pub(crate) fn of(files: &[FileRecord]) -> io::Result<Self> {
        Ok(Self(serde_json::value::to_raw_value(files)?))
    }

    /// The entries, sorted by path.
    ///
    /// # Errors
    /// When the record was damaged.
    pub fn read(&self) -> io::Result<Vec<FileRecord>> {
        Ok(serde_json::from_str(self.0.get())?)
    }
}

/// One entry of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Relative path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it is and holds.
    #[serde(flatten)]
    pub what: FileKind,
}

/// What an entry of an output is and holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File {
        /// When its contents had the sum.
        stamp: Stamp,
        /// Their sum.
        sha256: Digest,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
    /// A device node, FIFO or socket.
    Special {
        /// `S_IFMT` part of the mode.
        type_bits: u32,
        /// Device number.
        device: u64,
    },
}

/// How a stored output differs from what its step left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "damage", rename_all = "snake_case")]
pub enum Damage {
    /// `result.json` or the output cannot be read.
    Unreadable {
        /// What the system or the parser said.
        why: String,
    },
    /// An entry is gone.
    Missing {
        /// Its path in the output.
        path: String,
    },
    /// An entry is there that the step did not leave.
    Extra {
        /// Its path in the output.
        path: String,
    },
    /// An entry's kind, mode, target or contents differ.
    Changed {
        /// Its path in the output.
        path: String,
    },
    /// Names, modes, sizes or times of a large tree differ.
    Shape {
        /// Entries the step left, entries now.
        entries: (u64, u64),
        /// Bytes the step left, bytes now.
        bytes: (u64, u64),
    },
    /// The contents of a large tree differ though its shape is as it was.
    Contents,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(f, "it cannot be read: {why}"),
            Self::Missing { path } => write!(f, "`{path}` is gone"),
            Self::Extra { path } => write!(f, "`{path}` was added"),
            Self::Changed { path } => write!(f, "`{path}` was changed"),
            Self::Shape { entries: (was, now), .. } if was != now => {
                write!(f, "it had {was} entries and has {now}")
            }
            Self::Shape { bytes: (was, now), .. } if was != now => {
                write!(f, "it had {was} bytes and has {now}")
            }
            Self::Shape { .. } => f.write_str("names, modes or times of its files were changed"),
            Self::Contents => f.write_str("the contents of its files were changed"),
        }
    }
}

/// How closely a result is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// That it was completed and its folder is there; of a result with content identity and few entries their stamps as well.
    Glance,
    /// Content: stamps. Key: every entry, not its contents.
    Shape,
    /// Every byte.
    Contents,
}

/// What a look at the disk found.
pub(crate) enum Finding {
    Good,
    /// Good, and the record now has other stamps (or a first digest of contents) worth keeping.
    Renewed,
    Damaged(Damage),
}

/// A freshly written output, measured.
pub(crate) struct Measured {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) shape: Digest,
    pub(crate) contents: Option<Digest>,
    pub(crate) files: Listing,
}

/// Measures an output that nobody writes to any more.
pub(crate) fn measure(out: &Path, identity: Identity) -> io::Result<Measured> {
    let found = tree::entries(out, &TreeFilter::everything())?;
    let (contents, files) = match identity {
        Identity::Key => (None, Vec::new()),
        Identity::Content => {
            let files = found.iter().map(|entry| record(out, entry)).collect::<io::Result<Vec<_>>>()?;
            (Some(contents_digest(&found, &files)?), files)
        }
    };
    Ok(Measured {
        entries: count(&found),
        bytes: tree::total_size(&found),
        shape: tree::digest_shape(&found),
        contents,
        files: Listing::of(&files)?,
    })
}

fn count(entries: &[Entry]) -> u64 {
    u64::try_from(entries.len()).expect("a length in memory fits 64 bits")
}

fn record(out: &Path, entry: &Entry) -> io::Result<FileRecord> {
    let what = match &entry.kind {
        Kind::File => FileKind::File { stamp: entry.stamp, sha256: digest_file(&out.join(&entry.path))? },
        Kind::Directory => FileKind::Directory,
        Kind::Link(target) => FileKind::Link { target: text(target)? },
        Kind::Special { kind, device } => FileKind::Special { type_bits: *kind, device: *device },
    };
    Ok(FileRecord { path: text(&entry.path)?, mode: entry.mode, what })
}

fn text(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let why = format!(
            "`{}` in the output is not UTF-8; only outputs with key identity may have such names",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// The digest of the output tree, from sums that are already known.
fn contents_digest(entries: &[Entry], files: &[FileRecord]) -> io::Result<Digest> {
    let mut sums = files.iter().filter_map(|file| match &file.what {
        FileKind::File { sha256, .. } => Some(*sha256),
        FileKind::Directory | FileKind::Link { .. } | FileKind::Special { .. } => None,
    });
    tree::digest_entries(entries, Modes::Exact, &mut |_| {
        Ok(sums.next().expect("records and entries are of the same tree and in the same order"))
    })
}

impl StepResult {
    /// Compares the record with what is on the disk.
    pub(crate) fn look(&mut self, out: &Path, depth: Depth) -> Finding {
        let many = self.identity == Identity::Key || self.entries > FEW;
        let finding = if many && depth == Depth::Glance {
            look_at_folder(out)
        } else {
            match self.identity {
                Identity::Key => self.look_at_tree(out, depth),
                Identity::Content => self.look_at_files(out, depth),
            }
        };
        finding.unwrap_or_else(|error| Finding::Damaged(Damage::Unreadable { why: error.to_string() }))
    }

    fn look_at_tree(&mut self, out: &Path, depth: Depth) -> io::Result<Finding> {
        let found = tree::entries(out, &TreeFilter::everything())?;
        if tree::digest_shape(&found) != self.shape {
            let entries = (self.entries, count(&found));
            let bytes = (self.bytes, tree::total_size(&found));
            return Ok(Finding::Damaged(Damage::Shape { entries, bytes }));
        }
        if depth != Depth::Contents {
            return Ok(Finding::Good);
        }
        let now =
            tree::digest_entries(&found, Modes::Exact, &mut |entry| digest_file(&out.join(&entry.path)))?;
        match self.contents {
            Some(was) if was == now => Ok(Finding::Good),
            Some(_) => Ok(Finding::Damaged(Damage::Contents)),
            None => {
                self.contents = Some(now);
                Ok(Finding::Renewed)
            }
        }
    }

    fn look_at_files(&mut self, out: &Path, depth: Depth) -> io::Result<Finding> {
        let found = tree::entries(out, &TreeFilter::everything())?;
        let there: BTreeMap<&Path, &Entry> =
            found.iter().map(|entry| (entry.path.as_path(), entry)).collect();
        let mut renewed = false;
        let mut files = self.files.read()?;
        for file in &mut files {
            let Some(entry) = there.get(Path::new(&file.path)) else {
                return Ok(Finding::Damaged(Damage::Missing { path: file.path.clone() }));
            };
            match same(out, file, entry, depth)? {
                None => return Ok(Finding::Damaged(Damage::Changed { path: file.path.clone() })),
                Some(new_stamp) => renewed |= new_stamp,
            }
        }
        if found.len() != files.len() {
            let known: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
            let extra =
                found.iter().find(|entry| !entry.path.to_str().is_some_and(|path| known.contains(path)));
            let path = extra.map_or_else(PathBuf::new, |entry| entry.path.clone());
            return Ok(Finding::Damaged(Damage::Extra { path: path.display().to_string() }));
        }
        if !renewed {
            return Ok(Finding::Good);
        }
        self.files = Listing::of(&files)?;
        Ok(Finding::Renewed)
    }
}

fn look_at_folder(out: &Path) -> io::Result<Finding> {
    let is_folder = fs_err::symlink_metadata(out)?.is_dir();
    let changed = || Finding::Damaged(Damage::Changed { path: "out".to_owned() });
    Ok(if is_folder { Finding::Good } else { changed() })
}

/// Whether the entry is what the record says; `Some(true)` if its stamp had to be renewed for that.
fn same(out: &Path, file: &mut FileRecord, entry: &Entry, depth: Depth) -> io::Result<Option<bool>> {
    let link = matches!(entry.kind, Kind::Link(_));
    if !link && file.mode != entry.mode {
        return Ok(None);
    }
    let same = match (&mut file.what, &entry.kind) {
        (FileKind::File { stamp, sha256 }, Kind::File) => {
            let stamped = *stamp == entry.stamp;
            if stamped && depth != Depth::Contents {
                return Ok(Some(false));
            }
            if digest_file(&out.join(&entry.path))? != *sha256 {
                return Ok(None);
            }
            *stamp = entry.stamp;
            return Ok(Some(!stamped));
        }
        (FileKind::Directory, Kind::Directory) => true,
        (FileKind::Link { target }, Kind::Link(now)) => now.to_str() == Some(target),
        (FileKind::Special { type_bits, device }, Kind::Special { kind, device: now }) => {
            (*type_bits, *device) == (*kind, *now)
        }
        (
            FileKind::File { .. } | FileKind::Directory | FileKind::Link { .. } | FileKind::Special { .. },
            _,
        ) => false,
    };
    Ok(same.then_some(false))
}
