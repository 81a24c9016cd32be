//! Settings that are taken, and what is said about those that are not: `reject/NAME.toml` has the exact words in `NAME.error`. A new
//! file without one fails and shows the words. What accepted ones change on a host stands in `firstboot/tests`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use fs_err as fs;
use xenolith_settings::Settings;

fn seeds(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(folder);
    let mut seeds: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn good_settings_are_the_same_in_toml_and_in_json() {
    for path in seeds("accept") {
        let settings = Settings::parse(&fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json = serde_json::to_vec(&settings).unwrap();
        assert_eq!(Settings::parse(&json).unwrap(), settings, "{}", path.display());
        let toml = toml::to_string(&settings).unwrap();
        assert_eq!(Settings::parse(toml.as_bytes()).unwrap(), settings, "{}", path.display());
    }
}

#[test]
fn bad_settings_are_refused_with_words_that_help() {
    for path in seeds("reject") {
        let error = Settings::parse(&fs::read(&path).unwrap()).expect_err(&path.display().to_string());
        let expected = fs::read_to_string(path.with_extension("error")).unwrap_or_default();
        assert_eq!(error.to_string(), expected.trim_end(), "{}", path.display());
    }
}

proptest::proptest! {
    /// Whatever is plugged in.
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Settings::parse(&bytes);
    }
}
