//! A copy of the checkout, with a commit of its own, that may be edited.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::exit::{Class, Classify as _, Failure};

/// The crate whose program is edited.
const PROGRAM: &str = "dom0-rootfs/status/src/main.rs";
const EDITING: &str = "cannot edit the copy of the checkout";
const OVERLAY: &str = "dom0-rootfs/overlay";
const OPTIONS: &str = "hypervisor-src/xenolith.config";
const RECIPE: &str = "image/image.toml";
/// A number that Xen can have a little smaller.
const OPTION: &str = "CONFIG_NR_CPUS=";

/// The copy.
pub struct Checkout {
    root: PathBuf,
}

/// What is changed for a run. Runs are counted, because what was built once is not built again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A text in a program of dom0.
    Crate,
    /// A new file in dom0.
    File,
    /// A line of Xen's configuration.
    Option,
}

impl Checkout {
    /// Copies what git knows or would add, as it lies there, and commits it, so that edits make the copy `-dirty` as usual.
    ///
    /// # Errors
    /// [`Class::Host`] without git; [`Class::Device`] if a file cannot be copied.
    pub fn copy(from: &Path, to: &Path) -> Result<Self, Failure> {
        let list = git(from, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .class(Class::Host, "git cannot say which files belong to this checkout")?;
        for name in list.split('\0').filter(|name| !name.is_empty()) {
            copy_one(&from.join(name), &to.join(name))
                .class(Class::Device, format!("cannot copy the checkout to {}", to.display()))?;
        }
        let commit = || -> io::Result<()> {
            git(to, &["init", "--quiet"])?;
            git(to, &["add", "--all", "--force"])?;
            let who =
                ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
            git(to, &[&who[..], &["commit", "--quiet", "--message=bench"]].concat())?;
            Ok(())
        };
        commit().class(Class::Host, "git cannot commit the copy of the checkout")?;
        Ok(Self { root: to.into() })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes an edit; `run` makes it another one than those before.
    ///
    /// # Errors
    /// [`Class::Bug`] when there is nothing to edit any more.
    pub fn edit(&self, edit: Edit, run: u16) -> Result<(), Failure> {
        let path = match edit {
            Edit::Crate => PROGRAM,
            Edit::Option => OPTIONS,
            Edit::File => {
                let folder = self.root.join(OVERLAY).join("usr/share/xenolith");
                let file = folder.join(format!("bench-{run}"));
                let write =
                    || fs::create_dir_all(&folder).and_then(|()| fs::write(&file, format!("{run}\n")));
                return write().class(Class::Device, "cannot add a file to the copy of the checkout");
            }
        };
        let path = self.root.join(path);
        let text = fs::read_to_string(&path).class(Class::Bug, "the checkout lacks a file to edit")?;
        let edited = if edit == Edit::Crate { with_text(&text, run) } else { with_option(&text, run) };
        let text = edited
            .ok_or_else(|| Failure::new(Class::Bug, format!("nothing to edit in {}", path.display())))?;
        fs::write(&path, text).class(Class::Device, EDITING)
    }

    /// Has the root image made with another codec; `cluster` is in bytes.
    ///
    /// # Errors
    /// [`Class::Bug`] when the recipe does not name one any more.
    pub fn set_codec(&self, algorithm: &str, cluster: u64) -> Result<(), Failure> {
        let path = self.root.join(RECIPE);
        let text = fs::read_to_string(&path).class(Class::Bug, "the checkout lacks its recipe")?;
        let text = with_value(&text, "compression", algorithm)
            .and_then(|text| with_value(&text, "cluster", &format!("{} KiB", cluster / 1024)))
            .ok_or_else(|| Failure::new(Class::Bug, format!("{} names no codec", path.display())))?;
        fs::write(&path, text).class(Class::Device, EDITING)
    }
}

fn git(folder: &Path, args: &[&str]) -> io::Result<String> {
    #[allow(clippy::disallowed_methods, reason = "the host's git is not a program of the tools tree")]
    let command = duct::cmd("git", args).dir(folder).stdin_null();
    // A hook or a command around this one may point git at another repository.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE").read()
}

/// Copies a file or link; one that is gone, but not from the index, is left out.
fn copy_one(from: &Path, to: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    if kind.is_symlink() {
        return fs::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_file() {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Another text in the first message that the program prints as an error: it reaches the compiled program.
fn with_text(source: &str, run: u16) -> Option<String> {
    const PRINTS: &str = "eprintln!(\"";
    let at = source.find(PRINTS)? + PRINTS.len();
    Some(format!("{}bench {run}: {}", &source[..at], &source[at..]))
}

fn with_option(config: &str, run: u16) -> Option<String> {
    let line = config.lines().find(|line| line.starts_with(OPTION))?;
    let number: u16 = line.strip_prefix(OPTION)?.parse().ok()?;
    Some(config.replace(line, &format!("{OPTION}{}", number.checked_sub(run)?)))
}

/// Gives a key of the recipe, which only one table has, another text.
fn with_value(recipe: &str, key: &str, value: &str) -> Option<String> {
    let start = format!("{key} = ");
    let line = recipe.lines().find(|line| line.starts_with(&start))?;
    Some(recipe.replace(line, &format!("{start}{value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_change_what_they_say_in_the_files_that_are_there() {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let copy = tempfile::tempdir().unwrap();
        for file in [PROGRAM, OPTIONS, RECIPE] {
            copy_one(&ours.join(file), &copy.path().join(file)).unwrap();
        }
        let checkout = Checkout { root: copy.path().into() };
        let read = |file: &str| fs::read_to_string(copy.path().join(file)).unwrap();
        for (edit, file) in [(Edit::Crate, PROGRAM), (Edit::Option, OPTIONS)] {
            let mut seen = vec![read(file)];
            for run in 1..=3 {
                checkout.edit(edit, run).unwrap();
                assert!(!seen.contains(&read(file)), "{edit:?} {run}");
                seen.push(read(file));
            }
        }
        checkout.set_codec("zstd,level=3", 16384).unwrap();
        let recipe: crate::recipe::Recipe = toml::from_str(&read(RECIPE)).unwrap();
        assert_eq!((recipe.root.compression.as_str(), recipe.root.cluster.0), ("zstd,level=3", 16384));
        checkout.edit(Edit::File, 1).unwrap();
        assert_eq!(read("dom0-rootfs/overlay/usr/share/xenolith/bench-1"), "1\n");
    }

    #[test]
    fn links_are_copied_as_links() {
        let folder = tempfile::tempdir().unwrap();
        let (link, copy) = (folder.path().join("link"), folder.path().join("there/copy"));
        fs::os::unix::fs::symlink("/nowhere", &link).unwrap();
        copy_one(&link, &copy).unwrap();
        assert_eq!(fs::read_link(&copy).unwrap(), Path::new("/nowhere"));
        copy_one(&folder.path().join("gone"), &folder.path().join("other")).unwrap();
        assert!(!folder.path().join("other").exists());
    }
}
