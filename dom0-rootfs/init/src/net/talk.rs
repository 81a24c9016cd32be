//! One conversation with DHCP servers per network device, as a pure state machine.
//!
//! ```text
//!              ┌── silence: again, twice as late ──┐
//!   Discover ──┴── offer that leads somewhere ──▶ Request ── ack ──▶ done
//!      ▲                                             │
//!      └──────── nak, or three requests unanswered ──┘
//! ```
//! The first offer with a URL wins; comparing offers would only mean waiting. An address from one server and a URL from a
//! proxy beside it are as good as one offer with both, in whichever order they come. An address with nothing but a next server
//! is taken when the next question is due and nothing better has come: DHCP servers name themselves there without being asked.
//! A link that comes up makes the next question due at once, but never sooner than a second after the last one.

use std::time::Duration;

use super::dhcp::{Answer, Kind};
use super::url::{BadUrl, Base};

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(16);
const SHORTEST: Duration = Duration::from_secs(1);
const REQUESTS: u32 = 3;

/// Where a conversation stands. Times count from the start of the attempt.
#[derive(Clone, Debug)]
pub struct Talk {
    offer: Option<(Answer, Base)>,
    /// An address without a URL.
    address: Option<Answer>,
    /// A URL without an address, and where answers are.
    place: Option<(Base, Option<String>)>,
    requests: u32,
    asked: Option<Duration>,
    due: Duration,
    interval: Duration,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing for us, and why.
    Nothing(&'static str),
    /// The URL of an offer is none of ours.
    Bad(BadUrl),
    /// Our next question is due at once.
    Ask,
    /// The address is ours and this is where to go.
    Done(Answer, Base),
}

impl Talk {
    /// A conversation that has not begun.
    pub fn new() -> Self {
        Self {
            offer: None,
            address: None,
            place: None,
            requests: 0,
            asked: None,
            due: Duration::ZERO,
            interval: FIRST,
        }
    }

    /// When the next question is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// The offer to ask for, if there is one. To be called when the next question is due; counts it as asked.
    pub fn ask(&mut self, now: Duration) -> Option<&Answer> {
        if self.offer.is_none()
            && let Some(address) = self.address.take()
            && let Ok(Some(base)) = Base::find(None, address.next_server)
        {
            self.choose(address, base, now);
        }
        if self.offer.is_some() {
            if self.requests == REQUESTS {
                *self = Self { asked: self.asked, ..Self::new() };
            } else {
                self.requests += 1;
            }
        }
        self.asked = Some(now);
        self.due = now + self.interval;
        self.interval = (self.interval * 2).min(LONGEST);
        self.offer.as_ref().map(|(answer, _)| answer)
    }

    /// A link somewhere came up or went down.
    pub fn link_changed(&mut self, now: Duration) {
        let earliest = self.asked.map_or(now, |asked| asked + SHORTEST);
        self.due = self.due.min(earliest.max(now));
        self.interval = FIRST;
    }

    /// Takes an answer to our question.
    pub fn hear(&mut self, answer: Answer, now: Duration) -> Heard {
        match (answer.kind, self.offer.take()) {
            (Kind::Offer, None) => {
                match (Base::find(answer.boot_file.as_deref(), None), self.place.clone()) {
                    (Ok(Some(base)), _) => self.choose(answer, base, now),
                    (Ok(None), Some((base, answers))) => {
                        let answers = answer.answers.clone().or(answers);
                        self.choose(Answer { answers, ..answer }, base, now)
                    }
                    (Ok(None), None) => {
                        self.address.get_or_insert(answer);
                        Heard::Nothing("a server offers an address, but no boot URL")
                    }
                    (Err(bad), _) => Heard::Bad(bad),
                }
            }
            (Kind::Proxy, None) => match (Base::find(answer.boot_file.as_deref(), None), self.address.take())
            {
                (Ok(Some(base)), Some(address)) => {
                    let answers = address.answers.clone().or(answer.answers);
                    self.choose(Answer { answers, ..address }, base, now)
                }
                (Ok(Some(base)), None) => {
                    self.place = Some((base, answer.answers));
                    Heard::Nothing("a proxy names a boot URL, but nobody offers an address")
                }
                (found, address) => {
                    self.address = address;
                    found.map_or_else(Heard::Bad, |_| Heard::Nothing("a proxy names no boot URL"))
                }
            },
            (Kind::Ack, Some((offer, base))) if answer.server == offer.server => {
                // Servers may leave out in the acknowledgement what they said in the offer.
                match Base::find(answer.boot_file.as_deref(), None) {
                    Ok(again) => {
                        let answers = answer.answers.clone().or(offer.answers);
                        Heard::Done(Answer { answers, ..answer }, again.unwrap_or(base))
                    }
                    Err(bad) => Heard::Bad(bad),
                }
            }
            (Kind::Nak, Some((offer, _))) if answer.server == offer.server => {
                *self = Self { asked: self.asked, due: now + FIRST, ..Self::new() };
                Heard::Nothing("the server took its offer back")
            }
            (Kind::Offer | Kind::Proxy | Kind::Ack | Kind::Nak, offer) => {
                self.offer = offer;
                Heard::Nothing("an answer that was not asked for")
            }
        }
    }

    /// Asks for this offer next.
    fn choose(&mut self, answer: Answer, base: Base, now: Duration) -> Heard {
        self.offer = Some((answer, base));
        self.requests = 0;
        self.interval = FIRST;
        self.due = now;
        Heard::Ask
    }
}

impl Default for Talk {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: Kind, server: u8, url: Option<&str>) -> Answer {
        Answer {
            kind,
            address: [10, 0, 0, 9].into(),
            prefix: 24,
            server: [10, 0, 0, server].into(),
            router: None,
            dns: Vec::new(),
            boot_file: url.map(str::to_owned),
            next_server: None,
            answers: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_offer_with_a_url_is_asked_for_and_the_acknowledgement_ends_it() {
        let mut talk = Talk::new();
        assert_eq!(talk.ask(seconds(0)), None);
        assert_eq!(talk.hear(answer(Kind::Offer, 1, Some("http://h/a/x")), seconds(1)), Heard::Ask);
        assert_eq!(talk.due(), seconds(1));
        assert!(talk.ask(seconds(1)).is_some());
        let Heard::Done(_, base) = talk.hear(answer(Kind::Ack, 1, None), seconds(2)) else {
            panic!("not done")
        };
        assert_eq!(base.to_string(), "http://h/a/");
    }

    #[test]
    fn an_offer_without_url_is_passed_over_and_another_servers_counts() {
        let mut talk = Talk::new();
        talk.ask(seconds(0));
        assert!(matches!(talk.hear(answer(Kind::Offer, 1, None), seconds(0)), Heard::Nothing(_)));
        assert!(matches!(talk.hear(answer(Kind::Offer, 2, Some("https://h/")), seconds(0)), Heard::Bad(_)));
        assert_eq!(talk.hear(answer(Kind::Offer, 3, Some("http://h/")), seconds(0)), Heard::Ask);
    }

    #[test]
    fn a_proxys_url_and_another_servers_address_make_one_offer_in_either_order() {
        let proxy = || Answer {
            answers: Some("http://p/answers".to_owned()),
            ..answer(Kind::Proxy, 7, Some("http://p/x.efi"))
        };
        // The server with addresses names itself as next server, as dnsmasq does.
        let server = || Answer { next_server: Some([10, 0, 0, 1].into()), ..answer(Kind::Offer, 1, None) };
        for (first, second) in [(proxy(), server()), (server(), proxy())] {
            let mut talk = Talk::new();
            talk.ask(seconds(0));
            assert!(matches!(talk.hear(first, seconds(0)), Heard::Nothing(_)));
            assert_eq!(talk.hear(second, seconds(0)), Heard::Ask);
            assert_eq!(
                talk.ask(seconds(0)).unwrap().server.octets(),
                [10, 0, 0, 1],
                "the one with the address"
            );
            let Heard::Done(lease, base) = talk.hear(answer(Kind::Ack, 1, None), seconds(0)) else {
                panic!("not done")
            };
            assert_eq!(base.to_string(), "http://p/");
            assert_eq!(lease.answers.as_deref(), Some("http://p/answers"));
        }
    }

    #[test]
    fn a_next_server_is_asked_when_nothing_better_has_come_in_time() {
        let server =
            Answer { next_server: Some([10, 0, 0, 1].into()), ..answer(Kind::Offer, 1, Some("pxelinux.0")) };
        let mut talk = Talk::new();
        talk.ask(seconds(0));
        assert!(matches!(talk.hear(server, seconds(0)), Heard::Nothing(_)));
        assert!(talk.ask(talk.due()).is_some());
        let Heard::Done(_, base) = talk.hear(answer(Kind::Ack, 1, None), seconds(2)) else {
            panic!("not done")
        };
        assert_eq!(base.to_string(), "http://10.0.0.1/xenolith/");
    }

    #[test]
    fn proxies_without_a_url_of_ours_change_nothing() {
        let mut talk = Talk::new();
        assert!(matches!(talk.hear(answer(Kind::Proxy, 7, Some("x.efi")), seconds(0)), Heard::Nothing(_)));
        assert!(matches!(talk.hear(answer(Kind::Proxy, 7, Some("https://p/x")), seconds(0)), Heard::Bad(_)));
        assert!(matches!(talk.hear(answer(Kind::Offer, 1, None), seconds(0)), Heard::Nothing(_)));
        assert!(talk.ask(seconds(2)).is_none());
    }

    #[test]
    fn answers_that_were_not_asked_for_change_nothing() {
        let mut talk = Talk::new();
        assert!(matches!(talk.hear(answer(Kind::Ack, 1, Some("http://h/")), seconds(0)), Heard::Nothing(_)));
        talk.hear(answer(Kind::Offer, 1, Some("http://h/")), seconds(0));
        assert!(matches!(talk.hear(answer(Kind::Ack, 2, None), seconds(0)), Heard::Nothing(_)));
        assert!(matches!(talk.hear(answer(Kind::Nak, 2, None), seconds(0)), Heard::Nothing(_)));
        assert!(talk.ask(seconds(0)).is_some(), "the offer still stands");
    }

    #[test]
    fn a_refused_or_unanswered_request_begins_again() {
        let mut talk = Talk::new();
        talk.hear(answer(Kind::Offer, 1, Some("http://h/")), seconds(0));
        talk.hear(answer(Kind::Nak, 1, None), seconds(0));
        assert_eq!(talk.ask(seconds(3)), None);
        talk.hear(answer(Kind::Offer, 1, Some("http://h/")), seconds(3));
        let asked: Vec<bool> = (4..8).map(|now| talk.ask(seconds(now)).is_some()).collect();
        assert_eq!(asked, [true, true, true, false]);
    }

    #[test]
    fn silence_makes_us_ask_less_often_and_a_new_link_at_once() {
        let mut talk = Talk::new();
        let mut times = Vec::new();
        for _ in 0..6 {
            times.push(talk.due().as_secs());
            talk.ask(talk.due());
        }
        assert_eq!(times, [0, 2, 6, 14, 30, 46]);
        talk.link_changed(seconds(46));
        assert_eq!(talk.due(), seconds(47), "not sooner than a second after the last question");
    }
}
