//! The bill of materials: every Debian package, every crate and the Xen source, and what became of each.
//!
//! ```text
//!   image ── CONTAINS ──▶ deb ── GENERATED_FROM ──▶ its source package
//!     │  ◀─ BUILD_DEPENDENCY_OF ── deb of which the image has no file (dpkg, perl, …)
//!     ├─ CONTAINS ──▶ Xen ── GENERATED_FROM ──▶ tarballs ◀── PATCH_FOR ── our patches
//!     ├─ CONTAINS ──▶ program ── DEPENDS_ON ──▶ crate ── DEPENDS_ON ──▶ crate …
//!     │                 └─ STATIC_LINK ──▶ Rust's standard library      macros: BUILD_DEPENDENCY_OF
//!     └─ CONTAINS ──▶ the loader on the EFI system partition
//! ```
//! A package counts as contained if the image has a file of its: a scanner that reads this does not report what is
//! not there. Licences of Debian packages are not machine-readable in general and stay NOASSERTION.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fs_err as fs;
use xenolith_archive::{
    date::Timestamp,
    lock::{LockedPackage, LockedSource},
};
use xenolith_store::Digest;

use super::{
    DOM0,
    crates::Crate,
    find,
    packages::PackageFiles,
    purl,
    spdx::{Document, Elements, Package, Relation},
};
use crate::steps::{
    Plan,
    crates::PROGRAMS,
    file_name,
    image::{FileEntry, Identity, RootFacts},
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The layer of `files.json` that packages make.
const PACKAGES_LAYER: &str = "packages";
/// The loader's package: of the tools, yet its program is on every medium.
const LOADER: &str = "systemd-boot-efi";
/// What rustc links into every program.
const RUST_STD: &str = "libstd-rust-dev";

/// What the lock says about the image.
#[derive(Clone, Debug)]
pub struct Locked {
    dom0: Vec<LockedPackage>,
    loader: Option<LockedPackage>,
    rust_std: Option<LockedPackage>,
    xen: (String, LockedSource),
    distro: Option<String>,
}

impl Locked {
    /// Picks it out of the lock.
    ///
    /// # Errors
    /// When the lock lacks a group or the Xen source.
    pub fn of(plan: &Plan) -> Result<Self, Failed> {
        let xen = plan.lock.sources.iter().find(|(name, _)| name.as_str() == plan.compile.package());
        let (name, source) = xen.ok_or("xenolith.lock lacks the Xen source; run `xenolith lock`")?;
        Ok(Self {
            dom0: crate::steps::packages(plan, DOM0)?.to_vec(),
            loader: find(plan, "tools", LOADER).cloned(),
            rust_std: find(plan, "build", RUST_STD).cloned(),
            xen: (name.to_string(), source.clone()),
            distro: distro(plan),
        })
    }
}

/// The release's code name: the suite that the others are updates of.
pub fn distro(plan: &Plan) -> Option<String> {
    plan.lock.suites.keys().map(ToString::to_string).find(|suite| !suite.contains('-'))
}

/// A patch of ours: its file name and SHA-256.
pub type PatchFile = (String, Digest);

/// The patches of a series folder.
///
/// # Errors
/// When one cannot be read.
pub fn read_patches(folder: &Path) -> Result<Vec<PatchFile>, Failed> {
    let mut patches = Vec::new();
    for line in fs::read_to_string(folder.join("series"))?.lines() {
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            patches.push((name.to_owned(), xenolith_store::digest_file(&folder.join(name))?));
        }
    }
    Ok(patches)
}

/// All that the document is made from.
pub struct Content<'a> {
    /// Which image.
    pub identity: &'a Identity,
    /// The lock's part.
    pub locked: &'a Locked,
    /// What the packages say of themselves.
    pub files: &'a [PackageFiles],
    /// The files of the image.
    pub image: &'a [FileEntry],
    /// What is known of the root image.
    pub facts: &'a RootFacts,
    /// Its sum.
    pub root_image: Digest,
    /// The crates in its programs.
    pub crates: &'a [Crate],
    /// Our patches to Xen.
    pub patches: &'a [PatchFile],
}

/// Makes the document.
///
/// # Errors
/// When it would break a rule of SPDX: a bug.
pub fn document(content: &Content<'_>) -> Result<Document, Failed> {
    let identity = content.identity;
    let mut elements = Elements::default();
    let image = elements.add(
        "Image",
        Package {
            comment: Some(format!(
                "The root image; root hash {}, build {}, lock {}.",
                content.facts.root_hash, content.facts.build_id, identity.lock
            )),
            ..Package::new(&identity.id, &identity.version)
                .purpose("OPERATING-SYSTEM")
                .file("root.erofs", content.root_image.to_string())
        },
    );
    let source = elements.add(
        "Source-xenolith",
        Package::new(&identity.id, &identity.revision).purpose("SOURCE").license(Some("Apache-2.0")),
    );
    elements.relate(&image, Relation::GeneratedFrom, &source);
    add_debs(content, &mut elements, &image);
    add_xen(content, &mut elements, &image);
    add_crates(content, &mut elements, &image, &source);
    let name = format!("{}-{}", identity.id, identity.version);
    // SPDX asks for a time: the one that every file of the image carries.
    let created = Timestamp::from_unix(xenolith_assemble::EPOCH).to_string();
    let document = elements.into_document(&name, &image, &created);
    document.check()?;
    Ok(document)
}

fn deb(package: &LockedPackage, distro: Option<&str>) -> Package {
    let (name, version) = (package.name.to_string(), package.version.to_string());
    let purl = purl::deb(&name, &version, package.architecture.as_str(), distro);
    let mut made = Package::new(name, version).purpose("INSTALL").purl(purl);
    made.supplier = Some("Organization: Debian".into());
    made.file(file_name(package), package.sha256.to_string())
}

fn add_debs(content: &Content<'_>, elements: &mut Elements, image: &str) {
    let distro = content.locked.distro.as_deref();
    let about: BTreeMap<&str, &PackageFiles> =
        content.files.iter().map(|package| (package.name.as_str(), package)).collect();
    let there: BTreeSet<&str> = content
        .image
        .iter()
        .filter(|file| file.layer == PACKAGES_LAYER)
        .map(|file| file.path.as_str())
        .collect();
    let mut sources: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for package in &content.locked.dom0 {
        let mut made = deb(package, distro);
        let about = about.get(package.name.as_str());
        made.homepage =
            about.and_then(|about| about.homepage.clone()).filter(|page| page.starts_with("http"));
        let left = about.is_none_or(|about| {
            about.files.is_empty() || about.files.iter().any(|file| there.contains(file.as_str()))
        });
        if !left {
            made.comment = Some("Installed while the image is made; the image has none of its files.".into());
        }
        let id = elements.add(&format!("deb-{}", package.name), made);
        if left {
            elements.relate(image, Relation::Contains, &id);
        } else {
            elements.relate(&id, Relation::BuildDependencyOf, image);
        }
        if let Some(about) = about {
            let key = (about.source.as_str(), about.source_version.as_str());
            let source = sources.entry(key).or_insert_with(|| {
                let purl = purl::deb(key.0, key.1, "source", distro);
                let made = Package::new(key.0, key.1).purpose("SOURCE").purl(purl);
                elements.add(&format!("debsrc-{}-{}", key.0, key.1), made)
            });
            elements.relate(&id, Relation::GeneratedFrom, source);
        }
    }
    if let Some(loader) = &content.locked.loader {
        let mut made = deb(loader, distro);
        made.comment =
            Some("Its loader, signed with this build's key, is on the EFI system partition.".into());
        let id = elements.add(&format!("deb-{}", loader.name), made);
        elements.relate(image, Relation::Contains, &id);
    }
}

fn add_xen(content: &Content<'_>, elements: &mut Elements, image: &str) {
    let (name, source) = &content.locked.xen;
    let version = source.version.to_string();
    let mut xen = Package::new(name, &version).purpose("APPLICATION");
    xen.comment = Some("Hypervisor and tools, compiled from the source below with our patches.".into());
    let xen = elements.add("Xen", xen);
    elements.relate(image, Relation::Contains, &xen);
    let purl = purl::deb(name, &version, "source", content.locked.distro.as_deref());
    let mut upstream = None;
    for file in &source.files {
        let file_name = file.path.as_str().rsplit('/').next().unwrap_or_default();
        let mut made =
            Package::new(name, &version).purpose("SOURCE").file(file_name, file.sha256.to_string());
        made.supplier = Some("Organization: Debian".into());
        let id = elements.add(&format!("Source-{file_name}"), made.purl(purl.clone()));
        elements.relate(&xen, Relation::GeneratedFrom, &id);
        if file_name.contains(".orig.") {
            upstream = Some(id);
        }
    }
    for (patch, sha256) in content.patches {
        let made = Package::new(patch, &content.identity.revision).purpose("SOURCE");
        let id = elements.add(&format!("Patch-{patch}"), made.file(patch, sha256.to_string()));
        elements.relate(&xen, Relation::GeneratedFrom, &id);
        if let Some(upstream) = &upstream {
            elements.relate(&id, Relation::PatchFor, upstream);
        }
    }
}

fn add_crates(content: &Content<'_>, elements: &mut Elements, image: &str, source: &str) {
    let std = content.locked.rust_std.as_ref().map(|std| {
        let mut made = deb(std, content.locked.distro.as_deref());
        made.comment = Some("Rust's standard library, linked into the programs.".into());
        elements.add(&format!("deb-{}", std.name), made)
    });
    let mut ids = BTreeMap::new();
    for one in content.crates {
        let program = PROGRAMS.iter().any(|program| program.name == one.name);
        let purpose = if program { "APPLICATION" } else { "LIBRARY" };
        let mut made = Package::new(&one.name, &one.version).purpose(purpose).license(one.license.as_deref());
        if let Some(checksum) = &one.checksum {
            let file = format!("{}-{}.crate", one.name, one.version);
            made = made.purl(purl::cargo(&one.name, &one.version)).file(file, checksum);
        }
        let id = elements.add(&format!("crate-{}-{}", one.name, one.version), made);
        if one.linked {
            elements.relate(image, Relation::Contains, &id);
        } else {
            elements.relate(&id, Relation::BuildDependencyOf, image);
        }
        if one.checksum.is_none() {
            elements.relate(&id, Relation::GeneratedFrom, source);
        }
        if let Some(std) = std.as_ref().filter(|_| program) {
            elements.relate(&id, Relation::StaticLink, std);
        }
        ids.insert((one.name.clone(), one.version.clone()), id);
    }
    for one in content.crates {
        let id = &ids[&(one.name.clone(), one.version.clone())];
        for used in one.uses.iter().filter_map(|used| ids.get(used)) {
            elements.relate(id, Relation::DependsOn, used);
        }
    }
}

#[cfg(test)]
mod tests;
