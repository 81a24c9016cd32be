//! Tells others how an installation ended: a server, if the answers name one, and whoever looks at this machine.

use std::{path::Path, time::Duration};

use fs_err as fs;
use serde::Serialize;
use xenolith_answers::{Fingerprint, Finish};
use xenolith_firstboot::{System as _, ThisHost};
use xenolith_installer::Plan;
use xenolith_layout::{names::INSTALL_FAILED, seal::RecoveryKey};
use xenolith_machine::Machine;
use xenolith_source::{
    Identity, LogTail, Outcome, Patience, REPORT_FORMAT, Report, Server, Trust, Url, send,
};

use crate::{
    records,
    session::{Coded as _, Failed, Session},
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
    /// Its plan, once there is one.
    pub plan: Option<Plan>,
    /// What it has said.
    pub log: LogTail,
    /// The recovery key of an encrypted state, once there is one.
    pub recovery_key: Option<RecoveryKey>,
}

/// Who wants to know how an installation ends.
pub struct Listeners {
    report: Option<Server>,
    with_key: bool,
    logs: Option<Server>,
}

impl Listeners {
    /// Those that answers name.
    ///
    /// # Errors
    /// Code 3 for an address that is none, before anything is done that could be reported.
    pub fn of(finish: &Finish) -> Result<Self, Failed> {
        let Finish { report_to, report_pin, report_insecure, logs_to, logs_pin, logs_insecure, .. } = finish;
        Ok(Self {
            report: server("report_to", report_to.as_deref(), *report_pin, *report_insecure)?,
            with_key: finish.report_recovery_key,
            logs: server("logs_to", logs_to.as_deref(), *logs_pin, *logs_insecure)?,
        })
    }

    /// Tells them how it ended, on a machine that was started with this version. What does not arrive changes nothing of that.
    pub fn tell(
        &self,
        machine: &Machine,
        version: Option<String>,
        course: &mut Course,
        failed: Option<&anyhow::Error>,
    ) {
        if let Some(server) = &self.report
            && report(server, Identity::of(machine, version), course, failed, self.with_key)
            && self.with_key
        {
            // Whoever asked for it there has it, and it need not stand on a console.
            course.recovery_key = None;
        }
        if let Some(server) = &self.logs {
            logs(server, course, failed);
        }
    }
}

fn server(
    key: &str,
    url: Option<&str>,
    pin: Option<Fingerprint>,
    insecure: bool,
) -> Result<Option<Server>, Failed> {
    let Some(url) = url else { return Ok(None) };
    let url = Url::parse(url).map_err(|error| Failed(3, anyhow::anyhow!("finish.{key}: {error}")))?;
    let trust = match pin {
        Some(pin) => Trust::Pinned(pin),
        None if insecure => Trust::Insecure,
        None => Trust::Known,
    };
    Ok(Some(Server { url, trust }))
}

/// Sends a report, with the recovery key if `with_key`, and gives whether it arrived.
fn report(
    server: &Server,
    machine: Identity,
    course: &Course,
    failed: Option<&anyhow::Error>,
    with_key: bool,
) -> bool {
    let report = Report {
        format: REPORT_FORMAT,
        outcome: if failed.is_none() { Outcome::Succeeded } else { Outcome::Failed },
        machine,
        answers_from: course.from.clone(),
        plan: course.plan.as_ref().map(Plan::hash),
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

/// Sends what the screens save for servers. The recovery key of a state is in no log.
fn logs(server: &Server, course: &Course, failed: Option<&anyhow::Error>) {
    let mut log = course.log.lines();
    log.extend(failed.map(chain).unwrap_or_default());
    let files = records::gather(&log, course.plan.as_ref(), &Session::kept());
    if let Err(error) = records::send_to(server, &files, PATIENCE) {
        let error = anyhow::Error::from(error);
        eprintln!("warning: the logs were not sent: {error:#}");
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
    fn reports_and_logs_go_where_the_answers_say_and_are_believed_for_their_reason() {
        let of = |text: &str| Listeners::of(&toml::from_str(text).unwrap()).map_err(|Failed(code, _)| code);
        let none = of("").unwrap();
        assert!(none.report.is_none() && none.logs.is_none());
        for key in ["report", "logs"] {
            let trust = |text: &str| {
                let Listeners { report, logs, .. } = of(&text.replace("KEY", key)).unwrap();
                if key == "report" { report } else { logs }.unwrap().trust
            };
            assert_eq!(trust("KEY_to = \"https://a/\""), Trust::Known);
            assert_eq!(trust("KEY_to = \"http://a/\"\nKEY_insecure = true"), Trust::Insecure);
            let pin = "ab".repeat(32);
            let pinned = trust(&format!("KEY_to = \"https://a/\"\nKEY_pin = \"{pin}\""));
            assert_eq!(pinned, Trust::Pinned(pin.parse().unwrap()));
            assert_eq!(of(&format!("{key}_to = \"https://user:word@a/\"")).err(), Some(3));
        }
    }
}
