//! How an installation ended, for a server that wants to know.

use std::collections::VecDeque;

use serde::Serialize;

use crate::identity::Identity;

/// Counts up when a field changes its meaning or goes; new ones come freely.
pub const REPORT_FORMAT: u32 = 1;
/// Lines that are kept, and characters of each.
const LINES: usize = 200;
const LINE: usize = 500;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The system is installed.
    Succeeded,
    /// It is not.
    Failed,
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Which machine it was.
    pub machine: Identity,
    /// Where the answers came from.
    pub answers_from: String,
    /// The hash of the plan, if it came that far.
    pub plan: Option<String>,
    /// What went wrong, then why, then why that; empty after a success.
    pub error: Vec<String>,
    /// The recovery key of an encrypted state, if the answers ask for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<String>,
    /// The last lines that the installation has said.
    pub log: Vec<String>,
}

impl Report {
    /// As it is sent.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always serialise")
    }
}

/// The last lines of what was said, and not more of them than a report takes.
#[derive(Clone, Debug, Default)]
pub struct LogTail(VecDeque<String>);

impl LogTail {
    /// One more; of several lines each is one.
    pub fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.0.push_back(line.chars().take(LINE).collect());
            if self.0.len() > LINES {
                self.0.pop_front();
            }
        }
    }

    /// All that is kept.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let mut log = LogTail::default();
        (0..1000).for_each(|number| log.say(&format!("{number}\n{}", "ä".repeat(2 * LINE))));
        let lines = log.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[LINES - 2], "999");
        assert_eq!(lines[LINES - 1].chars().count(), LINE);
    }
}
