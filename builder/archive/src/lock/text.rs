//! `xenolith.lock` as text.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use toml::Spanned;
use xenolith_layout::Bytes;

use super::{Lock, LockedFile, LockedGroup, LockedPackage, LockedSource, LockedSuite};
use crate::date::{BadDate, Timestamp};
use crate::names::shortened;
use crate::{BadName, BadSha256, BadVersion, DebVersion, GroupName, PackageName, PoolPath, SuiteName};

const FORMAT: u32 = 1;
const MAX_TEXT: usize = 16 << 20;
const MAX_ENTRIES: usize = 20_000;
const MAX_FILE: Bytes = Bytes::gib(4);

/// Why a text is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Longer than any lock is.
    #[error("the lock is longer than {MAX_TEXT} bytes")]
    TooLong,
    /// More entries than any lock has.
    #[error("the lock has more than {MAX_ENTRIES} {list}")]
    TooMany {
        /// Which of its lists.
        list: &'static str,
    },
    /// The first line that is no comment does not say which format follows.
    #[error("line {line}: a lock starts with \"format = {FORMAT}\"")]
    NoFormat {
        /// Where that should be.
        line: usize,
    },
    /// Written by another version of the builder.
    #[error("line {line}: the lock has format {found:?}, this version of xenolith reads format {FORMAT}")]
    UnknownFormat {
        /// Where it says so.
        line: usize,
        /// What it says.
        found: String,
    },
    /// Not TOML, or not of the form that we write.
    #[error("line {line}: {}", found.message())]
    Form {
        /// Where.
        line: usize,
        /// What the TOML reader found; its own text would show a whole line of hashes.
        found: Box<toml::de::Error>,
    },
    /// An entry that says something impossible.
    #[error("line {line}")]
    Entry {
        /// Where.
        line: usize,
        /// What is wrong with it.
        source: EntryProblem,
    },
}

/// What is wrong with an entry of a lock.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryProblem {
    /// A name or a path.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A version.
    #[error(transparent)]
    Version(#[from] BadVersion),
    /// A hash.
    #[error(transparent)]
    Sha256(#[from] BadSha256),
    /// A date.
    #[error(transparent)]
    Date(#[from] BadDate),
    /// Not between 1 byte and 4 GiB.
    #[error("a file of {0} bytes cannot be")]
    Size(u64),
    /// Entries are sorted, each is there once.
    #[error("{0} is there twice or out of order (entries are sorted by name, groups too)")]
    Order(String),
    /// A group that is not in `groups`.
    #[error("there is no group {0}")]
    NoSuchGroup(GroupName),
    /// A package that nothing needs.
    #[error("{0} is in no group")]
    NoGroup(PackageName),
    /// A tree can hold one version.
    #[error("group {group} has {name} in two versions")]
    TwoVersions {
        /// The group.
        group: GroupName,
        /// The package.
        name: PackageName,
    },
    /// Only binary packages can be unpacked.
    #[error("{0} is no .deb")]
    NotADeb(PoolPath),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    #[serde(rename = "format")]
    _format: u32,
    suites: Vec<Spanned<RawSuite>>,
    groups: Vec<Spanned<RawGroup>>,
    packages: Vec<Spanned<RawPackage>>,
    sources: Vec<Spanned<RawSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSuite {
    archive: String,
    suite: String,
    date: String,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: String,
    request: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackage {
    name: String,
    version: String,
    arch: String,
    size: u64,
    sha256: String,
    archive: String,
    path: String,
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: String,
    version: String,
    size: u64,
    sha256: String,
    archive: String,
    path: String,
}

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    if text.len() > MAX_TEXT {
        return Err(LockError::TooLong);
    }
    check_format(text)?;
    let raw: RawLock = toml::from_str(text).map_err(|found| {
        let line = line_of(text, found.span().map_or(0, |span| span.start));
        LockError::Form { line, found: Box::new(found) }
    })?;
    let mut lock = Lock::default();
    each(text, "suites", raw.suites, |raw| add_suite(&mut lock, raw))?;
    each(text, "groups", raw.groups, |raw| add_group(&mut lock, raw))?;
    let mut last = None;
    each(text, "packages", raw.packages, |raw| add_package(&mut lock, raw, &mut last))?;
    let mut last = None;
    each(text, "sources", raw.sources, |raw| add_source(&mut lock, raw, &mut last))?;
    Ok(lock)
}

/// The format comes first and is looked at alone, so that a lock of the future gets the right message.
fn check_format(text: &str) -> Result<(), LockError> {
    let mut lines = text.lines().map(str::trim).enumerate();
    let first = lines.find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (at, line) = first.unwrap_or_default();
    let value = line.strip_prefix("format").and_then(|rest| rest.trim_start().strip_prefix('='));
    let found = value.ok_or(LockError::NoFormat { line: at + 1 })?.trim();
    if found == FORMAT.to_string() {
        return Ok(());
    }
    Err(LockError::UnknownFormat { line: at + 1, found: shortened(found) })
}

fn each<T>(
    text: &str,
    list: &'static str,
    entries: Vec<Spanned<T>>,
    mut add: impl FnMut(T) -> Result<(), EntryProblem>,
) -> Result<(), LockError> {
    if entries.len() > MAX_ENTRIES {
        return Err(LockError::TooMany { list });
    }
    for entry in entries {
        let start = entry.span().start;
        add(entry.into_inner()).map_err(|source| LockError::Entry { line: line_of(text, start), source })?;
    }
    Ok(())
}

fn line_of(text: &str, at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text.as_bytes()[..at.min(text.len())]).count() + 1
}

fn add_suite(lock: &mut Lock, raw: RawSuite) -> Result<(), EntryProblem> {
    let name: SuiteName = raw.suite.parse()?;
    let suite = LockedSuite {
        archive: raw.archive.parse()?,
        date: raw.date.parse::<Timestamp>()?,
        sha256: raw.sha256.parse()?,
    };
    in_order(lock.suites.last_key_value().map(|(last, _)| last), &name)?;
    lock.suites.insert(name, suite);
    Ok(())
}

fn add_group(lock: &mut Lock, raw: RawGroup) -> Result<(), EntryProblem> {
    let name: GroupName = raw.name.parse()?;
    in_order(lock.groups.last_key_value().map(|(last, _)| last), &name)?;
    lock.groups.insert(name, LockedGroup { request: raw.request.parse()?, packages: Vec::new() });
    Ok(())
}

fn add_package(
    lock: &mut Lock,
    raw: RawPackage,
    last: &mut Option<LockedPackage>,
) -> Result<(), EntryProblem> {
    let package = LockedPackage {
        name: raw.name.parse()?,
        version: DebVersion::parse(&raw.version)?.into_owned(),
        architecture: raw.arch.parse()?,
        size: file_size(raw.size)?,
        sha256: raw.sha256.parse()?,
        archive: raw.archive.parse()?,
        path: raw.path.parse()?,
    };
    if !package.path.as_str().ends_with(".deb") {
        return Err(EntryProblem::NotADeb(package.path));
    }
    if last.as_ref().is_some_and(|last| *last >= package) {
        return Err(EntryProblem::Order(format!("{} {}", package.name, package.version)));
    }
    if raw.groups.is_empty() {
        return Err(EntryProblem::NoGroup(package.name));
    }
    let mut last_group = None;
    for group in &raw.groups {
        let name: GroupName = group.parse()?;
        in_order(last_group.as_ref(), &name)?;
        let Some(group) = lock.groups.get_mut(&name) else { return Err(EntryProblem::NoSuchGroup(name)) };
        if group.packages.last().is_some_and(|other| other.name == package.name) {
            return Err(EntryProblem::TwoVersions { group: name, name: package.name });
        }
        group.packages.push(package.clone());
        last_group = Some(name);
    }
    *last = Some(package);
    Ok(())
}

fn add_source(
    lock: &mut Lock,
    raw: RawSource,
    last: &mut Option<(PackageName, LockedFile)>,
) -> Result<(), EntryProblem> {
    let name: PackageName = raw.name.parse()?;
    let version = DebVersion::parse(&raw.version)?.into_owned();
    let file = LockedFile {
        path: raw.path.parse()?,
        size: file_size(raw.size)?,
        sha256: raw.sha256.parse()?,
        archive: raw.archive.parse()?,
    };
    if last.as_ref().is_some_and(|(last_name, last)| (last_name, &last.path) >= (&name, &file.path)) {
        return Err(EntryProblem::Order(file.path.to_string()));
    }
    let files = Vec::new();
    let source = lock.sources.entry(name.clone()).or_insert(LockedSource { version: version.clone(), files });
    if source.version != version {
        return Err(EntryProblem::Order(format!("{name} {version}")));
    }
    source.files.push(file.clone());
    *last = Some((name, file));
    Ok(())
}

fn in_order<T: Ord + fmt::Display>(last: Option<&T>, next: &T) -> Result<(), EntryProblem> {
    if last.is_some_and(|last| last >= next) { Err(EntryProblem::Order(next.to_string())) } else { Ok(()) }
}

fn file_size(bytes: u64) -> Result<Bytes, EntryProblem> {
    let size = Bytes::new(bytes);
    if size == Bytes::ZERO || size > MAX_FILE { Err(EntryProblem::Size(bytes)) } else { Ok(size) }
}

pub(super) fn render(lock: &Lock) -> String {
    let mut text = String::from(
        "# Every file that a build takes from the archive. Made by `cargo xenolith lock`, which also says what changed;\n\
         # to move packages: `cargo xenolith lock --update [PACKAGE…]`.\n",
    );
    render_list(&mut text, &format!("format = {FORMAT}\n\nsuites"), &lock.suites, |line, (name, suite)| {
        let LockedSuite { archive, date, sha256 } = suite;
        write!(line, "archive = \"{archive}\", suite = \"{name}\", date = \"{date}\", sha256 = \"{sha256}\"")
    });
    render_list(&mut text, "\ngroups", &lock.groups, |line, (name, group)| {
        write!(line, "name = \"{name}\", request = \"{}\"", group.request)
    });
    text + &render_contents(lock)
}

/// The part of the text that says what a build uses.
pub(super) fn render_contents(lock: &Lock) -> String {
    let mut text = String::new();
    render_list(&mut text, "\npackages", lock.packages(), |line, (package, groups)| {
        let LockedPackage { name, version, architecture: arch, size, sha256, archive, path } = package;
        let groups: Vec<_> = groups.into_iter().map(|group| format!("\"{group}\"")).collect();
        write!(
            line,
            "name = \"{name}\", version = \"{version}\", arch = \"{arch}\", size = {}, ",
            size.get()
        )?;
        write!(line, "sha256 = \"{sha256}\", archive = \"{archive}\", path = \"{path}\", ")?;
        write!(line, "groups = [{}]", groups.join(", "))
    });
    let files = lock
        .sources
        .iter()
        .flat_map(|(name, source)| source.files.iter().map(move |file| (name, source, file)));
    render_list(&mut text, "\nsources", files, |line, (name, source, file)| {
        let LockedFile { path, size, sha256, archive } = file;
        write!(line, "name = \"{name}\", version = \"{}\", size = {}, ", source.version, size.get())?;
        write!(line, "sha256 = \"{sha256}\", archive = \"{archive}\", path = \"{path}\"")
    });
    text
}

/// Names, versions, hashes and paths have no character that TOML would have to quote: their types see to that.
fn render_list<T>(
    text: &mut String,
    name: &str,
    entries: impl IntoIterator<Item = T>,
    mut entry: impl FnMut(&mut String, T) -> fmt::Result,
) {
    text.push_str(name);
    text.push_str(" = [\n");
    for value in entries {
        text.push_str("  { ");
        entry(text, value).expect("a String takes what is written to it");
        text.push_str(" },\n");
    }
    text.push_str("]\n");
}
