//! `provenance.json`: an in-toto statement with a SLSA 1.0 predicate about all results, signed with the update key.
//!
//! The subjects are the files of the manifest and the manifest itself. The dependencies are all that a build reads:
//! the checkout, the lock, each package and source of the lock, the crates' lock.

use xenolith_archive::lock::LockedPackage;
use xenolith_store::{Digest, digest_bytes};
use xenolith_trust::provenance::{
    BuildDefinition, BuilderId, Metadata, Provenance, Resource, RunDetails, Statement, Subject, git_commit,
    sha256,
};

use super::{
    manifest::{self, Manifest},
    purl, sbom,
};
use crate::steps::Plan;

/// Its name in the output folder.
pub const FILE: &str = "provenance.json";
/// Says how parameters and dependencies are to be read.
const BUILD_TYPE: &str = "https://xenolith.example/build/v1";
const BUILDER: &str = "https://xenolith.example/builder";
/// How a checkout with changes that are in no commit is marked.
const DIRTY: &str = "-dirty";

/// The statement about a build.
pub fn statement(plan: &Plan, manifest: &Manifest, manifest_text: &str, cargo_lock: &Digest) -> Statement {
    let mut subjects: Vec<Subject> = manifest
        .files
        .iter()
        .map(|file| Subject { name: file.name.clone(), digest: sha256(&file.sha256) })
        .collect();
    let own = digest_bytes(manifest_text.as_bytes()).to_string();
    subjects.push(Subject { name: manifest::FILE.into(), digest: sha256(own) });
    let identity = &plan.identity;
    let mut parameters = vec![("variant", identity.variant.clone()), ("version", identity.version.clone())];
    let commit = identity.revision.trim_end_matches(DIRTY);
    if commit != identity.revision {
        parameters.push(("uncommittedChanges", "true".into()));
    }
    let mut dependencies = vec![
        Resource { name: "xenolith.lock".into(), uri: None, digest: sha256(&identity.lock) },
        Resource { name: "Cargo.lock".into(), uri: None, digest: sha256(cargo_lock.to_string()) },
    ];
    if commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        dependencies.push(Resource { name: "checkout".into(), uri: None, digest: git_commit(commit) });
    }
    let distro = sbom::distro(plan);
    dependencies.extend(plan.lock.packages().into_keys().map(|package| resource(package, distro.as_deref())));
    for (name, source) in &plan.lock.sources {
        let uri = purl::deb(name.as_str(), &source.version.to_string(), "source", distro.as_deref());
        dependencies.extend(source.files.iter().map(|file| Resource {
            name: file.path.as_str().rsplit('/').next().unwrap_or_default().to_owned(),
            uri: Some(uri.clone()),
            digest: sha256(file.sha256.to_string()),
        }));
    }
    let predicate = Provenance {
        build_definition: BuildDefinition {
            build_type: BUILD_TYPE.into(),
            external_parameters: parameters.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            resolved_dependencies: dependencies,
        },
        run_details: RunDetails {
            builder: BuilderId {
                id: BUILDER.into(),
                version: [("xenolith".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            },
            metadata: Metadata { invocation_id: Some(manifest.build_id.clone()), ..Metadata::default() },
        },
    };
    Statement::new(subjects, predicate)
}

fn resource(package: &LockedPackage, distro: Option<&str>) -> Resource {
    let version = package.version.to_string();
    Resource {
        name: crate::steps::file_name(package),
        uri: Some(purl::deb(package.name.as_str(), &version, package.architecture.as_str(), distro)),
        digest: sha256(package.sha256.to_string()),
    }
}
