//! Where a build came from: an in-toto statement with a SLSA provenance predicate.
//!
//! The statement is a function of the build's inputs and outputs: maps and lists are sorted and there is no time in it unless
//! one is given, so two builds with the same result say the same, and a verifier can compare whole files.
//! Sources: in-toto Attestation Framework, Statement v1; SLSA 1.0, "Provenance".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The `payload_type` of a signed statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// A statement about artefacts; make it with [`Statement::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// What was built.
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    /// How.
    pub predicate: Provenance,
}

/// One artefact: its file name and digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The file's name within the output folder.
    pub name: String,
    /// Its digest.
    pub digest: Digests,
}

/// Digests by algorithm, e.g. `sha256` or `gitCommit`, in hex.
pub type Digests = BTreeMap<String, String>;

/// The SLSA predicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The inputs.
    pub build_definition: BuildDefinition,
    /// The run.
    pub run_details: RunDetails,
}

/// What went in. Everything that the outcome depends on is in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// A URI that says how to read the rest.
    pub build_type: String,
    /// What the user chose: target, variant, …
    pub external_parameters: BTreeMap<String, String>,
    /// What was read: the source's revision, the lock, the packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<Resource>,
}

/// One input, pinned by digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// What it is, e.g. `xenolith.lock`.
    pub name: String,
    /// Where it came from, if that is known and no mirror of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digest.
    pub digest: Digests,
}

/// Who ran it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The builder.
    pub builder: BuilderId,
    /// About this very run; left out unless something is known.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// Which program, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderId {
    /// A URI that names the builder and so what it promises.
    pub id: String,
    /// Versions by component.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// What would make two runs differ; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Identifies the run; our build id, which follows from the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_on: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<String>,
}

impl Metadata {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The digest map of a SHA-256 in hex.
pub fn sha256(hex: impl Into<String>) -> Digests {
    Digests::from([("sha256".to_owned(), hex.into())])
}

/// The digest map of a git revision.
pub fn git_commit(hex: impl Into<String>) -> Digests {
    Digests::from([("gitCommit".to_owned(), hex.into())])
}

impl Statement {
    /// A statement about `subject`, with subjects and dependencies brought in order.
    pub fn new(mut subject: Vec<Subject>, mut predicate: Provenance) -> Self {
        subject.sort();
        predicate.build_definition.resolved_dependencies.sort();
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate,
        }
    }

    /// Indented JSON with a line end; the same statement gives the same bytes.
    pub fn render(&self) -> String {
        let mut json = serde_json::to_string_pretty(self)
            .expect("a statement is strings, lists and maps with text keys");
        json.push('\n');
        json
    }

    /// Reads a statement, and refuses one of another kind.
    ///
    /// # Errors
    /// [`ProvenanceError`].
    pub fn parse(json: &[u8]) -> Result<Self, ProvenanceError> {
        let statement: Self = serde_json::from_slice(json).map_err(ProvenanceError::Parse)?;
        for (found, expected) in
            [(&statement.kind, STATEMENT_TYPE), (&statement.predicate_type, PREDICATE_TYPE)]
        {
            if found != expected {
                return Err(ProvenanceError::Kind { found: found.clone(), expected });
            }
        }
        Ok(statement)
    }
}

/// Why bytes are no provenance statement.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// Not JSON of this shape.
    #[error("this is not a provenance statement")]
    Parse(#[source] serde_json::Error),
    /// A statement of another kind or version.
    #[error("this is a '{found}', not a '{expected}'")]
    Kind {
        /// What it says it is.
        found: String,
        /// What we read.
        expected: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let hash = |digit: &str| sha256(digit.repeat(64));
        let predicate = Provenance {
            build_definition: BuildDefinition {
                build_type: "https://xenolith.example/build/v1".into(),
                external_parameters: [("variant", "default"), ("target", "all")]
                    .map(|(k, v)| (k.into(), v.into()))
                    .into(),
                resolved_dependencies: vec![
                    Resource { name: "xenolith.lock".into(), uri: None, digest: hash("2") },
                    Resource { name: "source".into(), uri: None, digest: git_commit("3".repeat(40)) },
                ],
            },
            run_details: RunDetails {
                builder: BuilderId {
                    id: "https://xenolith.example/builder".into(),
                    version: [("xenolith".to_owned(), "0.1.0".to_owned())].into(),
                },
                metadata: Metadata::default(),
            },
        };
        let subjects =
            ["xenolith.iso", "manifest.json"].map(|name| Subject { name: name.into(), digest: hash("1") });
        Statement::new(subjects.into(), predicate)
    }

    #[test]
    fn a_statement_is_rendered_in_order_and_without_times() {
        insta::assert_snapshot!(statement().render());
    }

    #[test]
    fn a_statement_survives_the_round_trip_with_times_too() {
        let mut statement = statement();
        statement.predicate.run_details.metadata.started_on = Some("2026-01-01T00:00:00Z".into());
        assert_eq!(Statement::parse(statement.render().as_bytes()).unwrap(), statement);
    }

    #[test]
    fn statements_of_another_kind_are_refused() {
        let json = statement().render().replace("Statement/v1", "Statement/v2");
        let error = Statement::parse(json.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is a 'https://in-toto.io/Statement/v2', not a 'https://in-toto.io/Statement/v1'"
        );
        assert!(matches!(Statement::parse(b"[]"), Err(ProvenanceError::Parse(_))));
    }
}
