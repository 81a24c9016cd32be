//! What an installation has done, as far as people want to know.

use std::time::Duration;

use xenolith_installer::{Event, Plan, Step};
use xenolith_layout::{Bytes, seal::RecoveryKey};

use crate::log::Log;
use crate::page::{Button, Item};

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
    /// Of what is done here; what somebody else does is known by its steps alone.
    plan: Option<Plan>,
    steps: Vec<String>,
    /// Steps that are done.
    done: usize,
    /// When the present one began, and what of it is done out of how much.
    began: Duration,
    /// What it will install is read, and no step has begun.
    reading: bool,
    /// What of the boot files is read out of how much.
    read: (Bytes, Bytes),
    bytes: Option<(Bytes, Bytes)>,
    now: Duration,
    stand: Stand,
    /// Of an encrypted state, when it is made.
    recovery_key: Option<RecoveryKey>,
    warnings: Vec<String>,
    pub(crate) log: Log,
    /// Somebody else installs.
    watches: bool,
}

impl Progress {
    /// Another try goes on where the last one stopped.
    pub(crate) fn begin(&mut self, plan: Option<&Plan>) {
        let (done, log) = (self.done, std::mem::take(&mut self.log));
        let steps = plan.map(Plan::steps_in_words).unwrap_or_default();
        *self = Self { plan: plan.cloned(), steps, done, log, ..Self::default() };
    }

    pub(crate) fn watch(&mut self, steps: Vec<String>) {
        let log = std::mem::take(&mut self.log);
        *self = Self { steps, log, watches: true, ..Self::default() };
    }

    pub(crate) fn tell(&mut self, event: &Event, now: Duration) {
        self.now = now;
        match event {
            Event::Reading { done, total } => {
                if !self.reading {
                    (self.reading, self.began) = (true, now);
                    self.log.push(&format!("{}  {total} of boot files: reading", seconds(now)));
                }
                self.read = (*done, *total);
                self.bytes = Some((*done, *total));
            }
            Event::Began { step } => {
                (self.done, self.began, self.bytes, self.reading) = (*step, now, None, false);
                self.note(*step, "begun");
            }
            Event::Progress { done, total, .. } => self.bytes = Some((*done, *total)),
            Event::Done { step } => {
                (self.done, self.bytes) = (step + 1, None);
                self.note(*step, "done");
            }
            Event::Warning { what, .. } => {
                self.warnings.push(what.clone());
                self.log.push(&format!("warning: {what}"));
            }
            Event::Skipped { step } => {
                (self.done, self.reading, self.bytes) = (step + 1, false, None);
                self.note(*step, "was done before");
            }
        }
    }

    pub(crate) fn done(&mut self, recovery_key: Option<RecoveryKey>) {
        self.recovery_key = recovery_key;
        self.stand = Stand::Done;
        self.log.close();
    }

    pub(crate) fn failed(&mut self, why: &str) {
        self.log.push(why);
        self.stand = Stand::Failed(why.to_owned());
        self.log.close();
    }

    /// What happened so far, a line each.
    pub(crate) fn lines(&self) -> &[String] {
        self.log.lines()
    }

    pub(crate) fn toggle_log(&mut self) {
        if self.log.is_open() { self.log.close() } else { self.log.open() }
    }

    fn note(&mut self, step: usize, what: &str) {
        let name = self.steps.get(step).cloned().unwrap_or_default();
        self.log.push(&format!("{}  {name}: {what}", seconds(self.now)));
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        if self.log.is_open() {
            return vec![Item::Log(self.lines().to_vec())];
        }
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
        if let Stand::Failed(why) = &self.stand {
            // Its end is the error that stands above. Which steps were done it tells as well, and when.
            let before = self.lines().len().saturating_sub(why.lines().count());
            items.push(Item::Words("The last lines of the log:".to_owned()));
            items.push(Item::Log(self.lines().iter().take(before).cloned().collect()));
        } else {
            items.extend(
                self.steps.iter().enumerate().map(|(index, name)| Item::Words(self.step(index, name))),
            );
            items.extend(self.bar().into_iter().map(Item::Words));
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
            (std::cmp::Ordering::Equal, _) if !self.reading => " >> ",
            _ => "    ",
        };
        format!("  {mark}  {name}")
    }

    /// Bar, share, rate and time left, as long as something is copied.
    fn bar(&self) -> Vec<String> {
        let Some((done, total)) = self.copied().filter(|_| self.stand == Stand::Runs) else {
            return Vec::new();
        };
        let (done, total) = (done.get().min(total.get()), total.get().max(1));
        let full = usize::try_from(done.saturating_mul(BAR) / total).unwrap_or_default();
        let width = usize::try_from(BAR).unwrap_or_default();
        let bar = format!("{}{}", "#".repeat(full), "-".repeat(width.saturating_sub(full)));
        let mut lines = vec![format!("        [{bar}] {:>3} %", done.saturating_mul(100) / total)];
        if let Some(rate) = self.rate() {
            let left = in_words(total.saturating_sub(done).div_ceil(rate));
            let of = if self.plan.is_some() { "in all" } else { "for this step" };
            lines.push(format!("        {}/s, about {left} left {of}", Bytes::new(rate)));
        }
        lines
    }

    /// What is copied out of how much: of the whole installation by its plan, else of the present step. The other steps of a plan write
    /// little, and how long they take nobody knows before.
    fn copied(&self) -> Option<(Bytes, Bytes)> {
        let Some(plan) = &self.plan else { return self.bytes };
        let weight = |step: &Step| match step {
            Step::WriteImage { .. } => plan.image.root + plan.image.verity,
            Step::MakeEsp { .. } => self.read.1,
            _ => Bytes::ZERO,
        };
        let sum = |steps: &[Step]| steps.iter().map(weight).fold(Bytes::ZERO, |sum, next| sum + next);
        let (before, rest) = plan.steps.split_at(self.done.min(plan.steps.len()));
        let present = match (rest.first(), self.bytes) {
            (Some(step), Some((done, _))) if !self.reading => done.min(weight(step)),
            _ => Bytes::ZERO,
        };
        Some((self.read.0 + sum(before) + present, self.read.1 + sum(&plan.steps)))
    }

    /// Bytes in a second, of the present step.
    fn rate(&self) -> Option<u64> {
        let elapsed = u64::try_from(self.now.saturating_sub(self.began).as_millis()).ok()?;
        self.bytes?.0.get().saturating_mul(1000).checked_div(elapsed).filter(|rate| *rate > 0)
    }
}

/// A time that is no more than about right.
fn in_words(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

fn seconds(time: Duration) -> String {
    format!("{:>5}.{} s", time.as_secs(), time.subsec_millis() / 100)
}
