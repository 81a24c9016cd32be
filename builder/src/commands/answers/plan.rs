//! `xenolith answers plan`: what an installation would do to a machine that is somewhere else.

use std::path::Path;

use serde::Serialize;
use xenolith_installer::{Image, Plan, plan};
use xenolith_layout::{Bytes, Seed};

use super::{captured, print_json, read};
use crate::{
    cli::{Global, PlanArgs},
    commands::{
        inspect::{
            image::Look,
            inspect,
            model::{Iso, What},
            program::Trusted,
        },
        run::newest,
    },
    exit::{Class, Classify as _, Failure},
    project::Project,
};

/// What `answers plan --json` prints.
#[derive(Serialize)]
struct Planned<'a> {
    format: u32,
    /// GUIDs in it are those of this one document: an installation draws its own.
    plan: &'a Plan,
}

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] if a file cannot be used, or these answers have no plan on this machine.
pub fn run(global: &Global, args: &PlanArgs) -> Result<(), Failure> {
    let answers = read(&args.file)?;
    let machine = captured(&args.machine)?;
    let iso = match &args.iso {
        Some(iso) => iso.clone(),
        None => newest(&Project::find(global)?.output(None), ".iso").ok_or_else(|| {
            Failure::new(Class::Usage, "there is no ISO to install")
                .hint("run `xenolith build` first, or name one with --iso")
        })?,
    };
    let plan = plan(&machine, &answers, &image(&iso)?, Seed::new([0; 32]))
        .class(Class::Input, "the machine would not be installed")?;
    if global.json {
        return print_json(&Planned { format: 1, plan: &plan });
    }
    super::super::say(plan.to_string().trim_end());
    Ok(())
}

/// The image on an ISO.
fn image(path: &Path) -> Result<Image, Failure> {
    let trusted = Trusted::default();
    let found = inspect(path, &Look { quick: true, trusted: &trusted })?;
    let image = match found.what {
        What::Iso(iso) => of_iso(&iso),
        _ => None,
    };
    image.ok_or_else(|| Failure::new(Class::Input, format!("{} is no ISO of ours", path.display())))
}

fn of_iso(iso: &Iso) -> Option<Image> {
    let root = iso.root.as_ref()?;
    let version = iso.esp.as_ref()?.programs.iter().find_map(|program| program.version.as_ref())?;
    Some(Image {
        version: version.parse().ok()?,
        root_hash: root.root_hash?,
        root: Bytes::new(root.size),
        verity: Bytes::new(root.verity_size),
    })
}
