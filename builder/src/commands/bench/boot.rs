//! `xenolith bench boot`: from power on to ready, with the root image made by one codec or another.
//!
//! Each codec's ISO is built from a copy of the checkout and booted as a CD in turn: a, b, c, a, b, c, so that what else the machine
//! does falls on all of them. Two moments are taken off the serial line. Until Xen's first line firmware and loader work, which
//! the codec has no part in; from there to the host's own word that it is fit to stay is what a codec can change.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use fs_err as fs;
use serde::Serialize;
use xenolith_vm::{Machine, Medium, READY, choose};

use super::{
    built,
    checkout::Checkout,
    child::{Child, Memory},
    erofs::{Codec, KIB},
    go_on, on_two_processors,
    stats::{median, megabytes, seconds},
    table::Table,
    tell,
};
use crate::{
    cli::{BenchBootArgs, Global, Target},
    commands::{
        build as building, run as running, say,
        scratch::{Purpose, Scratch},
    },
    exit::{Class, Classify as _, Failure},
    project::{self, Project},
};

/// Counts up when readers of the JSON document would have to change.
const FORMAT: u32 = 1;
/// Steps whose results are lent.
const READS: &[&str] = &["iso"];
/// What is tried beside the recipe's codec: other clusters of the same algorithm, and the one that is next best by size.
const TRIED: &[(&str, u64)] = &[("lz4hc", 16), ("lz4hc", 64), ("zstd,level=3", 64)];
/// Xen's first words.
const XEN: &str = "(XEN)";
/// Four times what the slowest machine seen needs.
const DEADLINE: Duration = Duration::from_secs(900);

/// What booting with a codec took.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    codec: Codec,
    /// Whether it is the one of the recipe.
    chosen: bool,
    /// Bytes of the ISO.
    bytes: u64,
    /// Seconds to Xen's first line, a run each.
    xen: Vec<f64>,
    /// Seconds from there to ready.
    ready: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    processors: usize,
    accelerator: &'a str,
    rows: &'a [Row],
}

/// Runs the command.
///
/// # Errors
/// As a build; [`Class::Failed`] with the last serial lines if an image does not boot.
pub fn run(global: &Global, args: &BenchBootArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let processors = on_two_processors()?;
    let first = built(global, &project, args.keys.as_deref(), &args.mirror, READS)?;
    let tools = running::vm_tree(global, &project)?;
    let scratch = Scratch::new(&project.cache, Purpose::Bench)?;
    let checkout = Checkout::copy(&project.root, &scratch.path().join("checkout"))?;
    let keys = project::keys_folder(args.keys.as_deref())?;
    let store = scratch.path().join("store");
    scratch.lend(&project.cache, &store, first.outputs.values())?;
    let stop = building::interrupt_flag()?;

    let root = &first.plan.recipe.root;
    let recipe = Codec::plain(&root.compression, root.cluster.0);
    let mut rows = Vec::new();
    let mut images: Vec<PathBuf> = Vec::new();
    for codec in codecs(&recipe) {
        go_on(&stop)?;
        tell(&format!("ISO with {}", codec.name()));
        checkout.set_codec(&codec.algorithm, codec.cluster)?;
        let output = scratch.path().join(format!("out-{}", rows.len()));
        let child = Child { project: checkout.root(), store: &store, output: &output, keys: &keys };
        child.build(Target::Iso, Memory::Ignored)?;
        let image = running::newest(&output, ".iso")
            .ok_or_else(|| Failure::new(Class::Bug, "the build left no ISO"))?;
        let bytes = fs::metadata(&image).class(Class::Device, "cannot look at the ISO")?.len();
        images.push(image);
        rows.push(Row { chosen: codec == recipe, codec, bytes, xen: Vec::new(), ready: Vec::new() });
    }
    let (accelerator, words) =
        choose(&tools, &Medium::Cd(images[0].clone()), &project.cache.join("accelerator"));
    tell(&words);
    for run in 1..=args.runs {
        for (row, image) in rows.iter_mut().zip(&images) {
            go_on(&stop)?;
            let folder = tempfile::Builder::new().prefix("xboot-").tempdir();
            let folder = folder.class(Class::Host, "cannot make a folder")?;
            let mut machine = Machine::new(&tools, folder.path(), vec![Medium::Cd(image.clone())]);
            machine.accelerator = accelerator;
            let (xen, ready) = boot(&machine)?;
            tell(&format!("{}, run {run}: {} + {}", row.codec.name(), seconds(xen), seconds(ready)));
            row.xen.push(xen);
            row.ready.push(ready);
        }
    }
    if global.json {
        let document = Document { format: FORMAT, processors, accelerator: accelerator.name(), rows: &rows };
        say(&serde_json::to_string_pretty(&document).class(Class::Bug, "cannot print the table")?);
    } else {
        say(table(&rows).trim_end());
    }
    Ok(())
}

/// What to try, the recipe's first.
fn codecs(recipe: &Codec) -> Vec<Codec> {
    let others = TRIED.iter().map(|&(algorithm, kib)| Codec::plain(algorithm, kib * KIB));
    std::iter::once(recipe.clone()).chain(others.filter(|codec| codec != recipe)).collect()
}

/// Seconds to Xen's first line, and from there to ready.
fn boot(machine: &Machine) -> Result<(f64, f64), Failure> {
    let mut vm = machine.start().class(Class::Host, "the machine did not start")?;
    let began = Instant::now();
    vm.line(XEN, DEADLINE).class(Class::Failed, "Xen did not start")?;
    let xen = began.elapsed().as_secs_f64();
    vm.line(READY, DEADLINE).class(Class::Failed, "the image did not boot")?;
    let all = began.elapsed().as_secs_f64();
    vm.kill();
    Ok((xen, all - xen))
}

fn table(rows: &[Row]) -> String {
    let Some(base) = rows.iter().find(|row| row.chosen).and_then(|row| median(&row.ready)) else {
        return String::new();
    };
    let mut table = Table::new(["codec, cluster", "ISO", "to Xen", "Xen to ready", "×"]);
    for row in rows {
        let ready = median(&row.ready);
        table.row([
            row.codec.heading(row.chosen),
            megabytes(row.bytes),
            median(&row.xen).map(seconds).unwrap_or_default(),
            ready.map(seconds).unwrap_or_default(),
            ready.map(|ready| format!("{:.2}", ready / base)).unwrap_or_default(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_codec_is_booted_first_and_once() {
        for recipe in [Codec::plain("zstd,level=3", 64 * KIB), Codec::plain("lz4", 4 * KIB)] {
            let codecs = codecs(&recipe);
            assert_eq!(codecs[0], recipe);
            assert_eq!(codecs.iter().filter(|codec| **codec == recipe).count(), 1);
        }
    }

    #[test]
    fn times_to_ready_are_shown_beside_their_ratio_to_the_recipes() {
        let row = |algorithm, chosen, ready: &[f64]| Row {
            codec: Codec::plain(algorithm, 64 * KIB),
            chosen,
            bytes: 100_000_000,
            xen: vec![10.0],
            ready: ready.to_vec(),
        };
        let table = table(&[row("lz4hc", true, &[40.0, 50.0, 20.0]), row("zstd,level=3", false, &[60.0])]);
        let last = table.lines().last().unwrap();
        let cells: Vec<&str> = last.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells, ["zstd,level=3, 64 KiB", "100.0 MB", "10.0 s", "60.0 s", "1.50"]);
    }
}
