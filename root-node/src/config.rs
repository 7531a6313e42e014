//! The root's configuration (`root-node.toml`): what it may say, and what is checked before
//! anything starts.

mod ingest;
mod source;
mod streams;
#[cfg(test)]
mod tests;
mod tree;
mod webrtc;

pub use ingest::{IngestSection, PortRange};
pub use source::{DEFAULT_LATENCY, MAX_SOURCES, Secret, SourceKind, SourceSection};
pub(crate) use source::{check_all as check_sources, ways};
pub use streams::{MAX_LAYERS, MAX_STREAMS, MAX_TRACKS, StreamSection, TrackSection};
pub(crate) use streams::{check as check_streams, legal_name};
pub use tree::TreeSection;
pub use webrtc::{PublishToken, WebrtcSection};

use crate::authority::CERTIFICATE_LIFETIME;
use crate::ladder::budget;
use relay_node::config::sections::{
    CapacitySection, LogSection, MediaSection, NodeSection, OpsSection, OverlaySection,
};
use relay_node::config::{self, ConfigError, ENV_PREFIX, listen, values};
use relay_node::http_server::TlsFiles;
use serde::Deserialize;
use soleil_protocol::NodeId;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shorter-lived certificates would be renewed all the time, above all by nodes whose clocks are off by
/// as much as is believed (a minute). (Tests have shorter ones.)
const SHORTEST_LIFE: Duration = Duration::from_secs(300);

/// Everything that can be configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who the root is, where it keeps its database.
    pub node: NodeSection,
    /// Control links of nodes.
    pub overlay: OverlaySection,
    /// Media hops.
    pub media: MediaSection,
    /// Child nodes that the root itself takes.
    pub capacity: CapacitySection,
    /// The operations endpoint.
    pub ops: OpsSection,
    /// The log.
    pub log: LogSection,
    /// Pages, API and play redirects.
    pub http: HttpSection,
    /// Broadcasters over WebRTC.
    pub webrtc: WebrtcSection,
    /// Who hangs below whom.
    pub tree: TreeSection,
    /// Certificates that nodes get.
    pub certificates: CertificatesSection,
    /// What streams that are defined at run time may use.
    pub ingest: IngestSection,
    /// Where encoders push RTMP.
    pub rtmp: RtmpSection,
    /// The streams and where they come in.
    pub stream: Vec<StreamSection>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeSection::default(),
            overlay: OverlaySection::default(),
            media: MediaSection::default(),
            capacity: CapacitySection::default(),
            ops: OpsSection::default(),
            log: LogSection::default(),
            http: HttpSection::default(),
            webrtc: WebrtcSection::default(),
            tree: TreeSection::default(),
            certificates: CertificatesSection::default(),
            ingest: IngestSection::default(),
            rtmp: RtmpSection::default(),
            stream: vec![StreamSection::demo()],
        }
    }
}

/// `[http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The address that viewers use, for logs and messages; default: the listener's.
    pub public_url: Option<String>,
    /// HTTPS.
    pub tls: TlsSection,
}

impl Default for HttpSection {
    fn default() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
        Self { listen, public_url: None, tls: TlsSection::default() }
    }
}

/// `[rtmp]`: for streams whose source has the kind `rtmp`; without one, nobody listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtmpSection {
    /// Where to listen (TCP).
    pub listen: SocketAddr,
}

impl Default for RtmpSection {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1935) }
    }
}

/// `[certificates]`: what nodes prove themselves with.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificatesSection {
    /// How long they live; renewed at about two thirds of it. So long a root may be gone for a third
    /// of it, and so long a removed node may stay where its parent does not obey.
    #[serde(deserialize_with = "values::period")]
    pub life: Duration,
}

impl Default for CertificatesSection {
    fn default() -> Self {
        Self { life: CERTIFICATE_LIFETIME }
    }
}

/// `[http.tls]`: both or none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// Certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// Private key (PEM).
    pub key: Option<PathBuf>,
}

impl Config {
    /// Reads file and environment, and checks what can be checked without binding anything.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let mut config: Config = config::load(path, ENV_PREFIX)?;
        config.stream.iter_mut().for_each(StreamSection::complete);
        config.check(path)?;
        Ok(config)
    }

    /// What must fit together.
    ///
    /// # Errors
    /// What does not, and where.
    pub fn check(&self, path: Option<&Path>) -> Result<(), ConfigError> {
        let life = self.certificates.life;
        if !(SHORTEST_LIFE..=CERTIFICATE_LIFETIME).contains(&life) {
            let message = "must be between 5m and 24h";
            return Err(ConfigError::at(path, "certificates.life", message));
        }
        let tls = &self.http.tls;
        match (&tls.cert, &tls.key) {
            (Some(_), None) => return Err(ConfigError::missing("http.tls.key", None)),
            (None, Some(_)) => return Err(ConfigError::missing("http.tls.cert", None)),
            (Some(cert), Some(key)) => {
                TlsFiles::load(cert, key)
                    .map_err(|message| ConfigError::at(path, "http.tls.cert", message))?;
            }
            (None, None) => {}
        }
        if let Some(url) = &self.http.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            let message = "must begin with http:// or https://";
            return Err(ConfigError::at(path, "http.public_url", message));
        }
        self.webrtc.check(path)?;
        self.tree
            .load(self.name())
            .map_err(|message| ConfigError::at(path, "tree.drawing", message))?;
        streams::check(&self.stream).map_err(|message| ConfigError::at(path, "stream", message))?;
        let mut left = self.ingest.cores();
        for (n, stream) in self.stream.iter().enumerate() {
            for track in &stream.track {
                let taken = budget::check(track.codec, &track.ladder, left).map_err(|message| {
                    ConfigError::at(path, &format!("stream[{n}].ladder"), message)
                })?;
                left = left.without(taken);
            }
        }
        for (n, stream) in self.stream.iter().enumerate() {
            check_sources(&stream.source).map_err(|(number, (key, message))| {
                let dot = if key.is_empty() { "" } else { "." };
                let at = |place: &str| {
                    ConfigError::at(
                        path,
                        &format!("stream[{n}].source{place}{dot}{key}"),
                        &*message,
                    )
                };
                // A single table has no number.
                match at(&format!("[{number}]")) {
                    ConfigError::Other(_) if stream.source.len() == 1 => at(""),
                    error => error,
                }
            })?;
        }
        Ok(())
    }

    /// That no two of our sockets want the same place; to be called when flags have been applied.
    ///
    /// # Errors
    /// Which ones do.
    pub fn check_listeners(&self, path: Option<&Path>) -> Result<(), ConfigError> {
        let mut tcp =
            vec![("overlay.listen", self.overlay.listen), ("http.listen", self.http.listen)];
        if self.ops.enabled {
            tcp.push(("ops.listen", self.ops.listen));
        }
        if self.takes_rtmp() {
            tcp.push(("rtmp.listen", self.rtmp.listen));
        }
        let udp = [("media.listen", self.media.listen), ("webrtc.listen", self.webrtc.listen)];
        listen::distinct(path, &udp)?;
        listen::distinct(path, &tcp)
    }

    /// Whether a stream is pushed by RTMP.
    pub fn takes_rtmp(&self) -> bool {
        let mut sources = self.stream.iter().flat_map(|s| &s.source);
        sources.any(|source| source.kind == SourceKind::Rtmp)
    }

    /// The root's id: as configured, else `root`.
    pub fn name(&self) -> &str {
        self.node.name.as_ref().map_or("root", NodeId::as_str)
    }

    /// Where the database is: as configured, else where the system keeps such things.
    pub fn data_dir(&self) -> PathBuf {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        default_data_dir(self.node.data_dir.as_deref(), env, is_superuser())
    }
}

/// systemd's directory if there is one, `/var/lib/soleil` for the superuser, else the user's state
/// directory (XDG base directory specification).
fn default_data_dir(
    configured: Option<&Path>,
    env: impl Fn(&str) -> Option<PathBuf>,
    superuser: bool,
) -> PathBuf {
    if let Some(dir) = configured {
        return dir.to_path_buf();
    }
    if let Some(dir) = env("STATE_DIRECTORY") {
        return dir;
    }
    if superuser {
        return PathBuf::from("/var/lib/soleil");
    }
    env("XDG_STATE_HOME")
        .or_else(|| env("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from("soleil-data"), |dir| dir.join("soleil"))
}

fn is_superuser() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
