//! What an installation has done, as far as people want to know.

use std::time::Duration;

use xenolith_installer::Event;
use xenolith_layout::{Bytes, seal::RecoveryKey};

use crate::page::{Button, Item};

/// Lines of the log that are kept; the screen shows the last of them.
const LOG: usize = 200;
/// Columns of the bar.
const BAR: u64 = 30;

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Runs,
    Done,
    Failed(String),
}

/// An installation that is watched.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    steps: Vec<String>,
    /// Steps that are done.
    done: usize,
    /// When the present one began, and what of it is done out of how much.
    began: Duration,
    /// What it will install is read, and no step has begun.
    reading: bool,
    bytes: Option<(Bytes, Bytes)>,
    now: Duration,
    stand: Stand,
    /// Of an encrypted state, when it is made.
    recovery_key: Option<RecoveryKey>,
    warnings: Vec<String>,
    log: Vec<String>,
    shows_log: bool,
    /// Somebody else installs.
    watches: bool,
}

impl Progress {
    pub(crate) fn begin(&mut self, steps: Vec<String>) {
        let (log, shows_log) = (std::mem::take(&mut self.log), self.shows_log);
        *self = Self { steps, log, shows_log, ..Self::default() };
    }

    pub(crate) fn watch(&mut self, steps: Vec<String>) {
        self.begin(steps);
        self.watches = true;
    }

    pub(crate) fn tell(&mut self, event: &Event, now: Duration) {
        self.now = now;
        match event {
            Event::Reading { done, total } => {
                if !self.reading {
                    (self.reading, self.began) = (true, now);
                    self.log(format!("{}  {total} of boot files: reading", seconds(now)));
                }
                self.bytes = Some((*done, *total));
            }
            Event::Began { step } => {
                (self.done, self.began, self.bytes, self.reading) = (*step, now, None, false);
                self.note(*step, "begun");
            }
            Event::Progress { done, total, .. } => self.bytes = Some((*done, *total)),
            Event::Done { step } => {
                self.done = step + 1;
                self.note(*step, "done");
            }
            Event::Warning { what, .. } => {
                self.warnings.push(what.clone());
                self.log(format!("warning: {what}"));
            }
            Event::Skipped { step } => {
                (self.done, self.reading) = (step + 1, false);
                self.note(*step, "was done before");
            }
        }
    }

    pub(crate) fn done(&mut self, recovery_key: Option<RecoveryKey>) {
        self.recovery_key = recovery_key;
        self.stand = Stand::Done;
    }

    pub(crate) fn failed(&mut self, why: &str) {
        self.log(why.to_owned());
        self.stand = Stand::Failed(why.to_owned());
    }

    /// What happened so far, a line each.
    pub(crate) fn lines(&self) -> &[String] {
        &self.log
    }

    pub(crate) fn toggle_log(&mut self) {
        self.shows_log = !self.shows_log;
    }

    fn note(&mut self, step: usize, what: &str) {
        let name = self.steps.get(step).cloned().unwrap_or_default();
        self.log(format!("{}  {name}: {what}", seconds(self.now)));
    }

    fn log(&mut self, line: String) {
        if self.log.len() == LOG {
            self.log.remove(0);
        }
        self.log.push(line);
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        let mut items: Vec<Item> = match &self.stand {
            Stand::Runs => {
                let mut words = Vec::new();
                if self.watches {
                    words.push("Somebody else installs this machine, on another terminal or unattended.".to_owned());
                }
                if self.reading {
                    words.push("Reading what will be installed. Nothing is written yet.".to_owned());
                }
                if !words.is_empty() {
                    words.push(String::new());
                }
                words
            }
            Stand::Done => {
                let mut words = vec![
                    "Xenolith is installed.".to_owned(),
                    "Take the medium out, then restart.".to_owned(),
                ];
                words.extend(self.warnings.iter().map(|warning| format!("But: {warning}")));
                if let Some(key) = &self.recovery_key {
                    words.extend([
                        String::new(),
                        "What the host knows is encrypted. Should its TPM not open it, this recovery key does.".to_owned(),
                        "Write it down now: it is shown this once and kept nowhere.".to_owned(),
                        String::new(),
                        key.reveal(),
                    ]);
                }
                words.push(String::new());
                words
            }
            Stand::Failed(why) => {
                let mut words = vec!["It did not work:".to_owned()];
                words.extend(why.lines().map(|line| format!("  {line}")));
                let again = match self.watches {
                    true => "It can be tried again where it was started.",
                    false => "Trying again goes on with the step that failed.",
                };
                words.extend([
                    String::new(),
                    format!("A disk that was cleared does not boot. {again}"),
                    String::new(),
                ]);
                words
            }
        }
        .into_iter()
        .map(Item::Words)
        .collect();
        if self.shows_log {
            items.extend(self.log.iter().rev().take(10).rev().cloned().map(Item::Words));
        } else {
            items.extend(
                self.steps.iter().enumerate().map(|(index, name)| Item::Words(self.step(index, name))),
            );
            items.extend(self.bar().map(Item::Words));
        }
        items.push(Item::Words(String::new()));
        items.extend(match &self.stand {
            Stand::Runs => Vec::new(),
            Stand::Done if self.watches => [Button::Restart, Button::PowerOff].map(Item::Button).to_vec(),
            Stand::Failed(_) if self.watches => {
                [Button::Shell, Button::SaveLogs, Button::PowerOff].map(Item::Button).to_vec()
            }
            Stand::Done => {
                [Button::Restart, Button::PowerOff, Button::SaveAnswers].map(Item::Button).to_vec()
            }
            Stand::Failed(_) => {
                [Button::Retry, Button::Shell, Button::SaveLogs, Button::PowerOff].map(Item::Button).to_vec()
            }
        });
        items
    }

    fn step(&self, index: usize, name: &str) -> String {
        let mark = match (index.cmp(&self.done), &self.stand) {
            (std::cmp::Ordering::Less, _) | (_, Stand::Done) => "done",
            (std::cmp::Ordering::Equal, Stand::Failed(_)) => "FAIL",
            (std::cmp::Ordering::Equal, Stand::Runs) if !self.reading => " >> ",
            _ => "    ",
        };
        format!("  {mark}  {name}")
    }

    /// Bar, share, rate and time left of the present step, once it says how much there is.
    fn bar(&self) -> Option<String> {
        let (done, total) = self.bytes.filter(|_| self.stand == Stand::Runs)?;
        let (done_bytes, total_bytes) = (done.get().min(total.get()), total.get().max(1));
        let full = usize::try_from(done_bytes.saturating_mul(BAR) / total_bytes).unwrap_or_default();
        let width = usize::try_from(BAR).unwrap_or_default();
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(width.saturating_sub(full)));
        let share = done_bytes.saturating_mul(100) / total_bytes;
        let elapsed = u64::try_from(self.now.saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX);
        let rate = done_bytes.saturating_mul(1000).checked_div(elapsed).filter(|rate| *rate > 0);
        let rest = rate.map_or_else(String::new, |rate| {
            format!("  {}/s  {} s left", Bytes::new(rate), total_bytes.saturating_sub(done_bytes) / rate)
        });
        Some(format!("        [{bar}] {share:>3} %{rest}"))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:>5}.{} s", time.as_secs(), time.subsec_millis() / 100)
}
