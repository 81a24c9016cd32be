//! What has become of each task: a small file in the state, for people, `xenolith-status` and the next boot.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fs_err as fs;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::task::Task;

/// The version of the file's form.
const SCHEMA: u32 = 1;
/// A longer file is not ours, in bytes.
pub const MAX_JOURNAL: u64 = 64 << 10;

/// What became of the tasks that settings ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Form")]
pub struct Journal {
    /// By task.
    pub tasks: BTreeMap<Task, Entry>,
    /// What became of tasks that another version has and this one does not: after a step back they are still known as done when the later
    /// version comes again.
    others: BTreeMap<String, Entry>,
}

/// The form of the file.
#[derive(Deserialize)]
struct Form {
    schema: u32,
    /// By a task's name.
    tasks: BTreeMap<String, Entry>,
}

impl TryFrom<Form> for Journal {
    type Error = &'static str;

    fn try_from(Form { schema, tasks }: Form) -> Result<Self, &'static str> {
        if schema != SCHEMA {
            return Err("another form");
        }
        let mut journal = Self::default();
        for (name, entry) in tasks {
            match name.parse() {
                Ok(task) => drop(journal.tasks.insert(task, entry)),
                Err(_) => drop(journal.others.insert(name, entry)),
            }
        }
        Ok(journal)
    }
}

impl Serialize for Journal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Tasks<'a>(&'a Journal);
        impl Serialize for Tasks<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let known = self.0.tasks.iter().map(|(task, entry)| (task.name(), entry));
                let others = self.0.others.iter().map(|(name, entry)| (&**name, entry));
                serializer.collect_map(known.chain(others))
            }
        }
        let mut form = serializer.serialize_struct("Journal", 2)?;
        form.serialize_field("schema", &SCHEMA)?;
        form.serialize_field("tasks", &Tasks(self))?;
        form.end()
    }
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How it ended the last time.
    pub outcome: Outcome,
    /// Why, unless it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often it was tried.
    pub tries: u32,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is done, and not done again.
    Done,
    /// It failed, and is tried again at the next boot.
    Failed,
    /// This version cannot do it; a later one may.
    NotAvailable,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no journal of this form.
    #[error("{0} is no journal of first boot")]
    Form(String),
}

impl Journal {
    /// Reads a journal; none is an empty one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let form = || JournalError::Form(path.display().to_string());
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
            Ok(metadata) if metadata.len() > MAX_JOURNAL => return Err(form()),
            Ok(_) => {}
        }
        serde_json::from_slice(&fs::read(path)?).map_err(|_| form())
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a journal is made of what JSON can hold");
        text.push('\n');
        text
    }

    /// Whether a task is done.
    pub fn is_done(&self, task: Task) -> bool {
        self.tasks.get(&task).is_some_and(|entry| entry.outcome == Outcome::Done)
    }

    /// Tasks that failed, with why.
    pub fn failed(&self) -> impl Iterator<Item = (Task, &str)> {
        let failed = self.tasks.iter().filter(|(_, entry)| entry.outcome == Outcome::Failed);
        failed.map(|(task, entry)| (*task, entry.why.as_deref().unwrap_or("nobody knows why")))
    }

    pub(crate) fn note(&mut self, task: Task, outcome: Outcome, why: Option<String>) {
        let tries = self.tasks.get(&task).map_or(0, |entry| entry.tries).saturating_add(1);
        self.tasks.insert(task, Entry { outcome, why, tries });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("firstboot.json");
        assert_eq!(Journal::read(&path).unwrap(), Journal::default());
        let mut journal = Journal::default();
        journal.note(Task::Network, Outcome::Failed, Some("there is no interface eth7".to_owned()));
        journal.note(Task::Network, Outcome::Failed, Some("there is no interface eth7".to_owned()));
        journal.note(Task::HostName, Outcome::Done, None);
        fs::write(&path, journal.text()).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), journal);
        assert!(journal.is_done(Task::HostName) && !journal.is_done(Task::Network));
        assert_eq!(journal.failed().collect::<Vec<_>>(), [(Task::Network, "there is no interface eth7")]);
        insta::assert_snapshot!(journal.text());
    }

    #[test]
    fn what_another_version_has_done_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("firstboot.json");
        let later = r#"{"schema":1,"tasks":{"fly":{"outcome":"done","tries":1},"network":{"outcome":"done","tries":1}}}"#;
        fs::write(&path, later).unwrap();
        let mut journal = Journal::read(&path).unwrap();
        assert!(journal.is_done(Task::Network) && journal.tasks.len() == 1);
        journal.note(Task::HostName, Outcome::Done, None);
        fs::write(&path, journal.text()).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(written["tasks"]["fly"], serde_json::json!({ "outcome": "done", "tries": 1 }));
        assert_eq!(Journal::read(&path).unwrap(), journal);
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("firstboot.json");
        for text in ["", "{}", "{\"schema\": 2, \"tasks\": {}}", "{\"schema\": 1, \"tasks\": {\"fly\": {}}}"]
        {
            fs::write(&path, text).unwrap();
            assert!(matches!(Journal::read(&path), Err(JournalError::Form(_))), "{text}");
        }
        fs::write(&path, " ".repeat(65 << 10)).unwrap();
        assert!(matches!(Journal::read(&path), Err(JournalError::Form(_))));
    }
}
