//! The status as lines of a screen, with a QR code beside them where there is room.

use crate::look::Look;
use crate::qr::half_blocks;

/// Columns of a fact's name, as `xenolith-status` has them.
const NAME: usize = 16;

/// The status in lines of at most `width` columns. The code is left out where it would push a fact from the screen.
pub(crate) fn status(look: &Look, width: usize, height: usize, blocks: bool) -> Vec<String> {
    let mut rows = look.rows();
    // Where the host is reached is what most people come for.
    rows.rotate_right(1);
    let url = look.url();
    let mut facts: Vec<Vec<(String, String)>> = Vec::new();
    for row in rows {
        match facts.last_mut().filter(|_| row.name.is_empty()) {
            Some(before) => before.push((row.name, row.value)),
            None => facts.push(vec![(row.name, row.value)]),
        }
    }
    if let Some(url) = &url {
        // Said here, too, so that nobody waits for a page that is not there.
        let value = format!("{url} (for the toolstack to come)");
        facts.insert(1.min(facts.len()), vec![("web".to_owned(), value)]);
    }
    let code = url.filter(|_| blocks).as_deref().and_then(half_blocks);
    if let Some(lines) = code.and_then(|code| beside(&facts, &code, width, height)) {
        return lines;
    }
    facts.iter().flat_map(|fact| lines_of(fact, width)).collect()
}

/// Facts that are short enough stand beside the code, in their order; the others below. Nothing if that is too much for the screen.
fn beside(
    facts: &[Vec<(String, String)>],
    code: &[String],
    width: usize,
    height: usize,
) -> Option<Vec<String>> {
    let room = width.checked_sub(code.first()?.chars().count() + 1)?;
    let (mut left, mut below): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for fact in facts {
        let fits = fact.iter().all(|(_, value)| NAME + value.chars().count() <= room);
        if fits && left.len() + fact.len() <= code.len() {
            left.extend(lines_of(fact, room));
        } else {
            below.extend(lines_of(fact, width));
        }
    }
    if code.len() + below.len() > height {
        return None;
    }
    left.resize(code.len(), String::new());
    let together = left.iter().zip(code).map(|(left, code)| format!("{left:<room$} {code}"));
    Some(together.chain(below).collect())
}

fn lines_of(fact: &[(String, String)], width: usize) -> Vec<String> {
    let room = width.saturating_sub(NAME).max(1);
    let mut lines = Vec::new();
    for (name, value) in fact {
        for (index, part) in wrapped(value, room).into_iter().enumerate() {
            let name = if index == 0 { name.as_str() } else { "" };
            lines.push(format!("  {name:<14}{part}"));
        }
    }
    lines
}

/// A text in lines of at most `width` columns, broken between words where that is possible; what goes on is indented as it began.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let indent: String = text.chars().take_while(|c| *c == ' ').take(width / 2).collect();
    let (mut lines, mut line) = (Vec::new(), indent.clone());
    for word in text[indent.len()..].split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let shown = |word: &[char]| word.iter().rposition(|c| *c != ' ').map_or(0, |last| last + 1);
        if line.chars().count() > indent.len() && line.chars().count() + shown(&word) > width {
            lines.push(line.trim_end().to_owned());
            line.clone_from(&indent);
        }
        while line.chars().count() + shown(&word) > width {
            let rest = word.split_off(width - line.chars().count());
            line.extend(word);
            lines.push(line);
            line = indent.clone();
            word = rest;
        }
        line.extend(word);
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("  abcdefgh", 6), ["  abcd", "  efgh"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_nothing_is_lost(text in "[ a-z]{0,200}", width in 1..50usize) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{:?}", lines);
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
