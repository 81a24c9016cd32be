//! Every screen, as a terminal of 80×24 and one of 120×40 shows it, and what no order of keys does.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{known, look, on, open, seconds, type_text};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use xenolith_console::{Action, App, Doors, Edit, Effect, LOGGED_OUT_AFTER, Page, Read, Stage, TRIAL, draw};
use xenolith_status::Medium;
use xenolith_terminal::Key;

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

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

#[test]
fn the_status_is_there_before_a_login() {
    let mut app = App::new(true);
    snapshot("beginning", &app);
    app.told_look(common::installed());
    snapshot("status", &app);
    let mut serial = App::new(false);
    serial.told_look(common::installed());
    snapshot("status-without-blocks", &serial);
    let doors = Doors { ssh: false, password: false };
    app.told_look(look("iso-without-secure-boot", &["192.0.2.7"], doors));
    snapshot("medium", &app);
    assert_eq!(app.key(Key::Enter), Effect::Install);
    let mut network = look("iso-without-secure-boot", &["192.0.2.7"], doors);
    network.report.boot.as_mut().unwrap().medium = Medium::Network;
    app.told_look(network);
    assert_eq!(app.key(Key::Enter), Effect::Install, "the network is a medium, too");
    app.told_look(look("other-root-verified", &[], doors));
    snapshot("no-password", &app);
    assert_eq!(app.key(Key::Enter), Effect::None);
    assert_eq!(*app.stage(), Stage::Locked);
}

#[test]
fn a_login_takes_the_password_and_waits_after_a_wrong_one() {
    let mut app = App::new(true);
    app.told_look(common::installed());
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, "wrong");
    snapshot("login", &app);
    assert!(matches!(app.key(Key::Enter), Effect::Check(password) if password.text() == "wrong"));
    assert_eq!(app.key(Key::Enter), Effect::None, "one at a time");
    assert_eq!(app.told_login(Ok(false)), Effect::None);
    snapshot("login-wrong", &app);
    type_text(&mut app, "right");
    press(&mut app, &[Key::Enter]);
    app.tick(seconds(2));
    type_text(&mut app, "right");
    assert!(matches!(app.key(Key::Enter), Effect::Check(_)));
    app.told_login(Err("unix_chkpwd is not there".into()));
    assert_ne!(*app.stage(), Stage::Open, "what nobody can check opens nothing");
    app.tick(seconds(100));
    assert_eq!(*app.stage(), Stage::Locked, "nobody typed on");
}

#[test]
fn each_page_looks_like_this() {
    snapshot("menu", &open());
    for page in [
        Page::Network,
        Page::Names,
        Page::Clock,
        Page::Keyboard,
        Page::Password,
        Page::Ssh,
        Page::Storage,
        Page::FirstBoot,
        Page::Logs,
        Page::Support,
    ] {
        snapshot(&format!("page-{}", page.label().to_lowercase().replace(' ', "-")), &on(page));
    }
    let mut app = open();
    app.turn_to(Page::Shell);
    snapshot("page-shell", &app);
    assert_eq!(app.key(Key::Enter), Effect::Shell);
    app.turn_to(Page::LogOut);
    snapshot("page-log-out", &app);
    assert_eq!(app.key(Key::Enter), Effect::LoggedOut);
}

#[test]
fn restarting_names_the_guests_and_has_its_focus_on_no() {
    for (page, action) in [(Page::Restart, Action::Restart), (Page::PowerOff, Action::PowerOff)] {
        let mut app = open();
        app.turn_to(page);
        press(&mut app, &[Key::Enter]);
        snapshot(&format!("ask-{}", page.label().to_lowercase().replace(' ', "-")), &app);
        press(&mut app, &[Key::Enter]);
        assert_eq!(app.asks(), None, "Enter alone is a no");
        press(&mut app, &[Key::Enter, Key::Char('y'), Key::Right]);
        assert_eq!(app.key(Key::Enter), Effect::Act(action));
        assert_eq!(app.key(Key::Enter), Effect::None);
    }
}

#[test]
fn mistakes_stand_below_their_fields_all_at_once() {
    let mut app = on(Page::Network);
    press(&mut app, &[Key::Down]);
    type_text(&mut app, "9");
    press(&mut app, &[Key::Down, Key::Down, Key::Erase]);
    press(&mut app, &[Key::Erase; 12]);
    press(&mut app, &[Key::Down, Key::Down, Key::Down, Key::Down]);
    press(&mut app, &[Key::Enter]);
    snapshot("mistakes", &app);
}

/// A network that has another address is being tried.
fn trying() -> App {
    let mut app = on(Page::Network);
    press(
        &mut app,
        &[Key::Down, Key::Erase, Key::Down, Key::Down, Key::Down, Key::Down, Key::Down, Key::Down],
    );
    let Effect::Act(action) = app.key(Key::Enter) else {
        panic!("nothing is tried: {}", shown(&app, (80, 24)))
    };
    let Action::TryNetwork(Edit::Network { network, name_servers }) = &action else { panic!("{action:?}") };
    assert_eq!((network.vlan, name_servers.len()), (Some(12), 1));
    assert!(!app.is_trying(), "it is not there yet");
    app.told_done(&action, Ok(Vec::new()));
    app
}

#[test]
fn a_network_that_is_tried_is_taken_back_after_a_minute_unless_it_is_kept() {
    let mut app = trying();
    snapshot("trying", &app);
    app.tick(seconds(20));
    assert!(shown(&app, (80, 24)).contains("in 40 s"));
    assert_eq!(app.tick(TRIAL), Effect::Act(Action::RevertNetwork));
    assert_eq!(app.tick(TRIAL + seconds(1)), Effect::None, "once");

    let mut app = trying();
    app.tick(seconds(59));
    assert_eq!(app.key(Key::Enter), Effect::Act(Action::KeepNetwork));
    app.told_done(&Action::KeepNetwork, Ok(Vec::new()));
    assert_eq!(app.tick(seconds(100)), Effect::None);

    let mut app = trying();
    press(&mut app, &[Key::Down]);
    assert_eq!(app.key(Key::Enter), Effect::Act(Action::RevertNetwork));
}

#[test]
fn a_network_that_is_tried_is_taken_back_even_if_everybody_has_gone() {
    let mut app = trying();
    assert_eq!(app.log_out(), Effect::LoggedOut);
    assert!(shown(&app, (80, 24)).contains("A network is being tried"));
    assert_eq!(app.tick(TRIAL), Effect::Act(Action::RevertNetwork));
    // Trying takes long, and the login ends meanwhile.
    let mut app = trying();
    app.log_out();
    app.tick(seconds(10));
    let edit = Edit::Keyboard("us".into());
    app.told_done(&Action::TryNetwork(edit), Ok(Vec::new()));
    assert!(app.is_trying());
}

#[test]
fn a_login_ends_after_five_minutes_without_a_key() {
    let mut app = on(Page::Password);
    type_text(&mut app, "secret things");
    app.tick(seconds(250));
    assert!(shown(&app, (80, 24)).contains("logs out in 50 s"));
    press(&mut app, &[Key::Char('x')]);
    assert_eq!(app.tick(seconds(500)), Effect::None);
    assert_eq!(app.tick(seconds(250) + LOGGED_OUT_AFTER), Effect::LoggedOut);
    assert_eq!(*app.stage(), Stage::Locked);
    let mut app = open();
    app.came_back(seconds(4000));
    assert_eq!(app.tick(seconds(4001)), Effect::None, "a shell is not idle");
}

#[test]
fn logs_are_read_and_paged_through() {
    let mut app = on(Page::Logs);
    press(&mut app, &[Key::Right, Key::Down, Key::Right, Key::Down]);
    let read = Read::Log { unit: "errors".into(), boots_ago: 1 };
    assert_eq!(app.key(Key::Enter), Effect::Read(read));
    app.set_height(21);
    app.told_log(
        "errors".into(),
        (1..=100).map(|line| format!("Jan 01 00:00:00 rack4 unit: line {line}")).collect(),
    );
    snapshot("log", &app);
    press(&mut app, &[Key::PageUp, Key::Up]);
    assert!(shown(&app, (80, 24)).contains("59-79 of 100"), "{}", shown(&app, (80, 24)));
    press(&mut app, &[Key::Back]);
    assert!(!shown(&app, (80, 24)).contains("line 60"));
}

#[test]
fn help_and_what_came_of_something_cover_the_page_until_a_key() {
    let mut app = on(Page::Support);
    press(&mut app, &[Key::Help]);
    snapshot("help", &app);
    press(&mut app, &[Key::Char('x')]);
    assert_eq!(app.key(Key::Enter), Effect::Act(Action::Archive));
    let path = "It is /var/lib/xenolith/support/xenolith-support-rack4-1790000000.tar.gz";
    app.told_done(
        &Action::Archive,
        Ok(vec![path.into(), "No USB stick with vfat or ext4 is plugged in.".into()]),
    );
    snapshot("done", &app);
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.key(Key::Enter), Effect::Act(Action::Archive));
    app.told_done(&Action::Archive, Err("no space is left on the device".into()));
    snapshot("failed", &app);
}

#[test]
fn a_password_is_set_if_it_is_typed_twice() {
    let mut app = on(Page::Password);
    type_text(&mut app, "short");
    press(&mut app, &[Key::Down, Key::Down, Key::Enter]);
    assert!(shown(&app, (80, 24)).contains("at least 8 characters"));
    press(&mut app, &[Key::Up, Key::Up]);
    type_text(&mut app, "er horse");
    press(&mut app, &[Key::Enter]);
    type_text(&mut app, "shorter horse");
    press(&mut app, &[Key::Enter]);
    assert_eq!(app.key(Key::Enter), Effect::Act(Action::Edit(Edit::Password("shorter horse".into()))));
    assert!(!shown(&app, (80, 24)).contains("[*"), "it is forgotten as soon as it is handed on");
}

#[test]
fn what_somebody_fills_in_stays_while_the_host_is_looked_at() {
    let mut app = on(Page::Names);
    type_text(&mut app, "-b");
    app.told_known(known());
    assert!(shown(&app, (80, 24)).contains("rack4-b"));
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        6 => Just(Key::Enter),
        6 => Just(Key::Down),
        3 => Just(Key::Up),
        3 => Just(Key::Right),
        2 => Just(Key::Left),
        2 => Just(Key::Back),
        1 => Just(Key::End),
        1 => Just(Key::Home),
        1 => Just(Key::Help),
        1 => Just(Key::Refresh),
        1 => Just(Key::PageDown),
        1 => Just(Key::Erase),
        1 => any::<char>().prop_map(Key::Char),
        1 => Just(Key::Char('y')),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Key(Key),
    Passes(u64),
    Login(bool),
    Known,
    Done(bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        20 => any_key().prop_map(Event::Key),
        2 => (0..90u64).prop_map(Event::Passes),
        2 => prop::bool::weighted(0.7).prop_map(Event::Login),
        1 => Just(Event::Known),
        3 => any::<bool>().prop_map(Event::Done),
    ];
    proptest::collection::vec(event, 0..200)
}

proptest! {
    /// Before a login nothing is done and nothing is read but a password; what costs somebody something is asked for, and answered with
    /// Enter on Yes; and nothing of all that makes drawing panic at any size.
    #[test]
    fn nothing_is_done_that_was_not_wanted(events in events(), size in (1..140u16, 1..50u16), begin_open: bool) {
        let (mut app, mut now, mut running) = (if begin_open { open() } else { App::new(true) }, 0, Vec::new());
        app.told_look(common::installed());
        for event in events {
            let was_open = *app.stage() == Stage::Open;
            let asked = app.asks().cloned();
            let trying = app.is_trying();
            let checking = matches!(app.stage(), Stage::Login { checking: true, .. });
            let effect = match &event {
                Event::Key(key) => app.key(*key),
                Event::Passes(more) => { now += more; app.tick(seconds(now)) }
                // Somebody answers only when asked, as the program does.
                Event::Login(right) if checking => app.told_login(Ok(*right)),
                Event::Login(_) => Effect::None,
                Event::Known => { app.told_known(known()); Effect::None }
                Event::Done(well) => {
                    if let Some(action) = running.pop() {
                        app.told_done(&action, if *well { Ok(Vec::new()) } else { Err("it failed".into()) });
                    }
                    Effect::None
                }
            };
            if *app.stage() == Stage::Open && !was_open {
                prop_assert!(matches!(event, Event::Login(true)), "opened by {:?}", event);
            }
            match effect {
                Effect::None | Effect::LoggedOut => {}
                Effect::Check(_) => prop_assert!(!was_open && matches!(event, Event::Key(Key::Enter))),
                Effect::Install => prop_assert!(false, "this is no medium"),
                Effect::Read(_) | Effect::Shell => {
                    prop_assert!(was_open || matches!(event, Event::Login(true)), "{:?}", event);
                }
                Effect::Act(action) => {
                    // The one thing that happens by itself takes a change back.
                    let by_itself = action == Action::RevertNetwork && matches!(event, Event::Passes(_)) && trying;
                    prop_assert!(was_open && matches!(event, Event::Key(Key::Enter)) || by_itself, "{:?}", action);
                    if action.is_destructive() {
                        prop_assert_eq!(asked, Some(action.clone()));
                    }
                    running.push(action);
                }
            }
            if !matches!(app.stage(), Stage::Open) {
                prop_assert_eq!(app.asks(), None);
            }
        }
        shown(&app, size);
    }
}
