//! Looks at the host while the console stands there: soon when something has changed that everybody sees, else seldom, since asking
//! systemd, device-mapper and the hypervisor costs a slow host seconds.

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use fs_err as fs;
use xenolith_console::{Address, Doors, Installed, Look, Programs as _, Tool};
use xenolith_firstboot::{SHADOW, SSH_KEYS};
use xenolith_layout::names::{INSTALL_FAILED, STATE_FIRSTBOOT, STATE_MOUNT};
use xenolith_status::Report;

use crate::jobs::Told;

/// How often it is looked whether something has changed, which costs nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often everything is asked.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// What a change of is seen at once.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    addresses: Vec<Address>,
    host_name: String,
    doors: Doors,
    changed: Vec<Option<SystemTime>>,
}

/// Tells of the host until nobody listens any more. A word through `wake` is a wish to look now.
pub fn watch(tell: &Sender<Told>, wake: &Receiver<()>) {
    let mut told: Option<(Instant, Seen)> = None;
    loop {
        let seen = Seen::now();
        let fresh = told.as_ref().is_some_and(|(when, of)| when.elapsed() < ASK_AGAIN && *of == seen);
        if !fresh {
            match report() {
                Ok(report) => {
                    let Seen { addresses, host_name, doors, .. } = Seen::now();
                    let look = Look { report, host_name, addresses, doors };
                    if tell.send(Told::Look(Box::new(look))).is_err() {
                        return;
                    }
                    told = Some((Instant::now(), seen));
                }
                // It is asked again soon; a host whose status nobody can say has other sorrows.
                Err(error) => eprintln!("warning: the state of the host is not shown anew: {error}"),
            }
        }
        match wake.recv_timeout(LOOK_AGAIN) {
            Ok(()) => told = None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Asked of the program that knows it: it alone is linked with the hypervisor's library.
fn report() -> std::io::Result<Report> {
    Ok(serde_json::from_str(&Installed.run(Tool::Status, &["--json"])?)?)
}

impl Seen {
    fn now() -> Self {
        let root = Path::new("/");
        let host_name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let files = [
            Path::new(STATE_MOUNT).join(STATE_FIRSTBOOT),
            INSTALL_FAILED.into(),
            root.join("run/systemd/netif/state"),
        ];
        let changed = files.map(|file| fs::metadata(file).ok()?.modified().ok());
        Self {
            addresses: addresses(),
            host_name: host_name.unwrap_or_else(|_| "a host without a name".to_owned()),
            doors: doors(root),
            changed: changed.into(),
        }
    }
}

fn doors(root: &Path) -> Doors {
    let shadow = fs::read_to_string(root.join(SHADOW)).unwrap_or_default();
    // shadow(5): what begins otherwise can be no hash.
    let password = shadow.lines().any(|line| line.starts_with("root:$"));
    Doors { ssh: fs::metadata(root.join(SSH_KEYS)).is_ok_and(|keys| keys.len() > 0), password }
}

/// The addresses by which the host can be reached from outside.
fn addresses() -> Vec<Address> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let ip = |address: &nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(v4.ip().into()),
            (None, Some(v6)) if !v6.ip().is_unicast_link_local() => Some(v6.ip().into()),
            (None, _) => None,
        }
    };
    let mut addresses: Vec<Address> = all
        .filter_map(|one| Some(Address { ip: ip(&one.address?)?, interface: one.interface_name }))
        .filter(|address| !address.ip.is_loopback())
        .collect();
    addresses.sort_by(|one, other| (one.ip, &one.interface).cmp(&(other.ip, &other.interface)));
    addresses
}
