//! The proxy beside a DHCP server: tells clients that want to boot what to boot, and never hands out an address.
//!
//! It hears what comes in on one interface and answers PXE and HTTP clients only; everybody else's DHCP goes on as if it were not
//! there. What is told is decided by `xenolith_netboot::offer`.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};

use tokio::net::UdpSocket;
use xenolith_netboot::{
    Class, Offer,
    dhcp::{self, Boot, CLIENT_PORT, Kind, Question, SERVER_PORT},
    offer,
};

use crate::{Event, Places, Shared};

/// Which of the two ports it listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// 67, where clients look for offers.
    Offers,
    /// 4011, where PXE clients come back to who has made one.
    Requests,
}

/// Answers questions as long as it is polled.
pub(crate) async fn serve(shared: Arc<Shared>, socket: UdpSocket, at: At, places: Places) {
    let mut buffer = [0; dhcp::LONGEST + 1];
    loop {
        // An error here is one that an earlier message of ours has met.
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(question) = dhcp::question(&buffer[..length]) else { continue };
        let Some((message, told)) = answer(&question, at, &places) else { continue };
        let client = mac(question.mac);
        let Some(message) = message else {
            shared.tell(Event::Offered { client, told });
            continue;
        };
        match socket.send_to(&message, destination(&question, at, peer)).await {
            Ok(_) => shared.tell(Event::Offered { client, told }),
            Err(error) => {
                shared.tell(Event::Trouble { what: format!("{client} could not be answered: {error}") })
            }
        }
    }
}

/// What a question is answered with, and the words for it; nothing at all if it is not for us.
fn answer(question: &Question, at: At, places: &Places) -> Option<(Option<Vec<u8>>, String)> {
    let is_for_us = match at {
        // The REQUEST on port 67 is for whoever has offered the address.
        At::Offers => question.kind == Kind::Discover && question.asked.class != Class::Ordinary,
        At::Requests => question.kind == Kind::Request && question.asked.class == Class::Pxe,
    };
    if !is_for_us {
        return None;
    }
    let offer = offer(&question.asked);
    let url;
    let boot = match offer {
        Offer::Nothing { .. } => return Some((None, offer.to_string())),
        Offer::Tftp { file } => Boot::Tftp(file),
        Offer::Http { file } => {
            url = places.url(file);
            if question.asked.class == Class::Http { Boot::Http(&url) } else { Boot::Script(&url) }
        }
    };
    let message = dhcp::answer(question, places.address, boot, places.answers.as_deref());
    let told = match boot {
        Boot::Http(url) | Boot::Script(url) => url.to_owned(),
        Boot::Tftp(_) => offer.to_string(),
    };
    Some((Some(message), told))
}

/// Where the answer goes (RFC 2131 §4.1): back to a relay; to whoever has an address; else to everybody on the wire.
fn destination(question: &Question, at: At, peer: SocketAddr) -> SocketAddr {
    if let Some(relay) = question.relay {
        return (relay, SERVER_PORT).into();
    }
    if at == At::Requests && !peer.ip().is_unspecified() {
        return peer;
    }
    let to = question.client.unwrap_or(Ipv4Addr::BROADCAST);
    SocketAddrV4::new(to, CLIENT_PORT).into()
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use xenolith_netboot::Asked;

    use super::*;

    fn places() -> Places {
        Places {
            address: [192, 0, 2, 1].into(),
            http: "192.0.2.1:8000".parse().unwrap(),
            answers: Some("http://192.0.2.1:8000/answers insecure".to_owned()),
        }
    }

    fn question(kind: Kind, class: Class, architecture: u16) -> Question {
        Question {
            kind,
            transaction: [1, 2, 3, 4],
            flags: [0x80, 0],
            client: None,
            relay: None,
            mac: [0x52, 0x54, 0, 0, 0, 1],
            machine: None,
            asked: Asked { class, is_ipxe: false, architecture: Some(architecture) },
        }
    }

    fn told(kind: Kind, class: Class, architecture: u16, at: At) -> Option<(bool, String)> {
        answer(&question(kind, class, architecture), at, &places())
            .map(|(message, told)| (message.is_some(), told))
    }

    #[test]
    fn clients_that_want_to_boot_are_told_what() {
        let http = told(Kind::Discover, Class::Http, 16, At::Offers).unwrap();
        assert_eq!(http, (true, "http://192.0.2.1:8000/xenolith.efi".to_owned()));
        let pxe = told(Kind::Discover, Class::Pxe, 7, At::Offers).unwrap();
        assert_eq!(pxe, (true, "xenolith.efi over TFTP".to_owned()));
        assert!(told(Kind::Request, Class::Pxe, 7, At::Requests).unwrap().0);
    }

    #[test]
    fn whoever_cannot_start_it_gets_no_message_and_the_log_a_reason() {
        let (sent, why) = told(Kind::Discover, Class::Pxe, 0, At::Offers).unwrap();
        assert!(!sent && why.contains("BIOS"), "{why}");
    }

    #[test]
    fn the_dhcp_server_is_left_alone() {
        assert_eq!(told(Kind::Discover, Class::Ordinary, 7, At::Offers), None);
        assert_eq!(told(Kind::Request, Class::Http, 16, At::Offers), None);
        assert_eq!(told(Kind::Request, Class::Pxe, 7, At::Offers), None);
        assert_eq!(told(Kind::Discover, Class::Pxe, 7, At::Requests), None);
        assert_eq!(told(Kind::Request, Class::Http, 16, At::Requests), None);
    }

    #[test]
    fn answers_find_their_way() {
        let peer: SocketAddr = "192.0.2.77:4011".parse().unwrap();
        let mut asked = question(Kind::Discover, Class::Pxe, 7);
        assert_eq!(destination(&asked, At::Offers, peer).to_string(), "255.255.255.255:68");
        assert_eq!(destination(&asked, At::Requests, peer), peer);
        asked.client = Some([192, 0, 2, 77].into());
        assert_eq!(destination(&asked, At::Offers, peer).to_string(), "192.0.2.77:68");
        asked.relay = Some([192, 0, 2, 254].into());
        assert_eq!(destination(&asked, At::Offers, peer).to_string(), "192.0.2.254:67");
    }
}
