//! What each package of dom0 is and which paths it brings, read out of the .debs.
//!
//! The image has no package database, so this is where "whose file is this?" is answered. It depends on the lock alone
//! and is made once for each lock.

use std::{
    collections::BTreeMap,
    io::BufReader,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use xenolith_archive::unpack::{ListedKind, control_fields, file_list};
use xenolith_store::{StepContext, Unit};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The file in the step's output.
const FILE: &str = "packages.json";
/// Folders that are links to their namesakes below usr/ in every tree.
const MERGED: &[&str] = &["bin/", "sbin/", "lib/", "lib64/"];

/// A package, as its own control file and archive say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageFiles {
    /// Its name.
    pub name: String,
    /// The source package that it was built from.
    pub source: String,
    /// That one's version.
    pub source_version: String,
    /// Where it comes from, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Who maintains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer: Option<String>,
    /// The paths of its files and links, with merged /usr, sorted.
    pub files: Vec<String>,
}

/// Reads every package of `names` and writes the list.
///
/// # Errors
/// When a package cannot be read.
pub fn write(context: &StepContext, names: &[String]) -> Result<(), Failed> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let read = Mutex::new(Vec::new());
    let work = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let package = package(context.input(&format!("deb/{name}")));
            let failed = package.is_err();
            read.lock().unwrap_or_else(PoisonError::into_inner).push(package);
            if failed || context.cancelled() {
                break;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            context.progress(done as u64, names.len() as u64, Unit::Packages);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..context.jobs().max(1) {
            scope.spawn(work);
        }
    });
    let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut packages = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    if packages.len() < names.len() {
        return Err("interrupted".into());
    }
    packages.sort();
    fs::write(context.out().join(FILE), serde_json::to_vec(&packages)?)?;
    Ok(())
}

/// What [`write`] left in `folder`.
///
/// # Errors
/// When the file is not there or not its own.
pub fn read(folder: &Path) -> Result<Vec<PackageFiles>, Failed> {
    Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
}

fn package(deb: &Path) -> Result<PackageFiles, Failed> {
    let fields = control_fields(BufReader::new(fs::File::open(deb)?))?;
    let mut files: Vec<String> = file_list(BufReader::new(fs::File::open(deb)?))?
        .into_iter()
        .filter(|member| !matches!(member.kind, ListedKind::Directory))
        .map(|member| merged(&member.path.as_path().to_string_lossy()))
        .collect();
    files.sort();
    let field = |name: &str| fields.get(name).cloned();
    let name = field("Package").ok_or("a package does not say its name")?;
    let version = field("Version").ok_or_else(|| format!("package {name} does not say its version"))?;
    let (source, source_version) = source(fields.get("Source").map(String::as_str), &name, &version);
    Ok(PackageFiles {
        name,
        source,
        source_version,
        homepage: field("Homepage"),
        maintainer: field("Maintainer"),
        files,
    })
}

/// The `Source` field: absent if name and version are the package's own, with a version only if that differs.
fn source(field: Option<&str>, name: &str, version: &str) -> (String, String) {
    let Some(field) = field else { return (name.to_owned(), version.to_owned()) };
    match field.split_once('(') {
        Some((source, of)) => (source.trim().to_owned(), of.trim_end_matches([')', ' ']).to_owned()),
        None => (field.trim().to_owned(), version.to_owned()),
    }
}

/// The path in a tree with merged /usr.
fn merged(path: &str) -> String {
    if MERGED.iter().any(|folder| path.starts_with(folder)) { format!("usr/{path}") } else { path.to_owned() }
}

/// Whose a path is; of two packages that bring it, the first by name.
pub fn owners(packages: &[PackageFiles]) -> BTreeMap<&str, &str> {
    let mut owners = BTreeMap::new();
    for package in packages {
        for file in &package.files {
            owners.entry(file.as_str()).or_insert(package.name.as_str());
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_field_may_be_absent_or_carry_a_version() {
        let pair = |source: (String, String)| format!("{} {}", source.0, source.1);
        assert_eq!(pair(source(None, "acl", "2.3-2")), "acl 2.3-2");
        assert_eq!(pair(source(Some("xen"), "libxen", "4.20-1")), "xen 4.20-1");
        assert_eq!(pair(source(Some("bash (5.2-2)"), "bash", "5.2-2+b10")), "bash 5.2-2");
    }

    #[test]
    fn paths_are_those_of_a_tree_with_merged_usr() {
        assert_eq!(merged("lib/x86_64-linux-gnu/libc.so.6"), "usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(merged("libfoo/x"), "libfoo/x");
        assert_eq!(merged("usr/bin/ls"), "usr/bin/ls");
    }
}
