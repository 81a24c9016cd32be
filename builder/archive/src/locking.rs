//! Making a lock: from the archive as it is now, through signatures and hashes, to files that are pinned.
//!
//! **Every hash in a lock goes back to a signature of the Debian archive, or to the lock before it.**
//!
//! ```text
//! InRelease ──signature──▶ Release ──SHA-256──▶ Packages.xz, Sources.xz ──▶ resolver ──▶ Lock
//! ```
//!
//! Besides the signature a Release file must be for the suite that was asked for, not have run out, and not be older
//! than the one of the previous lock. Indexes are fetched under the name of their hash, so that a mirror which is being
//! updated cannot mix two states.
//!
//! Suites, in the order in which equal versions are taken: the release, its updates, security; backports on request.
//!
//! [`LockRequest::only`] says what may move. Everything else stays at the version of the previous lock, also if the
//! archive has a newer one or has dropped it, unless what moves needs it to move along.

use std::error::Error;
use std::io::Read as _;

use rayon::prelude::*;
use xenolith_layout::Bytes;

use crate::date::Timestamp;
use crate::index::{self, IndexError, IndexFile, Release};
use crate::lock::{Lock, LockedFile, LockedGroup, LockedSource, LockedSuite};
use crate::resolve::{self, GroupSpec, Held, ResolveError, SuiteOffer, Universe};
use crate::signature::{Keyring, SignatureError, check_fresh};
use crate::{Archive, GroupName, PackageName, Sha256, SuiteName};

/// What should be locked.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// The groups of the recipe.
    pub groups: Vec<GroupSpec>,
    /// Source packages; the newest version of each is taken whose tarballs the archive has. (An index can name what its
    /// mirror lacks: many leave the sources of the security archive out.)
    pub sources: Vec<PackageName>,
    /// Which packages may get another version than in the previous lock. `None`: all of them. Empty: none, so that
    /// only what the recipe adds or drops changes.
    pub only: Option<Vec<PackageName>>,
    /// The clock.
    pub now: Timestamp,
}

/// Fetches a file of an archive, given its path below the archive's root.
pub type Fetch<'f> = dyn Fn(Archive, &str) -> Result<Vec<u8>, FetchFailure> + Sync + 'f;

/// Whether an archive has a file, given its path below the archive's root.
pub type Has<'h> = dyn Fn(Archive, &str) -> bool + Sync + 'h;

/// Why a file could not be fetched.
pub type FetchFailure = Box<dyn Error + Send + Sync>;

/// Why there is no new lock.
#[derive(Debug, thiserror::Error)]
pub enum LockingError {
    /// A file of the archive cannot be had.
    #[error("cannot fetch {path} of the archive {archive}")]
    Fetch {
        /// Which archive.
        archive: Archive,
        /// The path in it.
        path: String,
        /// Why not.
        source: FetchFailure,
    },
    /// A Release file that nobody vouches for.
    #[error("the InRelease of {suite} is not believed")]
    Signature {
        /// Of which suite.
        suite: SuiteName,
        /// Why.
        source: SignatureError,
    },
    /// A Release file that cannot be read.
    #[error("the InRelease of {suite} cannot be read")]
    Release {
        /// Of which suite.
        suite: SuiteName,
        /// Where and why.
        source: IndexError,
    },
    /// The mirror sent another suite.
    #[error("asked for the InRelease of {suite}, the mirror sent that of {found:?}")]
    OtherSuite {
        /// What was asked for.
        suite: SuiteName,
        /// What came.
        found: String,
    },
    /// The mirror is behind the lock.
    #[error(
        "the InRelease of {suite} is of {found}, the lock was made from that of {locked}: the mirror is behind"
    )]
    Older {
        /// Of which suite.
        suite: SuiteName,
        /// The date in the lock.
        locked: Timestamp,
        /// The date that came.
        found: Timestamp,
    },
    /// A suite without an index that every suite has.
    #[error("{suite} has no {path}")]
    NoIndex {
        /// Which suite.
        suite: SuiteName,
        /// The path below the suite.
        path: String,
    },
    /// An index that is not what the Release file says.
    #[error("{path} of {suite} is not the file that its InRelease names")]
    OtherIndex {
        /// Which suite.
        suite: SuiteName,
        /// The path below the suite.
        path: String,
    },
    /// An index that cannot be decompressed.
    #[error("{path} of {suite} cannot be decompressed")]
    Decompress {
        /// Which suite.
        suite: SuiteName,
        /// The path below the suite.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// An index that cannot be read.
    #[error("{path} of {suite} cannot be read")]
    Index {
        /// Which suite.
        suite: SuiteName,
        /// The path below the suite.
        path: String,
        /// Where and why.
        source: IndexError,
    },
    /// A group that cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A source package that is nowhere.
    #[error("there is no source package {0}")]
    NoSource(PackageName),
    /// A source package whose tarballs are nowhere.
    #[error(
        "the mirror has the tarballs of no version of the source package {name} (the newest is {newest}); name another with --mirror"
    )]
    NoTarballs {
        /// The package.
        name: PackageName,
        /// Its newest version.
        newest: String,
    },
    /// `--update` of something that is not there.
    #[error("{0} cannot be updated: neither the lock nor the recipe has it")]
    NotLocked(PackageName),
}

struct SuitePlan {
    archive: Archive,
    suite: &'static str,
    components: &'static [&'static str],
    on_request: bool,
    sources: bool,
}

const RELEASE: &[&str] = &["main", "non-free-firmware"];

const SUITES: [SuitePlan; 4] = [
    SuitePlan {
        archive: Archive::Debian,
        suite: "trixie",
        components: RELEASE,
        on_request: false,
        sources: true,
    },
    SuitePlan {
        archive: Archive::Debian,
        suite: "trixie-updates",
        components: RELEASE,
        on_request: false,
        sources: false,
    },
    SuitePlan {
        archive: Archive::DebianSecurity,
        suite: "trixie-security",
        components: RELEASE,
        on_request: false,
        sources: true,
    },
    SuitePlan {
        archive: Archive::Debian,
        suite: "trixie-backports",
        components: &["main"],
        on_request: true,
        sources: false,
    },
];

/// No index is near this; the main one has 56 MB.
const MAX_INDEX: u64 = 512 << 20;
const MAX_XZ_MEMORY: u64 = 256 << 20;

/// Makes a lock from the archive as it is now.
///
/// # Errors
/// [`LockingError`]; nothing is written anywhere, so the previous lock stays what it is.
pub fn update(
    request: &LockRequest,
    previous: Option<&Lock>,
    fetch: &Fetch<'_>,
    has: &Has<'_>,
) -> Result<Lock, LockingError> {
    update_with(&Keyring::debian(), request, previous, fetch, has)
}

/// [`update`] with another keyring, for archives that are not Debian's own.
///
/// # Errors
/// As [`update`].
pub fn update_with(
    keyring: &Keyring,
    request: &LockRequest,
    previous: Option<&Lock>,
    fetch: &Fetch<'_>,
    has: &Has<'_>,
) -> Result<Lock, LockingError> {
    check_only(request, previous)?;
    let signed: Vec<SignedSuite> = SUITES
        .par_iter()
        .map(|plan| signed_suite(plan, keyring, request.now, fetch))
        .collect::<Result<_, _>>()?;
    let suites: Vec<Suite<'_>> =
        signed.iter().map(|signed| signed.read(request.now, previous)).collect::<Result<_, _>>()?;
    let wanted: Vec<Wanted<'_>> = suites.iter().flat_map(Suite::indexes).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<Vec<u8>> =
        wanted.par_iter().map(|wanted| wanted.fetch(fetch)).collect::<Result<_, _>>()?;
    let indexes: Vec<_> = wanted.iter().zip(&texts).collect();

    let offers =
        indexes.par_iter().filter(|(wanted, _)| !wanted.sources).map(|(wanted, text)| wanted.offer(text));
    let universe = Universe::new(offers.collect::<Result<_, _>>()?)?;
    let groups = request.groups.par_iter().map(|group| locked_group(&universe, group, request, previous));
    let groups = groups.collect::<Result<_, LockingError>>()?;
    let sources = request.sources.iter().map(|name| locked_source(name, &indexes, request, previous, has));
    let sources = sources.collect::<Result<_, LockingError>>()?;
    let suites = suites.iter().map(|suite| (suite.name.clone(), suite.locked.clone())).collect();
    Ok(Lock { suites, groups, sources })
}

fn check_only(request: &LockRequest, previous: Option<&Lock>) -> Result<(), LockingError> {
    let asked = |name: &PackageName| {
        let mut requests = request.groups.iter().flat_map(|group| &group.packages);
        request.sources.contains(name) || requests.any(|request| request.name == *name)
    };
    let locked = |name: &PackageName| {
        let mut packages =
            previous.into_iter().flat_map(|lock| lock.groups.values()).flat_map(|group| &group.packages);
        packages.any(|package| package.name == *name)
    };
    let unknown = request.only.iter().flatten().find(|name| !asked(name) && !locked(name));
    unknown.map_or(Ok(()), |name| Err(LockingError::NotLocked(name.clone())))
}

/// A suite whose InRelease carries a good signature.
struct SignedSuite {
    plan: &'static SuitePlan,
    name: SuiteName,
    sha256: Sha256,
    text: String,
}

struct Suite<'a> {
    plan: &'static SuitePlan,
    name: SuiteName,
    locked: LockedSuite,
    release: Release<'a>,
}

fn signed_suite(
    plan: &'static SuitePlan,
    keyring: &Keyring,
    now: Timestamp,
    fetch: &Fetch<'_>,
) -> Result<SignedSuite, LockingError> {
    let name: SuiteName = plan.suite.parse().expect("a test reads all names of suites");
    let path = format!("dists/{name}/InRelease");
    let message = fetched(fetch, plan.archive, path)?;
    let signature = |source| LockingError::Signature { suite: name.clone(), source };
    let text = keyring.verify(&message, now).map_err(signature)?;
    Ok(SignedSuite { plan, name, sha256: Sha256::of(&message), text })
}

fn fetched(fetch: &Fetch<'_>, archive: Archive, path: String) -> Result<Vec<u8>, LockingError> {
    fetch(archive, &path).map_err(|source| LockingError::Fetch { archive, path, source })
}

impl SignedSuite {
    fn read(&self, now: Timestamp, previous: Option<&Lock>) -> Result<Suite<'_>, LockingError> {
        let suite = || self.name.clone();
        let release =
            Release::parse(&self.text).map_err(|source| LockingError::Release { suite: suite(), source })?;
        if release.codename != self.name.as_str() {
            return Err(LockingError::OtherSuite { suite: suite(), found: release.codename.to_owned() });
        }
        check_fresh(&release, now).map_err(|source| LockingError::Signature { suite: suite(), source })?;
        let known = previous.and_then(|lock| lock.suites.get(&self.name));
        if let Some(known) = known.filter(|known| known.date > release.date) {
            return Err(LockingError::Older { suite: suite(), locked: known.date, found: release.date });
        }
        let locked = LockedSuite { archive: self.plan.archive, date: release.date, sha256: self.sha256 };
        Ok(Suite { plan: self.plan, name: self.name.clone(), locked, release })
    }
}

/// An index that is to be fetched.
struct Wanted<'a> {
    suite: &'a Suite<'a>,
    /// The path below the suite, compressed.
    path: String,
    compressed: IndexFile,
    size: u64,
    sources: bool,
}

impl Suite<'_> {
    fn indexes(&self) -> Vec<Result<Wanted<'_>, LockingError>> {
        let packages = self
            .plan
            .components
            .iter()
            .map(|component| (format!("{component}/binary-amd64/Packages"), false));
        let sources = self.plan.sources.then(|| ("main/source/Sources".to_owned(), true));
        packages.chain(sources).map(|(path, sources)| self.wanted(&path, sources)).collect()
    }

    fn wanted(&self, plain: &str, sources: bool) -> Result<Wanted<'_>, LockingError> {
        let path = format!("{plain}.xz");
        let compressed = self.release.file(&path);
        let size = self.release.file(plain).map(|file| file.size).filter(|size| *size <= MAX_INDEX);
        let Some((compressed, size)) = compressed.zip(size) else {
            return Err(LockingError::NoIndex { suite: self.name.clone(), path });
        };
        Ok(Wanted { suite: self, path, compressed, size, sources })
    }
}

impl<'a> Wanted<'a> {
    fn fetch(&self, fetch: &Fetch<'_>) -> Result<Vec<u8>, LockingError> {
        let folder = format!("dists/{}", self.suite.name);
        let path = match self.path.rsplit_once('/') {
            Some((part, _)) if self.suite.release.by_hash => {
                format!("{folder}/{part}/by-hash/SHA256/{}", self.compressed.sha256)
            }
            _ => format!("{folder}/{}", self.path),
        };
        let data = fetched(fetch, self.suite.plan.archive, path)?;
        let (suite, path) = (|| self.suite.name.clone(), || self.path.clone());
        if Sha256::of(&data) != self.compressed.sha256 {
            return Err(LockingError::OtherIndex { suite: suite(), path: path() });
        }
        let plain = decompress(&data, self.size);
        let plain =
            plain.map_err(|source| LockingError::Decompress { suite: suite(), path: path(), source })?;
        if u64::try_from(plain.len()) == Ok(self.size) {
            Ok(plain)
        } else {
            Err(LockingError::OtherIndex { suite: suite(), path: path() })
        }
    }

    fn offer<'t>(&self, text: &'t [u8]) -> Result<SuiteOffer<'t>, LockingError> {
        let packages = index::packages(text).map_err(|source| self.unreadable(source))?;
        let (archive, on_request) = (self.suite.plan.archive, self.suite.plan.on_request);
        Ok(SuiteOffer { archive, suite: self.suite.name.clone(), on_request, packages })
    }

    fn unreadable(&self, source: IndexError) -> LockingError {
        LockingError::Index { suite: self.suite.name.clone(), path: self.path.clone(), source }
    }
}

/// Decompresses to at most one byte more than `size`.
fn decompress(data: &[u8], size: u64) -> std::io::Result<Vec<u8>> {
    let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0)?;
    let mut plain = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    liblzma::read::XzDecoder::new_stream(data, stream)
        .take(size.saturating_add(1))
        .read_to_end(&mut plain)?;
    Ok(plain)
}

fn locked_group(
    universe: &Universe<'_>,
    group: &GroupSpec,
    request: &LockRequest,
    previous: Option<&Lock>,
) -> Result<(GroupName, LockedGroup), LockingError> {
    let mut held = Held::new();
    if let Some(only) = &request.only {
        let before = previous.and_then(|lock| lock.groups.get(&group.name));
        let stays = before
            .into_iter()
            .flat_map(|group| &group.packages)
            .filter(|package| !only.contains(&package.name));
        held.extend(stays.map(|package| (package.name.as_str(), package)));
    }
    let packages = resolve::resolve(universe, group, &held)?;
    Ok((group.name.clone(), LockedGroup { request: group.digest(), packages }))
}

fn locked_source(
    name: &PackageName,
    indexes: &[(&Wanted<'_>, &Vec<u8>)],
    request: &LockRequest,
    previous: Option<&Lock>,
    has: &Has<'_>,
) -> Result<(PackageName, LockedSource), LockingError> {
    let before = previous.and_then(|lock| lock.sources.get(name));
    if let (Some(only), Some(before)) = (&request.only, before)
        && !only.contains(name)
    {
        return Ok((name.clone(), before.clone()));
    }
    let mut offers: Vec<LockedSource> = Vec::new();
    for (wanted, text) in indexes.iter().filter(|(wanted, _)| wanted.sources) {
        for source in index::sources(text, &[name.as_str()]).map_err(|source| wanted.unreadable(source))? {
            offers.push(lock_source(source, wanted.suite.plan.archive));
        }
    }
    // Stable: of equal versions the first suite's stays in front.
    offers.sort_by(|a, b| b.version.cmp(&a.version));
    let Some(newest) = offers.first().map(|source| source.version.clone()) else {
        return Err(LockingError::NoSource(name.clone()));
    };
    let complete = |source: &LockedSource| {
        source.files.iter().filter(|file| file.is_tarball()).all(|file| has(file.archive, file.path.as_str()))
    };
    match offers.into_iter().find(complete) {
        Some(source) => {
            if source.version != newest {
                tracing::warn!(
                    "{name} {newest} is the newest, but the mirror lacks its tarballs; taking {}",
                    source.version
                );
            }
            Ok((name.clone(), source))
        }
        None => Err(LockingError::NoTarballs { name: name.clone(), newest: newest.to_string() }),
    }
}

fn lock_source(source: index::IndexSource<'_>, archive: Archive) -> LockedSource {
    let files = source.files.into_iter().map(|file| {
        let index::SourceFile { path, size, sha256 } = file;
        LockedFile { path, size: Bytes::new(size), sha256, archive }
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    LockedSource { version: source.version.into_owned(), files }
}

#[cfg(test)]
mod tests;
