//! `xenolith lock`: resolve, pin, and say what changed.

use std::io::Write as _;

use fs_err as fs;
use xenolith_archive::{
    Archive,
    date::Timestamp,
    fetch::{DownloadOptions, Downloader, FetchError},
    lock::Lock,
    locking::{FetchFailure, LockRequest, update},
};

use super::setup::{Wanted, mirrors, read_lock};
use crate::{
    cli::{Global, LockArgs},
    exit::{Class, Classify as _, Failure},
    project::Project,
};

/// The largest index that is fetched: Debian's Sources.xz has 11 MB.
const LARGEST_INDEX: u64 = 64 << 20;

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] when the lock does not fit (`--check`) or nothing can satisfy the recipe; [`Class::Network`] and
/// [`Class::Trust`] when indexes cannot be had or believed.
pub fn run(global: &Global, args: &LockArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let wanted = Wanted::read(&project)?;
    if args.check {
        return check(&project, &wanted);
    }
    let path = project.lock();
    let previous = if path.exists() { Some(read_lock(&project)?) } else { None };
    let only = match &args.update {
        None => Some(Vec::new()),
        Some(names) if names.is_empty() => None,
        Some(names) => Some(
            names
                .iter()
                .map(|name| name.parse().class(Class::Usage, format!("{name:?} is no package name")))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    let request = LockRequest {
        groups: wanted.groups()?,
        sources: vec![
            wanted.compile.package().parse().class(Class::Input, "build.toml names no source package")?,
        ],
        only: only.filter(|_| previous.is_some()),
        now: Timestamp::now(),
    };
    let mirrors = mirrors(&args.mirror)?;
    let downloader = Downloader::new(DownloadOptions::default());
    eprintln!("reading the package indexes …");
    let fetch = |archive: Archive, path: &str| -> Result<Vec<u8>, FetchFailure> {
        downloader
            .fetch_small(mirrors.file(archive, path).as_str(), LARGEST_INDEX)
            .map_err(FetchFailure::from)
    };
    // A file that is there is larger than nothing: no byte of it is read.
    let has = |archive: Archive, path: &str| {
        !matches!(
            downloader.fetch_small(mirrors.file(archive, path).as_str(), 0),
            Err(FetchError::NotFound { .. })
        )
    };
    let lock = update(&request, previous.as_ref(), &fetch, &has)
        .class(Class::Input, "there is no new lock; the old one stays as it was")?;
    let empty = Lock::default();
    let diff = Lock::diff(previous.as_ref().unwrap_or(&empty), &lock);
    if global.json {
        println!("{}", serde_json::to_string_pretty(&diff).class(Class::Bug, "cannot print the difference")?);
    } else {
        print!("{diff}");
    }
    if !args.dry_run {
        write_atomically(&path, lock.render().as_bytes())?;
    }
    Ok(())
}

fn check(project: &Project, wanted: &Wanted) -> Result<(), Failure> {
    let lock = read_lock(project)?;
    let stale = lock.stale_groups(&wanted.groups()?);
    if stale.is_empty() {
        eprintln!("xenolith.lock fits the recipe: {} packages", lock.packages().len());
        return Ok(());
    }
    let words: Vec<String> = stale.iter().map(ToString::to_string).collect();
    Err(Failure::new(Class::Input, format!("xenolith.lock does not fit the recipe: {}", words.join("; ")))
        .hint("run `xenolith lock`"))
}

fn write_atomically(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    let what = || format!("cannot write {}", path.display());
    let folder = path.parent().expect("the lock lies in the checkout");
    let mut file = tempfile::NamedTempFile::new_in(folder).class(Class::Device, what())?;
    file.write_all(bytes).class(Class::Device, what())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).class(Class::Device, what())?;
    file.as_file().sync_all().class(Class::Device, what())?;
    file.persist(path).class(Class::Device, what())?;
    fs::metadata(path).class(Class::Device, what())?;
    Ok(())
}
