//! Whole servers on 127.0.0.1, asked as firmware, dom0's initrd and installations ask.

use std::{
    io::{Cursor, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use fs_err as fs;
use tokio::{runtime::Runtime, sync::oneshot};
use xenolith_init::net::{http::Size, url::Base};
use xenolith_layout::Bytes;
use xenolith_netboot::testing;

use super::*;

const ANSWERS: &str = "version = 1\ntarget = { disks = [{ path = \"sda\" }] }\nnetwork = {}\n\
                       access = { root_password_hash = \"$y$hush\" }\n";

fn write_set(folder: &Path) {
    for (name, bytes) in testing::set() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn config(folder: &Path) -> Config {
    Config {
        set: folder.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        pxe: None,
        answers: None,
    }
}

/// A server that runs as long as this lives.
struct Running {
    address: SocketAddr,
    events: Arc<Mutex<Vec<Event>>>,
    _stop: oneshot::Sender<()>,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

fn running(change: impl FnOnce(&Path, &mut Config)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let mut config = config(folder.path());
    change(folder.path(), &mut config);
    let runtime = Runtime::new().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let tell: Tell = Arc::new(move |event| told.lock().unwrap().push(event));
    let server = runtime.block_on(prepare(&config).unwrap().bind(tell)).unwrap();
    let address = server.http.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    runtime.spawn(server.run(async { drop(stopped.await) }));
    Running { address, events, _stop: stop, _runtime: runtime, _folder: folder }
}

impl Running {
    /// Head and body of the answer to a request.
    fn ask(&self, request: &str, body: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (first, fields) = request.split_once('\n').unwrap_or((request, ""));
        let fields = fields.replace('\n', "\r\n");
        let length = body.len();
        let text = format!(
            "{first} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n\r\n{body}"
        )
        .replace("\r\n\r\n\r\n", "\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
        (head, answer[end + 4..].to_vec())
    }

    fn said(&self) -> String {
        let events = self.events.lock().unwrap();
        events.iter().map(|event| format!("{event}\n")).collect()
    }
}

#[test]
fn firmware_learns_length_and_type_and_gets_the_boot_file() {
    let server = running(|_, _| ());
    let boot_file = &testing::set()["xenolith.efi"];
    for name in ["xenolith.efi", "boot.efi"] {
        let (head, body) = server.ask(&format!("HEAD /{name}"), "");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: application/efi"), "{head}");
        assert!(head.contains(&format!("content-length: {}", boot_file.len())), "{head}");
        assert!(body.is_empty());
        let (_, body) = server.ask(&format!("GET /{name}?site=1"), "");
        assert!(body == *boot_file);
    }
}

#[test]
fn the_initrd_fetches_the_root_as_it_does_on_a_machine() {
    let server = running(|_, _| ());
    let base: Base = format!("http://{}/boot.efi", server.address).parse().unwrap();
    let root = &testing::set()["root.erofs"];
    let mut got = Cursor::new(Vec::new());
    let size = Size::Exactly(Bytes::new(root.len() as u64));
    xenolith_init::net::http::fetch(&base, "root.erofs", size, &mut got, |_| (), |_, _| ()).unwrap();
    assert!(got.into_inner() == *root);
}

#[test]
fn parts_are_sent_as_they_are_asked_for() {
    let server = running(|_, _| ());
    let root = &testing::set()["root.erofs"];
    let (head, body) = server.ask("GET /root.erofs\nRange: bytes=2999998-", "");
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert!(head.contains("content-range: bytes 2999998-2999999/3000000"), "{head}");
    assert_eq!(body, root[2_999_998..]);
    let (head, _) = server.ask("GET /root.erofs\nRange: bytes=3000000-", "");
    assert!(head.starts_with("http/1.1 416") && head.contains("bytes */3000000"), "{head}");
    let tag = server.ask("HEAD /root.erofs", "").0;
    let tag = tag.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (head, _) = server.ask(&format!("GET /root.erofs\nRange: bytes=1-1\nIf-Range: {tag}"), "");
    assert!(head.starts_with("http/1.1 206"), "{head}");
    let (head, _) = server.ask("GET /root.erofs\nRange: bytes=1-1\nIf-Range: \"other\"", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, body) = server.ask(&format!("GET /root.erofs\nIf-None-Match: {tag}"), "");
    assert!(head.starts_with("http/1.1 304") && body.is_empty(), "{head}");
}

#[test]
fn nothing_but_the_set_is_served() {
    let server = running(|folder, _| fs::write(folder.join("secret"), "secret").unwrap());
    for path in [
        "/secret",
        "/",
        "/../secret",
        "/keys/../secret",
        "/keys",
        "/etc/passwd",
        "//xenolith.efi",
        "/answers",
    ] {
        let (head, body) = server.ask(&format!("GET {path}"), "");
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
        assert!(!body.windows(6).any(|six| six == b"secret"));
    }
    assert!(server.ask("DELETE /xenolith.efi", "").0.starts_with("http/1.1 405"));
    let (_, key) = server.ask("GET /keys/PK.auth", "");
    assert_eq!(key, b"key");
}

#[test]
fn answers_go_to_the_machine_they_are_for_and_no_log_holds_them() {
    let server = running(|folder, config| {
        let answers = folder.join("answers");
        fs::create_dir(&answers).unwrap();
        fs::write(answers.join("52-54-00-00-00-01.toml"), ANSWERS).unwrap();
        config.answers = Some(answers);
    });
    let machine = r#"{"format":1,"serial":"x","macs":["52:54:00:00:00:01"],"new":{}}"#;
    let (head, body) = server.ask("POST /answers", machine);
    assert!(head.starts_with("http/1.1 200") && head.contains("no-store"), "{head}");
    assert_eq!(body, ANSWERS.as_bytes());
    assert_eq!(server.ask("GET /answers?mac=52:54:00:00:00:01", "").1, ANSWERS.as_bytes());
    for (asked, machine) in [("GET /answers", ""), ("POST /answers", r#"{"format":1,"serial":"other"}"#)] {
        let (head, body) = server.ask(asked, machine);
        assert!(head.starts_with("http/1.1 204") && body.is_empty(), "none is no failure: {head}");
    }
    assert!(server.ask("GET /answers/other", "").0.starts_with("http/1.1 404"));
    assert!(server.ask("POST /answers", "no").0.starts_with("http/1.1 400"));
    assert!(server.ask("PUT /answers", "{}").0.starts_with("http/1.1 405"));
    let said = server.said();
    assert!(said.contains("no answers are for other, and there is no default"), "{said}");
    assert!(said.contains("answers for x 52-54-00-00-00-01: 52-54-00-00-00-01.toml"), "{said}");
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn a_machine_that_says_too_much_is_refused() {
    let server = running(|folder, config| {
        fs::write(folder.join("a.toml"), ANSWERS).unwrap();
        config.answers = Some(folder.join("a.toml"));
    });
    let long = format!("{{\"serial\":\"{}\"}}", "x".repeat(xenolith_netboot::MAX_IDENTITY));
    assert!(server.ask("POST /answers", &long).0.starts_with("http/1.1 400"));
}

#[test]
fn a_set_that_is_not_whole_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(prepare(&config(folder.path())), Err(ServeError::Read { .. })));
    write_set(folder.path());
    assert!(prepare(&config(folder.path())).is_ok());
    for (name, bytes) in testing::set() {
        if name == "netboot.json" {
            continue;
        }
        let mut wrong = bytes.clone();
        wrong[0] ^= 1;
        fs::write(folder.path().join(&name), &wrong).unwrap();
        let error = prepare(&config(folder.path())).err().unwrap();
        assert!(matches!(&error, ServeError::Changed { name: told, .. } if told.as_str() == name), "{error}");
        wrong.push(0);
        fs::write(folder.path().join(&name), &wrong).unwrap();
        assert!(matches!(prepare(&config(folder.path())), Err(ServeError::Changed { .. })));
        fs::write(folder.path().join(&name), bytes).unwrap();
    }
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let config = Config { listen: taken.local_addr().unwrap(), ..config(folder.path()) };
    let prepared = prepare(&config).unwrap();
    let error = Runtime::new().unwrap().block_on(prepared.bind(Arc::new(drop))).err().unwrap();
    assert!(error.to_string().starts_with("cannot listen on TCP 127.0.0.1:"), "{error}");
    assert!(error.hint().unwrap().contains("--listen"));
}

#[test]
fn a_proxy_whose_clients_cannot_reach_the_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let asked = |listen: &str, pxe: &str| {
        let listen = listen.parse().unwrap();
        prepare(&Config { listen, pxe: Some(pxe.to_owned()), ..config(folder.path()) }).err()
    };
    assert!(matches!(asked("192.0.2.1:80", "lo"), Some(ServeError::Unreachable { .. })));
    assert!(matches!(asked("0.0.0.0:80", "no-such-interface"), Some(ServeError::NoInterface { .. })));
    assert!(asked("0.0.0.0:80", "127.0.0.1").is_none());
}

#[test]
fn the_table_says_what_clients_are_told() {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    fs::write(folder.path().join("a.toml"), ANSWERS).unwrap();
    let listen = "0.0.0.0:8000".parse().unwrap();
    let answers = Some(folder.path().join("a.toml"));
    let plain =
        prepare(&Config { listen, answers: answers.clone(), pxe: None, ..config(folder.path()) }).unwrap();
    assert!(plain.table().to_string().contains("nothing: PXE clients are served with --pxe INTERFACE only"));
    let pxe = Some("lo".to_owned());
    let table =
        prepare(&Config { listen, answers, pxe, ..config(folder.path()) }).unwrap().table().to_string();
    for line in [
        "UEFI HTTP boot, 64-bit x86  http://127.0.0.1:8000/xenolith.efi  (told by this server)",
        "UEFI PXE, 64-bit x86        xenolith.efi over TFTP from 127.0.0.1  (told by this server)",
        "iPXE on UEFI, 64-bit x86    http://127.0.0.1:8000/xenolith.ipxe  (told by this server)",
        "PXE on BIOS                 nothing: the boot file is a UEFI program",
        "1 file of answers, one of them for every other machine: http://127.0.0.1:8000/answers insecure",
    ] {
        assert!(table.contains(line), "{line}\nis not in\n{table}");
    }
}

/// What the two servers over UDP share, without sockets of its own.
fn shared(events: &Arc<Mutex<Vec<Event>>>) -> (Arc<Shared>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_set(folder.path());
    let events = Arc::clone(events);
    let tell: Tell = Arc::new(move |event| events.lock().unwrap().push(event));
    let set = Set::open(folder.path()).unwrap();
    (Arc::new(Shared { set, answers: None, has_tls: false, tell }), folder)
}

#[test]
fn the_boot_file_arrives_over_tftp() {
    let events = Arc::default();
    let (shared, _folder) = shared(&events);
    let runtime = Runtime::new().unwrap();
    let got = runtime.block_on(async {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(tftp::serve(shared, listener, Ipv4Addr::LOCALHOST));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client
            .send_to(
                b"\x00\x01/boot.efi\x00octet\x00blksize\x00100\x00windowsize\x003\x00tsize\x000\x00",
                server,
            )
            .await
            .unwrap();
        let (mut got, mut buffer, mut expected) = (Vec::new(), [0; 200], 1_u16);
        loop {
            let received = tokio::time::timeout(Duration::from_secs(30), client.recv_from(&mut buffer));
            let (length, from) = received.await.unwrap().unwrap();
            assert_ne!(from, server, "a transfer has a port of its own");
            let acknowledged = match &buffer[..length] {
                [0, 6, ..] => 0,
                [0, 3, high, low, data @ ..] => {
                    let block = u16::from_be_bytes([*high, *low]);
                    if block != expected {
                        continue;
                    }
                    got.extend_from_slice(data);
                    expected += 1;
                    if data.len() < 100 {
                        let [high, low] = block.to_be_bytes();
                        client.send_to(&[0, 4, high, low], from).await.unwrap();
                        break got;
                    }
                    block
                }
                other => panic!("{other:?}"),
            };
            let [high, low] = acknowledged.to_be_bytes();
            client.send_to(&[0, 4, high, low], from).await.unwrap();
        }
    });
    assert!(got == testing::set()["xenolith.efi"]);
}

#[test]
fn tftp_refuses_what_it_does_not_do() {
    let events = Arc::default();
    let (shared, _folder) = shared(&events);
    let runtime = Runtime::new().unwrap();
    let asked: [(&[u8], &[u8]); 3] = [
        (b"\x00\x01../secret\x00octet\x00", &[0, 5, 0, 1]),
        (b"\x00\x02xenolith.efi\x00octet\x00", &[0, 5, 0, 2]),
        (b"nonsense", &[0, 5, 0, 4]),
    ];
    runtime.block_on(async {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(tftp::serve(shared, listener, Ipv4Addr::LOCALHOST));
        for (request, answer) in asked {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(request, server).await.unwrap();
            let mut buffer = [0; 200];
            let (length, _) = tokio::time::timeout(Duration::from_secs(30), client.recv_from(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&buffer[..4.min(length)], answer);
        }
    });
    assert_eq!(events.lock().unwrap().len(), 3);
}

#[test]
fn a_pxe_client_that_asks_twice_is_answered_where_it_asks() {
    let events = Arc::default();
    let (shared, _folder) = shared(&events);
    let places =
        Places { address: Ipv4Addr::LOCALHOST, http: "127.0.0.1:80".parse().unwrap(), answers: None };
    let mut request = vec![0; 236];
    request[..3].copy_from_slice(&[1, 1, 6]);
    request[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    request.extend([99, 130, 83, 99, 53, 1, 3, 93, 2, 0, 7, 60, 9]);
    request.extend(b"PXEClient\xff");
    let answer = Runtime::new().unwrap().block_on(async {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(proxy::serve(shared, listener, proxy::At::Requests, places));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"nonsense", server).await.unwrap();
        client.send_to(&request, server).await.unwrap();
        let mut buffer = [0; 1500];
        let (length, _) = tokio::time::timeout(Duration::from_secs(30), client.recv_from(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        buffer[..length].to_vec()
    });
    assert_eq!(answer[..3], [2, 1, 6]);
    assert_eq!(answer[240..243], [53, 1, 5], "an acknowledgement");
    assert_eq!(answer[108..121], *b"xenolith.efi\0");
}
