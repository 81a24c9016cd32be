//! Many packages into one tree, several at a time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::UtimensatFlags;
use nix::sys::time::TimeSpec;

use super::claims::{Claims, PackageIndex};
use super::dir_sink::DirSink;
use super::tree::Tree;
use super::{Rules, Stats, UnpackError, extract};

/// Merged /usr: what dpkg's packages call /bin is usr/bin since Debian 12.
const MERGED_USR: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];
/// The package that owns the layout; its links may be gone through by all others.
const LAYOUT_PACKAGE: &str = "base-files_";

/// One package is in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked<'a> {
    /// The package.
    pub deb: &'a Path,
    /// How many are done, this one included.
    pub done: usize,
    /// How many there are.
    pub total: usize,
    /// What it brought.
    pub stats: &'a Stats,
}

/// Unpacks `debs` into `tree`, an empty directory, `jobs` at a time.
///
/// The merged-/usr links are made first, then base-files is unpacked, then all others. Where two packages bring the
/// same file, the later in `debs` wins. The result does not depend on `jobs`.
///
/// # Errors
/// [`UnpackError::Package`] around what went wrong with the first package of the list that failed; a bare
/// [`UnpackError::Write`] or [`UnpackError::Conflict`] where it is not one package's fault.
pub fn unpack_tree(
    debs: &[PathBuf],
    tree: &Path,
    rules: &Rules,
    jobs: usize,
    progress: &(dyn Fn(Unpacked<'_>) + Sync),
) -> Result<Stats, UnpackError> {
    let tree = Tree::open(tree)?;
    make_layout(&tree)?;
    let claims = Claims::default();
    let run = Run { debs, tree: &tree, rules, claims: &claims, progress, done: AtomicUsize::new(0) };
    let mut total = Stats::default();
    let (first, rest): (Vec<_>, Vec<_>) = (0..debs.len()).partition(|index| is_layout(&debs[*index]));
    for stats in run.all(&first, 1)? {
        total.add(&stats);
    }
    claims.adopt_links();
    for stats in run.all(&largest_first(debs, rest), jobs.max(1))? {
        total.add(&stats);
    }
    total.replaced = claims.settle(&tree)?;
    tree.set_directory(b"", Some(0o755), 0)?;
    Ok(total)
}

fn is_layout(deb: &Path) -> bool {
    deb.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LAYOUT_PACKAGE))
}

fn make_layout(tree: &Tree) -> Result<(), UnpackError> {
    for (link, target) in MERGED_USR {
        tree.make_directory(target)?;
        match nix::unistd::symlinkat(target, &tree.root().fd, link) {
            Ok(()) => {}
            Err(Errno::EEXIST) if tree.is_link_to(link, target) => {}
            Err(error) => return Err(tree.error("make the link", link.as_bytes(), error)),
        }
        let time = TimeSpec::new(0, 0);
        nix::sys::stat::utimensat(&tree.root().fd, link, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(|error| tree.error("set the time of", link.as_bytes(), error))?;
    }
    Ok(())
}

/// One large package started last would leave the other threads idle.
fn largest_first(debs: &[PathBuf], mut indices: Vec<PackageIndex>) -> Vec<PackageIndex> {
    // A file that cannot be looked at goes first; opening it will say why.
    indices.sort_by_cached_key(|index| {
        std::cmp::Reverse(fs_err::metadata(&debs[*index]).map_or(u64::MAX, |meta| meta.len()))
    });
    indices
}

struct Run<'a> {
    debs: &'a [PathBuf],
    tree: &'a Tree,
    rules: &'a Rules,
    claims: &'a Claims,
    progress: &'a (dyn Fn(Unpacked<'_>) + Sync),
    done: AtomicUsize,
}

impl Run<'_> {
    fn all(&self, order: &[PackageIndex], jobs: usize) -> Result<Vec<Stats>, UnpackError> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let done = Mutex::new(Vec::with_capacity(order.len()));
        let failed: Mutex<Option<(PackageIndex, UnpackError)>> = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed)
                && let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied()
            {
                match self.one(index) {
                    Ok(stats) => done.lock().unwrap_or_else(PoisonError::into_inner).push(stats),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        if failed.as_ref().is_none_or(|(before, _)| index < *before) {
                            *failed = Some((index, error));
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(order.len()) {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn one(&self, index: PackageIndex) -> Result<Stats, UnpackError> {
        let deb = &self.debs[index];
        let mut file = fs_err::File::open(deb)
            .map_err(|source| UnpackError::Read { part: super::Part::Package, source }.of_package(deb))?;
        let mut sink = DirSink::new(self.tree, self.claims, index);
        let stats = extract::data(&mut file, self.rules, &mut sink).map_err(|error| error.of_package(deb))?;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.progress)(Unpacked { deb, done, total: self.debs.len(), stats: &stats });
        Ok(stats)
    }
}
