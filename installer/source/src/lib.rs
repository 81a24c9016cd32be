//! Where an installation's answers come from when nobody types them, and where it says how it ended.
//!
//! ```text
//!   what the machine was started from ──[`auto`]──▶ places, in the order in which they are asked
//!   firmware, lease, DNS ──[`Hint::parse`]──▶ where a server is and why it may be trusted ──[`fetch`]──▶ the answers' bytes
//!   medium, volume ──────────────────────────────────────────────────────────────────────────────────▶ the answers' bytes
//! ```
//! **The first place that has something decides.** What it has is taken or is an error; no other place is asked after it, so that a
//! server that does not answer never lets older answers erase a machine. **Nobody is believed by accident**: a server is known by its
//! certificate, by an authority, or the hint says in so many words that it is not.

mod fetch;
mod hint;
mod identity;
mod lease;
mod look;
mod place;
mod report;
mod smbios;
mod tls;
mod txt;
mod upload;
mod volume;

pub use fetch::{FetchError, Fetched, Patience, Server, Trust, fetch, send, shown_certificate};
pub use hint::{BadHint, Hint, LONGEST_HINT, NamedTrust, Url};
pub use identity::{IDENTITY_FORMAT, Identity, IdentityDisk};
pub use lease::{DHCP_OPTION, of_lease};
pub use look::{Found, LookError, Looking, OnMedium};
pub use place::{Asked, Place, auto};
pub use report::{LogTail, Outcome, REPORT_FORMAT, Report};
pub use smbios::{SMBIOS_PREFIX, of_smbios};
pub use txt::{DNS_LABEL, of_txt, search_domains};
pub use upload::{Upload, upload};
