//! Joining a pool, with a toolstack of a few lines that speaks XenAPI on a socket of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use fs_err as fs;
use serde_json::{Value, json};
use xenolith_firstboot::{
    Facts, Journal, Outcome, Paths, PoolFacts, Run, Secret, TOOLSTACK, Task, ThisHost, run,
};
use xenolith_machine::{Capture, Machine};
use xenolith_settings::{Fingerprint, Pool, Settings};

const PIN: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
const PASSWORD: &str = "hunter2";

/// What the toolstack answers to `pool.join`.
#[derive(Clone)]
enum Answer {
    Joined,
    Refused(&'static str, Vec<&'static str>),
    /// It joins, and is gone before it says so.
    Silence,
    /// No reply of XenAPI.
    Nonsense,
}

#[derive(Default)]
struct Toolstack {
    /// What `pool.join` answers, the next first; then it joins.
    answers: Vec<Answer>,
    /// Parameters of each `pool.join`, without the session.
    joins: Vec<Vec<String>>,
    /// Methods, in the order of their calls.
    calls: Vec<String>,
    is_member: bool,
}

impl Toolstack {
    fn answer(&mut self, method: &str, params: &[Value]) -> Option<String> {
        self.calls.push(method.to_owned());
        let record = |address: &str, name: &str| json!({ "address": address, "hostname": name, "uuid": "x" });
        let result = match method {
            "session.login_with_password" => {
                assert_eq!(params[..2], [json!("root"), json!("")]);
                json!("OpaqueRef:session")
            }
            _ if params[0] != "OpaqueRef:session" => panic!("{method} without a session"),
            "session.get_this_host" => json!("OpaqueRef:this"),
            "host.get_all_records" if self.is_member => json!({
                "OpaqueRef:this": record("192.0.2.2", "this"), "OpaqueRef:other": record("192.0.2.1", "Other"),
            }),
            "host.get_all_records" => json!({ "OpaqueRef:this": record("192.0.2.2", "this") }),
            "session.logout" => json!(""),
            "pool.join" => {
                let params = params[1..].iter().map(|param| param.as_str().unwrap().to_owned());
                self.joins.push(params.collect());
                match if self.answers.is_empty() { Answer::Joined } else { self.answers.remove(0) } {
                    Answer::Joined => {
                        self.is_member = true;
                        json!("")
                    }
                    Answer::Refused(code, data) => {
                        let error = json!({ "code": 1, "message": code, "data": data });
                        return Some(json!({ "jsonrpc": "2.0", "error": error, "id": 1 }).to_string());
                    }
                    Answer::Silence => {
                        self.is_member = true;
                        return None;
                    }
                    Answer::Nonsense => return Some("<html>".to_owned()),
                }
            }
            other => panic!("nobody should call {other}"),
        };
        Some(json!({ "jsonrpc": "2.0", "result": result, "id": 1 }).to_string())
    }
}

fn serve(listener: &UnixListener, toolstack: &Mutex<Toolstack>) -> io::Result<()> {
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream?);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head)?, 0, "{head}");
        }
        assert!(head.starts_with("POST /jsonrpc HTTP/1.1\r\n"), "{head}");
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap()];
        stream.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body)?;
        assert_eq!(body["jsonrpc"], "2.0");
        let params = body["params"].as_array().unwrap();
        let reply = toolstack.lock().unwrap().answer(body["method"].as_str().unwrap(), params);
        if let Some(reply) = reply {
            let length = reply.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.get_mut().write_all((head + &reply).as_bytes())?;
        }
    }
    Ok(())
}

struct Host {
    _folder: tempfile::TempDir,
    paths: Paths,
    facts: Facts,
    toolstack: Arc<Mutex<Toolstack>>,
}

impl Host {
    /// One whose toolstack answers in this way.
    fn new(answers: &[Answer]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { root: folder.path().join("root"), state: folder.path().join("state") };
        let socket = paths.root.join(TOOLSTACK);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let toolstack = Arc::new(Mutex::new(Toolstack { answers: answers.to_vec(), ..Toolstack::default() }));
        let served = toolstack.clone();
        thread::spawn(move || serve(&listener, &served));
        let secret = paths.state.join("secrets/pool-password");
        fs::create_dir_all(secret.parent().unwrap()).unwrap();
        fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
        let mut facts = Facts::on(Machine::of(&Capture::new()), &paths.root);
        facts.pool = Some(PoolFacts {
            toolstack: true,
            password: Secret::new(PASSWORD),
            shown: Ok(PIN.parse().unwrap()),
            confirmed: false,
        });
        Self { _folder: folder, paths, facts, toolstack }
    }

    fn boot(&self, pool: Pool) -> (Outcome, String, Vec<String>) {
        let settings = Settings { pool: Some(pool), ..Settings::parse(b"version = 1").unwrap() };
        let path = self.paths.state.join("firstboot.json");
        let mut journal = Journal::read(&path).unwrap();
        let mut told = Vec::new();
        let asked =
            Run { settings: &settings, facts: &self.facts, paths: &self.paths, tasks: &[Task::PoolJoin] };
        run(&asked, &mut journal, &mut ThisHost, &mut |line| told.push(line.to_owned())).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(!written.contains(PASSWORD) && !told.concat().contains(PASSWORD), "{written}{told:?}");
        let entry = &journal.tasks[&Task::PoolJoin];
        (entry.outcome, entry.why.clone().unwrap_or_default(), told)
    }

    fn has_password(&self) -> bool {
        self.paths.state.join("secrets/pool-password").exists()
    }

    fn joins(&self) -> Vec<Vec<String>> {
        self.toolstack.lock().unwrap().joins.clone()
    }
}

fn pool() -> Pool {
    Pool { join: "192.0.2.1".into(), user: None, fingerprint: Some(PIN.parse().unwrap()), password_in: None }
}

fn with_password() -> Pool {
    Pool { password_in: Some(xenolith_settings::SecretPlace::State), ..pool() }
}

#[test]
fn a_host_joins_and_forgets_the_password() {
    let host = Host::new(&[]);
    let (outcome, _, told) = host.boot(with_password());
    assert_eq!(outcome, Outcome::Done, "{told:?}");
    assert_eq!(told, ["  the host joins the pool of 192.0.2.1 as root", "pool-join: done"]);
    assert_eq!(host.joins(), [["192.0.2.1", "root", PASSWORD]]);
    assert!(!host.has_password());
    let calls = host.toolstack.lock().unwrap().calls.clone();
    assert_eq!(calls.first().unwrap(), "session.login_with_password");
    assert_eq!(calls.last().unwrap(), "session.logout");
    host.boot(with_password());
    assert_eq!(host.joins().len(), 1, "what is done is not done again");
}

#[test]
fn a_refusal_is_named_without_the_password_and_the_next_boot_tries_again() {
    let refused = Answer::Refused("SESSION_AUTHENTICATION_FAILED", vec!["root", PASSWORD]);
    let host = Host::new(&[refused, Answer::Nonsense]);
    let (outcome, why, _) = host.boot(with_password());
    assert_eq!(outcome, Outcome::Failed);
    assert!(why.ends_with("the toolstack says SESSION_AUTHENTICATION_FAILED (root, …)"), "{why}");
    assert!(host.has_password(), "it is needed at the next boot");
    let (outcome, why, _) = host.boot(with_password());
    assert_eq!(outcome, Outcome::Failed);
    assert!(why.ends_with("the toolstack's reply cannot be understood"), "{why}");
    assert_eq!(host.boot(with_password()).0, Outcome::Done);
    assert!(!host.has_password());
}

#[test]
fn a_host_that_has_joined_before_the_power_went_does_not_join_again() {
    let host = Host::new(&[Answer::Silence]);
    let (outcome, why, _) = host.boot(with_password());
    assert_eq!(outcome, Outcome::Failed);
    assert!(why.contains("the toolstack does not answer"), "{why}");
    assert_eq!(host.boot(with_password()).0, Outcome::Done);
    assert_eq!(host.joins().len(), 1);
    // By its name, too, and not if the pool is another one: then the toolstack says what is wrong.
    let host = Host::new(&[Answer::Refused("JOINING_HOST_CANNOT_BE_IN_A_POOL", vec![])]);
    host.toolstack.lock().unwrap().is_member = true;
    assert_eq!(host.boot(Pool { join: "192.0.2.99".into(), ..pool() }).0, Outcome::Failed);
    assert_eq!(host.boot(Pool { join: "other".into(), ..pool() }).0, Outcome::Done);
}

#[test]
fn a_toolstack_that_is_still_starting_is_waited_for() {
    let host = Host::new(&[Answer::Refused("HOST_STILL_BOOTING", vec![])]);
    assert_eq!(host.boot(pool()).0, Outcome::Done);
    assert_eq!(host.joins().len(), 2);
}

#[test]
fn nothing_is_sent_before_the_certificate_is_the_right_one() {
    let mut host = Host::new(&[]);
    let other: Fingerprint = PIN.replace('5', "6").parse().unwrap();
    let (_, why, _) = host.boot(Pool { fingerprint: Some(other), ..pool() });
    assert_eq!(
        why,
        format!("192.0.2.1 has the certificate {PIN}, and {other} is expected; nothing was sent there")
    );
    let (_, why, _) = host.boot(Pool { fingerprint: None, ..pool() });
    assert!(
        why.starts_with("nobody has said whether 192.0.2.1 is the host with the certificate 5f70"),
        "{why}"
    );
    assert!(why.contains("retry pool-join"), "{why}");
    host.facts.pool.as_mut().unwrap().shown = Err("cannot reach https://192.0.2.1/".into());
    assert_eq!(host.boot(pool()).1, "cannot reach https://192.0.2.1/");
    host.facts.pool.as_mut().unwrap().shown = Ok(PIN.parse().unwrap());
    host.facts.pool.as_mut().unwrap().password = None;
    let (_, why, _) = host.boot(pool());
    assert!(why.starts_with("nobody has said the password of root at 192.0.2.1"), "{why}");
    assert!(host.toolstack.lock().unwrap().calls.is_empty());
    let facts = host.facts.pool.as_mut().unwrap();
    (facts.password, facts.confirmed) = (Secret::new(PASSWORD), true);
    assert_eq!(host.boot(Pool { fingerprint: None, ..pool() }).0, Outcome::Done, "somebody has confirmed it");
}

#[test]
fn without_a_toolstack_it_waits() {
    let mut host = Host::new(&[]);
    fs::remove_file(host.paths.root.join(TOOLSTACK)).unwrap();
    host.facts.pool = Some(PoolFacts::look(&pool(), &host.paths));
    let (outcome, why, _) = host.boot(with_password());
    assert_eq!(
        (outcome, &*why),
        (Outcome::NotAvailable, "there is no toolstack on this host that could join a pool")
    );
    assert!(host.has_password());
    let shown = format!("{:?}", host.facts.pool);
    assert!(shown.contains("password: Some(…)"), "{shown}");
}

#[test]
fn the_socket_is_looked_for_where_xapi_has_it() {
    assert_eq!(Path::new("/").join(TOOLSTACK), Path::new("/var/lib/xcp/xapi"));
}
