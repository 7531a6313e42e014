//! The whole root, put together: store, authority, ingest, the node with the root's core, HTTP.
//! Everything is decided elsewhere; this module connects it.

mod tap;
#[cfg(test)]
mod tests;
mod whip;

use crate::authority::RootAuthority;
use crate::config::Config;
use crate::core::RootCore;
use crate::core::api::{RootCommand, RootConfig, RootView};
use crate::http::{self, HttpState, OnAir};
use crate::ingest::driver::{IngestHandle, IngestTask, Outlet};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::{StreamEvent, StreamIngest, TrackSpec};
use crate::store::Store;
use crate::store::layers::LayerName;
use crate::store::writer::{Notes, Writer};
use anyhow::Context;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use relay_node::clock::Clock;
use relay_node::config::{ConfigError, reach};
use relay_node::http_server::{HttpServer, TlsFiles};
use relay_node::identity::{self, NodeVault};
use relay_node::io::TokenCheck;
use relay_node::io::limits::LinkLimits;
use relay_node::logging::LogControl;
use relay_node::media::api::NoSink;
use relay_node::media::sizes::MAX_PAYLOAD;
use relay_node::node::{Bound, Node, NodeHandle, NodeOptions, NodeTask};
use relay_node::ops::Ops;
use soleil_protocol::message::{HostPort, Identity};
use soleil_protocol::{Incarnation, NodeId, PipelineId, Role};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tap::Tap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the root renews its own certificate within its life.
const RENEWALS: u32 = 3;

/// A running root.
pub struct Root {
    /// The node; commands go here.
    pub node: NodeHandle<RootCommand>,
    /// Where pages and redirects are served.
    pub http: SocketAddr,
    /// The streams that are taken in.
    pub ingest: Vec<IngestHandle>,
    /// The tree and its statistics.
    pub view: watch::Receiver<Arc<RootView>>,
    task: NodeTask,
    stop: CancellationToken,
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

/// Sealed packets go to the media thread, events to the core.
struct ToTree {
    node: NodeHandle<RootCommand>,
    on_air: Arc<watch::Sender<OnAir>>,
    notes: Notes,
    clock: Clock,
}

impl Outlet for ToTree {
    fn packets(&self, packets: Vec<Bytes>) {
        self.node.media().inject(packets);
    }

    fn event(&self, pipeline: PipelineId, event: StreamEvent) {
        match event {
            StreamEvent::Defined(def) => {
                self.node.command(RootCommand::DefinePipeline(def));
            }
            StreamEvent::Reserve(ssrc, index) => self.notes.index(ssrc, index),
            StreamEvent::Live(live) => {
                let since = self.clock.now().wall.millis();
                self.on_air.send_modify(|table| {
                    let table = Arc::make_mut(table);
                    if live {
                        table.insert(pipeline, since);
                    } else {
                        table.remove(&pipeline);
                    }
                });
                tracing::info!(%pipeline, live, "stream is on air: {live}");
                self.node.command(RootCommand::SetLive(pipeline, live));
            }
        }
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
        let streams = bind_streams(&config, &store, clock)?;
        let ingest: Vec<IngestHandle> = streams.iter().map(|s| s.handle.clone()).collect();

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
        ops.register(Arc::new(IngestMetrics(ingest.clone())));
        ops.register(Arc::new(notes.clone()));
        let whip = whip::bind(&config, clock)?;
        if let Some(bound) = &whip {
            ops.register(bound.whip.counters.clone());
        }
        let options = NodeOptions {
            clock,
            seed: identity::random()?,
            vault: vault.clone(),
            overlay: Some(config.overlay.listen),
            media: config.media.listen,
            root: None,
            tokens: Some(Arc::new(StoredTokens { store, clock })),
            identity: Some(identity),
            drain_timeout: config.node.drain_timeout,
            limits: LinkLimits::default(),
            ops: config.ops.enabled.then_some((config.ops.listen, ops)),
        };
        let (taps, tap_notes) = (ingest.clone(), notes.clone());
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
            Ok(Tap::new(core, view_tx, taps, tap_notes))
        };
        let (node, task) = Node::start(options, core, Box::new(NoSink)).await?;

        let stop = CancellationToken::new();
        let (on_air_tx, on_air) = watch::channel(OnAir::default());
        let on_air_tx = Arc::new(on_air_tx);
        for stream in streams {
            node.command(RootCommand::DefinePipeline(stream.definition));
            let (node, on_air) = (node.clone(), on_air_tx.clone());
            let outlet = ToTree { node, on_air, notes: notes.clone(), clock };
            tokio::spawn(stream.task.run(outlet, stop.clone()));
        }
        let whip = whip.map(|bound| {
            bound.start(&config, whip::configured(&config, &ingest), clock, stop.clone())
        });
        let state = HttpState {
            view: view.clone(),
            on_air,
            picker: Mutex::default(),
            tickets: tickets.clone(),
            clock,
            whip,
        };
        tokio::spawn(server.serve(http::router(Arc::new(state)), stop.clone()));
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
        Ok(Root { node, http, ingest, view, task, stop, _writer: writer })
    }

    /// Runs until SIGTERM, Ctrl-C or a failure; says why it stopped.
    ///
    /// # Errors
    /// If the node failed.
    pub async fn run_until_signalled(self) -> anyhow::Result<String> {
        let reason = self.task.run_until_signalled(self.node).await;
        self.stop.cancel();
        reason
    }

    /// Drains and waits for the end.
    ///
    /// # Errors
    /// If the node failed.
    pub async fn stop(self, reason: &str) -> anyhow::Result<String> {
        self.node.drain(reason);
        let reason = self.task.wait().await;
        self.stop.cancel();
        reason
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

/// One stream, ready to run.
struct Stream {
    handle: IngestHandle,
    task: IngestTask,
    definition: soleil_protocol::pipeline::PipelineDef,
}

fn bind_streams(config: &Config, store: &Store, clock: Clock) -> anyhow::Result<Vec<Stream>> {
    let mut generator = StdRng::from_seed(identity::random()?);
    let mut random = || generator.next_u32();
    let now = clock.now().wall;
    let mut more = StdRng::from_seed(identity::random()?);
    let all_ports: Vec<SocketAddr> = config.stream.iter().flat_map(ports).collect();
    // Numbers that the configuration names come first: no other stream may be given one of them.
    let mut ids: BTreeMap<&str, PipelineId> = BTreeMap::new();
    let mut ordered: Vec<_> = config.stream.iter().collect();
    ordered.sort_by_key(|s| s.id.is_none());
    for section in ordered {
        ids.insert(&section.name, store.stream_id(&section.name, section.id)?);
    }
    let mut streams = Vec::new();
    for section in &config.stream {
        let id = ids.get(section.name.as_str()).copied().unwrap_or_default();
        let tracks: Vec<TrackSpec> = section.track.iter().map(|t| t.spec()).collect();
        let core = StreamIngest::new(
            id,
            &section.name,
            tracks,
            MAX_PAYLOAD,
            &mut |track, layer| {
                let name = LayerName { stream: id, track: &track.name, layer, codec: track.codec };
                store.layer(now, name, &mut || more.next_u32())
            },
            &mut random,
        )?;
        let definition = core.definition();
        let own = ports(section);
        let (handle, task) = IngestTask::bind(&section.name, core, &own, &all_ports, clock)
            .with_context(|| format!("stream {:?}", section.name))?;
        tracing::info!(stream = %section.name, pipeline = %id, ports = ?handle.ports, "takes RTP");
        streams.push(Stream { handle, task, definition });
    }
    Ok(streams)
}

fn ports(section: &crate::config::StreamSection) -> Vec<SocketAddr> {
    let of = |t: &crate::config::TrackSection| {
        let bind = t.bind;
        t.ports.clone().into_iter().map(move |port| SocketAddr::new(bind, port))
    };
    section.track.iter().flat_map(of).collect()
}
