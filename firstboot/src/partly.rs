//! Files of which a part is ours: root's password in `/etc/shadow`, the servers in `chrony.conf`.

/// `shadow` with `hash` as root's password, of which nobody is told to change it; the other lines and the rest of root's stay.
///
/// Source: shadow(5): nine fields, the second is the hash.
pub fn with_root_password(shadow: &str, hash: &str) -> Result<String, &'static str> {
    let mut found = false;
    let lines = shadow.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields.first() != Some(&"root") || fields.len() < 2 || found {
            return format!("{line}\n");
        }
        found = true;
        fields[1] = hash;
        format!("{}\n", fields.join(":"))
    });
    let text: String = lines.collect();
    if found { Ok(text) } else { Err("there is no root in it") }
}

/// `chrony.conf` with `servers` in place of the servers and pools in it. Files that it includes stay included.
///
/// Source: chrony.conf(5), chrony 4.6: directives are not case-sensitive.
pub fn with_time_servers(conf: &str, servers: &[String]) -> String {
    const SOURCES: &[&str] = &["server", "pool", "peer"];
    let is_source = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        SOURCES.iter().any(|source| word.eq_ignore_ascii_case(source))
    };
    let ours = servers.iter().map(|server| format!("server {server} iburst\n"));
    let theirs = conf.lines().filter(|line| !is_source(line)).map(|line| format!("{line}\n"));
    ours.chain(theirs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_hash_changes() {
        let shadow = "daemon:*:20000:0:99999:7:::\nroot:*:20000:0:99999:7:::\nrooted:*:1::::::\n";
        let expected = "daemon:*:20000:0:99999:7:::\nroot:$y$x:20000:0:99999:7:::\nrooted:*:1::::::\n";
        let once = with_root_password(shadow, "$y$x").unwrap();
        assert_eq!(once, expected);
        assert_eq!(with_root_password(&once, "$y$x").unwrap(), expected, "twice is as once");
        assert!(with_root_password("daemon:*:\n", "$y$x").is_err());
    }

    #[test]
    fn servers_take_the_place_of_servers() {
        let conf =
            "# a pool\nPool a.example iburst\nsourcedir /etc/chrony/sources.d\nserver b\n\nkeyfile /k\n";
        let servers = ["192.0.2.1".to_owned(), "ntp.example".to_owned()];
        let expected = "server 192.0.2.1 iburst\nserver ntp.example iburst\n# a pool\nsourcedir /etc/chrony/sources.d\n\nkeyfile /k\n";
        let once = with_time_servers(conf, &servers);
        assert_eq!(once, expected);
        assert_eq!(with_time_servers(&once, &servers), expected, "twice is as once");
    }
}
