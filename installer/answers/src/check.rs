//! What types cannot see, all of it at once.

use xenolith_layout::disk::STATE_MIN;
use xenolith_settings::{Problem, Problems};

use crate::disk_rule::DiskRule;
use crate::keep::{self, Kept};
use crate::size::Size;
use crate::types::{Answers, Encryption, StorageKind};

impl Answers {
    /// Every mistake that can be seen without a machine.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.settings().check(&mut problems);
        targets(self, &mut problems);
        let access = &self.access;
        let some =
            access.root_password_hash.is_some() || !access.ssh_keys.is_empty() || self.keeps(Kept::Access);
        problems.unless(some, "access", "nobody could come in: give root_password_hash, ssh_keys or both");
        let no_password = self.pool.as_ref().is_none_or(|pool| pool.password_in.is_none());
        problems.unless(
            no_password,
            "pool.password_in",
            "is for the settings that an installation writes: answers hold no password",
        );
        keep::check(self, &mut problems);
        let finish = &self.finish;
        let to = (&finish.report_to, finish.report_pin.is_some(), finish.report_insecure);
        server("report", to, finish.report_recovery_key, &mut problems);
        let to = (&finish.logs_to, finish.logs_pin.is_some(), finish.logs_insecure);
        server("logs", to, false, &mut problems);
        let (told, encrypted) = (finish.report_recovery_key, self.target.encryption != Encryption::None);
        problems.unless(
            !told || encrypted,
            "finish.report_recovery_key",
            "is about an encrypted state; set `target.encryption`, or leave it out",
        );
        problems.unless(
            !told || !finish.report_insecure,
            "finish.report_recovery_key",
            "cannot stand beside report_insecure: everybody in between could read the key",
        );
        problems.0
    }
}

/// Longer addresses are no address of a server.
const LONGEST_URL: usize = 1024;

/// The keys `finish.<what>_to`, `_pin` and `_insecure`: address, whether there is a pin, whether anything is believed. `more` of them
/// are about an address that is not there.
fn server(
    what: &str,
    (url, is_pinned, insecure): (&Option<String>, bool, bool),
    more: bool,
    problems: &mut Problems,
) {
    let (to, pin) = (format!("finish.{what}_to"), format!("finish.{what}_pin"));
    let Some(url) = url else {
        let alone = !is_pinned && !insecure && !more;
        return problems.unless(alone, &to, "is missing, and the other keys are about it");
    };
    let (safe, plain) = (url.starts_with("https://"), url.starts_with("http://"));
    problems.unless(safe || plain, &to, "has to be an http or https URL");
    let clean = url.len() <= LONGEST_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
    problems.unless(clean, &to, "has to be printable ASCII without spaces, and at most 1024 long");
    let why = format!("is plain HTTP; use https, or set {what}_insecure = true");
    problems.unless(!plain || insecure, &to, &why);
    let why = format!("is for https, and cannot stand beside {what}_insecure");
    problems.unless(!is_pinned || (safe && !insecure), &pin, &why);
}

fn targets(answers: &Answers, problems: &mut Problems) {
    let target = &answers.target;
    problems.unless(
        (1..=2).contains(&target.disks.len()),
        "target.disks",
        "has to have one rule, or two for a mirror",
    );
    for (index, rule) in target.disks.iter().enumerate() {
        rule_problems(&format!("target.disks[{index}]"), rule, problems);
        problems.unless(rule.count == 1, "target.disks", "each rule matches one disk; leave `count` out");
    }
    let enough = target.state.is_none_or(|Size(state)| state >= STATE_MIN);
    problems.unless(enough, "target.state", &format!("has to be at least {STATE_MIN}"));
    for (index, rule) in answers.storage.disks.iter().enumerate() {
        rule_problems(&format!("storage.disks[{index}]"), rule, problems);
    }
    let keeps = answers.storage.kind == StorageKind::Keep;
    problems.unless(
        !keeps || answers.storage.disks.is_empty(),
        "storage.disks",
        "cannot stand beside `kind = \"keep\"`: what there is stays as it is",
    );
    problems.unless(
        !keeps || target.state.is_none(),
        "target.state",
        "cannot stand beside `storage.kind = \"keep\"`: the partitions stay as long as they are",
    );
    let pointless = answers.storage.kind == StorageKind::None && !answers.storage.disks.is_empty();
    problems.unless(!pointless, "storage.kind", "is \"none\", but disks are given; say \"lvm\" or \"ext\"");
}

fn rule_problems(at: &str, rule: &DiskRule, problems: &mut Problems) {
    problems.unless(!rule.is_empty(), at, "says nothing about the disk");
    problems.unless(rule.count > 0, at, "`count` has to be at least 1");
    problems.unless(rule.pick.is_none() || rule.count == 1, at, "`pick` chooses one disk; leave `count` out");
}
