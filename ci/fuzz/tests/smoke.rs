//! Every body over its seeds and some thousand mutations of them, on stable Rust.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_fuzz::{Mutator, TARGETS, Target};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let own = here("seeds").join(target.name);
    let fixtures = target.fixtures.iter().map(|folder| here("../..").join(folder));
    let mut files: Vec<PathBuf> = [own]
        .into_iter()
        .chain(fixtures)
        .filter(|folder| folder.is_dir())
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    seeds.retain(|seed| !seed.is_empty());
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds
}

fn run(target: &Target) {
    let seeds = seeds(target);
    (target.body)(b"");
    seeds.iter().for_each(|seed| (target.body)(seed));
    let mut mutator = Mutator::new(&seeds);
    for round in 0..target.rounds {
        let input = mutator.mutated();
        let ended = std::panic::catch_unwind(|| (target.body)(&input));
        if ended.is_err() {
            let kept = std::env::temp_dir().join(format!("xenolith-fuzz-{}-{round}", target.name));
            fs::write(&kept, &input).unwrap();
            panic!("{}: mutation {round} breaks a promise; it is kept as {}", target.name, kept.display());
        }
    }
}

/// One thread for each processor, so that the slow ones do not wait for each other.
#[test]
fn no_mutation_of_a_seed_breaks_a_promise() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(target) = TARGETS.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    run(target);
                }
            });
        }
    });
}

#[test]
fn every_target_has_a_program_and_an_entry_in_the_manifest() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let programs: BTreeSet<String> = fs::read_dir(here("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, programs);
    let manifest = fs::read_to_string(here("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name} is not in Cargo.toml");
        let program = fs::read_to_string(here("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("xenolith_fuzz::{name}(data)")), "{name}.rs runs another body");
    }
}

#[test]
fn the_seeds_in_the_repository_stay_small() {
    let mut bytes = 0;
    for target in TARGETS {
        if let Ok(folder) = fs::read_dir(here("seeds").join(target.name)) {
            bytes += folder.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
        }
    }
    assert!(bytes < 100_000, "{bytes} bytes of seeds");
}
