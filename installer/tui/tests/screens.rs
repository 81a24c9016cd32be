//! Every screen before the installation, as a terminal of 80×24 and one of 120×40 shows it, reached by the keys that a person would
//! press.
#![allow(clippy::unwrap_used, reason = "a test")]

mod screen;

use proptest::prelude::*;
use screen::{
    KEY, SIZES, app, by_page, press, ready_to_install, shown, snapshot, snapshot_at, type_text,
    with_disk_page,
};
use xenolith_answers::{Kept, StorageKind};
use xenolith_settings::{BondMode, SecretPlace};
use xenolith_terminal::Key;
use xenolith_tui::{App, Effect, Page};

#[test]
fn a_single_empty_disk_takes_a_few_strokes_and_a_password() {
    let mut app = app("one-disk");
    snapshot("welcome", &app);
    press(&mut app, &[Key::Right, Key::Enter]);
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
#[test]
fn what_is_proposed_takes_a_password_and_four_strokes_with_that_on_the_console() {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Access);
    type_text(&mut app, "correct horse");
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, "correct hors");
    press(&mut app, &[Key::Enter]);
    snapshot("proposed-access", &app);
    type_text(&mut app, "e");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Summary);
    snapshot("proposed-summary", &app);
    press(&mut app, &[Key::Right]);
    assert_eq!(app.key(Key::Enter), Effect::Install);
    let answers = app.answers().unwrap();
    assert_eq!((answers.target.disks.len(), answers.storage.kind), (1, StorageKind::Lvm));
    assert!(answers.access.root_password_hash.is_some() && answers.pool.is_none());
}

#[test]
fn what_is_proposed_can_be_left_for_every_page_and_takes_nothing_along_that_was_chosen_there() {
    let mut app = app("one-disk");
    press(&mut app, &[Key::Enter, Key::Down, Key::Down]);
    type_text(&mut app, KEY);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Summary, "a key will do for a password");
    press(&mut app, &[Key::Back, Key::Back, Key::Right, Key::Enter]);
    assert_eq!(app.page(), Page::Disk);
    press(&mut app, &[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!(app.page(), Page::Host);
    press(&mut app, &[Key::Home]);
    type_text(&mut app, "rack4");
    press(&mut app, &[Key::Back, Key::Back, Key::Back, Key::Back]);
    assert_eq!(app.page(), Page::Welcome);
    assert!(!shown(&app, SIZES[0]).contains("proposed"), "a name was chosen, and would not be seen");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.page(), Page::Disk);
    for name in ["xenolith", "raid-hba", "no-usable-disk"] {
        assert!(!shown(&screen::app(name), SIZES[0]).contains("proposed"), "{name}");
    }
}

#[test]
fn all_mistakes_of_a_page_are_shown_at_once_beside_their_fields() {
    let mut app = by_page("one-disk");
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
    let mut app = by_page("one-disk");
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
    let mut app = by_page("one-disk");
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
fn a_bond_is_two_or_more_interfaces_that_are_marked() {
    let mut app = by_page("nics");
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
    let mut app = by_page("nics");
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
        let mut app = by_page("one-disk").looking_for_formers();
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
    press(&mut thinks, &[Key::Back, Key::Right, Key::Enter]);
    thinks.formers([].into());
    assert_eq!(thinks.page(), Page::Disk, "nobody has asked to go on since");
}

#[test]
fn help_is_a_key_away_and_any_key_closes_it() {
    let mut app = by_page("one-disk");
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
        snapshot_at(&format!("help-{:?}", app.page()).to_lowercase(), SIZES[0], &screen);
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
    snapshot_at("help-progress", SIZES[0], &screen);
    assert_eq!(seen.len() + 1, Page::ALL.len());
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
