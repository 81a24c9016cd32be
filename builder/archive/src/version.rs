//! Debian versions and their order (Debian policy §5.6.12).
//!
//! `[epoch:]upstream[-revision]`. Two versions are compared epoch first, as a number; then upstream, then revision,
//! each cut into runs of non-digits and digits in turn. In a run of non-digits `~` sorts before everything, even the
//! end; then come letters, then the rest. Runs of digits compare as numbers of any length.
//!
//! `1.0` and `1.00` are equal for a dependency, yet they are different files. [`DebVersion`]'s `Ord` therefore falls
//! back on the text, which makes it a total order that agrees with `Eq`; [`DebVersion::rank`] is policy's own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The version of a package; borrowed from an index while resolving, owned in a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DebVersion<'a>(Cow<'a, str>);

/// A text that is no version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no Debian version")]
pub struct BadVersion(String);

impl<'a> DebVersion<'a> {
    /// Checks `text` and keeps it as it is.
    ///
    /// # Errors
    /// [`BadVersion`] for characters outside policy, an epoch that is no number below 2^31, no upstream part, or more
    /// than 128 bytes.
    pub fn parse(text: &'a str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(crate::names::shortened(text));
        let parts = Parts::of(text).ok_or_else(bad)?;
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~' | b'-' | b':');
        let good = text.len() <= 128
            && !parts.upstream.is_empty()
            && parts.upstream.bytes().chain(parts.revision.bytes()).all(plain)
            && !parts.revision.contains(':')
            && !text.ends_with('-');
        if good { Ok(Self(Cow::Borrowed(text))) } else { Err(bad()) }
    }

    /// The same version with a text of its own.
    pub fn into_owned(self) -> DebVersion<'static> {
        DebVersion(Cow::Owned(self.0.into_owned()))
    }

    /// The text as the archive writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The order of policy §5.6.12, where different texts may be equal. Dependencies are compared with this.
    pub fn rank(&self, other: &DebVersion<'_>) -> Ordering {
        let one = Parts::of(&self.0).expect("checked when it was made");
        let two = Parts::of(&other.0).expect("checked when it was made");
        one.epoch
            .cmp(&two.epoch)
            .then_with(|| compare_part(one.upstream.as_bytes(), two.upstream.as_bytes()))
            .then_with(|| compare_part(one.revision.as_bytes(), two.revision.as_bytes()))
    }
}

impl Ord for DebVersion<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for DebVersion<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DebVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl serde::Serialize for DebVersion<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

struct Parts<'a> {
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().ok().filter(|epoch| *epoch < 1 << 31)?, rest)
            }
            Some(_) => return None,
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Some(Self { epoch, upstream, revision })
    }
}

fn compare_part(mut one: &[u8], mut two: &[u8]) -> Ordering {
    while !one.is_empty() || !two.is_empty() {
        let (words, numbers) =
            (run(&mut one, |byte| !byte.is_ascii_digit()), run(&mut one, |b| b.is_ascii_digit()));
        let (words2, numbers2) =
            (run(&mut two, |byte| !byte.is_ascii_digit()), run(&mut two, |b| b.is_ascii_digit()));
        let order = compare_words(words, words2).then_with(|| compare_numbers(numbers, numbers2));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the longest run of bytes that `belongs` off the front of `text`.
fn run<'t>(text: &mut &'t [u8], belongs: impl Fn(u8) -> bool) -> &'t [u8] {
    let end = text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

fn compare_words(one: &[u8], two: &[u8]) -> Ordering {
    let weight = |word: &[u8], at: usize| match word.get(at) {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let longest = one.len().max(two.len());
    (0..longest)
        .map(|at| weight(one, at).cmp(&weight(two, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_numbers(one: &[u8], two: &[u8]) -> Ordering {
    let significant =
        |digits: &'_ [u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (one, two) = (&one[significant(one)..], &two[significant(two)..]);
    one.len().cmp(&two.len()).then_with(|| one.cmp(two))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> DebVersion<'_> {
        DebVersion::parse(text).unwrap()
    }

    #[test]
    fn known_versions_come_in_policy_order() {
        let sorted = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0.9",
            "1.0~~",
            "1.0~beta1~svn1245",
            "1.0~beta1",
            "1.0~rc1",
            "1.0-0~bpo1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+dfsg",
            "1.0.1",
            "1.2",
            "1.10",
            "4.20.3+127-gc42374a105-0+deb13u1",
            "4.20.4+63-g7abfd2bce2-0+deb13u1",
            "9999",
            "1:0.1",
            "2:0~",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(version(pair[0]).rank(&version(pair[1])), Ordering::Less, "{pair:?}");
            assert_eq!(version(pair[1]).rank(&version(pair[0])), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn leading_zeros_and_an_epoch_of_zero_do_not_count_for_policy() {
        for (one, two) in [("1.0", "1.00"), ("0:1.0", "1.0"), ("1.0", "1.0-0")] {
            let (one, two) = (version(one), version(two));
            assert_eq!(one.rank(&two), Ordering::Equal, "{one} {two}");
            assert_ne!(one.cmp(&two), Ordering::Equal, "{one} {two}");
        }
    }

    #[test]
    fn numbers_may_be_longer_than_any_integer() {
        let (small, great) = ("1.99999999999999999999999999999", "1.100000000000000000000000000000");
        assert!(version(small) < version(great));
    }

    #[test]
    fn texts_outside_policy_are_refused() {
        for bad in [
            "",
            ":1",
            "a:1",
            "1:",
            "-1",
            "1.0-",
            "1_0",
            "1 0",
            "1.0\n",
            "99999999999:1",
            "1.0-1:2-3:4",
            "1/2",
        ] {
            // A colon is legal in upstream once there is an epoch, never in the revision.
            assert!(DebVersion::parse(bad).is_err(), "{bad:?}");
        }
        assert!(DebVersion::parse("1:2:3-4").is_ok());
        assert!(DebVersion::parse(&"1".repeat(129)).is_err());
    }

    proptest! {
        #[test]
        fn the_order_is_total(one in "([0-9]:)?[0-9a-c.~+]{1,6}(-[0-9a-c.~+]{1,4})?",
                              two in "([0-9]:)?[0-9a-c.~+]{1,6}(-[0-9a-c.~+]{1,4})?",
                              three in "([0-9]:)?[0-9a-c.~+]{1,6}(-[0-9a-c.~+]{1,4})?") {
            let (one, two, three) = (version(&one), version(&two), version(&three));
            prop_assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
            prop_assert_eq!(one.rank(&two), two.rank(&one).reverse());
            prop_assert_eq!(one.cmp(&two) == Ordering::Equal, one == two);
            if one <= two && two <= three { prop_assert!(one <= three); }
            if one.rank(&two).is_le() && two.rank(&three).is_le() {
                prop_assert!(one.rank(&three).is_le());
            }
        }

        #[test]
        fn a_tilde_sorts_before_its_version_and_a_plus_after(text in "[0-9][0-9a-z.+]{0,6}") {
            let (before, after) = (format!("{text}~x"), format!("{text}+x"));
            prop_assert!(version(&before) < version(&text));
            prop_assert!(version(&text) < version(&after));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = DebVersion::parse(&text);
        }
    }
}
