//! Every screen, as a terminal of 80×24 and one of 120×40 shows it, reached by the keys that a person would press.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use xenolith_installer::{Event, Image};
use xenolith_layout::{Bytes, RootHash, Seed};
use xenolith_machine::{Capture, Machine};
use xenolith_tui::{App, Effect, Key, Keyboard, Page, draw};

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin@example";

fn app(machine: &str) -> App {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(machine).join("machine.json");
    let machine = Machine::of(&Capture::parse(&fs_err::read(path).unwrap()).unwrap());
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
    press(&mut app, &[Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    snapshot("summary", &app);
    // The focus is on Back: Enter alone erases nothing.
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Access);
    press(&mut app, &[Key::Down, Key::Down, Key::Down, Key::Enter, Key::Right]);
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
    press(&mut app, &[Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    app
}

#[test]
fn progress_shows_steps_rate_and_time_left_and_failures_wait() {
    let mut app = ready_to_install();
    app.begin();
    let seconds = Duration::from_secs;
    app.tell(&Event::Began { step: 0 }, seconds(0));
    app.tell(&Event::Done { step: 0 }, seconds(0));
    app.tell(&Event::Began { step: 1 }, seconds(1));
    app.tell(&Event::Done { step: 1 }, seconds(2));
    app.tell(&Event::Began { step: 2 }, seconds(2));
    app.tell(&Event::Progress { step: 2, done: Bytes::mib(60), total: Bytes::mib(180) }, seconds(5));
    snapshot("progress", &app);
    press(&mut app, &[Key::Char('l')]);
    snapshot("log", &app);
    press(&mut app, &[Key::Char('l'), Key::Back]);
    assert_eq!(app.page(), Page::Progress, "what has begun is not taken back");
    app.failed("step 3 of 7 failed: write the system to /dev/vda\nno space is left on the device");
    snapshot("failed", &app);
    assert_eq!(app.key(Key::Enter), Effect::Retry);
    app.begin();
    app.done();
    snapshot("done", &app);
    assert_eq!(app.key(Key::Enter), Effect::Restart);
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
    press(&mut app, &[Key::Back, Key::Back]);
    assert_eq!(app.page(), Page::Host);
    press(&mut app, &[Key::Up]);
    type_text(&mut app, "vienna");
    press(&mut app, &[Key::Down, Key::Enter]);
    snapshot("host-mistakes", &app);
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
fn help_is_a_key_away_and_any_key_closes_it() {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter, Key::Help]);
    snapshot("help", &app);
    press(&mut app, &[Key::Back]);
    assert_eq!(app.page(), Page::Disk);
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
        machine in prop::sample::select(vec!["one-disk", "raid-hba", "no-usable-disk"]),
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
