//! From bytes to answers: TOML, JSON with the same types, or the XML of another installer.

use schemars::Schema;
use xenolith_settings::{BadDocument, Problem, Settings};

use crate::types::Answers;
use crate::xml::{Conversion, Dialect, Line, convert};

/// Longer answers are refused before they are parsed.
pub const MAX_ANSWERS: usize = 256 << 10;

/// Why answers are refused. No message quotes a value: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// Too long, not text, or not TOML, JSON or XML.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// XML of the old installer, with something in it that cannot be done.
    #[error("{}", listed(.0))]
    Xml(Vec<Line>),
    /// Of the right types, but nothing that can be done.
    #[error("{}", listed(.0))]
    Problems(Vec<Problem>),
}

fn listed(lines: &[impl ToString]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Answers {
    /// Reads answers; a document that begins with `{` is taken for JSON, one that begins with `<` for XCP-ng's XML.
    ///
    /// # Errors
    /// [`AnswersError`]; nothing of answers with a mistake is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, AnswersError> {
        if bytes.trim_ascii_start().starts_with(b"<") {
            let Conversion { answers, mut report } = convert(bytes, Dialect::default(), Vec::new())?;
            report.retain(Line::is_refused);
            return answers.ok_or(AnswersError::Xml(report));
        }
        let answers: Self = xenolith_settings::read(bytes, MAX_ANSWERS)?;
        let problems = answers.problems();
        if problems.is_empty() { Ok(answers) } else { Err(AnswersError::Problems(problems)) }
    }

    /// What of it the installed host is told.
    pub fn settings(&self) -> Settings {
        Settings {
            version: self.version,
            host: self.host.clone(),
            network: self.network.clone(),
            access: self.access.clone(),
            // The partitions have GUIDs once there is a plan.
            storage: None,
            pool: self.pool.clone(),
        }
    }
}

/// The JSON Schema of the answers (draft 2020-12).
pub fn schema() -> Schema {
    schemars::schema_for!(Answers)
}
