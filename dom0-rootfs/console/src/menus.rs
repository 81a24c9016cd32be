//! What keys do behind the login.

use xenolith_terminal::Key;

use crate::app::{Action, App, Dialog, Effect, Read};
use crate::edit::Edit;
use crate::form::{Field, Form};
use crate::page::{Button, Item, Page, guests_in_words, items};
use crate::secret::Secret;

/// The longest text that a field takes; an RSA key of 16384 bits fits.
const LONGEST: usize = 4096;

impl App {
    pub(crate) fn key_open(&mut self, key: Key) -> Effect {
        if self.dialog.is_some() {
            return self.key_dialog(key);
        }
        if let Some(log) = &mut self.log {
            if matches!(key, Key::Back | Key::Enter | Key::Char('q')) {
                self.log = None;
            } else {
                log.key(key, self.height);
            }
            return Effect::None;
        }
        match key {
            Key::Help => self.help = true,
            Key::Refresh => {
                self.texts.clear();
                return Effect::Read(Read::Everything);
            }
            Key::PageUp => self.scroll_by(key, self.height.saturating_sub(1)),
            Key::PageDown => self.scroll_by(key, self.height.saturating_sub(1)),
            _ if self.inside => return self.key_inside(key),
            Key::Up | Key::Down | Key::Home | Key::End => return self.key_menu(key),
            Key::Enter | Key::Right => return self.enter(),
            Key::Char('?') => self.help = true,
            _ => {}
        }
        Effect::None
    }

    fn key_menu(&mut self, key: Key) -> Effect {
        let (all, last) = (Page::ALL, Page::ALL.len() - 1);
        let here = all.iter().position(|page| *page == self.page).unwrap_or_default();
        let to = match key {
            Key::Up => here.saturating_sub(1),
            Key::Down => (here + 1).min(last),
            Key::Home => 0,
            _ => last,
        };
        self.turn_to(all[to])
    }

    fn enter(&mut self) -> Effect {
        match self.page {
            Page::Shell => return Effect::Shell,
            Page::LogOut => return self.log_out(),
            _ => {}
        }
        // What there is to choose is only known when it has been read.
        let Some(known) = &self.known else { return Effect::None };
        self.form = Form::of(known);
        if matches!(self.page, Page::Restart | Page::PowerOff) {
            let restarts = self.page == Page::Restart;
            return self.ask_or_do(if restarts { Action::Restart } else { Action::PowerOff });
        }
        // A page that is only to be looked at is gone into as well: arrows move it then.
        (self.inside, self.focus) = (true, 0);
        Effect::None
    }

    fn key_inside(&mut self, key: Key) -> Effect {
        let focusable: Vec<Item> = items(self).into_iter().filter(Item::takes_focus).collect();
        let last = focusable.len().saturating_sub(1);
        if focusable.is_empty() && matches!(key, Key::Up | Key::Down) {
            self.scroll_by(key, 1);
            return Effect::None;
        }
        match (key, focusable.get(self.focus)) {
            (Key::Back, _) => {
                self.inside = false;
                self.problems.clear();
            }
            (Key::Up, _) => self.focus = self.focus.saturating_sub(1),
            (Key::Down, _) => self.focus = (self.focus + 1).min(last),
            (Key::Home, _) => self.focus = 0,
            (Key::End, _) => self.focus = last,
            (Key::Left | Key::Right, Some(Item::Choice { field, .. })) => {
                self.turn(*field, key == Key::Right);
            }
            (Key::Char(' '), Some(Item::Choice { field, .. })) => self.turn(*field, true),
            (Key::Left, Some(Item::Button(_)) | None) => self.inside = false,
            (Key::Enter, Some(Item::Button(button))) => return self.press(*button),
            (Key::Enter, Some(_)) => self.focus = (self.focus + 1).min(last),
            (Key::Char(character), Some(Item::Input { field, .. })) => self.type_into(*field, character),
            (Key::Erase, Some(Item::Input { field, .. })) => {
                if let Some(text) = self.form.text(*field) {
                    text.pop();
                } else if let Some(secret) = self.form.secret(*field) {
                    secret.pop();
                }
            }
            _ => {}
        }
        Effect::None
    }

    /// How far a page can be moved is only known where it is drawn; no page is longer than this.
    fn scroll_by(&mut self, key: Key, lines: usize) {
        const LONGEST_PAGE: usize = 500;
        let back = matches!(key, Key::Up | Key::PageUp);
        self.scroll =
            if back { self.scroll.saturating_sub(lines) } else { self.scroll + lines }.min(LONGEST_PAGE);
    }

    fn turn(&mut self, field: Field, forward: bool) {
        let Some(known) = &self.known else { return };
        if let Some((chosen, count)) = self.form.choice(field, known)
            && count > 0
        {
            *chosen = if forward { (*chosen + 1) % count } else { (*chosen + count - 1) % count };
        }
    }

    /// Takes a character into a field.
    fn type_into(&mut self, field: Field, character: char) {
        if let Some(secret) = self.form.secret(field) {
            secret.push(character);
        } else if let Some(text) = self.form.text(field)
            && text.len() < LONGEST
            && !character.is_control()
        {
            text.push(character);
        }
    }

    fn press(&mut self, button: Button) -> Effect {
        let Some(known) = &self.known else { return Effect::None };
        if self.busy.is_some() {
            return Effect::None;
        }
        let edit = match (button, self.page) {
            (Button::Try, _) => self.form.network(known).map(Action::TryNetwork),
            (Button::Save, Page::Names) => self.form.names(known).map(Action::Edit),
            (Button::Save, Page::Clock) => self.form.clock(known).map(Action::Edit),
            (Button::Save, Page::Password) => self.form.password().map(Action::Edit),
            (Button::Save, Page::Keyboard) => {
                let Some((name, _)) = known.keyboards.get(self.form.keyboard) else { return Effect::None };
                Ok(Action::Edit(Edit::Keyboard(name.clone())))
            }
            (Button::AddKey, _) => self.form.ssh_key(known).map(Action::Edit),
            (Button::Keep, _) => Ok(Action::KeepNetwork),
            (Button::TakeBack, _) => Ok(Action::RevertNetwork),
            (Button::Reset, _) => Ok(Action::ResetNetwork),
            (Button::Test, _) => {
                let (target, name) = (self.form.target.trim(), self.form.lookup.trim());
                Ok(Action::Test { target: target.to_owned(), name: name.to_owned() })
            }
            (Button::SshOn, _) => Ok(Action::Ssh(true)),
            (Button::SshOff, _) => Ok(Action::Ssh(false)),
            (Button::Retry, _) => Ok(Action::Retry),
            (Button::Archive, _) => Ok(Action::Archive),
            (Button::ShowLog, _) => {
                let unit = known.units.get(self.form.unit).cloned().unwrap_or_default();
                self.busy = Some("Reading the log".to_owned());
                return Effect::Read(Read::Log { unit, boots_ago: self.form.boot });
            }
            (Button::Save, _) => return Effect::None,
        };
        match edit {
            Ok(action) => self.ask_or_do(action),
            Err(problems) => {
                self.problems = problems;
                Effect::None
            }
        }
    }

    /// The one door to what changes the host: what somebody loses something by goes through a dialog with the focus on No.
    fn ask_or_do(&mut self, action: Action) -> Effect {
        self.problems.clear();
        if !action.is_destructive() {
            return self.begin(action);
        }
        let guests = || self.known.as_ref().map(guests_in_words).unwrap_or_default();
        let words = match &action {
            Action::ResetNetwork => vec![
                "Every interface asks for an address, without VLAN, bond or fixed address. The settings of the network and the name servers are lost.".to_owned(),
                "This is not taken back by itself.".to_owned(),
            ],
            Action::Ssh(_) => vec!["Nobody comes in over SSH any more until it is switched on here. Whoever is in stays in.".to_owned()],
            _ => guests(),
        };
        let title = match &action {
            Action::ResetNetwork => "Reset the network?",
            Action::Ssh(_) => "Switch SSH off?",
            Action::PowerOff => "Power this host off?",
            _ => "Restart this host?",
        };
        self.dialog = Some(Dialog { title: title.to_owned(), words, then: Some(action), yes: false });
        Effect::None
    }

    fn key_dialog(&mut self, key: Key) -> Effect {
        let Some(dialog) = &mut self.dialog else { return Effect::None };
        match (key, dialog.then.is_some()) {
            (Key::Left | Key::Right | Key::Up | Key::Down, true) => dialog.yes = !dialog.yes,
            (Key::Enter, true) if dialog.yes => {
                let then = self.dialog.take().and_then(|dialog| dialog.then);
                return then.map_or(Effect::None, |action| self.begin(action));
            }
            (Key::Enter | Key::Back, _) => self.dialog = None,
            // A message goes away by any key, a question by none that was meant for something else.
            (_, false) => self.dialog = None,
            (_, true) => {}
        }
        Effect::None
    }

    fn begin(&mut self, action: Action) -> Effect {
        let words = match &action {
            Action::TryNetwork(_) => "The network is set up",
            Action::RevertNetwork => "The network is taken back",
            Action::Test { .. } => "Testing",
            Action::Archive => "The archive is written",
            Action::Restart => "The host restarts",
            Action::PowerOff => "The host switches off",
            _ => "Working",
        };
        if action == Action::KeepNetwork {
            // Nothing is taken back while it is being kept.
            self.trial = None;
        }
        if let Action::Edit(Edit::Password(_)) = action {
            (self.form.password, self.form.password_again) = (Secret::default(), Secret::default());
        }
        self.busy = Some(words.to_owned());
        Effect::Act(action)
    }

    pub(crate) fn count(&self) -> usize {
        items(self).iter().filter(|item| item.takes_focus()).count()
    }

    pub(crate) fn keep_focus(&mut self) {
        self.focus = self.focus.min(self.count().saturating_sub(1));
    }
}
