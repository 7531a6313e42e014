//! Hosts for tests: network namespaces with links between them, routes, and whatever stands in the
//! way (a NAT, a filter), all made by the test itself with `ip` and `nft`. Linux only, and for the
//! superuser. Everything goes when the [`Net`] is dropped; what a crashed run has left is removed
//! by the next one.
//!
//! This file knows nothing of Soleil; [`Site`] puts nodes on hosts. Sockets and processes that are made inside [`Host::run`] belong to
//! that host, and so do the threads that are started there.

mod site;

pub use site::{Site, SiteError, Station, address};

use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// Every namespace of ours is called so, then the number of the process that made it.
const PREFIX: &str = "soleil-";
/// With this variable set, a machine that allows no namespaces is an error.
const REQUIRE: &str = "SOLEIL_REQUIRE_NETNS";

/// Numbers the nets of this process.
static NETS: AtomicU32 = AtomicU32::new(0);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A program is missing or cannot be started.
    #[error("{program}: {error} (`scripts/setup.sh test` installs what the tests need)")]
    Program {
        /// Which.
        program: String,
        /// Why.
        error: std::io::Error,
    },
    /// A command failed.
    #[error("{command}: {says}")]
    Failed {
        /// The command line.
        command: String,
        /// What it wrote.
        says: String,
    },
    /// A file of the system.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: std::io::Error,
    },
}

/// Whether this process may make namespaces. If not, says so where the test runner does not hide
/// it, and whoever asked should return. A process that has the capabilities is always allowed: what
/// fails then is a failure.
///
/// # Panics
/// If it may not although `SOLEIL_REQUIRE_NETNS` is set.
#[allow(clippy::panic)] // Used by tests only.
pub fn allowed(test: &str) -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let why = match capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => return true,
        Ok(_) => "CAP_SYS_ADMIN and CAP_NET_ADMIN are missing".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os(REQUIRE).is_none(), "{test}: no network namespaces: {why}");
    // Not `eprintln!`: the test runner keeps that to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no network namespaces here: {why}");
    false
}

fn run(command: &mut Command, input: Option<&str>) -> Result<String, NetError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error| NetError::Program { program: program.clone(), error };
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let says = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetError::Failed { command: format!("{command:?}"), says })
}

fn ip(arguments: &[&str]) -> Result<String, NetError> {
    run(Command::new("ip").args(arguments), None)
}

/// One host: a network namespace.
#[derive(Debug)]
pub struct Host {
    name: String,
    space: File,
}

impl Host {
    fn new(name: String) -> Result<Self, NetError> {
        ip(&["netns", "add", &name])?;
        let path = PathBuf::from(NAMES).join(&name);
        let opened = File::open(&path);
        let space =
            opened.map_err(|error| NetError::Io { what: path.display().to_string(), error });
        let host = match space {
            Ok(space) => Self { name, space },
            Err(error) => {
                // It has no owner yet who would remove it.
                let _ = ip(&["netns", "del", &name]);
                return Err(error);
            }
        };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// Does something on this host, in a thread of its own.
    ///
    /// # Panics
    /// If `what` does, or the namespace cannot be entered.
    #[allow(clippy::expect_used)] // Used by tests only.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let space = self.space.as_fd();
                move_into_link_name_space(space, Some(LinkNameSpaceType::Network))
                    .expect("the namespace was made by us");
                what()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip` with these words, on this host.
    ///
    /// # Errors
    /// What it says.
    pub fn ip(&self, words: &str) -> Result<String, NetError> {
        let mut arguments = vec!["-n", &self.name];
        arguments.extend(words.split_whitespace());
        ip(&arguments)
    }

    /// Loads rules for `nft`, on this host.
    ///
    /// # Errors
    /// What it says.
    pub fn nft(&self, rules: &str) -> Result<(), NetError> {
        self.run(|| run(Command::new("nft").args(["-f", "-"]), Some(rules))).map(drop)
    }

    /// A table of `nft`, on this host.
    ///
    /// # Errors
    /// What it says.
    pub fn nft_list(&self, table: &str) -> Result<String, NetError> {
        self.run(|| run(Command::new("nft").args(["list", "table", "ip", table]), None))
    }

    /// `conntrack` with these words, on this host: what a NAT remembers.
    ///
    /// # Errors
    /// What it says; also if it found nothing to delete.
    pub fn conntrack(&self, words: &str) -> Result<String, NetError> {
        self.run(|| run(Command::new("conntrack").args(words.split_whitespace()), None))
    }

    /// Passes on what is for others.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn forward(&self) -> Result<(), NetError> {
        let file = "/proc/sys/net/ipv4/ip_forward";
        let done = self.run(|| std::fs::write(file, "1"));
        done.map_err(|error| NetError::Io { what: file.to_owned(), error })
    }
}

/// One end of a link: host, name of the device, address with the length of its network.
pub type End<'a> = (&'a Host, &'a str, &'a str);

/// The hosts of one test.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    names: Vec<String>,
}

impl Net {
    /// No hosts yet. Removes what runs that have crashed have left.
    ///
    /// # Errors
    /// If that cannot be listed.
    pub fn new() -> Result<Self, NetError> {
        sweep(Path::new(NAMES), |pid| Path::new("/proc").join(pid.to_string()).exists())?;
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        Ok(Self { prefix, names: Vec::new() })
    }

    /// One more host, without links.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn host(&mut self, name: &str) -> Result<Host, NetError> {
        let name = format!("{}{name}", self.prefix);
        let host = Host::new(name.clone())?;
        self.names.push(name);
        Ok(host)
    }

    /// A link between two hosts, up at both ends.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn link(&self, one: End<'_>, other: End<'_>) -> Result<(), NetError> {
        let (host, device, _) = one;
        let (peer, peer_device, _) = other;
        let peer = &peer.name;
        host.ip(&format!("link add {device} type veth peer name {peer_device} netns {peer}"))?;
        for (host, device, address) in [one, other] {
            host.ip(&format!("address add {address} dev {device}"))?;
            host.ip(&format!("link set {device} up"))?;
        }
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            remove(name);
        }
    }
}

/// Ends what still runs in a namespace of ours, and removes it.
fn remove(name: &str) {
    let left = ip(&["netns", "pids", name]).unwrap_or_default();
    // A test runs its own thread there at most for the time of a call, so these are its children.
    let own = std::process::id();
    for pid in left.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()) {
        let raw = i32::try_from(pid).ok().filter(|_| pid != own);
        if let Some(pid) = raw.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    if let Err(error) = ip(&["netns", "del", name]) {
        let _ = writeln!(std::io::stderr(), "{error}");
    }
}

/// Removes namespaces of processes that are no more.
fn sweep(names: &Path, lives: impl Fn(u32) -> bool) -> Result<usize, NetError> {
    let listed = match std::fs::read_dir(names) {
        Ok(listed) => listed,
        // Nobody has made one since the machine started.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(NetError::Io { what: names.display().to_string(), error }),
    };
    let mut removed = 0;
    for name in listed.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner.and_then(|pid| pid.parse().ok())
            && !lives(owner)
        {
            remove(&name);
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Process;
    use crate::wait::until;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// No process has this number: it is above Linux' highest.
    const NOBODY: u32 = 1 << 30;

    #[test]
    fn hosts_reach_each_other_by_their_links_and_nobody_else() {
        if !allowed("hosts_reach_each_other_by_their_links_and_nobody_else") {
            return;
        }
        let mut net = Net::new().unwrap();
        let (a, b) = (net.host("a").unwrap(), net.host("b").unwrap());
        net.link((&a, "to-b", "10.9.0.1/24"), (&b, "to-a", "10.9.0.2/24")).unwrap();
        let receiver = b.run(|| UdpSocket::bind("10.9.0.2:9")).unwrap();
        let sender = a.run(|| UdpSocket::bind("10.9.0.1:0")).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send_to(b"hello", "10.9.0.2:9").unwrap();
        let mut buffer = [0; 9];
        let (size, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..size], from), (b"hello".as_slice(), sender.local_addr().unwrap()));
        assert!(UdpSocket::bind("10.9.0.1:0").is_err(), "the address is the host's, not ours");
        assert!(a.ip("link set nothing up").unwrap_err().to_string().contains("nothing"));
    }

    #[test]
    fn nothing_is_left_behind() {
        if !allowed("nothing_is_left_behind") {
            return;
        }
        let mut net = Net::new().unwrap();
        let host = net.host("busy").unwrap();
        let path = Path::new(NAMES).join(&host.name);
        let mut sleeper =
            host.run(|| Process::start("sleeper", Command::new("sleep").arg("600"))).unwrap();
        assert!(path.exists() && sleeper.exit().is_none());
        drop(net);
        assert!(!path.exists());
        until("its process to end", Duration::from_secs(5), || sleeper.exit().is_some());

        // What a run that has crashed has left.
        let stale = format!("{PREFIX}{NOBODY}-0-stale");
        ip(&["netns", "add", &stale]).unwrap();
        assert!(Path::new(NAMES).join(&stale).exists());
        drop(Net::new().unwrap());
        assert!(!Path::new(NAMES).join(&stale).exists());
    }
}
