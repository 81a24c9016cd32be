//! What the page tells, as data. `xenolith report --json` prints it as it is.

use serde::Serialize;

use crate::steps::{describe::manifest::Manifest, image::Identity};

/// A page.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Which image.
    pub image: Image,
    /// The files in the output folder.
    pub results: Vec<ResultFile>,
    /// The last build; none if the cache has no record of one.
    pub timeline: Option<Timeline>,
    /// What takes the room in the root image; none if the cache no longer has it.
    pub contents: Option<Contents>,
    /// What firmware, loader, boot file and kernel check, in this order.
    pub chain: Vec<Link>,
    /// What differs from another build, if that was asked.
    pub changes: Option<Changes>,
    /// What could not be shown, and why.
    pub notes: Vec<String>,
}

/// Which image a page is about.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Name, version, variant, revision, lock.
    pub identity: Identity,
    /// The build.
    pub build_id: String,
    /// The top of the verity tree.
    pub root_hash: String,
    /// Bytes of the root image.
    pub root_size: u64,
    /// Xen's version.
    pub xen: String,
    /// The kernel's.
    pub kernel: String,
    /// How many packages dom0 is made of.
    pub packages: usize,
}

impl From<Manifest> for Image {
    fn from(manifest: Manifest) -> Self {
        Self {
            identity: manifest.identity,
            build_id: manifest.build_id,
            root_hash: manifest.root.hash.to_string(),
            root_size: manifest.root.size,
            xen: manifest.versions.xen,
            kernel: manifest.versions.kernel,
            packages: manifest.packages.len(),
        }
    }
}

/// A file of the output folder.
#[derive(Clone, Debug, Serialize)]
pub struct ResultFile {
    /// Its name there.
    pub name: String,
    /// Its length by the manifest.
    pub size: u64,
    /// Its sum by the manifest.
    pub sha256: String,
    /// What `image.toml` allows it, in bytes.
    pub budget: Option<u64>,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a file of the manifest is in the folder. Contents are compared for the boot chain only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// With the right length.
    There,
    /// With another length.
    OtherSize,
    /// Not there.
    Gone,
}

/// A build, step by step.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// When it began, RFC 3339.
    pub began: String,
    /// How long it took.
    pub took_ms: u64,
    /// Its steps, in the order in which they came to be done.
    pub steps: Vec<StepRow>,
    /// Seconds that a build from nothing takes if every step begins as soon as its inputs are there.
    pub cold_seconds: f64,
}

/// A step of a build.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// Its name.
    pub step: String,
    /// How it came out.
    pub outcome: xenolith_store::Outcome,
    /// When all its inputs were there, since the build began.
    pub ready_ms: u64,
    /// When its work began.
    pub began_ms: u64,
    /// When it was done.
    pub ended_ms: u64,
    /// Seconds of work, in this build or in the one that made its result.
    pub seconds: f64,
    /// Bytes of its output.
    pub bytes: u64,
    /// Why it ran, in words; nothing if it never had before.
    pub reason: Option<String>,
    /// The steps that it reads.
    pub inputs: Vec<String>,
    /// When it would begin in a build from nothing, in seconds.
    pub cold_began: f64,
    /// Whether a build from nothing gets shorter only if this step does.
    pub critical: bool,
}

/// What a part of the image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel and its modules.
    Kernel,
    /// Firmware for devices and processors.
    Firmware,
    /// Xen, compiled here.
    Xen,
    /// Our programs and settings.
    Own,
    /// Any other Debian package.
    Package,
    /// What maintainer scripts and mkosi made.
    Generated,
}

/// The files of the root image by what they belong to, largest first.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// Bytes of all files, before compression.
    pub size: u64,
    /// How many there are.
    pub files: usize,
    /// The groups.
    pub groups: Vec<Group>,
}

/// A package, or something like one.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its files.
    pub size: u64,
    /// Its files with their sizes, largest first.
    pub files: Vec<(String, u64)>,
}

/// A link of the boot chain.
#[derive(Clone, Debug, Serialize)]
pub struct Link {
    /// What it is.
    pub title: &'static str,
    /// What it does for the next one.
    pub says: String,
    /// What is known of it.
    pub facts: Vec<(String, String)>,
    /// What was checked while this page was made.
    pub checks: Vec<Check>,
    /// The sections of a program.
    pub sections: Vec<Section>,
}

/// A check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is about.
    pub about: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Broken(String),
    /// It could not be made.
    NotMade(String),
}

/// A section of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The sum of its bytes.
    pub sha256: String,
    /// What it holds, if it is text.
    pub text: Option<String>,
}

/// What differs from another build.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// What it was compared with.
    pub against: String,
    /// Names and versions that differ: what, before, now.
    pub facts: Vec<(String, String, String)>,
    /// Packages that differ.
    pub packages: Vec<Change>,
    /// Packages that do not.
    pub same_packages: usize,
    /// Results with another sum; empty when compared with a lock.
    pub results: Vec<Change>,
    /// Results with the same sum.
    pub same_results: usize,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// How.
    pub how: How,
    /// What it was: a version, or the start of a sum.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
    /// Its bytes before; 0 if it was not there.
    pub size_from: u64,
    /// Its bytes now; 0 if it is gone.
    pub size_to: u64,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// A later version.
    Upgraded,
    /// An earlier version.
    Downgraded,
    /// The same version with other bytes.
    Rebuilt,
}
