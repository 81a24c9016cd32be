//! DHCP as a proxy speaks it: who asks to boot, and what it is told. Never an address.
//!
//! ```text
//!   client: DISCOVER ──▶ all, port 67     DHCP server: OFFER (address)      we: OFFER (no address; where to boot from)
//!   client: REQUEST  ──▶ us, port 4011    (PXE only, where firmware asks twice)  we: ACK (the same once more)
//! ```
//! The message is fixed fields up to byte 236, a magic number, then options of code, length and value. Source: RFC 2131 §2, RFC 2132,
//! RFC 4578 (93, 97), PXE 2.1 §2.2 (43, 60, proxies), UEFI 2.10 §24.7.3 (HTTP boot; there too an offer without an address may bring
//! the URL). An own reader of six options: the crate for it brings a DNS library along.

use std::net::Ipv4Addr;

use crate::offer::{Asked, Class};

/// Messages are not longer than this on any wire that we listen on.
pub const LONGEST: usize = 1500;
/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;
/// Where PXE clients ask a proxy once more.
pub const PROXY_PORT: u16 = 4011;
/// The option of private use that says where answers for an installation are (RFC 3942: 224 to 254 are nobody's).
pub const ANSWERS_OPTION: u8 = 224;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const CLASS: u8 = 60;
const VENDOR: u8 = 43;
const SERVER_NAME: u8 = 66;
const BOOT_FILE: u8 = 67;
const USER_CLASS: u8 = 77;
const ARCHITECTURE: u8 = 93;
const MACHINE: u8 = 97;
const END: u8 = 255;
/// The field `file` and its end with a zero.
const FILE_FIELD: usize = 128;

/// A question that a proxy may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whether it asks for offers, or a second time after one.
    pub kind: Kind,
    /// What the answer repeats so that the client knows it for its own.
    pub transaction: [u8; 4],
    /// The flags, with the wish for a broadcast.
    pub flags: [u8; 2],
    /// The client's address, if it has one already.
    pub client: Option<Ipv4Addr>,
    /// The relay that passed it on.
    pub relay: Option<Ipv4Addr>,
    /// The client's Ethernet address.
    pub mac: [u8; 6],
    /// The UUID of the machine with its type in front, to be repeated.
    pub machine: Option<[u8; 17]>,
    /// What it says of itself.
    pub asked: Asked,
}

/// The kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who offers something?
    Discover,
    /// I take it; tell me once more.
    Request,
}

/// Why a message is no question for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoQuestion {
    /// Shorter than the fixed part, too long, or without the magic number.
    #[error("it is no DHCP message")]
    Shape,
    /// An answer, or not over Ethernet.
    #[error("it is no question of an Ethernet client")]
    NotAsked,
    /// Neither DISCOVER nor REQUEST.
    #[error("it is of another kind")]
    Kind,
    /// An option goes beyond the message.
    #[error("its option {0} is broken")]
    Option(u8),
}

/// What a client is told to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot<'a> {
    /// This URL, and the class of HTTP clients so that firmware takes it.
    Http(&'a str),
    /// This URL, for iPXE, which wants the class of PXE clients.
    Script(&'a str),
    /// This file from our TFTP server.
    Tftp(&'a str),
}

/// Reads a question.
///
/// # Errors
/// [`NoQuestion`]; it is then not answered.
pub fn question(message: &[u8]) -> Result<Question, NoQuestion> {
    let fixed: &[u8; OPTIONS] = message.first_chunk().ok_or(NoQuestion::Shape)?;
    if message.len() > LONGEST || fixed[236..] != MAGIC {
        return Err(NoQuestion::Shape);
    }
    if fixed[..3] != [1, 1, 6] {
        return Err(NoQuestion::NotAsked);
    }
    let address = |at: usize| {
        let address = Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        (!address.is_unspecified()).then_some(address)
    };
    let mut found = Found::default();
    found.read(&message[OPTIONS..])?;
    let class = match found.class {
        Some(text) if text.starts_with(b"HTTPClient") => Class::Http,
        Some(text) if text.starts_with(b"PXEClient") => Class::Pxe,
        _ => Class::Ordinary,
    };
    let is_ipxe = found.user.is_some_and(|text| text == b"iPXE" || text == b"\x04iPXE");
    let architecture =
        found.architecture.and_then(|value| value.first_chunk()).copied().map(u16::from_be_bytes);
    Ok(Question {
        kind: match found.kind {
            Some([1]) => Kind::Discover,
            Some([3]) => Kind::Request,
            _ => return Err(NoQuestion::Kind),
        },
        transaction: [fixed[4], fixed[5], fixed[6], fixed[7]],
        flags: [fixed[10], fixed[11]],
        client: address(12),
        relay: address(24),
        mac: [fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]],
        machine: found.machine.and_then(|value| value.try_into().ok()),
        asked: Asked { class, is_ipxe, architecture },
    })
}

/// The options that matter; the first of each counts.
#[derive(Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    class: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    architecture: Option<&'a [u8]>,
    machine: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn read(&mut self, mut rest: &'a [u8]) -> Result<(), NoQuestion> {
        loop {
            match rest {
                [] | [END, ..] => return Ok(()),
                [0, tail @ ..] => rest = tail,
                [code, tail @ ..] => {
                    let broken = NoQuestion::Option(*code);
                    let (length, tail) = tail.split_first().ok_or(broken)?;
                    let (value, tail) = tail.split_at_checked(usize::from(*length)).ok_or(broken)?;
                    let place = match *code {
                        KIND => &mut self.kind,
                        CLASS => &mut self.class,
                        USER_CLASS => &mut self.user,
                        ARCHITECTURE => &mut self.architecture,
                        MACHINE => &mut self.machine,
                        _ => &mut None,
                    };
                    place.get_or_insert(value);
                    rest = tail;
                }
            }
        }
    }
}

/// The answer of a proxy at this address: no address for the client, what to boot, and where its answers are. A text that does not
/// fit into an option is left out; ours are checked to fit when the server starts.
pub fn answer(question: &Question, server: Ipv4Addr, boot: Boot<'_>, answers: Option<&str>) -> Vec<u8> {
    let (Boot::Http(file) | Boot::Script(file) | Boot::Tftp(file)) = boot;
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[4..8].copy_from_slice(&question.transaction);
    message[10..12].copy_from_slice(&question.flags);
    message[20..24].copy_from_slice(&server.octets());
    message[24..28].copy_from_slice(&question.relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    message[28..34].copy_from_slice(&question.mac);
    if file.len() < FILE_FIELD {
        message[108..108 + file.len()].copy_from_slice(file.as_bytes());
    }
    message.extend(MAGIC);
    let mut option = |code: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len()) {
            message.extend([code, length]);
            message.extend_from_slice(value);
        }
    };
    option(KIND, &[if question.kind == Kind::Discover { 2 } else { 5 }]);
    option(SERVER, &server.octets());
    match boot {
        Boot::Http(_) => option(CLASS, b"HTTPClient"),
        Boot::Script(_) | Boot::Tftp(_) => {
            option(CLASS, b"PXEClient");
            // PXE_DISCOVERY_CONTROL, bit 3: no menu and no search, take the file that this answer names.
            option(VENDOR, &[6, 1, 8, END]);
            option(SERVER_NAME, server.to_string().as_bytes());
        }
    }
    option(BOOT_FILE, file.as_bytes());
    if let Some(machine) = &question.machine {
        option(MACHINE, machine);
    }
    if let Some(answers) = answers {
        option(ANSWERS_OPTION, answers.as_bytes());
    }
    message.push(END);
    message.resize(message.len().max(300), 0); // BOOTP's minimum; some relays drop less
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn message(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
        message[10] = 0x80;
        message[28..34].copy_from_slice(&MAC);
        message.extend(MAGIC);
        for (code, value) in options {
            message.extend([*code, u8::try_from(value.len()).unwrap()]);
            message.extend_from_slice(value);
        }
        message.push(END);
        message
    }

    fn pxe() -> Vec<u8> {
        message(&[
            (KIND, &[1]),
            (MACHINE, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            (ARCHITECTURE, &[0, 7]),
            (CLASS, b"PXEClient:Arch:00007:UNDI:003001"),
        ])
    }

    /// An option of an answer.
    fn option(message: &[u8], code: u8) -> Option<Vec<u8>> {
        let mut rest = &message[OPTIONS..];
        while let [found, length, tail @ ..] = rest {
            let (value, tail) = tail.split_at(usize::from(*length));
            if *found == code {
                return Some(value.to_vec());
            }
            rest = tail;
            if rest.first() == Some(&END) {
                return None;
            }
        }
        None
    }

    #[test]
    fn firmware_that_asks_for_pxe_is_understood() {
        let question = question(&pxe()).unwrap();
        let asked = Asked { class: Class::Pxe, is_ipxe: false, architecture: Some(7) };
        assert_eq!((question.kind, question.asked, question.mac), (Kind::Discover, asked, MAC));
        assert_eq!((question.client, question.relay), (None, None));
        assert_eq!(question.machine.map(|machine| machine[16]), Some(16));
    }

    #[test]
    fn http_clients_ipxe_and_ordinary_clients_are_told_apart() {
        let http: &[(u8, &[u8])] =
            &[(KIND, &[3]), (CLASS, b"HTTPClient:Arch:00016"), (ARCHITECTURE, &[0, 16])];
        let asked = question(&message(http)).unwrap();
        assert_eq!(
            (asked.kind, asked.asked.class, asked.asked.architecture),
            (Kind::Request, Class::Http, Some(16))
        );
        for user in [&b"iPXE"[..], b"\x04iPXE"] {
            let options: &[(u8, &[u8])] = &[(KIND, &[1]), (CLASS, b"PXEClient"), (USER_CLASS, user)];
            assert!(question(&message(options)).unwrap().asked.is_ipxe);
        }
        let ordinary = question(&message(&[(KIND, &[1]), (CLASS, b"MSFT 5.0")])).unwrap();
        assert_eq!(ordinary.asked.class, Class::Ordinary);
        assert_eq!(question(&message(&[(KIND, &[1])])).unwrap().asked.class, Class::Ordinary);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        assert_eq!(question(&[]), Err(NoQuestion::Shape));
        assert_eq!(question(&pxe()[..239]), Err(NoQuestion::Shape));
        assert_eq!(question(&pxe()[..246]), Err(NoQuestion::Option(MACHINE)));
        let mut long = pxe();
        long.resize(LONGEST + 1, 0);
        assert_eq!(question(&long), Err(NoQuestion::Shape));
        let mut answered = pxe();
        answered[0] = 2;
        assert_eq!(question(&answered), Err(NoQuestion::NotAsked));
        assert_eq!(question(&message(&[(KIND, &[7])])), Err(NoQuestion::Kind));
        assert_eq!(question(&message(&[])), Err(NoQuestion::Kind));
    }

    #[test]
    fn an_answer_has_no_address_and_repeats_what_makes_it_the_clients() {
        let asked = question(&pxe()).unwrap();
        let told = answer(&asked, US, Boot::Tftp("xenolith.efi"), Some("http://192.0.2.1/answers insecure"));
        assert_eq!(told[..12], [2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(told[16..20], [0; 4], "a proxy hands out no address");
        assert_eq!(told[20..24], US.octets());
        assert_eq!(told[28..34], MAC);
        assert_eq!(told[108..121], *b"xenolith.efi\0");
        assert_eq!(option(&told, KIND).unwrap(), [2]);
        assert_eq!(option(&told, CLASS).unwrap(), b"PXEClient");
        assert_eq!(option(&told, VENDOR).unwrap(), [6, 1, 8, 255]);
        assert_eq!(option(&told, MACHINE).unwrap().len(), 17);
        assert_eq!(option(&told, ANSWERS_OPTION).unwrap(), b"http://192.0.2.1/answers insecure");
        let again = Question { kind: Kind::Request, ..asked };
        assert_eq!(option(&answer(&again, US, Boot::Tftp("x"), None), KIND).unwrap(), [5]);
    }

    #[test]
    fn http_clients_are_answered_in_their_class_and_long_urls_stand_in_the_option_alone() {
        let asked = question(&pxe()).unwrap();
        let url = format!("http://h/{}", "x".repeat(150));
        let told = answer(&asked, US, Boot::Http(&url), None);
        assert_eq!(option(&told, CLASS).unwrap(), b"HTTPClient");
        assert_eq!(option(&told, VENDOR), None);
        assert_eq!(option(&told, BOOT_FILE).unwrap(), url.as_bytes());
        assert_eq!(told[108], 0);
        let endless = "x".repeat(300);
        assert_eq!(option(&answer(&asked, US, Boot::Http(&endless), None), BOOT_FILE), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = question(&bytes);
            let mut message = pxe()[..OPTIONS].to_vec();
            message.extend(tail);
            if let Ok(asked) = question(&message) {
                let told = answer(&asked, US, Boot::Script("http://h/x"), None);
                assert_eq!(question(&told), Err(NoQuestion::NotAsked), "an answer is no question");
            }
        }
    }
}
