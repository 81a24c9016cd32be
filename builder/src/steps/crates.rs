//! The Rust programs that go into the image, compiled by Debian's Rust in the build tree.
//!
//! ```text
//!   Cargo.toml, Cargo.lock, members' manifests ─▶ crates-source   a workspace of the dom0 crates alone, its
//!                                                                 dependencies vendored (the one step with network)
//!   crates-source ─▶ crates-deps   dependencies compiled, members as stubs: survives an edit of our code
//!   crates-deps + our code + libxl bindings ─▶ crate-init, crate-status, …   one program each, so that an edit waits for its own
//!                                           └─▶ crates   bin/xenolith-init, bin/xenolith-status, …
//! ```
//! cargo decides by file times what is fresh, so `crates-deps` forgets the stubs: what belongs to a member is always
//! compiled from the real source.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::StepContext;

/// The crates whose programs go into the image, and the libraries of ours that they use: folders of the checkout.
pub const MEMBERS: &[&str] = &[
    "ci/guest",
    "dom0-rootfs/console",
    "dom0-rootfs/init",
    "dom0-rootfs/libxl-sys",
    "dom0-rootfs/state",
    "dom0-rootfs/status",
    "dom0-rootfs/terminal",
    "firstboot",
    "image/bootfile",
    "image/disk",
    "image/layout",
    "image/netboot",
    "image/verity",
    "installer/answers",
    "installer/engine",
    "installer/install",
    "installer/machine",
    "installer/probe",
    "installer/settings",
    "installer/source",
    "installer/tui",
];
/// A program of dom0.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, and that of its package.
    pub name: &'static str,
    /// The step that compiles it.
    pub step: &'static str,
    /// Its features.
    features: &'static [&'static str],
}

/// Programs for the image.
pub const PROGRAMS: &[Program] = &[
    Program { name: "xenolith-init", step: "crate-init", features: &[] },
    Program { name: "xenolith-status", step: "crate-status", features: &["libxl"] },
    Program { name: "xenolith-console", step: "crate-console", features: &[] },
    Program { name: "xenolith-state", step: "crate-state", features: &[] },
    Program { name: "xenolith-firstboot", step: "crate-firstboot", features: &[] },
    Program { name: "xenolith-probe", step: "crate-probe", features: &[] },
    Program { name: "xenolith-install", step: "crate-install", features: &[] },
];
/// The init of the test guests: compiled with the rest, not in the image.
pub const TEST_GUEST: Program =
    Program { name: "xenolith-testguest", step: "crate-testguest", features: &[] };
/// The profile in the root Cargo.toml.
const PROFILE: &str = "dom0";

/// The names of the programs for the image.
pub fn names() -> Vec<&'static str> {
    PROGRAMS.iter().map(|program| program.name).collect()
}

/// The features of all programs, as cargo takes them for several packages.
pub fn features() -> String {
    let each = PROGRAMS
        .iter()
        .flat_map(|program| program.features.iter().map(|it| format!("{}/{it}", program.name)));
    each.collect::<Vec<_>>().join(",")
}

/// Every program that is compiled.
pub fn all() -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().chain([&TEST_GUEST])
}

/// What the members' manifests say of each other, by package: the member, and the names of what it depends on.
pub struct Members(BTreeMap<String, (&'static str, Vec<String>)>);

impl Members {
    /// Reads the manifests.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(root: &Path) -> Result<Self, Failed> {
        let mut packages = BTreeMap::new();
        for member in MEMBERS {
            let manifest: toml::Table =
                toml::from_str(&fs::read_to_string(root.join(member).join("Cargo.toml"))?)?;
            let name =
                manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
            let uses = ["dependencies", "build-dependencies"]
                .iter()
                .filter_map(|table| manifest.get(*table)?.as_table());
            let uses: Vec<String> = uses.flat_map(|table| table.keys().cloned()).collect();
            packages.insert(name.ok_or("a member without a name")?.to_owned(), (*member, uses));
        }
        Ok(Self(packages))
    }

    /// The members that a program is made of: its own folder, and those of ours that it depends on.
    pub fn of(&self, program: &Program) -> Vec<&'static str> {
        let (mut found, mut open) = (BTreeSet::new(), vec![program.name]);
        while let Some(name) = open.pop() {
            let Some((member, uses)) = self.0.get(name) else { continue };
            if found.insert(*member) {
                open.extend(uses.iter().map(String::as_str));
            }
        }
        found.into_iter().collect()
    }
}

/// Xen's libraries in the sandbox.
const LIBRARIES: &str = "/build/xen/usr/lib/x86_64-linux-gnu";

/// Counts up when this module changes what it writes.
pub const REVISION: &str = "4";

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Writes the small workspace and vendors its dependencies with the host's cargo.
///
/// # Errors
/// When a manifest cannot be read or cargo fails; its words are in the log.
pub fn source(context: &StepContext, root: &Path) -> Result<(), Failed> {
    let out = context.out();
    fs::write(out.join("Cargo.toml"), small_workspace(root)?)?;
    fs::copy(root.join("Cargo.lock"), out.join("Cargo.lock"))?;
    for member in MEMBERS {
        let (from, to) = (root.join(member), out.join(member));
        fs::create_dir_all(to.join("src"))?;
        fs::copy(from.join("Cargo.toml"), to.join("Cargo.toml"))?;
        for (file, stub) in
            [("src/lib.rs", ""), ("src/main.rs", "fn main() {}\n"), ("build.rs", "fn main() {}\n")]
        {
            if from.join(file).exists() {
                fs::write(to.join(file), stub)?;
            }
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let log = fs::OpenOptions::new().create(true).append(true).open(context.log())?.into_parts().0;
    let errors = log.try_clone()?;
    #[allow(clippy::disallowed_methods, reason = "the host's cargo is not a program of the tools tree")]
    let vendored = duct::cmd!(cargo, "vendor", "--versioned-dirs", "vendor")
        .dir(out)
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("RUSTFLAGS")
        .stdin_null()
        .stdout_file(log)
        .stderr_file(errors)
        .unchecked()
        .run()?;
    if !vendored.status.success() {
        return Err(format!("cargo vendor ended with {}", vendored.status).into());
    }
    fs::create_dir_all(out.join(".cargo"))?;
    let config =
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n";
    fs::write(out.join(".cargo/config.toml"), config)?;
    Ok(())
}

/// The root manifest with the dom0 crates as its only members, and only what they use: what the builder depends on and how it is
/// compiled must not reach the image's key.
fn small_workspace(root: &Path) -> Result<String, Failed> {
    let read =
        |path: PathBuf| -> Result<toml::Table, Failed> { Ok(toml::from_str(&fs::read_to_string(path)?)?) };
    let mut manifest = read(root.join("Cargo.toml"))?;
    let mut used = BTreeSet::new();
    for member in MEMBERS {
        let member = read(root.join(member).join("Cargo.toml"))?;
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let named = tables.iter().filter_map(|table| member.get(*table)?.as_table());
        used.extend(named.flat_map(|table| table.keys().cloned()));
    }
    if let Some(profiles) = manifest.get_mut("profile").and_then(toml::Value::as_table_mut) {
        profiles.retain(|name, _| name == PROFILE);
    }
    let workspace = manifest
        .get_mut("workspace")
        .and_then(toml::Value::as_table_mut)
        .ok_or("the root Cargo.toml has no [workspace]")?;
    let members = MEMBERS.iter().map(|member| toml::Value::from(*member)).collect::<Vec<_>>();
    workspace.insert("members".into(), members.into());
    if let Some(dependencies) = workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
        dependencies.retain(|name, _| used.contains(name));
    }
    workspace.remove("exclude");
    workspace.remove("default-members");
    Ok(toml::to_string(&manifest)?)
}

fn sandbox(source: &Path, tree: &Path, work: &Path, dev: &Path) -> Sandbox {
    Sandbox::new(tree)
        .bind_ro(source.join("vendor").as_path(), "/build/vendor")
        .bind_rw(work, "/build/work")
        .bind_ro(dev, "/build/xen")
        .cwd("/build/work")
        .env("CARGO_HOME", "/tmp/cargo")
        .env("CARGO_TARGET_DIR", "/build/work/target")
        .env("CARGO_TERM_COLOR", "never")
        .env("XENOLITH_LIBXL_BINDINGS", "/build/xen/libxl.rs")
        .env("XENOLITH_LIBXL_LIBRARIES", LIBRARIES)
        // libxl's own libraries lie where no linker looks by itself.
        .env("RUSTFLAGS", &format!("-Clink-arg=-Wl,-rpath-link,{LIBRARIES}"))
}

fn cargo_args(program: &Program, jobs: usize) -> Vec<String> {
    let (jobs, features) = (jobs.to_string(), program.features.join(","));
    let args = ["build", "--package", program.name, "--bin", program.name, "--profile", PROFILE];
    let more = ["--offline", "--locked", "--features", &features, "--jobs", &jobs];
    args.into_iter().chain(more).map(str::to_owned).collect()
}

/// Copies the small workspace without its vendored crates, which stay where they are.
fn lay_out(source: &Path, work: &Path) -> Result<(), Failed> {
    copy_tree(source, work, |path| !path.starts_with("vendor"))?;
    let config =
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"/build/vendor\"\n";
    fs::write(work.join(".cargo/config.toml"), config)?;
    Ok(())
}

/// Compiles the dependencies: `target/`.
///
/// # Errors
/// When cargo fails.
pub fn dependencies(context: &StepContext) -> Result<(), Failed> {
    let work = tempfile::tempdir_in(context.scratch())?;
    lay_out(context.input("source"), work.path())?;
    let dev = context.input("xen-tools").join("dev");
    let sandbox = sandbox(context.input("source"), context.input("build-tree"), work.path(), &dev);
    // One by one, as they are compiled later: together they could have other features in common.
    for program in all() {
        sandbox.run(Tool::Cargo, cargo_args(program, context.jobs()), context.log())?;
    }
    let target = work.path().join("target").join(PROFILE);
    for folder in [".fingerprint", "incremental", "build"] {
        forget_members(&target.join(folder))?;
    }
    fs::rename(work.path().join("target"), context.out().join("target"))?;
    Ok(())
}

/// Removes what cargo remembers of our own crates.
fn forget_members(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("xenolith") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Compiles one program of ours: `bin/<program>`.
///
/// # Errors
/// When cargo fails.
pub fn program(
    context: &StepContext,
    root: &Path,
    program: &Program,
    members: &[&str],
) -> Result<(), Failed> {
    let work = tempfile::tempdir_in(context.scratch())?;
    lay_out(context.input("source"), work.path())?;
    copy_members(root, work.path(), members)?;
    copy_tree(&context.input("dependencies").join("target"), &work.path().join("target"), |_| true)?;
    let dev = context.input("xen-tools").join("dev");
    let sandbox = sandbox(context.input("source"), context.input("build-tree"), work.path(), &dev);
    sandbox.run(Tool::Cargo, cargo_args(program, context.jobs()), context.log())?;
    let built: PathBuf = work.path().join("target").join(PROFILE).join(program.name);
    fs::create_dir_all(context.out().join("bin"))?;
    fs::copy(built, context.out().join("bin").join(program.name))?;
    Ok(())
}

/// Puts all programs into one folder: `bin/<program>`.
///
/// # Errors
/// When a file cannot be copied.
pub fn collect(context: &StepContext) -> Result<(), Failed> {
    let bin = context.out().join("bin");
    fs::create_dir_all(&bin)?;
    for program in all() {
        fs::copy(context.input(program.step).join("bin").join(program.name), bin.join(program.name))?;
    }
    Ok(())
}

fn copy_members(root: &Path, work: &Path, members: &[&str]) -> io::Result<()> {
    for member in members {
        copy_tree(&root.join(member), &work.join(member), |path| !path.starts_with("target"))?;
    }
    Ok(())
}

/// The same work by cargo alone, in one folder, that keeps nothing: what it costs by itself.
pub struct Plain<'a> {
    /// The checkout.
    pub root: &'a Path,
    /// The result of `crates-source`.
    pub source: &'a Path,
    /// The result of `build-tree`.
    pub tree: &'a Path,
    /// The result of `xen-tools`.
    pub xen_tools: &'a Path,
    /// An empty folder.
    pub work: &'a Path,
    /// How many compilers at once.
    pub jobs: usize,
}

impl Plain<'_> {
    /// Compiles everything.
    ///
    /// # Errors
    /// When cargo fails; its words are in the log.
    pub fn run(&self, log: &Path) -> Result<(), Failed> {
        lay_out(self.source, self.work)?;
        copy_members(self.root, self.work, MEMBERS)?;
        let sandbox = sandbox(self.source, self.tree, self.work, &self.xen_tools.join("dev"));
        for program in all() {
            sandbox.run(Tool::Cargo, cargo_args(program, self.jobs), log)?;
        }
        Ok(())
    }
}

/// Copies a folder with the times of its files, which cargo goes by.
fn copy_tree(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry.map_err(io::Error::from)?;
        let below = entry.path().strip_prefix(from).expect("a walk stays below its root");
        if !wanted(below) {
            continue;
        }
        let target = to.join(below);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else if entry.file_type().is_file() {
            fs::copy(entry.path(), &target)?;
            let modified = entry.metadata().map_err(io::Error::from)?.modified()?;
            fs::OpenOptions::new().write(true).open(&target)?.file().set_modified(modified)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_made_of_its_own_folder_and_the_libraries_that_it_uses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = Members::read(root).unwrap();
        let probe = all().find(|program| program.name == "xenolith-probe").unwrap();
        assert_eq!(members.of(probe), ["image/layout", "installer/machine", "installer/probe"]);
        for program in all() {
            assert!(!members.of(program).is_empty(), "{program:?} is no member");
        }
    }

    #[test]
    fn the_small_workspace_keeps_versions_and_lints_and_drops_other_members() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let small: toml::Table = toml::from_str(&small_workspace(root).unwrap()).unwrap();
        let members = small["workspace"]["members"].as_array().unwrap();
        assert_eq!(members.len(), MEMBERS.len());
        assert!(small["workspace"]["dependencies"].get("serde").is_some());
        let dependencies = small["workspace"]["dependencies"].as_table().unwrap();
        assert!(!dependencies.contains_key("pgp"), "the builder's own dependencies reach the image");
        assert_eq!(small["profile"].as_table().unwrap().keys().collect::<Vec<_>>(), [PROFILE]);
    }
}
