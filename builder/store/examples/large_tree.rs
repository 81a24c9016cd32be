//! What a result of 100,000 files costs: to flush and commit, to find in a build that does nothing, to verify before
//! a step reads it, to read whole.
//!
//! `cargo run -p xenolith-store --example large_tree`

use std::error::Error;
use std::time::Instant;

use xenolith_store::{Depth, Graph, Identity, RunOptions, Scheduler, StepSpec, Store};

const FOLDERS: usize = 1_000;
const FILES: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path())?;
    let graph = || -> Result<Graph, Box<dyn Error>> {
        let step = StepSpec::new("tree".parse()?, |context| {
            for number in 0..FOLDERS {
                let folder = context.out().join(number.to_string());
                fs_err::create_dir(&folder)?;
                for number in 0..FILES {
                    fs_err::write(folder.join(number.to_string()), "contents")?;
                }
            }
            Ok(())
        });
        let mut graph = Graph::new("tree".parse()?);
        graph.add(step.identity(Identity::Key))?;
        Ok(graph)
    };
    let run = |what: &str| -> Result<_, Box<dyn Error>> {
        let began = Instant::now();
        let (graph, targets) = (graph()?, ["tree".parse()?]);
        let outputs = Scheduler::new(&store).run(graph, &targets, &RunOptions::default(), &mut |_| {})?;
        println!("{what:28} {:8.1?}", began.elapsed());
        let output = outputs.into_values().next().ok_or("has an output")?;
        Ok(output.key)
    };
    let key = run("make and commit")?;
    let made = store.results()?.first().ok_or("has a result")?.seconds;
    println!("  of which the step itself   {made:7.1}s");
    run("find")?;
    let began = Instant::now();
    store.lookup(&key, Depth::Shape)?;
    println!("{:28} {:8.1?}", "verify names, sizes, times", began.elapsed());
    let began = Instant::now();
    store.verify_deep(&key)?;
    println!("{:28} {:8.1?}", "read whole", began.elapsed());
    Ok(())
}
