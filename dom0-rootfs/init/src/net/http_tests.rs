//! Heads as data, and whole fetches from a small server that misbehaves as told.

use std::io::Cursor;
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn read(text: &str, asked: u64) -> Result<Head, BadHead> {
    head(&lines(text), asked)
}

#[test]
fn a_whole_file_and_the_rest_of_one_are_understood() {
    let whole = Head { from: 0, length: Bytes::new(10) };
    assert_eq!(read("HTTP/1.1 200 OK\ncontent-length: 10\nX: y", 0), Ok(whole));
    assert_eq!(
        read("HTTP/1.0 200 OK\nContent-Length:10", 7),
        Ok(whole),
        "a server without ranges starts anew"
    );
    let rest = Head { from: 4, length: Bytes::new(10) };
    assert_eq!(
        read("HTTP/1.1 206 Partial Content\nContent-Length: 6\nContent-Range: bytes 4-9/10", 4),
        Ok(rest)
    );
}

#[test]
fn other_answers_are_refused_by_name() {
    assert_eq!(read("", 0), Err(BadHead::Shape));
    assert_eq!(read("SSH-2.0-OpenSSH_9", 0), Err(BadHead::Shape));
    assert_eq!(read("HTTP/2 200 OK\nContent-Length: 1", 0), Err(BadHead::Shape));
    assert_eq!(
        read("HTTP/1.1 404 Not Found\nContent-Length: 1", 0),
        Err(BadHead::Status("404 Not Found".into()))
    );
    assert_eq!(
        read("HTTP/1.1 301 Moved\nLocation: https://x/\nContent-Length: 0", 0),
        Err(BadHead::Status("301 Moved".into()))
    );
    for length in ["", "Content-Length: -1", "Content-Length: 1 2", "Content-Length: 99999999999999999999"] {
        assert_eq!(read(&format!("HTTP/1.1 200 OK\n{length}"), 0), Err(BadHead::Length), "{length}");
    }
    assert_eq!(
        read("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", 0),
        Err(BadHead::Encoding("chunked".to_owned()))
    );
    for range in [
        "bytes 3-9/10",
        "bytes 4-8/10",
        "bytes 4-9/11",
        "bytes 4-9/*",
        "4-9/10",
        "bytes 18446744073709551615-0/1",
    ] {
        let text = format!("HTTP/1.1 206 Partial Content\nContent-Length: 6\nContent-Range: {range}");
        assert_eq!(read(&text, 4), Err(BadHead::Range), "{range}");
    }
}

/// Answers one connection after another with these texts, and gives the requests it got.
fn server(answers: Vec<Vec<u8>>) -> (Base, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/folder/", listener.local_addr().unwrap()).parse().unwrap();
    let thread = std::thread::spawn(move || {
        let requests = answers.into_iter().map(|answer| {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let request = head_lines(&mut stream).unwrap().join("\n");
            // The other side may have hung up already: that is what some tests are about.
            let _ = stream.get_mut().write_all(&answer);
            request
        });
        requests.collect()
    });
    (base, thread)
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [head.replace('\n', "\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

fn get(base: &Base, size: Size) -> Result<Vec<u8>, NetError> {
    let mut out = Cursor::new(Vec::new());
    fetch(base, "root.erofs", size, &mut out, |_| (), |_, _| ()).map(|_| out.into_inner())
}

const LIMIT: Size = Size::AtMost(Bytes::new(100));

#[test]
fn a_file_is_fetched() {
    let (base, server) = server(vec![answer("HTTP/1.1 200 OK\nContent-Length: 5", b"hello")]);
    assert_eq!(get(&base, LIMIT).unwrap(), b"hello");
    let request = &server.join().unwrap()[0];
    assert!(request.starts_with("GET /folder/root.erofs HTTP/1.1\nHost: 127.0.0.1:"), "{request}");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let (base, server) = server(vec![
        answer("HTTP/1.1 200 OK\nContent-Length: 10", b"hell"),
        answer("HTTP/1.1 206 Partial Content\nContent-Length: 6\nContent-Range: bytes 4-9/10", b"o worl"),
    ]);
    assert_eq!(get(&base, LIMIT).unwrap(), b"hello worl");
    assert!(server.join().unwrap()[1].contains("\nRange: bytes=4-\n"));
}

#[test]
fn a_server_without_ranges_starts_from_the_beginning() {
    let whole = answer("HTTP/1.1 200 OK\nContent-Length: 5", b"hello");
    let (base, _server) = server(vec![whole[..whole.len() - 2].to_vec(), whole]);
    assert_eq!(get(&base, LIMIT).unwrap(), b"hello");
}

#[test]
fn what_follows_the_announced_length_is_not_read() {
    let (base, _server) = server(vec![answer("HTTP/1.1 200 OK\nContent-Length: 2", b"hello")]);
    assert_eq!(get(&base, LIMIT).unwrap(), b"he");
}

#[test]
fn a_file_of_the_wrong_length_is_refused_before_it_is_read() {
    for (length, size) in [("101", LIMIT), ("5", Size::Exactly(Bytes::new(4096)))] {
        let (base, _server) =
            server(vec![answer(&format!("HTTP/1.1 200 OK\nContent-Length: {length}"), b"")]);
        assert!(matches!(get(&base, size), Err(NetError::Length { .. })), "{length}");
    }
}

#[test]
fn a_server_that_only_hangs_up_is_given_up_on() {
    let tries = usize::try_from(TRIES).unwrap();
    let (base, server) = server(vec![Vec::new(); tries]);
    assert!(matches!(get(&base, LIMIT), Err(NetError::Fetch { .. })));
    assert_eq!(server.join().unwrap().len(), tries);
}

#[test]
fn a_head_without_end_is_not_listened_to_for_ever() {
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'x'; 1 << 20]].concat();
    let (base, _server) = server(vec![endless; usize::try_from(TRIES).unwrap()]);
    assert!(matches!(get(&base, LIMIT), Err(NetError::Fetch { .. })));
}

proptest::proptest! {
    #[test]
    fn no_head_makes_it_panic(text: String, asked: u64) {
        let _ = read(&text, asked);
        let _ = read(&format!("HTTP/1.1 206 x\nContent-Length: 1\nContent-Range: bytes {text}"), asked);
    }
}
