//! The build graph: which steps there are, what each of them reads, in one place.
//!
//! ```text
//!  tools-tree ──────────────┬─────────────┬──────────────────────────┬────────┐
//!  build-tree ─┬─ xen-hypervisor ─────────┼───────────────┐          │        │
//!              ├─ xen-tools ──┬───────────┼──▶ root ──────┼▶ boot-file ─▶ signed ─┬─ media-esp ─▶ iso
//!              └─ crates-deps ┴─ crates ──┤    ▲    ▲     │          ▲            ├─ disk
//!                    ▲            └─ init ┼────┼────┼▶ initrd ───────┘            ├─ netboot
//!  crates-source ────┘                    ▼    │    │                             └─ update
//!                              packages ───────┘    └── overlay, identity
//! ```
//! Beside it `describe` (see there) says what all of that is: bill of materials, debug symbols, manifest, provenance.
//!
//! Each step is a pure function of the inputs written beside it; `build-tree` and `tools-tree` are apart so that a new
//! xorriso does not compile Xen. Revisions count up when a step's code changes what it writes.

pub mod compile;
pub mod crates;
pub mod describe;
pub mod dom0;
pub mod image;
pub mod media;

use std::path::PathBuf;

use fs_err as fs;
use xenolith_archive::lock::{Lock, LockedPackage};
use xenolith_archive::unpack::{Fixups, Rules, finish_tree, unpack_tree};
use xenolith_layout::Version;
use xenolith_store::{
    Digest, Graph, Identity as Keyed, Input, StepContext, StepName, StepSpec, Store, TreeFilter, Unit,
};

use crate::{
    cli::Target,
    recipe::{PackageList, Recipe},
    steps::image::Identity,
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const MIB: u64 = 1 << 20;
/// Counts up when the code of a step changes what it writes. What compiles has counters of its own, because running
/// it again takes minutes.
const REVISION: &str = "1";

/// All that the graph is made from.
#[derive(Clone)]
pub struct Plan {
    /// The checkout.
    pub root: PathBuf,
    /// The store, for the places of downloads.
    pub store: Store,
    /// `image/image.toml`.
    pub recipe: Recipe,
    /// `dom0-rootfs/packages.toml`.
    pub dom0: PackageList,
    /// `hypervisor-src/build.toml`.
    pub compile: compile::CompileRecipe,
    /// `xenolith.lock`.
    pub lock: Lock,
    /// Which image this is.
    pub identity: Identity,
    /// Its version.
    pub version: Version,
    /// The folder of the signing keys.
    pub keys: PathBuf,
    /// Names the keys: their certificates' fingerprints.
    pub keys_id: String,
}

/// The steps that make what `target` asks for.
pub fn targets(target: Target) -> Vec<StepName> {
    let name = StepName::of;
    match target {
        Target::Iso => vec![name("iso")],
        Target::Disk => vec![name("disk")],
        Target::Netboot => vec![name("netboot")],
        Target::Update => vec![name("update")],
        Target::All => vec![name("iso"), name("disk"), name("netboot"), name("update"), name("describe")],
    }
}

/// The steps that a reproducibility check runs again without compiling anything.
pub const IMAGE_STEPS: &[&str] = &[
    "packages",
    "init",
    "initrd",
    "root",
    "boot-file",
    "signed",
    "media-esp",
    "iso",
    "disk",
    "netboot",
    "update",
    "sbom",
    "debug-symbols",
    "describe",
];

/// Under this name the store remembers the last whole build, which `report` tells about.
pub const WHOLE: &str = "image";
/// And under this one the last build of some of it: for `run`, `path`, one target.
pub const PARTS: &str = "image-parts";

/// Builds the graph, to be remembered under the name `history`.
///
/// # Errors
/// When the lock lacks a group or source that the recipe needs.
pub fn graph(plan: &Plan, history: &'static str) -> Result<Graph, Failed> {
    let mut graph = Graph::new(StepName::of(history));
    for (name, group) in [("tools-tree", "tools"), ("build-tree", "build"), ("vm-tree", "vm")] {
        graph.add(tree_step(plan, name, group)?)?;
    }
    graph.add(xen_step(plan, "xen-hypervisor", "libxl.h", 90, |job| job.hypervisor())?)?;
    graph.add(xen_step(plan, "xen-tools", "xenolith.config", 150, |job| job.tools())?)?;
    add_crates(plan, &mut graph)?;
    add_image(plan, &mut graph)?;
    add_media(plan, &mut graph)?;
    Ok(graph)
}

fn step_input(name: &'static str) -> Input {
    Input::Step(StepName::of(name))
}

fn packages<'a>(plan: &'a Plan, group: &str) -> Result<&'a [LockedPackage], Failed> {
    let group = plan.lock.groups.iter().find(|(name, _)| name.as_str() == group).map(|(_, group)| group);
    Ok(&group.ok_or("xenolith.lock lacks a group of the recipe; run `xenolith lock`")?.packages)
}

/// The name under which a package's download is an input: `deb/<name>`.
fn deb_input(package: &LockedPackage) -> (String, Input) {
    (format!("deb/{}", package.name), Input::Blob(Digest(*package.sha256.as_bytes())))
}

/// The file name of a package in the archive.
pub fn file_name(package: &LockedPackage) -> String {
    package.path.as_str().rsplit('/').next().unwrap_or_default().to_owned()
}

fn tree_step(plan: &Plan, name: &'static str, group: &str) -> Result<StepSpec, Failed> {
    let packages = packages(plan, group)?;
    let names: Vec<(String, String)> =
        packages.iter().map(|package| (format!("deb/{}", package.name), file_name(package))).collect();
    let mut step = StepSpec::new(StepName::of(name), move |context| unpack(context, &names))
        .input("revision", Input::value(REVISION))
        .identity(Keyed::Key)
        .memory(512 * MIB)
        .weight(40);
    for package in packages {
        let (name, input) = deb_input(package);
        step = step.input(name, input);
    }
    Ok(step)
}

/// Unpacks every package into the output folder, then makes what maintainer scripts would have made.
fn unpack(context: &StepContext, names: &[(String, String)]) -> Result<(), Failed> {
    // The unpacker knows packages by file name, the store by sum.
    let links = context.scratch();
    let mut debs = Vec::with_capacity(names.len());
    for (input, file_name) in names {
        let link = links.join(file_name);
        fs::os::unix::fs::symlink(context.input(input), &link)?;
        debs.push(link);
    }
    let total = debs.len() as u64;
    let progress = |unpacked: xenolith_archive::unpack::Unpacked<'_>| {
        context.progress(unpacked.done as u64, total, Unit::Packages);
    };
    unpack_tree(&debs, context.out(), &Rules::default(), context.jobs(), &progress)?;
    finish_tree(context.out(), &Fixups::default())?;
    Ok(())
}

/// What Xen is compiled from.
pub struct XenSource {
    /// The upstream tarball.
    pub orig: Digest,
    /// Debian's tarball.
    pub debian: Digest,
    /// The source package's version.
    pub version: String,
}

/// Finds the Xen source in the lock.
///
/// # Errors
/// When it or one of its tarballs is not there.
pub fn xen_source(plan: &Plan) -> Result<XenSource, Failed> {
    let source = plan.lock.sources.iter().find(|(name, _)| name.as_str() == plan.compile.package());
    let source =
        source.map(|(_, source)| source).ok_or("xenolith.lock lacks the Xen source; run `xenolith lock`")?;
    let tarball = |ending: &str| {
        let file = source.files.iter().find(|file| file.path.as_str().ends_with(ending));
        file.map(|file| Digest(*file.sha256.as_bytes()))
            .ok_or("the Xen source in xenolith.lock lacks a tarball")
    };
    Ok(XenSource {
        orig: tarball(".orig.tar.xz")?,
        debian: tarball(".debian.tar.xz")?,
        version: source.version.to_string(),
    })
}

fn xen_step(
    plan: &Plan,
    name: &'static str,
    not_read: &str,
    seconds: u64,
    run: impl FnOnce(&compile::Job<'_>) -> Result<(), compile::CompileError> + Send + 'static,
) -> Result<StepSpec, Failed> {
    let recipe = plan.compile.clone();
    let source = xen_source(plan)?;
    let folder = plan.root.join("hypervisor-src");
    let filter = TreeFilter::everything().without(not_read).without("packages.toml");
    let read = folder.clone();
    let step = StepSpec::new(StepName::of(name), move |context: &StepContext| {
        let job = compile::Job {
            recipe: &recipe,
            tree: context.input("build-tree"),
            folder: &read,
            orig: context.input("orig"),
            debian: context.input("debian"),
            version: context.value("version"),
            scratch: context.scratch(),
            out: context.out(),
            log: context.log(),
            jobs: context.jobs(),
        };
        run(&job).map_err(Failed::from)
    });
    Ok(step
        .input("revision", Input::value(compile::REVISION))
        .input("build-tree", step_input("build-tree"))
        .input("orig", Input::Blob(source.orig))
        .input("debian", Input::Blob(source.debian))
        .input("version", Input::value(&source.version))
        .input("recipe", Input::Tree { root: folder, filter })
        .memory(1500 * MIB)
        .weight(seconds))
}

fn add_crates(plan: &Plan, graph: &mut Graph) -> Result<(), Failed> {
    let root = plan.root.clone();
    let mut source =
        StepSpec::new(StepName::of("crates-source"), move |context| crates::source(context, &root))
            .input("revision", Input::value(crates::REVISION))
            .input("manifest", Input::File(plan.root.join("Cargo.toml")))
            .input("lock", Input::File(plan.root.join("Cargo.lock")))
            .weight(15);
    for member in crates::MEMBERS {
        let manifest = plan.root.join(member).join("Cargo.toml");
        source = source.input(format!("manifest/{member}"), Input::File(manifest));
    }
    graph.add(source)?;
    let mut together = StepSpec::new(StepName::of("crates"), crates::collect)
        .input("revision", Input::value(crates::REVISION));
    let all_members = crates::Members::read(&plan.root)?;
    for program in crates::all() {
        let (root, members) = (plan.root.clone(), all_members.of(program));
        let compiled_of = members.clone();
        let run = move |context: &StepContext| crates::program(context, &root, program, &compiled_of);
        let mut step = StepSpec::new(StepName::of(program.step), run)
            .input("revision", Input::value(crates::REVISION))
            .input("source", step_input("crates-source"))
            .input("dependencies", step_input("crates-deps"))
            .input("build-tree", step_input("build-tree"))
            .input("xen-tools", step_input("xen-tools"))
            .memory(1000 * MIB)
            .weight(15);
        for member in members {
            let (root, filter) = (plan.root.join(member), TreeFilter::everything().without("tests"));
            step = step.input(format!("member/{member}"), Input::Tree { root, filter });
        }
        graph.add(step)?;
        together = together.input(program.step, step_input(program.step));
    }
    graph.add(
        StepSpec::new(StepName::of("crates-deps"), crates::dependencies)
            .input("revision", Input::value(crates::REVISION))
            .input("source", step_input("crates-source"))
            .input("build-tree", step_input("build-tree"))
            .input("xen-tools", step_input("xen-tools"))
            .identity(Keyed::Key)
            .memory(1500 * MIB)
            .weight(60),
    )?;
    graph.add(together)?;
    graph.add(
        StepSpec::new(StepName::of("init"), image::init_program).input("crates", step_input("crates")),
    )?;
    Ok(())
}

/// The locked packages of a group with their downloads.
///
/// # Errors
/// When the lock has no such group.
pub fn repository(plan: &Plan, group: &str) -> Result<Vec<dom0::RepositoryPackage>, Failed> {
    let package = |package: &LockedPackage| dom0::RepositoryPackage {
        name: package.name.to_string(),
        file_name: file_name(package),
        size: package.size.get(),
        sha256: package.sha256.to_string(),
        blob: plan.store.blob_path(&Digest(*package.sha256.as_bytes())),
    };
    Ok(packages(plan, group)?.iter().map(package).collect())
}

fn add_image(plan: &Plan, graph: &mut Graph) -> Result<(), Failed> {
    let dom0 = plan.root.join("dom0-rootfs");
    let locked = packages(plan, "dom0")?;
    let exclude: Vec<String> = plan.dom0.exclude.iter().map(|package| package.name.clone()).collect();
    let repository = repository(plan, "dom0")?;
    let excluded = exclude.join(" ");
    let folder = dom0.clone();
    let filter = TreeFilter::everything().only("mkosi.conf").only("mkosi.skeleton").only("mkosi.extra");
    let mut install = StepSpec::new(StepName::of("packages"), move |context| {
        dom0::install(context, &folder, &repository, &exclude)
    })
    .input("revision", Input::value(REVISION))
    .input("tools-tree", step_input("tools-tree"))
    .input("configuration", Input::Tree { root: dom0.clone(), filter })
    .input("exclude", Input::value(excluded))
    .memory(1000 * MIB)
    .weight(70);
    for package in locked {
        let (name, input) = deb_input(package);
        install = install.input(name, input);
    }
    graph.add(install)?;
    graph.add(
        StepSpec::new(StepName::of("initrd"), image::initrd)
            .input("revision", Input::value(REVISION))
            .input("packages", step_input("packages"))
            .input("init", step_input("init"))
            .memory(800 * MIB)
            .weight(15),
    )?;
    graph.add(
        StepSpec::new(StepName::of("test-guest"), image::test_guest)
            .input("revision", Input::value(REVISION))
            .input("packages", step_input("packages"))
            .input("crates", step_input("crates"))
            .memory(800 * MIB),
    )?;
    let (root, identity) = (plan.recipe.root.clone(), plan.identity.clone());
    let budget = plan.recipe.budget.root.0;
    graph.add(
        StepSpec::new(StepName::of("root"), move |context| image::root(context, &root, &identity, budget))
            .input("revision", Input::value(REVISION))
            .input("tools-tree", step_input("tools-tree"))
            .input("packages", step_input("packages"))
            .input("xen-tools", step_input("xen-tools"))
            .input("crates", step_input("crates"))
            .input("package-files", step_input("package-files"))
            .input("overlay", Input::tree(dom0.join("overlay")))
            .input("parameters", Input::value(serde_json::to_string(&plan.recipe.root)?))
            .input("identity", Input::value(serde_json::to_string(&plan.identity)?))
            .input("budget", Input::value(plan.recipe.budget.root.0))
            .memory(1500 * MIB)
            .weight(25),
    )?;
    let (recipe, identity) = (plan.recipe.clone(), plan.identity.clone());
    let variant = plan.identity.variant.clone();
    graph.add(
        StepSpec::new(StepName::of("boot-file"), move |context| {
            image::boot_file(context, &recipe, &variant, &identity)
        })
        .input("revision", Input::value(REVISION))
        .input("root", step_input("root"))
        .input("packages", step_input("packages"))
        .input("initrd", step_input("initrd"))
        .input("xen", step_input("xen-hypervisor"))
        .input("boot", Input::value(serde_json::to_string(&plan.recipe.boot)?))
        .input(
            "variant",
            Input::value(serde_json::to_string(&plan.recipe.variant.get(&plan.identity.variant))?),
        )
        .input("identity", Input::value(serde_json::to_string(&plan.identity)?))
        .memory(400 * MIB),
    )?;
    let keys = plan.keys.clone();
    graph.add(
        StepSpec::new(StepName::of("signed"), move |context| media::sign(context, &keys))
            .input("revision", Input::value(REVISION))
            .input("boot-file", step_input("boot-file"))
            .input("tools-tree", step_input("tools-tree"))
            .input("keys", Input::value(&plan.keys_id))
            .memory(400 * MIB),
    )?;
    Ok(())
}

fn add_media(plan: &Plan, graph: &mut Graph) -> Result<(), Failed> {
    let tries = plan.recipe.image.tries;
    let version = plan.version.clone();
    let shared = |step: StepSpec| {
        step.input("revision", Input::value(REVISION))
            .input("version", Input::value(&plan.identity.version))
            .input("signed", step_input("signed"))
            .memory(400 * MIB)
    };
    let own = version.clone();
    graph.add(
        shared(StepSpec::new(StepName::of("media-esp"), move |context| {
            media::media_esp(context, &own, tries)
        }))
        .input("tries", Input::value(tries)),
    )?;
    let budget = plan.recipe.budget.iso.0;
    let manifest = serde_json::to_string_pretty(&plan.identity)?;
    let text = manifest.clone();
    graph.add(
        shared(StepSpec::new(StepName::of("iso"), move |context| media::iso(context, budget, &text)))
            .input("root", step_input("root"))
            .input("media-esp", step_input("media-esp"))
            .input("tools-tree", step_input("tools-tree"))
            .input("manifest", Input::value(manifest))
            .input("budget", Input::value(budget))
            .input("reserved", Input::value(xenolith_layout::reserved::SIZE.get()))
            .weight(5),
    )?;
    let own = version.clone();
    graph.add(
        shared(StepSpec::new(StepName::of("disk"), move |context| media::disk_image(context, &own, tries)))
            .input("root", step_input("root"))
            .input("tries", Input::value(tries))
            .weight(5),
    )?;
    let own = version.clone();
    graph.add(
        shared(StepSpec::new(StepName::of("netboot"), move |context| media::netboot(context, &own)))
            .input("set", Input::value(media::NETBOOT_FORMAT))
            .input("root", step_input("root")),
    )?;
    let (own, keys) = (version, plan.keys.clone());
    graph.add(
        shared(StepSpec::new(StepName::of("update"), move |context| media::update(context, &own, &keys)))
            .input("root", step_input("root"))
            .input("keys", Input::value(&plan.keys_id))
            .weight(5),
    )?;
    describe::add(plan, graph)
}

/// Where the results of the steps go, relative to the output folder, with the step's file or folder that each is.
pub fn results(version: &str) -> Vec<(&'static str, &'static str, String)> {
    let name = |ending: &str| format!("xenolith-{version}{ending}");
    vec![
        ("iso", "xenolith.iso", name(".iso")),
        ("disk", "disk.img", name(".disk.img")),
        ("signed", "boot/xenolith.efi", name(".efi")),
        ("signed", "keys", "keys".into()),
        ("netboot", "", "netboot".into()),
        ("update", "", "update".into()),
        ("sbom", "xenolith.spdx.json", name(".spdx.json")),
        ("debug-symbols", describe::debug::FILE, name(".debug.tar.zst")),
        ("describe", "", String::new()),
    ]
}

/// The downloads that a step wants, by sum, for the fetch before the build.
pub fn wanted_blobs<'a>(graph: &'a Graph, steps: &'a [StepName]) -> impl Iterator<Item = Digest> + 'a {
    graph.steps().filter(|step| steps.contains(&step.name)).flat_map(|step| {
        step.inputs.values().filter_map(|input| match input {
            Input::Blob(digest) => Some(*digest),
            Input::Value(_) | Input::File(_) | Input::Tree { .. } | Input::Step(_) => None,
        })
    })
}
