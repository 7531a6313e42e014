//! Nodes of a tree on hosts of a [`Net`]: each has a host of its own, so all use their default
//! ports. A router stands in the middle, to which every host has a link; what shall not get through
//! is dropped there.

use super::{Host, Net, NetError};
use crate::harness::{HarnessError, Metrics, Process, Running, binary};
use crate::viewer::{self, Viewers};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A node is ready within this time, also on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A token is made within this time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// The root's host.
const CORE: u8 = 1;
/// RFC 2544: addresses for tests of networks, routed nowhere.
const OUTSIDE: &str = "198.18";

/// Why a site does not come up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Hosts and links.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Processes.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// Files.
    #[error("files: {0}")]
    Io(#[from] std::io::Error),
    /// The root makes no token.
    #[error("no token: {0}")]
    Token(String),
}

/// The address of the host with this number.
#[must_use]
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 2)
}

/// One node with its host.
#[derive(Debug)]
pub struct Station {
    /// The node; ended before its host goes.
    pub node: Running,
    /// Where it is.
    pub host: Host,
}

impl Station {
    /// The node's metrics; empty if it does not answer.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.host.run(|| self.node.metrics())
    }

    /// Whether `/readyz` says yes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.host.run(|| self.node.is_ready())
    }

    /// Waits for that.
    ///
    /// # Errors
    /// With its log.
    pub fn wait_ready(&mut self) -> Result<(), SiteError> {
        let node = &mut self.node;
        Ok(self.host.run(|| node.wait_ready(READY_TIMEOUT))?)
    }

    /// Lines of its log with these words.
    #[must_use]
    pub fn logged(&self, words: &str) -> usize {
        self.node.process.log().iter().filter(|line| line.contains(words)).count()
    }
}

/// The root on its host, the router, and the broadcaster. Nodes are added.
#[derive(Debug)]
pub struct Site {
    source: Option<Process>,
    /// The root.
    pub root: Station,
    /// The router between all hosts.
    pub router: Host,
    directory: TempDir,
    tokens: [String; 2],
    net: Net,
}

impl Site {
    /// Starts root, router and broadcaster; `children` nodes may hang below the root itself.
    ///
    /// # Errors
    /// What does not work.
    pub fn start(children: u32) -> Result<Self, SiteError> {
        let directory = tempfile::Builder::new().prefix("soleil-").tempdir()?;
        let mut net = Net::new()?;
        let router = net.host("router")?;
        router.forward()?;
        let host = net.host("core")?;
        connect(&net, &router, &host, CORE)?;
        let config = format!(
            "{}[overlay]\nannounce = \"{}:7443\"\n[capacity]\nchildren = {children}\n{TAIL}",
            node_section(&directory, "root"),
            address(CORE),
        );
        let node = start(&directory, &host, "root", "root-node", &config)?;
        let mut root = Station { node, host };
        root.wait_ready()?;
        let tokens = [token(&directory, "relay")?, token(&directory, "leaf")?];
        let source = root.host.run(|| {
            let mut command = Command::new(binary("soleil-source")?);
            command.args([
                "--codec",
                "h264",
                "--video",
                "127.0.0.1:5004",
                "--audio",
                "127.0.0.1:5006",
            ]);
            Process::start("source", &mut command)
        })?;
        Ok(Self { source: Some(source), root, router, directory, tokens, net })
    }

    /// A host with this number at the router.
    ///
    /// # Errors
    /// What does not work.
    pub fn host(&mut self, name: &str, number: u8) -> Result<Host, SiteError> {
        let host = self.net.host(name)?;
        connect(&self.net, &self.router, &host, number)?;
        Ok(host)
    }

    /// A host behind `gateway`, which knows no other way than this one.
    ///
    /// # Errors
    /// What does not work.
    pub fn host_behind(
        &mut self,
        gateway: &Host,
        name: &str,
        network: &str,
    ) -> Result<Host, SiteError> {
        let host = self.net.host(name)?;
        let ends = (format!("{network}.1/24"), format!("{network}.2/24"));
        self.net.link((gateway, &format!("to-{name}"), &ends.0), (&host, "eth0", &ends.1))?;
        host.ip(&format!("route add default via {network}.1"))?;
        Ok(host)
    }

    /// A relay; `announce` is what others are told, as lines for `[overlay]` and `[media]`.
    ///
    /// # Errors
    /// What does not work.
    pub fn relay(
        &self,
        host: Host,
        name: &str,
        announce: (&str, &str),
    ) -> Result<Station, SiteError> {
        let config = format!(
            "{}{}[overlay]\n{}\n[media]\n{}\n{TAIL}",
            node_section(&self.directory, name),
            self.root_section(0),
            announce.0,
            announce.1,
        );
        self.add(host, name, "relay-node", &config)
    }

    /// A leaf that viewers reach at this address.
    ///
    /// # Errors
    /// What does not work.
    pub fn leaf(&self, host: Host, name: &str, address: Ipv4Addr) -> Result<Station, SiteError> {
        let config = format!(
            "{}{}[http]\npublic_url = \"http://{address}:8090\"\n\
             [webrtc]\nannounce = [\"{address}:8190\"]\n{TAIL}",
            node_section(&self.directory, name),
            self.root_section(1),
        );
        self.add(host, name, "leaf-gateway", &config)
    }

    fn add(
        &self,
        host: Host,
        name: &str,
        program: &str,
        config: &str,
    ) -> Result<Station, SiteError> {
        let node = start(&self.directory, &host, name, program, config)?;
        let mut station = Station { node, host };
        station.wait_ready()?;
        Ok(station)
    }

    fn root_section(&self, role: usize) -> String {
        let token = &self.tokens[role];
        format!("[root]\naddress = \"{}:7443\"\ntoken = \"{token}\"\n", address(CORE))
    }

    /// Viewers on a host, whom the root sends to a leaf.
    ///
    /// # Errors
    /// What does not work.
    pub fn viewers(&self, host: &Host, count: usize) -> Result<Viewers, viewer::ViewerError> {
        let url = format!("http://{}:8080/whep/demo", address(CORE));
        host.run(|| Viewers::start(&url, count, &viewer::Options::default()))
    }

    /// What is wrong with these nodes, and the root: ended, panicked.
    pub fn complaints(&mut self, stations: &mut [&mut Station]) -> Vec<String> {
        let mut all = Vec::new();
        let root = std::iter::once(&mut self.root);
        for station in root.chain(stations.iter_mut().map(|s| &mut **s)) {
            let process = &mut station.node.process;
            if let Some(status) = process.exit() {
                all.push(format!("{} ended: {status}", process.name()));
            }
            let panics = process.log().into_iter().filter(|line| line.contains("panicked at"));
            all.extend(panics.map(|line| format!("{}: {line}", process.name())));
        }
        all
    }

    /// Lets nothing through the router from or to this host's number, as a link does that has
    /// become a black hole: no socket is closed, and no error comes back.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn black_hole(&self, number: u8) -> Result<(), NetError> {
        let address = address(number);
        let mut rules = String::from("table ip hole { chain forward {\n");
        rules += "type filter hook forward priority filter; policy accept;\n";
        for side in ["saddr", "daddr"] {
            for protocol in ["tcp", "udp"] {
                let _ = writeln!(
                    rules,
                    "ip {side} {address} meta l4proto {protocol} counter drop comment \"{side} {protocol}\""
                );
            }
        }
        rules += "}\n}\n";
        self.router.nft(&rules)
    }

    /// Packets that the black hole has swallowed, as `(tcp, udp)`.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn swallowed(&self) -> Result<(u64, u64), NetError> {
        let listed = self.router.nft_list("hole")?;
        let count = |protocol: &str| -> u64 {
            let lines = listed.lines().filter(|l| l.contains(&format!(" {protocol}\"")));
            let words = lines.filter_map(|l| l.split("packets ").nth(1)?.split(' ').next());
            words.filter_map(|n| n.parse::<u64>().ok()).sum()
        };
        Ok((count("tcp"), count("udp")))
    }

    /// The link is well again.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn heal(&self) -> Result<(), NetError> {
        self.router.nft("delete table ip hole\n")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- root ---\n{}", self.root.node.process.log_tail());
        }
        self.source.take();
        self.root.node.process.stop();
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let process = &self.node.process;
            eprintln!("--- {} ---\n{}", process.name(), process.log_tail());
            // Nobody waits for its drain.
            self.node.process.kill();
        }
    }
}

/// What all configurations end with.
const TAIL: &str =
    "[ops]\nlisten = \"127.0.0.1:9100\"\n[log]\nlevel = \"info\"\nformat = \"text\"\n";

fn node_section(directory: &TempDir, name: &str) -> String {
    let data = directory.path().join(name);
    format!(
        "[node]\nname = \"{name}\"\ndata_dir = \"{}\"\ndrain_timeout = \"2s\"\n",
        data.display()
    )
}

/// A link between router and host, and the way to everybody else.
fn connect(net: &Net, router: &Host, host: &Host, number: u8) -> Result<(), NetError> {
    let (near, far) = (format!("{OUTSIDE}.{number}.1/24"), format!("{OUTSIDE}.{number}.2/24"));
    net.link((router, &format!("to-{number}"), &near), (host, "eth0", &far))?;
    host.ip(&format!("route add default via {OUTSIDE}.{number}.1")).map(drop)
}

fn start(
    directory: &TempDir,
    host: &Host,
    name: &str,
    program: &str,
    config: &str,
) -> Result<Running, SiteError> {
    std::fs::create_dir_all(directory.path().join(name))?;
    let file = directory.path().join(format!("{name}.toml"));
    std::fs::write(&file, config)?;
    let process = host.run(|| {
        let mut command = Command::new(binary(program)?);
        Process::start(name, command.arg("--config").arg(&file).env("RUST_BACKTRACE", "1"))
    })?;
    Ok(Running { process, ops: SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)) })
}

fn token(directory: &TempDir, role: &str) -> Result<String, SiteError> {
    let mut command = Command::new(binary("root-node")?);
    command.args(["token", "create", "--role", role, "--config"]);
    command.arg(directory.path().join("root.toml"));
    let mut process = Process::start("root-node", &mut command)?;
    let status = process.wait(COMMAND_TIMEOUT);
    let find = |process: &Process| {
        let out = process.stdout().join(" ");
        out.split_whitespace().find(|word| word.starts_with("soleil1.")).map(str::to_owned)
    };
    // The thread that reads may be a moment behind.
    crate::wait::holds_within(Duration::from_secs(2), || find(&process).is_some());
    find(&process).ok_or_else(|| SiteError::Token(format!("{status:?}: {}", process.log_tail())))
}
