//! Every screen, as a terminal of 80×24 and one of 120×40 shows it, reached by the keys that a person would press.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use xenolith_answers::{Encryption, Kept};
use xenolith_installer::{Event, Image};
use xenolith_layout::{Bytes, RootHash, Seed, seal::RecoveryKey};
use xenolith_machine::{Capture, Machine, RawNic};
use xenolith_settings::{BondMode, SecretPlace};
use xenolith_terminal::Key;
use xenolith_tui::{App, Effect, Keyboard, Page, Volume, draw};

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";

/// A captured machine; "long-models" is the one with many disks, of which the first two are hard to tell apart; "nics" is the one with one disk, and three interfaces; "two-hosts" the one with a Xenolith, with storage, and another.
fn machine(name: &str) -> Machine {
    let folder = match name {
        "nics" => "one-disk",
        "two-hosts" => "xenolith",
        "long-models" => "raid-hba",
        name => name,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(folder).join("machine.json");
    let mut text = fs_err::read_to_string(path).unwrap();
    if name == "long-models" {
        text = text.replace("MTFDDAK480TDS", "Dell Ent NVMe PM1735a MU 1.6TB with more");
        text = text.replace("ZC100000X", "PHYF-0123456789-0123456789-0000A");
        text = text.replace("ZC100001X", "PHYF-0123456789-0123456789-0000B");
    }
    if name == "two-hosts" {
        let mut whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let disks = whole["lsblk"]["blockdevices"].as_array_mut().unwrap();
        let disk = disks.iter_mut().find(|disk| disk["name"] == "sda").unwrap();
        let parts = disk["children"].as_array_mut().unwrap();
        let storage = parts
            .last()
            .unwrap()
            .to_string()
            .replace("sda7", "sda8")
            .replace("xenolith-state", "xenolith-sr");
        parts.push(serde_json::from_str(&storage).unwrap());
        let other =
            disk.to_string().replace("sda", "sdb").replace("PHYF", "PHYG").replace("50a00029", "50a0002a");
        disks.push(serde_json::from_str(&other).unwrap());
        text = whole.to_string();
    }
    let mut capture = Capture::parse(text.as_bytes()).unwrap();
    if name == "nics" {
        let nic = |name: &str, number: u8, carrier: Option<bool>, speed: Option<i64>, driver: &str| RawNic {
            name: name.to_owned(),
            address: format!("52:54:00:00:00:{number:02x}"),
            carrier,
            speed,
            driver: Some(driver.to_owned()),
            place: None,
        };
        capture.nics = vec![
            nic("eno1", 1, Some(true), Some(1000), "igb"),
            nic("eno2", 2, Some(true), Some(1000), "igb"),
            nic("enp129s0f1np1", 3, Some(false), None, "mlx5_core"),
        ];
    }
    Machine::of(&capture)
}

fn app(name: &str) -> App {
    let machine = machine(name);
    let image = Image {
        version: "1.0.0".parse().unwrap(),
        root_hash: RootHash::new([7; 32]),
        root: Bytes::mib(180),
        verity: Bytes::mib(2),
    };
    let zones = ["Etc/UTC", "Europe/Vienna"].map(str::to_owned);
    let keyboards = [("us", "English (US)"), ("de-latin1", "German"), ("fr-latin9", "French")];
    let keyboard = |(name, label): (&str, &str)| Keyboard { name: name.to_owned(), label: label.to_owned() };
    App::new(machine, image, Seed::new([3; 32]), BTreeSet::from(zones))
        .with_keyboards(keyboards.map(keyboard).into())
}

fn shown(app: &App, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    terminal.backend().to_string()
}

fn snapshot(name: &str, app: &App) {
    for size in SIZES {
        insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), shown(app, size));
    }
}

fn press(app: &mut App, keys: &[Key]) {
    for key in keys {
        assert_eq!(app.key(*key), Effect::None, "{key:?} on {:?}", app.page());
    }
}

fn type_text(app: &mut App, text: &str) {
    text.chars().for_each(|character| press(app, &[Key::Char(character)]));
}

#[test]
fn a_single_empty_disk_takes_a_few_strokes_and_a_password() {
    let mut app = app("one-disk");
    snapshot("welcome", &app);
    press(&mut app, &[Key::Enter]);
    snapshot("disk", &app);
    press(&mut app, &[Key::Enter]);
    snapshot("storage", &app);
    press(&mut app, &[Key::Enter]);
    snapshot("network", &app);
    press(&mut app, &[Key::Enter]);
    snapshot("host", &app);
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, "correct horse");
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, "correct horse");
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, KEY);
    snapshot("access", &app);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Pool);
    snapshot("pool", &app);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    snapshot("summary", &app);
    // The focus is on Back: Enter alone erases nothing.
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Pool);
    press(&mut app, &[Key::Enter, Key::Right]);
    assert_eq!(app.key(Key::Enter), Effect::Install);
    let answers = app.answers().unwrap();
    assert!(answers.access.root_password_hash.unwrap().starts_with("$6$"));
    assert_eq!(answers.access.ssh_keys, [KEY]);
}

/// On the summary, with what is needed filled in.
fn ready_to_install() -> App {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    app
}

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
        insta::assert_snapshot!(format!("log-scrolled-{}x{}", size.0, size.1), shown(&app, size));
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

/// On the page with the disks, of which there is one.
fn with_disk_page(name: &str) -> App {
    let mut app = app(name);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Disk);
    app
}

#[test]
fn all_mistakes_of_a_page_are_shown_at_once_beside_their_fields() {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Network);
    // Up from Next: IPv6, IPv4, VLAN.
    press(&mut app, &[Key::Up, Key::Up, Key::Right, Key::Up]);
    type_text(&mut app, "5000");
    press(&mut app, &[Key::Down, Key::Down]);
    type_text(&mut app, "192.0.2.10");
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "router");
    press(&mut app, &[Key::Down, Key::Down, Key::Enter]);
    assert_eq!(app.page(), Page::Network);
    snapshot("network-mistakes", &app);
    let mut app = ready_to_install();
    press(&mut app, &[Key::Back, Key::Back, Key::Back]);
    assert_eq!(app.page(), Page::Host);
    press(&mut app, &[Key::Up]);
    type_text(&mut app, "vienna");
    for wrong in ["time..example", "dns.example", "two words"] {
        press(&mut app, &[Key::Up]);
        type_text(&mut app, wrong);
    }
    press(&mut app, &[Key::End, Key::Up, Key::Enter]);
    assert_eq!(app.page(), Page::Host);
    snapshot("host-mistakes", &app);
}

/// On the page about who may come in, where nothing was typed.
fn with_access_page() -> App {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter; 5]);
    assert_eq!(app.page(), Page::Access);
    app
}

#[test]
fn all_mistakes_about_access_are_shown_at_once_and_nobody_is_locked_out() {
    let mut app = with_access_page();
    press(&mut app, &[Key::Down, Key::Down, Key::Down, Key::Enter]);
    assert_eq!(app.page(), Page::Access);
    snapshot("access-nobody", &app);
    let mut app = with_access_page();
    for text in ["short", "another", KEY, "ssh-ed25519 AAAA cut@short"] {
        type_text(&mut app, text);
        press(&mut app, &[Key::Enter]);
    }
    press(&mut app, &[Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Access);
    snapshot("access-mistakes", &app);
}

#[test]
fn a_field_for_a_further_key_appears_below_each_that_is_filled() {
    let mut app = with_access_page();
    press(&mut app, &[Key::Down, Key::Down]);
    let key = |number: usize| KEY.replace("admin", &format!("admin{number}"));
    for number in 1..=3 {
        type_text(&mut app, &key(number));
        press(&mut app, &[Key::Enter]);
    }
    snapshot("access-keys", &app);
    // One that is emptied again does not count, wherever it stands.
    press(&mut app, &[Key::Up, Key::Up]);
    press(&mut app, &[Key::Erase; 120]);
    press(&mut app, &[Key::End, Key::Up, Key::Enter]);
    assert_eq!(app.page(), Page::Pool);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    assert!(shown(&app, SIZES[0]).contains("root comes in by 2 SSH keys"));
    assert_eq!(app.answers().unwrap().access.ssh_keys, [key(1), key(3)]);
    press(&mut app, &[Key::Back, Key::Back]);
    assert_eq!(app.page(), Page::Access);
    press(&mut app, &[Key::Down; 3]);
    type_text(&mut app, &key(2));
    press(&mut app, &[Key::Down, Key::Down]);
    for number in 4..=8 {
        type_text(&mut app, &key(number));
        press(&mut app, &[Key::Enter]);
    }
    press(&mut app, &[Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary, "below the eighth there is no further one");
    assert_eq!(app.answers().unwrap().access.ssh_keys, [1, 2, 3, 4, 5, 6, 7, 8].map(key));
}

#[test]
fn disks_that_are_not_offered_say_why_and_cannot_be_chosen() {
    let mut many = app("raid-hba");
    press(&mut many, &[Key::Enter]);
    snapshot("disks", &many);
    assert!(many.form().disks.is_empty(), "of several disks none is chosen beforehand");
    press(&mut many, &[Key::Down, Key::Down]);
    snapshot("disks-below", &many);
    let mut none = app("no-usable-disk");
    press(&mut none, &[Key::Enter]);
    snapshot("no-disk", &none);
    press(&mut none, &[Key::Enter]);
    assert_eq!(none.page(), Page::Disk, "without a disk nothing goes on");
}

#[test]
fn serial_numbers_of_disks_of_one_model_are_shown_in_full_on_the_smallest_terminal() {
    let app = with_disk_page("long-models");
    snapshot("disks-of-one-model", &app);
    let screen = shown(&app, SIZES[0]);
    assert!(screen.contains("serial PHYF-0123456789-0123456789-0000A;"));
    assert!(screen.contains("serial PHYF-0123456789-0123456789-0000B;"));
}

#[test]
fn no_footer_is_wider_than_the_smallest_terminal() {
    // What is not shown of 999 lines is told in 13 columns.
    let fits = |app: &App| {
        let screen = shown(app, (200, 5));
        let footer = screen.lines().last().unwrap().trim_matches('"').trim_end();
        let keys = footer.split("   v ").next().unwrap();
        assert!(footer.len() <= 80 && keys.len() <= 80 - 13, "{:?}: {footer}", app.page());
    };
    let mut app = ready_to_install();
    while app.page() != Page::Welcome {
        fits(&app);
        press(&mut app, &[Key::Back]);
    }
    fits(&app);
    fits(&with_disk_page("raid-hba"));
    app.begin();
    fits(&app);
    app.failed("step 3 of 7 failed");
    fits(&app);
    press(&mut app, &[Key::Char('l')]);
    fits(&app);
    press(&mut app, &[Key::Char('l'), Key::Down, Key::Down]);
    assert_eq!(app.key(Key::Enter), Effect::LookForVolumes);
    fits(&app);
}

#[test]
fn space_marks_two_disks_that_mirror_each_other_and_disks_for_storage() {
    let mut app = app("raid-hba");
    press(&mut app, &[Key::Enter, Key::Char(' '), Key::Down, Key::Char(' ')]);
    assert_eq!(app.form().disks.len(), 2);
    snapshot("mirror", &app);
    press(&mut app, &[Key::Char(' ')]);
    assert_eq!(app.form().disks.len(), 1, "Space takes the mark away again");
    press(&mut app, &[Key::Up, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Storage);
    press(&mut app, &[Key::Up, Key::Enter]);
    snapshot("storage-disks", &app);
    assert_eq!(app.form().storage_disks.len(), 1);
}

#[test]
fn storage_that_cannot_stay_is_said_on_its_page() {
    let mut app = app("two-hosts");
    press(&mut app, &[Key::Enter, Key::Char(' '), Key::Down, Key::Char(' '), Key::Enter, Key::Enter]);
    assert_eq!((app.page(), app.form().disks.len()), (Page::Storage, 2));
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Storage, "nobody is led on to the summary");
    snapshot("storage-that-cannot-stay", &app);
}

#[test]
fn a_keyboard_is_loaded_as_soon_as_it_is_chosen_and_is_an_answer() {
    let mut app = app("one-disk");
    assert_eq!(app.key(Key::Enter), Effect::None);
    press(&mut app, &[Key::Back, Key::Up]);
    assert_eq!(app.key(Key::Left), Effect::Keyboard("fr-latin9".to_owned()));
    assert_eq!(app.key(Key::Left), Effect::Keyboard("de-latin1".to_owned()));
    app.keyboard_note("It is loaded.");
    snapshot("keyboard", &app);
    assert_eq!(app.form().keyboard, "de-latin1");
    assert_eq!(app.key(Key::Char(' ')), Effect::Keyboard("fr-latin9".to_owned()));
    assert_eq!(app.key(Key::Right), Effect::Keyboard("us".to_owned()));
    assert_eq!(app.form().keyboard, "", "a host has this one without being told");
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
fn a_bond_is_two_or_more_interfaces_that_are_marked() {
    let mut app = app("nics");
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Network);
    // Up from Next to the interface, and from the first choice back to the last.
    press(&mut app, &[Key::Up, Key::Up, Key::Up, Key::Up, Key::Left, Key::Down, Key::Down, Key::Char(' ')]);
    press(&mut app, &[Key::Down, Key::Down, Key::Down]);
    type_text(&mut app, "5000");
    press(&mut app, &[Key::Down, Key::Down, Key::Down, Key::Enter]);
    assert_eq!(app.page(), Page::Network);
    snapshot("bond-mistakes", &app);
    let all = [Key::Up; 9];
    press(&mut app, &all);
    press(&mut app, &[Key::Down, Key::Right, Key::Down, Key::Down, Key::Enter]);
    snapshot("bond", &app);
    press(&mut app, &[Key::Down, Key::Down, Key::Erase, Key::Erase, Key::Down, Key::Down, Key::Down]);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Host);
    press(&mut app, &[Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    assert!(shown(&app, SIZES[1]).contains("bond of eno1 and eno2 (active-backup), VLAN 50; IPv4 from DHCP"));
    let bond = app.answers().unwrap().network.bond.unwrap();
    assert_eq!(bond.members, ["52:54:00:00:00:01", "52:54:00:00:00:02"]);
    assert_eq!(bond.mode, BondMode::ActiveBackup);
}

#[test]
fn a_vlan_on_one_of_several_interfaces_needs_to_know_which() {
    let mut app = app("nics");
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter, Key::Up, Key::Up, Key::Up]);
    type_text(&mut app, "5");
    press(&mut app, &[Key::Down, Key::Down, Key::Down, Key::Enter]);
    assert_eq!(app.page(), Page::Network);
    snapshot("network-which", &app);
}

#[test]
fn the_password_for_a_pool_is_seen_nowhere_and_is_no_answer() {
    let mut app = ready_to_install();
    press(&mut app, &[Key::Back]);
    assert_eq!(app.page(), Page::Pool);
    press(&mut app, &[Key::Up, Key::Right, Key::Down]);
    type_text(&mut app, "not a host");
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "two words");
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "hunter2");
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "5f70");
    press(&mut app, &[Key::Down, Key::Enter]);
    snapshot("pool-mistakes", &app);
    for (field, text) in [(4, "pool.example"), (3, "root"), (1, &"5f".repeat(32))] {
        press(&mut app, &[Key::Down; 9]);
        press(&mut app, &[Key::Up]);
        press(&mut app, &vec![Key::Up; field]);
        press(&mut app, &[Key::Erase; 12]);
        type_text(&mut app, text);
    }
    snapshot("pool-joins", &app);
    press(&mut app, &[Key::Down, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    snapshot("summary-pool", &app);
    assert_eq!(app.pool_password(), Some("hunter2"));
    let answers = app.answers().unwrap();
    let pool = answers.pool.clone().unwrap();
    assert_eq!(
        (pool.join.as_str(), pool.user, pool.password_in),
        ("pool.example", None::<String>, None::<SecretPlace>)
    );
    assert!(pool.fingerprint.is_some());
    assert!(!format!("{answers:?}{:?}{}", app.plan().unwrap(), app.plan().unwrap()).contains("hunter2"));
}

#[test]
fn what_a_host_was_told_is_kept_instead_of_asked_for() {
    let lines = [
        "Host name     rack4",
        "Network       52:54:00:12:34:56; IPv4 192.0.2.10/24",
        "Known by      UUID, SSH host key",
    ];
    let mut app = app("xenolith");
    app.formers([(0, lines.map(str::to_owned).to_vec())].into());
    press(&mut app, &[Key::Enter, Key::Enter]);
    snapshot("disk-kept", &app);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Storage);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Pool, "nothing is asked that is known");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    snapshot("summary-kept", &app);
    let answers = app.answers().unwrap();
    assert!(Kept::ALL.into_iter().all(|part| answers.keeps(part)));
    assert_eq!(answers.problems(), []);
    press(
        &mut app,
        &[Key::Back, Key::Back, Key::Back, Key::Up, Key::Right, Key::Down, Key::Enter, Key::Enter],
    );
    assert_eq!(app.page(), Page::Network, "nor is anything kept that is to be anew");
    assert_eq!(app.answers().map(|answers| answers.kept).ok().flatten(), None);
}

#[test]
fn whoever_goes_on_before_it_is_known_what_can_be_kept_is_led_on_if_that_is_nothing() {
    let beginning = || {
        let mut app = app("one-disk").looking_for_formers();
        press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
        assert_eq!(app.page(), Page::Disk);
        app
    };
    let mut waits = beginning();
    snapshot("disk-waits", &waits);
    waits.formers([].into());
    assert_eq!(waits.page(), Page::Storage);
    let mut chooses = beginning();
    chooses.formers([(0, vec!["Its settings".to_owned()])].into());
    assert_eq!(chooses.page(), Page::Disk, "there is something new to choose");
    let mut thinks = beginning();
    press(&mut thinks, &[Key::Back, Key::Enter]);
    thinks.formers([].into());
    assert_eq!(thinks.page(), Page::Disk, "nobody has asked to go on since");
}

#[test]
fn help_is_a_key_away_and_any_key_closes_it() {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter, Key::Help]);
    snapshot("help", &app);
    press(&mut app, &[Key::Back]);
    assert_eq!(app.page(), Page::Disk);
}

#[test]
fn the_help_of_every_page_fits_on_the_smallest_terminal() {
    let mut app = ready_to_install();
    let mut seen = Vec::new();
    loop {
        press(&mut app, &[Key::Help]);
        let screen = shown(&app, SIZES[0]);
        assert!(screen.contains("Any key closes this."), "{:?} says too much", app.page());
        insta::assert_snapshot!(format!("help-{:?}-80x24", app.page()).to_lowercase(), screen);
        press(&mut app, &[Key::Back]);
        seen.push(app.page());
        if app.page() == Page::Welcome {
            break;
        }
        press(&mut app, &[Key::Back]);
    }
    app.begin();
    press(&mut app, &[Key::Help]);
    let screen = shown(&app, SIZES[0]);
    assert!(screen.contains("Any key closes this."));
    insta::assert_snapshot!("help-progress-80x24", screen);
    assert_eq!(seen.len() + 1, Page::ALL.len());
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

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        2 => Just(Key::Up),
        4 => Just(Key::Down),
        1 => Just(Key::Left),
        2 => Just(Key::Right),
        6 => Just(Key::Enter),
        1 => Just(Key::Back),
        1 => Just(Key::Erase),
        1 => Just(Key::Help),
        3 => any::<char>().prop_map(Key::Char),
        2 => prop::sample::select(vec!['1', ' ', 'a', 'l']).prop_map(Key::Char),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is pressed, on a terminal of any size: no panic, and nothing begins that the summary has not shown.
    #[test]
    fn no_keys_install_without_the_summary(
        machine in prop::sample::select(vec!["one-disk", "raid-hba", "no-usable-disk", "nics"]),
        keys in prop::collection::vec(key(), 0..120),
        size in (1_u16..140, 1_u16..50),
    ) {
        let mut app = app(machine);
        for key in keys {
            let before = app.page();
            if app.key(key) == Effect::Install {
                prop_assert_eq!(before, Page::Summary);
                prop_assert!(app.plan().is_some() && !app.form().disks.is_empty());
            }
            shown(&app, size);
        }
    }
}
