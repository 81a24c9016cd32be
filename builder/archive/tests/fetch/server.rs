//! A real HTTP server, small enough to misbehave in every way.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request as the server sees it.
pub struct Request {
    pub path: String,
    /// The first byte of the range that is asked for.
    pub from: Option<usize>,
    /// How many requests for this path there were before.
    pub before: usize,
}

/// What the server does next with the connection.
pub enum Act {
    Send(Vec<u8>),
    /// Says nothing more until the client has gone.
    Stall,
    /// Closes at once.
    Close,
}

/// Path and range of every request.
type Log = Arc<Mutex<Vec<(String, Option<usize>)>>>;

pub struct Server {
    address: String,
    log: Log,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with what `answer` returns; without a `Close` or `Stall` the connection stays open.
    pub fn new(answer: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Log::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let (answer, seen, count) = (Arc::new(answer), Arc::clone(&log), Arc::clone(&connections));
        let before = Arc::new(Mutex::new(HashMap::new()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (answer, seen, before) = (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&before));
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &seen, &before));
            }
        });
        Self { address, log, connections }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Path and range of every request so far.
    pub fn requests(&self) -> Vec<(String, Option<usize>)> {
        self.log.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request) -> Vec<Act>,
    log: &Log,
    before: &Mutex<HashMap<String, usize>>,
) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some((path, from)) = read_request(&mut reader) {
        log.lock().unwrap().push((path.clone(), from));
        let count = {
            let mut before = before.lock().unwrap();
            let count = before.entry(path.clone()).or_insert(0);
            *count += 1;
            *count - 1
        };
        for act in answer(&Request { path, from, before: count }) {
            match act {
                Act::Send(bytes) if writer.write_all(&bytes).is_ok() => {}
                Act::Send(_) | Act::Close => return,
                Act::Stall => {
                    let _gone = reader.read(&mut [0]);
                    return;
                }
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Option<usize>)> {
    let (mut path, mut from) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some((path?, from));
        }
        match &path {
            None => path = Some(line.split(' ').nth(1)?.trim_start_matches('/').to_owned()),
            Some(_) => {
                if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    from = Some(range.split('-').next()?.parse().ok()?);
                }
            }
        }
    }
}

fn head(status: &str, length: usize, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n").into_bytes()
}

/// An answer without content.
pub fn status(status: &str, more: &str) -> Vec<Act> {
    vec![Act::Send(head(status, 0, more))]
}

/// The whole file, whatever was asked for.
pub fn whole(content: &[u8]) -> Vec<Act> {
    vec![Act::Send([head("200 OK", content.len(), ""), content.to_vec()].concat())]
}

/// The file from the byte that was asked for, as a good server sends it.
pub fn ranged(request: &Request, content: &[u8]) -> Vec<Act> {
    match request.from {
        None => whole(content),
        Some(from) if from >= content.len() => status("416 Range Not Satisfiable", ""),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len());
            let rest = &content[from..];
            vec![Act::Send([head("206 Partial Content", rest.len(), &range), rest.to_vec()].concat())]
        }
    }
}

/// The answer of `ranged`, but after `length` bytes of content `then` happens.
pub fn cut(request: &Request, content: &[u8], length: usize, then: Act) -> Vec<Act> {
    let mut acts = ranged(request, content);
    if let Some(Act::Send(bytes)) = acts.first_mut() {
        let rest = content.len() - request.from.unwrap_or(0);
        bytes.truncate(bytes.len() - rest + length);
    }
    acts.push(then);
    acts
}
