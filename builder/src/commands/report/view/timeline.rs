//! The timeline: one row for each step, as it was and as it would be from nothing.

use maud::{Markup, html};
use xenolith_store::Outcome;

use super::{bytes, duration};
use crate::commands::report::model::{StepRow, Timeline};

/// The section.
pub fn section(timeline: &Timeline) -> Markup {
    let count = |outcome| timeline.steps.iter().filter(|step| step.outcome == outcome).count();
    let (ran, cached, failed) = (count(Outcome::Ran), count(Outcome::Cached), count(Outcome::Failed));
    let took = seconds(timeline.took_ms);
    let mut cold: Vec<&StepRow> = timeline.steps.iter().collect();
    cold.sort_by(|a, b| a.cold_began.total_cmp(&b.cold_began).then(a.step.cmp(&b.step)));
    html! {
        section #timeline {
            h2 { "Timeline" }
            p.lead {
                "The last build took " b { (duration(took)) } ": " (ran) " steps run, " (cached) " cached"
                @if failed > 0 { ", " (failed) " failed" } "."
                " From nothing its longest chain of steps takes " b { (duration(timeline.cold_seconds)) } "."
            }
            div.views {
                input #view-build type="radio" name="view" checked[ran + failed > 0];
                label for="view-build" { "This build" }
                input #view-cold type="radio" name="view" checked[ran + failed == 0];
                label for="view-cold" { "From nothing" }
                div.gantt.build {
                    (axis(took))
                    @for step in &timeline.steps { (build_row(step, took)) }
                    p.legend {
                        span.key.ran {} "work " span.key.waited {} "waiting for a processor, memory or another build "
                        span.key.cached {} "from the cache"
                        @if failed > 0 { " " span.key.failed {} "failed" }
                    }
                }
                div.gantt.cold {
                    (axis(timeline.cold_seconds))
                    @for step in cold { (cold_row(step, timeline.cold_seconds)) }
                    p.legend {
                        span.key.critical {} "on the longest chain " span.key.ran {} "beside it. "
                        "Each step as long as it last took, as soon as its inputs are there."
                    }
                }
            }
        }
    }
}

fn build_row(step: &StepRow, took: f64) -> Markup {
    let (ready, began, ended) = (seconds(step.ready_ms), seconds(step.began_ms), seconds(step.ended_ms));
    let class = match step.outcome {
        Outcome::Ran => "ran",
        Outcome::Failed => "failed",
        Outcome::Cached => "cached",
    };
    let says = match step.outcome {
        Outcome::Cached => "cached".to_owned(),
        Outcome::Ran => duration(ended - began),
        Outcome::Failed => "failed".to_owned(),
    };
    let waited = began - ready;
    let mut about = vec![format!("{}: {} of output", step.step, bytes(step.bytes))];
    about.push(match step.outcome {
        Outcome::Cached => format!("from the cache; took {} when it was made", duration(step.seconds)),
        Outcome::Ran | Outcome::Failed => {
            format!("{} of work, {} waiting", duration(ended - began), duration(waited))
        }
    });
    about.extend(step.reason.clone());
    let about = about.join("\n");
    html! {
        div.row title=(about) {
            span.step { (step.step) }
            span.track {
                @if step.outcome == Outcome::Cached {
                    span.dot.cached style=(left(began, took)) {}
                } @else {
                    @if waited > took / 400.0 { span.bar.waited style=(place(ready, waited, took)) {} }
                    span.bar.(class) style=(place(began, ended - began, took)) {}
                }
            }
            span.time { (says) }
            @if let Some(reason) = &step.reason { span.reason { (reason) } }
        }
    }
}

fn cold_row(step: &StepRow, whole: f64) -> Markup {
    let about = if step.inputs.is_empty() {
        format!("{}: reads no other step", step.step)
    } else {
        format!("{}: after {}", step.step, step.inputs.join(", "))
    };
    html! {
        div.row title=(about) {
            span.step { (step.step) }
            span.track {
                span.bar.(if step.critical { "critical" } else { "ran" }) style=(place(step.cold_began, step.seconds, whole)) {}
            }
            span.time { (duration(step.seconds)) }
        }
    }
}

/// Marks at round times, at most six.
fn axis(whole: f64) -> Markup {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    let every = steps.into_iter().find(|every| whole / every <= 6.0).unwrap_or(7200.0);
    let mut marks = Vec::new();
    let mut at = 0.0;
    while at <= whole * 0.96 {
        marks.push(at);
        at += every;
    }
    let text = |at: f64| {
        if every >= 60.0 {
            format!("{:.0} min", at / 60.0)
        } else if every >= 1.0 {
            format!("{at:.0} s")
        } else {
            format!("{at:.1} s")
        }
    };
    html! {
        div.row.axis {
            span.step {}
            span.track { @for at in marks { span.mark style=(left(at, whole)) { (text(at)) } } }
            span.time {}
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a build, to draw")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 }
}

fn left(at: f64, whole: f64) -> String {
    format!("left:{:.2}%", percent(at, whole))
}

fn place(at: f64, length: f64, whole: f64) -> String {
    format!("left:{:.2}%;width:{:.2}%", percent(at, whole), percent(length, whole))
}
