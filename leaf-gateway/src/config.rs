//! The leaf's configuration. `leaf-gateway.toml` beside the crate explains every key.

use crate::http::ice_servers::IceServer;
use crate::occupancy::Limits;
use crate::reach::Announced;
use crate::session::Timeouts;
use crate::worker::{MAX_FRESH_TCP, MAX_WORKERS, TcpLimits};
use clap::Parser;
use relay_node::config::flags::CommonFlags;
use relay_node::config::sections::{
    CapacitySection, LogSection, MediaSection, NodeSection, OpsSection, OverlaySection, RootSection,
};
use relay_node::config::values;
use relay_node::config::{ConfigError, listen};
use relay_node::http_server::TlsFiles;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Sessions of one address by default: an office behind one NAT. Raise it for load tests.
pub const DEFAULT_PER_ADDRESS: usize = 200;

/// Viewers that may be connecting at the same time by default: a storm of 500 joins within a
/// second, and a few that will never get through.
pub const DEFAULT_CONNECTING: usize = 600;

/// Announced addresses of the viewer port: interfaces times address families.
pub const MAX_ANNOUNCED: usize = 8;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "leaf-gateway",
    version,
    about = "A Soleil leaf: takes live streams from its parent in the tree and hands them to \
             browsers over WebRTC",
    after_help = "Examples:\n  \
        root-node token create --role leaf             make a token, on the root's machine\n  \
        leaf-gateway --root root.example:7443 --token soleil1.leaf...\n  \
        SOLEIL_ROOT__TOKEN=soleil1.leaf... leaf-gateway --root root.example:7443 --name fra-1\n  \
        leaf-gateway --config /etc/soleil/leaf-gateway.toml --check\n\n\
        Every key of the file is also a variable: node.drain_timeout is \
        SOLEIL_NODE__DRAIN_TIMEOUT.\n\
        Flags go over variables, variables over the file.\n\n\
        Open to viewers: TCP 8090, UDP and TCP 8190. Not open: the operations address.\n\
        SIGTERM tells the viewers to go elsewhere and stops (node.drain_timeout).\n\
        Exit codes: 0 stopped as asked, 64 usage, 78 configuration, 1 anything else."
)]
pub struct Cli {
    /// What relays and leaves have in common.
    #[command(flatten)]
    pub common: CommonFlags,
    /// TCP address where browsers begin to play (WHEP) [http.listen; default: 0.0.0.0:8090]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// UDP and TCP address for media to viewers [webrtc.listen; default: 0.0.0.0:8190]
    #[arg(long, value_name = "ADDR:PORT")]
    pub media: Option<SocketAddr>,
}

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeafConfig {
    /// `[node]`
    pub node: NodeSection,
    /// `[root]`
    pub root: RootSection,
    /// `[overlay]`: only for leaves that should accept control links.
    pub overlay: Option<OverlaySection>,
    /// `[media]`: the hop's port; absent: any.
    pub media: Option<MediaSection>,
    /// `[http]`
    pub http: HttpSection,
    /// `[webrtc]`
    pub webrtc: WebrtcSection,
    /// `[capacity]`
    pub capacity: CapacitySection,
    /// `[play]`
    pub play: PlaySection,
    /// `[ops]`
    pub ops: OpsSection,
    /// `[log]`
    pub log: LogSection,
}

/// `[http]`: WHEP.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The URL under which browsers reach it; default: from the address towards the root.
    pub public_url: Option<String>,
    /// Certificate and key: HTTPS.
    pub tls: Option<TlsSection>,
}

/// `[http.tls]`: PEM files, read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The certificate with its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `[webrtc]`: viewers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebrtcSection {
    /// The one UDP port for all viewers, and the TCP port for those whose network blocks UDP.
    pub listen: SocketAddr,
    /// Whether there is the TCP port (true or 1, false or 0).
    #[serde(deserialize_with = "switch")]
    pub tcp: bool,
    /// Threads that serve viewers; 0: one for each core.
    pub workers: usize,
    /// Where viewers reach it; default: the bound address, or those of all interfaces.
    pub announce: Vec<Announced>,
    /// STUN and TURN servers that viewers are told.
    pub ice_servers: Vec<IceServer>,
    /// Sessions of one address.
    pub sessions_per_address: usize,
    /// Viewers that may be connecting at the same time.
    pub connecting: usize,
    /// Threads for handshakes.
    pub handshake_threads: usize,
    /// A session that has no media after this ends.
    #[serde(deserialize_with = "values::period")]
    pub connect_timeout: Duration,
    /// A session whose viewer's checks have stopped for so long ends (RFC 7675: 30 s).
    #[serde(deserialize_with = "values::period")]
    pub consent_timeout: Duration,
}

/// `[play]`: who may play.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlaySection {
    /// Whether a ticket of the root is needed.
    pub require_ticket: bool,
}

impl Default for HttpSection {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8090);
        Self { listen, public_url: None, tls: None }
    }
}

impl Default for WebrtcSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8190),
            tcp: true,
            // One serves a thousand viewers and more; small machines have other things to do.
            workers: 1,
            announce: Vec::new(),
            ice_servers: Vec::new(),
            sessions_per_address: DEFAULT_PER_ADDRESS,
            connecting: DEFAULT_CONNECTING,
            // Handshakes share the machine with media: one core's worth is enough for hundreds of
            // joins per second.
            handshake_threads: 1,
            // Slow networks need some seconds; browsers give up after 15 to 30.
            connect_timeout: Duration::from_secs(15),
            consent_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for PlaySection {
    fn default() -> Self {
        Self { require_ticket: true }
    }
}

/// On or off, also as a number: `SOLEIL_WEBRTC__TCP=0`.
fn switch<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Word(bool),
        Number(u8),
    }
    match Either::deserialize(value) {
        Ok(Either::Word(on)) => Ok(on),
        Ok(Either::Number(number @ 0..=1)) => Ok(number == 1),
        _ => Err(serde::de::Error::custom("write true or false")),
    }
}

impl LeafConfig {
    /// Reads file and environment, puts the flags over them, and checks what can be checked.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(cli: &Cli) -> Result<Self, ConfigError> {
        let path = cli.common.config.as_deref();
        let mut config: Self = relay_node::config::load(path, relay_node::config::ENV_PREFIX)?;
        cli.common.apply(&mut config.node, &mut config.root, &mut config.ops);
        config.http.listen = cli.http.unwrap_or(config.http.listen);
        config.webrtc.listen = cli.media.unwrap_or(config.webrtc.listen);
        config.check().map_err(|(key, message)| ConfigError::at(path, key, message))?;
        let overlay = config.overlay.as_ref().map(|o| ("overlay.listen", o.listen));
        let ops = config.ops.enabled.then_some(("ops.listen", config.ops.listen));
        let viewers = config.webrtc.tcp.then_some(("webrtc.listen", config.webrtc.listen));
        let http = [("http.listen", config.http.listen)];
        let tcp = overlay.into_iter().chain(http).chain(viewers).chain(ops);
        listen::distinct(path, &tcp.collect::<Vec<_>>())?;
        let media = config.media.as_ref().map(|m| ("media.listen", m.listen));
        let udp = media.into_iter().chain([("webrtc.listen", config.webrtc.listen)]);
        listen::distinct(path, &udp.collect::<Vec<_>>())?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(tls) = &self.http.tls {
            TlsFiles::load(&tls.cert, &tls.key).map_err(|message| ("http.tls.cert", message))?;
        }
        if let Some(url) = &self.http.public_url {
            let legal = url.starts_with("http://") || url.starts_with("https://");
            let clean = url.bytes().all(|b| (0x21..0x7f).contains(&b) && !b"\"<>".contains(&b));
            if !legal || !clean || url.len() > soleil_protocol::limits::MAX_URL {
                let message = "write it like \"https://leaf.example\"".to_owned();
                return Err(("http.public_url", message));
            }
        }
        if self.webrtc.announce.len() > MAX_ANNOUNCED {
            return Err(("webrtc.announce", format!("at most {MAX_ANNOUNCED} addresses")));
        }
        if !self.webrtc.announce.iter().all(Announced::is_definite) {
            return Err(("webrtc.announce", "addresses that viewers can reach".into()));
        }
        for server in &self.webrtc.ice_servers {
            server.check().map_err(|message| ("webrtc.ice_servers", message))?;
        }
        if self.webrtc.workers > MAX_WORKERS {
            return Err(("webrtc.workers", format!("at most {MAX_WORKERS}")));
        }
        let one = Duration::from_secs(1);
        if self.webrtc.consent_timeout < 5 * one {
            // Browsers check every 2.5 s.
            return Err(("webrtc.consent_timeout", "at least 5s".into()));
        }
        if self.webrtc.connect_timeout < one {
            return Err(("webrtc.connect_timeout", "at least 1s".into()));
        }
        for (key, value) in [
            ("webrtc.sessions_per_address", self.webrtc.sessions_per_address),
            ("webrtc.connecting", self.webrtc.connecting),
            ("webrtc.handshake_threads", self.webrtc.handshake_threads),
        ] {
            if value == 0 {
                return Err((key, "at least 1".into()));
            }
        }
        Ok(())
    }

    /// The limits of sessions.
    pub fn limits(&self) -> Limits {
        Limits {
            viewers: self.capacity.viewers as usize,
            per_address: self.webrtc.sessions_per_address,
            connecting: self.webrtc.connecting,
        }
    }

    /// How many threads serve viewers.
    pub fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match self.webrtc.workers {
            0 => cores().min(MAX_WORKERS),
            workers => workers,
        }
    }

    /// The limits of TCP connections, if there are to be any: every viewer may come over TCP, and
    /// browsers open one to see which way is better.
    pub fn tcp_limits(&self) -> Option<TcpLimits> {
        let total = self.capacity.viewers as usize + MAX_FRESH_TCP;
        let per_address = self.webrtc.sessions_per_address;
        self.webrtc.tcp.then_some(TcpLimits { total, per_address })
    }

    /// The time limits of a session.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts { connect: self.webrtc.connect_timeout, consent: self.webrtc.consent_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(args: &[&str]) -> Cli {
        Cli::try_parse_from(std::iter::once("leaf-gateway").chain(args.iter().copied())).unwrap()
    }

    #[test]
    fn the_sample_is_the_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/leaf-gateway.toml");
        let sample = LeafConfig::load(&cli(&["--config", path])).unwrap();
        let default = LeafConfig::default();
        assert_eq!(format!("{:?}", sample.webrtc), format!("{:?}", default.webrtc));
        assert_eq!(format!("{:?}", sample.http), format!("{:?}", default.http));
        assert!(sample.play.require_ticket);
    }

    #[test]
    fn flags_come_last() {
        let mut flags = vec!["--http", "127.0.0.1:1", "--media", "127.0.0.1:2", "--root", "r:3"];
        flags.extend(["--ops", "127.0.0.1:4", "--name", "leaf-9"]);
        let config = LeafConfig::load(&cli(&flags)).unwrap();
        assert_eq!(config.ops.listen.port(), 4);
        assert_eq!(config.node.name.unwrap().as_str(), "leaf-9");
        assert_eq!(config.http.listen.port(), 1);
        assert_eq!(config.webrtc.listen.port(), 2);
        assert_eq!(config.root.address.unwrap().port, 3);
    }

    #[test]
    fn help_teaches() {
        let help = Cli::try_parse_from(["leaf-gateway", "--help"]).unwrap_err().to_string();
        for word in [
            "--ops",
            "--check",
            "127.0.0.1:9100",
            "0.0.0.0:8090",
            "0.0.0.0:8190",
            "Examples:",
            "token create --role leaf",
            "SOLEIL_ROOT__TOKEN",
            "Exit codes",
        ] {
            assert!(help.contains(word), "{word}");
        }
    }

    #[test]
    fn two_things_at_one_place_are_refused() {
        let flags = ["--http", "127.0.0.1:9", "--media", "127.0.0.1:9"];
        assert!(LeafConfig::load(&cli(&flags)).is_err(), "media are on TCP, too");
        let flags = ["--http", "127.0.0.1:9100"];
        let error = LeafConfig::load(&cli(&flags)).unwrap_err().to_string();
        assert!(error.contains("where http.listen listens already"), "{error}");
    }

    fn webrtc(json: &str) -> Result<WebrtcSection, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn announced_addresses_and_the_tcp_switch() {
        let section = webrtc(r#"{"announce": ["198.51.100.7", "[2001:db8::7]:9"]}"#).unwrap();
        assert_eq!(section.announce[0].port, None);
        assert_eq!(section.announce[1].port, Some(9));
        let error = webrtc(r#"{"announce": ["leaf.example"]}"#).unwrap_err().to_string();
        assert!(error.contains("names are not resolved"), "{error}");
        assert!(section.tcp);
        for (text, on) in [("false", false), ("0", false), ("true", true), ("1", true)] {
            assert_eq!(webrtc(&format!("{{\"tcp\": {text}}}")).unwrap().tcp, on);
        }
        assert!(webrtc(r#"{"tcp": 2}"#).is_err() && webrtc(r#"{"tcp": "no"}"#).is_err());
    }

    #[test]
    fn workers_are_as_many_as_said_or_as_there_are_cores() {
        let mut config = LeafConfig::default();
        assert_eq!(config.workers(), 1);
        for (said, workers) in [(3, 3), (MAX_WORKERS, MAX_WORKERS)] {
            config.webrtc.workers = said;
            assert!(config.check().is_ok());
            assert_eq!(config.workers(), workers);
        }
        config.webrtc.workers = 0;
        assert!(config.check().is_ok() && (1..=MAX_WORKERS).contains(&config.workers()));
    }

    #[test]
    fn nonsense_is_refused_by_key() {
        let refused = |change: fn(&mut LeafConfig)| {
            let mut config = LeafConfig::default();
            change(&mut config);
            config.check().unwrap_err().0
        };
        assert_eq!(refused(|c| c.http.public_url = Some("leaf".into())), "http.public_url");
        assert_eq!(refused(|c| c.webrtc.connecting = 0), "webrtc.connecting");
        assert_eq!(refused(|c| c.webrtc.workers = MAX_WORKERS + 1), "webrtc.workers");
        assert_eq!(
            refused(
                |c| c.http.tls = Some(TlsSection { cert: "no.pem".into(), key: "no.key".into() })
            ),
            "http.tls.cert"
        );
        assert_eq!(
            refused(|c| c.webrtc.announce = vec!["0.0.0.0:9".parse().unwrap()]),
            "webrtc.announce"
        );
        assert_eq!(
            refused(|c| c.webrtc.consent_timeout = Duration::from_secs(1)),
            "webrtc.consent_timeout"
        );
    }
}
