//! The tree: which processes there are, how they are configured, and what stands in their hops.

use super::launch::{emulator, start, start_root, tap, write};
use super::node::{Process, Running};
use super::options::{Hop, Options};
use super::plan::{NodePorts, Plan, root_config};
use super::ports::Ports;
use super::{HarnessError, binary, io_error};
use crate::emulator::{TcpTap, UdpEmulator};
use crate::wait::holds_within;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A node is ready within this time: debug builds on two busy cores included.
pub(super) const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A token is made within this time.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// A running tree. Stopped, leaves first, when dropped; if that is by a failing test, the ends of
/// all logs are shown.
#[derive(Debug)]
pub struct Tree {
    /// Leaves in order of their start.
    pub leaves: Vec<Running>,
    /// Relays in order of their start.
    pub relays: Vec<Running>,
    /// The root.
    pub root: Running,
    /// Emulators between root and relays (one for all), and before each relay's children.
    pub root_emulator: Option<UdpEmulator>,
    /// Between broadcasters over WHIP and the root.
    pub whip_emulator: Option<UdpEmulator>,
    /// One for each relay.
    pub relay_emulators: Vec<UdpEmulator>,
    /// Taps likewise.
    pub root_tap: Option<TcpTap>,
    /// One for each relay.
    pub relay_taps: Vec<TcpTap>,
    /// One for each leaf, in front of its viewers.
    pub leaf_emulators: Vec<UdpEmulator>,
    pub(super) options: Options,
    pub(super) directory: TempDir,
    pub(super) root_ports: NodePorts,
    pub(super) relay_ports: Vec<NodePorts>,
    pub(super) leaf_ports: Vec<NodePorts>,
    pub(super) stream_ports: Vec<u16>,
}

impl Tree {
    /// Starts everything and waits until all nodes are ready.
    ///
    /// # Errors
    /// If a binary or port is missing, or a node does not get ready.
    pub fn start(options: &Options) -> Result<Self, HarnessError> {
        let directory = tempfile::Builder::new()
            .prefix("soleil-")
            .tempdir()
            .map_err(io_error("temporary directory"))?;
        let plan = Plan::new(options)?;
        let root = plan.root;
        let root_emulator = emulator(&options.root_hop, plan.root_hop_media, root.media)?;
        let whip_hop = Hop { emulate: options.whip_hop, tap: false };
        let whip_emulator = emulator(&whip_hop, plan.whip_hop, root.viewers)?;
        let root_tap = tap(&options.root_hop, plan.root_hop_overlay, root.overlay)?;
        let config = root_config(options, &plan, directory.path());
        let root_file = write(directory.path(), "root", &config)?;
        let steered = options.steered;
        let mut root_node = start_root(directory.path(), &root_file, root.ops, steered)?;
        root_node.wait_ready(READY_TIMEOUT)?;
        let mut tree = Self {
            leaves: Vec::new(),
            relays: Vec::new(),
            root: root_node,
            root_emulator,
            whip_emulator,
            relay_emulators: Vec::new(),
            root_tap,
            relay_taps: Vec::new(),
            leaf_emulators: Vec::new(),
            options: options.clone(),
            directory,
            root_ports: root,
            relay_ports: plan.relays.clone(),
            leaf_ports: plan.leaves.clone(),
            stream_ports: plan.streams.clone(),
        };
        if options.relays > 0 {
            let token = tree.token("relay", &[])?;
            for (n, (ports, hop)) in plan.relays.iter().zip(&plan.relay_hops).enumerate() {
                tree.relay_emulators.extend(emulator(&options.relay_hop, hop.0, ports.media)?);
                tree.relay_taps.extend(tap(&options.relay_hop, hop.1, ports.overlay)?);
                let name = format!("relay-{}", n + 1);
                let mut config = tree.child_config(&name, &token, *ports, hop.0);
                let _ = write!(
                    config,
                    "[overlay]\nlisten = \"127.0.0.1:{}\"\nannounce = \"127.0.0.1:{}\"\n",
                    ports.overlay, hop.1
                );
                let file = write(tree.directory.path(), &name, &config)?;
                let mut relay = start(&name, "relay-node", &file, ports.ops, None)?;
                relay.wait_ready(READY_TIMEOUT)?;
                tree.relays.push(relay);
            }
        }
        if options.leaves > 0 {
            let token = tree.token("leaf", &[])?;
            for n in 0..options.leaves {
                tree.start_leaf(n, &token)?;
            }
        }
        Ok(tree)
    }

    fn start_leaf(&mut self, n: usize, token: &str) -> Result<(), HarnessError> {
        let ports = self.leaf_ports[n];
        let name = format!("leaf-{}", n + 1);
        // A leaf has no children: no listener for control links.
        let mut config = self.child_config(&name, token, ports, ports.media);
        if let Some(viewers) = self.options.leaf_viewers {
            let capacity = format!("[capacity]\nviewers = {viewers}\n");
            config = config.replacen("[capacity]\n", &capacity, 1);
        }
        let mut announce = ports.viewers;
        if self.options.viewer_hop.is_some() {
            announce = Ports::default().take(1)?;
            let hop = Hop { emulate: self.options.viewer_hop, tap: false };
            self.leaf_emulators.extend(emulator(&hop, announce, ports.viewers)?);
        }
        let media = self.options.viewer_host;
        let host = if self.options.demo_ports { "localhost" } else { "127.0.0.1" };
        let _ = write!(
            config,
            "\n[http]\nlisten = \"127.0.0.1:{}\"\npublic_url = \"http://{host}:{}\"\n\
             [webrtc]\nlisten = \"{media}:{}\"\nannounce = [\"{media}:{}\"]\n\
             sessions_per_address = {}\nworkers = {}\n{}",
            ports.http,
            ports.http,
            ports.viewers,
            announce,
            self.options.leaf_per_address,
            self.options.leaf_workers,
            self.options.leaf_extra
        );
        let file = write(self.directory.path(), &name, &config)?;
        let mut leaf = start(&name, "leaf-gateway", &file, ports.ops, self.options.leaf_core)?;
        leaf.wait_ready(READY_TIMEOUT)?;
        self.leaves.push(leaf);
        Ok(())
    }

    fn child_config(&self, name: &str, token: &str, p: NodePorts, announce: u16) -> String {
        let data = self.directory.path().join(name);
        let root = match &self.root_tap {
            Some(tap) => tap.address().port(),
            None => self.root_ports.overlay,
        };
        format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{}\"\ndrain_timeout = \"5s\"\n\
             [root]\naddress = \"127.0.0.1:{root}\"\ntoken = \"{token}\"\n\
             [media]\nlisten = \"127.0.0.1:{}\"\nannounce = [\"127.0.0.1:{}\"]\n\
             [capacity]\nchildren = {}\n[ops]\nlisten = \"127.0.0.1:{}\"\n\
             [log]\nlevel = \"{}\"\nformat = \"text\"\n",
            data.display(),
            p.media,
            announce,
            self.options.relay_children,
            p.ops,
            self.options.log,
        )
    }

    /// Runs a command of the root's binary with its configuration; gives stdout.
    ///
    /// # Errors
    /// If it fails.
    pub fn root_command(&self, arguments: &[&str]) -> Result<String, HarnessError> {
        let mut command = Command::new(binary("root-node")?);
        command.args(arguments).arg("--config").arg(self.directory.path().join("root.toml"));
        let mut process = Process::start("root-node", &mut command)?;
        let status = process.wait(COMMAND_TIMEOUT);
        if !status.is_some_and(|s| s.success()) {
            return Err(process.failed(format!("{arguments:?} ended with {status:?}")));
        }
        // The reader thread may be a moment behind.
        holds_within(Duration::from_secs(2), || !process.stdout().is_empty());
        Ok(process.stdout().join("\n"))
    }

    /// A join token.
    ///
    /// # Errors
    /// If the root makes none.
    pub fn token(&self, role: &str, more: &[&str]) -> Result<String, HarnessError> {
        let mut arguments = vec!["token", "create", "--role", role];
        arguments.extend(more);
        let out = self.root_command(&arguments)?;
        out.split_whitespace()
            .find(|word| word.starts_with("soleil1."))
            .map(str::to_owned)
            .ok_or_else(|| self.root.process.failed(format!("made no token: {out}")))
    }

    /// The emulator in front of a leaf's viewers, with `viewer_hop`.
    #[must_use]
    pub fn viewer_hop(&self, leaf: usize) -> Option<&UdpEmulator> {
        self.leaf_emulators.get(leaf)
    }

    /// Whether its root is one that can be steered.
    #[must_use]
    pub fn is_steered(&self) -> bool {
        self.options.steered
    }

    /// Where configuration and data of the nodes are (`root.toml`, `relay-1.toml`, ...).
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts one more relay with a token that should not let it in; nobody waits for it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn stranger(&self, token: &str) -> Result<Running, HarnessError> {
        let first = Ports::default().take(5)?;
        let ports = NodePorts {
            overlay: first,
            media: first + 1,
            ops: first + 2,
            http: first + 3,
            viewers: first + 4,
        };
        let mut config = self.child_config("stranger", token, ports, ports.media);
        let _ = write!(config, "[overlay]\nlisten = \"127.0.0.1:{}\"\n", ports.overlay);
        let file = write(self.directory.path(), "stranger", &config)?;
        start("stranger", "relay-node", &file, ports.ops, None)
    }

    /// All nodes, the root first.
    pub fn nodes(&self) -> impl Iterator<Item = &Running> {
        std::iter::once(&self.root).chain(&self.relays).chain(&self.leaves)
    }

    /// Likewise, to change.
    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Running> {
        std::iter::once(&mut self.root).chain(&mut self.relays).chain(&mut self.leaves)
    }

    /// What is wrong with the processes: ended, panicked.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for node in self.nodes_mut() {
            let name = node.process.name().to_owned();
            if let Some(status) = node.process.exit() {
                all.push(format!("{name} ended: {status}"));
            }
            for line in node.process.log().iter().filter(|l| l.contains("panicked at")) {
                all.push(format!("{name}: {line}"));
            }
        }
        all
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes() {
                eprintln!("--- {} ---\n{}", node.process.name(), node.process.log_tail());
            }
        }
        // All at once: waiting for each drain in turn would take long.
        for node in self.nodes_mut() {
            node.process.terminate();
        }
    }
}
