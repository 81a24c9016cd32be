//! The host's key for SSH. Who comes in compares it, and keeps it: **one that is there is never replaced**, whoever has made it.
//!
//! sshd uses one key, of ed25519 (`sshd_config.d/10-xenolith.conf`). The public half stands in the private one in clear, so what is
//! missing of it, or belongs to another key, is written anew.
//!
//! ```text
//!   no private half        ─▶ that of the host before, if it is kept, else a new pair    cut between: the next time, a new pair
//!   private half, not 0600 ─▶ the same with 0600
//!   public half not of it  ─▶ the public half of it
//! ```
//! The task makes it at the first boot, before sshd. `xenolith-hostkeys.service` makes it by the same code where somebody is let in later,
//! or first boot has failed.

use std::env;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use der::pem::{self, LineEnding};
use fs_err as fs;
use nix::unistd::mkdtemp;

use crate::change::{Change, System};
use crate::decide::kept;
use crate::former::KeptIdentity;
use crate::identity::HOST_KEY;
use crate::lock::{CHANGE_WAITS, Lock};
use crate::run::Paths;

const KEYGEN: &str = "/usr/bin/ssh-keygen";
/// What comes before the fields of a key (OpenSSH 10.0, PROTOCOL.key).
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// A pair of keys, as OpenSSH writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    /// The private half.
    pub private: String,
    /// The public half.
    pub public: String,
}

impl HostKey {
    /// A new pair.
    ///
    /// # Errors
    /// With the words of `ssh-keygen`.
    pub fn draw() -> io::Result<Self> {
        // In RAM, for root alone: on a disk there would be a copy of it for whoever gets the disk.
        let folder = mkdtemp(&env::temp_dir().join("xenolith-host-key-XXXXXX"))?;
        let drawn = Self::draw_in(&folder);
        fs::remove_dir_all(&folder)?;
        drawn
    }

    fn draw_in(folder: &Path) -> io::Result<Self> {
        let key = folder.join("key");
        let said = duct::cmd!(KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &key)
            .stdin_null()
            .stdout_null()
            .stderr_capture()
            .unchecked()
            .run()?;
        if !said.status.success() {
            let words = String::from_utf8_lossy(&said.stderr);
            return Err(io::Error::other(format!("{KEYGEN} ended with {}: {}", said.status, words.trim())));
        }
        Ok(Self { private: fs::read_to_string(&key)?, public: fs::read_to_string(folder.join("key.pub"))? })
    }

    /// That of the host before, if it is kept.
    pub(crate) fn of(kept: &KeptIdentity) -> Option<Self> {
        Some(Self { private: kept.ssh_key.clone()?, public: kept.ssh_public.clone()? })
    }

    /// Both halves become the host's.
    pub(crate) fn write(&self, root: &Path, system: &mut (impl System + ?Sized)) -> io::Result<()> {
        self.changes().iter().try_for_each(|change| system.make(root, change))
    }

    /// The private half last: its being there says that the key is whole.
    pub(crate) fn changes(&self) -> [Change; 2] {
        [public(self.public.clone()), private(self.private.clone())]
    }
}

fn private(text: String) -> Change {
    Change::Write { path: HOST_KEY.to_owned(), mode: 0o600, text }
}

fn public(text: String) -> Change {
    Change::Write { path: format!("{HOST_KEY}.pub"), mode: 0o644, text }
}

/// What is missing of the host's key.
///
/// # Errors
/// When what is there is no key that can be used. It is left alone: somebody may trust it.
pub(crate) fn changes(root: &Path, kept: &KeptIdentity) -> Result<Vec<Change>, String> {
    let read = |path: &str| match fs::read_to_string(root.join(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| error.to_string()),
    };
    let text = read(HOST_KEY)?;
    if text.is_empty() {
        return Ok(HostKey::of(kept).map_or(vec![Change::HostKey], |key| key.changes().into()));
    }
    let line = public_half(&text).ok_or_else(|| {
        format!("/{HOST_KEY} is no key of OpenSSH's own form; it is left alone. Without it a new one is made")
    })?;
    let mode = fs::metadata(root.join(HOST_KEY)).map_err(|error| error.to_string())?.permissions().mode();
    let mut changes = Vec::new();
    if !read(&format!("{HOST_KEY}.pub"))?.split_whitespace().take(2).eq(line.split(' ')) {
        changes.push(public(format!("{line}\n")));
    }
    if mode & 0o7777 != 0o600 {
        changes.push(private(text));
    }
    Ok(changes)
}

/// The public half that stands in a private one, as a line without comment.
fn public_half(private: &str) -> Option<String> {
    // OpenSSH's lines have 70 characters.
    let mut decoder = pem::Decoder::new_wrapped(private.as_bytes(), 70).ok()?;
    let mut bytes = Vec::new();
    decoder.decode_to_end(&mut bytes).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    // Cipher, derivation of its key, options of that; then how many keys there are.
    for _ in 0..3 {
        take(&mut rest)?;
    }
    rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
    let key = take(&mut rest)?;
    let kind = str::from_utf8(take(&mut &*key)?).ok()?;
    // Base64 is what is between the lines that say so.
    let text = pem::encode_string("KEY", LineEnding::LF, key).ok()?;
    let text: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    Some(format!("{kind} {text}"))
}

/// A field with its length before it (RFC 4251 §5).
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(field)
}

/// Makes what is missing of the host's key, whatever else there is to do.
///
/// # Errors
/// When it is still missing.
pub fn make_host_keys(paths: &Paths, system: &mut impl System, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
    // Whoever has the lock for longer makes storage; keys come early in a run.
    let lock = Lock::take(&paths.state, CHANGE_WAITS, tell);
    if let Err(error) = &lock {
        tell(&format!("keys do not wait: {error}"));
    }
    for change in changes(&paths.root, &kept(&paths.root)).map_err(io::Error::other)? {
        system.make(&paths.root, &change)?;
        tell(&change.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ThisHost;

    fn host() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: folder.path().to_owned(), state: folder.path().join("run/xenolith/state") };
        (folder, paths)
    }

    fn halves(paths: &Paths) -> HostKey {
        let read = |path: &str| fs::read_to_string(paths.root.join(path)).unwrap();
        HostKey { private: read(HOST_KEY), public: read(&format!("{HOST_KEY}.pub")) }
    }

    fn make(paths: &Paths) {
        make_host_keys(paths, &mut ThisHost, &mut |_| ()).unwrap();
    }

    #[test]
    fn a_key_that_is_there_stays_and_what_is_missing_of_it_is_made() {
        let (_folder, paths) = host();
        make(&paths);
        let first = halves(&paths);
        let file = paths.root.join(HOST_KEY);
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o600);
        let other = HostKey::draw().unwrap();
        let line = |key: &HostKey| key.public.trim_end().to_owned();
        for wrong in [None, Some(""), Some("no key at all\n"), Some(&*other.public)] {
            let public = paths.root.join(format!("{HOST_KEY}.pub"));
            match wrong {
                None => fs::remove_file(&public).unwrap(),
                Some(text) => fs::write(&public, text).unwrap(),
            }
            fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
            make(&paths);
            assert_eq!((halves(&paths).private, mode()), (first.private.clone(), 0o600), "{wrong:?}");
            assert_eq!(line(&halves(&paths)), line(&first), "{wrong:?}");
        }
        assert_eq!(changes(&paths.root, &KeptIdentity::default()), Ok(Vec::new()), "all is there");
        // A comment belongs to whoever has written it.
        fs::write(paths.root.join(format!("{HOST_KEY}.pub")), format!("{} rack 4\n", line(&first))).unwrap();
        assert_eq!(changes(&paths.root, &KeptIdentity::default()), Ok(Vec::new()));
    }

    #[test]
    fn the_key_of_the_host_before_comes_before_a_new_one() {
        let (_folder, paths) = host();
        let key = HostKey::draw().unwrap();
        let HostKey { private, public } = key.clone();
        let kept =
            KeptIdentity { ssh_key: Some(private), ssh_public: Some(public), ..KeptIdentity::default() };
        fs::create_dir_all(paths.state.join("secrets")).unwrap();
        fs::write(paths.state.join("secrets/identity.json"), serde_json::to_string(&kept).unwrap()).unwrap();
        make(&paths);
        assert!(halves(&paths) == key);
    }

    #[test]
    fn what_is_no_key_is_left_alone_and_named() {
        let (_folder, paths) = host();
        fs::create_dir_all(paths.root.join("etc/ssh")).unwrap();
        for text in [
            "mine\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n",
        ] {
            fs::write(paths.root.join(HOST_KEY), text).unwrap();
            let why = changes(&paths.root, &KeptIdentity::default()).unwrap_err();
            assert!(why.contains(HOST_KEY) && !why.contains("mine"), "{why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let whole = [MAGIC, &bytes].concat();
            let _ = public_half(&pem::encode_string("OPENSSH PRIVATE KEY", LineEnding::LF, &whole).unwrap());
        }
    }
}
