//! Keys, as far as they mean something on screens.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To the item above.
    Up,
    /// To the item below.
    Down,
    /// The choice before.
    Left,
    /// The choice after.
    Right,
    /// Choose, or go on.
    Enter,
    /// To where one came from.
    Back,
    /// A character.
    Char(char),
    /// Take the last character away.
    Erase,
    /// Help.
    Help,
    /// A shell, and back.
    Shell,
    /// Look again.
    Refresh,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// To the beginning.
    Home,
    /// To the end.
    End,
}

/// What a key means here, if anything.
pub(crate) fn meaning(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Up | KeyCode::BackTab => Key::Up,
        KeyCode::Down | KeyCode::Tab => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Back,
        KeyCode::Char('h') if control => Key::Erase,
        // Not every terminal has F5 where Linux expects it.
        KeyCode::Char('l' | 'r') if control => Key::Refresh,
        KeyCode::Char(character) if !control => Key::Char(character),
        KeyCode::Backspace => Key::Erase,
        KeyCode::F(1) => Key::Help,
        KeyCode::F(2) => Key::Shell,
        KeyCode::F(5) => Key::Refresh,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    })
}
