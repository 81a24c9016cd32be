//! TFTP, read only: requests, acknowledgements, and one transfer as a state machine without a socket or a clock.
//!
//! ```text
//!   RRQ file, options ──▶ options taken: OACK ──ACK 0──▶ window of DATA ──ACK n──▶ next window … last block shorter ──ACK──▶ done
//!                     └─▶ none: the first window of DATA at once               └─ silence: the window again, five times at most
//! ```
//! Blocks are counted in 64 bits and sent in 16, so a file of any length goes through (the number starts again at 0, which is what
//! firmware expects). An acknowledgement of something before the window does nothing: answering it would double every block from
//! there on (RFC 1123 §4.2.3.1). Source: RFC 1350, 2347, 2348 (blksize), 2349 (timeout, tsize), 7440 (windowsize).

use std::ops::RangeInclusive;
use std::str::from_utf8;
use std::time::Duration;

/// Where TFTP servers listen.
pub const PORT: u16 = 69;
/// The longest message that a client has to send to us.
pub const LONGEST: usize = 512;
/// Larger blocks would be sent in fragments over Ethernet, which some firmware does not put together.
pub const LARGEST_BLOCK: u16 = 1468;
/// More blocks at once fill the few buffers that firmware has.
pub const LARGEST_WINDOW: u16 = 16;
/// How often a window is sent in vain.
pub const TRIES: u32 = 5;

/// A request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name, as it was sent.
    pub name: String,
    /// Bytes in a block.
    pub block: u16,
    /// Blocks before an acknowledgement.
    pub window: u16,
    /// How long to wait for one.
    pub timeout: Duration,
    options: Vec<Opt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opt {
    Block,
    Window,
    Timeout,
    Size,
}

/// Why a message is not answered with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// Not as the RFC says.
    #[error("it is no TFTP request")]
    Shape,
    /// Somebody wants to write.
    #[error("nothing can be written here")]
    Write,
    /// `netascii` or `mail`.
    #[error("only octet mode is spoken here")]
    Mode,
}

impl NoRequest {
    /// The error message for the client.
    pub fn message(self) -> Vec<u8> {
        match self {
            Self::Shape => error(4, "not a TFTP request"),
            Self::Write => error(2, "read only"),
            Self::Mode => error(4, "octet mode only"),
        }
    }
}

/// Reads a request. An option that is not known, or whose value is none, counts as not said (RFC 2347).
///
/// # Errors
/// [`NoRequest`].
pub fn request(message: &[u8]) -> Result<Request, NoRequest> {
    let (code, rest) = message.split_first_chunk().ok_or(NoRequest::Shape)?;
    match u16::from_be_bytes(*code) {
        1 if message.len() <= LONGEST => {}
        2 => return Err(NoRequest::Write),
        _ => return Err(NoRequest::Shape),
    }
    let mut texts = rest.strip_suffix(&[0]).ok_or(NoRequest::Shape)?.split(|byte| *byte == 0);
    let mut text = || texts.next().map(|text| from_utf8(text).map_err(|_| NoRequest::Shape)).transpose();
    let name = text()?.filter(|name| !name.is_empty()).ok_or(NoRequest::Shape)?.to_owned();
    let mode = text()?.ok_or(NoRequest::Shape)?;
    if !mode.eq_ignore_ascii_case("octet") {
        return Err(NoRequest::Mode);
    }
    let mut request =
        Request { name, block: 512, window: 1, timeout: Duration::from_secs(1), options: Vec::new() };
    while let (Some(name), Some(value)) = (text()?, text()?) {
        request.option(name, value);
    }
    Ok(request)
}

impl Request {
    fn option(&mut self, name: &str, value: &str) {
        let Ok(value) = value.parse::<u64>() else { return };
        let small = u16::try_from(value).unwrap_or(u16::MAX);
        let taken = match name.to_ascii_lowercase().as_str() {
            "blksize" if value >= 8 => {
                self.block = small.min(LARGEST_BLOCK);
                Opt::Block
            }
            "windowsize" if value >= 1 => {
                self.window = small.min(LARGEST_WINDOW);
                Opt::Window
            }
            "timeout" if (1..=255).contains(&value) => {
                self.timeout = Duration::from_secs(value);
                Opt::Timeout
            }
            "tsize" => Opt::Size,
            _ => return,
        };
        if !self.options.contains(&taken) {
            self.options.push(taken);
        }
    }

    /// The acknowledgement of the options for a file of this length; none if there are none.
    pub fn acknowledgement(&self, length: u64) -> Option<Vec<u8>> {
        let mut message = vec![0, 6];
        for option in &self.options {
            let (name, value) = match option {
                Opt::Block => ("blksize", self.block.into()),
                Opt::Window => ("windowsize", self.window.into()),
                Opt::Timeout => ("timeout", self.timeout.as_secs()),
                Opt::Size => ("tsize", length),
            };
            message.extend(format!("{name}\0{value}\0").bytes());
        }
        (!self.options.is_empty()).then_some(message)
    }
}

/// What a client says during a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// This block has come, and all before it.
    Ack(u16),
    /// It does not want the rest: firmware that only asked for the size says so.
    Stop,
}

/// Reads what a client says during a transfer; nothing if it is neither of the two.
pub fn reply(message: &[u8]) -> Option<Reply> {
    match message {
        [0, 4, high, low] => Some(Reply::Ack(u16::from_be_bytes([*high, *low]))),
        [0, 5, _, _, ..] => Some(Reply::Stop),
        _ => None,
    }
}

/// An error message.
pub fn error(code: u8, text: &str) -> Vec<u8> {
    let mut message = vec![0, 5, 0, code];
    message.extend(text.bytes().filter(|byte| *byte != 0));
    message.push(0);
    message
}

/// The head of the message with a block; the data follow.
pub fn data(block: u64) -> [u8; 4] {
    let [high, low] = wire(block).to_be_bytes();
    [0, 3, high, low]
}

/// A block's number as it is sent.
fn wire(block: u64) -> u16 {
    u16::try_from(block & 0xffff).expect("16 bits remain")
}

/// Where a transfer stands. Blocks count from 1; the last one is shorter than the others, if need be empty.
#[derive(Clone, Debug)]
pub struct Transfer {
    length: u64,
    block: u16,
    window: u16,
    /// The option acknowledgement, until the client has acknowledged it.
    greeting: Option<Vec<u8>>,
    /// Blocks that have come.
    done: u64,
    tries: u32,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// This message.
    Greeting(Vec<u8>),
    /// These blocks.
    Blocks(RangeInclusive<u64>),
    /// Nothing: wait on.
    Nothing,
    /// Nothing more: all has come.
    Finished,
    /// Nothing more: the client is gone or wants no more.
    GivenUp,
}

impl Transfer {
    /// The transfer of a file of this length, and what is sent first.
    pub fn begin(request: &Request, length: u64) -> (Self, Send) {
        let transfer = Self {
            length,
            block: request.block,
            window: request.window,
            greeting: request.acknowledgement(length),
            done: 0,
            tries: 0,
        };
        let first = transfer.current();
        (transfer, first)
    }

    /// The client has said something.
    pub fn hear(&mut self, reply: Reply) -> Send {
        let Reply::Ack(number) = reply else { return Send::GivenUp };
        if self.greeting.is_some() {
            if number != 0 {
                return Send::Nothing;
            }
            self.greeting = None;
            self.tries = 0;
            return self.current();
        }
        let sent = *self.blocks().end();
        match (self.done + 1..=sent).find(|block| wire(*block) == number) {
            None => Send::Nothing,
            Some(block) => {
                self.done = block;
                self.tries = 0;
                self.current()
            }
        }
    }

    /// The client has said nothing for as long as the request's timeout.
    pub fn silence(&mut self) -> Send {
        self.tries += 1;
        if self.tries >= TRIES { Send::GivenUp } else { self.current() }
    }

    /// Where a block lies in the file.
    pub fn place(&self, block: u64) -> std::ops::Range<u64> {
        let size = u64::from(self.block);
        let start = block.saturating_sub(1).saturating_mul(size).min(self.length);
        start..start.saturating_add(size).min(self.length)
    }

    /// Bytes that have come.
    pub fn arrived(&self) -> u64 {
        self.place(self.done).end.min(self.done.saturating_mul(self.block.into()))
    }

    fn last(&self) -> u64 {
        self.length / u64::from(self.block) + 1
    }

    fn blocks(&self) -> RangeInclusive<u64> {
        self.done + 1..=(self.done + u64::from(self.window)).min(self.last())
    }

    fn current(&self) -> Send {
        match &self.greeting {
            Some(greeting) => Send::Greeting(greeting.clone()),
            None if self.done == self.last() => Send::Finished,
            None => Send::Blocks(self.blocks()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rrq(words: &[&str]) -> Vec<u8> {
        let mut message = vec![0, 1];
        words.iter().for_each(|word| message.extend(word.bytes().chain([0])));
        message
    }

    #[test]
    fn a_request_of_firmware_is_read_and_its_options_limited() {
        let words = ["xenolith.efi", "OCTET", "tsize", "0", "blksize", "65464", "WindowSize", "64", "x", "y"];
        let request = request(&rrq(&words)).unwrap();
        assert_eq!((request.name.as_str(), request.block, request.window), ("xenolith.efi", 1468, 16));
        let told = request.acknowledgement(55).unwrap();
        assert_eq!(told, b"\x00\x06tsize\x0055\x00blksize\x001468\x00windowsize\x0016\x00");
    }

    #[test]
    fn without_options_there_is_no_acknowledgement_and_the_first_block_comes_at_once() {
        let request = request(&rrq(&["a", "octet"])).unwrap();
        assert_eq!(request.acknowledgement(1), None);
        assert_eq!(Transfer::begin(&request, 1).1, Send::Blocks(1..=1));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(request(&[]), Err(NoRequest::Shape));
        assert_eq!(request(&[0, 1]), Err(NoRequest::Shape));
        assert_eq!(request(&rrq(&["", "octet"])), Err(NoRequest::Shape));
        assert_eq!(request(&rrq(&["a"])), Err(NoRequest::Shape));
        assert_eq!(request(&rrq(&["a", "netascii"])), Err(NoRequest::Mode));
        assert_eq!(request(b"\x00\x02a\x00octet\x00"), Err(NoRequest::Write));
        assert_eq!(request(b"\x00\x01a\x00octet"), Err(NoRequest::Shape), "no zero at the end");
        assert_eq!(request(&rrq(&[&"a".repeat(LONGEST), "octet"])), Err(NoRequest::Shape));
    }

    #[test]
    fn options_that_make_no_sense_count_as_not_said() {
        for (name, value) in
            [("blksize", "7"), ("windowsize", "0"), ("timeout", "0"), ("timeout", "256"), ("blksize", "-1")]
        {
            let request = request(&rrq(&["a", "octet", name, value])).unwrap();
            assert_eq!(request.acknowledgement(1), None, "{name} {value}");
        }
    }

    /// A client that takes every block; `lose` says which message of ours is lost.
    fn receive(words: &[&str], file: &[u8], mut lose: impl FnMut(u64) -> bool) -> Option<Vec<u8>> {
        let request = request(&rrq(words)).unwrap();
        let (mut transfer, mut send) = Transfer::begin(&request, file.len() as u64);
        let (mut got, mut expected, mut count) = (Vec::new(), 1_u64, 0);
        loop {
            let mut heard = None;
            match send {
                Send::Greeting(_) => heard = Some(0),
                Send::Blocks(blocks) => {
                    for block in blocks {
                        count += 1;
                        if lose(count) || block != expected {
                            continue;
                        }
                        let place = transfer.place(block);
                        let [start, end] = [place.start, place.end].map(|at| usize::try_from(at).unwrap());
                        got.extend(&file[start..end]);
                        expected += 1;
                        heard = Some(block);
                    }
                }
                Send::Nothing => {}
                Send::Finished => return Some(got),
                Send::GivenUp => return None,
            }
            send = match heard {
                Some(block) => transfer.hear(Reply::Ack(wire(block))),
                None => transfer.silence(),
            };
        }
    }

    #[test]
    fn a_file_that_ends_with_a_full_block_is_followed_by_an_empty_one() {
        let file = vec![7; 1024];
        assert_eq!(receive(&["a", "octet"], &file, |_| false).unwrap(), file);
        let request = request(&rrq(&["a", "octet"])).unwrap();
        let transfer = Transfer::begin(&request, 1024).0;
        assert_eq!((transfer.last(), transfer.place(3)), (3, 1024..1024));
    }

    #[test]
    fn a_file_of_more_than_65535_blocks_arrives() {
        let file: Vec<u8> = (0..70_000 * 8 + 3).map(|number: u32| number.to_le_bytes()[0]).collect();
        assert_eq!(receive(&["a", "octet", "blksize", "8"], &file, |_| false).unwrap(), file);
    }

    #[test]
    fn an_old_acknowledgement_changes_nothing() {
        let request = request(&rrq(&["a", "octet"])).unwrap();
        let mut transfer = Transfer::begin(&request, 2000).0;
        assert_eq!(transfer.hear(Reply::Ack(1)), Send::Blocks(2..=2));
        assert_eq!(transfer.hear(Reply::Ack(1)), Send::Nothing);
        assert_eq!(transfer.hear(Reply::Ack(9)), Send::Nothing);
        assert_eq!(transfer.arrived(), 512);
        assert_eq!(transfer.hear(Reply::Stop), Send::GivenUp);
    }

    #[test]
    fn a_client_that_is_gone_is_given_up() {
        assert_eq!(receive(&["a", "octet"], &[1; 10], |_| true), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (request(&bytes), reply(&bytes));
        }

        #[test]
        fn a_file_arrives_whole_though_some_messages_are_lost(
            length in 0_usize..9000,
            window in 1_u16..20,
            lost in proptest::collection::btree_set(1_u64..100, 0..4),
        ) {
            let file: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let window = window.to_string();
            let words = ["a", "octet", "blksize", "100", "windowsize", &window];
            assert_eq!(receive(&words, &file, |count| lost.contains(&count)).unwrap(), file);
        }
    }
}
