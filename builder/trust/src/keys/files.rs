//! Files of a key folder: created with their final mode, read only if nobody else can.

use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use zeroize::Zeroizing;

use super::KeyError;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Owner,
    Everybody,
}

/// A folder in the making: nothing is at its place until [`Draft::commit`], and then all of it.
///
/// It lies beside its place (the same file system, so that a rename will do) with mode 0700 from its first moment.
/// A cut or a kill before the commit leaves a hidden folder `.xenolith-keys-…` that no one reads.
pub(super) struct Draft(tempfile::TempDir);

impl Draft {
    pub(super) fn beside(place: &Path) -> io::Result<Self> {
        let parent = parent(place);
        fs_err::create_dir_all(parent)?;
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix(".xenolith-keys-").permissions(private).tempdir_in(parent).map(Self)
    }

    /// Writes a file and flushes it. The mode is given to `open`, so there is no moment with a wider one; umask can
    /// only take away from it.
    pub(super) fn write(&self, name: &str, access: Access, bytes: &[u8]) -> io::Result<()> {
        let mode = match access {
            Access::Owner => 0o600,
            Access::Everybody => 0o644,
        };
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.0.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Puts the folder in its place: the one commit. Fails if anything but an empty folder is there.
    pub(super) fn commit(self, place: &Path) -> io::Result<()> {
        fs_err::File::open(self.0.path())?.sync_all()?;
        fs_err::rename(self.0.path(), place)?; // cut: no folder or the whole one
        let _moved_away = self.0.keep();
        fs_err::File::open(parent(place))?.sync_all()
    }
}

/// Reads a secret file, unless others could have read or written it.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let refused = |source| KeyError::Read { path: path.to_owned(), source };
    let mut file = fs_err::File::open(path).map_err(refused)?;
    // Asked of the open file: what is checked is what is read.
    let mode = file.metadata().map_err(refused)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(refused)?;
    Ok(text)
}

/// Refuses a folder in which others could put another key in the place of ours.
pub(super) fn check_folder(path: &Path) -> Result<(), KeyError> {
    let metadata =
        fs_err::metadata(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// Reads a file that is no secret.
pub(super) fn read_public(path: &Path) -> Result<String, KeyError> {
    fs_err::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
