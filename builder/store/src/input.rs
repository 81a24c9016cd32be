//! Looking at inputs: from what a step declares to the digests that make its key.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher, digest_bytes};
use crate::graph::{Input, InputDigest, InputKind};
use crate::store::Store;
use crate::tree::{self, Kind, Modes, TreeFilter};

/// Texts up to this length are remembered, so that `--explain` can show them; of others the digest is.
const REMEMBERED_TEXT: usize = 200;

/// Trees of up to this many files are remembered file by file.
const REMEMBERED_FILES: usize = 5_000;

/// What an input was found to be, with enough beside its digest to say later how it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its kind.
    pub kind: InputKind,
    /// The digest over its contents.
    pub digest: Digest,
    /// The text of a value, the name of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The digests of a tree's files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Digest>,
}

impl Seen {
    fn plain(kind: InputKind, digest: Digest) -> Self {
        Self { kind, digest, text: None, files: BTreeMap::new() }
    }

    /// Another step's output.
    pub(crate) fn step(name: &str, output: Digest) -> Self {
        Self { text: Some(name.to_owned()), ..Self::plain(InputKind::Step, output) }
    }

    /// The part that enters the key.
    pub fn input_digest(&self) -> InputDigest {
        InputDigest { kind: self.kind, digest: self.digest }
    }
}

/// Looks at an input; nothing for a step's output, which is known only when that step is done.
pub(crate) fn see(store: &Store, input: &Input) -> io::Result<Option<Seen>> {
    Ok(Some(match input {
        Input::Value(text) => {
            let seen = Seen::plain(InputKind::Value, digest_bytes(text.as_bytes()));
            Seen { text: (text.len() <= REMEMBERED_TEXT).then(|| text.clone()), ..seen }
        }
        Input::File(path) => Seen::plain(InputKind::File, see_file(store, path)?),
        Input::Tree { root, filter } => see_tree(store, root, filter)?,
        Input::Blob(digest) => Seen::plain(InputKind::Blob, *digest),
        Input::Step(_) => return Ok(None),
    }))
}

fn see_file(store: &Store, path: &Path) -> io::Result<Digest> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` is no regular file", path.display()),
        ));
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    let mut hasher = Hasher::new("xenolith file 1");
    hasher.number(u64::from(executable)).part(store.digest_file(path)?.as_bytes());
    Ok(hasher.finish())
}

fn see_tree(store: &Store, root: &Path, filter: &TreeFilter) -> io::Result<Seen> {
    let entries = tree::entries(root, filter)?;
    let remember = entries.iter().filter(|entry| entry.kind == Kind::File).count() <= REMEMBERED_FILES;
    let mut files = BTreeMap::new();
    let digest = tree::digest_entries(&entries, Modes::Executable, &mut |entry| {
        let digest = store.index().digest_stamped(&root.join(&entry.path), entry.stamp)?;
        if remember {
            files.insert(entry.path.display().to_string(), digest);
        }
        Ok(digest)
    })?;
    Ok(Seen { files, ..Seen::plain(InputKind::Tree, digest) })
}
