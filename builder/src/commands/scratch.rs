//! Folders beside the results in the cache, in which a command works with stores of its own. They go with the command;
//! `gc` removes those whose owner did not end in order.

use std::{os::unix::fs::symlink, path::Path};

use fs_err as fs;
use xenolith_store::Output;

use crate::exit::{Class, Classify as _, Failure};

/// Held while a folder is in use.
pub const LOCK: &str = "in-use";

/// What a folder is for; part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The second build of `verify`.
    Verify,
    /// The builds of `bench`.
    Bench,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Verify, Self::Bench];

    fn prefix(self) -> &'static str {
        match self {
            Self::Verify => "verify-",
            Self::Bench => "bench-",
        }
    }

    /// What the folder of this name in the cache is for; none if it is not one of these.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| name.starts_with(purpose.prefix()))
    }
}

/// Such a folder; it is removed when this is dropped.
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: fs::File,
}

impl Scratch {
    /// Makes one in the cache.
    ///
    /// # Errors
    /// [`Class::Host`] if the cache cannot be written.
    pub fn new(cache: &Path, purpose: Purpose) -> Result<Self, Failure> {
        let what = || format!("cannot make a folder to work in in {}", cache.display());
        let folder =
            tempfile::Builder::new().prefix(purpose.prefix()).tempdir_in(cache).class(Class::Host, what())?;
        let lock = fs::File::create(folder.path().join(LOCK)).class(Class::Host, what())?;
        lock.file().try_lock().class(Class::Host, what())?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes `store`, here or below, a store to which the downloads of the cache and these results of it are lent.
    ///
    /// # Errors
    /// [`Class::Host`] if a link cannot be made.
    pub fn lend<'a>(
        &self,
        cache: &Path,
        store: &Path,
        outputs: impl Iterator<Item = &'a Output>,
    ) -> Result<(), Failure> {
        let cache = fs::canonicalize(cache).class(Class::Host, "cannot find the cache folder")?;
        let steps = store.join("steps");
        let links = || -> std::io::Result<()> {
            fs::create_dir_all(&steps)?;
            symlink(cache.join("blobs"), store.join("blobs"))?;
            for output in outputs {
                let key = output.key.to_string();
                symlink(cache.join("steps").join(&key), steps.join(&key))?;
            }
            Ok(())
        };
        links().class(Class::Host, "cannot lend the first build's results to the second")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_folders_are_ours() {
        assert_eq!(Purpose::of("verify-Xa1"), Some(Purpose::Verify));
        assert_eq!(Purpose::of("bench-Xa1"), Some(Purpose::Bench));
        assert_eq!(Purpose::of("steps"), None);
    }

    #[test]
    fn the_folder_goes_and_what_was_lent_to_it_stays() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("blobs")).unwrap();
        fs::write(cache.path().join("blobs/x"), "download").unwrap();
        let scratch = Scratch::new(cache.path(), Purpose::Bench).unwrap();
        let store = scratch.path().join("store");
        scratch.lend(cache.path(), &store, [].into_iter()).unwrap();
        assert_eq!(fs::read_to_string(store.join("blobs/x")).unwrap(), "download");
        drop(scratch);
        assert!(!store.exists() && cache.path().join("blobs/x").exists());
    }
}
