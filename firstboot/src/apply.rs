//! What a seed makes of a host: decided first, then done.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::seed::{HostName, Seed};

/// The marker in the state that says that this host belongs to somebody. The initrd looks for the same name
/// (`dom0-rootfs/init`, `state.rs`).
pub const CLAIMED: &str = "claimed";

/// One change of the host. Each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole file below the root, by rename.
    Write {
        /// Its path, without the leading slash.
        path: &'static str,
        /// Permission bits.
        mode: u32,
        /// Its text.
        text: String,
    },
    /// The name that the kernel reports.
    SetHostName(HostName),
    /// The marker: the commit.
    Claim,
}

/// The changes, in order. The last one is always [`Step::Claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(pub Vec<Step>);

/// Where the host is.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/`, or the folder of a test.
    pub root: PathBuf,
    /// Where the state partition is mounted.
    pub state: PathBuf,
}

/// What went wrong; nothing is claimed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A file was not written.
    #[error("{} was not written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The kernel refused the name.
    #[error("the host was not named {name}")]
    HostName {
        /// The name.
        name: HostName,
        /// The reason.
        source: io::Error,
    },
}

/// Decides what a seed changes.
pub fn plan(seed: &Seed) -> Plan {
    let mut steps = Vec::new();
    if let Some(name) = &seed.host_name {
        steps.push(Step::Write { path: "etc/hostname", mode: 0o644, text: format!("{name}\n") });
        steps.push(Step::SetHostName(name.clone()));
    }
    if !seed.keys.is_empty() {
        let text = seed.keys.iter().flat_map(|key| [key.line(), "\n"]).collect();
        // sshd is wanted at every boot, and starts once this file has something in it.
        steps.push(Step::Write { path: "etc/ssh/authorized_keys.d/root", mode: 0o600, text });
    }
    steps.push(Step::Claim);
    Plan(steps)
}

/// Carries out a plan. `set_host_name` is the kernel's call, or a test's.
///
/// # Errors
/// [`ApplyError`] at the first step that fails; those before it stay done, and the next boot repeats them.
pub fn execute(
    plan: &Plan,
    paths: &Paths,
    set_host_name: &mut dyn FnMut(&HostName) -> io::Result<()>,
) -> Result<(), ApplyError> {
    for step in &plan.0 {
        match step {
            // cut: the old file or the new one, and the host is not claimed.
            Step::Write { path, mode, text } => write_whole(&paths.root.join(path), *mode, text)?,
            Step::SetHostName(name) => {
                set_host_name(name).map_err(|source| ApplyError::HostName { name: name.clone(), source })?;
            }
            // The commit. cut: without the marker the seed is applied again; with it everything is on disk, because
            // every file before it was flushed together with its folder.
            Step::Claim => write_whole(&paths.state.join(CLAIMED), 0o644, "by a seed\n")?,
        }
    }
    Ok(())
}

/// Writes a file so that it is there whole or not at all, and flushed, with its name.
fn write_whole(path: &Path, mode: u32, text: &str) -> Result<(), ApplyError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = folder.join(format!(".{name}.new"));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        // The mode above is cut by the umask, and says nothing if the file was there.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| ApplyError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";

    fn seed() -> Seed {
        Seed::parse(format!("hostname = \"rack4\"\nssh_authorized_keys = [\"{KEY}\"]\n").as_bytes()).unwrap()
    }

    fn host() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: folder.path().join("root"), state: folder.path().join("state") };
        (folder, paths)
    }

    #[test]
    fn the_marker_comes_last() {
        for text in ["", "hostname = \"a\"\n", &format!("ssh_authorized_keys = [\"{KEY}\"]\n")] {
            let plan = plan(&Seed::parse(text.as_bytes()).unwrap());
            assert_eq!(plan.0.iter().position(|step| *step == Step::Claim), Some(plan.0.len() - 1));
        }
    }

    #[test]
    fn a_seed_is_applied_and_may_be_applied_again() {
        let (_folder, paths) = host();
        for _ in 0..2 {
            let mut named = Vec::new();
            execute(&plan(&seed()), &paths, &mut |name| {
                named.push(name.to_string());
                Ok(())
            })
            .unwrap();
            assert_eq!(named, ["rack4"]);
            let keys = paths.root.join("etc/ssh/authorized_keys.d/root");
            assert_eq!(fs::read_to_string(&keys).unwrap(), format!("{KEY}\n"));
            assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(fs::read_to_string(paths.root.join("etc/hostname")).unwrap(), "rack4\n");
            assert!(paths.state.join(CLAIMED).exists());
        }
    }

    #[test]
    fn whatever_step_fails_the_host_stays_unclaimed() {
        let (_folder, paths) = host();
        let refuse = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let failed = execute(&plan(&seed()), &paths, &mut |_| refuse());
        assert!(matches!(failed, Err(ApplyError::HostName { .. })));
        assert!(!paths.state.join(CLAIMED).exists());

        let (_folder, paths) = host();
        fs::create_dir_all(paths.root.join("etc")).unwrap();
        fs::write(paths.root.join("etc/ssh"), "in the way").unwrap();
        let failed = execute(&plan(&seed()), &paths, &mut |_| Ok(()));
        assert!(matches!(failed, Err(ApplyError::Write { .. })));
        assert!(!paths.state.join(CLAIMED).exists());
    }
}
