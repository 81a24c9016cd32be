//! The archive for whoever helps. **What goes in is a list, and nothing that is not on it goes in**: no password or hash of one, no key,
//! no seed and no answers. What programs and logs say is searched for such things besides, since somebody may have typed them in a wrong
//! place.
//!
//! ```text
//!   programs, files of the list ─▶ redact ─▶ name.tar.gz.new ─▶ flush ─▶ rename to name.tar.gz   mode 0600, for root alone
//! ```
//! A cut leaves the archive whole or a file that the next one replaces. The newest few are kept.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::{Compression, write::GzEncoder};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::tool::{Programs, Tool};

/// Where archives lie, below the root.
pub const FOLDER: &str = "var/lib/xenolith/support";
/// So many are kept.
const KEPT: usize = 5;
/// More than this of one thing is cut off at its beginning: the end is what matters of a log.
const LONGEST: usize = 16 << 20;

/// What is in it, in words for whoever decides to hand it out.
pub const IN_WORDS: &[&str] = &[
    "status, first boot, local storage",
    "journal of this boot and the one before",
    "hypervisor: xl info, dmesg, guests by name",
    "disks, volume groups, mirrors",
    "addresses, routes, network settings",
];

/// Programs, and what their words are called in the archive.
const PROGRAMS: &[(&str, Tool, &[&str])] = &[
    ("status.json", Tool::Status, &["--json"]),
    ("firstboot.json", Tool::FirstBoot, &["status", "--json"]),
    ("journal.txt", Tool::Journalctl, &["--boot=0", "--output=short-iso", "--no-pager", "--lines=100000"]),
    (
        "journal-before.txt",
        Tool::Journalctl,
        &["--boot=-1", "--output=short-iso", "--no-pager", "--lines=100000"],
    ),
    ("failed-units.txt", Tool::Systemctl, &["--failed", "--no-pager", "--full"]),
    ("xl-info.txt", Tool::Xl, &["info"]),
    ("xl-dmesg.txt", Tool::Xl, &["dmesg"]),
    ("xl-list.txt", Tool::Xl, &["list"]),
    ("lsblk.txt", Tool::Lsblk, &["--output", "NAME,SIZE,TYPE,FSTYPE,LABEL,MODEL,SERIAL,TRAN,MOUNTPOINTS"]),
    ("vgs.txt", Tool::Vgs, &[]),
    ("lvs.txt", Tool::Lvs, &[]),
    ("addresses.txt", Tool::Ip, &["address", "show"]),
    ("routes.txt", Tool::Ip, &["route", "show", "table", "all"]),
    ("networkctl.txt", Tool::Networkctl, &["--no-pager", "status", "--all"]),
    ("resolvectl.txt", Tool::Resolvectl, &["--no-pager", "status"]),
];

/// Files, by their paths below the root.
const FILES: &[&str] = &[
    "run/xenolith/boot.json",
    "var/lib/xenolith/storage.json",
    "usr/lib/os-release",
    "etc/hostname",
    "etc/vconsole.conf",
    "etc/chrony/chrony.conf",
    "proc/cmdline",
    "proc/mdstat",
    "proc/meminfo",
];

/// Folders, of which every plain file ending so goes in.
const FOLDERS: &[(&str, &[&str])] = &[("etc/systemd/network", &["network", "netdev"])];

/// Writes an archive of the host below `root` and gives its path.
///
/// # Errors
/// When it cannot be written. What cannot be asked for stands in it as the reason why.
pub fn write(root: &Path, host: &str, now: SystemTime, programs: &dyn Programs) -> io::Result<PathBuf> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let host: String = host.chars().take(64).map(plain).collect();
    let name = format!("xenolith-support-{host}-{seconds}");
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    let new = folder.join("archive.new");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    // The mode above says nothing if the file was there.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (path, text) in gather(root, programs) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(seconds);
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_cksum();
        archive.append_data(&mut header, format!("{name}/{path}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()?;
    let path = folder.join(format!("{name}.tar.gz"));
    fs::rename(&new, &path)?;
    fs::File::open(&folder)?.sync_all()?;
    forget_old(&folder)?;
    Ok(path)
}

/// What goes into an archive, by its name there.
pub fn gather(root: &Path, programs: &dyn Programs) -> Vec<(String, String)> {
    let mut all = vec![("CONTENTS.txt".to_owned(), contents())];
    for (name, tool, args) in PROGRAMS {
        let text = programs.run(*tool, args).unwrap_or_else(|error| format!("not read: {error}\n"));
        all.push(((*name).to_owned(), redact(&text)));
    }
    for path in FILES {
        all.extend(file(root, path));
    }
    for (folder, endings) in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        let wanted = |name: &&String| endings.iter().any(|ending| name.ends_with(&format!(".{ending}")));
        all.extend(names.iter().filter(wanted).filter_map(|name| file(root, &format!("{folder}/{name}"))));
    }
    all
}

/// A file that is one: a link may lead anywhere.
fn file(root: &Path, path: &str) -> Option<(String, String)> {
    let there = root.join(path);
    // os-release is where Debian has it; nothing else on the list is a link.
    if !fs::symlink_metadata(&there).ok()?.is_file() {
        return None;
    }
    let text = match fs::read(&there) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("not read: {error}\n"),
    };
    Some((format!("files/{path}"), redact(&text)))
}

fn contents() -> String {
    let mut text = String::from("What is in this archive:\n\n");
    for (name, tool, args) in PROGRAMS {
        text.push_str(&format!("  {name:<22}{tool:?} {}\n", args.join(" ")));
    }
    FILES.iter().for_each(|path| text.push_str(&format!("  files/{path}\n")));
    for (folder, endings) in FOLDERS {
        text.push_str(&format!("  files/{folder}/*.{}\n", endings.join(", *.")));
    }
    text.push_str(
        "\nWhat never is: passwords and their hashes, private keys, the host's settings, seeds, answers.\n\
         Whatever looks like one in the above is replaced by [left out].\n",
    );
    text
}

const LEFT_OUT: &str = "[left out]";
/// How hashes of crypt(5) begin.
const HASHES: &[&str] = &["$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$", "$1$", "$5$", "$6$"];
/// What follows these, with `=`, `:` or a space between, is nobody's business.
const NAMES: &[&str] = &["password", "passwd", "passphrase", "secret", "token", "privatekey", "presharedkey"];

/// A text without what looks like a password, a hash of one, or a private key.
pub fn redact(text: &str) -> String {
    let from = text.len().saturating_sub(LONGEST);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let mut out = String::with_capacity(text.len() - from);
    let mut in_key = false;
    for line in text[from..].lines() {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
            out.push_str(LEFT_OUT);
            out.push('\n');
        }
        if in_key {
            in_key = !line.contains("-----END");
            continue;
        }
        out.push_str(&redacted(line));
        out.push('\n');
    }
    out
}

fn redacted(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let lower = line.to_ascii_lowercase();
    while !rest.is_empty() {
        let at = line.len() - rest.len();
        if HASHES.iter().any(|hash| rest.starts_with(hash)) {
            out.push_str(LEFT_OUT);
            rest = rest.trim_start_matches(|c: char| c.is_ascii_graphic() && !"\":',".contains(c));
            continue;
        }
        // ASCII is as long in small letters, so places are the same in both.
        if let Some(name) = NAMES.iter().find(|name| lower[at..].starts_with(**name)) {
            let after = &rest[name.len()..];
            let value = after.trim_start_matches(['=', ':', '"', '\'', ' ']);
            let between = &after[..after.len() - value.len()];
            out.push_str(&rest[..name.len()]);
            rest = after;
            if between.contains(['=', ':']) && !value.is_empty() {
                out.push_str(between);
                out.push_str(LEFT_OUT);
                rest = value.trim_start_matches(|c: char| !c.is_whitespace() && !"\"',".contains(c));
            }
            continue;
        }
        let next = rest.chars().next().map_or(0, char::len_utf8);
        out.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    out
}

fn forget_old(folder: &Path) -> io::Result<()> {
    let mut archives: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("xenolith-support-") && name.ends_with(".tar.gz");
            ours.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    archives.sort();
    let old = archives.len().saturating_sub(KEPT);
    archives.iter().take(old).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_wherever_they_stand() {
        for (text, expected) in [
            ("root:$y$j9T$abc/.d$ef:20000", "root:[left out]:20000"),
            ("hash $6$salt$x.y/z, more", "hash [left out], more"),
            ("root_password = \"hunter2\" # mine", "root_password = \"[left out]\" # mine"),
            ("Token: abc def", "Token: [left out] def"),
            ("PrivateKey=QUJD", "PrivateKey=[left out]"),
            ("sshd: Accepted password for root", "sshd: Accepted password for root"),
            ("price $5 and $66", "price $5 and $66"),
            ("übung password=é", "übung password=[left out]"),
        ] {
            assert_eq!(redact(text), format!("{expected}\n"));
        }
        let key = "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\nb\n";
        assert_eq!(redact(key), "a\n[left out]\nb\n");
        assert_eq!(redact("-----BEGIN PRIVATE KEY-----\nAAAA"), "[left out]\n", "a key without an end");
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC*|[pPaSsWwOoRrDd=: \"é$6y]*") {
            redact(&text);
        }
    }
}
