//! `xenolith report`: one page about a build.
//!
//! ```text
//!   out/manifest.json ─┬─▶ image, results          what there is
//!   the store's record ┼─▶ timeline                what ran, what it waited for
//!   files.json + owners┼─▶ contents ─▶ squarify    what takes the room
//!   out/*, keys ───────┼─▶ chain                   who vouches for whom, checked now
//!   --against FILE ────┴─▶ changes                 what is different
//!                           └─▶ Page (data) ─▶ view ─▶ report.html
//! ```
//! The left side reads and decides nothing about looks; [`view`] makes HTML of a [`Page`] and reads nothing. What cannot
//! be shown is said on the page with the reason: a build of one target has no netboot set, a cache can be cleaned.

mod chain;
mod changes;
mod contents;
mod model;
mod squarify;
#[cfg(test)]
mod tests;
mod timeline;
mod view;

use std::path::Path;

use fs_err as fs;
use xenolith_store::{LastBuild, StepName, Store};

use self::model::{Contents, Page, Presence, ResultFile};
use crate::{
    cli::{Global, ReportArgs},
    exit::{Class, Classify as _, Failure},
    project::Project,
    recipe::{Recipe, read_toml},
    steps::{
        self,
        describe::{manifest, manifest::Manifest, packages},
        image::{FileEntry, RootFacts},
    },
};

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] without a build to tell about or with an `--against` that cannot be read; [`Class::Device`] when the
/// page cannot be written.
pub fn run(global: &Global, args: &ReportArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let out = project.output(args.output.as_deref());
    let page = collect(&project, &out, args)?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&page).class(Class::Bug, "cannot print the report")?);
        return Ok(());
    }
    let to = args.to.clone().unwrap_or_else(|| out.join("report.html"));
    fs::write(&to, view::page(&page).into_string()).class(Class::Device, "the report was not written")?;
    println!("{}", to.display());
    Ok(())
}

fn collect(project: &Project, out: &Path, args: &ReportArgs) -> Result<Page, Failure> {
    let manifest = read_manifest(&out.join(manifest::FILE)).map_err(|failure| {
        failure.hint("run `xenolith build`, or name the folder of a build's results with --output")
    })?;
    let recipe: Recipe = read_toml(&project.recipe())?;
    let store = Store::open(&project.cache)
        .class(Class::Host, format!("cannot use the cache folder {}", project.cache.display()))?;
    let last = store.last(&StepName::of(steps::WHOLE));
    let mut notes = Vec::new();
    let image_contents = contents_of(&store, last.as_ref(), &manifest).unwrap_or_else(|why| {
        notes.push(format!("What the image holds cannot be shown: {why}."));
        None
    });
    if last.is_none() {
        notes.push("The cache has no record of a build, so there is no timeline.".into());
    }
    let changes = match &args.against {
        Some(path) => Some(changes::against(&manifest, path)?),
        None => None,
    };
    Ok(Page {
        results: results(&manifest, out, &recipe),
        timeline: last.as_ref().map(timeline::timeline),
        contents: image_contents,
        chain: chain::chain(&manifest, out, args.keys.as_deref(), (&store, last.as_ref())),
        changes,
        notes,
        image: manifest.into(),
    })
}

fn read_manifest(path: &Path) -> Result<Manifest, Failure> {
    let text = fs::read_to_string(path).class(Class::Input, "there is no build to report about")?;
    Manifest::parse(&text).class(Class::Input, format!("cannot use {}", path.display()))
}

fn results(manifest: &Manifest, out: &Path, recipe: &Recipe) -> Vec<ResultFile> {
    let budget = |name: &str| {
        let root = name == "netboot/root.erofs";
        if name.ends_with(".iso") { Some(recipe.budget.iso.0) } else { root.then_some(recipe.budget.root.0) }
    };
    // What a person takes away lies on top, sets of files below in folders.
    let mut files: Vec<_> = manifest.files.iter().collect();
    files.sort_by_key(|file| (file.name.contains('/'), file.name.as_str()));
    files
        .into_iter()
        .map(|file| ResultFile {
            name: file.name.clone(),
            size: file.size,
            sha256: file.sha256.clone(),
            budget: budget(&file.name),
            presence: match fs::metadata(out.join(&file.name)) {
                Ok(there) if there.len() == file.size => Presence::There,
                Ok(_) => Presence::OtherSize,
                Err(_) => Presence::Gone,
            },
        })
        .collect()
}

/// The files of the root image by package, if the cache still has the step that made it.
fn contents_of(
    store: &Store,
    last: Option<&LastBuild>,
    manifest: &Manifest,
) -> Result<Option<Contents>, String> {
    let gone = "the cache no longer has it; `xenolith build` makes it again";
    let folder = |step: &'static str| {
        let record = last.and_then(|last| last.steps.get(&StepName::of(step))).ok_or(gone)?;
        Ok::<_, String>(store.output_path(&record.key))
    };
    let root = folder("root")?;
    let facts = RootFacts::read(&root).map_err(|_| gone.to_owned())?;
    if facts.root_hash != manifest.root.hash {
        return Err("the last build in the cache made another image than the one in this folder".into());
    }
    let text = fs::read(root.join("files.json")).map_err(|error| error.to_string())?;
    let files: Vec<FileEntry> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let owners = packages::read(&folder("package-files")?).map_err(|_| gone.to_owned())?;
    Ok(Some(contents::contents(&files, &owners)))
}

/// Where the last build left a step's output.
fn step_output(store: &Store, last: Option<&LastBuild>, step: &'static str) -> Option<std::path::PathBuf> {
    let record = last?.steps.get(&StepName::of(step))?;
    let folder = store.output_path(&record.key);
    folder.is_dir().then_some(folder)
}

/// The name of a result without the image's name and version, which differ between builds.
fn plain_name(name: &str, manifest: &Manifest) -> String {
    let prefix = format!("xenolith-{}", manifest.identity.version);
    let known =
        steps::results(&manifest.identity.version).iter().any(|(_, _, to)| name.starts_with(to.as_str()));
    match name.strip_prefix(&prefix).filter(|_| known) {
        Some(rest) => format!("xenolith{rest}"),
        None => name.to_owned(),
    }
}
