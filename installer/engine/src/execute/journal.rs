//! What has been done: a file of JSON lines, `{"plan":"<hash>"}` and then `{"done":<step>}` for each step.
//!
//! It lies in memory with the rest of a system that runs from a medium. A power cut takes it along, and the installation starts over.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::Path,
};

use fs_err as fs;
use serde::{Deserialize, Serialize};

/// A longer journal is not ours.
const LONGEST: u64 = 1 << 20;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("the journal cannot be kept")]
    Io(#[from] io::Error),
    /// It is that of another installation.
    #[error(
        "the journal is of another plan; an installation that was begun is finished, or begun anew without its journal"
    )]
    OtherPlan,
}

/// The journal of one plan.
#[derive(Debug)]
pub struct Journal {
    file: fs::File,
    plan: String,
    done: BTreeSet<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Plan(String),
    Done(usize),
}

impl Journal {
    /// Begins a journal, or goes on with one of the same plan.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, plan: &str) -> Result<Self, JournalError> {
        let file = fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if file.metadata()?.len() > LONGEST {
            return Err(JournalError::OtherPlan);
        }
        let text = fs::read_to_string(path)?;
        let mut journal = Self { file, plan: plan.to_owned(), done: BTreeSet::new() };
        // The last line may be torn: it was not done then.
        let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
        match lines.next() {
            Some(Line::Plan(of)) if of == plan => {}
            Some(_) => return Err(JournalError::OtherPlan),
            None if text.is_empty() => journal.write(&Line::Plan(plan.to_owned()))?,
            None => return Err(JournalError::OtherPlan),
        }
        journal.done.extend(lines.filter_map(|line| match line {
            Line::Done(step) => Some(step),
            Line::Plan(_) => None,
        }));
        if !text.is_empty() && !text.ends_with('\n') {
            journal.file.write_all(b"\n")?;
        }
        Ok(journal)
    }

    /// The hash of the plan.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// Whether a step was done.
    pub fn is_done(&self, step: usize) -> bool {
        self.done.contains(&step)
    }

    pub(crate) fn done(&mut self, step: usize) -> Result<(), JournalError> {
        self.write(&Line::Done(step))?;
        self.done.insert(step);
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut text = serde_json::to_string(line).expect("a line is made of what JSON can hold");
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        Ok(self.file.sync_all()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_goes_on_where_it_was_and_a_torn_line_was_not_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, "abc").unwrap();
        journal.done(0).unwrap();
        journal.done(1).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"plan\":\"abc\"}\n{\"done\":0}\n{\"done\":1}\n");
        fs::write(&path, text.trim_end().trim_end_matches('}')).unwrap();
        let mut journal = Journal::open(&path, "abc").unwrap();
        assert!(journal.is_done(0) && !journal.is_done(1));
        journal.done(1).unwrap();
        drop(journal);
        assert!(Journal::open(&path, "abc").unwrap().is_done(0));
        assert!(matches!(Journal::open(&path, "other"), Err(JournalError::OtherPlan)));
        fs::write(&path, "something else\n").unwrap();
        assert!(matches!(Journal::open(&path, "abc"), Err(JournalError::OtherPlan)));
    }
}
