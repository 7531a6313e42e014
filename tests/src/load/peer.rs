//! The peer that `make bench` can measure beside our leaf: Janus, as its packages ship it, with the
//! streaming plugin and the HTTP interface and nothing else, fed by the same source.

use super::measure::Subject;
use super::{LoadSource, Pattern};
use crate::harness::{HarnessError, Ports, Process};
use crate::http;
use crate::viewer::{Codec, Signalling};
use crate::wait::holds_within;
use relay_node::clock::Clock;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Janus serves its interface within this time.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// The only mountpoint.
const MOUNTPOINT: u64 = 1;
/// Below these, perhaps in a folder named after the architecture, packages and Janus' own
/// installation put `janus/plugins`.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/janus/lib"];
const PLUGIN: &str = "libjanus_streaming.so";
const TRANSPORT: &str = "libjanus_http.so";

/// Why there is no Janus.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It or one of its modules is not there.
    #[error(
        "{0} is not here: install Janus 1.x (Debian and Ubuntu: `apt-get install janus`; its service \
         is not needed), with its streaming plugin and HTTP transport"
    )]
    NotInstalled(String),
    /// It offers no candidates on loopback.
    #[error("Janus needs a network interface with an IPv4 address besides loopback")]
    NoInterface,
    /// It ended or does not answer.
    #[error("Janus {why}\n{log}")]
    NotServing {
        /// What it did.
        why: String,
        /// The end of its log.
        log: String,
    },
    /// Ports, processes.
    #[error("{0}")]
    Start(#[from] HarnessError),
    /// Files, sockets.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A running Janus with a stream on the air. Ends when dropped.
#[derive(Debug)]
pub(super) struct Janus {
    process: Process,
    source: LoadSource,
    url: String,
    local: Ipv4Addr,
    _directory: tempfile::TempDir,
}

impl Janus {
    /// On that core, with so many event loops; 0 is a thread for each viewer, as it comes.
    pub fn start(
        core: usize,
        event_loops: usize,
        pattern: Pattern,
        clock: Clock,
    ) -> Result<Self, PeerError> {
        let program = on_path("janus").ok_or_else(|| PeerError::NotInstalled("janus".into()))?;
        let modules = modules().ok_or_else(|| PeerError::NotInstalled(PLUGIN.into()))?;
        let local = address()?;
        let first = Ports::default().take(3)?;
        let directory = tempfile::tempdir()?;
        let setup = Setup { directory: directory.path(), local, first, event_loops };
        setup.write(&modules)?;
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program).arg("--disable-colors");
        command.arg("--configs-folder").arg(directory.path());
        command.arg("--config").arg(directory.path().join("janus.jcfg"));
        let mut process = Process::start("janus", &mut command)?;
        let url = format!("http://127.0.0.1:{first}/janus");
        let serves = || http::get(&format!("{url}/info")).is_ok_and(|r| r.status == 200);
        let mut ended = None;
        let ready = holds_within(START_TIMEOUT, || {
            ended = process.exit();
            ended.is_some() || serves()
        });
        if let Some(why) = ended.map(|status| format!("ended while starting: {status}")) {
            return Err(PeerError::NotServing { why, log: process.log_tail() });
        }
        if !ready {
            let why = "does not answer".to_owned();
            return Err(PeerError::NotServing { why, log: process.log_tail() });
        }
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let source = LoadSource::start_with_rtcp(at(first + 1), at(first + 2), pattern, clock)?;
        Ok(Self { process, source, url, local, _directory: directory })
    }

    /// For the measurement.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            url: self.url.clone(),
            signalling: Signalling::Janus { mountpoint: MOUNTPOINT },
            token: None,
            local: Some(self.local.into()),
            video: vec![Codec::Vp8],
            process: Some(self.process.id()),
            source: Some(&self.source),
        }
    }
}

/// What its configuration says.
struct Setup<'a> {
    directory: &'a Path,
    /// Where it receives from viewers.
    local: Ipv4Addr,
    /// HTTP, then RTP and RTCP of the source.
    first: u16,
    event_loops: usize,
}

impl Setup<'_> {
    /// Configuration, and folders with links to the two modules: Janus loads all that it finds.
    fn write(&self, modules: &Path) -> io::Result<()> {
        for folder in ["plugins", "transports", "events", "loggers"] {
            std::fs::create_dir_all(self.directory.join(folder))?;
        }
        for (folder, module) in [("plugins", PLUGIN), ("transports", TRANSPORT)] {
            symlink(modules.join(folder).join(module), self.directory.join(folder).join(module))?;
        }
        for (name, text) in self.files() {
            std::fs::write(self.directory.join(name), text)?;
        }
        Ok(())
    }

    fn files(&self) -> [(&'static str, String); 3] {
        let Self { directory, local, first, event_loops } = self;
        let directory = directory.display();
        let (rtp, rtcp) = (first + 1, first + 2);
        let payload_type = Pattern::default().payload_type;
        let main = format!(
            r#"general: {{
    configs_folder = "{directory}"
    plugins_folder = "{directory}/plugins"
    transports_folder = "{directory}/transports"
    events_folder = "{directory}/events"
    loggers_folder = "{directory}/loggers"
    debug_level = 3
    event_loops = {event_loops}
}}
nat: {{
    ice_enforce_list = "{local}"
}}
"#
        );
        let transport = format!(
            r#"general: {{
    json = "compact"
    base_path = "/janus"
    http = true
    https = false
    ip = "127.0.0.1"
    port = {first}
}}
"#
        );
        let streaming = format!(
            r#"load: {{
    type = "rtp"
    id = {MOUNTPOINT}
    description = "load"
    media = ({{
        type = "video"
        mid = "v"
        codec = "vp8"
        pt = {payload_type}
        iface = "127.0.0.1"
        port = {rtp}
        rtcpport = {rtcp}
    }})
}}
"#
        );
        [
            ("janus.jcfg", main),
            ("janus.transport.http.jcfg", transport),
            ("janus.plugin.streaming.jcfg", streaming),
        ]
    }
}

/// A program of `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Where Janus' modules are.
fn modules() -> Option<PathBuf> {
    LIBRARIES.iter().find_map(|library| modules_below(Path::new(library)))
}

fn modules_below(library: &Path) -> Option<PathBuf> {
    let has = |folder: &PathBuf| folder.join("plugins").join(PLUGIN).is_file();
    let plain = library.join("janus");
    if has(&plain) {
        return Some(plain);
    }
    let folders = std::fs::read_dir(library).ok()?;
    folders.filter_map(|f| Some(f.ok()?.path().join("janus"))).find(has)
}

/// An IPv4 address of this machine that is not loopback's; packets to it never leave the machine.
fn address() -> Result<Ipv4Addr, PeerError> {
    let of = |interface: if_addrs::Interface| match interface.ip() {
        std::net::IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local() => Some(ip),
        _ => None,
    };
    if_addrs::get_if_addrs()?.into_iter().find_map(of).ok_or(PeerError::NoInterface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_what_was_asked_and_loads_two_modules() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path().join("lib/x86_64-linux-gnu/janus");
        std::fs::create_dir_all(modules.join("plugins")).unwrap();
        std::fs::write(modules.join("plugins").join(PLUGIN), "").unwrap();
        let found = modules_below(&directory.path().join("lib")).unwrap();
        assert_eq!(found, modules);
        assert_eq!(modules_below(&directory.path().join("nothing")), None);

        let into = directory.path().join("setup");
        let local = Ipv4Addr::new(192, 0, 2, 7);
        let setup = Setup { directory: &into, local, first: 12_000, event_loops: 1 };
        setup.write(&found).unwrap();
        let plugins: Vec<_> = std::fs::read_dir(into.join("plugins")).unwrap().collect();
        assert_eq!(plugins.len(), 1);
        assert!(into.join("plugins").join(PLUGIN).is_file());
        let read = |name: &str| std::fs::read_to_string(into.join(name)).unwrap();
        let main = read("janus.jcfg");
        assert!(main.contains("event_loops = 1\n") && main.contains("\"192.0.2.7\""), "{main}");
        assert!(main.contains(&format!("\"{}/plugins\"", into.display())), "{main}");
        assert!(read("janus.transport.http.jcfg").contains("    port = 12000\n"));
        let streaming = read("janus.plugin.streaming.jcfg");
        assert!(streaming.contains("        port = 12001\n        rtcpport = 12002\n"));
        assert!(streaming.contains("        pt = 96\n"), "{streaming}");
    }

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        assert!(on_path("sh").is_some());
        assert!(on_path("no-such-program-of-ours").is_none());
        let text = PeerError::NotInstalled("janus".into()).to_string();
        assert!(text.contains("apt-get install janus"), "{text}");
    }
}
