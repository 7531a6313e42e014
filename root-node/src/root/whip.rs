//! WHIP's part in the root: which streams there are to broadcast, by whom, and where.

use crate::config::{Config, StreamSection};
use crate::ingest::driver::IngestHandle;
use crate::whip::driver::WhipTask;
use crate::whip::http::{Streams, Target, WhipSite};
use crate::whip::{ConfiguredTokens, PublishCheck, Whip};
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

/// What the configuration says of streams, and of who may broadcast them.
pub fn configured(
    config: &Config,
    ingest: &[IngestHandle],
) -> (Arc<dyn Streams>, Arc<dyn PublishCheck>) {
    let by_name = |stream: &StreamSection| {
        let ingest = ingest.iter().find(|handle| handle.name == stream.name)?.clone();
        let tracks = stream.track.iter().map(|t| t.spec()).collect();
        Some((stream.name.clone(), Target { ingest, tracks }))
    };
    let streams = Configured(config.stream.iter().filter_map(by_name).collect());
    let tokens = config
        .stream
        .iter()
        .filter_map(|stream| Some((stream.name.as_str(), stream.publish_token.as_ref()?.secret())));
    (Arc::new(streams), Arc::new(ConfiguredTokens::new(tokens)))
}

/// WHIP with its port bound.
pub struct Bound {
    /// Its outside.
    pub whip: Whip,
    task: WhipTask,
}

/// Binds the port; `None` if WHIP is off.
///
/// # Errors
/// If the port can't be bound.
pub fn bind(config: &Config, clock: Clock) -> anyhow::Result<Option<Bound>> {
    let section = &config.webrtc;
    if section.sessions == 0 {
        return Ok(None);
    }
    let (whip, task) = Whip::bind(section.listen, section.sessions, clock)
        .with_context(|| format!("webrtc.listen {}", section.listen))?;
    tracing::info!(port = %whip.bound, "takes broadcasters over WHIP");
    Ok(Some(Bound { whip, task }))
}

impl Bound {
    /// Starts what serves the port; gives what the handlers need.
    pub fn start(
        self,
        config: &Config,
        (streams, tokens): (Arc<dyn Streams>, Arc<dyn PublishCheck>),
        clock: Clock,
        stop: CancellationToken,
    ) -> Arc<WhipSite> {
        let section = &config.webrtc;
        let reach = Reach::new(&section.announce, self.whip.bound, &reach::guess(None), false);
        tokio::spawn(self.task.run(stop));
        Arc::new(WhipSite {
            whip: self.whip,
            streams,
            tokens,
            reach,
            ice_servers: section.ice_servers.clone(),
            public_url: config.http.public_url.clone(),
            https: config.http.tls.cert.is_some(),
            clock,
        })
    }
}
