//! Files and answers over HTTP/1.1, with or without TLS.
//!
//! ```text
//!   GET, HEAD  /<name>      a file of the set: Content-Length, ETag (its SHA-256), Range, If-Range, If-None-Match
//!   GET, POST  /answers     the answers for whoever asks, 204 if none are for it; only over TLS where there is TLS
//! ```
//! UEFI firmware asks with HEAD for the length, and takes a program for one by its type `application/efi` (EDK2 `HttpBootDxe`).
//! Requests name files of the set or nothing: no path of the file system is ever made from one. There is an end to how many are
//! connected, how long a head may take, how long a body is, and how long a client may take nothing.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Channel, Either, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use xenolith_netboot::{Identity, MAX_IDENTITY, Range, range};

use crate::{Event, Shared, answers::NoAnswers, set::Served};

/// Connections at once, over each listener.
const CONNECTIONS: usize = 512;
/// How long the head of a request, a TLS greeting or a body may take to come.
const GREETING: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what it asked for.
const STALL: Duration = Duration::from_secs(60);
/// Bytes of a file that are read at once.
const CHUNK: u64 = 1 << 20;
/// Where answers are asked for.
pub(crate) const ANSWERS: &str = "/answers";

type Body = Either<Full<Bytes>, Channel<Bytes, std::io::Error>>;

/// How a listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Plain,
    Tls,
}

impl Over {
    fn protocol(self) -> &'static str {
        match self {
            Self::Plain => "HTTP",
            Self::Tls => "HTTPS",
        }
    }
}

/// Takes connections as long as it is polled.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.tell(Event::Trouble { what: format!("a connection was not taken: {error}") });
                // Out of files: the next try would fail just as fast.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(shared, stream, peer, Over::Plain).await,
                Some(tls) => match timeout(GREETING, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(shared, stream, peer, Over::Tls).await,
                    Ok(Err(error)) => shared.refused(peer, "HTTPS", format!("no TLS: {error}")),
                    Err(_) => shared.refused(peer, "HTTPS", "no TLS greeting came".to_owned()),
                },
            }
            drop(place);
        });
    }
}

async fn connection<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, over: Over)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request, peer, over).await) }
    });
    // How it ended is told for each file; a client that goes away is no trouble.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
    over: Over,
) -> Response<Body> {
    if request.uri().path() == ANSWERS {
        return answers(shared, request, peer, over).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    }
    let Some(file) = shared.set.find(request.uri().path()) else {
        let name: String = request.uri().path().chars().take(80).collect();
        shared.refused(peer, over.protocol(), format!("{name:?} is no file of the set"));
        return refuse(StatusCode::NOT_FOUND, "no such file in the network boot set");
    };
    send(shared, &request, file, peer, over)
}

/// The answer to a request for a file.
fn send(
    shared: &Arc<Shared>,
    request: &Request<Incoming>,
    file: &Served,
    peer: SocketAddr,
    over: Over,
) -> Response<Body> {
    let field = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let tag = format!("\"{}\"", file.sum);
    let has_tag = |value: &str| value.split(',').any(|one| one.trim() == tag || one.trim() == "*");
    if field(header::IF_NONE_MATCH).is_some_and(has_tag) {
        return with(
            Response::builder().status(StatusCode::NOT_MODIFIED).header(header::ETAG, &tag),
            empty(),
        );
    }
    // A part of another file than the one that the client has begun would not fit to it.
    let wanted = field(header::RANGE).filter(|_| field(header::IF_RANGE).is_none_or(|value| value == tag));
    let base = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, content_type(&file.name));
    let (part, response) = match range(wanted, file.size) {
        Range::Whole => (0..file.size, base.status(StatusCode::OK)),
        Range::Part(part) => {
            let place = format!("bytes {}-{}/{}", part.start, part.end - 1, file.size);
            (part, base.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, place))
        }
        Range::Outside => {
            let place = format!("bytes */{}", file.size);
            let response =
                base.status(StatusCode::RANGE_NOT_SATISFIABLE).header(header::CONTENT_RANGE, place);
            return with(response, empty());
        }
    };
    let response = response.header(header::CONTENT_LENGTH, part.end - part.start);
    if *request.method() == Method::HEAD {
        return with(response, empty());
    }
    let (sender, body) = Channel::new(2);
    tokio::spawn(pump(Arc::clone(shared), file.clone(), part, sender, peer, over));
    with(response, Either::Right(body))
}

/// Reads a part of a file and hands it to the connection, as fast as that takes it.
async fn pump(
    shared: Arc<Shared>,
    file: Served,
    part: std::ops::Range<u64>,
    mut sender: http_body_util::channel::Sender<Bytes, std::io::Error>,
    peer: SocketAddr,
    over: Over,
) {
    let (begin, mut at) = (Instant::now(), part.start);
    while at < part.end {
        let (reader, length) = (file.clone(), CHUNK.min(part.end - at));
        // Reading a disk would hold up everybody else on this thread.
        let read = tokio::task::spawn_blocking(move || reader.read(at, length)).await;
        match read.map_err(std::io::Error::other).and_then(|read| read) {
            Ok(bytes) => match timeout(STALL, sender.send_data(Bytes::from(bytes))).await {
                Ok(Ok(())) => at += length,
                _ => break,
            },
            Err(error) => {
                shared.tell(Event::Trouble { what: format!("{} cannot be read: {error}", file.name) });
                sender.abort(error);
                break;
            }
        }
    }
    let sent = (at - part.start, part.end - part.start);
    shared.tell(Event::sent(peer, over.protocol(), &file.name, sent, begin.elapsed()));
}

/// The answers for a machine.
async fn answers(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
    over: Over,
) -> Response<Body> {
    let refused = |status, why: String| {
        let response = refuse(status, &why);
        shared.refused(peer, over.protocol(), why);
        response
    };
    let Some(library) = &shared.answers else {
        return refused(StatusCode::NOT_FOUND, "there are no answers here".to_owned());
    };
    if over == Over::Plain && shared.has_tls {
        return refused(StatusCode::FORBIDDEN, "answers are given over HTTPS only".to_owned());
    }
    let identity = match *request.method() {
        Method::GET => Identity::of_query(request.uri().query().unwrap_or_default()),
        Method::POST => {
            let body = timeout(GREETING, Limited::new(request.into_body(), MAX_IDENTITY).collect()).await;
            let Ok(Ok(body)) = body else {
                return refused(
                    StatusCode::BAD_REQUEST,
                    "what the machine says of itself did not come".to_owned(),
                );
            };
            match Identity::parse(&body.to_bytes()) {
                Ok(identity) => identity,
                Err(error) => {
                    let why = format!("what the machine says of itself cannot be read: {error}");
                    return refused(StatusCode::BAD_REQUEST, why);
                }
            }
        }
        _ => return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST"),
    };
    match library.choose(&identity) {
        // Not 404: an installation takes that for a wrong address, and for a failure.
        Err(none @ NoAnswers::None(_)) => {
            shared.refused(peer, over.protocol(), none.to_string());
            with(Response::builder().status(StatusCode::NO_CONTENT), empty())
        }
        Err(several @ NoAnswers::Several { .. }) => refused(StatusCode::CONFLICT, several.to_string()),
        Ok(entry) => {
            shared.tell(Event::Answered { client: peer, machine: identity.to_string(), file: entry.name() });
            let response = Response::builder()
                .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
                .header(header::CACHE_CONTROL, "no-store");
            with(response, Either::Left(Full::from(entry.text().to_owned())))
        }
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("efi") => "application/efi",
        Some("json") => "application/json",
        Some("ipxe") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let response =
        Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    with(response, Either::Left(Full::from(format!("{why}\n"))))
}

fn empty() -> Body {
    Either::Left(Full::default())
}

fn with(response: hyper::http::response::Builder, body: Body) -> Response<Body> {
    response.body(body).expect("our fields are plain text")
}
