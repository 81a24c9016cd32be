//! A server that has answers for every machine, and listens to what machines tell.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
};

/// Answers for as long as this program runs; gives the first line and the body of each request.
pub fn serve(listener: TcpListener, answers: String) -> Receiver<(String, String)> {
    let (sender, told) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().filter_map(Result::ok) {
            // A connection that breaks is tried again by the other side.
            let Ok(request) = answer(socket, &answers) else { continue };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    told
}

fn answer(socket: TcpStream, answers: &str) -> anyhow::Result<(String, String)> {
    let mut socket = BufReader::new(socket);
    let (mut first, mut length) = (String::new(), 0);
    socket.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = String::new();
    socket.by_ref().take(length).read_to_string(&mut body)?;
    let text = if first.contains(" /answers ") { answers } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    socket.get_mut().write_all(format!("{head}{text}").as_bytes())?;
    Ok((first, body))
}
