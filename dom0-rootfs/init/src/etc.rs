//! `/etc`: an overlay whose upper layer is a generation per slot. The promise: **a rollback brings back the
//! configuration of the slot that it goes back to, and an upgrade starts from the configuration that ran
//! last.**
//!
//! ```text
//!   state/etc/a/upper      what differs from the image's /etc while slot A runs
//!   state/etc/a/work       overlayfs' own
//!   state/etc/a/root-hash  the image that this generation has served last
//!   state/etc/b/…          likewise; state/etc/live on media
//!   state/etc/a.new        a copy that is not finished; swept away at the next try
//! ```
//! A slot whose image is not the one its generation has served was written anew: it then gets a copy of the
//! other slot's generation. That needs nothing from the updater, so no order of its writes can go wrong.
//!
//! The copy is made beside (`a.new`), flushed, and exchanged with the old one in one step
//! (`RENAME_EXCHANGE`): a power cut leaves the old generation with its old hash, so the copy is made again,
//! or the new one. `cp -a` keeps owners, times, extended attributes and whiteouts (character devices 0:0), so
//! a file that was deleted stays deleted.
//!
//! The overlay is mounted without index, redirects and copied-up metadata alone: the layer below is exchanged
//! under the same upper layer at each upgrade, which overlayfs allows only so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::mount::MsFlags;
use xenolith_layout::{RootHash, Slot};

use crate::error::InitError;
use crate::mounts::mount_new;
use crate::needs::Tool;

/// What becomes of a slot's generation at this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// It serves the image it has served before, or there is nothing better.
    Keep,
    /// The slot has a new image: start from the other slot's.
    Copy,
    /// There is none anywhere.
    Fresh,
}

/// Decides. `own`: the hash recorded in the slot's generation, or `Some(None)` if that cannot be read.
pub fn decide(own: Option<Option<RootHash>>, other_exists: bool, booted: RootHash) -> Generation {
    match (own, other_exists) {
        (Some(Some(served)), true) if served != booted => Generation::Copy,
        (Some(_), _) => Generation::Keep,
        (None, true) => Generation::Copy,
        (None, false) => Generation::Fresh,
    }
}

/// Makes the generation ready in the mounted `state` and gives its folder.
///
/// # Errors
/// [`InitError::File`], [`InitError::Tool`]: the old generation is untouched then.
pub fn prepare(state: &Path, slot: Option<Slot>, booted: RootHash) -> Result<PathBuf, InitError> {
    let etc = state.join("etc");
    let own = etc.join(name(slot));
    let other = slot.map(|slot| etc.join(name(Some(slot.other()))));
    let other = other.filter(|other| other.join("upper").is_dir());
    let served = own.join("upper").is_dir().then(|| recorded(&own));
    let generation = decide(served, other.is_some(), booted);
    match (generation, other) {
        (Generation::Copy, Some(other)) => replace(&own, booted, |fresh| {
            Tool::Cp.run().arg("-a").arg("--").arg(other.join("upper")).arg(fresh.join("upper")).done()?;
            Ok(())
        })?,
        (Generation::Keep, _) => record(&own, booted)?,
        (Generation::Fresh | Generation::Copy, _) => {
            replace(&own, booted, |fresh| Ok(fs_err::create_dir(fresh.join("upper"))?))?;
        }
    }
    Ok(own)
}

/// Lays the generation over the image's `/etc`.
///
/// # Errors
/// [`InitError::Mount`].
pub fn mount(generation: &Path, sysroot: &Path) -> Result<(), InitError> {
    let etc = sysroot.join("etc");
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off,redirect_dir=off,metacopy=off,xino=off",
        etc.display(),
        generation.join("upper").display(),
        generation.join("work").display()
    );
    mount_new("overlay", &etc, "overlay", MsFlags::empty(), &options)
}

const fn name(slot: Option<Slot>) -> &'static str {
    match slot {
        Some(Slot::A) => "a",
        Some(Slot::B) => "b",
        None => "live",
    }
}

fn recorded(generation: &Path) -> Option<RootHash> {
    fs_err::read_to_string(generation.join("root-hash")).ok()?.trim().parse().ok()
}

/// Keeps the record true; written only when it changes.
fn record(generation: &Path, booted: RootHash) -> Result<(), InitError> {
    if recorded(generation) != Some(booted) {
        let staged = generation.join("root-hash.new");
        fs_err::write(&staged, format!("{booted}\n"))?;
        fs_err::File::open(&staged)?.sync_all()?;
        fs_err::rename(&staged, generation.join("root-hash"))?;
    }
    Ok(())
}

/// Puts a generation together beside the old one and exchanges them.
fn replace(
    own: &Path,
    booted: RootHash,
    fill: impl FnOnce(&Path) -> Result<(), InitError>,
) -> Result<(), InitError> {
    let fresh = own.with_extension("new");
    remove(&fresh)?; // cut: what was unfinished is gone
    fs_err::create_dir_all(fresh.join("work"))?;
    fill(&fresh)?; // cut: unfinished, swept away at the next boot
    record(&fresh, booted)?;
    let folder = fs_err::File::open(&fresh)?;
    nix::unistd::syncfs(&folder).map_err(|source| InitError::System { what: "flush the state", source })?;
    if own.exists() {
        let exchange = RenameFlags::RENAME_EXCHANGE;
        renameat2(AT_FDCWD, &fresh, AT_FDCWD, own, exchange) // the commit; cut: old or new
            .map_err(|source| InitError::System { what: "exchange the generations of /etc", source })?;
        remove(&fresh)?;
    } else {
        fs_err::rename(&fresh, own)?; // the commit
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), InitError> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(digit: char) -> RootHash {
        String::from(digit).repeat(64).parse().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_generation_is_kept_copied_or_made() {
        let (new, old) = (hash('a'), hash('b'));
        assert_eq!(decide(None, false, new), Generation::Fresh);
        assert_eq!(decide(None, true, new), Generation::Copy);
        assert_eq!(decide(Some(Some(new)), true, new), Generation::Keep);
        assert_eq!(decide(Some(Some(old)), true, new), Generation::Copy);
        assert_eq!(
            decide(Some(Some(old)), false, new),
            Generation::Keep,
            "written anew on a host with one slot"
        );
        assert_eq!(decide(Some(None), true, new), Generation::Keep, "never thrown away without a reason");
    }

    /// `cp` is where the initrd has it on any merged-usr system.
    #[test]
    fn an_upgrade_and_its_rollback_keep_the_configurations_apart() {
        let state = tempfile::tempdir().unwrap();
        let a = prepare(state.path(), Some(Slot::A), hash('1')).unwrap();
        fs_err::write(a.join("upper/hostname"), "one").unwrap();
        let b = prepare(state.path(), Some(Slot::B), hash('2')).unwrap();
        assert_eq!(fs_err::read_to_string(b.join("upper/hostname")).unwrap(), "one");
        fs_err::write(b.join("upper/hostname"), "two").unwrap();
        prepare(state.path(), Some(Slot::A), hash('1')).unwrap();
        assert_eq!(fs_err::read_to_string(a.join("upper/hostname")).unwrap(), "one", "rolled back");
        prepare(state.path(), Some(Slot::A), hash('3')).unwrap();
        assert_eq!(fs_err::read_to_string(a.join("upper/hostname")).unwrap(), "two", "upgraded again");
        assert_eq!(names(&state.path().join("etc")), ["a", "b"]);
        assert_eq!(names(&a), ["root-hash", "upper", "work"]);
    }

    #[test]
    fn an_unfinished_copy_is_swept_away() {
        let state = tempfile::tempdir().unwrap();
        let rest = state.path().join("etc/live.new/upper");
        fs_err::create_dir_all(&rest).unwrap();
        fs_err::write(rest.join("half"), "").unwrap();
        let live = prepare(state.path(), None, hash('1')).unwrap();
        assert!(names(&live.join("upper")).is_empty());
        assert_eq!(names(&state.path().join("etc")), ["live"]);
    }

    #[test]
    fn preparing_twice_changes_nothing() {
        let state = tempfile::tempdir().unwrap();
        let a = prepare(state.path(), Some(Slot::A), hash('1')).unwrap();
        fs_err::write(a.join("upper/x"), "").unwrap();
        prepare(state.path(), Some(Slot::A), hash('1')).unwrap();
        assert_eq!(names(&a.join("upper")), ["x"]);
    }
}
