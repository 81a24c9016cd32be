//! `manifest.json`: every file of a build with its SHA-256, which image it is, and what it is made of.
//!
//! It is what a person compares two builds by, and what `xenolith report --against` reads. An unknown `format` is
//! refused; within one, keys are added and never change their meaning, and who reads it passes over what it does not
//! know.

use serde::{Deserialize, Serialize};
use xenolith_layout::RootHash;
use xenolith_trust::Fingerprint;

use super::{DOM0, xen_version};
use crate::steps::{
    Plan, file_name,
    image::{Identity, RootFacts},
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Its name in the output folder.
pub const FILE: &str = "manifest.json";
const FORMAT: u32 = 1;

/// A build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file.
    pub format: u32,
    /// Which image.
    pub identity: Identity,
    /// Names the build; in os-release as `BUILD_ID`.
    pub build_id: String,
    /// The root image.
    pub root: Root,
    /// SHA-256 of the update key's public half, which signs the update set and the provenance.
    pub update_key: String,
    /// The parts that people ask for first.
    pub versions: Versions,
    /// Every result, by name.
    pub files: Vec<FileSum>,
    /// dom0's packages, by name.
    pub packages: Vec<PackageSum>,
}

/// What is known of the root image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The top of its verity tree.
    pub hash: RootHash,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of the verity tree.
    pub verity_size: u64,
}

/// Versions of the parts that a host is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of Xen's source package.
    pub xen: String,
    /// Of dom0's kernel.
    pub kernel: String,
}

/// A file of the output folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name, relative to the output folder.
    pub name: String,
    /// Its length in bytes, holes included.
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

/// A package of dom0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageSum {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it was built for.
    pub architecture: String,
    /// The length of the .deb.
    pub size: u64,
    /// The SHA-256 of the .deb.
    pub sha256: String,
    /// The .deb's file name.
    pub file: String,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not JSON of this shape.
    #[error("it is not the manifest of a build")]
    Parse(#[source] serde_json::Error),
    /// A format that this builder does not know.
    #[error("it has format {0}, and this builder knows {FORMAT}")]
    Format(u64),
}

impl Manifest {
    /// Puts it together.
    ///
    /// # Errors
    /// When the lock lacks dom0's packages or the Xen source.
    pub fn new(
        plan: &Plan,
        facts: &RootFacts,
        update_key: &Fingerprint,
        files: Vec<FileSum>,
    ) -> Result<Self, Failed> {
        let package = |package: &xenolith_archive::lock::LockedPackage| PackageSum {
            name: package.name.to_string(),
            version: package.version.to_string(),
            architecture: package.architecture.to_string(),
            size: package.size.get(),
            sha256: package.sha256.to_string(),
            file: file_name(package),
        };
        Ok(Self {
            format: FORMAT,
            identity: plan.identity.clone(),
            build_id: facts.build_id.clone(),
            root: Root { hash: facts.root_hash, size: facts.size, verity_size: facts.verity_size },
            update_key: update_key.to_string(),
            versions: Versions { xen: xen_version(plan)?.to_string(), kernel: facts.kernel.clone() },
            files,
            packages: crate::steps::packages(plan, DOM0)?.iter().map(package).collect(),
        })
    }

    /// Indented JSON with a line end; the same build gives the same bytes.
    pub fn render(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is strings and numbers");
        text.push('\n');
        text
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`BadManifest`]; the format is looked at before anything else.
    pub fn parse(text: &str) -> Result<Self, BadManifest> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(BadManifest::Parse)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => Err(BadManifest::Format(format)),
            Some(_) | None => serde_json::from_value(value).map_err(BadManifest::Parse),
        }
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> Option<&FileSum> {
        self.files.iter().find(|file| file.name == name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small manifest.
    pub(crate) fn sample() -> Manifest {
        let sum = |digit: &str| digit.repeat(64);
        Manifest {
            format: FORMAT,
            identity: Identity {
                id: "xenolith".into(),
                name: "Xenolith".into(),
                version: "0.1.0".into(),
                variant: "default".into(),
                revision: "1".repeat(40),
                lock: sum("2"),
            },
            build_id: "0123456789abcdef".into(),
            root: Root { hash: sum("3").parse().unwrap(), size: 200_000_000, verity_size: 1_000_000 },
            update_key: sum("4"),
            versions: Versions { xen: "4.20.0-1".into(), kernel: "6.12.1-amd64".into() },
            files: vec![FileSum { name: "xenolith-0.1.0.iso".into(), size: 250_000_000, sha256: sum("5") }],
            packages: vec![PackageSum {
                name: "bash".into(),
                version: "5.2.37-2".into(),
                architecture: "amd64".into(),
                size: 1_500_000,
                sha256: sum("6"),
                file: "bash_5.2.37-2_amd64.deb".into(),
            }],
        }
    }

    #[test]
    fn a_manifest_survives_the_round_trip() {
        assert_eq!(Manifest::parse(&sample().render()).unwrap(), sample());
    }

    #[test]
    fn a_manifest_with_more_than_we_know_is_read_and_another_format_is_refused() {
        let mut value = serde_json::to_value(sample()).unwrap();
        value["new"] = "key".into();
        assert_eq!(Manifest::parse(&value.to_string()).unwrap(), sample());
        value["format"] = 2.into();
        let error = Manifest::parse(&value.to_string()).unwrap_err();
        assert_eq!(error.to_string(), "it has format 2, and this builder knows 1");
        assert!(matches!(Manifest::parse("{}"), Err(BadManifest::Parse(_))));
    }
}
