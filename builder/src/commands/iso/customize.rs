//! `xenolith iso customize`: files for the reserved area of an ISO, which is not built again.
//!
//! All that is given is checked before the ISO is touched. **In place, only bytes of the area are written, and an interruption leaves the
//! old files, none, or the new ones** (`xenolith_disk::reserved` says how). With `--output` a copy is made under another name, changed,
//! and given its own at the end; a file that has the name already is left alone.

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;
use std::os::unix::fs::PermissionsExt as _;
use xenolith_answers::Line;
use xenolith_disk::reserved::{Area, Content, ReservedError, Write, carry_out, read};
use xenolith_layout::{Bytes, names};

use super::given::{Given, check, is_secret};
use crate::{
    cli::{CustomizeArgs, Global},
    commands::{
        inspect::{iso, model::FileSize, window::Window},
        say,
    },
    exit::{Class, Classify as _, Failure},
};

/// The rights that the owner has, and nobody else.
const PRIVATE: u32 = 0o700;
const FRESH: &str = "start from a fresh copy of the ISO, as the build left it";

/// What is decided: the document of `--json`, the same with and without `--dry-run`.
#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    iso: &'a Path,
    /// The copy that is made, or nothing: it is changed in place.
    output: Option<&'a Path>,
    dry_run: bool,
    /// Where the area is, in bytes.
    offset: u64,
    size: u64,
    /// What is in it.
    before: Vec<FileSize>,
    /// What will be in it.
    after: Vec<FileSize>,
    /// What became of every tag of XML answers.
    report: &'a [Line],
}

/// What `--show --json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    iso: &'a Path,
    offset: u64,
    size: u64,
    files: Vec<ShownFile>,
}

#[derive(Serialize)]
struct ShownFile {
    #[serde(flatten)]
    file: FileSize,
    /// Why it would be refused, or nothing.
    refused: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] if a file or the ISO is refused, [`Class::Device`] if it cannot be written.
pub fn run(global: &Global, args: &CustomizeArgs) -> Result<(), Failure> {
    if args.show {
        return show(global, &args.iso);
    }
    let given = Given::read(args)?;
    let area = area(&args.iso)?;
    let before = listed(&args.iso, &area)?;
    let writes = area.writes(&given.content).map_err(|error| unusable(&args.iso, error))?;
    if let Some(output) = args.output.as_deref().filter(|output| output.symlink_metadata().is_ok()) {
        return Err(exists(output));
    }
    let document = Document {
        format: 1,
        iso: &args.iso,
        output: args.output.as_deref(),
        dry_run: args.dry_run,
        offset: area.place.offset,
        size: area.place.length,
        before,
        after: sizes(&given.content),
        report: &given.report,
    };
    if !args.dry_run {
        let secret = given.content.files().any(|(name, bytes)| is_secret(name, bytes));
        match &args.output {
            Some(output) => copy(&args.iso, output, &writes, &given.content, secret)?,
            None => in_place(&args.iso, &writes, secret)?,
        }
    }
    if global.json {
        return print_json(&document);
    }
    given.report.iter().for_each(|line| eprintln!("{line}"));
    say(text(&document).trim_end());
    Ok(())
}

/// The area of an ISO of ours.
fn area(path: &Path) -> Result<Area, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).class(Class::Input, cannot())?;
    if !file.metadata().class(Class::Input, cannot())?.is_file() {
        return Err(Failure::new(Class::Input, format!("{} is not a file", path.display()))
            .hint("customize the ISO, then write it to the stick with `xenolith flash --image`"));
    }
    let mut window = Window::of_file(file).class(Class::Input, cannot())?;
    let ours = || Failure::new(Class::Input, format!("{} is no ISO of ours", path.display()));
    let hint = "customize takes the ISO that `xenolith build` leaves in out/";
    let volume = iso::read(&window).map_err(|error| ours().because(error).hint(hint))?;
    if volume.id != names::ISO_VOLUME_ID {
        return Err(ours().hint(hint));
    }
    let area = Area::load(&mut window).map_err(|error| unusable(path, error))?;
    area.ok_or_else(|| {
        Failure::new(Class::Input, format!("{} has no reserved area", path.display()))
            .hint("it was built before there was one: build it again with `xenolith build`")
    })
}

fn unusable(path: &Path, error: ReservedError) -> Failure {
    let hint = match error {
        ReservedError::InUse => format!("unmount it, or {FRESH}"),
        _ => FRESH.to_owned(),
    };
    Failure::new(Class::Input, format!("{} cannot be customized", path.display())).because(error).hint(hint)
}

fn exists(output: &Path) -> Failure {
    Failure::new(Class::Usage, format!("{} is there already", output.display()))
        .hint("name another file, or remove that one; without --output the ISO itself is changed")
}

fn listed(path: &Path, area: &Area) -> Result<Vec<FileSize>, Failure> {
    let files = area.listed().map_err(|error| unusable(path, error))?;
    Ok(files.into_iter().map(|(path, size)| FileSize { path, size }).collect())
}

fn sizes(content: &Content) -> Vec<FileSize> {
    let file = |(name, bytes): (_, &[u8])| FileSize { path: format!("{name}"), size: bytes.len() as u64 };
    content.files().map(file).collect()
}

fn text(document: &Document<'_>) -> String {
    let target = document.output.unwrap_or(document.iso);
    let will = if document.dry_run { "would hold" } else { "holds" };
    let mut lines = Vec::new();
    if document.after.is_empty() {
        lines.push(format!("the reserved area of {} {will} nothing", target.display()));
    } else {
        lines.push(format!("the reserved area of {} {will}", target.display()));
    }
    let line = |file: &FileSize, word: &str| {
        format!("  {:<14}{:>10}{word}", file.path, Bytes::new(file.size).to_string())
    };
    lines.extend(document.after.iter().map(|file| line(file, "")));
    let stays = |file: &&FileSize| document.after.iter().any(|other| other.path == file.path);
    lines.extend(
        document
            .before
            .iter()
            .filter(|file| !stays(file))
            .map(|file| line(file, if document.dry_run { "  would go" } else { "  is gone" })),
    );
    lines.join("\n")
}

fn in_place(path: &Path, writes: &[Write], secret: bool) -> Result<(), Failure> {
    let cannot = || format!("cannot write {}", path.display());
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).class(Class::Device, cannot())?;
    carry_out(&mut file, writes).class(Class::Device, cannot())?;
    let mode = file.metadata().class(Class::Device, cannot())?.permissions().mode();
    if secret && mode & 0o077 != 0 {
        eprintln!(
            "warning: {} holds the hash of a password now, and others than you can read it",
            path.display()
        );
    }
    Ok(())
}

/// As [`in_place`], on a copy that has its name only when it is whole.
fn copy(
    path: &Path,
    output: &Path,
    writes: &[Write],
    content: &Content,
    secret: bool,
) -> Result<(), Failure> {
    let cannot = || format!("cannot write {}", output.display());
    let folder = match output.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut source = fs::File::open(path).class(Class::Input, format!("cannot read {}", path.display()))?;
    let mode = source.metadata().class(Class::Device, cannot())?.permissions().mode() & 0o777;
    let (made, temporary) = tempfile::Builder::new()
        .prefix(".xenolith-iso-")
        .tempfile_in(&folder)
        .class(Class::Device, cannot())?
        .into_parts();
    let mut copy = fs::File::from_parts(made, temporary.to_path_buf());
    std::io::copy(&mut source, &mut copy).class(Class::Device, cannot())?;
    carry_out(&mut copy, writes).class(Class::Device, cannot())?;
    let found = read(&mut copy).class(Class::Device, cannot())?;
    if found.as_ref() != Some(content) {
        return Err(Failure::new(Class::Device, cannot())
            .because(anyhow::anyhow!("{} was changed while it was copied", path.display())));
    }
    let mode = if secret { mode & PRIVATE } else { mode };
    copy.set_permissions(std::fs::Permissions::from_mode(mode)).class(Class::Device, cannot())?;
    copy.sync_all().class(Class::Device, cannot())?;
    temporary.persist_noclobber(output).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(output),
        _ => Failure::new(Class::Device, cannot()).because(error.error),
    })?;
    fs::File::open(&folder).and_then(|folder| folder.sync_all()).class(Class::Device, cannot())
}

fn show(global: &Global, path: &Path) -> Result<(), Failure> {
    let area = area(path)?;
    let content = area.content().map_err(|error| unusable(path, error))?;
    let refused = |file: &FileSize| {
        let (name, bytes) = content.files().find(|(name, _)| file.path.eq_ignore_ascii_case(name.text()))?;
        check(name, bytes).err().map(|error| error.to_string())
    };
    let files: Vec<ShownFile> =
        listed(path, &area)?.into_iter().map(|file| ShownFile { refused: refused(&file), file }).collect();
    let wrong = files.iter().filter(|file| file.refused.is_some()).count();
    if global.json {
        let (offset, size) = (area.place.offset, area.place.length);
        print_json(&Shown { format: 1, iso: path, offset, size, files })?;
    } else {
        let empty = if files.is_empty() { ", empty" } else { "" };
        let length = Bytes::new(area.place.length);
        say(&format!("reserved area of {length} at byte {}{empty}", area.place.offset));
        for ShownFile { file, refused } in &files {
            let why = refused.as_ref().map(|why| format!("  would be refused: {why}")).unwrap_or_default();
            say(&format!("  {:<14}{:>10}{why}", file.path, Bytes::new(file.size).to_string()));
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::new(Class::Input, format!("{} holds what would be refused", path.display()))
            .hint("put the right files in with `xenolith iso customize`, or --clear")),
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string_pretty(value).class(Class::Bug, "cannot print JSON")?);
    Ok(())
}
