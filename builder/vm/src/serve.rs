//! Files over HTTP, for machines that boot from the network.

use std::{
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use xenolith_sandbox::{Command, Network, Sandbox, Tool};

use crate::VmError;

/// Where the folder is inside the sandbox.
const SERVED: &str = "/served";

/// Serves a folder on a port of 127.0.0.1. Dropping it ends it.
pub struct FileServer {
    port: u16,
    output: duct::ReaderHandle,
    _command: Command,
}

impl FileServer {
    /// Serves `folder`; what is asked for is written to `log`.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn start(tools: &Path, folder: &Path, log: &Path) -> Result<Self, VmError> {
        let io = |source| VmError::Io { what: "serve files over HTTP", source };
        let sandbox = Sandbox::new(tools).network(Network::Host).bind_ro(folder, SERVED);
        let args = ["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", SERVED, "0"];
        let command = sandbox.command(Tool::Python3, args.map(str::to_owned)).map_err(io)?;
        let output = command.expression.clone().stderr_path(log).stdin_null().reader().map_err(io)?;
        let mut said = String::new();
        BufReader::new(&output).read_line(&mut said).map_err(io)?;
        let port = port(&said).ok_or_else(|| io(io::Error::other(format!("it said {said:?}"))))?;
        Ok(Self { port, output, _command: command })
    }

    /// The address of a file, as a machine on QEMU's own network sees it.
    pub fn url(&self, name: &str) -> String {
        format!("http://10.0.2.2:{}/{name}", self.port)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        // An error means that it ended by itself.
        let _ = self.output.kill();
    }
}

/// `Serving HTTP on 127.0.0.1 port 40123 (…) …`
fn port(said: &str) -> Option<u16> {
    said.split_once(" port ")?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_port_is_read_from_the_greeting() {
        let said = "Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...\n";
        assert_eq!(super::port(said), Some(40123));
        assert_eq!(super::port("Address already in use"), None);
    }
}
