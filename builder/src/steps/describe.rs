//! What a build says about itself: which files it left, what they are made of, and where they came from.
//!
//! ```text
//!   dom0's .debs ─▶ package-files   what each package is and which paths it brings: unpacked in memory once per lock
//!   crates-source + package-files + root ─▶ sbom            xenolith.spdx.json (SPDX 2.3)
//!   xen-hypervisor + xen-tools ───────────▶ debug-symbols   debug.tar.zst
//!   all media + sbom + debug-symbols ─────▶ describe        manifest.json and provenance.json, signed (DSSE)
//! ```
//! **Two builds with the same inputs say the same bytes.** No clock, no host, no path of this machine is in any of the
//! four; where a format asks for a time, it is the one that every file of the image carries.

pub mod crates;
pub mod debug;
pub mod manifest;
pub mod packages;
pub mod provenance;
pub mod purl;
pub mod sbom;
pub mod spdx;

use fs_err as fs;
use xenolith_archive::{DebVersion, lock::LockedPackage};
use xenolith_store::{Digest, Graph, Identity as Keyed, Input, StepContext, StepName, StepSpec};
use xenolith_trust::KeySet;

use self::manifest::{FileSum, Manifest};
use super::{MIB, Plan, REVISION, deb_input, image::RootFacts, step_input};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The group whose packages the image is made of.
pub const DOM0: &str = "dom0";
/// The steps whose results the manifest lists; those of `describe` itself come after it.
const LISTED: &[&str] = &["iso", "disk", "signed", "netboot", "update", "sbom", "debug-symbols"];

/// Adds the four steps.
///
/// # Errors
/// When the lock lacks dom0's packages or the Xen source.
pub fn add(plan: &Plan, graph: &mut Graph) -> Result<(), Failed> {
    graph.add(package_files(plan)?)?;
    graph.add(
        StepSpec::new(StepName::of("debug-symbols"), debug::archive)
            .input("revision", Input::value(REVISION))
            .input("xen-hypervisor", step_input("xen-hypervisor"))
            .input("xen-tools", step_input("xen-tools"))
            .memory(400 * MIB)
            .weight(5),
    )?;
    graph.add(sbom_step(plan)?)?;
    graph.add(describe_step(plan)?)?;
    Ok(())
}

/// The step that says what each package of dom0 is and holds.
///
/// # Errors
/// When the lock lacks the group.
pub fn package_files(plan: &Plan) -> Result<StepSpec, Failed> {
    let locked = super::packages(plan, DOM0)?;
    let names: Vec<String> = locked.iter().map(|package| package.name.to_string()).collect();
    let mut step =
        StepSpec::new(StepName::of("package-files"), move |context| packages::write(context, &names))
            .input("revision", Input::value(REVISION))
            .identity(Keyed::Content)
            .memory(300 * MIB)
            .weight(10);
    for package in locked {
        let (name, input) = deb_input(package);
        step = step.input(name, input);
    }
    Ok(step)
}

fn sbom_step(plan: &Plan) -> Result<StepSpec, Failed> {
    let parts = sbom::Locked::of(plan)?;
    let identity = plan.identity.clone();
    let text = serde_json::to_string(&identity)?;
    let patches = plan.root.join("hypervisor-src/patches");
    let read = patches.clone();
    Ok(StepSpec::new(StepName::of("sbom"), move |context| {
        let metadata = crates::read(context)?;
        let facts = RootFacts::read(context.input("root"))?;
        let content = sbom::Content {
            identity: &identity,
            locked: &parts,
            files: &packages::read(context.input("package-files"))?,
            image: &serde_json::from_slice::<Vec<super::image::FileEntry>>(&fs::read(
                context.input("root").join("files.json"),
            )?)?,
            facts: &facts,
            root_image: xenolith_store::digest_file(&context.input("root").join("root.erofs"))?,
            crates: &metadata,
            patches: &sbom::read_patches(&read)?,
        };
        let document = sbom::document(&content)?;
        fs::write(context.out().join("xenolith.spdx.json"), document.render())?;
        Ok(())
    })
    .input("revision", Input::value(REVISION))
    .input("lock", Input::value(plan.lock.hash()))
    .input("identity", Input::value(text))
    .input("build-tree", step_input("build-tree"))
    .input("source", step_input("crates-source"))
    .input("package-files", step_input("package-files"))
    .input("root", step_input("root"))
    .input("patches", Input::tree(patches))
    .memory(300 * MIB)
    .weight(2))
}

fn describe_step(plan: &Plan) -> Result<StepSpec, Failed> {
    let (own, cargo_lock) = (plan.clone(), plan.root.join("Cargo.lock"));
    let mut step = StepSpec::new(StepName::of("describe"), move |context| write(context, &own))
        .input("revision", Input::value(REVISION))
        .input("lock", Input::value(plan.lock.hash()))
        .input("identity", Input::value(serde_json::to_string(&plan.identity)?))
        .input("keys", Input::value(&plan.keys_id))
        .input("cargo-lock", Input::File(cargo_lock))
        .input("root", step_input("root"));
    for name in LISTED {
        step = step.input(*name, step_input(name));
    }
    Ok(step)
}

/// Writes the manifest and the signed statement about it.
fn write(context: &StepContext, plan: &Plan) -> Result<(), Failed> {
    let keys = KeySet::load(&plan.keys)?;
    let facts = RootFacts::read(context.input("root"))?;
    let manifest = Manifest::new(plan, &facts, &keys.update().public().id(), sums(context, plan)?)?;
    let text = manifest.render();
    fs::write(context.out().join(manifest::FILE), &text)?;
    let cargo_lock = xenolith_store::digest_file(context.input("cargo-lock"))?;
    let statement = provenance::statement(plan, &manifest, &text, &cargo_lock);
    let envelope =
        keys.update().sign_dsse(xenolith_trust::provenance::PAYLOAD_TYPE, statement.render().as_bytes());
    fs::write(context.out().join(provenance::FILE), envelope)?;
    Ok(())
}

/// The sums of all listed results, under the names that they have in the output folder.
///
/// The store knows them from when it took the results in and has just checked that they are unchanged; reading a disk
/// image again would tell nothing new.
fn sums(context: &StepContext, plan: &Plan) -> Result<Vec<FileSum>, Failed> {
    let mut all = Vec::new();
    for (step, inside, to) in super::results(&plan.identity.version) {
        if !LISTED.contains(&step) {
            continue;
        }
        let folder = context.input(step);
        for (path, sum) in stored_sums(context, step)? {
            let below = match path.strip_prefix(inside).map(|rest| rest.trim_start_matches('/')) {
                Some(rest)
                    if inside.is_empty() || rest.is_empty() || path[inside.len()..].starts_with('/') =>
                {
                    rest
                }
                Some(_) | None => continue,
            };
            let name = if below.is_empty() { to.clone() } else { format!("{to}/{below}") };
            let size = fs::metadata(folder.join(&path))?.len();
            all.push(FileSum { name, size, sha256: sum.to_string() });
        }
    }
    all.sort();
    Ok(all)
}

/// Every regular file of a step's output with its SHA-256.
fn stored_sums(context: &StepContext, step: &str) -> Result<Vec<(String, Digest)>, Failed> {
    let sums = context.recorded(step)?.files.read()?.into_iter().filter_map(|file| match file.what {
        xenolith_store::FileKind::File { sha256, .. } => Some((file.path, sha256)),
        xenolith_store::FileKind::Directory
        | xenolith_store::FileKind::Link { .. }
        | xenolith_store::FileKind::Special { .. } => None,
    });
    Ok(sums.collect())
}

/// The locked package of a group with this name.
fn find<'a>(plan: &'a Plan, group: &str, name: &str) -> Option<&'a LockedPackage> {
    super::packages(plan, group).ok()?.iter().find(|package| package.name.as_str() == name)
}

/// The version of Xen's source package.
fn xen_version(plan: &Plan) -> Result<&DebVersion<'static>, Failed> {
    let source = plan.lock.sources.iter().find(|(name, _)| name.as_str() == plan.compile.package());
    Ok(&source.ok_or("xenolith.lock lacks the Xen source")?.1.version)
}
