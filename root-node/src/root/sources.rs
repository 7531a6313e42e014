//! What the root fetches by itself: a source for each stream of the configuration that has one.

use crate::config::{Config, SourceKind, StreamSection};
use crate::sources::driver::{Source, SourceHandle, start};
use crate::sources::job::Target;
use crate::sources::rtmp::Entry;
use crate::streams::Prepared;
use anyhow::Context;
use relay_node::clock::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Starts them, for the ports that are bound now.
pub(super) fn start_all(
    configured: &[(StreamSection, Prepared)],
    clock: Clock,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<SourceHandle>> {
    let mut all = Vec::new();
    for (section, prepared) in configured {
        let Some(source) = &section.source else { continue };
        let mut bound = prepared.handle.ports.as_slice();
        let targets = section.track.iter().filter_map(|track| {
            let (own, rest) = bound.split_at_checked(track.ports.len())?;
            bound = rest;
            Target::new(track, own)
        });
        let source = Source {
            stream: section.name.clone(),
            section: source.clone(),
            targets: targets.collect(),
        };
        all.push(start(source, clock, stop.clone())?);
    }
    Ok(all)
}

/// The RTMP server, if a stream is pushed by RTMP.
pub(super) async fn bind_rtmp(
    config: &Config,
    sources: &[SourceHandle],
) -> anyhow::Result<Option<(TcpListener, Vec<Entry>)>> {
    let mut entries = Vec::new();
    for source in sources {
        let section = config.stream.iter().find(|s| s.name == source.stream);
        let section = section.and_then(|s| s.source.as_ref());
        let Some(section) = section.filter(|s| s.kind == SourceKind::Rtmp) else { continue };
        let secret = section.secret().map_err(|(key, what)| anyhow::anyhow!("{key}: {what}"))?;
        entries.extend(secret.map(|key| Entry { key, source: source.clone() }));
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let listen = config.rtmp.listen;
    let listener = TcpListener::bind(listen).await;
    Ok(Some((listener.with_context(|| format!("rtmp.listen {listen}"))?, entries)))
}
