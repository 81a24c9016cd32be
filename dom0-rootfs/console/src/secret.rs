//! A password as it is typed: never shown, and gone from memory when it is not needed any more.

use zeroize::Zeroizing;

/// Room for the longest password that is taken, so that none is ever copied to a larger place and forgotten in the old one.
const ROOM: usize = 512;

/// A password.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Default for Secret {
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(ROOM)))
    }
}

impl Secret {
    /// One more character, if there is room.
    pub fn push(&mut self, character: char) {
        if self.0.len() + character.len_utf8() <= ROOM && !character.is_control() {
            self.0.push(character);
        }
    }

    /// One less.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// The password itself.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// How many characters it has.
    pub fn count(&self) -> usize {
        self.0.chars().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        let mut secret = Self::default();
        text.chars().for_each(|character| secret.push(character));
        secret
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_never_moves() {
        let mut secret = Secret::default();
        let place = secret.text().as_ptr();
        (0..2 * ROOM).for_each(|_| secret.push('é'));
        assert_eq!(secret.text().as_ptr(), place, "it was copied");
        assert_eq!(secret.count(), ROOM / 2);
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
