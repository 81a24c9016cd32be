//! The boot file over TFTP, for firmware that can do no more.
//!
//! Each transfer has a socket of its own, connected to its client, as the RFC wants it; the decisions are in `xenolith_netboot::tftp`.
//! A request that comes again while its transfer runs begins nothing new. There is an end to transfers at once and to silence.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::UdpSocket,
    sync::Semaphore,
    time::{Duration, Instant, timeout_at},
};
use xenolith_netboot::tftp::{self, Request, Send, Transfer};

use crate::{Event, Shared, set::Served};

/// Transfers at once: two racks.
const TRANSFERS: usize = 96;
/// However patient both sides are, a boot file does not take longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Who has a transfer now.
type Busy = Arc<Mutex<HashSet<SocketAddr>>>;

/// Takes requests as long as it is polled. Transfers come from `address`.
pub(crate) async fn serve(shared: Arc<Shared>, socket: UdpSocket, address: Ipv4Addr) {
    let (places, busy) = (Arc::new(Semaphore::new(TRANSFERS)), Busy::default());
    let mut buffer = [0; tftp::LONGEST + 1];
    loop {
        // An error here is one that an earlier message of ours has met.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let request = match tftp::request(&buffer[..length]) {
            Ok(request) => request,
            Err(why) => {
                shared.refused(peer, "TFTP", why.to_string());
                let _ = socket.send_to(&why.message(), peer).await;
                continue;
            }
        };
        let Some(file) = shared.set.find(&request.name).cloned() else {
            let name: String = request.name.chars().take(80).collect();
            shared.refused(peer, "TFTP", format!("{name:?} is no file of the set"));
            let _ = socket.send_to(&tftp::error(1, "no such file"), peer).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.refused(peer, "TFTP", format!("{TRANSFERS} transfers are under way"));
            let _ = socket.send_to(&tftp::error(0, "busy, try again"), peer).await;
            continue;
        };
        if !busy.lock().unwrap_or_else(PoisonError::into_inner).insert(peer) {
            continue;
        }
        let (shared, busy) = (Arc::clone(&shared), Arc::clone(&busy));
        tokio::spawn(async move {
            if let Err(error) = transfer(&shared, &request, &file, address, peer).await {
                shared.tell(Event::Trouble {
                    what: format!("{}: {} over TFTP: {error}", peer.ip(), file.name),
                });
            }
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
            drop(place);
        });
    }
}

async fn transfer(
    shared: &Shared,
    request: &Request,
    file: &Served,
    address: Ipv4Addr,
    peer: SocketAddr,
) -> io::Result<()> {
    let socket = UdpSocket::bind((address, 0)).await?;
    socket.connect(peer).await?;
    let begin = Instant::now();
    let (mut transfer, mut send) = Transfer::begin(request, file.size);
    let mut deadline = begin;
    let mut buffer = [0; tftp::LONGEST];
    loop {
        match &send {
            Send::Greeting(message) => deliver(&socket, message).await?,
            Send::Blocks(blocks) => {
                for block in blocks.clone() {
                    let place = transfer.place(block);
                    let mut message = tftp::data(block).to_vec();
                    message.extend(file.read(place.start, place.end - place.start)?);
                    deliver(&socket, &message).await?;
                }
            }
            Send::Nothing => {}
            Send::Finished | Send::GivenUp => break,
        }
        if begin.elapsed() > LONGEST {
            break;
        }
        // What changes nothing buys no time.
        if send != Send::Nothing {
            deadline = Instant::now() + request.timeout;
        }
        send = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Err(_) => transfer.silence(),
            Ok(Ok(length)) => {
                tftp::reply(&buffer[..length]).map_or(Send::Nothing, |reply| transfer.hear(reply))
            }
            // Nobody listens there any more (ICMP).
            Ok(Err(_)) => Send::GivenUp,
        };
    }
    shared.tell(Event::sent(peer, "TFTP", &file.name, (transfer.arrived(), file.size), begin.elapsed()));
    Ok(())
}

/// A client that is gone is found out by its silence.
async fn deliver(socket: &UdpSocket, message: &[u8]) -> io::Result<()> {
    match socket.send(message).await {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(()),
    }
}
