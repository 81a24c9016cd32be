//! What only somebody at a terminal can say about a pool: that a certificate is the right one, and a password.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use xenolith_firstboot::{PoolFacts, Secret};
use xenolith_settings::Pool;

/// Asks for what is missing, if there is a terminal and a toolstack. What is answered is used once, and kept nowhere.
pub fn ask(pool: &Pool, facts: &mut PoolFacts) -> anyhow::Result<()> {
    if !facts.toolstack || !io::stdin().is_terminal() {
        return Ok(());
    }
    let Ok(shown) = facts.shown else { return Ok(()) };
    if pool.fingerprint.is_none() {
        print!(
            "{} shows the certificate with the SHA-256\n  {shown}\nIs that the host that is meant? It is sent a password. [y/N] ",
            pool.join
        );
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        facts.confirmed = matches!(answer.trim(), "y" | "Y" | "yes");
        if !facts.confirmed {
            return Ok(());
        }
    }
    if facts.password.is_none() {
        let question = format!("Password of {} at {}:", pool.user(), pool.join);
        let typed = duct::cmd!("/usr/bin/systemd-ask-password", "--timeout=0", question).read();
        facts.password = Secret::new(&typed.context("no password was typed")?);
    }
    Ok(())
}
