//! Which crates are in the programs of the image, as cargo itself sees it.
//!
//! Two questions to the cargo that compiles them: `metadata` knows licences and edges, but takes every feature that
//! any member of the workspace asks for; `tree` knows what is really compiled for the image. What both name counts.

use std::collections::{BTreeMap, BTreeSet};

use fs_err as fs;
use serde::Deserialize;
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::StepContext;

use crate::steps::crates;

type Failed = Box<dyn std::error::Error + Send + Sync>;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A crate of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, if the crate's manifest has one.
    pub license: Option<String>,
    /// SHA-256 of the archive on crates.io; none for our own.
    pub checksum: Option<String>,
    /// Whether its code is in a program, or only ran while it was compiled (build scripts, procedural macros).
    pub linked: bool,
    /// The crates that it uses, by name and version.
    pub uses: BTreeSet<(String, String)>,
}

/// Asks cargo in the build tree.
///
/// # Errors
/// When cargo fails, or says what this module does not understand.
pub fn read(context: &StepContext) -> Result<Vec<Crate>, Failed> {
    let sandbox = Sandbox::new(context.input("build-tree"))
        .bind_ro(context.input("source"), "/build/work")
        .cwd("/build/work")
        .env("CARGO_HOME", "/tmp/cargo")
        .env("CARGO_TARGET_DIR", "/tmp/target");
    let cargo = |args: &[&str]| sandbox.read(Tool::Cargo, args.iter().copied(), context.log());
    let (programs, features) = (crates::names(), crates::features());
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--locked",
        "--filter-platform",
        TARGET,
        "--features",
        &features,
    ])?;
    let mut args = vec!["tree", "--offline", "--locked", "--target", TARGET, "--features", &features];
    args.extend(["--edges=normal,build", "--prefix=none", "--format={p}"]);
    args.extend(programs.iter().flat_map(|program| ["--package", program]));
    let tree = String::from_utf8(cargo(&args)?)?;
    let lock = fs::read_to_string(context.input("source").join("Cargo.lock"))?;
    closure(&metadata, &tree, &lock, &programs)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None`: a normal dependency; else `build` or `dev`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct CargoLock {
    package: Vec<LockedCrate>,
}

#[derive(Deserialize)]
struct LockedCrate {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates that `programs` are made of, sorted.
///
/// # Errors
/// When one of the three texts is not what cargo writes, or a program is not among the packages.
pub fn closure(metadata: &[u8], tree: &str, lock: &str, programs: &[&str]) -> Result<Vec<Crate>, Failed> {
    let metadata: Metadata = serde_json::from_slice(metadata)?;
    let lock: CargoLock = toml::from_str(lock)?;
    let checksums: BTreeMap<(String, String), Option<String>> =
        lock.package.into_iter().map(|locked| ((locked.name, locked.version), locked.checksum)).collect();
    let compiled = compiled(tree);
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_macro = |package: &Package| {
        package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    };
    // What is both linked and used by a build script counts as linked, so linked crates are walked first.
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    let mut open: Vec<(&str, bool)> = Vec::new();
    for program in programs {
        let package = metadata.packages.iter().find(|package| package.name == *program);
        open.push((&package.ok_or_else(|| format!("cargo does not know {program}"))?.id, true));
    }
    let mut built = Vec::new();
    while let Some((id, linked)) = open.pop().or_else(|| built.pop()) {
        let package = packages.get(id).ok_or("cargo names a crate that it does not describe")?;
        let named = (package.name.clone(), package.version.clone());
        let linked = linked && !is_macro(package);
        if !compiled.contains(&named) || found.contains_key(id) {
            continue;
        }
        if !linked && !open.is_empty() {
            built.push((id, false));
            continue;
        }
        found.insert(id, linked);
        for (dependency, normal) in dependencies(nodes.get(id).copied()) {
            if normal && linked {
                open.push((dependency, true));
            } else {
                built.push((dependency, false));
            }
        }
    }
    let name_of = |id: &str| packages.get(id).map(|package| (package.name.clone(), package.version.clone()));
    let mut crates: Vec<Crate> = found
        .iter()
        .map(|(id, linked)| {
            let package = packages[id];
            let uses = dependencies(nodes.get(id).copied()).filter(|(id, _)| found.contains_key(id));
            let key = (package.name.clone(), package.version.clone());
            Crate {
                license: package.license.clone(),
                checksum: checksums.get(&key).cloned().flatten(),
                linked: *linked,
                uses: uses.filter_map(|(id, _)| name_of(id)).collect(),
                name: key.0,
                version: key.1,
            }
        })
        .collect();
    crates.sort();
    Ok(crates)
}

/// What a crate uses, and whether in its own code; what only its tests use is left out.
fn dependencies(node: Option<&Node>) -> impl Iterator<Item = (&str, bool)> {
    node.into_iter().flat_map(|node| &node.deps).filter_map(|dependency| {
        let normal = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let build = dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() == Some("build"));
        (normal || build).then_some((dependency.pkg.as_str(), normal))
    })
}

/// Lines of `name v1.2.3 …`.
fn compiled(tree: &str) -> BTreeSet<(String, String)> {
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    };
    tree.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// program → serde → derive (macro) → syn; program builds with cc → syn; serde-with-extra is asked for by a
    /// member that is not in the image.
    fn metadata() -> String {
        let package = |name: &str, kind: &str| {
            serde_json::json!({
                "id": format!("id+{name}"), "name": name, "version": "1.0.0", "license": "MIT",
                "targets": [{ "kind": [kind] }],
            })
        };
        let uses = |name: &str, kind: Option<&str>| serde_json::json!({ "pkg": format!("id+{name}"), "dep_kinds": [{ "kind": kind }] });
        let node = |name: &str, deps: Vec<serde_json::Value>| serde_json::json!({ "id": format!("id+{name}"), "deps": deps });
        serde_json::json!({
            "packages": [
                package("program", "bin"), package("serde", "lib"), package("derive", "proc-macro"),
                package("syn", "lib"), package("cc", "lib"), package("libc", "lib"), package("insta", "lib"),
                package("extra", "lib"),
            ],
            "resolve": { "nodes": [
                node("program", vec![uses("serde", None), uses("cc", Some("build")), uses("insta", Some("dev"))]),
                node("serde", vec![uses("derive", None), uses("libc", None), uses("extra", None)]),
                node("derive", vec![uses("syn", None)]),
                node("cc", vec![uses("syn", None), uses("libc", None)]),
                node("syn", vec![]), node("libc", vec![]), node("insta", vec![]), node("extra", vec![]),
            ] },
        })
        .to_string()
    }

    const TREE: &str = "program v1.0.0 (/build/work)\nserde v1.0.0\nderive v1.0.0 (proc-macro)\nsyn v1.0.0\n\
        cc v1.0.0\nlibc v1.0.0\ninsta v1.0.0\n\nserde v1.0.0 (*)\n";
    const LOCK: &str = "version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n\
        [[package]]\nname = \"program\"\nversion = \"1.0.0\"\n";

    #[test]
    fn linked_crates_are_told_from_those_that_only_ran_while_compiling() {
        let found = closure(metadata().as_bytes(), TREE, LOCK, &["program"]).unwrap();
        let names = |linked| {
            found.iter().filter(|one| one.linked == linked).map(|one| one.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["libc", "program", "serde"]);
        assert_eq!(names(false), ["cc", "derive", "syn"]);
        assert_eq!(found.iter().find(|one| one.name == "serde").unwrap().checksum.as_deref(), Some("abc"));
    }

    #[test]
    fn tests_and_features_that_the_image_does_not_use_are_left_out() {
        let found = closure(metadata().as_bytes(), TREE, LOCK, &["program"]).unwrap();
        assert!(found.iter().all(|one| one.name != "insta" && one.name != "extra"));
        let serde = found.iter().find(|one| one.name == "serde").unwrap();
        assert_eq!(serde.uses.iter().map(|used| used.0.as_str()).collect::<Vec<_>>(), ["derive", "libc"]);
    }

    #[test]
    fn a_program_that_cargo_does_not_know_is_an_error() {
        let error = closure(metadata().as_bytes(), TREE, LOCK, &["other"]).unwrap_err();
        assert!(error.to_string().contains("other"));
    }
}
