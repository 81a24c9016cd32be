//! What differs from another build: its manifest, or the lock that it would be built from.

use std::{cmp::Ordering, collections::BTreeMap, path::Path};

use fs_err as fs;
use xenolith_archive::{DebVersion, lock::Lock};

use super::{
    model::{Change, Changes, How},
    plain_name,
};
use crate::{
    exit::{Class, Classify as _, Failure},
    steps::describe::{
        DOM0,
        manifest::{FileSum, Manifest},
    },
};

/// A version, a sum and a size.
type Part<'a> = (&'a str, &'a str, u64);

/// Compares with the manifest or lock in `path`.
///
/// # Errors
/// [`Class::Input`] when it is neither.
pub fn against(now: &Manifest, path: &Path) -> Result<Changes, Failure> {
    let refuse = || format!("cannot compare with {}", path.display());
    let text = fs::read_to_string(path).class(Class::Input, refuse())?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if text.trim_start().starts_with('{') {
        let before = Manifest::parse(&text).class(Class::Input, refuse())?;
        return Ok(with_manifest(now, &before, &name));
    }
    let lock = Lock::parse(&text)
        .class(Class::Input, refuse())
        .map_err(|failure| failure.hint("give the manifest.json of a build or a xenolith.lock"))?;
    with_lock(now, &lock, &name)
        .ok_or_else(|| Failure::new(Class::Input, format!("{}: it has no group {DOM0}", refuse())))
}

/// Compares two manifests.
pub fn with_manifest(now: &Manifest, before: &Manifest, name: &str) -> Changes {
    let fact = |what: &str, from: &str, to: &str| {
        (from != to).then(|| (what.to_owned(), from.to_owned(), to.to_owned()))
    };
    let facts = [
        fact("Version", &before.identity.version, &now.identity.version),
        fact("Variant", &before.identity.variant, &now.identity.variant),
        fact("Revision", &before.identity.revision, &now.identity.revision),
        fact("Lock", &before.identity.lock, &now.identity.lock),
        fact("Root hash", &before.root.hash.to_string(), &now.root.hash.to_string()),
        fact("Xen", &before.versions.xen, &now.versions.xen),
        fact("Kernel", &before.versions.kernel, &now.versions.kernel),
        fact("Update key", &before.update_key, &now.update_key),
    ];
    let old = packages(before);
    let (changed, same_packages) = compare(&old, &packages(now), by_version);
    let (results, same_results) = compare(&results(before), &results(now), |_, _| How::Rebuilt);
    Changes {
        against: format!("{name} of build {}", before.build_id),
        facts: facts.into_iter().flatten().collect(),
        packages: changed,
        same_packages,
        results: results.into_iter().map(short_sums).collect(),
        same_results,
    }
}

/// Compares with a lock; nothing if it has no packages for dom0.
fn with_lock(now: &Manifest, lock: &Lock, name: &str) -> Option<Changes> {
    let (_, group) = lock.groups.iter().find(|(group, _)| group.as_str() == DOM0)?;
    let texts: Vec<(String, String, String, u64)> = group
        .packages
        .iter()
        .map(|package| {
            let version = package.version.to_string();
            (package.name.to_string(), version, package.sha256.to_string(), package.size.get())
        })
        .collect();
    let old = texts
        .iter()
        .map(|(name, version, sum, size)| (name.clone(), (version.as_str(), sum.as_str(), *size)))
        .collect();
    let (packages, same_packages) = compare(&old, &packages(now), by_version);
    let hash = lock.hash().to_string();
    let mut facts = Vec::new();
    if hash != now.identity.lock {
        facts.push(("Lock".to_owned(), hash.clone(), now.identity.lock.clone()));
    }
    for (_, source) in lock.sources.iter().filter(|(name, _)| name.as_str() == "xen") {
        let version = source.version.to_string();
        if version != now.versions.xen {
            facts.push(("Xen".into(), version, now.versions.xen.clone()));
        }
    }
    let short = hash.chars().take(16).collect::<String>();
    Some(Changes {
        against: format!("{name} {short}"),
        facts,
        packages,
        same_packages,
        results: Vec::new(),
        same_results: 0,
    })
}

fn packages(manifest: &Manifest) -> BTreeMap<String, Part<'_>> {
    let packages = manifest.packages.iter();
    packages.map(|one| (one.name.clone(), (one.version.as_str(), one.sha256.as_str(), one.size))).collect()
}

fn results(manifest: &Manifest) -> BTreeMap<String, Part<'_>> {
    let part = |file: &'_ FileSum| plain_name(&file.name, manifest);
    let files = manifest.files.iter();
    files.map(|file| (part(file), (file.sha256.as_str(), file.sha256.as_str(), file.size))).collect()
}

fn by_version(from: &str, to: &str) -> How {
    let order = match (DebVersion::parse(from), DebVersion::parse(to)) {
        (Ok(from), Ok(to)) => to.cmp(&from),
        (Err(_), _) | (_, Err(_)) => to.cmp(from),
    };
    match order {
        Ordering::Greater => How::Upgraded,
        Ordering::Less => How::Downgraded,
        Ordering::Equal => How::Rebuilt,
    }
}

/// What differs, largest difference in size first, and how many are the same.
fn compare(
    old: &BTreeMap<String, Part<'_>>,
    new: &BTreeMap<String, Part<'_>>,
    how: impl Fn(&str, &str) -> How,
) -> (Vec<Change>, usize) {
    let mut changes = Vec::new();
    let mut same = 0;
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (from, to) = (old.get(name), new.get(name));
        let how = match (from, to) {
            (Some(from), Some(to)) if from.1 == to.1 => {
                same += 1;
                continue;
            }
            (Some(from), Some(to)) => how(from.0, to.0),
            (Some(_), None) => How::Removed,
            (None, _) => How::Added,
        };
        changes.push(Change {
            name: name.clone(),
            how,
            from: from.map(|part| part.0.to_owned()),
            to: to.map(|part| part.0.to_owned()),
            size_from: from.map_or(0, |part| part.2),
            size_to: to.map_or(0, |part| part.2),
        });
    }
    changes.sort_by(|a, b| {
        let delta = |change: &Change| change.size_to.abs_diff(change.size_from);
        delta(b).cmp(&delta(a)).then_with(|| a.name.cmp(&b.name))
    });
    (changes, same)
}

fn short_sums(mut change: Change) -> Change {
    for sum in [&mut change.from, &mut change.to].into_iter().flatten() {
        sum.truncate(16);
    }
    change
}
