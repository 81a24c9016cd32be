//! The boot chain, link by link.

use maud::{Markup, html};

use super::bytes;
use crate::commands::report::model::{Link, Section, Verdict};

/// How many checks hold, fail, and were not made.
pub fn count(chain: &[Link]) -> (usize, usize, usize) {
    let mut count = (0, 0, 0);
    for check in chain.iter().flat_map(|link| &link.checks) {
        match check.verdict {
            Verdict::Holds => count.0 += 1,
            Verdict::Broken(_) => count.1 += 1,
            Verdict::NotMade(_) => count.2 += 1,
        }
    }
    count
}

/// The section.
pub fn section(chain: &[Link]) -> Markup {
    html! {
        section #chain {
            h2 { "Boot chain" }
            p.lead { "Each link accepts only the next one. The checks were made while this page was written, on the files in the folder." }
            ol.chain { @for link in chain { (one(link)) } }
        }
    }
}

fn one(link: &Link) -> Markup {
    html! {
        li {
            h3 { (link.title) }
            p { (link.says) }
            @if !link.checks.is_empty() {
                ul.checks {
                    @for check in &link.checks {
                        @match &check.verdict {
                            Verdict::Holds => { li.good { span.mark { "✓" } (check.about) } }
                            Verdict::Broken(why) => { li.bad { span.mark { "✗" } (check.about) ": " b { "fails" } ", " (why) } }
                            Verdict::NotMade(why) => { li.open { span.mark { "–" } (check.about) ": not checked, " (why) } }
                        }
                    }
                }
            }
            @if !link.facts.is_empty() {
                dl.known {
                    @for (name, value) in &link.facts {
                        dt { (name) }
                        dd { @for line in value.lines() { span.(if is_hash(line) { "mono" } else { "" }) { (line) } } }
                    }
                }
            }
            @if !link.sections.is_empty() { (sections(&link.sections)) }
        }
    }
}

fn sections(sections: &[Section]) -> Markup {
    html! {
        details open[sections.iter().any(|section| section.text.is_some())] {
            summary { (sections.len()) " sections" }
            div.scroll {
                table.sections {
                    thead { tr { th { "Section" } th.number { "Size" } th { "SHA-256" } } }
                    tbody {
                        @for section in sections {
                            tr { td.name { code { (section.name) } } td.number { (bytes(section.size)) } td.sum { code.whole { (section.sha256) } } }
                            @if let Some(text) = &section.text { tr.text { td colspan="3" { pre { (text) } } } }
                        }
                    }
                }
            }
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}
