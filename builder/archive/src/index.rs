//! The archive's own lists: Release files, Packages and Sources.
//!
//! All are deb822 text (`Field: value`, continuation lines start with a blank, an empty line ends a stanza). They come
//! over the network; a Release file is believed after [`crate::signature`], an index once its SHA-256 is the one in
//! the Release file. Nevertheless they are read strictly and with limits: a path that leaves the archive, a size that
//! is no number or a field that is there twice ends the reading with the line where it stands.
//!
//! The main index has 56 MB and 68,000 stanzas. Values are borrowed from the text, dependencies are kept as text until
//! the resolver asks for them ([`relations`]), and only the fields named here are looked at.

mod packages;
mod relation;
mod release;
mod sources;
mod stanza;

pub use packages::{IndexPackage, Priority, packages};
pub use relation::{Constraint, Dependency, Operator, Relation, relations};
pub use release::{IndexFile, Release};
pub use sources::{IndexSource, SourceFile, sources};

use crate::{BadName, BadSha256, BadVersion};

/// What is wrong with a list of the archive; lines are counted from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IndexError {
    /// Not text at all.
    #[error("byte {at} is not UTF-8")]
    NotText {
        /// Where, counted from 0.
        at: usize,
    },
    /// More than we are ready to read.
    #[error("line {line}: {what} is longer than {limit}")]
    TooLong {
        /// Where it starts.
        line: usize,
        /// A line (bytes), a stanza (bytes) or a file (stanzas).
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
    },
    /// A line without a colon, or a continuation of nothing.
    #[error("line {line} is neither a field nor the continuation of one")]
    NotAField {
        /// Where.
        line: usize,
    },
    /// Which of the two would count?
    #[error("line {line}: the stanza has {field} twice")]
    Twice {
        /// Where the second one stands.
        line: usize,
        /// Which field.
        field: &'static str,
    },
    /// A field that we need is not there.
    #[error("the stanza at line {line} has no {field}")]
    Missing {
        /// Where the stanza starts.
        line: usize,
        /// Which field.
        field: &'static str,
    },
    /// A field whose value cannot be.
    #[error("line {line}: {field} is not valid")]
    Invalid {
        /// Where.
        line: usize,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: Problem,
    },
}

/// What is wrong with the value of a field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    /// A name, an architecture or a path.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A version.
    #[error(transparent)]
    Version(#[from] BadVersion),
    /// A hash.
    #[error(transparent)]
    Sha256(#[from] BadSha256),
    /// A date.
    #[error(transparent)]
    Date(#[from] crate::date::BadDate),
    /// A size.
    #[error("{0:?} is no number of bytes")]
    Number(String),
    /// A word where only few are known.
    #[error("{0:?} is not one of the values that we know")]
    Word(String),
    /// A line of a list of files that is not `SHA256 size path`.
    #[error("{0:?} is not a hash, a size and a path")]
    FileLine(String),
    /// A dependency.
    #[error("{0:?} is no relation between packages")]
    Relation(String),
}

fn size(text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| Problem::Number(crate::names::shortened(text)))
}

/// Reads one line of a list of files: hash, size, path.
fn file_line(line: &str) -> Result<(crate::Sha256, u64, &str), Problem> {
    let mut words = line.split_ascii_whitespace();
    let (Some(hash), Some(length), Some(path), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Problem::FileLine(crate::names::shortened(line)));
    };
    Ok((hash.parse()?, size(length)?, path))
}
