//! What a person or a program sees of a build: progress bars on a terminal, a line per step elsewhere, NDJSON if asked.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use xenolith_store::{Event, StepName, WaitingOn};

/// How events are shown.
pub enum Renderer {
    /// One JSON object a line on standard output.
    Json {
        /// When the build began.
        began: Instant,
    },
    /// A plain line for each step on standard error.
    Plain {
        /// Steps that will run and how many have ended.
        count: Count,
        /// Whether reasons are shown.
        explain: bool,
    },
    /// Bars on standard error.
    Bars {
        /// All bars.
        all: MultiProgress,
        /// The bar of the whole build.
        total: ProgressBar,
        /// One bar for each running step.
        steps: BTreeMap<StepName, ProgressBar>,
        /// Steps that will run and how many have ended.
        count: Count,
        /// Whether reasons are shown.
        explain: bool,
    },
}

/// Steps of a build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    total: usize,
    ended: usize,
    cached: usize,
}

impl Renderer {
    /// Picks the way to show events.
    pub fn new(json: bool, explain: bool) -> Self {
        if json {
            return Self::Json { began: Instant::now() };
        }
        if !std::io::stderr().is_terminal() {
            return Self::Plain { count: Count::default(), explain };
        }
        let all = MultiProgress::new();
        let total =
            all.add(ProgressBar::new(0).with_style(style("{bar:30} {pos}/{len} steps  {elapsed}  {msg}")));
        total.enable_steady_tick(Duration::from_millis(200));
        Self::Bars { all, total, steps: BTreeMap::new(), count: Count::default(), explain }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match self {
            Self::Json { began } => {
                let line = event.line(began.elapsed());
                // Whoever reads us may have gone; the build goes on all the same.
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            Self::Plain { count, explain } => {
                count.take(event);
                if let Some(line) = line_of(event, *count, *explain) {
                    eprintln!("{line}");
                }
            }
            Self::Bars { all, total, steps, count, explain } => {
                count.take(event);
                bars(event, all, total, steps, *count);
                if let Some(line) = line_of(event, *count, *explain)
                    && !matches!(event, Event::StepStarted { .. } | Event::StepCached { .. })
                {
                    let _ = all.println(line);
                } else if *explain && let Some(line) = line_of(event, *count, true) {
                    let _ = all.println(line);
                }
            }
        }
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        if let Self::Bars { all, .. } = self {
            let _ = all.clear();
        }
    }
}

impl Count {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Plan { steps } => self.total = steps.len(),
            Event::StepCached { .. } => {
                self.ended += 1;
                self.cached += 1;
            }
            Event::StepFinished { .. } | Event::StepFailed { .. } => self.ended += 1,
            _ => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("our templates are valid").progress_chars("━╸ ")
}

/// The line for an event, if it is worth one. Cached steps are worth one only when reasons are shown.
fn line_of(event: &Event, count: Count, explain: bool) -> Option<String> {
    let at = format!("[{:>2}/{}]", count.ended, count.total);
    match event {
        Event::StepStarted { step, reason, .. } if explain => Some(format!("{at} {step}: runs: {reason}")),
        Event::StepStarted { step, .. } => Some(format!("{at} {step} …")),
        Event::StepCached { step, waited: true, .. } => Some(format!("{at} {step}: made by another build")),
        Event::StepCached { step, key, .. } if explain => {
            Some(format!("{at} {step}: cached, its inputs are those of {}", key.short()))
        }
        Event::StepWaiting { step, on: WaitingOn::AnotherBuild } => {
            Some(format!("{at} {step}: waits for another build that makes the same"))
        }
        Event::StepWaiting { step, on: WaitingOn::Memory } => Some(format!("{at} {step}: waits for memory")),
        Event::StepDamaged { step, damage, .. } => {
            Some(format!("{at} {step}: its stored result is damaged ({damage}); made again"))
        }
        Event::StepFinished { step, seconds, bytes, .. } => {
            Some(format!("{at} {step} done in {seconds:.1} s, {}", HumanBytes(*bytes)))
        }
        Event::StepFailed { step, .. } => Some(format!("{at} {step} FAILED")),
        _ => None,
    }
}

fn bars(
    event: &Event,
    all: &MultiProgress,
    total: &ProgressBar,
    steps: &mut BTreeMap<StepName, ProgressBar>,
    count: Count,
) {
    match event {
        Event::Plan { steps: planned } => total.set_length(planned.len() as u64),
        Event::StepStarted { step, .. } => {
            let bar = ProgressBar::new_spinner().with_style(style("  {spinner} {msg} {elapsed}"));
            let bar = all.add(bar);
            bar.set_message(step.to_string());
            bar.enable_steady_tick(Duration::from_millis(200));
            steps.insert(step.clone(), bar);
        }
        Event::StepProgress { step, done, total, .. } => {
            if let Some(bar) = steps.get(step) {
                if bar.length() != Some(*total) {
                    bar.set_style(style("  {spinner} {msg} {bar:20} {percent}% {elapsed}"));
                    bar.set_length(*total);
                }
                bar.set_position(*done);
            }
        }
        Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => {
            if let Some(bar) = steps.remove(step) {
                bar.finish_and_clear();
            }
        }
        _ => {}
    }
    total.set_position(count.ended as u64);
    total.set_message(format!("{} cached", count.cached));
}
