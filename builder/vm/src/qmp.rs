//! The QEMU Machine Protocol: newline-delimited JSON over a socket (QEMU's docs/interop/qmp-spec).

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::mpsc::Sender,
};

use serde_json::{Value, json};

use crate::vm::Event;

/// No answer of QEMU's is longer.
const LONGEST_LINE: u64 = 1 << 20;

/// The sending half of a QMP connection; answers and events arrive in the machine's event stream.
pub(crate) struct Qmp {
    stream: UnixStream,
}

impl Qmp {
    /// Takes a fresh connection through the capabilities handshake and starts its reader.
    pub fn start(stream: UnixStream, events: Sender<Event>) -> io::Result<Self> {
        let reader = BufReader::new(stream.try_clone()?);
        let mut qmp = Self { stream };
        qmp.send("qmp_capabilities", &json!({}))?;
        std::thread::spawn(move || read_all(reader, &events));
        Ok(qmp)
    }

    /// Sends a command without waiting for its answer.
    pub fn send(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        let line = json!({ "execute": command, "arguments": arguments, "id": command });
        writeln!(self.stream, "{line}")
    }
}

fn read_all(mut reader: impl BufRead, events: &Sender<Event>) {
    loop {
        let mut line = String::new();
        match reader.by_ref().take(LONGEST_LINE).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let event = if let Some(name) = message["event"].as_str() {
            Event::Qmp { name: name.into(), data: message["data"].clone() }
        } else if let Some(id) = message["id"].as_str() {
            let error = message["error"]["desc"].as_str().map(str::to_owned);
            Event::Answer { command: id.into(), value: message["return"].clone(), error }
        } else {
            continue;
        };
        if events.send(event).is_err() {
            return;
        }
    }
}
