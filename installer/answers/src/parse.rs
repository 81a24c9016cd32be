//! From bytes to answers: TOML, JSON with the same types, or the XML of another installer.

use schemars::Schema;

use crate::check::Problem;
use crate::types::Answers;
use crate::xml::{Conversion, Dialect, Line, convert};

/// Longer answers are refused before they are parsed.
pub const MAX_ANSWERS: usize = 256 << 10;

/// A known key that is this much alike (Jaro-Winkler) is proposed.
const ALIKE: f64 = 0.75;

/// Why answers are refused. No message quotes a value: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// Longer than [`MAX_ANSWERS`].
    #[error("the answers are longer than {} KiB", MAX_ANSWERS >> 10)]
    TooLong,
    /// Not UTF-8.
    #[error("the answers are not text in UTF-8")]
    NotText,
    /// Not TOML or JSON, or not of the types.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
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
        if bytes.len() > MAX_ANSWERS {
            return Err(AnswersError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| AnswersError::NotText)?;
        if text.trim_start().starts_with('<') {
            let Conversion { answers, mut report } = convert(bytes, Dialect::default(), Vec::new())?;
            report.retain(Line::is_refused);
            return answers.ok_or(AnswersError::Xml(report));
        }
        let answers: Self = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| AnswersError::Syntax {
                line: error.line(),
                what: explain(&json_message(&error)),
            })?
        } else {
            toml::from_str(text).map_err(|error| {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                AnswersError::Syntax {
                    line: before.matches('\n').count() + 1,
                    what: explain(error.message()),
                }
            })?
        };
        let problems = answers.problems();
        if problems.is_empty() { Ok(answers) } else { Err(AnswersError::Problems(problems)) }
    }
}

/// The JSON Schema of the answers (draft 2020-12).
pub fn schema() -> Schema {
    schemars::schema_for!(Answers)
}

/// Without the place, which stands in front.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// serde's words, with the nearest known key, and without what the parser quotes of a value.
fn explain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let mut names = rest.split('`').step_by(2);
        let unknown = names.next().unwrap_or_default();
        let known: Vec<&str> = rest.split('`').skip(1).skip(1).step_by(2).collect();
        let nearest = known
            .iter()
            .map(|name| (strsim::jaro_winkler(unknown, name), *name))
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        return match nearest {
            Some((_, name)) => format!("there is no key `{unknown}` here; did you mean `{name}`?"),
            None => format!("there is no key `{unknown}` here; known are {}", known.join(", ")),
        };
    }
    if let Some((_, known)) =
        message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("expected "))
    {
        return format!(
            "not a known word; {} {known}",
            if known.starts_with("one of") { "write" } else { "known is" }
        );
    }
    // "invalid type: string "…", expected …": what was found may be a secret.
    match (message.strip_prefix("invalid type: "), message.rsplit_once("expected ")) {
        (Some(found), Some((_, expected))) => {
            let kind = found.split([' ', ',']).next().unwrap_or("something");
            format!("{kind} found where {expected} is expected")
        }
        (None, _) | (_, None) => without_quotes(message),
    }
}

fn without_quotes(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        // Our own words quote examples.
        (Some(first), Some(last)) if first < last && !message.starts_with("not ") => {
            format!("{}…{}", &message[..=first], &message[last..])
        }
        (Some(_) | None, _) => message.to_owned(),
    }
}
