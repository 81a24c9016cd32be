//! Network interfaces.

use serde::Serialize;

use crate::capture::RawNic;

/// A network interface with hardware behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its MAC address, in lower case.
    pub mac: String,
    /// Whether there is a link; unknown while the interface is down.
    pub link: Option<bool>,
    /// Mbit/s; unknown without a link.
    pub speed: Option<u32>,
    /// Its driver.
    pub driver: String,
    /// Its place on the bus.
    pub place: Option<String>,
}

impl Nic {
    /// The interface, if there is hardware behind it.
    pub(crate) fn of(raw: &RawNic) -> Option<Self> {
        Some(Self {
            name: raw.name.clone(),
            mac: raw.address.trim().to_ascii_lowercase(),
            link: raw.carrier,
            speed: raw.speed.and_then(|speed| u32::try_from(speed).ok()).filter(|speed| *speed > 0),
            driver: raw.driver.clone()?,
            place: raw.place.clone(),
        })
    }
}
