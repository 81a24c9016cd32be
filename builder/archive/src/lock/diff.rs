//! What changed between two locks, for people and for programs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use xenolith_layout::Bytes;

use super::{Lock, LockedPackage};
use crate::{DebVersion, GroupName, PackageName};

/// What changed between two locks. All lists are sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockDiff {
    /// Packages that are new.
    pub added: Vec<Entry>,
    /// Packages that are gone.
    pub removed: Vec<Entry>,
    /// Packages with a later version.
    pub upgraded: Vec<Change>,
    /// Packages with an earlier version.
    pub downgraded: Vec<Change>,
    /// Packages with the same version and another content.
    pub replaced: Vec<Change>,
    /// Packages that stayed as they are and moved between groups.
    pub regrouped: Vec<Regrouped>,
    /// Source packages, wherever they changed.
    pub sources: Vec<Change>,
    /// The size of each group, before and after.
    pub groups: Vec<GroupSize>,
    /// All packages together, each counted once.
    pub totals: Totals,
}

/// A package that is new or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: DebVersion<'static>,
    /// The length of its .deb.
    pub size: Bytes,
    /// The groups it is or was in.
    pub groups: BTreeSet<GroupName>,
}

/// A package or source package that is another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: PackageName,
    /// The version before; `None`: it is new (source packages only).
    pub from: Option<DebVersion<'static>>,
    /// The version now; `None`: it is gone (source packages only).
    pub to: Option<DebVersion<'static>>,
    /// Its size before.
    pub size_from: Bytes,
    /// Its size now.
    pub size_to: Bytes,
    /// The groups it is in now; empty for source packages.
    pub groups: BTreeSet<GroupName>,
}

/// A package that is in other groups than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Regrouped {
    /// Its name.
    pub name: PackageName,
    /// The groups that it is new in.
    pub joined: BTreeSet<GroupName>,
    /// The groups that it left.
    pub left: BTreeSet<GroupName>,
}

/// The size of a group before and after; a group that is not there has no packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupSize {
    /// Which group.
    pub name: GroupName,
    /// Before and after.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Number and size of packages before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many there were.
    pub packages_from: usize,
    /// How many there are.
    pub packages_to: usize,
    /// The length of all their .debs before.
    pub size_from: Bytes,
    /// The length of all their .debs now.
    pub size_to: Bytes,
}

type Versions<'l> = BTreeMap<&'l PackageName, Vec<(&'l LockedPackage, BTreeSet<&'l GroupName>)>>;

pub(super) fn diff(old: &Lock, new: &Lock) -> LockDiff {
    let (before, after) = (by_name(old), by_name(new));
    let mut diff = LockDiff {
        added: Vec::new(),
        removed: Vec::new(),
        upgraded: Vec::new(),
        downgraded: Vec::new(),
        replaced: Vec::new(),
        regrouped: Vec::new(),
        sources: sources(old, new),
        groups: group_sizes(old, new),
        totals: totals(old.packages().into_keys(), new.packages().into_keys()),
    };
    let names: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let none = Vec::new();
    for name in names {
        diff.compare(before.get(name).unwrap_or(&none), after.get(name).unwrap_or(&none));
    }
    diff
}

fn by_name(lock: &Lock) -> Versions<'_> {
    let mut all = Versions::new();
    for (package, groups) in lock.packages() {
        all.entry(&package.name).or_default().push((package, groups));
    }
    all
}

type Variant<'l> = (&'l LockedPackage, BTreeSet<&'l GroupName>);

impl LockDiff {
    /// Whether nothing that a build uses changed.
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, upgraded, downgraded, replaced, regrouped, sources, groups: _, totals: _ } =
            self;
        added.is_empty()
            && removed.is_empty()
            && [upgraded, downgraded, replaced, sources].into_iter().all(Vec::is_empty)
            && regrouped.is_empty()
    }

    /// Compares the variants of one name; there is more than one if groups have different versions of it.
    fn compare(&mut self, before: &[Variant<'_>], after: &[Variant<'_>]) {
        let same = |one: &Variant<'_>, two: &Variant<'_>| one.0 == two.0;
        for now in after {
            if let Some(was) = before.iter().find(|was| same(was, now))
                && was.1 != now.1
            {
                let owned =
                    |names: BTreeSet<&&GroupName>| names.into_iter().map(|name| (*name).clone()).collect();
                let joined = owned(now.1.difference(&was.1).collect());
                let left = owned(was.1.difference(&now.1).collect());
                self.regrouped.push(Regrouped { name: now.0.name.clone(), joined, left });
            }
        }
        let gone: Vec<_> = before.iter().filter(|was| !after.iter().any(|now| same(was, now))).collect();
        let come: Vec<_> = after.iter().filter(|now| !before.iter().any(|was| same(was, now))).collect();
        let paired = gone.len().min(come.len());
        for (was, now) in gone.iter().zip(&come) {
            let change = Change {
                name: now.0.name.clone(),
                from: Some(was.0.version.clone()),
                to: Some(now.0.version.clone()),
                size_from: was.0.size,
                size_to: now.0.size,
                groups: owned_groups(&now.1),
            };
            match now.0.version.cmp(&was.0.version) {
                Ordering::Greater => self.upgraded.push(change),
                Ordering::Less => self.downgraded.push(change),
                Ordering::Equal => self.replaced.push(change),
            }
        }
        self.removed.extend(gone[paired..].iter().map(|was| entry(was)));
        self.added.extend(come[paired..].iter().map(|now| entry(now)));
    }
}

fn entry((package, groups): &Variant<'_>) -> Entry {
    let LockedPackage { name, version, size, .. } = package;
    Entry { name: name.clone(), version: version.clone(), size: *size, groups: owned_groups(groups) }
}

fn owned_groups(groups: &BTreeSet<&GroupName>) -> BTreeSet<GroupName> {
    groups.iter().map(|name| (*name).clone()).collect()
}

fn sources(old: &Lock, new: &Lock) -> Vec<Change> {
    let names: BTreeSet<_> = old.sources.keys().chain(new.sources.keys()).collect();
    let changed = names.into_iter().map(|name| (name, old.sources.get(name), new.sources.get(name)));
    let size = |source: Option<&super::LockedSource>| {
        sum(source.into_iter().flat_map(|source| &source.files).map(|file| file.size))
    };
    changed
        .filter(|(_, was, now)| was != now)
        .map(|(name, was, now)| Change {
            name: name.clone(),
            from: was.map(|source| source.version.clone()),
            to: now.map(|source| source.version.clone()),
            size_from: size(was),
            size_to: size(now),
            groups: BTreeSet::new(),
        })
        .collect()
}

fn group_sizes(old: &Lock, new: &Lock) -> Vec<GroupSize> {
    let names: BTreeSet<_> = old.groups.keys().chain(new.groups.keys()).collect();
    let packages = |lock: &'_ Lock, name: &GroupName| -> Vec<LockedPackage> {
        lock.groups.get(name).map(|group| group.packages.clone()).unwrap_or_default()
    };
    names
        .into_iter()
        .map(|name| {
            let (was, now) = (packages(old, name), packages(new, name));
            GroupSize { name: name.clone(), totals: totals(was.iter(), now.iter()) }
        })
        .collect()
}

fn totals<'l>(
    was: impl IntoIterator<Item = &'l LockedPackage>,
    now: impl IntoIterator<Item = &'l LockedPackage>,
) -> Totals {
    let (was, now): (Vec<_>, Vec<_>) = (was.into_iter().collect(), now.into_iter().collect());
    Totals {
        packages_from: was.len(),
        packages_to: now.len(),
        size_from: sum(was.iter().map(|package| package.size)),
        size_to: sum(now.iter().map(|package| package.size)),
    }
}

/// A lock has at most 20,000 files of at most 4 GiB: the sum fits.
fn sum(sizes: impl Iterator<Item = Bytes>) -> Bytes {
    sizes.fold(Bytes::ZERO, |one, two| one + two)
}

impl Totals {
    /// The difference in size with its sign, such as `+1.2 MiB`.
    pub fn delta(&self) -> String {
        delta(self.size_from, self.size_to)
    }
}

fn delta(from: Bytes, to: Bytes) -> String {
    let less = |one: Bytes, two: Bytes| one.checked_sub(two).unwrap_or_default();
    match to.cmp(&from) {
        Ordering::Equal => "±0".to_owned(),
        Ordering::Greater => format!("+{}", less(to, from)),
        Ordering::Less => format!("-{}", less(from, to)),
    }
}

impl fmt::Display for LockDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            let Totals { packages_to, size_to, .. } = self.totals;
            return writeln!(f, "nothing changed: {packages_to} packages, {size_to}");
        }
        let table =
            |f: &mut fmt::Formatter<'_>, title: &str, rows: Vec<[String; 4]>| print_table(f, title, &rows);
        table(f, "added", self.added.iter().map(|entry| entry_row(entry, "+")).collect())?;
        table(f, "upgraded", self.upgraded.iter().map(change_row).collect())?;
        table(f, "downgraded", self.downgraded.iter().map(change_row).collect())?;
        table(f, "replaced (same version, other content)", self.replaced.iter().map(change_row).collect())?;
        table(f, "removed", self.removed.iter().map(|entry| entry_row(entry, "-")).collect())?;
        table(f, "in other groups", self.regrouped.iter().map(regrouped_row).collect())?;
        table(f, "sources", self.sources.iter().map(change_row).collect())?;
        self.print_summary(f)
    }
}

impl LockDiff {
    fn print_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for GroupSize { name, totals } in
            self.groups.iter().filter(|group| group.totals.size_from != group.totals.size_to)
        {
            writeln!(f, "{name}: {} packages, {} ({})", totals.packages_to, totals.size_to, totals.delta())?;
        }
        let counts = [
            (self.added.len(), "added"),
            (self.upgraded.len(), "upgraded"),
            (self.downgraded.len(), "downgraded"),
            (self.replaced.len(), "replaced"),
            (self.removed.len(), "removed"),
            (self.regrouped.len(), "in other groups"),
            (self.sources.len(), if self.sources.len() == 1 { "source changed" } else { "sources changed" }),
        ];
        let counts: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let Totals { packages_to, size_to, .. } = self.totals;
        writeln!(f, "{}; {packages_to} packages, {size_to} ({})", counts.join(", "), self.totals.delta())
    }
}

fn entry_row(entry: &Entry, sign: &str) -> [String; 4] {
    let size = format!("{sign}{}", entry.size);
    [entry.name.to_string(), entry.version.to_string(), size, listed(&entry.groups)]
}

fn change_row(change: &Change) -> [String; 4] {
    let version =
        |version: &Option<DebVersion<'_>>| version.as_ref().map_or("none".to_owned(), ToString::to_string);
    let versions = format!("{} → {}", version(&change.from), version(&change.to));
    let delta = delta(change.size_from, change.size_to);
    [change.name.to_string(), versions, delta, listed(&change.groups)]
}

fn regrouped_row(moved: &Regrouped) -> [String; 4] {
    let joined = moved.joined.iter().map(|name| format!("+{name}"));
    let left = moved.left.iter().map(|name| format!("-{name}"));
    let groups: Vec<_> = joined.chain(left).collect();
    [moved.name.to_string(), groups.join(" "), String::new(), String::new()]
}

fn listed(groups: &BTreeSet<GroupName>) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}

fn print_table(f: &mut fmt::Formatter<'_>, title: &str, rows: &[[String; 4]]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}:")?;
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, version, size) = (width(0), width(1), width(2));
    for row in rows {
        let line = format!("  {:name$}  {:version$}  {:>size$}  {}", row[0], row[1], row[2], row[3]);
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
