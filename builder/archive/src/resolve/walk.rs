//! The walk over dependencies, and what makes it start over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::universe::{OfferId, SuiteId, Universe, provisions, read_field};
use super::{Conflict, GroupSpec, Held, ResolveError};
use crate::DebVersion;
use crate::index::{Dependency, Relation};
use crate::lock::LockedPackage;

pub(super) fn resolve(
    universe: &Universe<'_>,
    group: &GroupSpec,
    held: &Held<'_>,
) -> Result<Vec<LockedPackage>, ResolveError> {
    let mut moves = Moves::of(universe, group)?;
    loop {
        let mut walk = Walk::new(universe, group, held, &moves);
        match walk.run()? {
            Outcome::Done => return Ok(walk.into_locked()),
            Outcome::StartOver(Move::Pin(name, suite)) => drop(moves.pins.insert(name, suite)),
            Outcome::StartOver(Move::Release(name)) => drop(moves.released.insert(name)),
        }
    }
}

/// The decisions that a later discovery may add to. Nothing is ever taken out.
struct Moves {
    pins: BTreeMap<String, SuiteId>,
    released: BTreeSet<String>,
}

enum Move {
    Pin(String, SuiteId),
    Release(String),
}

enum Outcome {
    Done,
    StartOver(Move),
}

impl Moves {
    fn of(universe: &Universe<'_>, group: &GroupSpec) -> Result<Self, ResolveError> {
        let mut pins = BTreeMap::new();
        for request in &group.packages {
            if group.exclude.contains(&request.name) {
                return Err(ResolveError::Excluded { group: group.name.clone(), name: request.name.clone() });
            }
            let Some(suite) = &request.suite else { continue };
            let id = universe.suite(suite).ok_or_else(|| ResolveError::UnknownSuite {
                group: group.name.clone(),
                name: request.name.clone(),
                suite: suite.clone(),
            })?;
            pins.insert(request.name.as_str().to_owned(), id);
        }
        Ok(Self { pins, released: BTreeSet::new() })
    }
}

/// A package in the set: from an index, or from the previous lock alone because no index has it any more.
#[derive(Clone, Copy)]
enum Pick<'w> {
    Offer(OfferId),
    Gone(&'w LockedPackage),
}

struct Chosen<'w> {
    pick: Pick<'w>,
    /// The package that asked for it; `None`: the recipe did.
    by: Option<usize>,
}

struct Walk<'w, 'a> {
    universe: &'w Universe<'a>,
    group: &'w GroupSpec,
    held: &'w Held<'w>,
    moves: &'w Moves,
    chosen: Vec<Chosen<'w>>,
    by_name: HashMap<&'w str, usize>,
    provided: HashMap<&'w str, Vec<(usize, Option<DebVersion<'w>>)>>,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(universe: &'w Universe<'a>, group: &'w GroupSpec, held: &'w Held<'w>, moves: &'w Moves) -> Self {
        let (chosen, by_name, provided) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { universe, group, held, moves, chosen, by_name, provided }
    }

    fn run(&mut self) -> Result<Outcome, ResolveError> {
        self.choose_roots()?;
        let (mut needed, mut recommended) = (0, 0);
        loop {
            if needed < self.chosen.len() {
                if let Some(start_over) = self.follow(needed)? {
                    return Ok(Outcome::StartOver(start_over));
                }
                needed += 1;
            } else if self.group.recommends && recommended < self.chosen.len() {
                self.recommend(recommended)?;
                recommended += 1;
            } else if self.keep_rest_of_previous()? {
                continue;
            } else {
                return Ok(self.refusal()?.map_or(Outcome::Done, Outcome::StartOver));
            }
        }
    }

    fn choose_roots(&mut self) -> Result<(), ResolveError> {
        for request in &self.group.packages {
            let name = &request.name;
            let pick = self.candidate(name.as_str()).ok_or_else(|| ResolveError::NoSuchPackage {
                group: self.group.name.clone(),
                name: name.clone(),
                suite: request.suite.clone(),
            })?;
            self.choose(pick, None)?;
        }
        let essential = if self.group.essential { self.universe.essential() } else { Vec::new() };
        for name in essential {
            if let Some(pick) = self.candidate(name).filter(|_| !self.is_excluded(name)) {
                self.choose(pick, None)?;
            }
        }
        Ok(())
    }

    /// The one package that a name stands for in this walk.
    fn candidate(&self, name: &str) -> Option<Pick<'w>> {
        if let Some(locked) = self.held.get(name).copied().filter(|_| !self.moves.released.contains(name)) {
            return Some(self.universe.locked(locked).map_or(Pick::Gone(locked), Pick::Offer));
        }
        self.universe.best(name, self.moves.pins.get(name).copied()).map(Pick::Offer)
    }

    fn is_held(&self, name: &str) -> bool {
        self.held.contains_key(name) && !self.moves.released.contains(name)
    }

    fn is_excluded(&self, name: &str) -> bool {
        self.group.exclude.iter().any(|excluded| excluded.as_str() == name)
    }

    fn choose(&mut self, pick: Pick<'w>, by: Option<usize>) -> Result<(), ResolveError> {
        let at = self.chosen.len();
        let name = self.name(pick);
        if self.by_name.contains_key(name) {
            return Ok(());
        }
        self.by_name.insert(name, at);
        if let Pick::Offer(id) = pick {
            for (name, version) in provisions(self.universe.package(id))? {
                self.provided.entry(name).or_default().push((at, version));
            }
        }
        self.chosen.push(Chosen { pick, by });
        Ok(())
    }

    fn name(&self, pick: Pick<'w>) -> &'w str {
        match pick {
            Pick::Offer(id) => self.universe.package(id).name,
            Pick::Gone(locked) => locked.name.as_str(),
        }
    }

    fn version(&self, pick: Pick<'w>) -> &'w DebVersion<'w> {
        match pick {
            Pick::Offer(id) => &self.universe.package(id).version,
            Pick::Gone(locked) => &locked.version,
        }
    }

    /// Sees to it that everything the package at `at` depends on is chosen.
    fn follow(&mut self, at: usize) -> Result<Option<Move>, ResolveError> {
        let Pick::Offer(id) = self.chosen[at].pick else { return Ok(None) };
        let package = self.universe.package(id);
        for (field, value) in [("Pre-Depends", package.pre_depends), ("Depends", package.depends)] {
            for dependency in read_field(package, field, value)? {
                if self.is_met(&dependency)? {
                    continue;
                }
                match self.available(&dependency) {
                    Some(pick) => self.choose(pick, Some(at))?,
                    None => return self.remedy(at, id, &dependency).map(Some),
                }
            }
        }
        Ok(None)
    }

    /// Takes along what the package at `at` recommends, as far as it can be had.
    fn recommend(&mut self, at: usize) -> Result<(), ResolveError> {
        let Pick::Offer(id) = self.chosen[at].pick else { return Ok(()) };
        let package = self.universe.package(id);
        for dependency in read_field(package, "Recommends", package.recommends)? {
            if !self.is_met(&dependency)?
                && let Some(pick) = self.available(&dependency)
            {
                self.choose(pick, Some(at))?;
            }
        }
        Ok(())
    }

    /// Rules 1 and 2: something chosen meets the dependency, or something excluded would.
    fn is_met(&self, dependency: &Dependency<'_>) -> Result<bool, ResolveError> {
        for relation in dependency.0.iter().filter(|relation| relation.is_for_us()) {
            let real = self.by_name.get(relation.name).map(|at| self.version(self.chosen[*at].pick));
            let provided = self.provided.get(relation.name).into_iter().flatten();
            let mut provided = provided.map(|(_, version)| version.as_ref());
            if real.is_some_and(|version| relation.admits(version))
                || provided.any(|version| relation.admits_provided(version))
                || self.is_excluded(relation.name)
                || self
                    .universe
                    .providers(relation)
                    .any(|id| self.is_excluded(self.universe.package(id).name))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rule 3: the first alternative that can be had.
    fn available(&self, dependency: &Dependency<'_>) -> Option<Pick<'w>> {
        dependency.0.iter().filter(|relation| relation.is_for_us()).find_map(|relation| {
            let real = self.candidate(relation.name).filter(|pick| {
                !self.by_name.contains_key(relation.name) && relation.admits(self.version(*pick))
            });
            real.or_else(|| self.provider(relation))
        })
    }

    fn provider(&self, relation: &Relation<'_>) -> Option<Pick<'w>> {
        let is_candidate = |id: &OfferId| {
            let candidate = self.candidate(self.universe.package(*id).name);
            matches!(candidate, Some(Pick::Offer(other)) if other == *id)
        };
        let best = self.universe.providers(relation).filter(is_candidate).min_by_key(|id| {
            let package = self.universe.package(*id);
            (package.priority, package.name)
        });
        best.map(Pick::Offer)
    }

    /// What could make an unmet dependency of the package at `at` met after all.
    fn remedy(&self, at: usize, id: OfferId, dependency: &Dependency<'_>) -> Result<Move, ResolveError> {
        for relation in dependency.0.iter().filter(|relation| self.is_held(relation.name)) {
            let pin = self.moves.pins.get(relation.name).copied();
            let free = self.universe.best(relation.name, pin);
            if free.is_some_and(|id| relation.admits(&self.universe.package(id).version)) {
                return Ok(Move::Release(relation.name.to_owned()));
            }
        }
        let name = self.universe.package(id).name;
        if self.is_held(name) {
            return Ok(Move::Release(name.to_owned()));
        }
        let suite = self.universe.suite_of(id);
        let pin = self.universe.is_on_request(suite).then(|| self.in_suite(suite, dependency)).flatten();
        pin.map(|name| Move::Pin(name.to_owned(), suite)).ok_or_else(|| ResolveError::Unsatisfied {
            group: self.group.name.clone(),
            dependency: dependency.to_string(),
            chain: self.chain(at),
            available: self.other_versions(dependency),
        })
    }

    /// A name not yet pinned whose package in `suite` meets the dependency.
    fn in_suite(&self, suite: SuiteId, dependency: &Dependency<'_>) -> Option<&'w str> {
        let free = |name: &str| !self.moves.pins.contains_key(name);
        dependency.0.iter().filter(|relation| relation.is_for_us()).find_map(|relation| {
            let real = self.universe.best(relation.name, Some(suite));
            let real = real.filter(|id| relation.admits(&self.universe.package(*id).version));
            let mut all = real.into_iter().chain(self.universe.providers(relation));
            let found =
                all.find(|id| self.universe.suite_of(*id) == suite && free(self.universe.package(*id).name));
            found.map(|id| self.universe.package(id).name)
        })
    }

    fn chain(&self, at: usize) -> Vec<String> {
        let mut chain: Vec<_> = std::iter::successors(Some(at), |at| self.chosen[*at].by)
            .map(|at| self.printed(self.chosen[at].pick))
            .collect();
        chain.reverse();
        chain
    }

    fn printed(&self, pick: Pick<'w>) -> String {
        format!("{} {}", self.name(pick), self.version(pick))
    }

    fn other_versions(&self, dependency: &Dependency<'_>) -> String {
        let names = dependency.0.iter().map(|relation| relation.name);
        let found: Vec<_> = names
            .filter_map(|name| {
                let chosen = self.by_name.get(name).map(|at| self.chosen[*at].pick);
                Some(self.printed(chosen.or_else(|| self.candidate(name))?))
            })
            .collect();
        if found.is_empty() { String::new() } else { format!("; there is {}", found.join(", ")) }
    }

    /// A package that no index has any more brings no dependencies along. What the previous lock had beside it is
    /// kept then: nobody can say any more which of it is still needed. True if that added anything.
    fn keep_rest_of_previous(&mut self) -> Result<bool, ResolveError> {
        if !self.chosen.iter().any(|chosen| matches!(chosen.pick, Pick::Gone(_))) {
            return Ok(false);
        }
        let before = self.chosen.len();
        let kept = self.held.keys().filter(|name| self.is_held(name) && !self.is_excluded(name));
        let kept: Vec<_> = kept.filter_map(|name| self.candidate(name)).collect();
        for pick in kept {
            self.choose(pick, None)?;
        }
        Ok(self.chosen.len() > before)
    }

    /// Checks that no two packages of the set refuse each other; a held one is released before it is an error.
    fn refusal(&self) -> Result<Option<Move>, ResolveError> {
        for (at, chosen) in self.chosen.iter().enumerate() {
            let Pick::Offer(id) = chosen.pick else { continue };
            let package = self.universe.package(id);
            for (field, value) in [("Conflicts", package.conflicts), ("Breaks", package.breaks)] {
                for relation in read_field(package, field, value)?.iter().flat_map(|dependency| &dependency.0)
                {
                    let Some(other) = self.meant_by(relation, at) else { continue };
                    let names = [self.name(self.chosen[other].pick), package.name];
                    if let Some(held) = names.into_iter().find(|name| self.is_held(name)) {
                        return Ok(Some(Move::Release(held.to_owned())));
                    }
                    return Err(ResolveError::Conflict(Box::new(Conflict {
                        group: self.group.name.clone(),
                        one: self.printed(chosen.pick),
                        other: self.printed(self.chosen[other].pick),
                        field,
                        relation: relation.to_string(),
                        one_chain: self.chain(at),
                        other_chain: self.chain(other),
                    })));
                }
            }
        }
        Ok(None)
    }

    /// The chosen package, other than the one at `at`, that a negative relation means.
    fn meant_by(&self, relation: &Relation<'_>, at: usize) -> Option<usize> {
        let real = self.by_name.get(relation.name).copied();
        let real = real.filter(|other| relation.admits(self.version(self.chosen[*other].pick)));
        let provided = self.provided.get(relation.name).into_iter().flatten();
        let mut provided = provided.filter(|(_, version)| relation.admits_provided(version.as_ref()));
        real.filter(|other| *other != at)
            .or_else(|| provided.find(|(other, _)| *other != at).map(|(other, _)| *other))
            .filter(|_| relation.is_for_us())
    }

    fn into_locked(self) -> Vec<LockedPackage> {
        let mut locked: Vec<LockedPackage> = self
            .chosen
            .iter()
            .map(|chosen| match chosen.pick {
                Pick::Offer(id) => self.universe.lock(id),
                Pick::Gone(locked) => locked.clone(),
            })
            .collect();
        locked.sort();
        locked
    }
}
