//! A wire from a machine's network card to servers, of which the host that tests run on knows nothing.
//!
//! ```text
//!   the machine's card ──datagrams──┐
//!   dnsmasq ────────────TAP device──┼── every frame goes to the other two
//!   xenolith serve ─────TAP device──┘
//! ```
//! Each server has a network namespace to itself, as it would have a machine: both want port 67. The namespaces are made by this very
//! program, started again ([`enter_if_asked`]), because an ordinary user gets them only in a user namespace, and that wants a process of
//! one thread. It ends when whoever has started it closes its standard input, however that ends.

use std::{
    io::{PipeWriter, Read as _, pipe, stdin},
    net::Ipv4Addr,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, mpsc},
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
use xenolith_vm::{CARD_SOCKET, WIRE_SOCKET};

/// Carries the specification to the process that has the namespaces.
const VARIABLE: &str = "XENOLITH_CI_WIRE";
/// The device that each server has.
const DEVICE: &str = "lan";
const PREFIX: u8 = 24;
const DHCP_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const BOOT_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
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
    /// The boot server and its arguments.
    serve: Vec<String>,
    /// Where it is started.
    checkout: PathBuf,
}

/// A wire with both servers on it, as long as this lives.
pub struct Wire {
    handle: duct::Handle,
    /// The other process reads its end.
    open: Option<PipeWriter>,
}

impl Wire {
    /// Lays a wire to the card of the machine with this run folder. `serve` is `xenolith serve` with what it serves, but not where.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn lay(run: &Path, tools: &Path, checkout: &Path, mut serve: Vec<String>) -> anyhow::Result<Self> {
        serve.extend(["--listen".into(), format!("{BOOT_SERVER}:8000"), "--pxe".into(), DEVICE.into()]);
        let spec = Spec { run: run.into(), tools: tools.into(), serve, checkout: checkout.into() };
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
    own_networks().context("cannot make network namespaces")?;
    let card = UnixDatagram::bind(spec.run.join(WIRE_SOCKET))?;
    let dhcp = Sandbox::new(&spec.tools).network(Network::Host).command(Tool::Dnsmasq, dnsmasq())?;
    let (program, args) = spec.serve.split_first().context("no boot server is named")?;
    let boot = duct::cmd(program, args).dir(&spec.checkout).stdin_null();
    let (dhcp_device, dhcp_handle) = station(DHCP_SERVER, dhcp.expression, spec.run.join("dnsmasq.log"))?;
    let (boot_device, boot_handle) = station(BOOT_SERVER, boot, spec.run.join("serve.log"))?;
    let ports = [
        Port::Card(Arc::new(card), spec.run.join(CARD_SOCKET)),
        Port::Server(dhcp_device),
        Port::Server(boot_device),
    ];
    for (number, port) in ports.iter().enumerate() {
        let others = ports.iter().enumerate().filter(|(other, _)| *other != number);
        let (port, others) = (port.clone(), others.map(|(_, port)| port.clone()).collect::<Vec<_>>());
        std::thread::spawn(move || forward(&port, &others));
    }
    // Until nobody holds the other end any more.
    let _ = stdin().read_to_end(&mut Vec::new());
    for (name, handle) in [("dnsmasq", dhcp_handle), ("xenolith serve", boot_handle)] {
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

/// In debug mode, which stays in the foreground and says on stderr whom it has given what; no DNS, no files.
fn dnsmasq() -> Vec<String> {
    let fixed =
        ["--no-daemon", "--conf-file=/dev/null", "--port=0", "--leasefile-ro", "--log-dhcp", "--no-ping"];
    let named = [format!("--interface={DEVICE}"), "--bind-interfaces".into(), RANGE.into()];
    fixed.map(str::to_owned).into_iter().chain(named).collect()
}

/// Starts a server in a network of its own, with a device that has this address.
fn station(
    address: Ipv4Addr,
    server: duct::Expression,
    log: PathBuf,
) -> anyhow::Result<(Arc<SyncDevice>, Arc<duct::Handle>)> {
    let (sender, made) = mpsc::channel();
    // A thread enters a namespace alone, and what it starts is in there. It lives on, because the sandbox ends with whoever began it.
    std::thread::spawn(move || {
        let begin = || -> anyhow::Result<_> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let builder = DeviceBuilder::new().name(DEVICE).layer(Layer::L2).ipv4(address, PREFIX, None);
            let device = builder.build_sync().context("cannot make a TAP device")?;
            let handle = server.stderr_to_stdout().stdout_path(log).unchecked().start()?;
            Ok((Arc::new(device), Arc::new(handle)))
        };
        let _ = sender.send(begin());
        loop {
            std::thread::park();
        }
    });
    made.recv().context("the thread of a server has ended")?
}

/// An end of the wire.
#[derive(Clone)]
enum Port {
    /// The machine's card: our socket, and the path of QEMU's.
    Card(Arc<UnixDatagram>, PathBuf),
    /// A server's device.
    Server(Arc<SyncDevice>),
}

impl Port {
    fn receive(&self, frame: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Card(socket, _) => socket.recv(frame),
            Self::Server(device) => device.recv(frame),
        }
    }

    /// A frame that cannot be delivered is lost, as on any wire: the machine is off, or its queue is full.
    fn send(&self, frame: &[u8]) {
        let _ = match self {
            Self::Card(socket, path) => socket.send_to(frame, path),
            Self::Server(device) => device.send(frame),
        };
    }
}

fn forward(from: &Port, to: &[Port]) {
    let mut frame = [0; LONGEST_FRAME];
    loop {
        match from.receive(&mut frame) {
            Ok(length) => to.iter().for_each(|port| port.send(&frame[..length])),
            Err(error) => return eprintln!("error: an end of the wire is gone: {error}"),
        }
    }
}
