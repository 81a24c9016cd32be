//! The log of an installation, and which part of it is on the screen.

use std::cell::Cell;
use std::ops::Range;

use xenolith_terminal::Key;

/// Lines that are kept.
const MOST: usize = 200;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    lines: Vec<String>,
    is_open: bool,
    /// Lines on the screen that are below the part that is shown, and lines that fit. Only who draws knows where lines break and how
    /// large the terminal is: that corrects the one, so that no stroke is lost beyond an end, and tells the other.
    below: Cell<usize>,
    fit: Cell<usize>,
}

impl Log {
    pub(crate) fn push(&mut self, text: &str) {
        self.lines.extend(text.lines().map(str::to_owned));
        self.lines.drain(..self.lines.len().saturating_sub(MOST));
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Whether it is all that is shown.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Shows the end of it.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    pub(crate) fn close(&mut self) {
        self.is_open = false;
        self.below.set(0);
    }

    /// Scrolls, if it is shown and the key does that.
    pub(crate) fn scroll(&mut self, key: Key) -> bool {
        if !self.is_open {
            return false;
        }
        let (below, fit) = (self.below.get(), self.fit.get());
        self.below.set(match key {
            Key::Up => below.saturating_add(1),
            Key::Down => below.saturating_sub(1),
            Key::PageUp => below.saturating_add(fit),
            Key::PageDown => below.saturating_sub(fit),
            Key::Home => usize::MAX,
            Key::End => 0,
            _ => return false,
        });
        true
    }

    /// Which of so many lines are shown, where so many fit.
    pub(crate) fn part(&self, lines: usize, fit: usize) -> Range<usize> {
        self.fit.set(fit);
        self.below.set(self.below.get().min(lines.saturating_sub(fit)));
        let end = lines - self.below.get();
        end.saturating_sub(fit)..end
    }

    /// Lines below that part.
    pub(crate) fn below(&self) -> usize {
        self.below.get()
    }
}
