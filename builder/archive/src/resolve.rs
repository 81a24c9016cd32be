//! From what a recipe asks for to a closed set of packages.
//!
//! **What is returned can be unpacked together: every dependency of every package in it is in it, and no two of them
//! refuse each other.** The same recipe and the same indexes give the same set in the same order.
//!
//! The resolver is greedy and does not search. It chooses all packages that the recipe names, then walks their
//! `Pre-Depends` and `Depends` breadth first. For each dependency the first rule that applies decides:
//!
//! 1. something already chosen meets one of the alternatives;
//! 2. the group excludes something that would meet it: it is taken for installed;
//! 3. the first alternative that can be had, a real package before one that provides the name; among providers the
//!    one with the highest priority, then the first by name.
//!
//! Each name has one candidate: the highest version in the ordinary suites. A suite *on request* (backports) is
//! only looked at for names that the recipe pins to it, and for a dependency of a package from there which nothing
//! else meets (`rustc` from backports needs the `libstd-rust` that was built with it).
//!
//! Two kinds of decision are revised: a name may be *pinned* to a suite on request, and a name that was *held* at the
//! version of the previous lock (`lock --update NAME`) may be *released*. Both sets only grow, and each time the walk
//! starts over with the greater set; so it ends, and nothing depends on the order of the discoveries.
//!
//! `Conflicts` and `Breaks` are checked at the end and end in an error that names both packages: the recipe decides
//! which of them it wants. Searching for a set without the conflict was left out: what a conflict costs
//! is one line in the recipe, what a search costs is that nobody can say why a package is there.
//!
//! Source: Debian policy §7.

mod universe;
mod walk;

use std::collections::BTreeMap;
use std::str::FromStr;

pub use universe::{SuiteOffer, Universe};

use crate::index::Problem;
use crate::lock::LockedPackage;
use crate::{BadName, GroupName, PackageName, Sha256, SuiteName};

/// What a recipe wants in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its name, such as `dom0`.
    pub name: GroupName,
    /// The packages that were asked for; their dependencies follow by themselves.
    pub packages: Vec<PackageRequest>,
    /// Whether everything that is `Essential: yes` or `Priority: required` belongs to it as well.
    pub essential: bool,
    /// Whether recommended packages are taken along where they can be had.
    pub recommends: bool,
    /// Packages that count as installed although they are not.
    pub exclude: Vec<PackageName>,
}

/// A package that a recipe names; written `rustc` or `rustc@trixie-backports`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageRequest {
    /// Its name.
    pub name: PackageName,
    /// The suite it must come from.
    pub suite: Option<SuiteName>,
}

/// The versions that should stay as they are, by name.
pub type Held<'a> = BTreeMap<&'a str, &'a LockedPackage>;

/// Why a group cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// The recipe names a package that is nowhere.
    #[error("group {group}: there is no package {name}{}", in_suite(suite.as_ref()))]
    NoSuchPackage {
        /// In which group.
        group: GroupName,
        /// Its name.
        name: PackageName,
        /// The suite it should be in, if the recipe says one.
        suite: Option<SuiteName>,
    },
    /// The recipe pins a package to a suite that is not read.
    #[error("group {group}: {name} is pinned to {suite}, which is not one of the suites that are read")]
    UnknownSuite {
        /// In which group.
        group: GroupName,
        /// The package.
        name: PackageName,
        /// The suite.
        suite: SuiteName,
    },
    /// The recipe wants and excludes the same package.
    #[error("group {group}: {name} is asked for and excluded at once")]
    Excluded {
        /// In which group.
        group: GroupName,
        /// The package.
        name: PackageName,
    },
    /// Nothing meets a dependency.
    #[error("group {group}: nothing meets {dependency:?}, needed by {}{available}", chain.join(" → "))]
    Unsatisfied {
        /// In which group.
        group: GroupName,
        /// The dependency as the package writes it.
        dependency: String,
        /// From the package that the recipe names to the one that has the dependency.
        chain: Vec<String>,
        /// Which versions there are instead, if any; starts with "; ".
        available: String,
    },
    /// Two packages of the set refuse each other.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// A dependency in an index that cannot be read.
    #[error("{package}: {field} is not valid")]
    Relation {
        /// The package that has it.
        package: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: Problem,
    },
}

/// Two packages that refuse each other, and how each came in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "group {group}: {one} and {other} cannot be together: {one} says {field}: {relation} (they are here by {}, {})",
    one_chain.join(" → "), other_chain.join(" → ")
)]
pub struct Conflict {
    /// In which group.
    pub group: GroupName,
    /// The package with the field, and its version.
    pub one: String,
    /// The package that it means, and its version.
    pub other: String,
    /// `Conflicts` or `Breaks`.
    pub field: &'static str,
    /// The relation as the package writes it.
    pub relation: String,
    /// How the first came in: from the package that the recipe names to itself.
    pub one_chain: Vec<String>,
    /// How the other came in.
    pub other_chain: Vec<String>,
}

/// Resolves one group. `held` are versions of a previous lock that should stay; what must move for the rest to fit
/// moves nevertheless. The packages come sorted by name, each name once.
///
/// # Errors
/// [`ResolveError`]: each names the group and what in it is wrong.
pub fn resolve(
    universe: &Universe<'_>,
    group: &GroupSpec,
    held: &Held<'_>,
) -> Result<Vec<LockedPackage>, ResolveError> {
    walk::resolve(universe, group, held)
}

impl GroupSpec {
    /// A digest of what is asked for. The lock keeps it, so that a recipe that was changed after locking is noticed
    /// without a look at the archive. The order of packages does not count.
    pub fn digest(&self) -> Sha256 {
        let mut lines: Vec<String> =
            self.packages.iter().map(|request| format!("package {request}")).collect();
        lines.extend(self.exclude.iter().map(|name| format!("exclude {name}")));
        lines.sort();
        lines.dedup();
        lines.push(format!("essential {}", self.essential));
        lines.push(format!("recommends {}", self.recommends));
        Sha256::of(lines.join("\n"))
    }
}

impl FromStr for PackageRequest {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Ok(match text.split_once('@') {
            Some((name, suite)) => Self { name: name.parse()?, suite: Some(suite.parse()?) },
            None => Self { name: text.parse()?, suite: None },
        })
    }
}

impl std::fmt::Display for PackageRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.suite {
            Some(suite) => write!(f, "{}@{suite}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl<'de> serde::Deserialize<'de> for PackageRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn in_suite(suite: Option<&SuiteName>) -> String {
    suite.map(|suite| format!(" in {suite}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
