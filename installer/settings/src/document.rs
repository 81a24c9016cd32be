//! From bytes to types: TOML, or JSON with the same types.

use serde::de::DeserializeOwned;

/// A known key that is this much alike (Jaro-Winkler) is proposed.
const ALIKE: f64 = 0.75;

/// Why a document is not understood. No message quotes a value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// Longer than the caller takes.
    #[error("it is longer than {} KiB", .0 >> 10)]
    TooLong(usize),
    /// Not UTF-8.
    #[error("it is not text in UTF-8")]
    NotText,
    /// Not TOML or JSON, or not of the types.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
}

/// Reads a document of at most `longest` bytes; one that begins with `{` is taken for JSON.
///
/// # Errors
/// [`BadDocument`].
pub fn read<T: DeserializeOwned>(bytes: &[u8], longest: usize) -> Result<T, BadDocument> {
    if bytes.len() > longest {
        return Err(BadDocument::TooLong(longest));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadDocument::NotText)?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| BadDocument::Syntax {
            line: error.line(),
            what: explain(&json_message(&error)),
        });
    }
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        BadDocument::Syntax { line: before.matches('\n').count() + 1, what: explain(error.message()) }
    })
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
