//! The bare cost of a build's work: its large parts, one after the other, by the programs that do them and nothing else.
//!
//! What a script would do: `dpkg-deb -x` on two processors, the commands of `hypervisor-src/build.toml` with `make -j2`, one call
//! of `cargo build`, mkosi, mkfs.erofs. No keys, hashing, store or checks. Left out are the small parts, which
//! therefore count as the builder's own: vendoring crates, initrd, archive of the root tree, verity tree, boot file, signatures,
//! ISO, disk image, update set, bill of materials.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use fs_err as fs;
use serde::Serialize;
use xenolith_sandbox::{Sandbox, Tool};

use super::{Built, result, step_failure, tell};
use crate::{
    exit::{Class, Classify as _, Failure},
    steps::{self, compile, crates, dom0, image},
};

/// One part of the work.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What was run.
    pub what: &'static str,
    /// The steps that do the same.
    pub steps: Vec<&'static str>,
    /// How long it took.
    pub seconds: f64,
}

/// Does the work and forgets what comes of it.
///
/// # Errors
/// [`Class::Failed`] with the program that failed.
pub fn measure(built: &Built, folder: &Path, jobs: usize) -> Result<Vec<Part>, Failure> {
    let bare = Bare { built, folder, jobs, log: folder.join("log") };
    type Run<'a> = fn(&Bare<'a>, &Path) -> Result<f64, Failure>;
    let programs: Vec<&'static str> =
        std::iter::once("crates-deps").chain(crates::all().map(|program| program.step)).collect();
    let parts: [(&str, Vec<&'static str>, Run<'_>); 5] = [
        ("dpkg-deb -x", vec!["tools-tree", "build-tree"], Bare::unpack),
        ("configure and make of Xen", vec!["xen-hypervisor", "xen-tools"], Bare::compile_xen),
        ("cargo build", programs, Bare::compile_crates),
        ("mkosi, into a folder", vec!["packages"], Bare::install),
        ("mkfs.erofs", vec!["root"], Bare::make_image),
    ];
    let mut measured = Vec::new();
    for (what, steps, run) in parts {
        tell(&format!("bare work: {what}"));
        let work = folder.join("work");
        fs::create_dir_all(&work).class(Class::Host, "cannot make a folder to work in")?;
        let seconds = run(&bare, &work)?;
        fs::remove_dir_all(&work).class(Class::Host, "cannot remove what the bare work left")?;
        measured.push(Part { what, steps, seconds });
    }
    Ok(measured)
}

struct Bare<'a> {
    built: &'a Built,
    folder: &'a Path,
    jobs: usize,
    log: PathBuf,
}

impl Bare<'_> {
    fn unpack(&self, work: &Path) -> Result<f64, Failure> {
        const NO_LIST: &str = "cannot list the packages to unpack";
        let mut seconds = 0.0;
        for group in ["tools", "build"] {
            let out = work.join(group);
            fs::create_dir_all(&out).class(Class::Host, NO_LIST)?;
            let packages =
                steps::repository(&self.built.plan, group).map_err(step_failure("reading the lock"))?;
            let Some(blobs) = packages.first().and_then(|package| package.blob.parent()) else { continue };
            let names: Vec<String> = packages.iter().map(|package| format!("{}\n", package.sha256)).collect();
            let list = work.join(format!("{group}.list"));
            fs::write(&list, names.concat()).class(Class::Host, NO_LIST)?;
            let sandbox = Sandbox::new(result(self.built, "tools-tree")?)
                .bind_ro(blobs, "/blobs")
                .bind_ro(&list, "/tmp/list")
                .bind_rw(&out, "/out");
            let script =
                format!("xargs -P {} -I '{{}}' dpkg-deb -x '/blobs/{{}}' /out < /tmp/list", self.jobs);
            let began = Instant::now();
            sandbox.run(Tool::Sh, ["-c", &script], &self.log).class(Class::Failed, "unpacking failed")?;
            seconds += began.elapsed().as_secs_f64();
        }
        Ok(seconds)
    }

    fn compile_xen(&self, work: &Path) -> Result<f64, Failure> {
        let plan = &self.built.plan;
        let source = steps::xen_source(plan).map_err(step_failure("reading the lock"))?;
        let (orig, debian) = (plan.store.blob_path(&source.orig), plan.store.blob_path(&source.debian));
        let tree = result(self.built, "build-tree")?;
        let mut seconds = 0.0;
        type Run = fn(&compile::Job<'_>) -> Result<(), compile::CompileError>;
        let runs: [(&str, Run); 2] = [("hypervisor", |job| job.hypervisor()), ("tools", |job| job.tools())];
        for (name, run) in runs {
            let (scratch, out) = (work.join(name).join("scratch"), work.join(name).join("out"));
            for folder in [&scratch, &out] {
                fs::create_dir_all(folder).class(Class::Host, "cannot make a folder to compile in")?;
            }
            let job = compile::Job {
                recipe: &plan.compile,
                tree,
                folder: &plan.root.join("hypervisor-src"),
                orig: &orig,
                debian: &debian,
                version: &source.version,
                scratch: &scratch,
                out: &out,
                log: &self.log,
                jobs: self.jobs,
            };
            let began = Instant::now();
            run(&job).class(Class::Failed, "compiling Xen failed")?;
            seconds += began.elapsed().as_secs_f64();
        }
        Ok(seconds)
    }

    fn compile_crates(&self, work: &Path) -> Result<f64, Failure> {
        let plain = crates::Plain {
            root: &self.built.plan.root,
            source: result(self.built, "crates-source")?,
            tree: result(self.built, "build-tree")?,
            xen_tools: result(self.built, "xen-tools")?,
            work,
            jobs: self.jobs,
        };
        let began = Instant::now();
        plain.run(&self.log).map_err(step_failure("compiling the crates"))?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn install(&self, work: &Path) -> Result<f64, Failure> {
        let plan = &self.built.plan;
        let [repository, scratch, out] = ["repository", "scratch", "out"].map(|name| work.join(name));
        for folder in [&scratch, &out] {
            fs::create_dir_all(folder).class(Class::Host, "cannot make a folder for mkosi")?;
        }
        let packages = write_repository(plan, &repository)?;
        let folder = plan.root.join("dom0-rootfs");
        let mkosi = dom0::Mkosi {
            tools: result(self.built, "tools-tree")?,
            folder: &folder,
            repository: &repository,
            scratch: &scratch,
            out: &out,
            packages: &packages,
        };
        let began = Instant::now();
        mkosi.run(&[], &self.log).map_err(step_failure("mkosi"))?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn make_image(&self, work: &Path) -> Result<f64, Failure> {
        let plan = &self.built.plan;
        let overlay = plan.root.join("dom0-rootfs/overlay");
        let tree =
            image::layers(&layers(self.built, &overlay)?, "").map_err(step_failure("the root tree"))?;
        let (archive, image) = (work.join("root.tar"), work.join("root.erofs"));
        image::write_archive(&tree, &archive).map_err(step_failure("the root archive"))?;
        let options = image::erofs_options(&plan.recipe.root);
        let tools = result(self.built, "tools-tree")?;
        let began = Instant::now();
        image::make_erofs(tools, &archive, &image, &options, &self.folder.join("log"))
            .map_err(step_failure("mkfs.erofs"))?;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// What the root tree of this build is made of.
pub fn layers<'a>(built: &'a Built, overlay: &'a Path) -> Result<image::Layers<'a>, Failure> {
    Ok(image::Layers {
        packages: result(built, "packages")?,
        xen_tools: result(built, "xen-tools")?,
        crates: result(built, "crates")?,
        overlay,
    })
}

/// The repository that mkosi installs dom0 from, and what is in it.
pub fn write_repository(plan: &steps::Plan, folder: &Path) -> Result<Vec<dom0::RepositoryPackage>, Failure> {
    let packages = steps::repository(plan, "dom0").map_err(step_failure("reading the lock"))?;
    let exclude: Vec<String> = plan.dom0.exclude.iter().map(|package| package.name.clone()).collect();
    dom0::write_repository(folder, &packages, &exclude).map_err(step_failure("writing the repository"))?;
    Ok(packages)
}
