//! Kernel uevents: what the kernel says when a device comes, changes or goes.
//!
//! A message on the netlink socket is `action@devpath\0KEY=VALUE\0KEY=VALUE\0…`; the file `uevent` of a
//! device in sysfs has the same pairs, one a line. Messages come from the kernel, but a process with the
//! right capability could send one too, so the socket drops senders other than port 0 and this parser takes
//! any bytes.

use std::collections::BTreeMap;

/// A uevent's pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uevent {
    pairs: BTreeMap<String, String>,
}

impl Uevent {
    /// Reads a netlink message. `None` for anything that is not a kernel uevent (udev's own messages on the
    /// same family begin with `libudev`).
    pub fn from_message(message: &[u8]) -> Option<Self> {
        let mut parts = message.split(|byte| *byte == 0).filter_map(|part| std::str::from_utf8(part).ok());
        let (action, devpath) = parts.next()?.split_once('@')?;
        if action.is_empty() || !devpath.starts_with('/') {
            return None;
        }
        Some(Self { pairs: parts.filter_map(pair).collect() })
    }

    /// Reads the `uevent` file of a device.
    pub fn from_file(text: &str) -> Self {
        Self { pairs: text.lines().filter_map(pair).collect() }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Whether it says that a block device came or changed its contents.
    pub fn is_new_block_device(&self) -> bool {
        self.get("SUBSYSTEM") == Some("block") && matches!(self.get("ACTION"), Some("add" | "change"))
    }
}

fn pair(text: &str) -> Option<(String, String)> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_message_is_read() {
        let event = Uevent::from_message(
            b"add@/devices/pci0/block/vda/vda3\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=vda3\0PARTNAME=xenolith-root-a\0",
        )
        .unwrap();
        assert_eq!(event.get("PARTNAME"), Some("xenolith-root-a"));
        assert!(event.is_new_block_device());
    }

    #[test]
    fn other_messages_are_refused() {
        assert_eq!(Uevent::from_message(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(Uevent::from_message(b""), None);
        assert_eq!(Uevent::from_message(b"add@"), None);
        assert_eq!(Uevent::from_message(b"@/devices/x"), None);
    }

    #[test]
    fn a_value_may_hold_spaces_and_equals_signs() {
        assert_eq!(Uevent::from_file("PARTNAME=a = b\nbroken\n").get("PARTNAME"), Some("a = b"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = Uevent::from_message(&bytes);
            let _ = Uevent::from_file(&String::from_utf8_lossy(&bytes));
        }
    }
}
