//! DHCP as far as a boot needs it: one address, and the URL that says where the root lies.
//!
//! ```text
//!   us: DISCOVER ──▶ all          they: OFFER (address, mask, server, URL)      an offer without URL is passed over
//!   us: REQUEST  ──▶ all          they: ACK   (the same once more; what it says counts)
//! ```
//! An offer without an address comes from a proxy: a server that only knows the URL, beside the one with the addresses.
//! We say that we are an HTTP boot client (options 60 and 93), because servers hand out a URL only to those;
//! the same server rule that started the firmware over HTTP then serves us. The answer comes from anyone on
//! the wire: each field is checked, a wrong one is a refused answer, and the worst that a liar can do is to
//! send us to a place whose root verity does not accept. A lease is not renewed: what was configured is taken
//! back when the files are here.
//!
//! The message is fixed fields up to byte 236, a magic number, then options of code, length and value.
//! Source: RFC 2131, RFC 2132, RFC 4578 (93), UEFI 2.10 §24.7 (HTTP boot). An own reader of ten options,
//! since the crate for it (dhcproto 0.15) brings a DNS library along. Overloaded `sname` and `file` fields
//! (option 52) are left out, except that `file` may hold the URL.

use std::net::Ipv4Addr;

/// Messages are not longer than this on any wire that we ask on.
pub const LONGEST: usize = 1500;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const OPTIONS: usize = 240;
const FILE: std::ops::Range<usize> = 108..236;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS: u8 = 6;
const REQUESTED_ADDRESS: u8 = 50;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const LONGEST_MESSAGE: u8 = 57;
const CLASS: u8 = 60;
const BOOT_FILE: u8 = 67;
const ARCHITECTURE: u8 = 93;
const ANSWERS: u8 = 224;
const END: u8 = 255;

/// The kinds of answers that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address to ask for.
    Offer,
    /// No address, but maybe a URL: from a proxy, beside a server that has addresses.
    Proxy,
    /// The address is ours.
    Ack,
    /// It is not.
    Nak,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What kind of answer.
    pub kind: Kind,
    /// The address for us; unspecified from a proxy.
    pub address: Ipv4Addr,
    /// How many bits of it name the network.
    pub prefix: u8,
    /// Who answers; named again when asking for the address.
    pub server: Ipv4Addr,
    /// The way out of the network.
    pub router: Option<Ipv4Addr>,
    /// Name servers, three at most (resolv.conf takes no more).
    pub dns: Vec<Ipv4Addr>,
    /// What to boot: option 67, or the field `file`.
    pub boot_file: Option<String>,
    /// `siaddr`: where files lie, if there is no URL.
    pub next_server: Option<Ipv4Addr>,
    /// Where answers for an installation are (option 224). Not for us to understand.
    pub answers: Option<String>,
}

/// Why an answer is not one for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Shorter than the fixed part, or without the magic number.
    #[error("it is no DHCP message")]
    Shape,
    /// Addressed to another machine or to an earlier question.
    #[error("it answers another question")]
    NotOurs,
    /// An option goes beyond the message, or has a length that it cannot have.
    #[error("its option {0} is broken")]
    Option(u8),
    /// Something that an answer must have is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// An address that no host can have, or a mask with holes.
    #[error("its {0} makes no sense")]
    Nonsense(&'static str),
}

/// Our question: a DISCOVER, or a REQUEST for what an offer holds.
pub fn question(mac: [u8; 6], transaction: u32, offer: Option<&Answer>) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0..4].copy_from_slice(&[1, 1, 6, 0]); // a request, over Ethernet, addresses of 6 bytes, no relay
    message[4..8].copy_from_slice(&transaction.to_be_bytes());
    message[10] = 0x80; // answer by broadcast: without an address we hear nothing else
    message[28..34].copy_from_slice(&mac);
    message.extend(MAGIC);
    let mut option = |code: u8, value: &[u8]| {
        message.push(code);
        message.push(u8::try_from(value.len()).expect("our options are short"));
        message.extend_from_slice(value);
    };
    option(KIND, &[if offer.is_some() { 3 } else { 1 }]);
    if let Some(offer) = offer {
        option(REQUESTED_ADDRESS, &offer.address.octets());
        option(SERVER, &offer.server.octets());
    }
    option(LONGEST_MESSAGE, &1472_u16.to_be_bytes());
    option(CLASS, b"HTTPClient:Arch:00016:UNDI:003001");
    option(ARCHITECTURE, &16_u16.to_be_bytes());
    option(WANTED, &[SUBNET_MASK, ROUTER, DNS, BOOT_FILE, ANSWERS]);
    message.push(END);
    message.resize(message.len().max(300), 0); // BOOTP's minimum; some relays drop less
    message
}

/// Reads an answer to our question.
///
/// # Errors
/// [`NoAnswer`] says what is wrong with it; it is then passed over.
pub fn answer(message: &[u8], mac: [u8; 6], transaction: u32) -> Result<Answer, NoAnswer> {
    if message.len() > LONGEST || message.get(236..OPTIONS) != Some(&MAGIC) {
        return Err(NoAnswer::Shape);
    }
    let is_ours =
        message[0..3] == [2, 1, 6] && message[4..8] == transaction.to_be_bytes() && message[28..34] == mac;
    if !is_ours {
        return Err(NoAnswer::NotOurs);
    }
    let options = Options(&message[OPTIONS..]);
    let address = field(message, 16);
    let kind = match options.get(KIND)?.ok_or(NoAnswer::Missing("message type"))? {
        [2] if address.is_unspecified() => Kind::Proxy,
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return Err(NoAnswer::Nonsense("message type")),
    };
    let server = options.address(SERVER)?.ok_or(NoAnswer::Missing("server identifier"))?;
    if matches!(kind, Kind::Offer | Kind::Ack) && !is_host(address) {
        return Err(NoAnswer::Nonsense("address"));
    }
    let mut dns = Vec::new();
    for some in options.get(DNS)?.unwrap_or_default().chunks(4) {
        let address: [u8; 4] = some.try_into().map_err(|_| NoAnswer::Option(DNS))?;
        dns.push(Ipv4Addr::from(address));
    }
    dns.retain(|address| is_host(*address));
    dns.truncate(3);
    Ok(Answer {
        kind,
        address,
        prefix: if kind == Kind::Proxy { 32 } else { prefix(&options, address)? },
        server,
        router: options.address(ROUTER)?.filter(|router| is_host(*router)),
        dns,
        boot_file: boot_file(message, &options)?,
        next_server: Some(field(message, 20)).filter(|server| is_host(*server)),
        answers: answers(&options)?,
    })
}

fn field(message: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(message[at], message[at + 1], message[at + 2], message[at + 3])
}

fn is_host(address: Ipv4Addr) -> bool {
    let is_reserved = address.octets()[0] == 0 || address.octets()[0] >= 240;
    !(is_reserved || address.is_loopback() || address.is_multicast())
}

/// From the mask; without one by the old classes of addresses, as RFC 2131 leaves it to us.
fn prefix(options: &Options<'_>, address: Ipv4Addr) -> Result<u8, NoAnswer> {
    let Some(mask) = options.address(SUBNET_MASK)? else {
        return Ok(match address.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        });
    };
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    match u8::try_from(ones) {
        Ok(prefix @ 8..=32) if bits.checked_shl(ones).unwrap_or(0) == 0 => Ok(prefix),
        _ => Err(NoAnswer::Nonsense("subnet mask")),
    }
}

/// Text up to the first zero; only characters that a URL or path can have.
fn boot_file(message: &[u8], options: &Options<'_>) -> Result<Option<String>, NoAnswer> {
    let file = if options.get(OVERLOAD)?.is_some() { &[][..] } else { &message[FILE] };
    let bytes = options.get(BOOT_FILE)?.unwrap_or(file);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = &bytes[..end];
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(NoAnswer::Nonsense("boot file name"));
    }
    Ok(Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty()))
}

/// One line of plain characters. Anything else counts as not said: it is not needed to boot.
fn answers(options: &Options<'_>) -> Result<Option<String>, NoAnswer> {
    let bytes = options.get(ANSWERS)?.unwrap_or_default();
    let is_line = !bytes.is_empty() && bytes.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic());
    Ok(is_line.then(|| String::from_utf8_lossy(bytes).into_owned()))
}

/// The options part of a message. Few options are asked for, so each is looked up from the start.
struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The first option with this code. Long values that are split over several (RFC 3396) are not put
    /// together: no URL of ours is longer than 255 bytes.
    fn get(&self, code: u8) -> Result<Option<&'a [u8]>, NoAnswer> {
        let mut rest = self.0;
        loop {
            match rest {
                [] | [END, ..] => return Ok(None),
                [0, tail @ ..] => rest = tail,
                [found, tail @ ..] => {
                    let broken = NoAnswer::Option(*found);
                    let (length, tail) = tail.split_first().ok_or(broken)?;
                    let (value, tail) = tail.split_at_checked(usize::from(*length)).ok_or(broken)?;
                    if *found == code {
                        return Ok(Some(value));
                    }
                    rest = tail;
                }
            }
        }
    }

    /// The first address of an option that holds one or more.
    fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, NoAnswer> {
        let Some(value) = self.get(code)? else { return Ok(None) };
        let first: [u8; 4] = *value.first_chunk().ok_or(NoAnswer::Option(code))?;
        Ok(Some(Ipv4Addr::from(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// An answer as a server sends it, with these options.
    fn message(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = question(MAC, 7, None)[..OPTIONS].to_vec();
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 0, 2, 15]);
        message[20..24].copy_from_slice(&[10, 0, 2, 2]);
        for (code, value) in options {
            message.extend([*code, u8::try_from(value.len()).unwrap()]);
            message.extend_from_slice(value);
        }
        message.push(END);
        message
    }

    const GOOD: [(u8, &[u8]); 6] = [
        (KIND, &[2]),
        (SERVER, &[10, 0, 2, 2]),
        (SUBNET_MASK, &[255, 255, 255, 0]),
        (ROUTER, &[10, 0, 2, 2]),
        (DNS, &[10, 0, 2, 3, 10, 0, 2, 4]),
        (BOOT_FILE, b"http://10.0.2.2:8000/x/boot.efi"),
    ];

    fn with(code: u8, value: &[u8]) -> Result<Answer, NoAnswer> {
        let mut options: Vec<(u8, &[u8])> = GOOD.into_iter().filter(|(other, _)| *other != code).collect();
        options.push((code, value));
        answer(&message(&options), MAC, 7)
    }

    fn without(code: u8) -> Result<Answer, NoAnswer> {
        let options: Vec<(u8, &[u8])> = GOOD.into_iter().filter(|(other, _)| *other != code).collect();
        answer(&message(&options), MAC, 7)
    }

    #[test]
    fn a_good_offer_is_read() {
        assert_eq!(
            answer(&message(&GOOD), MAC, 7).unwrap(),
            Answer {
                kind: Kind::Offer,
                address: [10, 0, 2, 15].into(),
                prefix: 24,
                server: [10, 0, 2, 2].into(),
                router: Some([10, 0, 2, 2].into()),
                dns: vec![[10, 0, 2, 3].into(), [10, 0, 2, 4].into()],
                boot_file: Some("http://10.0.2.2:8000/x/boot.efi".to_owned()),
                next_server: Some([10, 0, 2, 2].into()),
                answers: None,
            }
        );
    }

    #[test]
    fn our_questions_have_the_shape_of_the_rfc() {
        let discover = question(MAC, 0x0102_0304, None);
        assert_eq!(discover.len(), 300);
        assert_eq!(&discover[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(&discover[236..243], [99, 130, 83, 99, 53, 1, 1]);
        let offer = answer(&message(&GOOD), MAC, 7).unwrap();
        let request = question(MAC, 7, Some(&offer));
        assert_eq!(&request[240..255], [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
    }

    #[test]
    fn answers_to_others_are_passed_over() {
        let good = message(&GOOD);
        assert_eq!(answer(&good, MAC, 8), Err(NoAnswer::NotOurs));
        assert_eq!(answer(&good, [1; 6], 7), Err(NoAnswer::NotOurs));
        assert_eq!(answer(&question(MAC, 7, None), MAC, 7), Err(NoAnswer::NotOurs), "our own question");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = message(&GOOD);
        assert_eq!(answer(&[], MAC, 7), Err(NoAnswer::Shape));
        assert_eq!(answer(&good[..239], MAC, 7), Err(NoAnswer::Shape));
        let mut other = good.clone();
        other[236] = 0;
        assert_eq!(answer(&other, MAC, 7), Err(NoAnswer::Shape));
        let mut long = good;
        long.resize(LONGEST + 1, 0);
        assert_eq!(answer(&long, MAC, 7), Err(NoAnswer::Shape));
    }

    #[test]
    fn broken_options_are_refused() {
        let mut cut = message(&GOOD);
        cut.truncate(OPTIONS + 2);
        assert_eq!(answer(&cut, MAC, 7), Err(NoAnswer::Option(KIND)));
        assert_eq!(with(ROUTER, &[10, 0]), Err(NoAnswer::Option(ROUTER)));
        assert_eq!(with(SERVER, &[]), Err(NoAnswer::Option(SERVER)));
        assert_eq!(with(DNS, &[1, 2, 3, 4, 5]), Err(NoAnswer::Option(DNS)));
    }

    #[test]
    fn what_must_be_there_is_missed() {
        assert_eq!(without(KIND), Err(NoAnswer::Missing("message type")));
        assert_eq!(without(SERVER), Err(NoAnswer::Missing("server identifier")));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        assert_eq!(with(KIND, &[1]), Err(NoAnswer::Nonsense("message type")));
        for mask in [[255, 0, 255, 0], [0, 0, 0, 0], [254, 0, 0, 0]] {
            assert_eq!(with(SUBNET_MASK, &mask), Err(NoAnswer::Nonsense("subnet mask")));
        }
        for text in [&b"http://a/\x1b[2J"[..], b"http://a/ b", b"http://\xff"] {
            assert_eq!(with(BOOT_FILE, text), Err(NoAnswer::Nonsense("boot file name")));
        }
        for address in [[127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let mut bad = message(&GOOD);
            bad[16..20].copy_from_slice(&address);
            assert_eq!(answer(&bad, MAC, 7), Err(NoAnswer::Nonsense("address")));
        }
    }

    #[test]
    fn an_offer_without_an_address_is_a_proxys_and_an_acknowledgement_without_one_is_none() {
        let mut proxy = message(&GOOD);
        proxy[16..20].copy_from_slice(&[0; 4]);
        let offer = answer(&proxy, MAC, 7).unwrap();
        assert_eq!((offer.kind, offer.address), (Kind::Proxy, Ipv4Addr::UNSPECIFIED));
        assert_eq!(offer.boot_file.as_deref(), Some("http://10.0.2.2:8000/x/boot.efi"));
        proxy[OPTIONS + 2] = 5;
        assert_eq!(answer(&proxy, MAC, 7), Err(NoAnswer::Nonsense("address")));
    }

    #[test]
    fn where_answers_are_is_one_plain_line() {
        let said = with(ANSWERS, b"https://h/answers sha256=00").unwrap().answers;
        assert_eq!(said.as_deref(), Some("https://h/answers sha256=00"));
        for odd in [&b""[..], b"a\nb", b"\xff", b"\x1b[2J"] {
            assert_eq!(with(ANSWERS, odd).unwrap().answers, None);
        }
    }

    #[test]
    fn what_is_optional_may_be_absent() {
        let answer = without(BOOT_FILE).unwrap();
        assert_eq!(answer.boot_file, None);
        assert_eq!(without(SUBNET_MASK).unwrap().prefix, 8);
        assert_eq!(with(SUBNET_MASK, &[255; 4]).unwrap().prefix, 32);
        assert!(without(DNS).unwrap().dns.is_empty());
    }

    #[test]
    fn the_field_for_the_file_counts_when_the_option_is_absent_and_the_field_is_not_overloaded() {
        let options: Vec<(u8, &[u8])> = GOOD.into_iter().filter(|(code, _)| *code != BOOT_FILE).collect();
        let mut plain = message(&options);
        plain[FILE.start..FILE.start + 9].copy_from_slice(b"http://a/");
        assert_eq!(answer(&plain, MAC, 7).unwrap().boot_file.as_deref(), Some("http://a/"));
        let mut overloaded = message(&[options, vec![(OVERLOAD, &[1])]].concat());
        overloaded[FILE.start..FILE.start + 9].copy_from_slice(b"http://a/");
        assert_eq!(answer(&overloaded, MAC, 7).unwrap().boot_file, None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, tail: Vec<u8>, ours: bool) {
            if ours {
                bytes = message(&[]);
                bytes.truncate(OPTIONS);
                bytes.extend(tail);
            }
            let _ = answer(&bytes, MAC, 7);
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0_usize..320, value: u8) {
            let mut bytes = message(&GOOD);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            let _ = answer(&bytes, MAC, 7);
        }
    }
}
