//! SPDX 2.3 documents as JSON: the part of the format that a build needs, and the rules that a document must keep.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What SPDX says for "not known".
pub const NOASSERTION: &str = "NOASSERTION";
/// The identifier of the document itself.
pub const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const NAMESPACE: &str = "https://spdx.org/spdxdocs/";

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    spdx_version: String,
    data_license: String,
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    /// What it describes.
    pub packages: Vec<Package>,
    /// How these belong together.
    pub relationships: Vec<Relationship>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

/// A package, source or program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Its identifier in the document.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version_info: String,
    /// What it is, of SPDX's list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<String>,
    /// The file that it comes as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_file_name: Option<String>,
    /// Who distributes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// Where to get it. Never a mirror.
    pub download_location: String,
    /// Whether the document lists its files; ours never do.
    pub files_analyzed: bool,
    /// Where people read about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// The sums of `package_file_name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// The licence that we find it to be under.
    pub license_concluded: String,
    /// The licence that its authors say.
    pub license_declared: String,
    /// Whose it is.
    pub copyright_text: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its names elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
}

/// A sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    algorithm: String,
    checksum_value: String,
}

/// A name in another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    reference_category: String,
    reference_type: String,
    /// The name.
    pub reference_locator: String,
}

/// That two elements belong together, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// One.
    pub spdx_element_id: String,
    /// Is to the other.
    pub relationship_type: Relation,
    /// The other.
    pub related_spdx_element: String,
}

/// The relationships that we use (SPDX 2.3 §11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Relation {
    /// The document is about it.
    Describes,
    /// It is inside.
    Contains,
    /// It was made of this source.
    GeneratedFrom,
    /// It was needed while the other was made, and is not in it.
    BuildDependencyOf,
    /// It needs the other to run.
    DependsOn,
    /// The other is linked into it.
    StaticLink,
    /// It changes the other.
    PatchFor,
}

impl Package {
    /// A package of which nothing is known but its name and version.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let unknown = || NOASSERTION.to_owned();
        Self {
            name: name.into(),
            version_info: version.into(),
            download_location: unknown(),
            license_concluded: unknown(),
            license_declared: unknown(),
            copyright_text: unknown(),
            ..Self::default()
        }
    }

    /// Says what it is: `LIBRARY`, `SOURCE`, …
    #[must_use]
    pub fn purpose(mut self, purpose: &str) -> Self {
        self.primary_package_purpose = Some(purpose.into());
        self
    }

    /// Adds its package URL.
    #[must_use]
    pub fn purl(mut self, purl: String) -> Self {
        self.external_refs.push(ExternalRef {
            reference_category: "PACKAGE-MANAGER".into(),
            reference_type: "purl".into(),
            reference_locator: purl,
        });
        self
    }

    /// Names the file that it comes as, with its SHA-256 in hex.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, sha256: impl Into<String>) -> Self {
        self.package_file_name = Some(name.into());
        self.sha256(sha256)
    }

    /// Adds the SHA-256, in hex, of the file that it comes as.
    #[must_use]
    pub fn sha256(mut self, sha256: impl Into<String>) -> Self {
        self.checksums.push(Checksum { algorithm: "SHA256".into(), checksum_value: sha256.into() });
        self
    }

    /// Says what its authors put it under. Cargo's old `MIT/Apache-2.0` becomes an SPDX expression.
    #[must_use]
    pub fn license(mut self, expression: Option<&str>) -> Self {
        if let Some(expression) = expression.filter(|expression| is_expression(&expression.replace('/', " ")))
        {
            self.license_declared = expression.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ");
        }
        self
    }
}

/// Whether a text has nothing but what licence expressions are made of.
fn is_expression(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().all(|sign| sign.is_ascii_alphanumeric() || "-.+() ".contains(sign))
}

/// Collects packages under identifiers that are unique and valid.
#[derive(Debug, Default)]
pub struct Elements {
    packages: Vec<Package>,
    relationships: BTreeSet<Relationship>,
    taken: BTreeSet<String>,
}

impl Elements {
    /// Adds a package and returns the identifier that it got: `wish`, with a number if that is taken.
    pub fn add(&mut self, wish: &str, mut package: Package) -> String {
        let valid = |sign: char| if sign.is_ascii_alphanumeric() || ".-".contains(sign) { sign } else { '-' };
        let base: String = wish.chars().map(valid).collect();
        let mut id = format!("SPDXRef-{base}");
        let mut number = 2;
        while !self.taken.insert(id.clone()) {
            id = format!("SPDXRef-{base}-{number}");
            number += 1;
        }
        package.id.clone_from(&id);
        self.packages.push(package);
        id
    }

    /// Says how two elements belong together.
    pub fn relate(&mut self, one: &str, relation: Relation, other: &str) {
        self.relationships.insert(Relationship {
            spdx_element_id: one.into(),
            relationship_type: relation,
            related_spdx_element: other.into(),
        });
    }

    /// The document about `described`. Its namespace is unique because it holds the hash of all the rest.
    pub fn into_document(mut self, name: &str, described: &str, created: &str) -> Document {
        self.relate(DOCUMENT, Relation::Describes, described);
        let mut document = Document {
            spdx_version: "SPDX-2.3".into(),
            data_license: "CC0-1.0".into(),
            id: DOCUMENT.into(),
            name: name.into(),
            document_namespace: String::new(),
            creation_info: CreationInfo {
                created: created.into(),
                creators: vec![format!("Tool: xenolith-{}", env!("CARGO_PKG_VERSION"))],
            },
            packages: self.packages,
            relationships: self.relationships.into_iter().collect(),
        };
        let hash = hex::encode(Sha256::digest(document.render()));
        document.document_namespace = format!("{NAMESPACE}{name}-{hash}");
        document
    }
}

impl Document {
    /// Indented JSON with a line end.
    pub fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a document is strings and lists");
        text.push('\n');
        text
    }

    /// The first rule of SPDX that the document breaks.
    ///
    /// # Errors
    /// Says which.
    pub fn check(&self) -> Result<(), String> {
        let mut ids = BTreeMap::from([(self.id.as_str(), 1_usize)]);
        for package in &self.packages {
            *ids.entry(&package.id).or_default() += 1;
            let valid = package.id.strip_prefix("SPDXRef-").is_some_and(|rest| {
                !rest.is_empty()
                    && rest.chars().all(|sign| sign.is_ascii_alphanumeric() || ".-".contains(sign))
            });
            let filled = [&package.name, &package.download_location, &package.license_declared];
            if !valid || filled.iter().any(|text| text.is_empty()) {
                return Err(format!("package {:?} is not valid", package.id));
            }
            if let Some(bad) = package.checksums.iter().find(|sum| sum.checksum_value.len() != 64) {
                return Err(format!("{}: {:?} is no SHA-256", package.id, bad.checksum_value));
            }
        }
        if let Some((twice, _)) = ids.iter().find(|(_, count)| **count > 1) {
            return Err(format!("{twice} is there twice"));
        }
        for relationship in &self.relationships {
            for end in [&relationship.spdx_element_id, &relationship.related_spdx_element] {
                if !ids.contains_key(end.as_str()) {
                    return Err(format!("a relationship names {end}, which is not there"));
                }
            }
        }
        let describes = |relation: &&Relationship| relation.relationship_type == Relation::Describes;
        match self.relationships.iter().filter(describes).count() {
            0 => Err("it describes nothing".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_make_the_same_identifier_get_different_ones() {
        let mut elements = Elements::default();
        let ids = ["deb-a+b", "deb-a_b", "deb-a-b"].map(|wish| elements.add(wish, Package::new("a", "1")));
        assert_eq!(ids, ["SPDXRef-deb-a-b", "SPDXRef-deb-a-b-2", "SPDXRef-deb-a-b-3"]);
        elements.into_document("x", &ids[0], "2026-01-01T00:00:00Z").check().unwrap();
    }

    #[test]
    fn a_relationship_to_nowhere_is_found() {
        let mut elements = Elements::default();
        let id = elements.add("a", Package::new("a", "1"));
        elements.relate(&id, Relation::Contains, "SPDXRef-b");
        let error = elements.into_document("x", &id, "2026-01-01T00:00:00Z").check().unwrap_err();
        assert!(error.contains("SPDXRef-b"), "{error}");
    }

    #[test]
    fn the_namespace_follows_from_the_content() {
        let document = |version: &str| {
            let mut elements = Elements::default();
            let id = elements.add("a", Package::new("a", version));
            elements.into_document("x", &id, "2026-01-01T00:00:00Z").document_namespace
        };
        assert_eq!(document("1"), document("1"));
        assert_ne!(document("1"), document("2"));
    }

    #[test]
    fn licences_become_expressions_or_stay_unknown() {
        let declared = |text| Package::new("a", "1").license(text).license_declared;
        assert_eq!(declared(Some("MIT/Apache-2.0")), "MIT OR Apache-2.0");
        assert_eq!(
            declared(Some("MIT OR (Apache-2.0 WITH LLVM-exception)")),
            "MIT OR (Apache-2.0 WITH LLVM-exception)"
        );
        assert_eq!(declared(Some("see <file>")), NOASSERTION);
        assert_eq!(declared(None), NOASSERTION);
    }
}
