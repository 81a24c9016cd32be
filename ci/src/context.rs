//! What checks share: where things are, and the artefacts under test.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    ops::AddAssign,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::Context as _;
use fs_err as fs;

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// So many did what they should.
    pub passed: u64,
    /// So many did not.
    pub failed: u64,
}

impl Count {
    /// One test that passed.
    pub const ONE: Self = Self { passed: 1, failed: 0 };
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The checkout under test.
pub struct Context {
    /// Its folder.
    pub root: PathBuf,
    /// Where files of failed scenarios go.
    pub keep: PathBuf,
    /// Where programs are kept that only tests need.
    pub tools: PathBuf,
    /// The builder that the unit tests have compiled, if they ran.
    pub compiled: OnceLock<PathBuf>,
    artefacts: OnceLock<Artefacts>,
}

/// What a build made, by step.
#[derive(Clone, Debug)]
pub struct Artefacts(BTreeMap<String, PathBuf>);

/// The steps whose outputs scenarios use.
const STEPS: &[&str] = &[
    "vm-tree",
    "tools-tree",
    "test-guest",
    "xen-hypervisor",
    "xen-tools",
    "root",
    "signed",
    "iso",
    "disk",
    "netboot",
];

impl Context {
    /// Finds the checkout.
    ///
    /// # Errors
    /// When this program was not started by cargo, or there is no cache folder.
    pub fn new(keep: Option<PathBuf>) -> anyhow::Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the checkout is gone")?.to_path_buf();
        let keep = keep.unwrap_or_else(|| root.join("target/ci-failures"));
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .context("neither XDG_CACHE_HOME nor HOME is set")?;
        Ok(Self {
            root,
            keep,
            tools: cache.join("xenolith-ci"),
            compiled: OnceLock::new(),
            artefacts: OnceLock::new(),
        })
    }

    /// A cargo command in the checkout.
    pub fn cargo(&self, args: &[&str]) -> duct::Expression {
        duct::cmd(cargo(), args).dir(&self.root).env("CARGO_TERM_COLOR", "never")
    }

    /// Where cargo puts what it compiles.
    pub fn cargo_target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// The builder, as a user calls it.
    pub fn xenolith(&self, args: &[&str]) -> duct::Expression {
        let words = self.xenolith_words(args);
        let (program, args) = words.split_first().expect("the first word is the program");
        duct::cmd(program, args).dir(&self.root).env("CARGO_TERM_COLOR", "never")
    }

    /// The same, for whoever starts it later, in [`Context::root`]. Cargo compiles much of it anew for this one package, since features
    /// differ from those of the whole workspace; so the one that was compiled with the tests is taken if it is there.
    pub fn xenolith_words(&self, args: &[&str]) -> Vec<OsString> {
        let args = args.iter().map(OsString::from);
        if let Some(program) = self.compiled.get() {
            return [program.into()].into_iter().chain(args).collect();
        }
        let run = ["run", "--quiet", "--locked", "--package", "xenolith", "--"].map(OsString::from);
        [cargo()].into_iter().chain(run).chain(args).collect()
    }

    /// The outputs of the steps, brought up to date once.
    ///
    /// # Errors
    /// When the build fails; it has said why.
    pub fn artefacts(&self) -> anyhow::Result<&Artefacts> {
        if let Some(artefacts) = self.artefacts.get() {
            return Ok(artefacts);
        }
        let args: Vec<&str> = ["--json", "path"].into_iter().chain(STEPS.iter().copied()).collect();
        let text = self.xenolith(&args).read().context("the build failed")?;
        let paths = serde_json::from_str(&text).context("the builder's answer is not understood")?;
        Ok(self.artefacts.get_or_init(|| Artefacts(paths)))
    }

    /// Keeps a picture of what somebody sees, for the documentation and whoever wants to look.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep_picture(&self, picture: &Path, name: &str) -> anyhow::Result<()> {
        let folder = self.root.join("target/ci-pictures");
        fs::create_dir_all(&folder)?;
        fs::copy(picture, folder.join(name))?;
        Ok(())
    }

    /// An empty folder for what a failed scenario leaves.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kept(&self, scenario: &str) -> anyhow::Result<PathBuf> {
        let folder = self.keep.join(scenario);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

impl Artefacts {
    /// A file of a step's output; the whole output for an empty name.
    pub fn file(&self, step: &str, name: &str) -> PathBuf {
        assert!(STEPS.contains(&step), "{step} is not among the steps that scenarios use");
        let output = &self.0[step];
        if name.is_empty() { output.clone() } else { output.join(name) }
    }
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
