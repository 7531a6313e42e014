//! WHIP's part in the root: which streams there are to broadcast, by whom, and where.

use crate::config::Config;
use crate::ingest::driver::IngestHandle;
use crate::whip::http::{Streams, Target, WhipSite};
use crate::whip::{ConfiguredTokens, Whip};
use anyhow::Context;
use relay_node::clock::Clock;
use relay_node::config::candidates::Reach;
use relay_node::config::reach;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The streams of the configuration.
#[derive(Debug)]
struct Configured(BTreeMap<String, Target>);

impl Streams for Configured {
    fn find(&self, name: &str) -> Option<Target> {
        self.0.get(name).cloned()
    }
}

/// Binds the port and starts what serves it; `None` if WHIP is off.
///
/// # Errors
/// If the port can't be bound.
pub fn start(
    config: &Config,
    ingest: &[IngestHandle],
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<Option<Arc<WhipSite>>> {
    let section = &config.webrtc;
    if section.sessions == 0 {
        return Ok(None);
    }
    let (whip, task) = Whip::bind(section.listen, section.sessions, clock)
        .with_context(|| format!("webrtc.listen {}", section.listen))?;
    let guess = reach::guess(None);
    let reach = Reach::new(&section.announce, whip.bound, &guess, false);
    tracing::info!(port = %whip.bound, "takes broadcasters over WHIP");
    let by_name = |stream: &crate::config::StreamSection| {
        let ingest = ingest.iter().find(|handle| handle.name == stream.name)?.clone();
        let tracks = stream.track.iter().map(|t| t.spec()).collect();
        Some((stream.name.clone(), Target { ingest, tracks }))
    };
    let streams = Configured(config.stream.iter().filter_map(by_name).collect());
    let tokens = config
        .stream
        .iter()
        .filter_map(|stream| Some((stream.name.as_str(), stream.publish_token.as_ref()?.secret())));
    tokio::spawn(task.run(stop));
    Ok(Some(Arc::new(WhipSite {
        whip,
        streams: Arc::new(streams),
        tokens: Arc::new(ConfiguredTokens::new(tokens)),
        reach,
        ice_servers: section.ice_servers.clone(),
        public_url: config.http.public_url.clone(),
        https: config.http.tls.cert.is_some(),
        clock,
    })))
}
