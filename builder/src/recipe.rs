//! The recipe: `image/image.toml`, and the package lists of the folders that own them.
//!
//! The types are the manual: an unknown key is an error, sizes carry a suffix, and what is not said has no
//! hidden default beyond the ones written here.

use std::{collections::BTreeMap, fmt, path::Path};

use fs_err as fs;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::exit::{Class, Failure};

/// `image/image.toml`.
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `ID` and `IMAGE_ID` of os-release, and the first part of file names.
    pub id: String,
    /// For people.
    pub name: String,
    /// The version of the image.
    pub version: String,
    /// Boots that a new version gets before the loader goes back.
    pub tries: u8,
}

/// What a variant changes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
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
#[derive(Clone, Debug, Deserialize)]
pub struct PackageList {
    /// The packages.
    pub package: Vec<ListedPackage>,
    /// Depended on, but not wanted.
    #[serde(default)]
    pub exclude: Vec<ListedPackage>,
}

/// One line of a [`PackageList`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[allow(dead_code, reason = "read by people")]
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
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not a size; write a whole number and B, kB, KiB, MB, MiB, GB or GiB"
            ))
        })
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

/// Reads a TOML file into a type, with the line in the error.
///
/// # Errors
/// [`Class::Input`] with the file's name; the parser's message shows the line.
pub fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let refuse = || Failure::new(Class::Input, format!("cannot use {}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refuse().because(error))?;
    toml::from_str(&text).map_err(|error| refuse().because(anyhow::anyhow!("{error}")))
}

/// Parses a recipe's text.
///
/// # Errors
/// The parser's message, with the line.
#[cfg(test)]
fn parse(text: &str) -> Result<Recipe, toml::de::Error> {
    toml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures(kind: &str) -> Vec<std::path::PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipe").join(kind);
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        files.sort();
        assert!(!files.is_empty());
        files
    }

    #[test]
    fn the_recipe_of_this_checkout_is_accepted() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/image.toml");
        let recipe: Recipe = read_toml(&path).unwrap();
        assert!(recipe.variant.contains_key("default"));
    }

    #[test]
    fn a_recipe_that_must_be_refused_is_refused_with_its_exact_words() {
        for file in fixtures("reject") {
            let error = parse(&fs::read_to_string(&file).unwrap()).unwrap_err().to_string();
            let expected = fs::read_to_string(file.with_extension("err")).unwrap_or_default();
            assert_eq!(error.trim(), expected.trim(), "{}", file.display());
        }
    }

    #[test]
    fn sizes_need_a_known_suffix_and_do_not_overflow() {
        assert_eq!(Size::parse("2 GiB"), Some(Size(2 << 30)));
        assert_eq!(Size::parse("400 MB"), Some(Size(400_000_000)));
        assert_eq!(Size::parse("400"), None);
        assert_eq!(Size::parse("-1 B"), None);
        assert_eq!(Size::parse("99999999999999999999 B"), None);
        assert_eq!(Size::parse("18446744073709551615 GiB"), None);
    }
}
