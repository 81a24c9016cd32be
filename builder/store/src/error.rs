//! What can go wrong with the store itself.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::graph::StepName;

/// An operation on the store that failed. The sources name the paths below the store's root.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's folders cannot be made or read.
    #[error("the store in {} cannot be opened", root.display())]
    Open {
        /// Its root.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A newer builder has been here.
    #[error("the store in {} has format {found}, this builder knows {known}; another folder is needed", root.display())]
    Format {
        /// Its root.
        root: PathBuf,
        /// The format it says it has.
        found: String,
        /// The one this crate writes.
        known: &'static str,
    },
    /// A lock file cannot be opened or locked; it being held is no error.
    #[error("lock {} cannot be used", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A result could not be stored; nothing of it is visible.
    #[error("the result of step `{step}` ({key}) was not stored")]
    Commit {
        /// The step.
        step: StepName,
        /// Its key.
        key: Digest,
        /// Why.
        source: io::Error,
    },
    /// Something damaged or unwanted could not be put aside.
    #[error("{} cannot be put aside", path.display())]
    Park {
        /// What was to be moved.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record about the store cannot be written.
    #[error("{} cannot be written", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output of a step that another one reads is not what it left.
    #[error("input `{input}` is not whole any more; build again")]
    Input {
        /// Under which name it is read.
        input: String,
    },
    /// A blob is not there.
    #[error("blob {0} is not in the store")]
    NoBlob(Digest),
    /// A blob's contents are not what its name says; it was put aside.
    #[error("blob {wanted} had contents with the sum {found}")]
    BlobDiffers {
        /// Its name.
        wanted: Digest,
        /// Its sum.
        found: Digest,
    },
    /// A blob cannot be read or written.
    #[error("blob {blob} cannot be read or written")]
    Blob {
        /// Its name.
        blob: Digest,
        /// Why.
        source: io::Error,
    },
    /// What is in the store cannot be listed.
    #[error("{} cannot be listed", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
