//! Debian packages unpacked into a tree, without dpkg and without trusting what they hold.
//!
//! **No byte is written outside the tree, whatever the package says, and the same packages in the same order
//! give the same tree, whatever the number of jobs.**
//!
//! ```text
//!   x.deb ── ar ──▶ debian-binary  control.tar.*  data.tar.*
//!                                       │             └─▶ decompress ▶ cap ▶ tar ▶ extract ▶ Sink
//!                                       └─▶ control_fields                 (rules)  (rules)  ├ DirSink: a tree
//!                                                                                            └ ListSink: memory
//! ```
//! Two lines of defence, which do not lean on each other:
//! - `extract` knows one package and no file system. It refuses what no `tar` of a real directory holds: absolute
//!   names, `..`, a member that lies under a symlink of the same package, a name twice, a hard link to something
//!   not yet brought, and anything above [`Limits`].
//! - `tree` knows no package. It opens one directory at a time, never through a symlink, and reads links itself,
//!   with the tree's root as `/`. A link that would climb above it ends the unpacking. Each new file is made with
//!   O_EXCL in a directory that is held open, so nothing can be swapped between the look and the write.
//!
//! What another package made may be gone through only if it came before all others: the merged-/usr links and
//! the links of base-files. Any other link to a directory that a second package fills is a [`UnpackError::Conflict`],
//! because which of the two came first would then decide the result. The same file in two packages is no
//! conflict: the later one in the list wins, as in dpkg with Replaces, and [`Stats::replaced`] names it.
//!
//! Left out: ownership (a tools tree belongs to who built it), extended attributes, maintainer scripts, diversions,
//! pax headers (dpkg refuses them too), fsync: whoever commits the tree syncs the file system once.
//! A kill leaves part of a tree; the caller unpacks into a fresh folder and renames it.
//! Source: deb(5) of dpkg 1.22, POSIX ustar with GNU long names (tar 1.35).

mod ar;
mod claims;
mod compression;
mod dir_sink;
mod extract;
mod finish;
mod many;
mod path;
mod sink;
mod tar_reader;
mod tree;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

pub use finish::{Alternative, Fixups, TOOLS_ALTERNATIVES, finish_tree};
pub use many::{Unpacked, unpack_tree};
pub use path::{MemberPath, NameProblem};
pub use sink::{Content, ListSink, Listed, ListedKind, Meta, Sink};

/// What a package may cost before it is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Members of one tar archive.
    pub members: u64,
    /// Decompressed bytes of one data.tar.
    pub data: u64,
    /// Decompressed bytes of one control.tar.
    pub control: u64,
    /// Decompressed bytes for each compressed one; the first MiB is free.
    pub ratio: u64,
    /// Bytes of all names and link targets of one archive, which are kept in memory.
    pub names: u64,
    /// Memory that a decompressor may ask for.
    pub decoder: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 1_000_000,
            data: 4 << 30,
            control: 16 << 20,
            ratio: 1000,
            names: 64 << 20,
            decoder: 256 << 20,
        }
    }
}

/// Whether set-user-ID and set-group-ID bits survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetId {
    /// They are taken off: nothing in a tools tree needs them.
    #[default]
    Drop,
    /// They are kept as the package has them.
    Keep,
}

/// What happens to device nodes and FIFOs, which are never made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// They are left out and counted.
    #[default]
    Skip,
    /// The package is refused.
    Refuse,
}

/// How packages are unpacked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What a package may cost.
    pub limits: Limits,
    /// Set-ID bits.
    pub set_id: SetId,
    /// Device nodes and FIFOs.
    pub special: Special,
}

/// What unpacking did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Regular files.
    pub files: u64,
    /// Directories, those that were already there included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Device nodes and FIFOs that were left out.
    pub skipped: u64,
    /// Bytes of all regular files.
    pub bytes: u64,
    /// Paths that more than one package brought, sorted; the last package has won.
    pub replaced: Vec<PathBuf>,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.hard_links += other.hard_links;
        self.skipped += other.skipped;
        self.bytes += other.bytes;
        self.replaced.extend(other.replaced.iter().cloned());
    }
}

/// The piece of a package that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ar archive itself.
    Package,
    /// control.tar
    Control,
    /// data.tar
    Data,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Package => "the package file",
            Self::Control => "control.tar",
            Self::Data => "data.tar",
        })
    }
}

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// Says which package the error below is about.
    #[error("{} was not unpacked", package.display())]
    Package {
        /// The .deb file.
        package: PathBuf,
        /// What went wrong with it.
        source: Box<UnpackError>,
    },
    /// The file could not be read or decompressed.
    #[error("cannot read {part}")]
    Read {
        /// Where.
        part: Part,
        /// The reason.
        source: io::Error,
    },
    /// The bytes are not what the format asks for.
    #[error("{part} is malformed")]
    Malformed {
        /// Where.
        part: Part,
        /// The reason.
        source: Malformed,
    },
    /// The package wants more than [`Limits`] grant.
    #[error("{part} goes beyond what a package may cost")]
    Limit {
        /// Where.
        part: Part,
        /// Which limit.
        source: LimitHit,
    },
    /// A member would do what no honest package does.
    #[error("member \"{name}\" is refused")]
    Refused {
        /// The name as the package has it, with unusual bytes escaped.
        name: String,
        /// The reason.
        source: Refusal,
    },
    /// Two packages exclude each other at one path.
    #[error("/{path} is brought by two packages as different things ({what})")]
    Conflict {
        /// The path in the tree, with unusual bytes escaped.
        path: String,
        /// What the two things are.
        what: &'static str,
    },
    /// The tree could not be written.
    #[error("cannot {operation} {}", path.display())]
    Write {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// How bytes differ from the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The file ends early.
    #[error("it ends before its end")]
    Truncated,
    /// It does not begin as an ar archive does.
    #[error("it is no ar archive")]
    NotAr,
    /// An ar or tar header is not one.
    #[error("a header is invalid: {0}")]
    Header(&'static str),
    /// The format version is not 2.
    #[error("it is not of the format \"2.x\"")]
    Version,
    /// A part occurs twice, or in the wrong order.
    #[error("its parts are not control.tar and data.tar, once each and in this order")]
    Parts,
    /// A compression that packages in this release do not use.
    #[error("its compression is none of xz, zst, gz, none")]
    Compression,
    /// A control file that is no list of fields.
    #[error("its control file is no list of fields: {0}")]
    Control(&'static str),
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitHit {
    /// [`Limits::members`]
    #[error("more than {0} members")]
    Members(u64),
    /// [`Limits::data`] or [`Limits::control`]
    #[error("more than {0} bytes when decompressed")]
    Size(u64),
    /// [`Limits::ratio`]
    #[error("more than {0} bytes out of each compressed byte")]
    Ratio(u64),
    /// [`Limits::names`], or one name too long for any file system
    #[error("names of more than {0} bytes")]
    Names(u64),
}

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its name.
    #[error("its name {0}")]
    Name(NameProblem),
    /// The name that it links to.
    #[error("it is a hard link whose target {0}")]
    LinkName(NameProblem),
    /// A hard link to a file that the package has not brought before.
    #[error("it is a hard link to something that this package has not brought")]
    LinkUnknown,
    /// A symbolic link to nowhere, or beyond what a file system can hold.
    #[error("it is a symbolic link whose target is empty or too long")]
    Target,
    /// It would be written through a symbolic link of the same package.
    #[error("it lies under a symbolic link of the same package")]
    UnderOwnLink,
    /// Its name was there before.
    #[error("the package has two members of that name")]
    Twice,
    /// Content where there can be none.
    #[error("it is no file but claims to have content")]
    Content,
    /// A device node or FIFO under [`Special::Refuse`].
    #[error("it is a device node or a FIFO")]
    Special,
    /// A member type that packages do not use.
    #[error("it is of the unknown type {0:#04x}")]
    Type(u8),
    /// The links on its way lead out of the tree.
    #[error("the links on its way lead out of the tree")]
    LeavesTree,
    /// The links on its way go round in circles.
    #[error("the links on its way go round in circles")]
    Loop,
    /// Something on its way is neither a directory nor a link.
    #[error("something on its way is no directory")]
    NotADirectory,
}

impl UnpackError {
    fn malformed(part: Part, source: Malformed) -> Self {
        Self::Malformed { part, source }
    }

    fn refused(name: &[u8], source: Refusal) -> Self {
        Self::Refused { name: name.escape_ascii().to_string(), source }
    }

    /// Sorts an error of the reading chain, in which the cap and the decoders speak `io::Error`.
    fn reading(part: Part, source: io::Error) -> Self {
        if let Some(hit) = source.get_ref().and_then(|inner| inner.downcast_ref::<LimitHit>()) {
            return Self::Limit { part, source: *hit };
        }
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Self::malformed(part, Malformed::Truncated),
            _ => Self::Read { part, source },
        }
    }

    fn of_package(self, package: &Path) -> Self {
        Self::Package { package: package.to_owned(), source: Box::new(self) }
    }
}

/// Unpacks the data of one package into `tree`, which must exist.
///
/// # Errors
/// Any but [`UnpackError::Package`]. The tree then holds part of the package.
pub fn unpack_data(deb: impl Read, tree: &Path, rules: &Rules) -> Result<Stats, UnpackError> {
    let tree = tree::Tree::open(tree)?;
    let claims = claims::Claims::default();
    let mut sink = dir_sink::DirSink::new(&tree, &claims, 0);
    let mut stats = extract::data(&mut BufReader::new(deb), rules, &mut sink)?;
    stats.replaced = claims.settle(&tree)?;
    Ok(stats)
}

/// Feeds the data of one package to any [`Sink`]; touches no file system of its own. This is what is fuzzed.
///
/// # Errors
/// What the package deserves, or what the sink returns.
pub fn unpack_into(deb: impl Read, rules: &Rules, sink: &mut dyn Sink) -> Result<Stats, UnpackError> {
    extract::data(&mut BufReader::new(deb), rules, sink)
}

/// The fields of the package's control file; continuation lines keep their line breaks, without the first space.
///
/// # Errors
/// What the package deserves.
pub fn control_fields(deb: impl Read) -> Result<BTreeMap<String, String>, UnpackError> {
    extract::control(&mut BufReader::new(deb), &Limits::default())
}

/// Every member of the package's data, in the order of the archive.
///
/// # Errors
/// What the package deserves.
pub fn file_list(deb: impl Read) -> Result<Vec<Listed>, UnpackError> {
    let mut sink = ListSink::default();
    unpack_into(deb, &Rules { set_id: SetId::Keep, ..Rules::default() }, &mut sink)?;
    Ok(sink.members)
}
