//! Parsers of what an installation is told and of what it sees. Accepted answers have to survive writing.

use xenolith_answers::{Answers, Dialect, convert};
use xenolith_machine::{Capture, Machine, judge};

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
