//! A client of the toolstack's XenAPI on its own socket, where whoever may connect is root and needs no password: JSON-RPC 2.0 over HTTP.
//!
//! ureq speaks HTTP; that it does so over a Unix socket is a connector of ours. Those traits are outside of ureq's promise of compatibility
//! (`ureq::unversioned`); checked with ureq 3.5.1, and a change does not compile.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Timeout};

/// Where the toolstack listens for this host's own programs; below the root.
pub const TOOLSTACK: &str = "var/lib/xcp/xapi";

/// The path of JSON-RPC. The address before it is not asked: it keeps a name from being resolved.
const URL: &str = "http://127.0.0.1/jsonrpc";
/// No answer that first boot asks for is longer, in bytes: records of a pool's hosts.
const MAX_REPLY: usize = 4 << 20;
/// What an error says is shown up to here: parameters, and characters of each.
const SHOWN: (usize, usize) = (8, 200);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum XenApiError {
    /// Nobody answers, or not in time.
    #[error("the toolstack does not answer: {0}")]
    Unreachable(Box<ureq::Error>),
    /// It answers with something that is no reply of XenAPI.
    #[error("the toolstack's reply cannot be understood")]
    Reply,
    /// It says no.
    #[error("the toolstack says {code}{}", in_brackets(params))]
    Refused {
        /// What is wrong, in the words of XenAPI.
        code: String,
        /// With what.
        params: Vec<String>,
    },
}

impl XenApiError {
    /// Whether it is this error of XenAPI.
    pub fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected)
    }
}

fn in_brackets(params: &[String]) -> String {
    if params.is_empty() { String::new() } else { format!(" ({})", params.join(", ")) }
}

/// Reads a reply.
///
/// # Errors
/// [`XenApiError::Refused`] as it says, without characters that would do something to a terminal; [`XenApiError::Reply`] if it is none.
pub fn parse_reply(bytes: &[u8]) -> Result<Value, XenApiError> {
    #[derive(Deserialize)]
    struct Reply {
        result: Option<Value>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
        #[serde(default)]
        data: Value,
    }
    if bytes.len() > MAX_REPLY {
        return Err(XenApiError::Reply);
    }
    match serde_json::from_slice(bytes) {
        Ok(Reply { error: Some(Error { message, data }), .. }) => {
            let params = data.as_array().map(Vec::as_slice).unwrap_or_default();
            let params = params.iter().filter_map(Value::as_str).take(SHOWN.0).map(plain).collect();
            Err(XenApiError::Refused { code: plain(&message), params })
        }
        Ok(Reply { result: Some(result), .. }) => Ok(result),
        _ => Err(XenApiError::Reply),
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN.1).collect()
}

/// A session of the local root. It ends when it is dropped.
pub struct Session {
    agent: Agent,
    /// Its reference, which is the first parameter of each call.
    reference: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// Logs in at the toolstack that listens at `socket`. Each call may take as long as `patience`.
    ///
    /// # Errors
    /// [`XenApiError`].
    pub fn open(socket: &Path, patience: Duration) -> Result<Self, XenApiError> {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(patience))
            .max_idle_connections(0)
            .user_agent(concat!("xenolith-firstboot/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, UnixConnector(socket.to_owned()), DefaultResolver::default());
        let login = json!(["root", "", "1.1", "xenolith-firstboot"]);
        let reference = post(&agent, "session.login_with_password", &login)?;
        let reference = reference.as_str().ok_or(XenApiError::Reply)?.to_owned();
        Ok(Self { agent, reference })
    }

    /// Calls a method with what it takes besides the session.
    ///
    /// # Errors
    /// [`XenApiError`].
    pub fn call(&self, method: &str, params: &[&str]) -> Result<Value, XenApiError> {
        let params: Vec<&str> = std::iter::once(&*self.reference).chain(params.iter().copied()).collect();
        post(&self.agent, method, &json!(params))
    }

    /// Of a session: the host that it is on.
    ///
    /// # Errors
    /// [`XenApiError`].
    pub fn this_host(&self) -> Result<String, XenApiError> {
        let host = self.call("session.get_this_host", &[&self.reference])?;
        Ok(host.as_str().ok_or(XenApiError::Reply)?.to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A toolstack that starts again has forgotten it anyway.
        let _ = self.call("session.logout", &[]);
    }
}

fn post(agent: &Agent, method: &str, params: &Value) -> Result<Value, XenApiError> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let failed = |error| XenApiError::Unreachable(Box::new(error));
    let mut reply = agent.post(URL).content_type("application/json").send(body.as_bytes()).map_err(failed)?;
    let limit = MAX_REPLY as u64 + 1;
    parse_reply(&reply.body_mut().with_config().limit(limit).read_to_vec().map_err(failed)?)
}

#[derive(Debug)]
struct UnixConnector(PathBuf);

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<UnixTransport>, ureq::Error> {
        let stream = UnixStream::connect(&self.0)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl fmt::Debug for UnixTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnixTransport")
    }
}

/// A socket says that time is up by saying that it would block.
fn in_time<T>(done: io::Result<T>, reason: Timeout) -> Result<T, ureq::Error> {
    done.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
        _ => error.into(),
    })
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|time| *time))?;
        in_time(self.stream.write_all(&self.buffers.output()[..amount]), timeout.reason)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_read_timeout(timeout.not_zero().map(|time| *time))?;
        let amount = in_time(self.stream.read(self.buffers.input_append_buf()), timeout.reason)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Each call has a connection of its own.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_result_or_an_error() {
        assert_eq!(parse_reply(br#"{"jsonrpc":"2.0","result":"","id":1}"#).unwrap(), "");
        let refused =
            br#"{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["10.0.0.1"]},"id":1}"#;
        let refused = parse_reply(refused).unwrap_err();
        assert!(refused.is("HOST_IS_SLAVE"));
        assert_eq!(refused.to_string(), "the toolstack says HOST_IS_SLAVE (10.0.0.1)");
        for bad in ["", "[]", "{}", r#"{"error":{}}"#, r#"{"error":7}"#, "<html>", r#"{"result":null}"#] {
            assert!(matches!(parse_reply(bad.as_bytes()), Err(XenApiError::Reply)), "{bad}");
        }
        assert!(matches!(parse_reply(&vec![b' '; MAX_REPLY + 1]), Err(XenApiError::Reply)));
    }

    #[test]
    fn an_error_does_nothing_to_a_terminal() {
        let many = vec!["\u{1b}[2J".repeat(100); 20];
        let reply = json!({ "error": { "message": "A\u{7}B", "data": many } }).to_string();
        let said = parse_reply(reply.as_bytes()).unwrap_err().to_string();
        assert!(said.starts_with("the toolstack says AB ([2J[2J") && said.len() < 2000, "{said}");
        assert!(!said.chars().any(char::is_control));
    }
}
