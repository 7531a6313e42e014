//! What the root fetches by itself: a source for each stream of the configuration that has one.

use crate::config::StreamSection;
use crate::sources::driver::{Source, SourceHandle, start};
use crate::sources::job::Target;
use crate::streams::Prepared;
use relay_node::clock::Clock;
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
