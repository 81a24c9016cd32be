//! A QR code out of half blocks, for whoever would rather point a telephone at the screen than type an address.

use qrcode::types::Color;
use qrcode::{EcLevel, QrCode};

/// Light modules around it. ISO/IEC 18004 asks for four; telephones of today do with two, and a screen has no room to waste.
const QUIET: usize = 2;

/// The lines of a code for `text`, each character two modules above each other; nothing if it is too long for one.
///
/// Light is what is drawn: a terminal is dark, and a code is read dark on light.
pub fn half_blocks(text: &str) -> Option<Vec<String>> {
    // In capitals digits, letters and `:/.` take 5½ bits each, so that the address of IPv4 fits into the smallest code. Scheme and host
    // mean the same in either (RFC 3986 §6.2.2.1).
    let code = QrCode::with_error_correction_level(text.to_ascii_uppercase(), EcLevel::L).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let side = width + 2 * QUIET;
    let light = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + width).contains(&x) && (QUIET..QUIET + width).contains(&y);
        // Below the last module there is none any more.
        y < side && (!inside || colors[(y - QUIET) * width + x - QUIET] == Color::Light)
    };
    let line = |y: usize| -> String {
        let half = |x: usize| match (light(x, y), light(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..side).map(half).collect()
    };
    Some((0..side).step_by(2).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_takes_the_smallest_code() {
        let lines = half_blocks("https://255.255.255.255/").unwrap();
        assert_eq!((lines.len(), lines[0].chars().count()), (13, 25));
        assert!(lines.iter().all(|line| line.chars().count() == 25));
        assert_eq!(lines[0], "█".repeat(25), "the quiet zone");
    }

    #[test]
    fn what_is_too_long_has_no_code() {
        assert!(half_blocks("https://[2001:db8:1234:5678:9abc:def0:1234:5678]/").is_some());
        assert!(half_blocks(&"x".repeat(5000)).is_none());
    }
}
