//! A machine that runs.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use xenolith_sandbox::{Command, Tool};

use crate::{
    Machine, Serial,
    qmp::Qmp,
    tpm::{self, Tpm},
};

/// Something that happened in or to a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A line on the first serial port, without control sequences.
    Line(String),
    /// What came over the first serial port, as it came, after the lines that it has ended.
    Bytes(Vec<u8>),
    /// QEMU says that something happened: `SHUTDOWN`, `RESET`, …
    Qmp {
        /// The event's name.
        name: String,
        /// What comes with it.
        data: Value,
    },
    /// QEMU's answer to a command.
    Answer {
        /// The command.
        command: String,
        /// What it returned.
        value: Value,
        /// Why it failed.
        error: Option<String>,
    },
    /// The serial line was closed: QEMU has ended.
    Ended,
}

/// A machine could not be started, or did not do what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// QEMU or a file of the machine could not be used.
    #[error("cannot {what}")]
    Io {
        /// The attempt.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// QEMU ended before it opened its sockets.
    #[error("the emulator did not start; it said:\n{0}")]
    NotStarted(String),
    /// The deadline passed.
    #[error("no {what} within {} s; last serial lines:\n{tail}", after.as_secs())]
    Deadline {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
        /// The last serial lines.
        tail: String,
    },
    /// The machine ended while something was waited for.
    #[error("the machine ended while waiting for {what}; last serial lines:\n{tail}")]
    Ended {
        /// What was waited for.
        what: String,
        /// The last serial lines.
        tail: String,
    },
    /// A command inside failed.
    #[error("`{command}` on the host ended with {status}:\n{output}")]
    Remote {
        /// The command.
        command: String,
        /// Exit code.
        status: String,
        /// What it printed.
        output: String,
    },
}

/// The terminal on the serial line: what one has that does not know how large the other end is.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A running machine. Dropping it ends it.
pub struct Vm {
    pub(crate) machine: Machine,
    handle: duct::Handle,
    events: Receiver<Event>,
    qmp: Qmp,
    serial: UnixStream,
    lines: Vec<String>,
    terminal: vt100::Parser,
    _command: Command,
    // Ends after QEMU, which is ended before any field is dropped.
    _tpm: Option<Tpm>,
}

impl Machine {
    /// The command line, for people.
    ///
    /// # Errors
    /// When the sandbox specification cannot be written.
    pub fn command_line(&self) -> io::Result<String> {
        Ok(self.sandbox().command(Tool::Qemu, self.args())?.line)
    }

    /// Runs the machine on this terminal until it is switched off.
    ///
    /// # Errors
    /// When QEMU cannot be started or ends with an error.
    pub fn run_in_terminal(&self) -> Result<(), VmError> {
        let io = |what| move |source| VmError::Io { what, source };
        self.firmware.prepare(&self.tools, &self.run).map_err(io("copy the firmware's variables"))?;
        let command = self.sandbox().command(Tool::Qemu, self.args()).map_err(io("prepare QEMU"))?;
        let _tpm = self.start_tpm()?;
        command.expression.run().map_err(io("run QEMU"))?;
        Ok(())
    }

    /// Starts the machine's TPM, if it has one, and waits until QEMU can speak to it.
    fn start_tpm(&self) -> Result<Option<Tpm>, VmError> {
        SocketWatch::forget_stale(&self.run);
        let Some(memory) = &self.tpm else { return Ok(None) };
        let io = |what| move |source| VmError::Io { what, source };
        let watch = SocketWatch::new(&self.run).map_err(io("watch the run folder"))?;
        let log = self.run.join("tpm.log");
        let tpm = Tpm::start(&self.tools, &self.run, memory, &log).map_err(io("start the TPM"))?;
        watch.until(&tpm.handle, &log, || self.run.join(tpm::SOCKET).exists().then_some(()))?;
        Ok(Some(tpm))
    }

    /// Starts the machine with its serial line as events.
    ///
    /// # Errors
    /// [`VmError::NotStarted`] with what QEMU said.
    pub fn start(&self) -> Result<Vm, VmError> {
        let io = |what| move |source| VmError::Io { what, source };
        assert_eq!(self.serial, Serial::Events, "a machine that is waited on has its serial line as events");
        self.firmware.prepare(&self.tools, &self.run).map_err(io("copy the firmware's variables"))?;
        let tpm = self.start_tpm()?;
        let watch = SocketWatch::new(&self.run).map_err(io("watch the run folder"))?;
        let log = self.run.join("qemu.log");
        let command = self.sandbox().command(Tool::Qemu, self.args()).map_err(io("prepare QEMU"))?;
        let expression = command.expression.clone().stderr_path(&log).stdout_null().stdin_null().unchecked();
        let handle = expression.start().map_err(io("start QEMU"))?;
        let serial = watch.connect("serial.sock", &handle, &log)?;
        let (sender, events) = channel();
        let reader = serial.try_clone().map_err(io("read the serial line"))?;
        let lines = sender.clone();
        std::thread::spawn(move || read_serial(reader, &lines));
        let qmp = watch.connect("qmp.sock", &handle, &log)?;
        let qmp = Qmp::start(qmp, sender).map_err(io("talk to QEMU"))?;
        let machine = self.clone();
        let terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
        Ok(Vm {
            machine,
            handle,
            events,
            qmp,
            serial,
            lines: Vec::new(),
            terminal,
            _command: command,
            _tpm: tpm,
        })
    }
}

impl Vm {
    /// Waits until `wanted` gives something for an event.
    ///
    /// # Errors
    /// [`VmError::Deadline`] or [`VmError::Ended`], with the last serial lines.
    pub fn until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, VmError> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    match &event {
                        Event::Line(line) => self.lines.push(line.clone()),
                        Event::Bytes(bytes) => self.terminal.process(bytes),
                        _ => {}
                    }
                    if let Some(found) = wanted(&event) {
                        return Ok(found);
                    }
                    if event == Event::Ended {
                        return Err(VmError::Ended { what: what.into(), tail: self.tail(15) });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(VmError::Deadline {
                        what: what.into(),
                        after: deadline,
                        tail: self.tail(15),
                    });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(VmError::Ended { what: what.into(), tail: self.tail(15) });
                }
            }
        }
    }

    /// Waits for a serial line that contains `text`, and gives that line.
    ///
    /// # Errors
    /// As [`Vm::until`].
    pub fn line(&mut self, text: &str, deadline: Duration) -> Result<String, VmError> {
        self.until(&format!("serial line with {text:?}"), deadline, |event| match event {
            Event::Line(line) if line.contains(text) => Some(line.clone()),
            _ => None,
        })
    }

    /// Waits until a terminal of 80×24 on the serial line shows `text`, and gives all that it shows.
    ///
    /// # Errors
    /// As [`Vm::until`].
    pub fn shows(&mut self, text: &str, deadline: Duration) -> Result<String, VmError> {
        let end = Instant::now() + deadline;
        loop {
            let shown = self.terminal.screen().contents();
            if shown.contains(text) {
                return Ok(shown);
            }
            let left = end.saturating_duration_since(Instant::now());
            let what = format!("{text:?} on the serial terminal, which shows:\n{shown}\n");
            self.until(&what, left, |event| matches!(event, Event::Bytes(_)).then_some(()))?;
        }
    }

    /// Every serial line seen so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    fn tail(&self, count: usize) -> String {
        self.lines[self.lines.len().saturating_sub(count)..].join("\n")
    }

    /// Types on the serial line.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn type_serial(&mut self, text: &str) -> Result<(), VmError> {
        self.serial
            .write_all(text.as_bytes())
            .map_err(|source| VmError::Io { what: "type on the serial line", source })
    }

    /// Sends a QMP command and waits for its answer.
    ///
    /// # Errors
    /// When the machine has ended or QEMU refuses.
    pub fn qmp(&mut self, command: &str, arguments: &Value) -> Result<Value, VmError> {
        let talk = |source| VmError::Io { what: "talk to QEMU", source };
        self.qmp.send(command, arguments).map_err(talk)?;
        let answer = self.until(command, Duration::from_secs(60), |event| match event {
            Event::Answer { command: answered, value, error } if answered == command => {
                Some(error.clone().map_or_else(|| Ok(value.clone()), Err))
            }
            _ => None,
        })?;
        answer.map_err(|error| talk(io::Error::other(error)))
    }

    /// Writes what the screen shows to `screen.png` in the run folder and gives its path.
    ///
    /// # Errors
    /// As [`Vm::qmp`].
    pub fn screenshot(&mut self) -> Result<PathBuf, VmError> {
        let inside = format!("{}/screen.png", crate::machine::RUN);
        self.qmp("screendump", &json!({ "filename": inside, "format": "png" }))?;
        Ok(self.machine.run.join("screen.png"))
    }

    /// Waits until the machine has ended.
    ///
    /// # Errors
    /// [`VmError::Deadline`].
    pub fn ended(&mut self, deadline: Duration) -> Result<(), VmError> {
        let waited =
            self.until("end of the machine", deadline, |event| (*event == Event::Ended).then_some(()));
        match waited {
            Err(VmError::Ended { .. }) => Ok(()),
            other => other,
        }
    }

    /// Pulls the plug.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // Killing stage 1 ends the process namespace and QEMU with it; an error means that it ended by itself.
        let _ = self.handle.kill();
        let _ = self.handle.wait();
    }
}

/// Splits the serial stream into lines and drops terminal control sequences, so that tests see text.
fn read_serial(mut stream: UnixStream, events: &Sender<Event>) {
    /// Longer runs without a line end are cut, so that a guest cannot fill our memory.
    const LONGEST: usize = 4096;
    let mut line = String::new();
    let mut escape = Escape::Text;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for byte in &buffer[..count] {
            let Some(shown) = escape.next(*byte) else { continue };
            if shown == b'\n' || line.len() >= LONGEST {
                let full = std::mem::take(&mut line);
                if !full.is_empty() && events.send(Event::Line(full)).is_err() {
                    return;
                }
            } else if shown == b'\t' || !shown.is_ascii_control() {
                line.push(char::from(shown));
            }
        }
        if events.send(Event::Bytes(buffer[..count].to_vec())).is_err() {
            return;
        }
    }
    if !line.is_empty() {
        let _ = events.send(Event::Line(line));
    }
    let _ = events.send(Event::Ended);
}

/// Where in an ECMA-48 control sequence the stream is.
enum Escape {
    Text,
    Started,
    Sequence,
}

impl Escape {
    fn next(&mut self, byte: u8) -> Option<u8> {
        match (&self, byte) {
            (Self::Text, 0x1b) => *self = Self::Started,
            (Self::Text, _) => return Some(byte),
            (Self::Started, b'[') => *self = Self::Sequence,
            (Self::Started, _) => *self = Self::Text,
            (Self::Sequence, 0x40..=0x7e) => *self = Self::Text,
            (Self::Sequence, _) => {}
        }
        None
    }
}

/// Waits for QEMU's sockets by watching the folder in which they appear.
struct SocketWatch {
    run: PathBuf,
    inotify: nix::sys::inotify::Inotify,
}

impl SocketWatch {
    fn forget_stale(run: &Path) {
        for stale in ["serial.sock", "qmp.sock", tpm::SOCKET] {
            let _ = fs_err::remove_file(run.join(stale));
        }
    }

    fn new(run: &Path) -> io::Result<Self> {
        use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(run, AddWatchFlags::IN_CREATE)?;
        Ok(Self { run: run.into(), inotify })
    }

    fn connect(&self, name: &str, handle: &duct::Handle, log: &Path) -> Result<UnixStream, VmError> {
        self.until(handle, log, || UnixStream::connect(self.run.join(name)).ok())
    }

    /// Waits until something is there, or the program that would make it has ended.
    fn until<T>(
        &self,
        handle: &duct::Handle,
        log: &Path,
        there: impl Fn() -> Option<T>,
    ) -> Result<T, VmError> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let io = |source| VmError::Io { what: "connect to QEMU", source };
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(found) = there() {
                return Ok(found);
            }
            let ended = handle.try_wait().map_err(io)?.is_some();
            if ended || Instant::now() > end {
                return Err(VmError::NotStarted(fs_err::read_to_string(log).unwrap_or_default()));
            }
            // Wakes when something appears in the folder; the time limit only lets us see QEMU's end.
            let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100u8)).map_err(|error| io(error.into()))?;
            let _ = self.inotify.read_events();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_lines() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let (sender, events) = channel();
        there.write_all(b"\x1b[2J\x1b[01;31m(XEN) hello\x1b[0m\r\nrest").unwrap();
        drop(there);
        read_serial(here, &sender);
        let seen: Vec<Event> = events.try_iter().filter(|event| !matches!(event, Event::Bytes(_))).collect();
        assert_eq!(seen, [Event::Line("(XEN) hello".into()), Event::Line("rest".into()), Event::Ended]);
    }
}
