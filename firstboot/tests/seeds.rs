//! Every seed in `accept/` gives the plan beside it, every one in `reject/` the error beside it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_firstboot::{Seed, Step, plan};

fn seeds(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(folder);
    let mut seeds: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

fn files(folder: &str) -> usize {
    fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(folder)).unwrap().count()
}

fn render(steps: &[Step]) -> String {
    let render = |step: &Step| match step {
        Step::Write { path, mode, text } => {
            let lines: String = text.lines().map(|line| format!("| {line}\n")).collect();
            format!("write {path} {mode:o}\n{lines}")
        }
        Step::SetHostName(name) => format!("name {name}\n"),
        Step::Claim => "claim\n".to_owned(),
    };
    steps.iter().map(render).collect()
}

#[test]
fn good_seeds_give_their_plans() {
    let seeds = seeds("accept");
    assert_eq!(seeds.len() * 2, files("accept"), "a file without its pair");
    for (path, bytes) in seeds {
        let seed = Seed::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = fs::read_to_string(path.with_extension("plan")).unwrap();
        assert_eq!(render(&plan(&seed).0), expected, "{}", path.display());
    }
}

#[test]
fn bad_seeds_are_refused_with_their_errors() {
    let seeds = seeds("reject");
    assert_eq!(seeds.len() * 2, files("reject"), "a file without its pair");
    for (path, bytes) in seeds {
        let error = Seed::parse(&bytes).expect_err(&path.display().to_string());
        let expected = fs::read_to_string(path.with_extension("err")).unwrap();
        assert_eq!(format!("{error}\n"), expected, "{}", path.display());
    }
}

proptest::proptest! {
    /// Whatever is plugged in.
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = Seed::parse(&bytes);
    }

    #[test]
    fn no_key_text_makes_the_parser_panic_or_leaks_a_second_line(text: String) {
        let quoted = toml::Value::String(text).to_string();
        if let Ok(seed) = Seed::parse(format!("ssh_authorized_keys = [{quoted}]\n").as_bytes()) {
            proptest::prop_assert!(seed.keys.iter().all(|key| !key.line().contains(['\n', '\r'])));
        }
    }
}
