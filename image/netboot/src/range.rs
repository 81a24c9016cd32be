//! The `Range` field of an HTTP request (RFC 9110 §14).

use std::ops;

/// What part of a file a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of it: nothing else was asked for, or in a way that a server may pass over.
    Whole,
    /// These bytes; never none.
    Part(ops::Range<u64>),
    /// Bytes that the file does not have.
    Outside,
}

/// Reads the field's value for a file of this length. Several ranges at once are passed over, as the RFC allows.
pub fn range(value: Option<&str>, length: u64) -> Range {
    let Some((first, last)) = value.and_then(|value| value.trim().strip_prefix("bytes=")?.split_once('-'))
    else {
        return Range::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    let part = match (first, last) {
        ("", last) => number(last).map(|suffix| length.saturating_sub(suffix)..length),
        (first, "") => number(first).map(|first| first..length),
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some(first..last.saturating_add(1).min(length)),
            _ => None,
        },
    };
    match part {
        None => Range::Whole,
        Some(part) if part.start >= part.end => Range::Outside,
        Some(part) => Range::Part(part),
    }
}

/// Digits and nothing else; a number beyond 64 bits is larger than any file.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_given() {
        for (value, expected) in [
            ("bytes=0-", Range::Part(0..10)),
            ("bytes=4-", Range::Part(4..10)),
            ("bytes=4-4", Range::Part(4..5)),
            ("bytes=4-99", Range::Part(4..10)),
            ("bytes=-3", Range::Part(7..10)),
            ("bytes=-99", Range::Part(0..10)),
            ("bytes=10-", Range::Outside),
            ("bytes=99999999999999999999999-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-4", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=+1-", Range::Whole),
            ("lines=0-1", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(range(Some(value), 10), expected, "{value}");
        }
        assert_eq!(range(None, 10), Range::Whole);
        assert_eq!(range(Some("bytes=0-"), 0), Range::Outside);
    }

    proptest::proptest! {
        #[test]
        fn a_part_lies_in_the_file_and_has_bytes(value in "(bytes=)?[0-9 ,-]{0,24}", length: u64) {
            if let Range::Part(part) = range(Some(&value), length) {
                assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
