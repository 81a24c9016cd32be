//! Programs of dom0 that the console runs, all of them.

use std::io::{self, Write as _};
use std::time::Duration;

/// A hypervisor or a disk that does not answer must not hang the console.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that are longer tell nothing more.
const LONGEST_LINE: usize = 1000;

/// A program. Closed: nothing else is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The state of the host.
    Status,
    /// First boot.
    FirstBoot,
    /// PAM's own look at a password, which knows every hash that crypt(5) does, yescrypt among them.
    CheckPassword,
    /// Units.
    Systemctl,
    /// A unit for later.
    SystemdRun,
    /// The journal.
    Journalctl,
    /// The network.
    Networkctl,
    /// Addresses and routes.
    Ip,
    /// Name servers.
    Resolvectl,
    /// Block devices.
    Lsblk,
    /// Volume groups.
    Vgs,
    /// Logical volumes.
    Lvs,
    /// The hypervisor and its guests.
    Xl,
}

impl Tool {
    const fn path(self) -> &'static str {
        match self {
            Self::Status => "/usr/bin/xenolith-status",
            Self::FirstBoot => "/usr/bin/xenolith-firstboot",
            Self::CheckPassword => "/usr/sbin/unix_chkpwd",
            Self::Systemctl => "/usr/bin/systemctl",
            Self::SystemdRun => "/usr/bin/systemd-run",
            Self::Journalctl => "/usr/bin/journalctl",
            Self::Networkctl => "/usr/bin/networkctl",
            Self::Ip => "/usr/bin/ip",
            Self::Resolvectl => "/usr/bin/resolvectl",
            Self::Lsblk => "/usr/bin/lsblk",
            Self::Vgs => "/usr/sbin/vgs",
            Self::Lvs => "/usr/sbin/lvs",
            Self::Xl => "/usr/sbin/xl",
        }
    }
}

/// Whoever answers in place of programs: the programs themselves, or a recording.
pub trait Programs {
    /// Standard output of a run that went well; else why it did not, in the program's words.
    ///
    /// # Errors
    /// If the program cannot be started, ends with an error, or takes too long.
    fn run(&self, tool: Tool, args: &[&str]) -> io::Result<String>;
}

/// The programs of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Installed;

impl Programs for Installed {
    fn run(&self, tool: Tool, args: &[&str]) -> io::Result<String> {
        let running = duct::cmd(tool.path(), args)
            .full_env([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/usr/sbin")])
            .stdin_null()
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .start()?;
        let said = running.wait_timeout(PATIENCE)?;
        let Some(said) = said else {
            running.kill()?;
            return Err(io::Error::other(format!("{} did not answer in a minute", tool.path())));
        };
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&said.stderr);
        let words = clean(&words).into_iter().rfind(|line| !line.trim().is_empty());
        let words = words.unwrap_or_else(|| said.status.to_string());
        Err(io::Error::other(format!("{}: {words}", tool.path())))
    }
}

impl Installed {
    /// Whether this is root's password.
    ///
    /// # Errors
    /// When nobody can say.
    pub fn is_roots_password(self, password: &str) -> io::Result<bool> {
        /// Linux-PAM's `PAM_AUTH_ERR`, which `unix_chkpwd` ends with for a wrong one.
        const WRONG: i32 = 7;
        // What it reads ends with a NUL, as PAM writes it. An empty password opens nothing here.
        let input = zeroize::Zeroizing::new([password.as_bytes(), b"\0"].concat());
        // It fits into a pipe as a whole, and no copy of it is left in this program.
        let (stdin, mut pipe) = io::pipe()?;
        pipe.write_all(&input)?;
        drop(pipe);
        let said = duct::cmd!(Tool::CheckPassword.path(), "root", "nonull")
            .full_env([("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/usr/sbin")])
            .stdin_file(stdin)
            .stdout_null()
            .stderr_null()
            .unchecked()
            .run()?;
        match said.status.code() {
            Some(0) => Ok(true),
            Some(WRONG) => Ok(false),
            _ => Err(io::Error::other(format!("{} ended with {}", Tool::CheckPassword.path(), said.status))),
        }
    }
}

/// What a program said, as lines that do nothing to a terminal: names of guests, disks and units come from elsewhere.
pub fn clean(text: &str) -> Vec<String> {
    let character = |c: char| match c {
        '\t' => ' ',
        // Also C1 controls, and what turns the direction of writing round.
        c if c.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c) =>
        {
            '?'
        }
        c => c,
    };
    text.lines().map(|line| line.chars().take(LONGEST_LINE).map(character).collect()).collect()
}

/// The names in what `xl list` says, without dom0's.
pub fn guests(said: &str) -> Vec<String> {
    let guest = |line: String| {
        let mut words = line.split_whitespace();
        let (name, id) = (words.next()?, words.next()?);
        (id.parse::<u32>().ok()? != 0).then(|| name.to_owned())
    };
    clean(said).into_iter().skip(1).filter_map(guest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_named_without_dom0() {
        let said = "Name                                        ID   Mem VCPUs\tState\tTime(s)\n\
                    Domain-0                                     0  2048     4     r-----     112.3\n\
                    db-1                                         3  4096     2     -b----      12.0\n\
                    evil\x1b[2J                                  4   128     1     -b----       0.1\n";
        assert_eq!(guests(said), ["db-1", "evil?[2J"]);
        assert!(guests("").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_program_says_controls_the_terminal(text in "\\PC*|[\\x00-\\xff\u{80}-\u{9f}\u{202e}]*") {
            proptest::prop_assert!(clean(&text).iter().all(|line| !line.contains(char::is_control)));
        }
    }
}
