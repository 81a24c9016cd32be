//! Compiling Xen: `hypervisor-src/build.toml`, read strictly and run command by command.
//!
//! The recipe is the theory; this module only fills its placeholders in, keeps its order, and checks what it says
//! must hold (every line of the Kconfig fragment, every glob that must match). Hypervisor and tools are two steps over
//! the same source, so that a changed option compiles the hypervisor alone.

mod check;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use object::Object;
use serde::Deserialize;
use xenolith_sandbox::{Sandbox, Tool, ToolError};

/// Counts up when this module changes what it writes.
pub const REVISION: &str = "2";

/// `hypervisor-src/build.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileRecipe {
    #[allow(dead_code, reason = "looked at before the rest is read")]
    format: u32,
    #[allow(dead_code, reason = "one value is understood, and it is what the sandbox has")]
    umask: Umask,
    source: Source,
    environment: BTreeMap<String, String>,
    unpack: Unpack,
    patches: Vec<Series>,
    make: Make,
    hypervisor: Hypervisor,
    tools: Tools,
    tree: TreeRules,
    debug: Debug,
    bindings: Bindings,
}

/// The sandbox has one umask for all programs; a recipe that wants another one is not understood.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Umask {
    #[serde(rename = "022")]
    GroupAndOthersMayRead,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    package: String,
    at: String,
    epoch_from: PathBuf,
}

type Argv = Vec<String>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unpack {
    run: Vec<Argv>,
    files: Vec<WrittenFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: PathBuf,
    text: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    series: String,
    run: Argv,
    skip: Vec<Skip>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    patch: String,
    #[allow(dead_code, reason = "read by people")]
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Make {
    args: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hypervisor {
    fragment: String,
    config: String,
    complete: Argv,
    run: Vec<Argv>,
    outputs: Vec<Output>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    from: PathBuf,
    to: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tools {
    run: Vec<Argv>,
    hardening: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeRules {
    remove: Vec<Removal>,
    dev: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    glob: String,
    #[allow(dead_code, reason = "read by people")]
    reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Debug {
    split: Argv,
    strip: Argv,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bindings {
    output: String,
    run: Argv,
}

/// Xen could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A command of the recipe failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file.
    #[error("cannot prepare or collect files")]
    Io(#[from] io::Error),
    /// The recipe names a program that no recipe may run.
    #[error("build.toml wants to run {0:?}, which a recipe may not name")]
    Program(String),
    /// A patch in `skip` is not in its series.
    #[error("build.toml skips {patch}, which is not in {series}")]
    NoSuchPatch {
        /// The patch.
        patch: String,
        /// The series.
        series: String,
    },
    /// A line of the fragment does not hold.
    #[error(
        "xenolith.config says {line:?}, and the final configuration does not: the option is gone or depends on another"
    )]
    Option {
        /// The line.
        line: String,
    },
    /// A glob matches nothing.
    #[error("{glob:?} in build.toml matches nothing any more")]
    NoMatch {
        /// The glob.
        glob: String,
    },
    /// A glob that is none.
    #[error("{glob:?} in build.toml is no pattern")]
    Glob {
        /// The glob.
        glob: String,
        /// Why.
        source: glob::PatternError,
    },
}

/// Where one compilation happens.
pub struct Job<'a> {
    /// The recipe.
    pub recipe: &'a CompileRecipe,
    /// The tree with the compilers.
    pub tree: &'a Path,
    /// `hypervisor-src/`.
    pub folder: &'a Path,
    /// The upstream tarball.
    pub orig: &'a Path,
    /// Debian's tarball.
    pub debian: &'a Path,
    /// The source package's version.
    pub version: &'a str,
    /// An empty folder for the source.
    pub scratch: &'a Path,
    /// Where the outputs go.
    pub out: &'a Path,
    /// Where what the commands print goes.
    pub log: &'a Path,
    /// Processes that make may start.
    pub jobs: usize,
}

impl CompileRecipe {
    /// The name of the source package in the lock.
    pub fn package(&self) -> &str {
        &self.source.package
    }
}

impl Job<'_> {
    /// Compiles the hypervisor: `out/hypervisor/*` and `out/debug/*`.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn hypervisor(&self) -> Result<(), CompileError> {
        let sandbox = self.unpacked()?;
        let recipe = &self.recipe.hypervisor;
        let config = self.on_host(&recipe.config);
        fs::copy(self.on_host(&recipe.fragment), &config)?;
        self.run(&sandbox, &recipe.complete, None)?;
        check_config(&fs::read_to_string(self.on_host(&recipe.fragment))?, &fs::read_to_string(&config)?)?;
        for argv in &recipe.run {
            self.run(&sandbox, argv, None)?;
        }
        for output in &recipe.outputs {
            let to = self.out.join(&output.to);
            fs::create_dir_all(to.parent().expect("an output has a folder"))?;
            fs::copy(self.scratch.join(&output.from), to)?;
        }
        Ok(())
    }

    /// Compiles the tools: `out/tools` for dom0, `out/dev` to compile against, `out/debug` with the symbols.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn tools(&self) -> Result<(), CompileError> {
        let sandbox = self.unpacked()?;
        for argv in &self.recipe.tools.run {
            self.run(&sandbox, argv, None)?;
        }
        let tree = self.out.join("tools");
        for removal in &self.recipe.tree.remove {
            for path in matches(&tree, &removal.glob)? {
                if path.is_dir() && !path.is_symlink() {
                    fs::remove_dir_all(path)?
                } else {
                    fs::remove_file(path)?
                }
            }
        }
        for pattern in &self.recipe.tree.dev {
            for path in matches(&tree, pattern)? {
                let below = path.strip_prefix(&tree).expect("a match lies below its tree");
                let to = self.out.join("dev").join(below);
                let folder = to.parent().expect("below the output folder");
                fs::create_dir_all(folder)?;
                // A library's name for the linker is a symbolic link: what it names comes along.
                if path.is_symlink() {
                    let name = fs::read_link(&path)?;
                    fs::copy(&path, folder.join(name))?;
                }
                fs::rename(&path, to)?;
            }
        }
        self.split_debug(&sandbox, &tree)?;
        self.run(&sandbox, &self.recipe.bindings.run, None)?;
        fs::metadata(self.on_host(&self.recipe.bindings.output))?;
        Ok(())
    }

    /// The source, unpacked and patched, and a sandbox that shows it.
    fn unpacked(&self) -> Result<Sandbox, CompileError> {
        let mut sandbox = Sandbox::new(self.tree)
            .bind_rw(self.scratch, &self.recipe.source.at)
            .bind_rw(self.out, "/out")
            .bind_ro(self.folder, "/recipe")
            .bind_ro(self.orig, "/source/orig.tar.xz")
            .bind_ro(self.debian, "/source/debian.tar.xz")
            .cwd(&self.recipe.source.at);
        for argv in &self.recipe.unpack.run {
            self.run(&sandbox, argv, None)?;
        }
        for file in &self.recipe.unpack.files {
            fs::write(self.scratch.join(&file.path), file.text.replace("{version}", self.version))?;
        }
        let dated = fs::metadata(self.scratch.join(&self.recipe.source.epoch_from))?;
        let epoch = std::os::unix::fs::MetadataExt::mtime(&dated).to_string();
        for (name, value) in &self.recipe.environment {
            sandbox = sandbox.env(name, &value.replace("{epoch}", &epoch));
        }
        for series in &self.recipe.patches {
            self.apply(&sandbox, series)?;
        }
        Ok(sandbox)
    }

    fn apply(&self, sandbox: &Sandbox, series: &Series) -> Result<(), CompileError> {
        let text = fs::read_to_string(self.on_host(&series.series))?;
        let folder = series.series.rsplit_once('/').map_or("", |(folder, _)| folder);
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split('#').next().map(str::trim))
            .filter(|line| !line.is_empty())
            .collect();
        let has =
            |patch: &str| names.iter().any(|name| *name == patch || name.ends_with(&format!("/{patch}")));
        if let Some(stray) = series.skip.iter().find(|skip| !has(&skip.patch)) {
            return Err(CompileError::NoSuchPatch {
                patch: stray.patch.clone(),
                series: series.series.clone(),
            });
        }
        let skipped = |name: &str| series.skip.iter().any(|skip| name.ends_with(skip.patch.as_str()));
        for name in names.iter().filter(|name| !skipped(name)) {
            self.run(sandbox, &series.run, Some(&format!("{folder}/{name}")))?;
        }
        Ok(())
    }

    fn split_debug(&self, sandbox: &Sandbox, tree: &Path) -> Result<(), CompileError> {
        let mut seen = BTreeSet::new();
        for entry in walkdir::WalkDir::new(tree).sort_by_file_name() {
            let entry = entry.map_err(io::Error::from)?;
            let below = entry.path().strip_prefix(tree).expect("a walk stays below its root");
            if !entry.file_type().is_file() || !seen.insert(walkdir::DirEntryExt::ino(&entry)) {
                continue;
            }
            let debug = match elf(entry.path())? {
                Elf::No => continue,
                Elf::Plain => format!("debug/{}.debug", below.display()),
                Elf::BuildId(id) => {
                    let (first, rest) = id.split_at(2);
                    format!("debug/.build-id/{first}/{rest}.debug")
                }
            };
            fs::create_dir_all(self.out.join(&debug).parent().expect("below the output folder"))?;
            let fill = |argv: &Argv| {
                let file = format!("/out/tools/{}", below.display());
                argv.iter()
                    .map(|word| word.replace("{file}", &file).replace("{debug}", &format!("/out/{debug}")))
                    .collect::<Argv>()
            };
            self.run(sandbox, &fill(&self.recipe.debug.split), None)?;
            self.run(sandbox, &fill(&self.recipe.debug.strip), None)?;
        }
        Ok(())
    }

    /// Runs one command with its placeholders filled in.
    fn run(&self, sandbox: &Sandbox, argv: &Argv, patch: Option<&str>) -> Result<(), CompileError> {
        let (program, rest) = argv.split_first().ok_or_else(|| CompileError::Program(String::new()))?;
        let tool = Tool::named(program).ok_or_else(|| CompileError::Program(program.clone()))?;
        let mut args: Vec<String> = Vec::new();
        for word in rest {
            match word.as_str() {
                "{make}" => args.extend(self.recipe.make.args.iter().cloned()),
                "{hardening}" => args.extend(self.recipe.tools.hardening.iter().cloned()),
                word => args.push(
                    word.replace("{orig}", "/source/orig.tar.xz")
                        .replace("{debian}", "/source/debian.tar.xz")
                        .replace("{version}", self.version)
                        .replace("{patch}", patch.unwrap_or_default())
                        .replace("{jobs}", &self.jobs.to_string()),
                ),
            }
        }
        Ok(sandbox.run(tool, args, self.log)?)
    }

    /// Where a path of the sandbox is on this machine.
    fn on_host(&self, inside: &str) -> PathBuf {
        let places =
            [(self.recipe.source.at.as_str(), self.scratch), ("/out", self.out), ("/recipe", self.folder)];
        for (prefix, place) in places {
            if let Some(rest) = inside.strip_prefix(prefix) {
                return place.join(rest.trim_start_matches('/'));
            }
        }
        PathBuf::from(inside)
    }
}

/// Every line of the fragment has to hold in the final configuration.
fn check_config(fragment: &str, config: &str) -> Result<(), CompileError> {
    for line in fragment.lines().map(str::trim) {
        let holds =
            if let Some(name) = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
                !config.lines().any(|set| set.starts_with(&format!("{name}=")))
            } else if line.is_empty() || line.starts_with('#') {
                true
            } else {
                config.lines().any(|set| set == line)
            };
        if !holds {
            return Err(CompileError::Option { line: line.into() });
        }
    }
    Ok(())
}

/// What a file is to a debugger.
enum Elf {
    No,
    /// ELF without a build id.
    Plain,
    /// ELF with this build id, in hexadecimal.
    BuildId(String),
}

fn elf(path: &Path) -> Result<Elf, io::Error> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Elf::No);
    }
    let file = object::File::parse(bytes.as_slice()).map_err(io::Error::other)?;
    Ok(file.build_id().map_err(io::Error::other)?.map_or(Elf::Plain, |id| Elf::BuildId(hex::encode(id))))
}

fn matches(tree: &Path, pattern: &str) -> Result<Vec<PathBuf>, CompileError> {
    let full = format!("{}/{pattern}", glob::Pattern::escape(&tree.to_string_lossy()));
    let paths = glob::glob(&full).map_err(|source| CompileError::Glob { glob: pattern.into(), source })?;
    let found: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(io::Error::from)?;
    if found.is_empty() { Err(CompileError::NoMatch { glob: pattern.into() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_line_that_did_not_survive_is_an_error_that_names_it() {
        check_config("CONFIG_A=y\n# CONFIG_B is not set\n# words\n", "CONFIG_A=y\n").unwrap();
        let error = check_config("# CONFIG_B is not set\n", "CONFIG_B=y\n").unwrap_err();
        assert!(error.to_string().contains("CONFIG_B"));
        assert!(check_config("CONFIG_A=y\n", "# CONFIG_A is not set\n").is_err());
    }
}
