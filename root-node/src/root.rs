//! The whole root, put together: store, authority, ingest, the node with the root's core, HTTP.
//! Everything is decided elsewhere; this module connects it.

mod sources;
mod tap;
#[cfg(test)]
mod tests;
pub(crate) mod whip;

use crate::authority::RootAuthority;
use crate::config::Config;
use crate::core::RootCore;
use crate::core::api::{RootCommand, RootConfig, RootView};
use crate::http::{self, HttpState, OnAir};
use crate::ingest::driver::IngestHandle;
use crate::ingest::metrics::IngestMetrics;
use crate::ladder::metrics::Ladders;
use crate::sources::metrics::Sources;
use crate::sources::rtmp;
use crate::store::Store;
use crate::store::writer::Writer;
use crate::streams::{Registry, Surroundings, Table};
use anyhow::Context;
use relay_node::clock::Clock;
use relay_node::config::{ConfigError, reach};
use relay_node::http_server::{HttpServer, TlsFiles};
use relay_node::identity::{self, NodeVault};
use relay_node::io::TokenCheck;
use relay_node::io::limits::LinkLimits;
use relay_node::logging::LogControl;
use relay_node::media::api::NoSink;
use relay_node::node::{Bound, Node, NodeHandle, NodeOptions, NodeTask};
use relay_node::ops::Ops;
use soleil_protocol::message::{HostPort, Identity};
use soleil_protocol::{Incarnation, NodeId, Role};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tap::Tap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the root renews its own certificate within its life.
const RENEWALS: u32 = 3;

/// How long the root's end may wait for its goodbyes to broadcasters: they are a datagram each.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// A running root.
pub struct Root {
    /// The node; commands go here.
    pub node: NodeHandle<RootCommand>,
    /// Where pages and redirects are served.
    pub http: SocketAddr,
    /// The streams of the configuration, as they are taken in.
    pub ingest: Vec<IngestHandle>,
    /// All streams.
    pub streams: Arc<Registry>,
    /// What the root fetches by itself for them.
    pub sources: Sources,
    /// The tree and its statistics.
    pub view: watch::Receiver<Arc<RootView>>,
    task: NodeTask,
    /// Says that it has begun to drain.
    pub draining: CancellationToken,
    stop: CancellationToken,
    whip: Option<JoinHandle<()>>,
    /// Writes what is left when it is dropped.
    _writer: Writer,
}

/// Checks join tokens against the store.
struct StoredTokens {
    store: Arc<Store>,
    clock: Clock,
}

impl TokenCheck for StoredTokens {
    fn check(&self, id: &str, secret: &str) -> Result<Role, String> {
        self.store.check_token(self.clock.now().wall, id, secret).map_err(|e| e.to_string())
    }
}

impl Root {
    /// Opens the store, binds everything and starts it on the current runtime.
    ///
    /// # Errors
    /// What can't be opened, bound or read.
    pub async fn start(config: Config, log: LogControl) -> anyhow::Result<Root> {
        let clock = Clock::start();
        let now = clock.now();
        let data_dir = config.data_dir();
        let store = Arc::new(Store::open(&data_dir)?);
        let keys = store.keys(now.wall)?;
        let (authority, tickets) = (Arc::new(keys.authority), Arc::new(keys.tickets));
        let id = NodeId::new(config.name())?;
        let drawing = config.tree.load(config.name()).map_err(ConfigError::Other)?;
        let vault = NodeVault::open(Some(&data_dir))?;
        let life = config.certificates.life;
        let identity = own_identity(&authority, &tickets, &vault, &id, clock, life)?;
        let tls = match (&config.http.tls.cert, &config.http.tls.key) {
            (Some(cert), Some(key)) => Some(TlsFiles::load(cert, key).map_err(ConfigError::Other)?),
            _ => None,
        };
        let listen = config.http.listen;
        let server =
            HttpServer::bind(listen, tls).await.with_context(|| format!("http.listen {listen}"))?;
        let http = server.local_addr()?;
        let known = Registry::prepare(&store, clock, &config.stream)?;
        let ingest: Vec<IngestHandle> =
            known.configured.iter().map(|(_, s)| s.handle.clone()).collect();
        let (table, ladders) = (Table::default(), Ladders::default());
        let stop = CancellationToken::new();
        let sources = Sources::default();
        let rtmp = sources::bind_rtmp(&config).await?;

        let (view_tx, view) = watch::channel(Arc::new(RootView::default()));
        let (nodes, epoch) = (store.nodes()?, store.first_epoch(now.wall)?);
        let writer = Writer::start(store.clone())?;
        let notes = writer.notes();
        let tokens = store.clone();
        let stands = move |token: &str| tokens.token_stands(token);
        let root_authority = RootAuthority::new(authority.clone(), tickets.clone(), life, stands)?;
        let core_vault = Box::new(vault.clone());
        let seed = identity::random()?;
        let ops = Ops::new("root-node", log);
        ops.register(Arc::new(IngestMetrics(table.clone())));
        ops.register(Arc::new(notes.clone()));
        let whip = whip::bind(&config, clock)?;
        if let Some(bound) = &whip {
            ops.register(bound.whip.counters.clone());
        }
        ops.register(Arc::new(sources.clone()));
        ops.register(Arc::new(ladders.clone()));
        let options = NodeOptions {
            clock,
            seed: identity::random()?,
            vault: vault.clone(),
            overlay: Some(config.overlay.listen),
            media: config.media.listen,
            root: None,
            tokens: Some(Arc::new(StoredTokens { store: store.clone(), clock })),
            identity: Some(identity),
            drain_timeout: config.node.drain_timeout,
            limits: LinkLimits::default(),
            ops: config.ops.enabled.then_some((config.ops.listen, ops)),
        };
        let (taps, tap_notes) = (table.clone(), notes.clone());
        let draining = CancellationToken::new();
        let tap_draining = draining.clone();
        let core = |bound: &Bound| {
            let root = announced(&config, id.clone(), bound);
            tracing::info!(id = %root.id, server = ?root.server, media = ?root.media, "root starts");
            tracing::info!(nodes = nodes.len(), %epoch, "nodes are remembered");
            let mut core = RootCore::new(root, core_vault, Box::new(root_authority), seed);
            if let Some((drawing, drawn)) = &drawing {
                tracing::info!(nodes = drawn.nodes.len(), "the tree is drawn");
                for remark in drawn.remarks() {
                    tracing::warn!("{remark}");
                }
                core.follow(drawing, drawn);
            }
            core.restore(clock.now().mono, nodes, epoch);
            Ok(Tap::new(core, view_tx, taps, tap_notes, tap_draining))
        };
        let (node, task) = Node::start(options, core, Box::new(NoSink)).await?;

        let (on_air_tx, on_air) = watch::channel(OnAir::default());
        let around = Surroundings {
            tree: Arc::new(node.clone()),
            table,
            ladders,
            cores: config.ingest.cores(),
            sources: sources.clone(),
            on_air: Arc::new(on_air_tx),
            notes,
            clock,
            fell: Arc::default(),
            stop: stop.clone(),
        };
        let started =
            Registry::start(store.clone(), around, view.clone(), config.ingest.clone(), known);
        let streams = Arc::new(started?);
        tokio::spawn(streams.clone().mend());
        let publishers = whip::tokens(&config, store.clone(), clock);
        let whip = whip.map(|bound| {
            let ends = (draining.clone(), stop.clone());
            bound.start(&config, (streams.clone(), publishers.clone()), clock, ends)
        });
        let (whip, whip_task) = whip.unzip();
        let state = HttpState {
            view: view.clone(),
            on_air,
            picker: Mutex::default(),
            tickets: tickets.clone(),
            clock,
            streams: streams.clone(),
            store,
            publishers,
            whip,
        };
        tokio::spawn(server.serve(http::router(Arc::new(state)), stop.clone()));
        if let Some(listener) = rtmp {
            let entries = sources::entries(&config, &sources)?;
            tracing::info!(listen = %config.rtmp.listen, "takes RTMP");
            tokio::spawn(rtmp::serve(listener, entries, clock, stop.clone()));
        }
        let renewed = node.clone();
        let renew_stop = stop.clone();
        tokio::spawn(async move {
            let mut due = tokio::time::interval(life / RENEWALS);
            due.tick().await;
            loop {
                tokio::select! {
                    () = renew_stop.cancelled() => return,
                    _ = due.tick() => {}
                }
                match own_identity(&authority, &tickets, &vault, &id, clock, life) {
                    Ok(identity) => renewed.set_identity(identity),
                    Err(error) => tracing::error!(%error, "can't renew the root's certificate"),
                }
            }
        });
        let scheme = if config.http.tls.cert.is_some() { "https" } else { "http" };
        let url = config.http.public_url.clone().unwrap_or_else(|| format!("{scheme}://{http}/"));
        tracing::info!(%url, data = %data_dir.display(), "pages are served");
        let whip = whip_task;
        Ok(Root {
            node,
            http,
            ingest,
            streams,
            sources,
            view,
            draining,
            task,
            stop,
            whip,
            _writer: writer,
        })
    }

    /// Runs until SIGTERM, Ctrl-C or a failure; says why it stopped.
    ///
    /// # Errors
    /// If the node failed.
    pub async fn run_until_signalled(self) -> anyhow::Result<String> {
        let reason = self.task.run_until_signalled(self.node).await;
        end(&self.stop, &self.streams, self.whip).await;
        reason
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// If the node failed.
    pub async fn stop(self, reason: &str) -> anyhow::Result<String> {
        self.node.drain(reason);
        let reason = self.task.wait().await;
        end(&self.stop, &self.streams, self.whip).await;
        reason
    }
}

/// Ends what takes streams in. Broadcasters are told before the process ends.
async fn end(stop: &CancellationToken, streams: &Registry, whip: Option<JoinHandle<()>>) {
    stop.cancel();
    streams.ended().await;
    let Some(whip) = whip else { return };
    match tokio::time::timeout(GOODBYE_TIME, whip).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "WHIP has panicked"),
        Err(_) => tracing::warn!("not all broadcasters were told that the root ends"),
    }
}

fn own_identity(
    authority: &identity::Authority,
    tickets: &identity::SigningKey,
    vault: &NodeVault,
    id: &NodeId,
    clock: Clock,
    life: Duration,
) -> Result<Identity, identity::IdentityError> {
    let now = clock.now().wall;
    Ok(Identity {
        id: id.clone(),
        incarnation: Incarnation::default(),
        certificate: authority.issue_root(vault.key(), id, now, life)?,
        authority: authority.certificate().to_vec(),
        ticket_key: tickets.public(),
    })
}

/// What the root tells others of itself.
fn announced(config: &Config, id: NodeId, bound: &Bound) -> RootConfig {
    let guess = reach::guess(None);
    let overlay = bound.overlay.unwrap_or(config.overlay.listen);
    let server = config.overlay.announce.clone().unwrap_or_else(|| {
        let address = reach::announced(&[], overlay, &guess).first().copied().unwrap_or(overlay);
        HostPort { host: address.ip().to_string(), port: address.port() }
    });
    RootConfig {
        id,
        server,
        media: reach::announced(&config.media.announce, bound.media, &guess),
        capacity: config.capacity.for_role(Role::Root),
        region: config.node.region.clone(),
        avoid_unsteady: config.tree.avoid_unsteady,
    }
}
