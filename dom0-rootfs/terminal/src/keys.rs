//! Keys in the order in which they are pressed.
//!
//! What a key sends is one sequence of characters, but of a serial line its beginning may be read before the rest has come. crossterm
//! 0.29 takes an Escape that is read alone for that key, and the rest for characters (its issue 993). They are put together here.

use std::{collections::VecDeque, io, time::Duration};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent};

use crate::key::{Key, meaning};

/// How long the rest of a sequence is waited for. Nobody types it so fast, and a character takes a millisecond at 9600 baud.
const TOGETHER: Duration = Duration::from_millis(100);
/// No sequence that means something here is longer, in characters.
const LONGEST: usize = 8;

/// Sequences behind Escape (XTerm Control Sequences, "PC-Style Function Keys"; `[[` is Linux's console).
const SEQUENCES: &[(&str, Key)] = &[
    ("[A", Key::Up),
    ("OA", Key::Up),
    ("[Z", Key::Up),
    ("[B", Key::Down),
    ("OB", Key::Down),
    ("[C", Key::Right),
    ("OC", Key::Right),
    ("[D", Key::Left),
    ("OD", Key::Left),
    ("[H", Key::Home),
    ("OH", Key::Home),
    ("[1~", Key::Home),
    ("[7~", Key::Home),
    ("[F", Key::End),
    ("OF", Key::End),
    ("[4~", Key::End),
    ("[8~", Key::End),
    ("[5~", Key::PageUp),
    ("[6~", Key::PageDown),
    ("OP", Key::Help),
    ("[11~", Key::Help),
    ("[[A", Key::Help),
    ("OQ", Key::Shell),
    ("[12~", Key::Shell),
    ("[[B", Key::Shell),
    ("[15~", Key::Refresh),
    ("[[E", Key::Refresh),
];

/// What came from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Something that is no key, or one that means nothing. The terminal may have another size now.
    Something,
    /// A key.
    Key(Key),
}

/// The keys of the terminal.
#[derive(Debug, Default)]
pub struct Keys {
    /// Read when it was looked whether they belong to the one before.
    early: VecDeque<KeyEvent>,
}

impl Keys {
    /// What comes within `time`.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn wait(&mut self, time: Duration) -> io::Result<Heard> {
        self.wait_for(time, &mut |time| if event::poll(time)? { event::read().map(Some) } else { Ok(None) })
    }

    fn wait_for(&mut self, time: Duration, listen: Listen<'_>) -> io::Result<Heard> {
        let event = match self.early.pop_front() {
            Some(key) => Some(Event::Key(key)),
            None => listen(time)?,
        };
        let key = match event {
            None => return Ok(Heard::Nothing),
            Some(Event::Key(key)) if meaning(key) == Some(Key::Back) && self.early.is_empty() => {
                self.after_escape(listen)?
            }
            Some(Event::Key(key)) => meaning(key),
            Some(_) => None,
        };
        Ok(key.map_or(Heard::Something, Heard::Key))
    }

    /// The key whose sequence an Escape begins, or else that itself.
    fn after_escape(&mut self, listen: Listen<'_>) -> io::Result<Option<Key>> {
        let mut sequence = String::new();
        while begins(&sequence) {
            match listen(TOGETHER)? {
                None => break,
                Some(Event::Key(key)) => {
                    self.early.push_back(key);
                    let KeyCode::Char(character) = key.code else { break };
                    sequence.push(character);
                }
                // Whatever comes of this, the screen is drawn.
                Some(_) => {}
            }
            if is_complete(&sequence) {
                self.early.clear();
                return Ok(SEQUENCES.iter().find(|(known, _)| *known == sequence).map(|(_, key)| *key));
            }
        }
        Ok(Some(Key::Back))
    }
}

type Listen<'a> = &'a mut dyn FnMut(Duration) -> io::Result<Option<Event>>;

/// Whether this may be the beginning of a sequence.
fn begins(sequence: &str) -> bool {
    sequence.is_empty() || (sequence.starts_with(['[', 'O']) && sequence.chars().count() < LONGEST)
}

/// ECMA-48 §5.4: parameters, then one final byte from `@` to `~`.
fn is_complete(sequence: &str) -> bool {
    match sequence.as_bytes() {
        [b'[', b'['] => false,
        [b'[', .., last] => (b'@'..=b'~').contains(last),
        [b'O', _] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use ratatui::crossterm::event::KeyModifiers;

    use super::*;

    /// What is heard when these come, one after the other; `None` is a pause.
    fn heard(events: Vec<Option<Event>>) -> Vec<Heard> {
        let mut events = events.into_iter();
        let mut left = events.len();
        let mut keys = Keys::default();
        let mut all = Vec::new();
        while left > 0 || !keys.early.is_empty() {
            let mut listen = |_| {
                left = left.saturating_sub(1);
                Ok(events.next().flatten())
            };
            all.push(keys.wait_for(Duration::ZERO, &mut listen).unwrap());
        }
        all
    }

    fn key(code: KeyCode) -> Option<Event> {
        Some(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    /// Escape alone, and the rest as characters, as crossterm has it.
    fn torn(rest: &str) -> Vec<Option<Event>> {
        let rest = rest.chars().map(|character| key(KeyCode::Char(character)));
        [key(KeyCode::Esc)].into_iter().chain(rest).collect()
    }

    #[test]
    fn a_sequence_whose_beginning_came_alone_is_the_key_that_was_pressed() {
        for (sequence, meant) in SEQUENCES {
            assert_eq!(heard(torn(sequence)), [Heard::Key(*meant)], "{sequence}");
            assert!(sequence.len() <= LONGEST && is_complete(sequence));
        }
        assert_eq!(heard(torn("[1;5C")), [Heard::Something], "one that means nothing here");
    }

    #[test]
    fn escape_and_what_is_typed_after_it_stay_what_they_are() {
        use Heard::{Key as K, Nothing};
        assert_eq!(heard(vec![key(KeyCode::Esc), None]), [K(Key::Back)]);
        assert_eq!(heard(torn("x")), [K(Key::Back), K(Key::Char('x'))]);
        let paused = vec![key(KeyCode::Esc), None, key(KeyCode::Char('[')), key(KeyCode::Char('C'))];
        assert_eq!(heard(paused), [K(Key::Back), K(Key::Char('[')), K(Key::Char('C'))]);
        let enter = vec![key(KeyCode::Esc), key(KeyCode::Enter), None];
        assert_eq!(heard(enter), [K(Key::Back), K(Key::Enter), Nothing]);
        assert_eq!(heard(vec![key(KeyCode::Esc), key(KeyCode::Esc), None]), [K(Key::Back), K(Key::Back)]);
        let long = heard(torn("[11111111111"));
        assert_eq!(
            (long[0], long.len()),
            (K(Key::Back), 13),
            "nothing is waited for without end, and nothing lost"
        );
    }

    #[test]
    fn a_new_size_is_something() {
        assert_eq!(heard(vec![Some(Event::Resize(80, 24)), None]), [Heard::Something, Heard::Nothing]);
    }
}
