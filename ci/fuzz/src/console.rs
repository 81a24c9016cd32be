//! The console: what a terminal, a network and programs answer.

use std::str::from_utf8;

use xenolith_console::{clean, guests, ping::is_answer, support::redact};
use xenolith_terminal::{position, without_sequences};

/// What is at the other end of a serial line, and what somebody types there.
pub fn terminal_answer(data: &[u8]) {
    if let Some((columns, rows)) = position(data) {
        assert!((20..=999).contains(&columns) && (2..=999).contains(&rows));
    }
    if let Ok(text) = from_utf8(data) {
        assert!(!without_sequences(text).contains(char::is_control));
    }
}

/// A packet on a raw socket. One that is ours says so in the bytes that make it so.
pub fn icmp_echo(data: &[u8]) {
    for v4 in [true, false] {
        if is_answer(v4, data, 0x1234, 1) {
            assert!(data.windows(4).any(|bytes| bytes == [0x12, 0x34, 0, 1]));
        }
    }
}

/// What programs and logs say: for an archive that others read, and for a terminal.
pub fn support_text(data: &[u8]) {
    let Ok(text) = from_utf8(data) else { return };
    let left = redact(text);
    for hash in ["$y$", "$6$", "$5$", "$2b$"] {
        assert!(!left.contains(hash), "{left:?}");
    }
    assert!(clean(text).iter().chain(&guests(text)).all(|line| !line.contains(char::is_control)));
}
