//! From a step's fresh folder to a result: the writing half of the store. The order is argued in the store module.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::digest::Digest;
use crate::error::StoreError;
use crate::graph::{Identity, InputDigest, StepName};
use crate::index::since_1970;
use crate::result::{RESULT_FORMAT, StepResult, measure};
use crate::store::{Effect, Store, output_digest, remove_tree};

/// More files than this are flushed by one `syncfs`.
const FLUSH_ONE_BY_ONE: u64 = 64;

/// A step's folder in `tmp/`; dropped without a commit, it is removed.
pub(crate) struct Workspace {
    folder: PathBuf,
    pub(crate) out: PathBuf,
    committed: bool,
}

/// What a result is stored with besides its files.
pub(crate) struct Made<'a> {
    pub(crate) step: &'a StepName,
    pub(crate) key: Digest,
    pub(crate) identity: Identity,
    pub(crate) inputs: &'a BTreeMap<String, InputDigest>,
    pub(crate) seconds: f64,
}

impl Store {
    /// A fresh folder for a step's output.
    pub(crate) fn begin(&self) -> io::Result<Workspace> {
        self.watch(Effect::MakeFolder)?;
        let folder = self.fresh_tmp();
        let out = folder.join("out");
        fs::create_dir(&folder)?;
        fs::create_dir(&out)?;
        // The root of an output may become the root of an image: its mode must not be the user's umask.
        fs::set_permissions(&out, std::fs::Permissions::from_mode(0o755))?;
        Ok(Workspace { folder, out, committed: false })
    }

    /// Makes the folder the result under its key. The caller holds the key's `.make` lock.
    pub(crate) fn commit(&self, workspace: Workspace, made: &Made<'_>) -> Result<StepResult, StoreError> {
        let failed = |source| StoreError::Commit { step: made.step.clone(), key: made.key, source };
        let result = self.prepare(&workspace, made).map_err(failed)?;
        if self.step_path(&made.key).exists() {
            self.park(&made.key)?; // cut: no result under this key, the step runs again
        }
        self.publish(workspace, &made.key).map_err(failed)?;
        Ok(result)
    }

    /// Lines 3 to 5: all of the result, on the disk, without its name.
    fn prepare(&self, workspace: &Workspace, made: &Made<'_>) -> io::Result<StepResult> {
        self.watch(Effect::FlushOutput)?;
        let measured = measure(&workspace.out, made.identity)?;
        flush_tree(&workspace.out, measured.entries)?; // cut: a dead session's folder
        let result = StepResult {
            format: RESULT_FORMAT,
            step: made.step.clone(),
            key: made.key,
            identity: made.identity,
            digest: output_digest(made.identity, made.key, measured.contents),
            bytes: measured.bytes,
            entries: measured.entries,
            shape: measured.shape,
            contents: measured.contents,
            files: measured.files,
            inputs: made.inputs.clone(),
            seconds: made.seconds,
            made: since_1970().as_secs(),
        };
        self.watch(Effect::WriteResult)?;
        let path = workspace.folder.join("result.json");
        fs::write(&path, serde_json::to_vec(&result)?)?;
        self.watch(Effect::FlushResult)?;
        fs::File::open(&path)?.sync_all()?;
        fs::File::open(&workspace.folder)?.sync_all()?; // cut: still a dead session's folder
        Ok(result)
    }

    /// Lines 7 and 8.
    fn publish(&self, mut workspace: Workspace, key: &Digest) -> io::Result<()> {
        self.watch(Effect::Commit)?;
        fs::rename(&workspace.folder, self.step_path(key))?; // the commit. cut: with the result or without it
        workspace.committed = true;
        self.watch(Effect::FlushSteps)?;
        fs::File::open(self.steps_path())?.sync_all()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = remove_tree(&self.folder) {
            tracing::debug!(path = %self.folder.display(), %error, "left to the end of the session");
        }
    }
}

fn flush_tree(root: &Path, entries: u64) -> io::Result<()> {
    if entries > FLUSH_ONE_BY_ONE {
        return flush_all(root);
    }
    match flush_each(root) {
        // A file that its owner may not read cannot be opened to be flushed.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => flush_all(root),
        flushed => flushed,
    }
}

fn flush_each(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            flush_each(&entry.path())?;
        } else if file_type.is_file() {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    fs::File::open(folder)?.sync_all()
}

fn flush_all(root: &Path) -> io::Result<()> {
    let folder = fs::File::open(root)?;
    nix::unistd::syncfs(folder.file()).map_err(io::Error::from)
}
