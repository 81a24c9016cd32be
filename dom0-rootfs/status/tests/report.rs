//! Whole reports from recorded hosts: each folder of `tests/fixtures` is one, with its files and what its programs said.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use xenolith_firstboot::Task;
use xenolith_status::{Host, Recorded, Report, Xen, gather, ready, text};

fn look_at(name: &str, asked: Option<Result<Xen, String>>) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let programs = Recorded(folder.join("programs"));
    gather(&Host { root: &folder.join("root"), programs: &programs }, asked)
}

fn json(report: &Report) -> String {
    // Errors name files, whose folder is another one in each checkout.
    serde_json::to_string_pretty(report).unwrap().replace(env!("CARGO_MANIFEST_DIR"), "…")
}

fn plain(report: &Report) -> String {
    text(report).replace(env!("CARGO_MANIFEST_DIR"), "…")
}

#[test]
fn a_slot_on_trial_is_shown_with_its_tries() {
    let report = look_at("disk-on-trial", None);
    assert!(report.health.good, "{:?}", report.health);
    assert_eq!(report.boot.as_ref().unwrap().tries_left, Some(2));
    insta::assert_snapshot!("disk-on-trial.json", json(&report));
    insta::assert_snapshot!("disk-on-trial.txt", plain(&report));
    assert_eq!(ready(&report), "xenolith: ready version=0.1.0+20260101.1 slot=A medium=disk");
}

#[test]
fn installation_media_have_no_slot_and_a_failed_smartd_is_only_a_warning() {
    let report = look_at("iso-without-secure-boot", None);
    assert!(report.health.good, "{:?}", report.health);
    insta::assert_snapshot!("iso.json", json(&report));
    insta::assert_snapshot!("iso.txt", plain(&report));
    assert_eq!(ready(&report), "xenolith: ready version=0.1.0+20260101.1 slot=none medium=iso");
}

#[test]
fn a_root_other_than_the_one_booted_is_not_good() {
    let report = look_at("other-root-verified", None);
    assert!(!report.health.good);
    insta::assert_snapshot!("other-root.txt", plain(&report));
}

#[test]
fn what_cannot_be_read_is_never_good() {
    let report = look_at("nothing-to-read", None);
    assert!(!report.health.good);
    insta::assert_snapshot!("nothing.json", json(&report));
    insta::assert_snapshot!("nothing.txt", plain(&report));
}

#[test]
fn what_libxl_says_goes_before_sysfs_and_its_failure_is_told() {
    let said = Xen { version: "4.20.4".into(), domains: Some(3), ..Xen::default() };
    assert_eq!(look_at("disk-on-trial", Some(Ok(said.clone()))).xen, Some(said));
    let report = look_at("disk-on-trial", Some(Err("xenstored does not answer".into())));
    assert_eq!(report.xen.unwrap().version, "4.20.4-pre-xenolith");
    assert_eq!(report.unread[0].because, "xenstored does not answer");
}

#[test]
fn a_report_survives_json() {
    let report = look_at("disk-on-trial", None);
    assert_eq!(serde_json::from_str::<Report>(&json(&report)).unwrap(), report);
}

#[test]
fn a_host_is_ready_when_first_boot_has_nothing_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("run/xenolith/state");
    fs_err::create_dir_all(&state).unwrap();
    let boot = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/disk-on-trial/root/run/xenolith/boot.json");
    fs_err::copy(boot, folder.path().join("run/xenolith/boot.json")).unwrap();
    fs_err::write(state.join("settings.toml"), "version = 1\n\n[host]\nname = \"rack4\"\n").unwrap();
    let first_boot = |tasks: serde_json::Value| {
        let journal = serde_json::json!({ "schema": 1, "tasks": tasks });
        fs_err::write(state.join("firstboot.json"), journal.to_string()).unwrap();
        let programs = Recorded(folder.path().join("programs"));
        let report = gather(&Host { root: folder.path(), programs: &programs }, None);
        let row = text(&report).lines().find(|line| line.contains("first boot")).unwrap().trim().to_owned();
        (report.ready, report.not_done, row)
    };
    let done = serde_json::json!({ "outcome": "done", "tries": 1 });
    let mut tasks: serde_json::Value =
        Task::ALL.into_iter().map(|task| (task.name().to_owned(), done.clone())).collect();
    let (ready, left, row) = first_boot(tasks.clone());
    assert_eq!((ready, left), (Some(true), Vec::new()));
    assert!(row.ends_with("ready; 13 of 13 done"), "{row}");
    tasks.as_object_mut().unwrap().remove("host-name");
    tasks["network"] = serde_json::json!({ "outcome": "failed", "why": "no such interface", "tries": 1 });
    let (ready, left, row) = first_boot(tasks);
    assert_eq!((ready, left), (Some(false), vec![Task::HostName, Task::Network]));
    assert!(row.ends_with(" 11 of 13 done; network failed; host-name not done"), "{row}");
}

#[test]
fn an_unattended_installation_that_failed_is_shown_with_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run/xenolith/install");
    fs_err::create_dir_all(&run).unwrap();
    let kept =
        r#"{"format": 1, "code": 6, "answers_from": "SMBIOS", "error": ["a step failed", "two\nlines"]}"#;
    fs_err::write(run.join("failed"), kept).unwrap();
    // The rest of this host cannot be read, which is tested elsewhere.
    let programs = Recorded(folder.path().join("programs"));
    let report = gather(&Host { root: folder.path(), programs: &programs }, None);
    let failed = report.installation.as_ref().unwrap();
    assert_eq!((failed.answers_from.as_str(), failed.error.len()), ("SMBIOS", 2));
    let mut medium = look_at("iso-without-secure-boot", None);
    medium.installation = report.installation;
    insta::assert_snapshot!("installation-failed.txt", plain(&medium));
    assert_eq!(serde_json::from_str::<Report>(&json(&medium)).unwrap(), medium);
    fs_err::write(run.join("failed"), "not JSON").unwrap();
    let report = gather(&Host { root: folder.path(), programs: &programs }, None);
    assert!(report.unread.iter().any(|unread| unread.fact == "unattended installation"));
}

#[test]
fn no_line_is_wider_than_a_screen_on_a_good_host() {
    let report = look_at("disk-on-trial", None);
    let wide = plain(&report).lines().map(|line| line.chars().count()).max();
    assert!(wide <= Some(80), "{}", plain(&report));
}
