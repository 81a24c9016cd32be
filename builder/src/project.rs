//! Where things are: the checkout, the cache, the keys, the results.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::{
    cli::Global,
    exit::{Class, Failure},
};

/// The folders that a command works with.
#[derive(Clone, Debug)]
pub struct Project {
    /// The checkout.
    pub root: PathBuf,
    /// Downloads and step outputs.
    pub cache: PathBuf,
}

impl Project {
    /// Finds the checkout and the cache.
    ///
    /// # Errors
    /// When no folder from here upwards holds `image/image.toml`, or the user has no cache folder.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let root = match &global.project {
            Some(root) => root.clone(),
            None => find_upwards()?,
        };
        if !root.join("image/image.toml").is_file() {
            return Err(no_checkout(&format!("{} has no image/image.toml", root.display())));
        }
        let cache = match &global.cache {
            Some(cache) => cache.clone(),
            None => user_folder("XDG_CACHE_HOME", ".cache")?.join("xenolith"),
        };
        Ok(Self { root: fs::canonicalize(&root).unwrap_or(root), cache })
    }

    /// The recipe.
    pub fn recipe(&self) -> PathBuf {
        self.root.join("image/image.toml")
    }

    /// The lock.
    pub fn lock(&self) -> PathBuf {
        self.root.join("xenolith.lock")
    }

    /// The folder of results.
    pub fn output(&self, asked: Option<&Path>) -> PathBuf {
        asked.map_or_else(|| self.root.join("out"), Path::to_path_buf)
    }
}

/// The folder of the signing keys: as asked, else the user's.
///
/// # Errors
/// When the user has no configuration folder.
pub fn keys_folder(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    match asked {
        Some(folder) => Ok(folder.to_path_buf()),
        None => Ok(user_folder("XDG_CONFIG_HOME", ".config")?.join("xenolith/keys")),
    }
}

/// `$variable`, or the usual place below the home folder.
pub fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set(variable).or_else(|| set("HOME").map(|home| home.join(below_home))).ok_or_else(|| {
        Failure::new(Class::Host, format!("neither {variable} nor HOME names a folder"))
            .hint(format!("set {variable} to an absolute path"))
    })
}

fn find_upwards() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().unwrap_or_else(|_| ".".into());
    here.ancestors()
        .find(|folder| folder.join("image/image.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| no_checkout("no folder from here upwards is a Xenolith checkout"))
}

fn no_checkout(why: &str) -> Failure {
    Failure::new(Class::Usage, why).hint("change into the checkout, or name it with --project")
}
