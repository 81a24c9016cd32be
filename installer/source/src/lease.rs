//! A hint in the lease that systemd-networkd keeps for an interface.
//!
//! `/run/systemd/netif/leases/<index>` has lines `KEY=value`; an option for private use stands there as `OPTION_224=<hex>`, in the order
//! of its bytes. The file says of itself that it is no interface; this was read with systemd 257, and scenarios notice a change.

use crate::hint::{BadHint, Hint};

/// The option of DHCPv4 that carries the hint: the first of those for private use (RFC 3942). `80-xenolith-dhcp.network` asks for it.
pub const DHCP_OPTION: u8 = 224;
/// Longer leases are not read.
pub(crate) const LONGEST_LEASE: u64 = 64 << 10;

/// The hint in a lease.
///
/// # Errors
/// [`BadHint`] if there is the option and no hint in it.
pub fn of_lease(lease: &str) -> Result<Option<Hint>, BadHint> {
    let key = format!("OPTION_{DHCP_OPTION}=");
    let Some(value) = lease.lines().find_map(|line| line.strip_prefix(&key)) else { return Ok(None) };
    let bytes = hex::decode(value.trim_end()).map_err(|_| BadHint::NotALine)?;
    Hint::parse(&bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_option_is_found_in_a_lease() {
        let lease = format!(
            "# This is private data. Do not parse.\nADDRESS=192.0.2.7\nDOMAINNAME=example.com\nOPTION_224={}\n",
            hex::encode("https://192.0.2.1/a\0")
        );
        assert_eq!(of_lease(&lease).unwrap().unwrap().line(), "https://192.0.2.1/a");
        assert_eq!(of_lease("ADDRESS=192.0.2.7\n"), Ok(None));
    }

    #[test]
    fn an_option_that_is_no_hint_is_refused() {
        assert_eq!(of_lease("OPTION_224=xyz"), Err(BadHint::NotALine));
        assert_eq!(of_lease("OPTION_224="), Err(BadHint::Empty));
        assert_eq!(of_lease(&format!("OPTION_224={}", hex::encode("http://a/"))), Err(BadHint::Plain));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, value in "[0-9a-f]{0,80}") {
            let _ = of_lease(&text);
            let _ = of_lease(&format!("OPTION_224={value}"));
        }
    }
}
