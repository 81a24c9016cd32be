//! deb822 text, cut into stanzas and fields without copying.

use super::{IndexError, Problem};

const MAX_LINE: usize = 256 << 10;
const MAX_STANZA: usize = 8 << 20;
const MAX_STANZAS: usize = 500_000;

/// A stanza: the whole text and where in it the stanza lies.
#[derive(Clone, Copy)]
pub(super) struct Stanza<'a> {
    all: &'a str,
    start: usize,
    end: usize,
}

/// A field; the value is trimmed at both ends and may hold continuation lines.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    all: &'a str,
    at: usize,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// The text of a file, if it is text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, IndexError> {
    std::str::from_utf8(bytes).map_err(|error| IndexError::NotText { at: error.valid_up_to() })
}

/// The stanzas of `all`, in their order.
pub(super) fn stanzas(all: &str) -> impl Iterator<Item = Result<Stanza<'_>, IndexError>> {
    let ends = memchr::memmem::Finder::new("\n\n").into_owned();
    let (mut next, mut count) = (0, 0);
    std::iter::from_fn(move || {
        while all.as_bytes().get(next) == Some(&b'\n') {
            next += 1;
        }
        if next == all.len() {
            return None;
        }
        let start = next;
        let end = ends.find(&all.as_bytes()[start..]).map_or(all.len(), |found| start + found + 1);
        (next, count) = (end, count + 1);
        Some(if count > MAX_STANZAS {
            next = all.len();
            Err(too_long(all, start, "the list of stanzas", MAX_STANZAS))
        } else if end - start > MAX_STANZA {
            Err(too_long(all, start, "a stanza", MAX_STANZA))
        } else {
            Ok(Stanza { all, start, end })
        })
    })
}

fn too_long(all: &str, at: usize, what: &'static str, limit: usize) -> IndexError {
    IndexError::TooLong { line: line_of(all, at), what, limit }
}

fn line_of(all: &str, at: usize) -> usize {
    memchr::memchr_iter(b'\n', &all.as_bytes()[..at]).count() + 1
}

impl<'a> Stanza<'a> {
    /// The fields of the stanza.
    pub(super) fn fields(self) -> impl Iterator<Item = Result<Field<'a>, IndexError>> {
        let mut next = self.start;
        std::iter::from_fn(move || {
            (next < self.end).then(|| {
                let field = self.field(next);
                next = field.as_ref().map_or(self.end, |(_, end)| *end);
                field.map(|(field, _)| field)
            })
        })
    }

    /// The field that starts at `start`, and where the next one does.
    fn field(self, start: usize) -> Result<(Field<'a>, usize), IndexError> {
        let bytes = self.all.as_bytes();
        let mut end = self.line_end(start)?;
        let first = &self.all[start..end];
        let colon = memchr::memchr(b':', first.as_bytes()).filter(|colon| *colon > 0);
        let Some(colon) = colon.filter(|_| !matches!(bytes[start], b' ' | b'\t' | b'-' | b'#')) else {
            return Err(IndexError::NotAField { line: line_of(self.all, start) });
        };
        while end < self.end && matches!(bytes[end], b' ' | b'\t') {
            end = self.line_end(end)?;
        }
        let value = self.all[start + colon + 1..end].trim();
        Ok((Field { all: self.all, at: start, name: &first[..colon], value }, end))
    }

    /// Where the line after the one that starts at `start` does.
    fn line_end(self, start: usize) -> Result<usize, IndexError> {
        let rest = &self.all.as_bytes()[start..self.end];
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
        if length > MAX_LINE {
            return Err(too_long(self.all, start, "a line", MAX_LINE));
        }
        Ok(start + length)
    }

    /// The value of a field without which the stanza makes no sense.
    pub(super) fn required<T>(self, field: &'static str, value: Option<T>) -> Result<T, IndexError> {
        value.ok_or_else(|| IndexError::Missing { line: line_of(self.all, self.start), field })
    }
}

impl<'a> Field<'a> {
    /// Puts `value` into its place, which must be empty.
    pub(super) fn set<T>(
        self,
        place: &mut Option<T>,
        field: &'static str,
        value: Result<T, impl Into<Problem>>,
    ) -> Result<(), IndexError> {
        let line = || line_of(self.all, self.at);
        let value =
            value.map_err(|source| IndexError::Invalid { line: line(), field, source: source.into() })?;
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(IndexError::Twice { line: line(), field }),
        }
    }

    /// Puts the value as it is into its place, which must be empty.
    pub(super) fn set_text(self, place: &mut Option<&'a str>, field: &'static str) -> Result<(), IndexError> {
        self.set(place, field, Ok::<_, Problem>(self.value))
    }
}
