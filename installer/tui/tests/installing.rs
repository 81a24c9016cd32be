//! The screens of an installation that runs, has ended or has failed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod screen;

use std::time::Duration;

use screen::{
    KEY, SIZES, app, press, ready_to_install, shown, snapshot, snapshot_at, type_text, with_disk_page,
};
use xenolith_answers::Encryption;
use xenolith_installer::Event;
use xenolith_layout::{Bytes, seal::RecoveryKey};
use xenolith_terminal::Key;
use xenolith_tui::{Effect, Page, Volume};

#[test]
fn progress_shows_steps_rate_and_the_time_left_in_all_and_failures_wait_with_the_log() {
    let mut app = ready_to_install();
    app.begin();
    let seconds = Duration::from_secs;
    app.tell(&Event::Reading { done: Bytes::ZERO, total: Bytes::mib(54) }, seconds(0));
    app.tell(&Event::Reading { done: Bytes::mib(27), total: Bytes::mib(54) }, seconds(1));
    snapshot("reading", &app);
    app.tell(&Event::Reading { done: Bytes::mib(54), total: Bytes::mib(54) }, seconds(1));
    app.tell(&Event::Began { step: 0 }, seconds(1));
    app.tell(&Event::Done { step: 0 }, seconds(1));
    app.tell(&Event::Began { step: 1 }, seconds(1));
    app.tell(&Event::Done { step: 1 }, seconds(2));
    app.tell(&Event::Began { step: 2 }, seconds(2));
    app.tell(&Event::Progress { step: 2, done: Bytes::mib(60), total: Bytes::mib(180) }, seconds(5));
    snapshot("progress", &app);
    press(&mut app, &[Key::Char('L')]);
    snapshot("log", &app);
    press(&mut app, &[Key::Char('l'), Key::Back]);
    assert_eq!(app.page(), Page::Progress, "what has begun is not taken back");
    app.failed("step 3 of 7 failed: write the system to /dev/vda\nno space is left on the device");
    snapshot("failed", &app);
    assert_eq!(app.key(Key::Enter), Effect::Retry);
    app.begin();
    app.done(None);
    snapshot("done", &app);
    assert_eq!(app.key(Key::Enter), Effect::Restart);
}

#[test]
fn the_time_left_counts_what_later_steps_write_to_both_disks_of_a_mirror() {
    let mut app = app("raid-hba");
    press(&mut app, &[Key::Enter, Key::Char(' '), Key::Down, Key::Char(' '), Key::Enter, Key::Enter]);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    app.begin();
    let steps = app.plan().unwrap().steps_in_words();
    let write = steps.iter().position(|step| step.starts_with("write the system")).unwrap();
    let (boot_files, image) = (Bytes::mib(50), Bytes::mib(182));
    app.tell(&Event::Reading { done: boot_files, total: boot_files }, Duration::from_secs(5));
    app.tell(&Event::Began { step: write }, Duration::from_secs(10));
    app.tell(&Event::Progress { step: write, done: Bytes::mib(2), total: image }, Duration::from_secs(12));
    // 514 MiB in all: boot files are read once and written twice, the image is written twice. 462 are left.
    assert!(shown(&app, SIZES[0]).contains("1 MiB/s, about 8 min left in all"));
    app.failed("step 4 of 11 failed: write the system to /dev/sda");
    press(&mut app, &[Key::Char('L'), Key::Back]);
    assert_eq!(app.key(Key::Enter), Effect::Retry);
    app.begin();
    app.tell(&Event::Reading { done: boot_files, total: boot_files }, Duration::from_secs(25));
    assert!(shown(&app, SIZES[0]).contains("done  clear"), "what the try before has done stays done");
}

#[test]
fn a_log_longer_than_the_screen_is_scrolled_by_lines_and_screenfuls() {
    let mut app = ready_to_install();
    app.begin();
    for number in 0..60 {
        let what = format!("warning {number}, {}", "which is longer than a line, ".repeat(3));
        app.tell(&Event::Warning { step: 2, what }, Duration::from_secs(1));
    }
    app.failed("step 3 of 7 failed: write the system to /dev/vda");
    snapshot("failed-after-much", &app);
    press(&mut app, &[Key::Char('L')]);
    for size in SIZES {
        press(&mut app, &[Key::End]);
        assert!(shown(&app, size).contains("step 3 of 7 failed"));
        press(&mut app, &[Key::Up, Key::PageUp]);
        snapshot_at("log-scrolled", size, &shown(&app, size));
        press(&mut app, &[Key::Home]);
        let top = shown(&app, size);
        assert!(top.contains("warning 0,"));
        press(&mut app, &[Key::Up, Key::PageUp]);
        assert_eq!(shown(&app, size), top, "there is nothing above");
        press(&mut app, &[Key::Down]);
        assert_ne!(shown(&app, size), top, "and no stroke was lost there");
        press(&mut app, &[Key::PageDown; 8]);
        assert!(shown(&app, size).contains("step 3 of 7 failed"));
    }
    press(&mut app, &[Key::Back]);
    assert_eq!(app.key(Key::Enter), Effect::Retry, "behind it everything is as it was");
}

#[test]
fn where_there_is_a_tpm_the_state_can_be_encrypted_and_the_recovery_key_is_shown_at_the_end() {
    assert!(!shown(&with_disk_page("one-disk"), (80, 24)).contains("What it knows"), "there is no TPM");
    let mut app = with_disk_page("tpm");
    press(&mut app, &[Key::End, Key::Up, Key::Up, Key::Right]);
    snapshot("encrypted-disk", &app);
    press(&mut app, &[Key::Down, Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    assert_eq!(app.answers().unwrap().target.encryption, Encryption::Tpm);
    assert!(app.plan().unwrap().seal().is_some());
    snapshot("encrypted-summary", &app);
    app.begin();
    app.done(Some(RecoveryKey::new([7; 32])));
    snapshot("encrypted-done", &app);
    press(&mut app, &[Key::Right, Key::Right]);
    assert_eq!(app.key(Key::Enter), Effect::LookForVolumes);
    assert!(!app.log().iter().any(|line| line.contains("cicicici")), "no record holds the key");
}

#[test]
fn an_installation_of_somebody_else_is_shown_and_cannot_be_tried_again_here() {
    let mut app = app("one-disk");
    app.watch(["clear /dev/sda", "write the system to /dev/sda"].map(str::to_owned).into());
    app.tell(&Event::Began { step: 0 }, Duration::from_secs(1));
    app.tell(&Event::Done { step: 0 }, Duration::from_secs(2));
    app.tell(&Event::Began { step: 1 }, Duration::from_secs(2));
    let progress = Event::Progress { step: 1, done: Bytes::mib(20), total: Bytes::mib(182) };
    app.tell(&progress, Duration::from_secs(4));
    snapshot("watching", &app);
    press(&mut app, &[Key::Enter, Key::Back]);
    assert_eq!(app.page(), Page::Progress);
    app.failed("step 2 of 2 failed");
    snapshot("watched-failed", &app);
    assert_eq!(app.key(Key::Enter), Effect::Shell);
}

#[test]
fn logs_are_saved_on_a_stick_or_sent_to_a_server_and_nothing_is_done_twice_at_once() {
    let mut app = ready_to_install();
    app.begin();
    app.failed("step 3 of 7 failed: write the system to /dev/vda\nno space is left on the device");
    press(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(app.key(Key::Enter), Effect::LookForVolumes);
    snapshot("records-looking", &app);
    app.volumes(Vec::new());
    snapshot("records-no-stick", &app);
    press(&mut app, &[Key::Down, Key::Down]);
    assert_eq!(app.key(Key::Enter), Effect::LookForVolumes);
    let stick = |device: &str, label: &str| Volume { device: device.to_owned(), label: label.to_owned() };
    app.volumes(vec![
        stick("/dev/sdb1", "sdb1  14.9 GiB  vfat  BACKUP"),
        stick("/dev/sdc", "sdc  1 GiB  ext4"),
    ]);
    press(&mut app, &[Key::Down]);
    assert_eq!(app.key(Key::Enter), Effect::SaveTo("/dev/sdc".to_owned()));
    assert_eq!(app.key(Key::Enter), Effect::None, "it is being saved");
    app.saved(Err("cannot write /dev/sdc: no space left on device".to_owned()));
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "https://logs.example/l");
    press(&mut app, &[Key::Down]);
    snapshot("records", &app);
    assert_eq!(app.key(Key::Enter), Effect::SendTo("https://logs.example/l".to_owned()));
    app.saved(Ok("The logs were sent to https://logs.example/l.".to_owned()));
    snapshot("records-sent", &app);
    press(&mut app, &[Key::Back]);
    assert_eq!(app.page(), Page::Progress);
    assert_eq!(app.key(Key::Enter), Effect::Retry, "and then everything is as it was");
}

#[test]
fn a_refusal_is_told_on_the_summary() {
    let mut app = ready_to_install();
    app.refuse(&[
        "network: there is no interface eth7; there are eno1 (52:54:00:00:00:01, igb, with a link)"
            .to_owned(),
    ]);
    snapshot("refused", &app);
}
