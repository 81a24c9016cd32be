//! How long a build takes in which nothing is to be done: 25 steps, 500 small input files. Prints medians of the
//! time on the clock and of the processor time, which says more on a machine that is busy with other things.
//!
//! `cargo run -p xenolith-store --example noop`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
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
    println!("             clock  processor");
    show("cold", &[build(&root, &sources)?], "");
    show("unsettled", &many(&root, &sources)?, "files younger than two seconds are read again");
    // The change times have to age; nothing but time does that.
    std::thread::park_timeout(Duration::from_millis(2_500));
    build(&root, &sources)?;
    show("no-op", &many(&root, &sources)?, &format!("{STEPS} steps, {} files", STEPS * FILES));
    Ok(())
}

fn show(what: &str, times: &[(Duration, Duration)], note: &str) {
    let median = |of: fn(&(Duration, Duration)) -> Duration| {
        let mut times: Vec<_> = times.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    println!("{what:10} {:8.1?} {:8.1?}  {note}", median(|times| times.0), median(|times| times.1));
}

fn many(root: &Path, sources: &Path) -> Result<Vec<(Duration, Duration)>, Box<dyn Error>> {
    (0..RUNS).map(|_| build(root, sources)).collect()
}

fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    Ok(Duration::from_micros(u64::try_from(micros[0] + micros[1])?))
}

/// All that a build does: open the store, build the graph, run it, close the store.
fn build(root: &Path, sources: &Path) -> Result<(Duration, Duration), Box<dyn Error>> {
    let (began, used) = (Instant::now(), processor_time()?);
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
    Ok((began.elapsed(), processor_time()? - used))
}

fn step_name(number: usize) -> Result<StepName, Box<dyn Error>> {
    Ok(format!("step-{number}").parse()?)
}
