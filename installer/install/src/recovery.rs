//! Shows the recovery key of an encrypted state, once, to whoever is there. It goes to terminals and into no log.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use fs_err as fs;
use xenolith_layout::seal::RecoveryKey;

use crate::Args;

/// What the kernel writes its messages to.
const CONSOLES: &str = "/sys/class/tty/console/active";

/// Shows it where this program was started; if nobody has started it, on the consoles of the machine.
///
/// # Errors
/// When it cannot be shown anywhere: then nobody could open the state without the TPM.
pub fn show(key: &RecoveryKey, args: &Args) -> io::Result<()> {
    let text = if args.json {
        format!("{}\n", serde_json::json!({ "event": "recovery_key", "key": key.reveal() }))
    } else {
        words(key)
    };
    if !args.unattended || io::stdout().is_terminal() {
        return io::stdout().write_all(text.as_bytes());
    }
    // Standard output goes into the journal, where it does not belong.
    let names = fs::read_to_string(CONSOLES)?;
    let shown = names.split_whitespace().filter(|name| on(name, &text).is_ok()).count();
    if shown == 0 {
        return Err(io::Error::other("no console of this machine shows the recovery key of its state"));
    }
    Ok(())
}

fn on(console: &str, text: &str) -> io::Result<()> {
    let mut terminal = fs::OpenOptions::new().write(true).open(Path::new("/dev").join(console))?;
    terminal.write_all(text.replace('\n', "\r\n").as_bytes())
}

fn words(key: &RecoveryKey) -> String {
    format!(
        "\nThe state of this host is encrypted. Its TPM opens it; when that does not, this recovery key does:\n\n  {}\n\n\
         Write it down now: it is shown this once and kept nowhere.\n\n",
        key.reveal()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stands_on_a_line_of_its_own() {
        let key = RecoveryKey::new([7; 32]);
        let text = words(&key);
        let line = text.lines().find_map(|line| line.trim().parse::<RecoveryKey>().ok());
        assert_eq!(line, Some(key));
    }
}
