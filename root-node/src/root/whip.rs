//! WHIP's part in the root: which streams there are to broadcast, by whom, and where.

use crate::config::{Config, TrackSection};
use crate::store::Store;
use crate::store::access::AccessRefusal;
use crate::streams::{Registry, State};
use crate::whip::driver::WhipTask;
use crate::whip::http::{BROADCASTERS_OF_AN_ADDRESS, Found, Streams, Target, WhipSite};
use crate::whip::{AnyOf, ConfiguredTokens, PublishCheck, Refused, Whip};
use anyhow::Context;
use relay_node::clock::Clock;
use relay_node::config::candidates::Reach;
use relay_node::config::reach;
use relay_node::webrtc::rate::Rate;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

impl Streams for Registry {
    fn find(&self, name: &str) -> Option<Found> {
        let info = self.get(name)?;
        let (section, ingest) = match (info.definition.section(name), info.ingest) {
            (Ok(section), Some(ingest)) => (section, ingest),
            _ if info.state == State::Stopped => return Some(Found::Stopped),
            // Why is in the list of streams, for operators alone: it names ports.
            _ => return Some(Found::Failed),
        };
        let tracks = section.track.iter().map(TrackSection::spec).collect();
        Some(Found::Open(Target { ingest, tracks }))
    }
}

/// Publish tokens that were made by command or over the API.
#[derive(Debug)]
struct Stored {
    store: Arc<Store>,
    clock: Clock,
}

impl PublishCheck for Stored {
    fn check(&self, stream: &str, token: Option<&str>) -> Result<(), Refused> {
        let token = token.ok_or(Refused::NoToken)?;
        let checked = self.store.check_publish(self.clock.now().wall, stream, token);
        checked.map_err(|error| {
            tracing::debug!(stream, %error, "a publish token");
            match error {
                AccessRefusal::Unavailable => Refused::Unavailable,
                _ => Refused::WrongToken,
            }
        })
    }
}

/// Who may broadcast: tokens of the configuration, and of the store.
pub fn tokens(config: &Config, store: Arc<Store>, clock: Clock) -> Arc<dyn PublishCheck> {
    let configured = config
        .stream
        .iter()
        .filter_map(|stream| Some((stream.name.as_str(), stream.publish_token.as_ref()?.secret())));
    let configured = Arc::new(ConfiguredTokens::new(configured));
    Arc::new(AnyOf(vec![configured, stored_tokens(store, clock)]))
}

/// Those of the store alone.
pub fn stored_tokens(store: Arc<Store>, clock: Clock) -> Arc<dyn PublishCheck> {
    Arc::new(Stored { store, clock })
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
    /// Starts what serves the port; gives what the handlers need, and the task. `draining` says that
    /// nobody new is let in, `stop` ends the sessions.
    pub fn start(
        self,
        config: &Config,
        (streams, tokens): (Arc<dyn Streams>, Arc<dyn PublishCheck>),
        clock: Clock,
        (draining, stop): (CancellationToken, CancellationToken),
    ) -> (Arc<WhipSite>, JoinHandle<()>) {
        let section = &config.webrtc;
        let reach = Reach::new(&section.announce, self.whip.bound, &reach::guess(None), false);
        let task = tokio::spawn(self.task.run(stop));
        let site = Arc::new(WhipSite {
            whip: self.whip,
            streams,
            tokens,
            reach,
            ice_servers: section.ice_servers.clone(),
            public_url: config.http.public_url.clone(),
            https: config.http.tls.cert.is_some(),
            rate: Rate::new(BROADCASTERS_OF_AN_ADDRESS),
            clock,
            draining,
        });
        (site, task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::access::Right;

    #[test]
    fn a_store_that_cannot_be_read_makes_no_token_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = (Arc::new(Store::open(dir.path()).unwrap()), Clock::start());
        let right = Right::Publish("a".into());
        let (token, _) = store.create_api_token(clock.now().wall, &right, None, "").unwrap();
        let stored = Stored { store, clock };
        let check = |stream| stored.check(stream, Some(&token.to_string()));
        assert_eq!((check("a"), check("b")), (Ok(()), Err(Refused::WrongToken)));
        // Another program that takes the table away.
        let other = rusqlite::Connection::open(dir.path().join(crate::store::FILE)).unwrap();
        other.execute_batch("DROP TABLE api_tokens").unwrap();
        assert_eq!(check("a"), Err(Refused::Unavailable));
    }
}
