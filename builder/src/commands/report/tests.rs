use xenolith_store::Outcome;

use super::{
    changes::with_manifest,
    contents::contents,
    model::{Check, Link, Page, Section, StepRow, Timeline, Verdict},
    *,
};
use crate::steps::describe::{
    manifest::{FileSum, PackageSum, tests::sample},
    packages::PackageFiles,
};

/// What a package, a file or a revision could be called to get a script into the page.
const HOSTILE: &str = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";

fn last_build() -> LastBuild {
    let step = |began: u64, ended: u64, outcome: &str, inputs: &[&str], seconds: f64, build: u64| {
        let zero = "0".repeat(64);
        let inputs: serde_json::Map<String, serde_json::Value> = inputs
            .iter()
            .map(|input| {
                ((*input).to_owned(), serde_json::json!({ "kind": "step", "digest": zero, "text": input }))
            })
            .collect();
        let reason = (outcome == "ran").then(|| serde_json::json!({ "reason": "not_cached" }));
        serde_json::json!({
            "key": zero, "output": zero, "outcome": outcome, "build": build, "began_ms": began, "ended_ms": ended,
            "bytes": 1000, "seconds": seconds, "reason": reason, "inputs": inputs,
        })
    };
    let value = serde_json::json!({
        "format": 1, "began": 1_767_225_600_000_u64, "took_ms": 100_000,
        "steps": {
            "tools-tree": step(0, 0, "cached", &[], 6.0, 1_767_225_600_000),
            "packages": step(10, 40_000, "ran", &["tools-tree"], 39.99, 1_767_225_600_000),
            "xen-tools": step(5000, 95_000, "ran", &["tools-tree"], 90.0, 1_767_225_600_000),
            "root": step(95_500, 100_000, "ran", &["packages", "xen-tools"], 4.5, 1_767_225_600_000),
            "disk": step(0, 9, "ran", &["root"], 3.0, 1_700_000_000_000),
        },
    });
    serde_json::from_value(value).unwrap()
}

fn files() -> (Vec<FileEntry>, Vec<PackageFiles>) {
    let file = |path: &str, size, layer: &str| FileEntry { path: path.into(), size, layer: layer.into() };
    let package = |name: &str, files: &[&str]| PackageFiles {
        name: name.into(),
        source: name.into(),
        source_version: "1".into(),
        homepage: None,
        maintainer: None,
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    };
    let files = vec![
        file("usr/bin/bash", 1_200_000, "packages"),
        file("usr/bin/xl", 500_000, "xen"),
        file("usr/bin/xenolith-status", 700_000, "crates"),
        file("usr/lib/firmware/a.bin", 9_000_000, "packages"),
        file("usr/lib/modules/6.12/a.ko.xz", 4_000_000, "packages"),
        file("usr/lib/modules/6.12/b.ko.xz", 3_000_000, "packages"),
        file("usr/lib/os-release", 300, "identity"),
        file("etc/ld.so.cache", 20_000, "packages"),
        file("usr/share/empty", 0, "packages"),
    ];
    let packages = vec![
        package("bash", &["usr/bin/bash", "usr/share/empty"]),
        package("firmware-misc", &["usr/lib/firmware/a.bin"]),
        package("linux-image-6.12", &["usr/lib/modules/6.12/a.ko.xz", "usr/lib/modules/6.12/b.ko.xz"]),
    ];
    (files, packages)
}

fn before() -> Manifest {
    let mut before = sample();
    before.identity.version = "0.0.9".into();
    before.build_id = "fedcba9876543210".into();
    before.versions.kernel = "6.12.0-amd64".into();
    before.files =
        vec![FileSum { name: "xenolith-0.0.9.iso".into(), size: 240_000_000, sha256: "a".repeat(64) }];
    before.packages[0].version = "5.2.36-1".into();
    before.packages[0].sha256 = "b".repeat(64);
    before.packages[0].size = 1_400_000;
    before.packages.push(PackageSum { name: "zsh".into(), ..before.packages[0].clone() });
    before
}

fn sample_page() -> Page {
    let manifest = sample();
    let (files, packages) = files();
    let check = |about: &str, verdict| Check { about: about.into(), verdict };
    Page {
        results: vec![ResultFile {
            name: "xenolith-0.1.0.iso".into(),
            size: 250_000_000,
            sha256: "5".repeat(64),
            budget: Some(400_000_000),
            presence: Presence::There,
        }],
        timeline: Some(timeline::timeline(&last_build())),
        contents: Some(contents(&files, &packages)),
        chain: vec![Link {
            title: "Boot file",
            says: "Xen and its options.".into(),
            facts: vec![("SHA-256".into(), "7".repeat(64))],
            checks: vec![
                check("Signature", Verdict::Holds),
                check("Sum", Verdict::Broken("it has another".into())),
                check("Keys", Verdict::NotMade("they are not here".into())),
            ],
            sections: vec![Section {
                name: ".config".into(),
                size: 12,
                sha256: "8".repeat(64),
                text: Some("[global]\ndefault=xenolith".into()),
            }],
        }],
        changes: Some(with_manifest(&manifest, &before(), "manifest.json")),
        notes: vec!["A note.".into()],
        image: manifest.into(),
    }
}

#[test]
fn the_page_as_data_is_as_it_was() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&sample_page()).unwrap());
}

#[test]
fn steps_that_only_an_earlier_build_looked_at_are_left_out() {
    let timeline = timeline::timeline(&last_build());
    assert!(timeline.steps.iter().all(|step| step.step != "disk"));
}

#[test]
fn waiting_is_what_lies_between_the_last_input_and_the_work() {
    let Timeline { steps, cold_seconds, .. } = timeline::timeline(&last_build());
    let step = |name: &str| -> &StepRow { steps.iter().find(|step| step.step == name).unwrap() };
    assert_eq!((step("xen-tools").ready_ms, step("xen-tools").began_ms), (0, 5000));
    assert_eq!((step("root").ready_ms, step("root").began_ms), (95_000, 95_500));
    assert_eq!(step("tools-tree").outcome, Outcome::Cached);
    assert!((cold_seconds - 100.5).abs() < 1e-9, "{cold_seconds}");
    let critical: Vec<&str> =
        steps.iter().filter(|step| step.critical).map(|step| step.step.as_str()).collect();
    assert_eq!(critical, ["tools-tree", "xen-tools", "root"]);
}

#[test]
fn every_byte_of_the_image_belongs_to_one_group() {
    let (files, packages) = files();
    let contents = contents(&files, &packages);
    assert_eq!(contents.size, files.iter().map(|file| file.size).sum::<u64>());
    assert_eq!(contents.groups.iter().map(|group| group.files.len()).sum::<usize>(), files.len());
    let names: Vec<&str> = contents.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "firmware-misc",
            "linux-image-6.12",
            "bash",
            "Xenolith programs",
            "Xen tools",
            "made while installing",
            "Xenolith settings"
        ]
    );
}

#[test]
fn results_of_two_versions_are_compared_under_one_name() {
    let changes = with_manifest(&sample(), &before(), "manifest.json");
    assert_eq!(changes.results.len(), 1);
    assert_eq!(changes.results[0].name, "xenolith.iso");
    assert!(with_manifest(&sample(), &sample(), "x").packages.is_empty());
}

#[test]
fn a_file_that_is_neither_manifest_nor_lock_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "hello").unwrap();
    let failure = changes::against(&sample(), &path).unwrap_err();
    assert_eq!(failure.class, Class::Input);
    assert!(failure.hint.unwrap().contains("xenolith.lock"));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = || HOSTILE.to_owned();
    let mut page = sample_page();
    page.image.identity.name = hostile();
    page.image.identity.revision = hostile();
    page.image.xen = hostile();
    page.results[0].name = hostile();
    page.notes = vec![hostile()];
    page.chain[0].facts = vec![(hostile(), hostile())];
    page.chain[0].checks[1] = Check { about: hostile(), verdict: Verdict::Broken(hostile()) };
    page.chain[0].sections[0].text = Some(hostile());
    page.chain[0].sections[0].name = hostile();
    for step in &mut page.timeline.as_mut().unwrap().steps {
        step.step = hostile();
        step.reason = Some(hostile());
        step.inputs = vec![hostile()];
    }
    for group in &mut page.contents.as_mut().unwrap().groups {
        group.name = hostile();
        for file in &mut group.files {
            file.0 = hostile();
        }
    }
    let changes = page.changes.as_mut().unwrap();
    changes.against = hostile();
    changes.facts = vec![(hostile(), hostile(), hostile())];
    changes.packages[0].name = hostile();
    changes.packages[0].from = Some(hostile());
    let text = view::page(&page).into_string();
    assert_eq!(text.matches("<script>").count(), 1, "only ours");
    assert!(!text.contains("<img"));
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    // An attribute that the text could leave would leave a bare quote behind it.
    assert!(!text.contains("(1)</script>\""));
}

#[test]
fn the_page_asks_for_nothing_from_anywhere() {
    let text = view::page(&sample_page()).into_string();
    for outside in ["http://", "https://", "url(", "@import", "<link", "src="] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(text.contains("default-src 'none'"));
}
