//! Parsers of what an installation is told and of what it sees. Accepted answers have to survive writing.

use xenolith_answers::{Answers, Dialect, convert};
use xenolith_machine::{Capture, Machine, judge};
use xenolith_source::{Hint, NamedTrust, of_lease, of_smbios, of_txt, search_domains};

/// TOML, JSON or XML.
pub fn answers(data: &[u8]) {
    let Ok(answers) = Answers::parse(data) else { return };
    // A password's hash has another salt each time, so only what was read once is compared.
    let text = toml::to_string(&answers).expect("answers can be written");
    assert_eq!(Answers::parse(text.as_bytes()).expect("what was written is read"), answers);
}

/// XML for either installer. A report without a refusal comes with answers, and only then.
pub fn answers_xml(data: &[u8]) {
    for dialect in [Dialect::XcpNg, Dialect::XenServer] {
        let Ok(conversion) = convert(data, dialect, Vec::new()) else { return };
        assert_eq!(conversion.answers.is_some(), !conversion.report.iter().any(|line| line.is_refused()));
        if let Some(answers) = conversion.answers {
            assert!(answers.problems().is_empty(), "answers that the installer would not take");
        }
    }
}

/// A captured machine: whatever it says, every disk is judged.
pub fn capture(data: &[u8]) {
    let Ok(capture) = Capture::parse(data) else { return };
    let machine = Machine::of(&capture);
    for disk in &machine.disks {
        let _ = judge(&machine, disk);
    }
}

/// What is taken is believed for a reason, and says the same when it is written again.
fn believed(hint: &Hint) {
    assert!(!hint.url.is_plain() || hint.trust == NamedTrust::Insecure, "plain HTTP without a word about it");
    assert_eq!(Hint::parse(hint.line().as_bytes()).as_ref(), Ok(hint));
}

/// A line from DHCP, DNS or firmware that says where answers are.
pub fn answers_hint(data: &[u8]) {
    if let Ok(hint) = Hint::parse(data) {
        believed(&hint);
    }
}

/// A lease of systemd-networkd.
pub fn answers_lease(data: &[u8]) {
    if let Ok(Some(hint)) = of_lease(&String::from_utf8_lossy(data)) {
        believed(&hint);
    }
}

/// What resolvectl says of a TXT record, and a resolv.conf.
pub fn answers_txt(data: &[u8]) {
    if let Ok(Some(hint)) = of_txt(data) {
        believed(&hint);
    }
    for domain in search_domains(&String::from_utf8_lossy(data)) {
        assert!(!domain.starts_with('-') && domain.is_ascii(), "{domain} is no name of DNS");
    }
}

/// The tables of the firmware.
pub fn smbios(data: &[u8]) {
    if let Ok(Some(hint)) = of_smbios(data) {
        believed(&hint);
    }
}
