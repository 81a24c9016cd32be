//! `xenolith path`: where the output of a step lies.

use xenolith_store::{StepName, Store};

use super::{build, setup};
use crate::{
    cli::{Global, PathArgs},
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
    steps,
};

/// Runs the command: a line for each step asked for, or one JSON object.
///
/// # Errors
/// [`Class::Usage`] for a name that no step has; otherwise as a build.
pub fn run(global: &Global, args: &PathArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let names = known(&project, args)?;
    // Events of the build go to nobody: standard output holds the answer alone.
    let quiet = Global { json: false, ..global.clone() };
    let built = build::build(&quiet, &project, &args.build, &names, &[])?;
    let mut paths = serde_json::Map::new();
    for name in &names {
        let output = built.outputs.get(name);
        let output = output.ok_or_else(|| Failure::new(Class::Bug, format!("step {name} gave nothing")))?;
        paths.insert(name.to_string(), output.path.display().to_string().into());
    }
    if global.json {
        println!("{}", serde_json::Value::from(paths));
    } else {
        for path in paths.values() {
            println!("{}", path.as_str().unwrap_or_default());
        }
    }
    Ok(())
}

fn known(project: &Project, args: &PathArgs) -> Result<Vec<StepName>, Failure> {
    let store = Store::open(&project.cache)
        .class(Class::Host, format!("cannot use the cache folder {}", project.cache.display()))?;
    let keys = project::keys_folder(args.build.keys.as_deref())?;
    let plan = setup::plan(project, &store, &args.build.variant, &keys)?;
    let graph = setup::graph(&plan, steps::PARTS)?;
    let all: Vec<StepName> = graph.steps().map(|step| step.name.clone()).collect();
    args.steps
        .iter()
        .map(|asked| {
            all.iter().find(|name| name.as_str() == asked).cloned().ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(StepName::as_str).collect();
                Failure::new(Class::Usage, format!("there is no step {asked:?}"))
                    .hint(format!("the steps are {}", names.join(", ")))
            })
        })
        .collect()
}
