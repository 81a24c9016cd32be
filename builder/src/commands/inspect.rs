//! `xenolith inspect`: says what a file holds, and whether it holds together.
//!
//! Everything that is read here may come from anywhere and be damaged: each reader has limits and gives an error that says
//! what is wrong ([`window`] says how). A file that is whole but not by us is described as far as it goes; one that
//! contradicts itself (verity tree, signature, sums) is described too, and then the command ends with the exit code for trust.

pub mod fat;
pub mod gpt;
pub mod image;
pub mod iso;
pub mod model;
pub mod program;
mod show;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod update;
pub mod window;

use std::path::Path;

use fs_err as fs;
use xenolith_disk::table::TableError;

use self::{
    image::Look,
    model::{FORMAT, Inspection, What},
    program::Trusted,
    window::Window,
};
use crate::{
    cli::{Global, InspectArgs},
    exit::{Class, Classify as _, Failure},
    project,
};

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] if the file is nothing that we know, [`Class::Trust`] if something in it does not hold.
pub fn run(global: &Global, args: &InspectArgs) -> Result<(), Failure> {
    let folder = match &args.keys {
        Some(folder) => Some(folder.clone()),
        // Somebody who only inspects needs neither keys nor a place for them.
        None => project::keys_folder(None).ok().filter(|folder| folder.exists()),
    };
    let trusted = match &folder {
        None => Trusted::default(),
        Some(folder) => Trusted::load(folder)
            .class(Class::Trust, format!("cannot use the certificates in {}", folder.display()))?,
    };
    if args.keys.is_some() && trusted.certificates.is_empty() && trusted.update_keys.is_empty() {
        let what = format!(
            "{} holds neither db.crt nor update.pub",
            args.keys.as_ref().unwrap_or(&args.file).display()
        );
        return Err(Failure::new(Class::Trust, what));
    }
    let found = inspect(&args.file, &Look { quick: args.quick, trusted: &trusted })?;
    let text = if global.json {
        serde_json::to_string_pretty(&found).class(Class::Bug, "cannot print what was found")?
    } else {
        show::text(&found)
    };
    super::say(text.trim_end());
    match found.broken().as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let what = format!("{} does not hold together{more}", args.file.display());
            Err(Failure::new(Class::Trust, what).because(anyhow::anyhow!(first.clone())))
        }
    }
}

/// Finds out what a file is, and all about it.
///
/// # Errors
/// [`Class::Input`] if it cannot be read or is nothing that we know.
pub fn inspect(path: &Path, look: &Look<'_>) -> Result<Inspection, Failure> {
    let cannot = || format!("cannot inspect {}", path.display());
    let metadata = fs::metadata(path).class(Class::Input, cannot())?;
    if metadata.is_dir() {
        return folder(path, look);
    }
    let window = fs::File::open(path).and_then(Window::of_file).class(Class::Input, cannot())?;
    let what = if window.array::<2>(0).is_ok_and(|head| head == *b"MZ") {
        let bytes = window.to_vec(program::MAX_PROGRAM).class(Class::Input, cannot())?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let program = program::inspect(&name, &bytes, look.trusted).class(Class::Input, cannot())?;
        What::BootFile(Box::new(program))
    } else if iso::is_iso(&window) {
        What::Iso(Box::new(image::iso(&window, look).class(Class::Input, cannot())?))
    } else {
        match image::disk(&window, look) {
            Ok(disk) => What::Disk(Box::new(disk)),
            Err(TableError::Missing) => {
                let what = format!("{} is none of the files that a build makes", path.display());
                return Err(Failure::new(Class::Input, what).hint(
                    "inspect knows ISOs, disk images, boot files (.efi) and the folder of an update set",
                ));
            }
            Err(error) => return Err(Failure::new(Class::Input, cannot()).because(error)),
        }
    };
    Ok(Inspection { format: FORMAT, path: path.to_path_buf(), size: window.len(), what })
}

fn folder(path: &Path, look: &Look<'_>) -> Result<Inspection, Failure> {
    let cannot = || format!("cannot inspect {}", path.display());
    let what = if path.join(update::INDEX).is_file() {
        What::UpdateSet(Box::new(update::update_set(path, look).class(Class::Input, cannot())?))
    } else if path.join("root.erofs").is_file() {
        What::Netboot(Box::new(update::netboot(path, look).class(Class::Input, cannot())?))
    } else {
        return Err(Failure::new(
            Class::Input,
            format!("{} is no update set: it has no {}", path.display(), update::INDEX),
        )
        .hint("of a folder of results, inspect one file, or its update/ or netboot/ folder"));
    };
    let files = walkdir::WalkDir::new(path).max_depth(1).into_iter().filter_map(Result::ok);
    let size =
        files.filter_map(|entry| entry.metadata().ok()).filter(|file| file.is_file()).map(|file| file.len());
    Ok(Inspection { format: FORMAT, path: path.to_path_buf(), size: size.sum(), what })
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
