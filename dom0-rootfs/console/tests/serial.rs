//! The status as a serial line shows it, and the menus as numbered lines.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{known, look, open, report, seconds};
use xenolith_console::plain::{Awaits, awaits, line, prompt, view};
use xenolith_console::{Action, App, Doors, Edit, Effect, Look, Page, Read, Stage, serial};
use xenolith_terminal::Key;

#[test]
fn the_screen_tells_how_to_get_in() {
    let shown = |name: &str, addresses: &[&str], ssh, password| {
        let mut look = look(name, addresses, Doors { ssh, password });
        (look.host_name, look.report.xen) = ("xenolith".into(), report_without_libxl(name));
        serial(&look)
    };
    insta::assert_snapshot!("screen-with-ssh", shown("disk-on-trial", &["192.0.2.7"], true, false));
    insta::assert_snapshot!("screen-without-ssh", shown("disk-on-trial", &[], false, false));
    insta::assert_snapshot!("screen-with-password", shown("disk-on-trial", &[], false, true));
    insta::assert_snapshot!("screen-of-a-medium", shown("iso-without-secure-boot", &[], false, false));
}

fn report_without_libxl(name: &str) -> Option<xenolith_status::Xen> {
    let mut xen = report(name).xen?;
    (xen.version, xen.compiled_by) = ("4.20.4-pre-xenolith".into(), Some("xenolith".into()));
    (xen.total_memory, xen.free_memory, xen.domains) = (None, None, None);
    Some(xen)
}

/// What the line showed, and what was typed.
struct Line {
    app: App,
    field: Option<xenolith_console::Field>,
    log: String,
}

impl Line {
    fn new() -> Self {
        let mut app = App::new(false);
        app.told_look(common::installed());
        app.key(Key::Enter);
        Self { app, field: None, log: String::new() }
    }

    fn types(&mut self, text: &str) -> Effect {
        let awaits = awaits(&self.app, self.field);
        let hidden = matches!(awaits, Awaits::Login | Awaits::Secret(_));
        let shown = if hidden { "" } else { text };
        self.log += &format!("{}{}{shown}\n", view(&self.app), prompt(&self.app, awaits));
        let (effect, field) = line(&mut self.app, awaits, text);
        self.field = field;
        effect
    }

    fn logs_in(&mut self) {
        assert!(matches!(self.types("right"), Effect::Check(_)));
        assert_eq!(self.app.told_login(Ok(true)), Effect::Read(Read::Everything));
        self.app.told_known(known());
    }
}

#[test]
fn a_password_a_word_and_root_has_a_shell() {
    let mut line = Line::new();
    line.logs_in();
    assert_eq!(line.types("shell"), Effect::Shell);
    assert!(line.log.contains("Password: "), "{}", line.log);
    assert!(!line.log.contains("right"), "the password is shown: {}", line.log);
    assert_eq!(
        line.types("\x1b[24;80Rlog out\n"),
        Effect::LoggedOut,
        "an answer that came late is no part of it"
    );
    assert_eq!(*line.app.stage(), Stage::Locked);
}

#[test]
fn settings_are_changed_by_numbers() {
    let mut line = Line::new();
    line.logs_in();
    for text in ["4", "1", "192.0.2.1 192.0.2.2", "time zone", "Mars", "Save"] {
        assert_eq!(line.types(text), Effect::None, "{text}");
    }
    for text in ["2", "Asia/Tokyo"] {
        assert_eq!(line.types(text), Effect::None, "{text}");
    }
    let edit = Edit::Clock {
        servers: vec!["192.0.2.1".into(), "192.0.2.2".into()],
        zone: Some("Asia/Tokyo".into()),
    };
    let Effect::Act(action) = line.types("3") else { panic!("{}", line.log) };
    assert_eq!(action, Action::Edit(edit));
    line.app.told_done(&action, Ok(Vec::new()));
    line.types("");
    line.types("0");
    line.types("");
    insta::assert_snapshot!("clock", line.log);
}

#[test]
fn what_costs_something_is_asked_for_with_a_yes() {
    let mut line = Line::new();
    line.logs_in();
    for no in ["", "no", "y", "1"] {
        assert_eq!(line.types("restart"), Effect::None);
        assert_eq!(line.types(no), Effect::None, "{no:?}");
    }
    assert_eq!(line.types("restart"), Effect::None);
    assert_eq!(line.types("yes"), Effect::Act(Action::Restart));
    insta::assert_snapshot!("restart", line.log);
}

#[test]
fn a_wrong_password_is_told_and_costs_time() {
    let mut line = Line::new();
    line.types("wrong");
    assert_eq!(line.app.told_login(Ok(false)), Effect::None);
    assert_eq!(line.types("right"), Effect::None, "it is not even looked at yet");
    line.app.tick(seconds(3));
    assert!(matches!(line.types("right"), Effect::Check(_)));
    assert!(line.log.contains("That is not root's password."), "{}", line.log);
}

#[test]
fn every_page_can_be_opened_and_left() {
    for (index, page) in Page::ALL.into_iter().enumerate() {
        if matches!(page, Page::Shell | Page::LogOut | Page::Restart | Page::PowerOff) {
            continue;
        }
        let mut line = Line { app: open(), field: None, log: String::new() };
        line.types(&(index + 1).to_string());
        assert_eq!(line.app.page(), page);
        let shown = view(&line.app);
        assert!(shown.contains("0 Back to the menu"), "{page:?}:\n{shown}");
        line.types("0");
        assert!(view(&line.app).contains("15 Log out"), "{page:?}:\n{}", view(&line.app));
    }
}

#[test]
fn an_address_of_ipv6_stands_in_brackets() {
    let look: Look = look("disk-on-trial", &["2001:db8::7"], Doors::default());
    assert_eq!(look.url().unwrap(), "https://[2001:db8::7]/");
}
