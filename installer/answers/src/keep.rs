//! What is kept of the host that is on the target already.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenolith_settings::{Network, Problems, Settings};

use crate::types::Answers;

/// What is kept of the host before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "not \"keep\" or a list of name, clock, keyboard, network, access and identity"
)]
pub enum Keep {
    /// Everything that can be.
    All(KeepAll),
    /// This.
    Only(Vec<Kept>),
}

/// The word for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepAll {
    /// All of [`Kept`].
    Keep,
}

/// A part of a host that can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// Its name.
    Name,
    /// Time zone and servers of time.
    Clock,
    /// The console's keyboard.
    Keyboard,
    /// The management network, with name servers.
    Network,
    /// root's password and keys for SSH.
    Access,
    /// What it is known by: its UUID, SSH host key and TLS certificate.
    Identity,
}

impl Kept {
    /// All parts.
    pub const ALL: [Self; 6] =
        [Self::Name, Self::Clock, Self::Keyboard, Self::Network, Self::Access, Self::Identity];
}

impl Answers {
    /// Whether a part of the host before is kept.
    pub fn keeps(&self, part: Kept) -> bool {
        match &self.kept {
            None => false,
            Some(Keep::All(KeepAll::Keep)) => true,
            Some(Keep::Only(parts)) => parts.contains(&part),
        }
    }

    /// These answers with what they keep of a host in its place. They keep nothing any more but, perhaps, its identity, which is no
    /// answer.
    #[must_use]
    pub fn with_kept(&self, former: &Settings) -> Self {
        let mut answers = Self {
            kept: self.keeps(Kept::Identity).then(|| Keep::Only(vec![Kept::Identity])),
            ..self.clone()
        };
        let (host, was) = (&mut answers.host, &former.host);
        if self.keeps(Kept::Name) {
            host.name.clone_from(&was.name);
        }
        if self.keeps(Kept::Clock) {
            host.time_zone.clone_from(&was.time_zone);
            host.time_servers.clone_from(&was.time_servers);
        }
        if self.keeps(Kept::Keyboard) {
            host.keyboard.clone_from(&was.keyboard);
        }
        if self.keeps(Kept::Network) {
            host.name_servers.clone_from(&was.name_servers);
            answers.network.clone_from(&former.network);
        }
        if self.keeps(Kept::Access) {
            answers.access.clone_from(&former.access);
        }
        answers
    }
}

/// What is kept is not told as well.
pub(crate) fn check(answers: &Answers, problems: &mut Problems) {
    if let Some(Keep::Only(parts)) = &answers.kept {
        let mut sorted = parts.clone();
        sorted.sort_unstable();
        sorted.dedup();
        problems.unless(!parts.is_empty(), "settings", "names nothing that is kept; leave it out");
        problems.unless(sorted.len() == parts.len(), "settings", "names a part twice");
    }
    let Answers { host, network, access, .. } = answers;
    let told = [
        (Kept::Name, "host.name", host.name.is_some()),
        (Kept::Clock, "host.time_zone", host.time_zone.is_some()),
        (Kept::Clock, "host.time_servers", !host.time_servers.is_empty()),
        (Kept::Keyboard, "host.keyboard", host.keyboard.is_some()),
        (Kept::Network, "network", *network != Network::default()),
        (Kept::Network, "host.name_servers", !host.name_servers.is_empty()),
        (Kept::Access, "access.root_password_hash", access.root_password_hash.is_some()),
        (Kept::Access, "access.ssh_keys", !access.ssh_keys.is_empty()),
    ];
    for (part, at, is_told) in told {
        problems.unless(
            !(is_told && answers.keeps(part)),
            at,
            "is told, and `settings` keeps what was there; choose one",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a";

    fn former() -> Settings {
        let text = format!(
            "version = 1\nhost = {{ name = \"old\", time_zone = \"Etc/UTC\", time_servers = [\"192.0.2.1\"], keyboard = \"de\", \
             name_servers = [\"192.0.2.53\"] }}\nnetwork = {{ vlan = 7 }}\naccess = {{ ssh_keys = [\"{KEY}\"] }}\n"
        );
        Settings::parse(text.as_bytes()).unwrap()
    }

    fn answers(more: &str) -> Answers {
        let text = format!("version = 1\ntarget = {{ disks = [{{ path = \"sda\" }}] }}\n{more}");
        Answers::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn everything_or_parts_take_the_place_of_what_is_not_told() {
        let all = answers("settings = \"keep\"\nnetwork = {}\naccess = {}").with_kept(&former());
        let told = all.settings();
        let was = former();
        assert_eq!((told.host, told.network, told.access), (was.host, was.network, was.access));
        assert!(all.keeps(Kept::Identity) && !all.keeps(Kept::Name));
        assert_eq!(all.problems(), []);
        let some = answers(&format!(
            "settings = [\"network\", \"clock\"]\nnetwork = {{}}\nhost.name = \"new\"\naccess = {{ ssh_keys = [\"{KEY}\"] }}"
        ));
        let some = some.with_kept(&former());
        assert_eq!((some.host.name.as_deref(), some.host.keyboard.as_deref()), (Some("new"), None));
        assert_eq!((some.network.vlan, some.host.time_servers.len()), (Some(7), 1));
        assert_eq!(some.kept, None);
    }

    #[test]
    fn a_host_that_nobody_could_enter_is_not_kept_so() {
        let was = Settings { access: xenolith_settings::Access::default(), ..former() };
        let kept = answers("settings = \"keep\"\nnetwork = {}\naccess = {}").with_kept(&was);
        assert_eq!(kept.problems().len(), 1, "{:?}", kept.problems());
    }

    proptest::proptest! {
        /// Whatever is kept: what is not comes from the answers, and where the system goes is never changed by it.
        #[test]
        fn what_is_kept_is_exactly_what_was_asked_for(bits in 0_u8..64) {
            let parts: Vec<Kept> = Kept::ALL.into_iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, part)| part).collect();
            let asked = Answers { kept: Some(Keep::Only(parts.clone())), ..answers(&format!("network = {{}}\naccess = {{ ssh_keys = [\"{KEY} new\"] }}")) };
            let kept = asked.with_kept(&former());
            proptest::prop_assert_eq!(kept.host.name.is_some(), parts.contains(&Kept::Name));
            proptest::prop_assert_eq!(kept.host.time_zone.is_some(), parts.contains(&Kept::Clock));
            proptest::prop_assert_eq!(kept.host.keyboard.is_some(), parts.contains(&Kept::Keyboard));
            proptest::prop_assert_eq!(kept.network.vlan.is_some(), parts.contains(&Kept::Network));
            proptest::prop_assert_eq!(kept.access.ssh_keys[0] == KEY, parts.contains(&Kept::Access));
            proptest::prop_assert_eq!(kept.keeps(Kept::Identity), parts.contains(&Kept::Identity));
            proptest::prop_assert_eq!((&kept.target, &kept.storage, &kept.finish), (&asked.target, &asked.storage, &asked.finish));
        }
    }
}
