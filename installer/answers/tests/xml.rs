//! What becomes of XCP-ng's answer files: `xml/NAME.xml` has its report and answers in a snapshot.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use xenolith_answers::{Answers, Dialect, StorageKind, convert};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKh0kGfI2cGJkX1dVqDtHg6b7rWcGdjS8JSnXn8cQ9dE admin@example";

fn file(name: &str) -> Vec<u8> {
    fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/xml").join(format!("{name}.xml"))).unwrap()
}

#[test]
fn every_tag_is_mapped_ignored_or_refused() {
    for name in ["everything", "smallest", "refused", "lacking"] {
        let conversion = convert(&file(name), Dialect::XcpNg, Vec::new()).unwrap();
        let report: Vec<String> = conversion.report.iter().map(ToString::to_string).collect();
        let answers = conversion.answers.map(|answers| toml::to_string(&answers).unwrap());
        let whole =
            format!("{}\n\n{}", report.join("\n"), answers.unwrap_or_else(|| "no answers".to_owned()));
        assert!(!whole.contains("hunter2"), "a value is quoted: {whole}");
        insta::with_settings!({ snapshot_path => "xml", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, whole);
        });
    }
}

#[test]
fn the_installer_reads_xml_as_it_reads_toml() {
    let answers = Answers::parse(&file("smallest")).unwrap();
    assert!(answers.target.erase);
    let error = Answers::parse(&file("lacking")).unwrap_err().to_string();
    assert!(error.contains("host.name: refused: is no host name"), "{error}");
    assert!(!error.contains("ignored"), "only what stands in the way is said: {error}");
}

#[test]
fn what_is_not_said_means_what_it_meant_to_the_installer_that_it_was_written_for() {
    let text = br#"<installation><primary-disk>sda</primary-disk><admin-interface name="eth0" proto="dhcp"/></installation>"#;
    for (dialect, kind) in [(Dialect::XcpNg, StorageKind::Ext), (Dialect::XenServer, StorageKind::Lvm)] {
        let answers = convert(text, dialect, vec![KEY.to_owned()]).unwrap().answers.unwrap();
        assert_eq!(answers.storage.kind, kind);
    }
}

#[test]
fn a_password_becomes_a_hash_that_it_opens_and_is_not_told() {
    let text = br#"<installation><primary-disk>sda</primary-disk><root-password>hunter2</root-password><admin-interface name="eth0" proto="dhcp"/></installation>"#;
    let conversion = convert(text, Dialect::XcpNg, Vec::new()).unwrap();
    let hash = conversion.answers.as_ref().unwrap().access.root_password_hash.clone().unwrap();
    sha_crypt::sha512_check("hunter2", &hash).unwrap();
    assert!(!format!("{conversion:?}").contains("hunter2"));
}

#[test]
fn what_is_no_xml_is_refused_by_its_line_and_is_not_quoted() {
    for text in [
        "<installation>\n<root-password>hunter2&hunter2;</root-password></installation>",
        "<installation>\n<hunter2></installation>",
        "<!DOCTYPE x [\n<!ENTITY a \"hunter2\">]><installation/>",
        "\n<",
    ] {
        let error = convert(text.as_bytes(), Dialect::XcpNg, Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("line ") && !error.contains("hunter2"), "{error}");
    }
    let many = format!("<installation>{}</installation>", "<a/>".repeat(5000));
    convert(many.as_bytes(), Dialect::XcpNg, Vec::new()).unwrap_err();
    let deep = format!("{}{}", "<a>".repeat(4000), "</a>".repeat(4000));
    let conversion = convert(deep.as_bytes(), Dialect::XcpNg, Vec::new()).unwrap();
    assert!(conversion.answers.is_none());
}

proptest::proptest! {
    #[test]
    fn any_text_between_tags_is_read_or_refused(text in "[<>/a-z\"= &;!-]{0,200}") {
        let _ = convert(format!("<installation>{text}</installation>").as_bytes(), Dialect::XenServer, Vec::new());
    }
}
