//! Tells others how an installation ended: a server, if the answers name one, and whoever looks at this machine.

use std::{path::Path, time::Duration};

use fs_err as fs;
use serde::Serialize;
use xenolith_answers::Finish;
use xenolith_firstboot::{System as _, ThisHost};
use xenolith_layout::{names::INSTALL_FAILED, seal::RecoveryKey};
use xenolith_machine::Machine;
use xenolith_source::{
    Identity, LogTail, Outcome, Patience, REPORT_FORMAT, Report, Server, Trust, Url, send,
};

use crate::{
    session::{Coded as _, Failed},
    source::pause,
};

/// A machine that is done does not wait for long.
const PATIENCE: Patience = Patience::between(Duration::from_secs(60));
/// Counts up when the file's fields change their meaning.
const FAILED_FORMAT: u32 = 1;

/// An installation, as far as a report tells of it.
#[derive(Default)]
pub struct Course {
    /// Where its answers came from.
    pub from: String,
    /// The hash of its plan, once there is one.
    pub plan: Option<String>,
    /// What it has said.
    pub log: LogTail,
    /// The recovery key of an encrypted state, once there is one.
    pub recovery_key: Option<RecoveryKey>,
}

/// The server that answers name for reports.
///
/// # Errors
/// Code 3 for an address that is none, before anything is done that could be reported.
pub fn server(finish: &Finish) -> Result<Option<Server>, Failed> {
    let Some(url) = &finish.report_to else { return Ok(None) };
    let url = Url::parse(url).map_err(|error| Failed(3, anyhow::anyhow!("finish.report_to: {error}")))?;
    let trust = match finish.report_pin {
        Some(pin) => Trust::Pinned(pin),
        None if finish.report_insecure => Trust::Insecure,
        None => Trust::Known,
    };
    Ok(Some(Server { url, trust }))
}

/// Sends a report, with the recovery key if `with_key`, and gives whether it arrived. One that does not changes nothing of how the
/// installation ended.
pub fn tell(
    server: &Server,
    machine: &Machine,
    version: String,
    course: &Course,
    failed: Option<&anyhow::Error>,
    with_key: bool,
) -> bool {
    let report = Report {
        format: REPORT_FORMAT,
        outcome: if failed.is_none() { Outcome::Succeeded } else { Outcome::Failed },
        machine: Identity::of(machine, Some(version)),
        answers_from: course.from.clone(),
        plan: course.plan.clone(),
        error: failed.map(chain).unwrap_or_default(),
        recovery_key: course.recovery_key.as_ref().filter(|_| with_key).map(RecoveryKey::reveal),
        log: course.log.lines(),
    };
    match send(server, &report, PATIENCE, &mut pause) {
        Ok(()) => true,
        Err(error) => {
            let error = anyhow::Error::from(error);
            eprintln!("warning: the report was not sent: {error:#}");
            false
        }
    }
}

/// Keeps why an unattended installation failed, for the console and `xenolith-status`.
///
/// # Errors
/// When it cannot be written.
pub fn keep(failed: &Failed, from: &str) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Kept<'a> {
        format: u32,
        code: u8,
        answers_from: &'a str,
        error: Vec<String>,
    }
    let kept = Kept { format: FAILED_FORMAT, code: failed.0, answers_from: from, error: chain(&failed.1) };
    let text = serde_json::to_string_pretty(&kept).expect("texts and numbers always serialise");
    let path = Path::new(INSTALL_FAILED);
    fs::create_dir_all(path.parent().expect("it lies in a folder")).code(7)?;
    ThisHost.write(path, 0o644, &format!("{text}\n")).code(7)
}

fn chain(error: &anyhow::Error) -> Vec<String> {
    error.chain().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_goes_where_the_answers_say_and_is_believed_for_their_reason() {
        let of = |text: &str| server(&toml::from_str(text).unwrap()).map_err(|Failed(code, _)| code);
        assert_eq!(of(""), Ok(None));
        let trust = |text: &str| of(text).unwrap().unwrap().trust;
        assert_eq!(trust("report_to = \"https://a/\""), Trust::Known);
        assert_eq!(trust("report_to = \"http://a/\"\nreport_insecure = true"), Trust::Insecure);
        let pin = "ab".repeat(32);
        let pinned = trust(&format!("report_to = \"https://a/\"\nreport_pin = \"{pin}\""));
        assert_eq!(pinned, Trust::Pinned(pin.parse().unwrap()));
        assert_eq!(of("report_to = \"https://user:word@a/\""), Err(3));
    }
}
