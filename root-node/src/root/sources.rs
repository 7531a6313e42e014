//! The RTMP server, if a stream is pushed by RTMP: its socket, and whom it takes.

use crate::config::{Config, SourceKind};
use crate::sources::metrics::Sources;
use crate::sources::rtmp::Entry;
use anyhow::Context;
use tokio::net::TcpListener;

/// Binds its port, if it is needed.
pub(super) async fn bind_rtmp(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    if !config.takes_rtmp() {
        return Ok(None);
    }
    let listen = config.rtmp.listen;
    let listener = TcpListener::bind(listen).await;
    listener.map(Some).with_context(|| format!("rtmp.listen {listen}"))
}

/// Who may publish what.
pub(super) fn entries(config: &Config, sources: &Sources) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for source in sources.all() {
        let stream = config.stream.iter().find(|s| s.name == source.stream);
        let section = stream.and_then(|s| s.source.get(source.number));
        let Some(section) = section.filter(|s| s.kind == SourceKind::Rtmp) else { continue };
        let secret = section.secret().map_err(|(key, what)| anyhow::anyhow!("{key}: {what}"))?;
        let (stream, number, table) = (source.stream, source.number, sources.clone());
        let name = stream.clone();
        let find = move || {
            let mut all = table.all().into_iter();
            all.find(|s| s.stream == name && s.number == number)
        };
        entries.extend(secret.map(|key| Entry { key, stream, source: Box::new(find) }));
    }
    Ok(entries)
}
