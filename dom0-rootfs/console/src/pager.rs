//! A long text and the part of it that is shown.

use xenolith_terminal::Key;

/// Lines, and which of them is the first on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pager {
    /// What it is.
    pub title: String,
    lines: Vec<String>,
    from: usize,
}

impl Pager {
    /// A text, of which the end is shown: the last words of a log are those that somebody looks for.
    pub fn at_end(title: String, lines: Vec<String>) -> Self {
        let from = lines.len();
        Self { title, lines, from }
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The lines that fit into `height`, the number of the first one of them from 1, and how many there are.
    pub fn shown(&self, height: usize) -> (&[String], usize, usize) {
        let from = self.from.min(self.lines.len().saturating_sub(height));
        let to = (from + height).min(self.lines.len());
        (&self.lines[from..to], from + 1, self.lines.len())
    }

    /// Whether the key was one for here.
    pub fn key(&mut self, key: Key, height: usize) -> bool {
        let last = self.lines.len().saturating_sub(height);
        let from = self.from.min(last);
        self.from = match key {
            Key::Up => from.saturating_sub(1),
            Key::Down => from + 1,
            Key::PageUp => from.saturating_sub(height.saturating_sub(1)),
            Key::PageDown | Key::Char(' ') => from + height.saturating_sub(1),
            Key::Home => 0,
            Key::End => last,
            _ => return false,
        }
        .min(last);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_keys_lead_out_of_the_text(lines in 0..200usize, keys in proptest::collection::vec(0..6usize, 0..60), height in 0..50usize) {
            let known = [Key::Up, Key::Down, Key::PageUp, Key::PageDown, Key::Home, Key::End];
            let mut pager = Pager::at_end(String::new(), (0..lines).map(|line| line.to_string()).collect());
            for key in keys {
                prop_assert!(pager.key(known[key], height));
                let (shown, first, all) = pager.shown(height);
                prop_assert_eq!(all, lines);
                prop_assert_eq!(shown.len(), height.min(lines));
                prop_assert!(first - 1 + shown.len() <= lines);
            }
        }
    }
}
