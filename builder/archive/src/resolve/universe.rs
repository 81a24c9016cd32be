//! All packages that the suites offer, found by name and by what they provide.

use std::collections::HashMap;

use super::ResolveError;
use crate::index::{Dependency, IndexPackage, Priority, Relation, relations};
use crate::lock::LockedPackage;
use crate::{Archive, DebVersion, SuiteName};

/// The packages of one suite and component.
#[derive(Debug)]
pub struct SuiteOffer<'a> {
    /// The archive that has them.
    pub archive: Archive,
    /// The suite that lists them.
    pub suite: SuiteName,
    /// Whether a package is only taken from here if that is asked for.
    pub on_request: bool,
    /// The packages.
    pub packages: Vec<IndexPackage<'a>>,
}

/// Everything that can be chosen from.
pub struct Universe<'a> {
    suites: Vec<Suite>,
    offers: Vec<Offer<'a>>,
    /// Highest version first; equal ones in the order of the suites.
    by_name: HashMap<&'a str, Vec<OfferId>>,
    providers: HashMap<&'a str, Vec<Provision<'a>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SuiteId(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OfferId(usize);

struct Suite {
    archive: Archive,
    name: SuiteName,
    on_request: bool,
}

pub(super) struct Offer<'a> {
    pub(super) package: IndexPackage<'a>,
    pub(super) suite: SuiteId,
}

/// A name that an offer provides.
#[derive(Clone)]
pub(super) struct Provision<'a> {
    pub(super) by: OfferId,
    pub(super) version: Option<DebVersion<'a>>,
}

impl<'a> Universe<'a> {
    /// Sorts what the suites offer. A package that two suites list with the same version counts once, from the first.
    ///
    /// # Errors
    /// [`ResolveError::Relation`] for a `Provides` that cannot be read.
    pub fn new(lists: Vec<SuiteOffer<'a>>) -> Result<Self, ResolveError> {
        let mut universe = Self {
            suites: Vec::new(),
            offers: Vec::new(),
            by_name: HashMap::new(),
            providers: HashMap::new(),
        };
        for list in lists {
            let suite = universe.suite_id(&list);
            universe.offers.extend(list.packages.into_iter().map(|package| Offer { package, suite }));
        }
        for (id, offer) in universe.offers.iter().enumerate() {
            let package = &offer.package;
            universe.by_name.entry(package.name).or_default().push(OfferId(id));
            for (name, version) in provisions(package)? {
                universe.providers.entry(name).or_default().push(Provision { by: OfferId(id), version });
            }
        }
        let offers = &universe.offers;
        for ids in universe.by_name.values_mut() {
            // The sort is stable: of equal versions the one from the suite named first stays in front.
            ids.sort_by(|one, two| offers[two.0].package.version.cmp(&offers[one.0].package.version));
        }
        Ok(universe)
    }

    fn suite_id(&mut self, list: &SuiteOffer<'a>) -> SuiteId {
        let known = self.suites.iter().position(|suite| suite.name == list.suite);
        SuiteId(known.unwrap_or_else(|| {
            let suite =
                Suite { archive: list.archive, name: list.suite.clone(), on_request: list.on_request };
            self.suites.push(suite);
            self.suites.len() - 1
        }))
    }

    pub(super) fn suite(&self, name: &SuiteName) -> Option<SuiteId> {
        self.suites.iter().position(|suite| suite.name == *name).map(SuiteId)
    }

    pub(super) fn is_on_request(&self, suite: SuiteId) -> bool {
        self.suites[suite.0].on_request
    }

    pub(super) fn package(&self, id: OfferId) -> &IndexPackage<'a> {
        &self.offers[id.0].package
    }

    pub(super) fn suite_of(&self, id: OfferId) -> SuiteId {
        self.offers[id.0].suite
    }

    /// The offers of a name, the highest version first.
    pub(super) fn offers(&self, name: &str) -> impl Iterator<Item = OfferId> {
        self.by_name.get(name).into_iter().flatten().copied()
    }

    /// The highest version of a name in the ordinary suites, or in the one it is pinned to.
    pub(super) fn best(&self, name: &str, pinned: Option<SuiteId>) -> Option<OfferId> {
        self.offers(name).find(|id| match pinned {
            Some(pinned) => self.suite_of(*id) == pinned,
            None => !self.is_on_request(self.suite_of(*id)),
        })
    }

    /// The offer that a lock names, if the archive still has it.
    pub(super) fn locked(&self, locked: &LockedPackage) -> Option<OfferId> {
        self.offers(locked.name.as_str()).find(|id| {
            let package = self.package(*id);
            package.version == locked.version && package.sha256 == locked.sha256
        })
    }

    /// The offers that provide a name such that `relation` is met.
    pub(super) fn providers(&self, relation: &Relation<'_>) -> impl Iterator<Item = OfferId> {
        let all = self.providers.get(relation.name).into_iter().flatten();
        all.filter(|provision| relation.admits_provided(provision.version.as_ref()))
            .map(|provision| provision.by)
    }

    /// The names that every system must have or that Debian requires, in order.
    pub(super) fn essential(&self) -> Vec<&'a str> {
        let needed = |id: &OfferId| {
            let package = self.package(*id);
            package.essential || package.priority == Priority::Required
        };
        let names = self.by_name.keys().filter(|name| self.best(name, None).as_ref().is_some_and(needed));
        let mut names: Vec<_> = names.copied().collect();
        names.sort_unstable();
        names
    }

    /// The offer as a lock pins it.
    pub(super) fn lock(&self, id: OfferId) -> LockedPackage {
        let package = self.package(id);
        LockedPackage {
            name: package.name.parse().expect("checked by the index"),
            version: package.version.clone().into_owned(),
            architecture: package.architecture,
            size: xenolith_layout::Bytes::new(package.size),
            sha256: package.sha256,
            archive: self.suites[self.suite_of(id).0].archive,
            path: package.path.parse().expect("checked by the index"),
        }
    }
}

/// What a package provides: names, some with a version.
pub(super) fn provisions<'a>(
    package: &IndexPackage<'a>,
) -> Result<Vec<(&'a str, Option<DebVersion<'a>>)>, ResolveError> {
    let read = read_field(package, "Provides", package.provides)?;
    let named = read.into_iter().flat_map(|dependency| dependency.0);
    Ok(named
        .map(|relation| (relation.name, relation.constraint.map(|constraint| constraint.version)))
        .collect())
}

pub(super) fn read_field<'a>(
    package: &IndexPackage<'_>,
    field: &'static str,
    value: &'a str,
) -> Result<Vec<Dependency<'a>>, ResolveError> {
    let package = || format!("{} {}", package.name, package.version);
    relations(value).map_err(|source| ResolveError::Relation { package: package(), field, source })
}
