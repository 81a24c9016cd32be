//! A hint in a TXT record, as `resolvectl --json=short` tells of it: one object for each record,
//! `{"key":{"class":1,"type":16,"name":"…"},"items":["…"]}`. Read with systemd 257 (`dns_resource_record_to_json`).

use serde::Deserialize;

use crate::hint::{BadHint, Hint, LONGEST_HINT};

/// The name that is asked for, below the search domain.
pub const DNS_LABEL: &str = "_xenolith-answers";
/// More search domains are not asked.
const MOST_DOMAINS: usize = 6;
/// The type of a TXT record (RFC 1035, 3.2.2).
const TXT: u16 = 16;

/// The hint in what the resolver has said.
///
/// # Errors
/// [`BadHint`] if there is a record and no hint in it, or there are several records: none of them is more right than the others.
pub fn of_txt(said: &[u8]) -> Result<Option<Hint>, BadHint> {
    #[derive(Deserialize)]
    struct Record {
        key: Key,
        #[serde(default)]
        items: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Key {
        #[serde(rename = "type")]
        kind: u16,
    }
    if said.len() > 16 * LONGEST_HINT {
        return Err(BadHint::TooLong);
    }
    let mut found = None;
    for record in serde_json::Deserializer::from_slice(said).into_iter::<Record>() {
        let record = record.map_err(|_| BadHint::NotALine)?;
        if record.key.kind != TXT {
            continue;
        }
        if found.is_some() {
            return Err(BadHint::NotALine);
        }
        // A record is made of strings of at most 255 bytes; a longer text is cut into several.
        found = Some(Hint::parse(record.items.concat().as_bytes())?);
    }
    Ok(found)
}

/// The search domains in a `resolv.conf`; what could be no name of DNS is left out.
pub fn search_domains(resolv_conf: &str) -> Vec<String> {
    let lines = resolv_conf.lines().filter_map(|line| line.strip_prefix("search "));
    let domains = lines.flat_map(str::split_ascii_whitespace).map(|domain| domain.trim_end_matches('.'));
    domains.filter(|domain| is_domain(domain)).take(MOST_DOMAINS).map(str::to_owned).collect()
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
    };
    text.len() <= 200 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "\"key\":{\"class\":1,\"type\":16,\"name\":\"_xenolith-answers.example.com\"}";

    #[test]
    fn the_strings_of_a_record_belong_together() {
        let said = format!(
            "{{\"key\":{{\"class\":1,\"type\":5,\"name\":\"x\"}},\"name\":\"y\"}}\n{{{KEY},\"items\":[\"https://a\",\"/b insecure\"]}}\n"
        );
        assert_eq!(of_txt(said.as_bytes()).unwrap().unwrap().line(), "https://a/b insecure");
        assert_eq!(of_txt(b""), Ok(None));
    }

    #[test]
    fn records_that_are_no_hint_or_several_are_refused() {
        let one = format!("{{{KEY},\"items\":[\"https://a\"]}}\n");
        assert_eq!(of_txt(one.repeat(2).as_bytes()), Err(BadHint::NotALine));
        assert_eq!(of_txt(format!("{{{KEY},\"items\":[\"v=spf1\"]}}").as_bytes()), Err(BadHint::Url));
        assert_eq!(of_txt(format!("{{{KEY}}}").as_bytes()), Err(BadHint::Empty));
        assert_eq!(of_txt(b"no JSON"), Err(BadHint::NotALine));
        assert_eq!(of_txt(&vec![b' '; 100_000]), Err(BadHint::TooLong));
    }

    #[test]
    fn only_names_of_dns_are_asked_for() {
        let text = "# search no.example\nnameserver 192.0.2.1\nsearch example.com. -o ..  . a_b.example x\n";
        assert_eq!(search_domains(text), ["example.com", "a_b.example", "x"]);
        assert_eq!(search_domains(&format!("search {}", "a ".repeat(20))).len(), MOST_DOMAINS);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            let _ = of_txt(&bytes);
            let _ = search_domains(&text);
        }
    }
}
