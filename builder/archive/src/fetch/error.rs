//! What can go wrong, and what the user can do about it.

use std::io;
use std::path::PathBuf;

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// 404 or 410: mirrors keep a version only until the next one replaces it.
    #[error("the mirror no longer has {name}{} (status {status} for {url})", more(also))]
    Gone {
        /// The package.
        name: String,
        /// Where it was looked for.
        url: String,
        /// 404 or 410.
        status: u16,
        /// Other packages that are gone as well.
        also: Vec<String>,
    },
    /// 404 or 410 for a file that no lock names.
    #[error("there is no {url} (status {status})")]
    NotFound {
        /// What was looked for.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// Not what the lock pins: a question of trust, twice the same from the very first byte.
    #[error("{name} was not accepted from {url}")]
    Trust {
        /// The package.
        name: String,
        /// Where it came from.
        url: String,
        /// What differs.
        source: Mismatch,
    },
    /// Every attempt failed.
    #[error("{name} could not be fetched from {url} in {attempts} attempts")]
    Unreachable {
        /// The package.
        name: String,
        /// Where it was looked for.
        url: String,
        /// How often.
        attempts: u32,
        /// Why the last attempt failed.
        source: Cause,
    },
    /// The server does not want to.
    #[error("the mirror refuses to send {name} (status {status} for {url})")]
    Refused {
        /// The package.
        name: String,
        /// Where it was looked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// Files are missing and no request may be made.
    #[error("{} missing and nothing may be fetched: {}", count(*missing, *bytes), list(first, *missing))]
    Offline {
        /// How many files.
        missing: usize,
        /// Their size in all; 0 if not known.
        bytes: u64,
        /// The first few.
        first: Vec<String>,
    },
    /// A file of unknown size is larger than it can be.
    #[error("{url} is larger than the {max} bytes that it may have")]
    TooLarge {
        /// The file.
        url: String,
        /// The limit.
        max: u64,
    },
    /// [`super::Stop::stop`] was called.
    #[error("fetching was interrupted")]
    Interrupted,
    /// The destination could not be written.
    #[error("cannot {operation} {}", path.display())]
    Write {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// No answer.
    #[error("no answer from the server")]
    Request(#[source] Box<ureq::Error>),
    /// The connection broke, or the server fell silent, after it had begun to answer.
    #[error("the connection failed in the middle")]
    Broken(#[source] io::Error),
    /// The answer ended early.
    #[error("the answer ended after {got} of {size} bytes")]
    Short {
        /// Bytes of the file that are there.
        got: u64,
        /// Its size.
        size: u64,
    },
    /// The server is in trouble.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The server sent another piece than the one asked for.
    #[error("the server answered with another range than the one asked for")]
    Range,
}

/// How content differs from what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another length.
    #[error("it has {got} bytes instead of {expected}")]
    Size {
        /// What the lock says.
        expected: u64,
        /// What the server says.
        got: u64,
    },
    /// Another hash.
    #[error("its SHA-256 is {} instead of {}", hex::encode(got), hex::encode(expected))]
    Hash {
        /// What the lock says.
        expected: [u8; 32],
        /// What came.
        got: [u8; 32],
    },
}

impl FetchError {
    /// What the user can do; one line each.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Gone { name, also, .. } => {
                let names: Vec<&str> = std::iter::once(name).chain(also).map(String::as_str).collect();
                format!(
                    "pin the version that the mirror has now: xenolith lock --update {}\n\
                     or build from a mirror that keeps old versions (a snapshot archive): --mirror URL",
                    names.join(" ")
                )
            }
            Self::Trust { .. } => "a proxy or a login page may have answered in place of the mirror; \
                 choose another one with --mirror URL"
                .to_owned(),
            Self::Unreachable { .. } => {
                "what has arrived is kept; run it again, or choose another mirror with --mirror URL"
                    .to_owned()
            }
            Self::NotFound { .. } => {
                "the mirror may not carry this suite, or be no mirror of this archive; choose another with --mirror URL"
                    .to_owned()
            }
            Self::Refused { .. } => "choose another mirror with --mirror URL".to_owned(),
            Self::Offline { .. } => "run it once without --offline".to_owned(),
            Self::Interrupted => "what has arrived is kept; run it again to go on".to_owned(),
            Self::TooLarge { .. } | Self::Write { .. } => return None,
        })
    }

    /// The same, about more packages.
    pub(super) fn and_also(mut self, names: Vec<String>) -> Self {
        if let Self::Gone { also, .. } = &mut self {
            also.extend(names);
        }
        self
    }
}

fn more(also: &[String]) -> String {
    also.iter().fold(String::new(), |text, name| text + ", " + name)
}

fn count(missing: usize, bytes: u64) -> String {
    let (files, verb) = if missing == 1 { ("file", "is") } else { ("files", "are") };
    if bytes == 0 {
        format!("{missing} {files} {verb}")
    } else {
        format!("{missing} {files} ({bytes} bytes) {verb}")
    }
}

fn list(first: &[String], missing: usize) -> String {
    let rest = missing - first.len().min(missing);
    let names = first.join(", ");
    if rest == 0 { names } else { format!("{names} and {rest} more") }
}
