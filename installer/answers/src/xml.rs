//! XCP-ng's and XenServer's XML answer files, so that an existing PXE set-up carries over.
//!
//! **Nothing is passed over in silence.** Every element and attribute ends up in the report: mapped to a key of ours, ignored with the
//! reason why that does no harm, or refused. One refusal, and there are no answers: a machine that is installed otherwise than its
//! file says is worse than one that waits. The old installer knows no unknown tag and no type; a misspelt one there is a default.

mod disks;
mod interface;
mod reader;

use std::fmt;

use serde::Serialize;
use xenolith_settings::{BadDocument, Problem};

use crate::parse::{AnswersError, MAX_ANSWERS};
use crate::types::{Answers, StorageKind};
use reader::Reader;

/// More elements than any file of this kind has.
const MAX_NODES: u32 = 4096;

/// Whose installer a file was written for; they differ in what they do when it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// XCP-ng from 8.3 on.
    #[default]
    XcpNg,
    /// XenServer, and XCP-ng before.
    XenServer,
}

impl Dialect {
    /// The kind of storage without `sr-type`.
    fn storage(self) -> StorageKind {
        match self {
            Self::XcpNg => StorageKind::Ext,
            Self::XenServer => StorageKind::Lvm,
        }
    }
}

/// What becomes of an XML file.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The answers, unless something was refused.
    pub answers: Option<Answers>,
    /// A line for each element and attribute, in the file's order; what the file lacks comes last.
    pub report: Vec<Line>,
}

/// What became of one element or attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its line in the file, from 1.
    pub line: u32,
    /// Its name; attributes as `element@attribute`.
    pub tag: String,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What becomes of a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "lowercase")]
pub enum Fate {
    /// It is said by keys of ours.
    Mapped {
        /// Which.
        to: String,
    },
    /// It makes no difference here.
    Ignored {
        /// Why.
        why: String,
    },
    /// It cannot be done.
    Refused {
        /// Why, and what to do.
        why: String,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, tag, fate } = self;
        match fate {
            Fate::Mapped { to } => write!(f, "line {line}: {tag}: is {to}"),
            Fate::Ignored { why } => write!(f, "line {line}: {tag}: ignored: {why}"),
            Fate::Refused { why } => write!(f, "line {line}: {tag}: refused: {why}"),
        }
    }
}

impl Line {
    /// Whether it stands against the conversion.
    pub fn is_refused(&self) -> bool {
        matches!(self.fate, Fate::Refused { .. })
    }
}

/// Reads an XML answer file. `ssh_keys` are for whoever shall come in by key: that format has no place for them.
///
/// # Errors
/// [`AnswersError`] if it is no XML at all. What it says that cannot be done is in the report.
pub fn convert(bytes: &[u8], dialect: Dialect, ssh_keys: Vec<String>) -> Result<Conversion, AnswersError> {
    if bytes.len() > MAX_ANSWERS {
        return Err(BadDocument::TooLong(MAX_ANSWERS).into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadDocument::NotText)?;
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    // The parser's words quote the file, and passwords may stand in it.
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|error| {
        BadDocument::Syntax { line: error.pos().row as usize, what: "this is not well-formed XML".to_owned() }
    })?;
    let (answers, mut report) = Reader::new(&document, dialect, ssh_keys).read();
    if !report.iter().any(Line::is_refused) {
        report.extend(answers.problems().into_iter().map(lacking));
    }
    let refused = report.iter().any(Line::is_refused);
    Ok(Conversion { answers: (!refused).then_some(answers), report })
}

/// What the whole lacks belongs to no line but the first.
fn lacking(Problem { at, what }: Problem) -> Line {
    Line { line: 1, tag: at, fate: Fate::Refused { why: what } }
}
