//! Answers for installations, chosen by what a machine says of itself.
//!
//! ```text
//!   FOLDER/52-54-00-12-34-56.toml   by a network device's address      (colons will do as well)
//!   FOLDER/s3z8nb0k123456.xml       by serial number, or by UUID       (upper and lower case are the same)
//!   FOLDER/default.toml             everybody else; without it they get nothing
//! ```
//! **All of them are read and checked before the first client is heard**, and XCP-ng's XML is turned into ours; what is wrong with a
//! file is then told to whoever starts the server and not to a machine at night. A machine that two files are meant for gets neither:
//! answers erase disks. Contents are secrets (hashes of passwords): nothing here prints them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fs_err as fs;
use xenolith_answers::{Answers, MAX_ANSWERS};
use xenolith_netboot::{Identity, same_form};

use crate::ServeError;

/// The file for everybody without one of their own, without its ending.
const DEFAULT: &str = "default";
const ENDINGS: [&str; 3] = ["toml", "json", "xml"];
/// More machines than one of these servers is meant for.
const MAX_FILES: usize = 4096;

/// All answers that are served.
pub struct Library(BTreeMap<String, Entry>);

/// One file of answers.
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// What a machine gets.
    text: String,
}

impl Entry {
    /// What a machine gets: TOML, or JSON if that is what was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its name, for logs.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Why a machine gets no answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswers {
    /// None are for it, and there are none for everybody.
    #[error("no answers are for {0}, and there is no default")]
    None(String),
    /// More than one file is for it.
    #[error("both {one} and {other} are for {machine}; it gets neither")]
    Several {
        /// What it said of itself.
        machine: String,
        /// A file.
        one: String,
        /// Another one.
        other: String,
    },
}

impl Library {
    /// Reads one file for everybody, or a folder of them.
    ///
    /// # Errors
    /// At the first file that an installation would refuse.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Read { path: path.to_owned(), source };
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(Self([(DEFAULT.to_owned(), entry(path.to_owned())?)].into()));
        }
        let mut paths = Vec::new();
        for found in fs::read_dir(path).map_err(failed)? {
            let found = found.map_err(failed)?.path();
            let ending = found.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if ENDINGS.contains(&ending) {
                paths.push(found);
            }
        }
        if paths.is_empty() || paths.len() > MAX_FILES {
            let (folder, count) = (path.to_owned(), paths.len());
            return Err(ServeError::AnswersCount { folder, count, max: MAX_FILES });
        }
        paths.sort();
        let mut library = BTreeMap::<String, Entry>::new();
        for path in paths {
            let name = same_form(&path.file_stem().unwrap_or_default().to_string_lossy());
            if let Some(before) = library.get(&name) {
                return Err(ServeError::AnswersTwice { one: before.path.clone(), other: path });
            }
            library.insert(name, entry(path)?);
        }
        Ok(Self(library))
    }

    /// The answers for a machine.
    ///
    /// # Errors
    /// [`NoAnswers`].
    pub fn choose(&self, machine: &Identity) -> Result<&Entry, NoAnswers> {
        let mut own = machine.names().filter(|name| name != DEFAULT).filter_map(|name| self.0.get(&name));
        let Some(first) = own.next() else {
            return self.0.get(DEFAULT).ok_or_else(|| NoAnswers::None(machine.to_string()));
        };
        match own.find(|other| other.path != first.path) {
            None => Ok(first),
            Some(other) => Err(NoAnswers::Several {
                machine: machine.to_string(),
                one: first.name(),
                other: other.name(),
            }),
        }
    }

    /// How many files there are, and whether one is for everybody.
    pub fn count(&self) -> (usize, bool) {
        (self.0.len(), self.0.contains_key(DEFAULT))
    }
}

fn entry(path: PathBuf) -> Result<Entry, ServeError> {
    let read = |source| ServeError::Read { path: path.clone(), source };
    // Longer ones are refused by the parser, which need not see all of them.
    let length = fs::metadata(&path).map_err(read)?.len();
    let bytes = if length > MAX_ANSWERS as u64 {
        vec![b' '; MAX_ANSWERS + 1]
    } else {
        fs::read(&path).map_err(read)?
    };
    let answers =
        Answers::parse(&bytes).map_err(|source| ServeError::Answers { path: path.clone(), source })?;
    let text = if bytes.trim_ascii_start().starts_with(b"<") {
        toml::to_string_pretty(&answers).expect("answers can be written as TOML")
    } else {
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Entry { path, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "version = 1\ntarget = { disks = [{ path = \"sda\" }] }\nnetwork = {}\n\
                           access = { root_password_hash = \"$y$x\" }\n";

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            fs::write(folder.path().join(name), format!("# {name}\n{ANSWERS}")).unwrap();
        }
        folder
    }

    fn chosen(files: &[&str], machine: &str) -> Result<String, NoAnswers> {
        let folder = folder(files);
        let library = Library::read(folder.path()).unwrap();
        library.choose(&Identity::parse(machine.as_bytes()).unwrap()).map(Entry::name)
    }

    #[test]
    fn a_machine_gets_the_file_that_is_named_after_it() {
        let files = ["52-54-00-12-34-56.toml", "S3Z8.toml", "default.toml", "notes.txt"];
        assert_eq!(chosen(&files, r#"{"macs":["52:54:00:12:34:56"]}"#).unwrap(), "52-54-00-12-34-56.toml");
        assert_eq!(chosen(&files, r#"{"serial":"s3z8"}"#).unwrap(), "S3Z8.toml");
        assert_eq!(chosen(&files, r#"{"serial":"other"}"#).unwrap(), "default.toml");
        assert_eq!(chosen(&files, "").unwrap(), "default.toml");
    }

    #[test]
    fn a_machine_that_nobody_thought_of_gets_nothing() {
        assert!(matches!(chosen(&["a.toml"], r#"{"serial":"b"}"#), Err(NoAnswers::None(_))));
        assert!(matches!(chosen(&["a.toml"], r#"{"serial":"../a"}"#), Err(NoAnswers::None(_))));
    }

    #[test]
    fn a_machine_that_two_files_are_for_gets_neither() {
        let machine = r#"{"serial":"b","macs":["a"]}"#;
        assert!(matches!(
            chosen(&["a.toml", "b.toml", "default.toml"], machine),
            Err(NoAnswers::Several { .. })
        ));
        assert_eq!(chosen(&["a.toml"], r#"{"serial":"a","uuid":"A"}"#).unwrap(), "a.toml", "the same twice");
    }

    #[test]
    fn one_file_is_for_everybody() {
        let folder = folder(&["mine.toml"]);
        let library = Library::read(&folder.path().join("mine.toml")).unwrap();
        let entry = library.choose(&Identity::default()).unwrap();
        assert!(entry.text().starts_with("# mine.toml\n"), "as it was written");
        assert_eq!(library.count(), (1, true));
    }

    #[test]
    fn one_wrong_file_is_enough_and_its_secrets_are_not_told() {
        let folder = folder(&["a.toml"]);
        let secret = format!("{ANSWERS}\nhush = \"very secret\"\n");
        fs::write(folder.path().join("b.toml"), secret).unwrap();
        let error = Library::read(folder.path()).err().unwrap();
        let ServeError::Answers { path, source } = error else { panic!("{error}") };
        assert!(path.ends_with("b.toml") && !source.to_string().contains("very secret"), "{source}");
        fs::write(folder.path().join("b.toml"), vec![b'#'; MAX_ANSWERS + 1]).unwrap();
        assert!(matches!(Library::read(folder.path()), Err(ServeError::Answers { .. })));
    }

    #[test]
    fn names_that_are_the_same_for_us_are_refused() {
        let folder = folder(&["A.toml", "a.json"]);
        fs::write(folder.path().join("a.json"), ANSWERS).unwrap();
        assert!(matches!(Library::read(folder.path()), Err(ServeError::AnswersTwice { .. })));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Library::read(empty.path()), Err(ServeError::AnswersCount { count: 0, .. })));
    }

    #[test]
    fn xml_of_the_old_installer_is_served_as_ours() {
        let folder = tempfile::tempdir().unwrap();
        let xml = "<installation mode=\"fresh\"><primary-disk>sda</primary-disk><root-password type=\"hash\">$6$x$y</root-password>\
                   <keymap>us</keymap><source type=\"local\"/><admin-interface name=\"eth0\" proto=\"dhcp\"/></installation>";
        let path = folder.path().join("default.xml");
        fs::write(&path, xml).unwrap();
        let library = Library::read(&path).unwrap();
        let text = library.choose(&Identity::default()).unwrap().text();
        assert!(!text.contains('<') && Answers::parse(text.as_bytes()).is_ok(), "{text}");
    }
}
