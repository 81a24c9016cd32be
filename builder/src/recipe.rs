//! The recipe: `image/image.toml`, and the package lists of the folders that own them.
//!
//! The types are the manual: an unknown key is an error, sizes carry a suffix, and what is not said has no
//! hidden default beyond the ones written here. What a type cannot say is checked right after reading
//! ([`Document::problems`]), all of it at once, so that nothing is compiled for a recipe that cannot end well.

mod check;

use std::{collections::BTreeMap, fmt, path::Path};

use fs_err as fs;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::exit::{Class, Failure};

/// `image/image.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is called.
    pub image: Image,
    /// Named differences from the rest of the recipe.
    pub variant: BTreeMap<String, Variant>,
    /// What a build must stay under.
    pub budget: Budget,
    /// How the root image is made.
    pub root: Root,
    /// What is embedded in the boot file.
    pub boot: Boot,
    /// Package groups that are not part of dom0.
    pub group: BTreeMap<String, Group>,
}

/// Names and numbers of the image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `ID` and `IMAGE_ID` of os-release.
    pub id: String,
    /// For people.
    pub name: String,
    /// The version of the image.
    pub version: String,
    /// Boots that a new version gets before the loader goes back.
    pub tries: u8,
}

/// What a variant changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Appended to the hypervisor's options.
    #[serde(default)]
    pub xen: String,
    /// Appended to dom0's command line.
    #[serde(default)]
    pub dom0: String,
}

/// Upper limits; a build over one fails and lists the largest packages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The root image.
    pub root: Size,
    /// The ISO.
    pub iso: Size,
}

/// How `mkfs.erofs` is called.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The `-z` argument.
    pub compression: String,
    /// The size of a compression cluster.
    pub cluster: Size,
}

/// The embedded `.config`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The hypervisor's options.
    pub xen: String,
    /// dom0's command line, before what the builder adds.
    pub dom0: String,
}

/// Packages that belong together in one tree.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Whether packages marked essential come along.
    #[serde(default)]
    pub essential: bool,
    /// Names, `name@suite` where one suite is wanted.
    pub packages: Vec<String>,
    /// Depended on, but not wanted.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A package list with a reason for each: `dom0-rootfs/packages.toml`, `hypervisor-src/packages.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PackageList {
    /// The packages.
    pub package: Vec<ListedPackage>,
    /// Depended on, but not wanted.
    #[serde(default)]
    pub exclude: Vec<ListedPackage>,
}

/// One line of a [`PackageList`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub why: String,
    /// The suite it must come from.
    #[serde(default)]
    pub suite: Option<String>,
}

/// A number of bytes, written with a suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = text[..digits].parse().ok()?;
        let unit: u64 = match text[digits..].trim() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        number.checked_mul(unit).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"400 MB\" or \"2 GiB\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| {
                    E::custom(format!(
                        "{text:?} is not a size; write a whole number and B, kB, KiB, MB, MiB, GB or GiB"
                    ))
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{} B", self.0))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", indicatif::DecimalBytes(self.0))
    }
}

/// A file that a person writes and the builder reads.
pub trait Document: DeserializeOwned {
    /// The number that its `format` must have, for a file that says its format.
    const FORMAT: Option<u32> = None;

    /// What is wrong with it although its types are right.
    fn problems(&self) -> Vec<Problem>;
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Problem {
    /// The key, as a path through the file: `image.tries`.
    pub key: String,
    /// What is wrong with its value, and what would be right.
    pub what: String,
}

impl Problem {
    /// A problem at a key.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no TOML, or has other keys and types than ours; with the line.
    #[error("{}", .0.to_string().trim_end())]
    Form(Box<toml::de::Error>),
    /// It was written for another builder.
    #[error("it has format {found}, and this builder reads format {known}")]
    Format {
        /// The format that it says.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Its keys and types are right and its values are not: one line for each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Meaning(Vec<Problem>),
}

impl Refusal {
    /// The class that a command ends with.
    pub fn class(&self) -> Class {
        match self {
            Self::Form(_) | Self::Meaning(_) => Class::Input,
            Self::Format { .. } => Class::Unsupported,
        }
    }
}

/// Reads a document from a file.
///
/// # Errors
/// [`Class::Input`] with the file's name and the line or keys; [`Class::Unsupported`] for another format.
pub fn read_toml<T: Document>(path: &Path) -> Result<T, Failure> {
    let what = format!("cannot use {}", path.display());
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|refusal| Failure::new(refusal.class(), what).because(refusal)),
        Err(error) => Err(Failure::new(Class::Input, what).because(error)),
    }
}

/// Reads a document from its text.
///
/// # Errors
/// [`Refusal`]; another format is refused before anything else is looked at.
pub fn parse<T: Document>(text: &str) -> Result<T, Refusal> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let form = |error| Refusal::Form(Box::new(error));
    if let Some(known) = T::FORMAT {
        let Header { format: found } = toml::from_str(text).map_err(form)?;
        if found != known {
            return Err(Refusal::Format { found, known });
        }
    }
    let document: T = toml::from_str(text).map_err(form)?;
    let problems = document.problems();
    if problems.is_empty() { Ok(document) } else { Err(Refusal::Meaning(problems)) }
}

#[cfg(test)]
mod tests;
