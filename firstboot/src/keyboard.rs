//! The console's keyboard: which there are, and the one that is loaded at each boot.
//!
//! `/etc/vconsole.conf` has its name, as everywhere where systemd runs; `xenolith-keyboard.service` loads it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use fs_err as fs;

use crate::change::{Change, Reload};

/// The keyboards that the image knows (Debian's console-data). Those of other machines, some of the same names, are not in it.
pub const KEYMAPS: &str = "usr/share/keymaps/i386";
const VCONSOLE: &str = "etc/vconsole.conf";
const LOADKEYS: &str = "/usr/bin/loadkeys";
/// Keyboards lie in folders: `qwertz/de.kmap.gz`.
const DEPTH: usize = 2;
/// At most so many names are proposed, and only if they are this much alike (Jaro-Winkler).
const PROPOSED: usize = 3;
const ALIKE: f64 = 0.7;

/// Keyboards that are offered where one is chosen from a list, with what people call them. A seed may name any other.
pub const COMMON: &[(&str, &str)] = &[
    ("us", "English (US)"),
    ("uk", "English (UK)"),
    ("us-latin1", "English (US, international)"),
    ("be2-latin1", "Belgian"),
    ("br-abnt2", "Brazilian"),
    ("croat", "Croatian"),
    ("cz-lat2", "Czech"),
    ("dk-latin1", "Danish"),
    ("nl", "Dutch"),
    ("et", "Estonian"),
    ("fi-latin1", "Finnish"),
    ("fr-latin9", "French"),
    ("cf", "French (Canada)"),
    ("fr_CH-latin1", "French (Switzerland)"),
    ("de-latin1", "German"),
    ("de-latin1-nodeadkeys", "German (no dead keys)"),
    ("sg-latin1", "German (Switzerland)"),
    ("gr", "Greek"),
    ("il", "Hebrew"),
    ("hu", "Hungarian"),
    ("is-latin1", "Icelandic"),
    ("it", "Italian"),
    ("jp106", "Japanese"),
    ("lt", "Lithuanian"),
    ("lv-latin7", "Latvian"),
    ("no-latin1", "Norwegian"),
    ("pl", "Polish"),
    ("pt-latin1", "Portuguese"),
    ("ro", "Romanian"),
    ("ru", "Russian"),
    ("sk-qwerty", "Slovak"),
    ("slovene", "Slovenian"),
    ("es", "Spanish"),
    ("la-latin1", "Spanish (Latin America)"),
    ("se-latin1", "Swedish"),
    ("trq", "Turkish"),
    ("ua", "Ukrainian"),
    ("dvorak", "Dvorak"),
];

/// The names of all keyboards of the image whose files lie below `root`.
pub fn keyboards(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(&root.join(KEYMAPS), 0, &mut names);
    names
}

/// Those of [`COMMON`] that the image has.
pub fn common_keyboards(root: &Path) -> Vec<(&'static str, &'static str)> {
    let known = keyboards(root);
    COMMON.iter().filter(|(name, _)| known.contains(*name)).copied().collect()
}

fn collect(folder: &Path, depth: usize, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".kmap.gz") {
            names.insert(name.to_owned());
        } else if depth < DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth + 1, names);
        }
    }
}

/// `keyboard` is loaded at each boot from now on, and now if it is that late.
pub(crate) fn changes(keyboard: &str, root: &Path) -> Result<Vec<Change>, String> {
    let known = keyboards(root);
    if !known.contains(keyboard) {
        return Err(format!("there is no keyboard {keyboard}{}", proposal(keyboard, &known)));
    }
    Ok(vec![
        Change::Write { path: VCONSOLE.to_owned(), mode: 0o644, text: format!("KEYMAP={keyboard}\n") },
        Change::Reload(Reload::Keyboard),
    ])
}

fn proposal(keyboard: &str, known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "; this image has none".to_owned();
    }
    let mut alike: Vec<(f64, &str)> =
        known.iter().map(|name| (strsim::jaro_winkler(keyboard, name), name.as_str())).collect();
    alike.retain(|(alike, _)| *alike >= ALIKE);
    // Whoever leaves something out leaves out the end.
    let begins = |name: &str| name.starts_with(keyboard);
    alike.sort_by(|(a, one), (b, other)| begins(other).cmp(&begins(one)).then(b.total_cmp(a)));
    let names: Vec<&str> = alike.iter().take(PROPOSED).map(|(_, name)| *name).collect();
    if names.is_empty() {
        "; one is us".to_owned()
    } else {
        format!("; the nearest names are {}", names.join(", "))
    }
}

/// Whether a terminal has a keyboard of this machine: `tty1`, not a serial line.
pub fn is_screen(terminal: &Path) -> bool {
    let number = terminal.to_str().and_then(|path| path.strip_prefix("/dev/tty"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Loads a keyboard at once, for all screens of this machine.
///
/// # Errors
/// With the words of the program that does it.
pub fn load_keyboard(keyboard: &str, terminal: &Path) -> io::Result<()> {
    // A name and nothing else: no path, no option.
    if keyboard.is_empty()
        || !keyboard.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        || keyboard.starts_with('-')
    {
        return Err(io::Error::other("this is no name of a keyboard"));
    }
    let said = duct::cmd!(LOADKEYS, "--quiet", "--unicode", "--console", terminal, keyboard)
        .stdin_null()
        .stdout_null()
        .stderr_capture()
        .unchecked()
        .run()?;
    if said.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "loadkeys ended with {}: {}",
        said.status,
        String::from_utf8_lossy(&said.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keyboards in `i386` of console-data 1.12.
    const IMAGE: &str = include_str!("../tests/keyboards.txt");

    fn image() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for line in IMAGE.lines() {
            let path = root.path().join(KEYMAPS).join(format!("{line}.kmap.gz"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn every_keyboard_that_is_offered_is_in_the_image() {
        let root = image();
        assert_eq!(common_keyboards(root.path()), COMMON);
        assert_eq!(common_keyboards(Path::new("/nowhere")), []);
    }

    #[test]
    fn names_that_are_none_are_refused_with_the_nearest() {
        let root = image();
        let changed = changes("de-latin1", root.path()).unwrap();
        let expected =
            Change::Write { path: VCONSOLE.to_owned(), mode: 0o644, text: "KEYMAP=de-latin1\n".to_owned() };
        assert_eq!(changed, [expected, Change::Reload(Reload::Keyboard)]);
        let why = |name| changes(name, root.path()).unwrap_err();
        assert_eq!(
            why("de-latin"),
            "there is no keyboard de-latin; the nearest names are de-latin1, de-latin1-nodeadkeys, dk-latin1"
        );
        assert_eq!(why("zzz"), "there is no keyboard zzz; one is us");
        assert!(why("../../etc/shadow").starts_with("there is no keyboard"));
        assert_eq!(
            changes("us", Path::new("/nowhere")).unwrap_err(),
            "there is no keyboard us; this image has none"
        );
    }

    #[test]
    fn a_serial_line_has_no_keyboard() {
        let screens = ["/dev/tty1", "/dev/tty63", "/dev/ttyS0", "/dev/hvc0", "/dev/tty", "/dev/pts/0"];
        assert_eq!(screens.map(|path| is_screen(Path::new(path))), [true, true, false, false, false, false]);
    }
}
