//! The lock: every file that a build takes from the archive, by hash.
//!
//! **What a lock names is what a build uses, byte for byte, or the build stops.** The file `xenolith.lock` is TOML, one
//! line per file and sorted, so that a change of the lock reads as what it is in a review:
//!
//! ```toml
//! format = 1
//!
//! suites = [
//!   { archive = "debian", suite = "trixie", date = "2026-09-12T07:55:41Z", sha256 = "…of its InRelease" },
//! ]
//!
//! groups = [
//!   { name = "dom0", request = "…digest of what the recipe asked for" },
//! ]
//!
//! packages = [
//!   { name = "acl", version = "2.3.2-2", arch = "amd64", size = 72164, sha256 = "…", archive = "debian", path = "pool/…", groups = ["dom0"] },
//! ]
//!
//! sources = [
//!   { name = "xen", version = "4.20.4-1", size = 4054, sha256 = "…", archive = "debian-security", path = "pool/….dsc" },
//! ]
//! ```
//!
//! Reading is strict. An unknown format is refused before anything else is looked at; then unknown keys, entries out
//! of order or there twice, groups that nobody declared, two versions of a package in one group and paths that leave
//! the archive. A lock that two people changed at once and that was merged badly does not pass.
//!
//! Suites and requests say where a lock came from. They do not change what is built, so [`Lock::hash`] leaves them
//! out: locking again when nothing moved gives the same hash.

mod diff;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use diff::{Change, Entry, GroupSize, LockDiff, Regrouped, Totals};
pub use text::{EntryProblem, LockError};
use xenolith_layout::Bytes;

use crate::date::Timestamp;
use crate::resolve::GroupSpec;
use crate::{Architecture, Archive, DebVersion, GroupName, PackageName, PoolPath, Sha256, SuiteName};

/// What a build uses of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The suites as they were when the lock was made.
    pub suites: BTreeMap<SuiteName, LockedSuite>,
    /// What belongs into each tree.
    pub groups: BTreeMap<GroupName, LockedGroup>,
    /// Source packages, by name.
    pub sources: BTreeMap<PackageName, LockedSource>,
}

/// A suite as it was when the lock was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedSuite {
    /// The archive that has it.
    pub archive: Archive,
    /// The date of its Release file.
    pub date: Timestamp,
    /// The hash of its InRelease.
    pub sha256: Sha256,
}

/// The packages of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedGroup {
    /// The digest of what the recipe asked for, see [`GroupSpec::digest`].
    pub request: Sha256,
    /// The packages, sorted; each name once.
    pub packages: Vec<LockedPackage>,
}

/// A binary package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: DebVersion<'static>,
    /// What it was built for.
    pub architecture: Architecture,
    /// The length of the .deb.
    pub size: Bytes,
    /// The hash of the .deb.
    pub sha256: Sha256,
    /// The archive that has it.
    pub archive: Archive,
    /// Where in the archive.
    pub path: PoolPath,
}

/// A source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedSource {
    /// Its version.
    pub version: DebVersion<'static>,
    /// Its files, sorted by path; never empty.
    pub files: Vec<LockedFile>,
}

/// A file of a source package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockedFile {
    /// Where in the archive.
    pub path: PoolPath,
    /// Its length.
    pub size: Bytes,
    /// Its hash.
    pub sha256: Sha256,
    /// The archive that has it.
    pub archive: Archive,
}

impl LockedFile {
    /// Whether a build unpacks it. A `.dsc` is pinned with the rest, but says nothing that the signed index does not.
    pub fn is_tarball(&self) -> bool {
        self.path.as_str().contains(".tar.")
    }
}

/// Why a group of the recipe and the lock do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(tag = "kind", content = "group", rename_all = "kebab-case")]
pub enum StaleGroup {
    /// The recipe has it, the lock does not.
    NotLocked(GroupName),
    /// The recipe asks for something else than it did when it was locked.
    RecipeChanged(GroupName),
    /// The lock has it, the recipe does not any more.
    NotInRecipe(GroupName),
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// [`LockError`], with the line.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        text::parse(text)
    }

    /// The text of the lock file: the same lock gives the same text, and [`Lock::parse`] gives the same lock again.
    pub fn render(&self) -> String {
        text::render(self)
    }

    /// The hash of what a build uses: packages, the groups they are in, sources.
    pub fn hash(&self) -> Sha256 {
        Sha256::of(text::render_contents(self))
    }

    /// The packages of all groups, each once, in order.
    pub fn packages(&self) -> BTreeMap<&LockedPackage, BTreeSet<&GroupName>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, group) in &self.groups {
            for package in &group.packages {
                all.entry(package).or_default().insert(name);
            }
        }
        all
    }

    /// The groups for which recipe and lock differ; empty if the lock is up to date with the recipe.
    pub fn stale_groups(&self, recipe: &[GroupSpec]) -> Vec<StaleGroup> {
        let changed = recipe.iter().filter_map(|spec| match self.groups.get(&spec.name) {
            None => Some(StaleGroup::NotLocked(spec.name.clone())),
            Some(group) if group.request != spec.digest() => {
                Some(StaleGroup::RecipeChanged(spec.name.clone()))
            }
            Some(_) => None,
        });
        let wanted = |name: &GroupName| recipe.iter().any(|spec| spec.name == *name);
        let unused = self.groups.keys().filter(|name| !wanted(name)).cloned().map(StaleGroup::NotInRecipe);
        changed.chain(unused).collect()
    }

    /// What changed from `old` to `new`.
    pub fn diff(old: &Self, new: &Self) -> LockDiff {
        diff::diff(old, new)
    }
}

impl LockedPackage {
    /// The package as a file of the archive.
    pub fn file(&self) -> LockedFile {
        LockedFile { path: self.path.clone(), size: self.size, sha256: self.sha256, archive: self.archive }
    }
}

impl std::fmt::Display for StaleGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotLocked(group) => write!(f, "group {group} is not in the lock"),
            Self::RecipeChanged(group) => {
                write!(f, "the recipe of group {group} changed since it was locked")
            }
            Self::NotInRecipe(group) => write!(f, "group {group} is locked, but no recipe asks for it"),
        }
    }
}

#[cfg(test)]
mod tests;
