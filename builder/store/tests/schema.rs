//! The event stream is an interface: every event, byte for byte. A line that changes here needs a new schema number,
//! one that is added does not.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use xenolith_store::{
    Change, Damage, Event, FileChange, InputChange, InputKind, PlannedStep, Reason, Shown, StepName, Unit,
    Verdict, WaitingOn, digest_bytes,
};

fn name(text: &str) -> StepName {
    text.parse().unwrap()
}

fn reasons() -> Vec<Reason> {
    let shown = |text: &str| Some(Shown { digest: digest_bytes(b""), text: Some(text.to_owned()) });
    let value = InputChange {
        input: "codec".to_owned(),
        kind: InputKind::Value,
        was: shown("lz4"),
        now: shown("zstd"),
        files: vec![],
        more_files: 0,
    };
    let files = vec![
        FileChange { path: "etc/motd".to_owned(), change: Change::Modified },
        FileChange { path: "etc/new".to_owned(), change: Change::Added },
        FileChange { path: "old".to_owned(), change: Change::Removed },
    ];
    let digest = |bytes| Some(Shown { digest: digest_bytes(bytes), text: None });
    let tree = InputChange {
        input: "rootfs".to_owned(),
        kind: InputKind::Tree,
        was: digest(b"a"),
        now: digest(b"b"),
        files,
        more_files: 2,
    };
    let gone = InputChange { input: "old".to_owned(), kind: InputKind::File, now: None, ..value.clone() };
    let new = InputChange { input: "new".to_owned(), kind: InputKind::Blob, was: None, ..value.clone() };
    let step =
        InputChange { input: "xen".to_owned(), kind: InputKind::Step, now: shown("xen"), ..value.clone() };
    vec![
        Reason::FirstTime,
        Reason::InputChanged { changes: vec![value, tree] },
        Reason::InputChanged { changes: vec![gone, new, step] },
        Reason::BuilderChanged,
        Reason::Asked,
        Reason::OutputDamaged { damage: Damage::Shape { entries: (2, 1), bytes: (9, 4) } },
        Reason::NotCached,
        Reason::FailedLast,
    ]
}

fn events() -> Vec<Event> {
    let key = digest_bytes(b"key");
    let digest = digest_bytes(b"output");
    let xen = || name("xen");
    let planned = |verdict| PlannedStep { step: xen(), expected: 1.5, key: Some(key), verdict };
    let verdicts = [
        Verdict::Cached,
        Verdict::Runs { reason: Reason::NotCached },
        Verdict::MayRun { after: vec![name("tools")] },
    ];
    let mut events = vec![Event::Plan { steps: verdicts.into_iter().map(planned).collect() }];
    events.extend(reasons().into_iter().map(|reason| Event::StepStarted { step: xen(), key, reason }));
    let damages = [
        Damage::Unreadable { why: "EOF".to_owned() },
        Damage::Missing { path: "a".to_owned() },
        Damage::Extra { path: "a".to_owned() },
        Damage::Changed { path: "a".to_owned() },
        Damage::Contents,
    ];
    events.extend(damages.into_iter().map(|damage| Event::StepDamaged { step: xen(), key, damage }));
    let log = PathBuf::from("logs/xen.log");
    let (causes, tail) = (vec!["make failed".to_owned()], vec!["error: no".to_owned()]);
    events.extend([
        Event::StepCached { step: xen(), key, digest, waited: false },
        Event::StepWaiting { step: xen(), on: WaitingOn::AnotherBuild },
        Event::StepWaiting { step: xen(), on: WaitingOn::Memory },
        Event::StepProgress { step: xen(), done: 1, total: 2, unit: Unit::Packages },
        Event::StepFinished { step: xen(), key, digest, seconds: 1.5, bytes: 7, same: Some(true) },
        Event::StepFailed { step: xen(), key, causes, log, tail },
        Event::Download { name: "xen.orig.tar.xz".to_owned(), done: 1, total: 2, rate: 3 },
        Event::Finished { success: false, seconds: 2.5, ran: 1, cached: 2, failed: 1 },
    ]);
    events
}

#[test]
fn every_event_has_the_form_that_schema_1_promises() {
    let lines: Vec<_> = events().iter().map(|event| event.line(Duration::from_millis(1250))).collect();
    let golden = include_str!("golden/events.ndjson");
    for (line, golden) in lines.iter().zip(golden.lines()) {
        assert_eq!(line, golden);
    }
    assert_eq!(lines.len(), golden.lines().count(), "all lines:\n{}", lines.join("\n"));
    for (event, line) in events().iter().zip(&lines) {
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), *event);
    }
}

#[test]
fn every_reason_reads_as_a_sentence() {
    let text: Vec<_> = reasons().iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "it has not run before",
            "`codec` was `lz4` and is `zstd`; `rootfs` changed: etc/motd modified, etc/new added, old removed and 2 more",
            "input `old` is gone; input `new` is new; the output of `xen` changed",
            "this builder identifies results in another way",
            "it was asked for",
            "its stored output was damaged: it had 2 entries and has 1",
            "its result is no longer in the store",
            "it failed the last time",
        ]
    );
}
