//! One conversation with DHCP servers per network device, as a pure state machine.
//!
//! ```text
//!              ┌── silence: again, twice as late ──┐
//!   Discover ──┴── offer that leads somewhere ──▶ Request ── ack ──▶ done
//!      ▲                                             │
//!      └──────── nak, or three requests unanswered ──┘
//! ```
//! The first offer that leads to a URL wins; comparing offers would only mean waiting. A link that comes up
//! makes the next question due at once, but never sooner than a second after the last one.

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
        Self { offer: None, requests: 0, asked: None, due: Duration::ZERO, interval: FIRST }
    }

    /// When the next question is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// The offer to ask for, if there is one. To be called when the next question is due; counts it as asked.
    pub fn ask(&mut self, now: Duration) -> Option<&Answer> {
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
            (Kind::Offer, None) => match Base::find(answer.boot_file.as_deref(), answer.next_server) {
                Ok(Some(base)) => {
                    self.offer = Some((answer, base));
                    self.requests = 0;
                    self.interval = FIRST;
                    self.due = now;
                    Heard::Ask
                }
                Ok(None) => Heard::Nothing("a server offers an address, but no boot URL"),
                Err(bad) => Heard::Bad(bad),
            },
            (Kind::Ack, Some((offer, base))) if answer.server == offer.server => {
                // Servers may leave out in the acknowledgement what they said in the offer.
                match Base::find(answer.boot_file.as_deref(), None) {
                    Ok(again) => Heard::Done(answer, again.unwrap_or(base)),
                    Err(bad) => Heard::Bad(bad),
                }
            }
            (Kind::Nak, Some((offer, _))) if answer.server == offer.server => {
                *self = Self { asked: self.asked, due: now + FIRST, ..Self::new() };
                Heard::Nothing("the server took its offer back")
            }
            (Kind::Offer | Kind::Ack | Kind::Nak, offer) => {
                self.offer = offer;
                Heard::Nothing("an answer that was not asked for")
            }
        }
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
