//! Answers that are taken, and what is said about those that are not.
//!
//! `accept/NAME.toml` has its meaning in a snapshot; `reject/NAME.toml` has the exact words in `reject/NAME.error`. A new reject file
//! without one fails and shows the words.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use xenolith_answers::Answers;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "toml" || end == "json"));
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_answers_mean_what_they_say() {
    for file in files("accept") {
        let answers = Answers::parse(&fs_err::read(&file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ snapshot_path => "accept", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_json_snapshot!(name, answers);
        });
    }
}

#[test]
fn answers_are_the_same_in_toml_and_in_json() {
    for file in files("accept") {
        let answers = Answers::parse(&fs_err::read(&file).unwrap()).unwrap();
        let json = serde_json::to_vec(&answers).unwrap();
        assert_eq!(Answers::parse(&json).unwrap(), answers, "{}", file.display());
        let toml = toml::to_string(&answers).unwrap();
        assert_eq!(Answers::parse(toml.as_bytes()).unwrap(), answers, "{}", file.display());
    }
}

#[test]
fn bad_answers_are_refused_with_words_that_help() {
    for file in files("reject") {
        let text = fs_err::read(&file).unwrap();
        let Err(error) = Answers::parse(&text) else { panic!("{} was accepted", file.display()) };
        let words = fs_err::read_to_string(file.with_extension("error")).unwrap_or_default();
        assert_eq!(error.to_string(), words.trim_end(), "{}", file.display());
    }
}

#[test]
fn no_message_quotes_a_value() {
    for text in [
        "version = 1\n[access]\nroot_password_hash = \"hunter2\"\n",
        "version = 1\naccess = \"hunter2\"\n",
        "version = 1\n[network]\nvlan = \"hunter2\"\n",
        "version = 1\n[network]\nipv4 = \"hunter2\"\n",
        "version = 1\n[target]\nerase = \"hunter2\"\n",
        "version = 1\n[access]\nroot_password_hash = hunter2\n",
        "{\"version\": 1, \"access\": {\"ssh_keys\": \"hunter2\"}}",
        "{\"version\": 1, \"storage\": {\"kind\": \"hunter2\"}}",
        "version = 1\n[target]\ndisks = []\n[network]\n[access]\nssh_keys = [\"hunter2\"]\nroot_password_hash = \"hunter2\"\n",
    ] {
        let error = Answers::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = Answers::parse(&bytes);
    }
}
