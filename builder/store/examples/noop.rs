//! How long a build takes in which nothing is to be done: 25 steps, 500 small input files, prints medians.
//!
//! `cargo run -p xenolith-store --example noop`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use xenolith_store::{Graph, Input, RunOptions, Scheduler, StepName, StepSpec, Store};

const STEPS: usize = 25;
const FILES: usize = 20;
const RUNS: usize = 21;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let sources = folder.path().join("sources");
    for step in 0..STEPS {
        for file in 0..FILES {
            let path = sources.join(step.to_string()).join(format!("folder/file-{file}"));
            fs_err::create_dir_all(path.parent().ok_or("has a folder")?)?;
            fs_err::write(&path, format!("{step} {file}").repeat(500))?;
            fs_err::OpenOptions::new().write(true).open(&path)?.into_parts().0.set_modified(UNIX_EPOCH)?;
        }
    }
    let root = folder.path().join("store");
    println!("cold       {:8.1?}", build(&root, &sources)?);
    println!("unsettled  {:8.1?}  files younger than two seconds are read again", median(&root, &sources)?);
    // The change times have to age; nothing but time does that.
    std::thread::park_timeout(Duration::from_millis(2_500));
    build(&root, &sources)?;
    println!("no-op      {:8.1?}  {STEPS} steps, {} files", median(&root, &sources)?, STEPS * FILES);
    Ok(())
}

fn median(root: &Path, sources: &Path) -> Result<Duration, Box<dyn Error>> {
    let mut times = (0..RUNS).map(|_| build(root, sources)).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[RUNS / 2])
}

/// All that a build does: open the store, build the graph, run it, close the store.
fn build(root: &Path, sources: &Path) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let store = Store::open(root)?;
    let mut graph = Graph::new("noop".parse()?);
    for number in 0..STEPS {
        let mut step = StepSpec::new(step_name(number)?, |context| {
            for file in 0..20 {
                fs_err::write(context.out().join(file.to_string()), "output")?;
            }
            Ok(())
        });
        step = step.input("sources", Input::tree(sources.join(number.to_string())));
        if number > 0 {
            step = step.input("before", Input::Step(step_name(number - 1)?));
        }
        graph.add(step)?;
    }
    Scheduler::new(&store).run(graph, &[step_name(STEPS - 1)?], &RunOptions::default(), &mut |_| {})?;
    drop(store);
    Ok(began.elapsed())
}

fn step_name(number: usize) -> Result<StepName, Box<dyn Error>> {
    Ok(format!("step-{number}").parse()?)
}
