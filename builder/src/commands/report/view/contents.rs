//! The treemap of the root image, and the same as a table.
//!
//! Boxes are placed in percent, not drawn: labels keep their size on a phone, and a box too small for its label hides
//! it by itself (container queries).

use maud::{Markup, html};

use super::bytes;
use crate::commands::report::{
    model::{Contents, Group, Kind},
    squarify::{Rect, squarify},
};

/// Width by height of the map on a wide screen.
const ASPECT: f64 = 1.9;
/// Boxes in a group.
const MOST_BOXES: usize = 140;
/// A group below this part of the whole shares one box with its like.
const SMALL_GROUP: u64 = 1200;
/// A file or folder below this part of the whole shares one box with its like.
const SMALL_FILE: u64 = 9000;
/// A file above this part of the whole may carry its name.
const NAMED_FILE: u64 = 150;
/// Rows of the table before the rest is folded.
const ROWS: usize = 20;

/// The section.
pub fn section(contents: &Contents, image: u64) -> Markup {
    let drawn = drawn(contents);
    html! {
        section #contents {
            h2 { "Contents" }
            p.lead {
                b { (bytes(contents.size)) } " in " (contents.files) " files, which the root image keeps in " b { (bytes(image)) }
                ". Areas are sizes before compression."
            }
            (legend(contents))
            (map(contents, &drawn))
            p.info #info { "Point at a box to see what it is; with scripts on, click a package to look into it." }
            (table(contents))
        }
    }
}

fn legend(contents: &Contents) -> Markup {
    let kinds = [Kind::Kernel, Kind::Firmware, Kind::Xen, Kind::Own, Kind::Package, Kind::Generated];
    let sum =
        |kind| contents.groups.iter().filter(|group| group.kind == kind).map(|group| group.size).sum::<u64>();
    html! {
        ul.kinds {
            @for kind in kinds {
                @if sum(kind) > 0 { li { span.swatch.(class(kind)) {} (says(kind)) " " b { (bytes(sum(kind))) } } }
            }
        }
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Kernel => "kernel",
        Kind::Firmware => "firmware",
        Kind::Xen => "xen",
        Kind::Own => "own",
        Kind::Package => "package",
        Kind::Generated => "generated",
    }
}

fn says(kind: Kind) -> &'static str {
    match kind {
        Kind::Kernel => "Kernel and modules",
        Kind::Firmware => "Firmware",
        Kind::Xen => "Xen, compiled here",
        Kind::Own => "Xenolith",
        Kind::Package => "Debian packages",
        Kind::Generated => "Made while installing",
    }
}

/// The groups as they are drawn: small ones share a box.
fn drawn(contents: &Contents) -> Vec<Group> {
    let floor = contents.size / SMALL_GROUP;
    let (large, small): (Vec<&Group>, Vec<&Group>) =
        contents.groups.iter().partition(|group| group.size >= floor.max(1) || group.kind != Kind::Package);
    let mut all: Vec<Group> = large.into_iter().cloned().collect();
    if !small.is_empty() {
        all.push(Group {
            name: format!("{} small packages", small.len()),
            kind: Kind::Package,
            size: small.iter().map(|group| group.size).sum(),
            files: small.iter().map(|group| (group.name.clone(), group.size)).collect(),
        });
    }
    all.retain(|group| group.size > 0);
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    all
}

fn map(contents: &Contents, groups: &[Group]) -> Markup {
    let sizes: Vec<u64> = groups.iter().map(|group| group.size).collect();
    let whole = Rect { x: 0.0, y: 0.0, w: 100.0 * ASPECT, h: 100.0 };
    let rects = squarify(&sizes, whole);
    html! {
        div.map #map role="img" aria-label=(format!("Treemap of {} files; the table below says the same", contents.files)) {
            @for (group, rect) in groups.iter().zip(&rects) {
                div.box.(class(group.kind)) style=(place(rect, &whole)) title=(format!("{} – {}, {} files", group.name, bytes(group.size), group.files.len())) {
                    span.label { b { (group.name) } " " (bytes(group.size)) }
                    (files(contents, group, rect))
                }
            }
        }
    }
}

fn files(contents: &Contents, group: &Group, rect: &Rect) -> Markup {
    let boxes = boxes(contents, group);
    if boxes.len() < 2 {
        return html! { div.files {} };
    }
    let sizes: Vec<u64> = boxes.iter().map(|file| file.1).collect();
    let whole = Rect { x: 0.0, y: 0.0, w: 100.0 * rect.aspect(), h: 100.0 };
    let rects = squarify(&sizes, whole);
    html! {
        div.files {
            @for ((name, size), rect) in boxes.iter().zip(&rects) {
                @let named = *size >= contents.size / NAMED_FILE;
                div.file.named[named] style=(place(rect, &whole)) title=(format!("{name} – {}", bytes(*size))) {
                    @if named { span { (last_name(name)) } }
                }
            }
        }
    }
}

/// The boxes of a group, largest first.
fn boxes(contents: &Contents, group: &Group) -> Vec<(String, u64)> {
    let floor = (contents.size / SMALL_FILE).max(1);
    let mut files: Vec<&(String, u64)> = group.files.iter().filter(|file| file.1 > 0).collect();
    files.sort();
    let mut boxes = split(&files, floor);
    boxes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    boxes
}

/// Some files that share a folder, as one box.
struct Bundle<'a> {
    /// Files by path.
    files: &'a [&'a (String, u64)],
    /// Parts of the path that they have in common.
    depth: usize,
    size: u64,
}

/// Takes the largest folder apart again and again, as long as that makes boxes that are worth it.
fn split(files: &[&(String, u64)], floor: u64) -> Vec<(String, u64)> {
    let size = |files: &[&(String, u64)]| files.iter().map(|file| file.1).sum::<u64>();
    let mut open = vec![Bundle { files, depth: 0, size: size(files) }];
    let mut done: Vec<(String, u64)> = Vec::new();
    while let Some(largest) = (0..open.len()).max_by_key(|index| open[*index].size) {
        let bundle = open.swap_remove(largest);
        if let [only] = bundle.files {
            done.push((*only).clone());
            continue;
        }
        let part = |file: &(String, u64)| file.0.split('/').nth(bundle.depth).map(str::to_owned);
        let parts: Vec<&[&(String, u64)]> = bundle.files.chunk_by(|a, b| part(a) == part(b)).collect();
        let (large, small): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| size(part) >= floor);
        // Files of one path cannot be told apart any further.
        let same_path = bundle.files.iter().all(|file| part(file).is_none());
        if large.is_empty() || same_path || done.len() + open.len() + large.len() > MOST_BOXES {
            done.push((summary(bundle.files, bundle.depth, ""), bundle.size));
            continue;
        }
        let rest: Vec<&(String, u64)> = small.into_iter().flatten().copied().collect();
        match rest.as_slice() {
            [] => {}
            [only] => done.push((*only).clone()),
            _ => done.push((summary(&rest, bundle.depth, "smaller "), size(&rest))),
        }
        open.extend(large.into_iter().map(|files| Bundle {
            files,
            depth: bundle.depth + 1,
            size: size(files),
        }));
    }
    done
}

/// `usr/lib/modules: 12 smaller files`.
fn summary(files: &[&(String, u64)], depth: usize, what: &str) -> String {
    let folder =
        files.first().map_or("", |file| file.0.as_str()).split('/').take(depth).collect::<Vec<_>>().join("/");
    let colon = if folder.is_empty() { "" } else { ": " };
    format!("{folder}{colon}{} {what}files", files.len())
}

/// The last part of a path, with what follows it.
fn last_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn place(rect: &Rect, whole: &Rect) -> String {
    let part = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    format!(
        "left:{:.2}%;top:{:.2}%;width:{:.2}%;height:{:.2}%",
        part(rect.x, whole.w),
        part(rect.y, whole.h),
        part(rect.w, whole.w),
        part(rect.h, whole.h)
    )
}

fn table(contents: &Contents) -> Markup {
    let rows = |groups: &[Group]| {
        html! {
            @for group in groups {
                tr {
                    td.name { span.swatch.(class(group.kind)) {} (group.name) }
                    td.number { (bytes(group.size)) }
                    td.number { (share(group.size, contents.size)) }
                    td.number { (group.files.len()) }
                    td.largest { @if let Some((path, size)) = group.files.first() { code { (path) } " " (bytes(*size)) } }
                }
            }
        }
    };
    let head = html! {
        thead { tr { th { "Package" } th.number { "Size" } th.number { "Share" } th.number { "Files" } th.largest { "Largest file" } } }
    };
    let (first, rest) = contents.groups.split_at(contents.groups.len().min(ROWS));
    html! {
        div.scroll { table.groups { (head) tbody { (rows(first)) } } }
        @if !rest.is_empty() {
            details {
                summary { "All other " (rest.len()) " packages" }
                div.scroll { table.groups { (head) tbody { (rows(rest)) } } }
            }
        }
    }
}

fn share(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000) / whole.max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_folders_are_taken_apart_and_small_files_summed_up() {
        let files = [("a/b/x", 50), ("a/b/y", 40), ("a/c/z", 1), ("a/c/zz", 1), ("d/e", 30), ("f", 2)];
        let files = files.map(|(path, size)| (path.to_owned(), size));
        let files: Vec<&(String, u64)> = files.iter().collect();
        let mut found = split(&files, 10);
        found.sort();
        let names: Vec<String> = found.iter().map(|(name, size)| format!("{name} {size}")).collect();
        assert_eq!(names, ["a/b/x 50", "a/b/y 40", "a: 2 smaller files 2", "d/e 30", "f 2"]);
        assert_eq!(found.iter().map(|file| file.1).sum::<u64>(), 124);
    }

    #[test]
    fn very_many_files_make_few_boxes_and_lose_no_byte() {
        let files: Vec<(String, u64)> = (0..5000).map(|n| (format!("lib/{}/{n}", n % 40), 10)).collect();
        let mut files: Vec<&(String, u64)> = files.iter().collect();
        files.sort();
        let found = split(&files, 10);
        assert!(found.len() <= MOST_BOXES + 1, "{}", found.len());
        assert_eq!(found.iter().map(|file| file.1).sum::<u64>(), 50_000);
    }
}
