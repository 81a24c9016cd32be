//! Real servers on 127.0.0.1, with TLS and without.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{Identity as Certificate, Running, serve, status};
use xenolith_answers::{Fingerprint, MAX_ANSWERS};
use xenolith_machine::{Capture, Machine, RawNic};
use xenolith_source::{
    FetchError, Fetched, Identity, Outcome, Patience, REPORT_FORMAT, Report, Server, Trust, Upload, Url,
    fetch, send, shown_certificate, upload,
};

fn identity() -> Identity {
    let nic = RawNic {
        name: "eno1".into(),
        address: "52:54:00:12:34:56".into(),
        carrier: None,
        speed: None,
        driver: Some("e1000".into()),
        place: None,
    };
    let dmi = [("product_serial".to_owned(), "X1".to_owned())].into();
    Identity::of(&Machine::of(&Capture { dmi, nics: vec![nic], ..Capture::new() }), Some("1.0".into()))
}

/// One attempt.
const ONCE: Patience = Patience { attempt: Duration::from_secs(20), between: Duration::ZERO };

fn ask(server: &Server) -> Result<Fetched, FetchError> {
    fetch(server, &identity(), ONCE, &mut |_| panic!("it waits though nothing was left to wait"))
}

fn plain(answers: &[String]) -> Running {
    serve(None, answers.to_vec())
}

#[test]
fn the_machine_says_who_it_is_and_gets_answers() {
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("200 OK", "version = 1")]);
    let got = ask(&server.with(Trust::Pinned(certificate.pin))).unwrap();
    assert_eq!(got, Fetched::Answers(b"version = 1".to_vec()));
    let asked = server.asked();
    assert!(asked.starts_with("POST /answers HTTP/1.1\r\n"), "{asked}");
    let body: serde_json::Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    let expected = serde_json::json!({
        "format": 1, "version": "1.0", "vendor": null, "product": null, "serial": "X1", "uuid": null,
        "macs": ["52:54:00:12:34:56"], "disks": [],
    });
    assert_eq!(body, expected);
}

#[test]
fn a_certificate_is_shown_to_whoever_has_nothing_to_send_yet() {
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("200 OK", "")]);
    let url = server.with(Trust::Known).url;
    let shown = shown_certificate(&url, ONCE, &mut |_| panic!("it waits")).unwrap();
    assert_eq!(shown, certificate.pin);
}

#[test]
fn another_certificate_than_the_pinned_one_gets_no_request_and_is_named() {
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("200 OK", "version = 1")]);
    let pinned = Fingerprint([7; 32]);
    let error = ask(&server.with(Trust::Pinned(pinned))).unwrap_err();
    let FetchError::OtherCertificate { seen, pinned: expected, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*seen, *expected), (certificate.pin, pinned));
    assert_eq!(server.asked(), "", "it was told who the machine is");
}

#[test]
fn an_authority_that_was_given_is_believed_and_only_that() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let answers = vec![status("200 OK", "a"); 3];
    let server = serve(Some(&certificate), answers);
    let got = ask(&server.with(Trust::Own(certificate.authority.clone()))).unwrap();
    assert_eq!(got, Fetched::Answers(b"a".to_vec()));
    assert_ne!(server.asked(), "");
    for trust in [Trust::Own(other.authority), Trust::Known] {
        let error = ask(&server.with(trust)).unwrap_err();
        assert!(matches!(error, FetchError::NotTrusted { .. }), "{error:?}");
        assert_eq!(server.asked(), "");
    }
    for none in [&b"hello"[..], b"", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let error = ask(&server.with(Trust::Own(none.to_vec()))).unwrap_err();
        assert!(matches!(error, FetchError::Authorities | FetchError::NotTrusted { .. }), "{error:?}");
    }
}

#[test]
fn no_certificate_is_asked_for_where_that_was_said() {
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("200 OK", "a")]);
    assert_eq!(ask(&server.with(Trust::Insecure)).unwrap(), Fetched::Answers(b"a".to_vec()));
}

#[test]
fn plain_http_is_asked_only_where_that_was_said() {
    let server = plain(&[status("200 OK", "a")]);
    for trust in [Trust::Known, Trust::Pinned(Fingerprint([7; 32])), Trust::Own(Vec::new())] {
        assert!(matches!(ask(&server.with(trust)).unwrap_err(), FetchError::Plain { .. }));
    }
    assert_eq!(server.count(), 0);
    assert_eq!(ask(&server.with(Trust::Insecure)).unwrap(), Fetched::Answers(b"a".to_vec()));
}

#[test]
fn a_server_of_plain_files_is_asked_in_its_own_way() {
    let server = plain(&[status("405 Method Not Allowed", ""), status("200 OK", "a")]);
    assert_eq!(ask(&server.with(Trust::Insecure)).unwrap(), Fetched::Answers(b"a".to_vec()));
    assert!(server.asked().starts_with("POST "));
    assert!(server.asked().starts_with("GET /answers "));
}

#[test]
fn a_server_may_have_nothing_for_this_machine() {
    let server = plain(&["HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()]);
    assert_eq!(ask(&server.with(Trust::Insecure)).unwrap(), Fetched::Nothing);
}

#[test]
fn a_refusal_is_final_and_a_problem_of_the_server_is_not() {
    let server = plain(&vec![status("404 Not Found", "no"); 3]);
    let patience = Patience { between: Duration::from_secs(3), ..ONCE };
    let mut waited = Vec::new();
    let error = fetch(&server.with(Trust::Insecure), &identity(), patience, &mut |time| waited.push(time));
    assert!(matches!(error, Err(FetchError::Status { code: 404, .. })), "{error:?}");
    assert!(waited.is_empty());

    let server = plain(&[status("503 Busy", ""), status("503 Busy", ""), status("200 OK", "a")]);
    let got = fetch(&server.with(Trust::Insecure), &identity(), patience, &mut |time| waited.push(time));
    assert_eq!(got.unwrap(), Fetched::Answers(b"a".to_vec()));
    assert_eq!(waited, [Duration::from_secs(1), Duration::from_secs(2)]);
}

#[test]
fn nobody_else_is_asked_when_a_server_leads_there() {
    let elsewhere = plain(&[status("200 OK", "a")]);
    let leads =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url().as_str());
    let server = plain(&[leads]);
    let error = ask(&server.with(Trust::Insecure)).unwrap_err();
    assert!(matches!(error, FetchError::Elsewhere { code: 302, .. }), "{error:?}");
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn answers_that_are_too_long_are_not_read_to_their_end() {
    let server =
        plain(&[status("200 OK", &"x".repeat(MAX_ANSWERS)), status("200 OK", &"x".repeat(MAX_ANSWERS + 1))]);
    let Fetched::Answers(longest) = ask(&server.with(Trust::Insecure)).unwrap() else { panic!("none") };
    assert_eq!(longest.len(), MAX_ANSWERS);
    assert!(matches!(ask(&server.with(Trust::Insecure)).unwrap_err(), FetchError::TooLong { .. }));
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time_and_asked_again() {
    // It takes connections, and that is all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let patience = Patience { attempt: Duration::from_millis(50), between: Duration::from_secs(7) };
    let mut pauses = 0;
    let server = Server { url, trust: Trust::Insecure };
    let error = fetch(&server, &identity(), patience, &mut |_| pauses += 1).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert_eq!(pauses, 3);
}

#[test]
fn what_is_no_http_is_no_answer() {
    let server = plain(&["hello\r\n\r\n".to_owned()]);
    let error = ask(&server.with(Trust::Insecure)).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
}

#[test]
fn logs_are_put_below_a_folder_or_posted_as_one_text() {
    let files =
        [Upload { name: "log.txt", text: "it failed\n" }, Upload { name: "plan.txt", text: "steps\n" }];
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("201 Created", ""), status("204 No Content", "")]);
    let folder = Server {
        url: Url::parse(&format!("{}/", server.url().as_str())).unwrap(),
        ..server.with(Trust::Pinned(certificate.pin))
    };
    upload(&folder, &files, ONCE, &mut |_| ()).unwrap();
    let asked = [server.asked(), server.asked()];
    assert!(asked[0].starts_with("PUT /answers/log.txt HTTP/1.1\r\n") && asked[0].ends_with("it failed\n"));
    assert!(asked[1].starts_with("PUT /answers/plan.txt HTTP/1.1\r\n") && asked[1].ends_with("steps\n"));

    let server = plain(&[status("405 Method Not Allowed", ""), status("200 OK", "")]);
    upload(&server.with(Trust::Insecure), &files, ONCE, &mut |_| ()).unwrap();
    let text = "\r\n\r\n==== log.txt\nit failed\n\n==== plan.txt\nsteps\n\n";
    for method in ["POST", "PUT"] {
        let asked = server.asked();
        assert!(
            asked.starts_with(&format!("{method} /answers HTTP/1.1\r\n")) && asked.ends_with(text),
            "{asked}"
        );
    }
}

#[test]
fn what_a_server_does_not_take_is_no_success() {
    let file = [Upload { name: "log.txt", text: "" }];
    let server = plain(&[status("403 Forbidden", "")]);
    let error = upload(&server.with(Trust::Insecure), &file, ONCE, &mut |_| ()).unwrap_err();
    assert!(matches!(error, FetchError::Status { code: 403, .. }), "{error:?}");
    let error = upload(&server.with(Trust::Known), &file, ONCE, &mut |_| ()).unwrap_err();
    assert!(matches!(error, FetchError::Plain { .. }), "{error:?}");
}

#[test]
fn a_report_arrives_as_json() {
    let certificate = Certificate::new();
    let server = serve(Some(&certificate), vec![status("200 OK", "thanks")]);
    let report = Report {
        format: REPORT_FORMAT,
        outcome: Outcome::Failed,
        machine: identity(),
        answers_from: "SMBIOS".into(),
        plan: Some("abc".into()),
        error: vec!["step 2 of 9 failed".into(), "Input/output error".into()],
        recovery_key: None,
        log: vec!["[1/9] …".into()],
    };
    send(&server.with(Trust::Pinned(certificate.pin)), &report, ONCE, &mut |_| ()).unwrap();
    let asked = server.asked();
    let body: serde_json::Value = serde_json::from_str(asked.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["outcome"], "failed");
    assert_eq!(body["machine"]["serial"], "X1");
    assert_eq!(body["error"][1], "Input/output error");
    assert!(body.get("recovery_key").is_none(), "nobody asked for one");
}
