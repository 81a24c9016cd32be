//! The console in lines, for a terminal that no picture can be drawn on: what can be chosen has a number, and is chosen by typing it.
//!
//! It is the same state behind it, moved by the same keys, so that what holds of the screens (nothing before a login, nothing that costs
//! somebody something without a second question) holds here by itself.

use std::fmt::Write as _;

use xenolith_terminal::{Key, without_sequences};
use zeroize::Zeroizing;

use crate::app::{App, Effect, Stage};
use crate::form::Field;
use crate::look::serial;
use crate::page::{Item, Page, items};

/// The most lines of a log that are shown at once: the last ones.
const LOG_LINES: usize = 40;

/// What the next line is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaits {
    /// A number or a word of what is shown.
    #[default]
    Choice,
    /// The text of a field.
    Field(Field),
    /// A password: it is not shown while it is typed.
    Secret(Field),
    /// root's password.
    Login,
}

/// What a line is for, now.
pub fn awaits(app: &App, field: Option<Field>) -> Awaits {
    match (app.stage(), field) {
        (Stage::Login { .. }, _) => Awaits::Login,
        (Stage::Open, Some(field)) if app.form.clone().secret(field).is_some() => Awaits::Secret(field),
        (Stage::Open, Some(field)) => Awaits::Field(field),
        _ => Awaits::Choice,
    }
}

/// What is shown, without the line that is typed.
pub fn view(app: &App) -> String {
    let Some(look) = &app.look else { return "Looking at this host …\n".to_owned() };
    match &app.stage {
        Stage::Locked => serial(look),
        Stage::Login { note, checking, .. } => {
            let mut out = String::new();
            if *checking {
                out.push_str("Checking …\n");
            } else if let Some(note) = note {
                let _ = writeln!(out, "{note}");
                if let Some(wait) = app.lock.wait(app.now) {
                    let _ = writeln!(out, "Wait {} s before the next one.", wait.as_secs() + 1);
                }
            }
            out
        }
        Stage::Open => open(app),
    }
}

/// What stands in front of the line that is typed.
pub fn prompt(app: &App, awaits: Awaits) -> &'static str {
    match awaits {
        Awaits::Login => "Password: ",
        Awaits::Field(_) => "New text (Enter alone empties it): ",
        Awaits::Secret(_) => "Password, which is not shown: ",
        Awaits::Choice if app.asks().is_some() => "Type yes to do it: ",
        Awaits::Choice => "Number or word: ",
    }
}

fn open(app: &App) -> String {
    let mut out = String::from("\n");
    if let Some(dialog) = &app.dialog {
        let _ = writeln!(out, "{}", dialog.title);
        for line in &dialog.words {
            let _ = writeln!(out, "  {line}");
        }
        return out;
    }
    if let Some(log) = &app.log {
        let _ = writeln!(out, "{}, its last lines (all: journalctl, in a shell)", log.title);
        let from = log.lines().len().saturating_sub(LOG_LINES);
        for line in &log.lines()[from..] {
            let _ = writeln!(out, "{line}");
        }
        return out;
    }
    if !app.inside {
        let name = app.look.as_ref().map(|look| look.title()).unwrap_or_default();
        let _ = writeln!(out, "{name}");
        for (index, page) in Page::ALL.iter().enumerate() {
            let _ = writeln!(out, "  {:>2} {}", index + 1, page.label());
        }
        return out;
    }
    let _ = writeln!(out, "{}", app.page.label());
    if let Some(look) = app.look.as_ref().filter(|_| app.page == Page::Status) {
        for row in look.rows() {
            let _ = writeln!(out, "{row}");
        }
    }
    let mut number = 0;
    for item in items(app) {
        if item.takes_focus() {
            number += 1;
        }
        let _ = match item {
            Item::Words(words) => writeln!(out, "     {words}"),
            Item::Problem(what) => writeln!(out, "     ! {what}"),
            Item::Choice { label, value, .. } => writeln!(out, "  {number:>2} {label}: {value} (next)"),
            Item::Input { label, value, .. } => writeln!(out, "  {number:>2} {label}: {value}"),
            Item::Button(button) => writeln!(out, "  {number:>2} {}", button.label()),
        };
    }
    let _ = writeln!(out, "   0 Back to the menu");
    if let Some(busy) = &app.busy {
        let _ = writeln!(out, "{busy} …");
    }
    out
}

/// What a line does. The field that the next line is for, if one was chosen.
pub fn line(app: &mut App, awaits: Awaits, text: &str) -> (Effect, Option<Field>) {
    // It may be a password.
    let text = Zeroizing::new(without_sequences(text));
    match awaits {
        Awaits::Login => {
            for character in text.chars() {
                app.key(Key::Char(character));
            }
            (app.key(Key::Enter), None)
        }
        Awaits::Field(field) | Awaits::Secret(field) => {
            fill(app, field, &text);
            (Effect::None, None)
        }
        Awaits::Choice => choose(app, text.trim()),
    }
}

fn fill(app: &mut App, field: Field, text: &str) {
    let is_it = |item: &Item| matches!(item, Item::Input { field: known, .. } if *known == field);
    let place = items(app).iter().filter(|item| item.takes_focus()).position(is_it);
    let Some(place) = place.filter(|_| app.inside) else { return };
    app.focus = place;
    while !empty(app, field) {
        app.key(Key::Erase);
    }
    for character in text.chars() {
        app.key(Key::Char(character));
    }
}

fn empty(app: &mut App, field: Field) -> bool {
    let text = app.form.text(field).is_none_or(|text| text.is_empty());
    text && app.form.secret(field).is_none_or(|secret| secret.is_empty())
}

fn choose(app: &mut App, text: &str) -> (Effect, Option<Field>) {
    if *app.stage() != Stage::Open {
        return (app.key(Key::Enter), None);
    }
    if app.asks().is_some() {
        let keys: &[Key] =
            if text.eq_ignore_ascii_case("yes") { &[Key::Right, Key::Enter] } else { &[Key::Back] };
        return (keys.iter().fold(Effect::None, |_, key| app.key(*key)), None);
    }
    if app.dialog.is_some() || app.log.is_some() {
        return (app.key(Key::Back), None);
    }
    if text.is_empty() {
        return (app.key(Key::Refresh), None);
    }
    if !app.inside {
        let labels: Vec<String> = Page::ALL.iter().map(|page| page.label().to_owned()).collect();
        let Some(place) = chosen(text, &labels) else { return (Effect::None, None) };
        let read = app.turn_to(Page::ALL[place]);
        let entered = app.key(Key::Enter);
        return (if entered == Effect::None { read } else { entered }, None);
    }
    if text == "0" || text.eq_ignore_ascii_case("back") {
        return (app.key(Key::Back), None);
    }
    let focusable: Vec<Item> = items(app).into_iter().filter(Item::takes_focus).collect();
    let label = |item: &Item| match item {
        Item::Choice { label, .. } | Item::Input { label, .. } => label.trim().to_owned(),
        Item::Button(button) => button.label().to_owned(),
        Item::Words(_) | Item::Problem(_) => String::new(),
    };
    let Some(place) = chosen(text, &focusable.iter().map(label).collect::<Vec<_>>()) else {
        return (Effect::None, None);
    };
    app.focus = place;
    match &focusable[place] {
        Item::Input { field, .. } => (Effect::None, Some(*field)),
        Item::Choice { .. } => (app.key(Key::Right), None),
        _ => (app.key(Key::Enter), None),
    }
}

/// By its number from 1, or by how it begins if only one begins so.
fn chosen(text: &str, labels: &[String]) -> Option<usize> {
    if let Ok(number) = text.parse::<usize>() {
        return number.checked_sub(1).filter(|place| *place < labels.len());
    }
    let lower = text.to_lowercase();
    let mut begin = labels.iter().enumerate().filter(|(_, label)| label.to_lowercase().starts_with(&lower));
    let first = begin.next()?;
    begin.next().is_none().then_some(first.0)
}
