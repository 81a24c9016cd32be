//! Downloads in the store, each under its own SHA-256.
//!
//! **A file named `blobs/<sha256>` has these contents.** It gets the name only after all of it has been hashed and
//! flushed, and it is never written to again. Until then it is `<sha256>.part` and may be continued where it
//! ends, by this builder or by the next one; one builder at a time, by its lock. A power cut can leave garbage
//! in the last written pages of a part: then the sum is wrong, the part is dropped and the download begins anew.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::digest::{Digest, digest_bytes, digest_file};
use crate::error::StoreError;
use crate::lock::{Lock, Mode};
use crate::store::Store;

/// A wanted blob.
pub enum Wanted {
    /// It is here.
    Here(PathBuf),
    /// It must be fetched, and only we do so.
    Fetch(BlobPart),
}

/// A blob that is being fetched. Dropped without a commit, what is there remains to be continued.
pub struct BlobPart {
    store: Store,
    digest: Digest,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs").join(digest.to_string())
    }

    /// Whether a blob of this name is there; its contents are verified by [`Store::blob`].
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The path of a blob whose contents have been verified: by their stamp, or by reading them if it changed.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`]; [`StoreError::BlobDiffers`], and the blob is gone; [`StoreError::Blob`].
    pub fn blob(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let failed = |source| StoreError::Blob { blob: *digest, source };
        let path = self.blob_path(digest);
        let found = match self.digest_file(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::NoBlob(*digest)),
            Err(error) => return Err(failed(error)),
        };
        if found == *digest {
            return Ok(path);
        }
        fs::rename(&path, self.fresh_tmp()).map_err(failed)?;
        Err(StoreError::BlobDiffers { wanted: *digest, found })
    }

    /// The blob, or the right to fetch it. Waits while another builder fetches the same one.
    ///
    /// # Errors
    /// [`StoreError::Lock`]; [`StoreError::Blob`].
    pub fn want_blob(&self, digest: &Digest) -> Result<Wanted, StoreError> {
        if let Some(path) = self.good_blob(digest)? {
            return Ok(Wanted::Here(path));
        }
        let lock_path = self.locks().blob(digest);
        let lock = Lock::wait(&lock_path, Mode::Exclusive)
            .map_err(|source| StoreError::Lock { path: lock_path, source })?;
        if let Some(path) = self.good_blob(digest)? {
            return Ok(Wanted::Here(path));
        }
        let path = self.blob_path(digest).with_extension("part");
        Ok(Wanted::Fetch(BlobPart { store: self.clone(), digest: *digest, path, _lock: lock }))
    }

    fn good_blob(&self, digest: &Digest) -> Result<Option<PathBuf>, StoreError> {
        match self.blob(digest) {
            Ok(path) => Ok(Some(path)),
            Err(StoreError::NoBlob(_) | StoreError::BlobDiffers { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores some bytes as a blob.
    ///
    /// # Errors
    /// [`StoreError::Lock`]; [`StoreError::Blob`].
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = digest_bytes(bytes);
        if let Wanted::Fetch(part) = self.want_blob(&digest)? {
            fs::write(part.path(), bytes).map_err(|source| StoreError::Blob { blob: digest, source })?;
            part.commit()?;
        }
        Ok(digest)
    }

    /// Copies a file into the store if it has this sum.
    ///
    /// # Errors
    /// [`StoreError::BlobDiffers`] if it has another one; [`StoreError::Lock`]; [`StoreError::Blob`].
    pub fn adopt_blob(&self, file: &Path, digest: &Digest) -> Result<PathBuf, StoreError> {
        match self.want_blob(digest)? {
            Wanted::Here(path) => Ok(path),
            Wanted::Fetch(part) => {
                fs::copy(file, part.path()).map_err(|source| StoreError::Blob { blob: *digest, source })?;
                part.commit()
            }
        }
    }
}

impl BlobPart {
    /// Where to write; append to what is there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes are there already.
    pub fn have(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Hashes, flushes and names the blob.
    ///
    /// # Errors
    /// [`StoreError::BlobDiffers`], and the part is gone; [`StoreError::Blob`].
    pub fn commit(self) -> Result<PathBuf, StoreError> {
        let failed = |source| StoreError::Blob { blob: self.digest, source };
        let found = digest_file(&self.path).map_err(failed)?;
        if found != self.digest {
            fs::remove_file(&self.path).map_err(failed)?;
            return Err(StoreError::BlobDiffers { wanted: self.digest, found });
        }
        let path = self.store.blob_path(&self.digest);
        fs::File::open(&self.path).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&self.path, &path).map_err(failed)?; // the commit. cut: the part or the blob, both are whole
        // The rename set the change time to now; a blob is not written to again, so its stamp holds at once.
        self.store.index().vouch(&path, self.digest).map_err(failed)?;
        Ok(path)
    }
}
