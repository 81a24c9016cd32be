//! The page as HTML: one file, no request to anywhere, readable without scripts, in light, in dark and on paper.
//!
//! `maud` escapes every text and attribute that it is given. What is not given to it as text is written by us:
//! style sheet, script, and positions, which are numbers. The page forbids itself everything else: its content security
//! policy names the one script by its hash, so that even a mistake here runs no one else's.

mod chain;
mod contents;
mod timeline;

use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::model::{Change, Changes, How, Page, Presence, ResultFile};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub fn page(page: &Page) -> Markup {
    let identity = &page.image.identity;
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (identity.name) " " (identity.version) " – build report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(page))
                main {
                    @for note in &page.notes { p.note { (note) } }
                    (results(&page.results))
                    @if let Some(timeline) = &page.timeline { (timeline::section(timeline)) }
                    @if let Some(contents) = &page.contents { (contents::section(contents, page.image.root_size)) }
                    (chain::section(&page.chain))
                    @if let Some(changes) = &page.changes { (changes_section(changes)) }
                }
                footer {
                    "Build " code { (page.image.build_id) } ", made from revision " code { (short(&identity.revision)) }
                    " and lock " code { (short(&identity.lock)) } ". Sizes are decimal: 1 MB is 1,000,000 bytes."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn head(page: &Page) -> Markup {
    let image = &page.image;
    let identity = &image.identity;
    let (held, broken, open) = chain::count(&page.chain);
    html! {
        header {
            div.title {
                h1 { (identity.name) " " span.version { (identity.version) } }
                p { "Build report" @if let Some(timeline) = &page.timeline { " · " (timeline.began.replace('T', " ").replace('Z', " UTC")) } }
            }
            dl.facts {
                (fact("Xen", &image.xen))
                (fact("Kernel", &image.kernel))
                (fact("Variant", &identity.variant))
                (fact("Packages", &image.packages.to_string()))
                (fact("Root image", &bytes(image.root_size)))
                div.fact.(if broken > 0 { "bad" } else if open > 0 { "open" } else { "good" }) {
                    dt { "Boot chain" }
                    dd {
                        @if broken > 0 { (broken) " of " (held + broken + open) " checks fail" }
                        @else if open > 0 { (held) " checks hold, " (open) " not made" }
                        @else { "all " (held) " checks hold" }
                    }
                }
            }
            p.hash { span { "Root hash" } code { (image.root_hash) } }
            nav {
                a href="#results" { "Results" }
                @if page.timeline.is_some() { a href="#timeline" { "Timeline" } }
                @if page.contents.is_some() { a href="#contents" { "Contents" } }
                a href="#chain" { "Boot chain" }
                @if page.changes.is_some() { a href="#changes" { "Changes" } }
            }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div.fact { dt { (name) } dd { (value) } } }
}

fn results(results: &[ResultFile]) -> Markup {
    html! {
        section #results {
            h2 { "Results" }
            div.scroll {
                table.results {
                    thead { tr { th { "File" } th.number { "Size" } th { "Of its budget" } th { "SHA-256" } } }
                    tbody {
                        @for file in results {
                            tr {
                                td.name {
                                    (file.name)
                                    @match file.presence {
                                        Presence::There => {},
                                        Presence::OtherSize => { span.badge.bad { "other length" } }
                                        Presence::Gone => { span.badge.open { "not in the folder" } }
                                    }
                                }
                                td.number { (bytes(file.size)) }
                                td.budget { @if let Some(budget) = file.budget { (meter(file.size, budget)) } }
                                td.sum { code title=(file.sha256) { (short(&file.sha256)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn meter(size: u64, budget: u64) -> Markup {
    let percent = size.saturating_mul(100) / budget.max(1);
    html! {
        span.meter title=(format!("{} of {}", bytes(size), bytes(budget))) {
            span.fill.(if percent > 90 { "high" } else { "" }) style=(format!("width:{}%", percent.min(100))) {}
        }
        span.percent { (percent) " % of " (bytes(budget)) }
    }
}

fn changes_section(changes: &Changes) -> Markup {
    html! {
        section #changes {
            h2 { "Changes" }
            p.lead { "Compared with " code { (changes.against) } "." }
            @if !changes.facts.is_empty() {
                div.scroll { table {
                    thead { tr { th {} th { "Before" } th { "Now" } } }
                    tbody { @for (what, from, to) in &changes.facts {
                        tr { td.name { (what) } td.sum { code title=(from) { (shorter(from)) } } td.sum { code title=(to) { (shorter(to)) } } }
                    } }
                } }
            }
            (change_table("Packages", "Size of .deb", &changes.packages, changes.same_packages))
            @if !changes.results.is_empty() || changes.same_results > 0 {
                (change_table("Results", "Size", &changes.results, changes.same_results))
            }
        }
    }
}

fn change_table(title: &str, size: &str, changes: &[Change], same: usize) -> Markup {
    let total: i128 =
        changes.iter().map(|change| i128::from(change.size_to) - i128::from(change.size_from)).sum();
    html! {
        h3 { (title) }
        p.lead {
            @if changes.is_empty() { "No difference: all " (same) " are the same." }
            @else { (changes.len()) " differ, " (same) " are the same; together " (delta(total)) "." }
        }
        @if !changes.is_empty() {
            div.scroll { table.changes {
                thead { tr { th { "Name" } th {} th { "Before" } th { "Now" } th.number { (size) } th.number { "Difference" } } }
                tbody { @for change in changes { (change_row(change)) } }
            } }
        }
    }
}

fn change_row(change: &Change) -> Markup {
    let (word, class) = match change.how {
        How::Added => ("added", "added"),
        How::Removed => ("removed", "removed"),
        How::Upgraded => ("upgraded", "upgraded"),
        How::Downgraded => ("downgraded", "downgraded"),
        How::Rebuilt => ("other bytes", "rebuilt"),
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
    html! {
        tr {
            td.name { (change.name) }
            td { span.badge.(class) { (word) } }
            td { code { (text(&change.from)) } }
            td { code { (text(&change.to)) } }
            td.number { @if change.how == How::Removed { "–" } @else { (bytes(change.size_to)) } }
            td.number { (delta(i128::from(change.size_to) - i128::from(change.size_from))) }
        }
    }
}

/// `12.3 MB`.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut unit, mut whole, mut rest) = (0, count, 0);
    while whole >= 1000 && unit + 1 < units.len() {
        rest = whole % 1000;
        whole /= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{whole} B"),
        _ if whole >= 100 => format!("{whole} {}", units[unit]),
        _ => format!("{whole}.{} {}", rest / 100, units[unit]),
    }
}

/// `+1.2 MB`, `−300 B`, `±0`.
fn delta(difference: i128) -> String {
    let size = bytes(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX));
    match difference {
        0 => "±0".into(),
        1.. => format!("+{size}"),
        _ => format!("−{size}"),
    }
}

/// `2 min 31 s`, `74 s`, `1.4 s`.
pub fn duration(seconds: f64) -> String {
    if seconds >= 120.0 {
        format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor())
    } else if seconds >= 10.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// The start of a sum or revision, with what is behind a dash in it.
fn short(sum: &str) -> String {
    let (hash, rest) = sum.split_once('-').map_or((sum, ""), |(hash, rest)| (hash, rest));
    let start: String = hash.chars().take(12).collect();
    if rest.is_empty() { start } else { format!("{start}-{rest}") }
}

/// As [`short`] for hashes; versions and names stay whole.
fn shorter(text: &str) -> String {
    let hash = text.split('-').next().unwrap_or_default();
    let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { short(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(
            [0, 999, 1000, 12_345_678, 123_456_789].map(bytes),
            ["0 B", "999 B", "1.0 kB", "12.3 MB", "123 MB"]
        );
        assert_eq!([0, -1500, 2_000_000].map(delta), ["±0", "−1.5 kB", "+2.0 MB"]);
        assert_eq!([0.04, 74.4, 151.0].map(duration), ["0.0 s", "74 s", "2 min 31 s"]);
    }

    #[test]
    fn only_hashes_are_cut() {
        assert_eq!(shorter(&format!("{}-dirty", "a".repeat(40))), "aaaaaaaaaaaa-dirty");
        assert_eq!(shorter("4.20.3+127-gc42374a105-0+deb13u1"), "4.20.3+127-gc42374a105-0+deb13u1");
    }
}
