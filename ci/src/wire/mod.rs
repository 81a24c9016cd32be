//! A wire from a machine's network cards to servers, of which the host that tests run on knows nothing.
//!
//! ```text
//!   the machine's card ──datagrams──┐
//!   dnsmasq ────────────TAP device──┼── every frame goes to the other two
//!   xenolith serve ─────TAP device──┘
//!
//!   the machine's cards ═datagrams══╗  two links that are one, by LACP, with one VLAN
//!   dnsmasq ────────────TAP device──╝
//! ```
//! Each server has a network namespace to itself, as it would have a machine: both want port 67. The namespaces are made by this very
//! program, started again ([`enter_if_asked`]), because an ordinary user gets them only in a user namespace, and that wants a process of
//! one thread. It ends when whoever has started it closes its standard input, however that ends.

pub mod lag;

use std::{
    io::{self, PipeWriter, Read as _, pipe, stdin},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Context as _, bail};
use fs_err as fs;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};
use serde::{Deserialize, Serialize};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use xenolith_sandbox::{Network, Sandbox, Tool};
use xenolith_vm::{card_socket, wire_socket};

use crate::answering::serve;

/// Carries the specification to the process that has the namespaces.
const VARIABLE: &str = "XENOLITH_CI_WIRE";
/// The device that each server has.
const DEVICE: &str = "lan";
const PREFIX: u8 = 24;
const DHCP_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const BOOT_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The domain that DHCP gives, if DNS is to lead to answers.
const DOMAIN: &str = "rack.test";
/// Where they are then, beside dnsmasq.
const ANSWERS_PORT: u16 = 8080;
/// The machine, where it has to be found.
pub const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
/// What QEMU calls the first two cards of a machine.
const CARDS: &str = "52:54:00:12:34:56,52:54:00:12:34:57";
/// The links between a machine and a switch that aggregates them.
pub const LINKS: usize = 2;
/// The VLAN on them.
pub const VLAN: u16 = 120;
/// The addresses that dnsmasq gives away.
const RANGE: &str = "--dhcp-range=10.77.0.50,10.77.0.99,255.255.255.0";
/// No frame is longer without offloads that nobody has agreed to here.
const LONGEST_FRAME: usize = 2048;

#[derive(Serialize, Deserialize)]
struct Spec {
    /// The machine's run folder, for its sockets and the servers' logs.
    run: PathBuf,
    /// The tree with dnsmasq.
    tools: PathBuf,
    end: End,
}

/// What is at the other end.
#[derive(Serialize, Deserialize)]
enum End {
    /// A boot server besides.
    Servers {
        /// It and its arguments.
        serve: Vec<String>,
        /// Where it is started.
        checkout: PathBuf,
        /// Answers that a TXT record leads to.
        by_dns: Option<String>,
    },
    /// A switch that takes [`LINKS`] links for one.
    Switch {
        /// This port of 127.0.0.1 leads to the machine's port 22.
        ssh_port: u16,
    },
}

/// A wire with both servers on it, as long as this lives.
pub struct Wire {
    handle: duct::Handle,
    /// The other process reads its end.
    open: Option<PipeWriter>,
}

impl Wire {
    /// Lays a wire to the card of the machine with this run folder. `serve` is `xenolith serve` with what it serves, but not where; `by_dns`
    /// is what a TXT record leads to.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn lay(
        run: &Path,
        tools: &Path,
        checkout: &Path,
        mut serve: Vec<String>,
        by_dns: Option<String>,
    ) -> anyhow::Result<Self> {
        serve.extend(["--listen".into(), format!("{BOOT_SERVER}:8000"), "--pxe".into(), DEVICE.into()]);
        Self::begin(run, tools, End::Servers { serve, checkout: checkout.into(), by_dns })
    }

    /// Lays [`LINKS`] wires to the cards of a machine, as of a switch that aggregates them by LACP, with a DHCP server in [`VLAN`].
    ///
    /// # Errors
    /// As [`Self::lay`].
    pub fn aggregate(run: &Path, tools: &Path, ssh_port: u16) -> anyhow::Result<Self> {
        Self::begin(run, tools, End::Switch { ssh_port })
    }

    fn begin(run: &Path, tools: &Path, end: End) -> anyhow::Result<Self> {
        let spec = Spec { run: run.into(), tools: tools.into(), end };
        let (input, open) = pipe()?;
        let handle = duct::cmd!("/proc/self/exe")
            .env(VARIABLE, serde_json::to_string(&spec)?)
            .stdin_file(input)
            .stdout_null()
            .stderr_path(run.join("wire.log"))
            .unchecked()
            .start()?;
        Ok(Self { handle, open: Some(open) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.open = None;
        // It says in its log why it fails, and there is nothing left to save.
        let _ = self.handle.wait();
    }
}

/// Becomes the wire, if this process was started for that. To be called before there is a second thread.
pub fn enter_if_asked() -> Option<ExitCode> {
    let spec = std::env::var(VARIABLE).ok()?;
    let laid = serde_json::from_str(&spec).context("this is no specification").and_then(|spec| carry(&spec));
    Some(match laid {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn carry(spec: &Spec) -> anyhow::Result<()> {
    // Before this process has networks of its own.
    let visitors = match spec.end {
        End::Switch { ssh_port } => Some(TcpListener::bind((Ipv4Addr::LOCALHOST, ssh_port))?),
        End::Servers { .. } => None,
    };
    own_networks().context("cannot make network namespaces")?;
    let answers = match &spec.end {
        End::Servers { by_dns, .. } => by_dns.clone(),
        End::Switch { .. } => None,
    };
    let args = dnsmasq(answers.is_some());
    let dhcp = Sandbox::new(&spec.tools).network(Network::Host).command(Tool::Dnsmasq, args)?;
    let beside = || answers.map_or(Ok(()), answer);
    let dhcp = Station::new("dnsmasq", DHCP_SERVER, dhcp.expression, spec.run.join("dnsmasq.log"), beside)?;
    let dhcp_port = Port::Server(dhcp.device.clone());
    let mut stations = vec![];
    match &spec.end {
        End::Servers { serve, checkout, .. } => {
            let (program, args) = serve.split_first().context("no boot server is named")?;
            let boot = duct::cmd(program, args).dir(checkout).stdin_null();
            let boot =
                Station::new("xenolith serve", BOOT_SERVER, boot, spec.run.join("serve.log"), || Ok(()))?;
            let card = Port::Card(Arc::new(Card::new(&spec.run, 0)?));
            join(vec![card, dhcp_port, Port::Server(boot.device.clone())]);
            stations.push(boot);
        }
        End::Switch { .. } => {
            let cards = (0..LINKS).map(|card| Card::new(&spec.run, card).map(Arc::new));
            let links = cards.collect::<io::Result<_>>()?;
            aggregate(&Arc::new(Lag { links, latest: AtomicUsize::new(0) }), dhcp.device.clone());
        }
    }
    if let Some(visitors) = visitors {
        let guide = dhcp.visits.clone();
        thread::spawn(move || visitors.incoming().flatten().try_for_each(|visitor| guide.send(visitor)));
    }
    stations.push(dhcp);
    // Until nobody holds the other end any more.
    let _ = stdin().read_to_end(&mut Vec::new());
    for Station { name, handle, .. } in stations {
        if let Some(ended) = handle.try_wait()? {
            bail!("{name} has ended before the machine did: {}", ended.status);
        }
        handle.kill()?;
    }
    Ok(())
}

/// Lets this process make network namespaces, root or not.
fn own_networks() -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

/// Hands answers to whoever asks, for as long as this process lives.
fn answer(answers: String) -> io::Result<()> {
    let asked = serve(TcpListener::bind((DHCP_SERVER, ANSWERS_PORT))?, answers);
    thread::spawn(move || asked.iter().for_each(|(line, _)| eprintln!("answers: {}", line.trim_end())));
    Ok(())
}

/// In debug mode, which stays in the foreground and says on stderr whom it has given what; no files. With DNS it knows of one record.
fn dnsmasq(with_dns: bool) -> Vec<String> {
    let fixed = ["--no-daemon", "--conf-file=/dev/null", "--leasefile-ro", "--log-dhcp", "--no-ping"];
    let dns = if with_dns {
        vec![
            "--no-resolv".into(),
            "--no-hosts".into(),
            format!("--domain={DOMAIN}"),
            format!(
                "--txt-record=_xenolith-answers.{DOMAIN},http://{DHCP_SERVER}:{ANSWERS_PORT}/answers insecure"
            ),
        ]
    } else {
        vec!["--port=0".to_owned()]
    };
    let named = [
        format!("--interface={DEVICE}"),
        "--bind-interfaces".into(),
        RANGE.into(),
        format!("--dhcp-host={CARDS},{MACHINE}"),
    ];
    fixed.map(str::to_owned).into_iter().chain(dns).chain(named).collect()
}

/// A server in a network of its own.
struct Station {
    name: &'static str,
    device: Arc<SyncDevice>,
    handle: duct::Handle,
    /// Whoever comes here is led to [`MACHINE`]'s port 22.
    visits: mpsc::Sender<TcpStream>,
}

impl Station {
    /// Starts a server with a device that has this address, and what is `beside` it.
    fn new(
        name: &'static str,
        address: Ipv4Addr,
        server: duct::Expression,
        log: PathBuf,
        beside: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, made) = mpsc::channel();
        let (visits, visitors) = mpsc::channel();
        // A thread enters a namespace alone, and what it starts is in there. It lives on, because the sandbox ends with whoever began it.
        thread::spawn(move || {
            let begin = || -> anyhow::Result<_> {
                unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
                let builder = DeviceBuilder::new().name(DEVICE).layer(Layer::L2).ipv4(address, PREFIX, None);
                let device = builder.build_sync().context("cannot make a TAP device")?;
                beside()?;
                let handle = server.stderr_to_stdout().stdout_path(log).unchecked().start()?;
                Ok((Arc::new(device), handle))
            };
            let _ = sender.send(begin());
            visitors.iter().for_each(visit);
            loop {
                thread::park();
            }
        });
        let (device, handle) = made.recv().context("the thread of a server has ended")??;
        Ok(Self { name, device, handle, visits })
    }
}

/// Leads a connection to the machine, which whoever has made it waits for. One that the machine does not take ends, and is tried again
/// by the other side.
fn visit(visitor: TcpStream) {
    let Ok(machine) = TcpStream::connect((MACHINE, 22)) else { return };
    let both = || Ok::<_, io::Error>((visitor.try_clone()?, machine.try_clone()?));
    let Ok((from, to)) = both() else { return };
    for (mut from, mut to) in [(from, machine), (to, visitor)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

/// A wire to a card of the machine.
struct Card {
    socket: UnixDatagram,
    machine: PathBuf,
}

impl Card {
    fn new(run: &Path, card: usize) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::bind(run.join(wire_socket(card)))?,
            machine: run.join(card_socket(card)),
        })
    }

    /// A frame that cannot be delivered is lost, as on any wire: the machine is off, or its queue is full.
    fn send(&self, frame: &[u8]) {
        let _ = self.socket.send_to(frame, &self.machine);
    }
}

/// An end of the wire.
#[derive(Clone)]
enum Port {
    Card(Arc<Card>),
    /// A server's device.
    Server(Arc<SyncDevice>),
}

impl Port {
    fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Card(card) => card.socket.recv(frame),
            Self::Server(device) => device.recv(frame),
        }
    }

    fn send(&self, frame: &[u8]) {
        match self {
            Self::Card(card) => card.send(frame),
            Self::Server(device) => drop(device.send(frame)),
        }
    }

    /// Hands every frame that comes in here to `take`, in a thread of its own.
    fn each_frame(self, mut take: impl FnMut(&[u8]) + Send + 'static) {
        thread::spawn(move || {
            let mut frame = [0; LONGEST_FRAME];
            loop {
                match self.receive(&mut frame) {
                    Ok(length) => take(&frame[..length]),
                    Err(error) => return eprintln!("error: an end of the wire is gone: {error}"),
                }
            }
        });
    }
}

/// Every frame goes to all others.
fn join(ports: Vec<Port>) {
    for (number, port) in ports.iter().enumerate() {
        let others = ports.iter().enumerate().filter(|(other, _)| *other != number);
        let others: Vec<Port> = others.map(|(_, port)| port.clone()).collect();
        port.clone().each_frame(move |frame| others.iter().for_each(|port| port.send(frame)));
    }
}

/// Links that are one.
struct Lag {
    links: Vec<Arc<Card>>,
    /// The link on which the machine has last spoken LACP. It does so on each that is up, so none that is down stays here.
    latest: AtomicUsize,
}

/// Joins a server and links that are one.
fn aggregate(lag: &Arc<Lag>, server: Arc<SyncDevice>) {
    for (number, card) in (0..).zip(&lag.links) {
        let (lag, card, server) = (lag.clone(), card.clone(), server.clone());
        Port::Card(card.clone()).each_frame(move |frame| {
            if let Some(answer) = lag::answer(number, frame) {
                lag.latest.store(number.into(), Ordering::Relaxed);
                card.send(&answer);
            } else if let Some(frame) = lag::untagged(VLAN, frame) {
                let _ = server.send(&frame);
            }
        });
    }
    let lag = lag.clone();
    Port::Server(server).each_frame(move |frame| {
        lag.links[lag.latest.load(Ordering::Relaxed)].send(&lag::tagged(VLAN, frame));
    });
}
