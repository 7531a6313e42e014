//! Viewers on one side, the node on the other: says what to play, passes key-frame requests and
//! figures on, and lets viewers go when the leaf stops. The node itself is reached through a
//! function and two watches, so that this can be tested without one.

mod meter;
mod tally;
#[cfg(test)]
mod tests;

use crate::config::LeafConfig;
use crate::demand::Demand;
use crate::http::counter::CounterOffers;
use crate::http::events::Events;
use crate::http::{self, Site};
use crate::metrics::Metrics;
use crate::occupancy::Occupancy;
use crate::reach::Reach;
use crate::session::dtls::DtlsContext;
use crate::worker::{self, PipelineFigures, Upcall, WorkerConfig, Workers};
use anyhow::Context;
use meter::{Bytes, Meter, Rates};
use relay_node::clock::Clock;
use relay_node::config::{ConfigError, reach};
use relay_node::control::api::{Lack, NodeCommand};
use relay_node::http_server::{HttpServer, TlsFiles};
use relay_node::media::api::LocalSink;
use relay_node::webrtc::rate::Rate;
use soleil_protocol::message::{Identity, Stat, StatsContainer};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Mono, PipelineId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally::Tally;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A pipeline is still played for so long after its last viewer has left: many come back, or
/// reload the page.
pub const PLAY_LINGER: Duration = Duration::from_secs(10);

/// How often lingering pipelines are looked at.
const LINGER_CHECK: Duration = Duration::from_millis(500);

/// Upcalls that wait for the gateway: key-frame requests (merged upstream anyway) and figures.
const MAX_UPCALLS: usize = 256;

/// What the leaf has bound, not running yet.
pub struct Leaf {
    workers: Workers,
    http: HttpServer,
    http_addr: SocketAddr,
    upcalls: mpsc::Receiver<Upcall>,
    fingerprint: [u8; 32],
    clock: Clock,
    metrics: Arc<Metrics>,
    reach: Reach,
    https: bool,
    bytes: Bytes,
}

/// What the node offers the leaf.
pub struct NodeSide {
    /// The pipelines that it knows.
    pub pipelines: watch::Receiver<Arc<BTreeMap<PipelineId, PipelineDef>>>,
    /// Who it is.
    pub identity: watch::Receiver<Option<Identity>>,
    /// What it lacks: nobody is taken while there is anything.
    pub lack: watch::Receiver<Option<Lack>>,
    /// Gives it a command.
    pub command: Box<dyn Fn(NodeCommand) + Send + Sync>,
}

/// A leaf that serves viewers.
pub struct RunningLeaf {
    site: Arc<Site>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Leaf {
    /// Binds the viewer port and the HTTP port; the sink is for the node's media thread.
    ///
    /// # Errors
    /// What can't be bound or read.
    pub async fn bind(
        config: &LeafConfig,
        clock: Clock,
    ) -> anyhow::Result<(Self, Box<dyn LocalSink>)> {
        let metrics = Arc::new(Metrics::default());
        let dtls = DtlsContext::new(clock)?;
        let fingerprint = dtls.fingerprint();
        let (upcalls_in, upcalls) = mpsc::channel(MAX_UPCALLS);
        let tls = match &config.http.tls {
            Some(tls) => Some(
                TlsFiles::load(&tls.cert, &tls.key)
                    .map_err(ConfigError::Other)
                    .context("http.tls")?,
            ),
            None => None,
        };
        let https = tls.is_some();
        let listen = config.http.listen;
        let http =
            HttpServer::bind(listen, tls).await.with_context(|| format!("http.listen {listen}"))?;
        let http_addr = http.local_addr()?;
        let listen = config.webrtc.listen;
        let workers = WorkerConfig {
            listen,
            workers: config.workers(),
            clock,
            dtls,
            handshake_threads: config.webrtc.handshake_threads,
            metrics: metrics.clone(),
            upcalls: upcalls_in,
        };
        let (workers, sink) = worker::start_with_tcp(workers, config.tcp_limits())
            .with_context(|| format!("webrtc.listen {listen}"))?;
        let (sink, bytes) = Meter::new(sink);
        let bound = workers.local_addr();
        let interfaces = reach::interfaces().unwrap_or_default();
        let reach = Reach::new(&config.webrtc.announce, bound, &interfaces, config.webrtc.tcp);
        let leaf = Self {
            workers,
            http,
            http_addr,
            upcalls,
            fingerprint,
            clock,
            metrics,
            reach,
            https,
            bytes,
        };
        Ok((leaf, Box::new(sink)))
    }

    /// Where HTTP is bound.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the viewer port is bound.
    pub fn viewer_addr(&self) -> SocketAddr {
        self.workers.local_addr()
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Serves viewers from now on, on the current runtime.
    pub fn start(self, config: &LeafConfig, node: NodeSide) -> RunningLeaf {
        let demand = Arc::<Demand>::default();
        let counters = Arc::<CounterOffers>::default();
        let events = Arc::<Events>::default();
        events.set_pipelines(node.pipelines.borrow().clone());
        let site = Arc::new(Site {
            workers: self.workers.clone(),
            fingerprint: self.fingerprint,
            clock: self.clock,
            occupancy: Occupancy::new(config.limits()),
            demand: demand.clone(),
            metrics: self.metrics.clone(),
            pipelines: node.pipelines.clone(),
            identity: node.identity.clone(),
            lack: node.lack.clone(),
            require_ticket: config.play.require_ticket,
            public_url: config.http.public_url.clone(),
            https: self.https,
            ice_servers: config.webrtc.ice_servers.clone(),
            reach: self.reach,
            rate: Rate::new(config.webrtc.sessions_per_address),
            counters: counters.clone(),
            events: events.clone(),
            timeouts: config.timeouts(),
            draining: AtomicBool::new(false),
        });
        let stop = CancellationToken::new();
        let control = Control {
            clock: self.clock,
            workers: self.workers,
            node,
            wanted: demand.watch(),
            upcalls: self.upcalls,
            playing: BTreeMap::new(),
            totals: BTreeMap::new(),
            rates: Rates::new(self.bytes, self.clock.now().mono),
            tally: Tally::default(),
            counters,
            events,
            metrics: self.metrics,
        };
        let tasks = vec![
            tokio::spawn(self.http.serve(http::router(site.clone()), stop.clone())),
            tokio::spawn(control.run(stop.clone())),
        ];
        RunningLeaf { site, stop, tasks }
    }
}

impl RunningLeaf {
    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.site.metrics
    }

    /// Sessions, and those of them without media yet.
    pub fn occupancy(&self) -> (usize, usize) {
        self.site.occupancy.counts()
    }

    /// Why viewers can't be served any more, once that is so.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.site.workers.failure()
    }

    /// The event streams.
    pub fn events(&self) -> &Arc<Events> {
        &self.site.events
    }

    /// What drives the sessions.
    #[cfg(test)]
    pub(crate) fn workers(&self) -> &Workers {
        &self.site.workers
    }

    /// Takes nobody new and tells every viewer that its session is over (the page then asks the
    /// root for another leaf), those with an event stream there as well.
    pub async fn drain(&self) {
        self.site.draining.store(true, Ordering::Relaxed);
        self.site.events.reconnect();
        self.site.counters.clear();
        self.site.workers.drain().await;
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.drain().await;
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.site.workers.stop();
    }
}

/// Counters of a pipeline since the leaf began.
#[derive(Debug, Default)]
struct Totals {
    nacks: u64,
    key_frames: u64,
}

struct Control {
    clock: Clock,
    workers: Workers,
    node: NodeSide,
    wanted: watch::Receiver<BTreeMap<PipelineId, usize>>,
    upcalls: mpsc::Receiver<Upcall>,
    /// What the node plays for us, and until when, if nobody wants it any more.
    playing: BTreeMap<PipelineId, Option<Mono>>,
    totals: BTreeMap<PipelineId, Totals>,
    rates: Rates,
    tally: Tally,
    counters: Arc<CounterOffers>,
    events: Arc<Events>,
    metrics: Arc<Metrics>,
}

impl Control {
    async fn run(mut self, stop: CancellationToken) {
        let mut pipelines = self.node.pipelines.clone();
        pipelines.mark_changed();
        let mut check = tokio::time::interval(LINGER_CHECK);
        let mut serving = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = pipelines.changed() => {
                    if changed.is_err() {
                        // The node has ended; so will the program.
                        stop.cancelled().await;
                        return;
                    }
                    let now = pipelines.borrow_and_update().clone();
                    self.set_pipelines(self.clock.now().mono, now);
                }
                changed = self.wanted.changed() => {
                    if changed.is_ok() {
                        self.follow_demand(self.clock.now().mono);
                    }
                }
                upcall = self.upcalls.recv(), if serving => match upcall {
                    Some(Upcall::KeyFrame(pipeline, ssrc)) => {
                        (self.node.command)(NodeCommand::KeyFrame(pipeline, ssrc));
                    }
                    Some(Upcall::Figures { worker, figures }) => {
                        if let Some(figures) = self.tally.add(worker, figures) {
                            self.report(&figures);
                        }
                    }
                    // The workers have ended; what their viewers wanted lingers and stops.
                    None => serving = false,
                },
                _ = check.tick() => {
                    let now = self.clock.now().mono;
                    self.stop_lingering(now);
                    self.counters.expire(now);
                    self.metrics.event_streams_cut.set(self.events.counts().1);
                }
            }
        }
    }

    fn set_pipelines(&mut self, now: Mono, pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>) {
        self.workers.pipelines(&pipelines);
        self.events.set_pipelines(pipelines.clone());
        // What comes back after it was gone has to be asked for again.
        self.playing.retain(|id, _| pipelines.contains_key(id));
        self.totals.retain(|id, _| pipelines.contains_key(id));
        self.follow_demand(now);
    }

    fn follow_demand(&mut self, now: Mono) {
        let wanted = self.wanted.borrow_and_update().clone();
        let known = self.node.pipelines.borrow().clone();
        for id in wanted.keys().filter(|id| known.contains_key(id)) {
            if self.playing.insert(*id, None).is_none() {
                (self.node.command)(NodeCommand::Play(*id));
            }
        }
        let until = now.after(PLAY_LINGER);
        for (_, stop_at) in self.playing.iter_mut().filter(|(id, _)| !wanted.contains_key(id)) {
            stop_at.get_or_insert(until);
        }
    }

    fn stop_lingering(&mut self, now: Mono) {
        let command = &self.node.command;
        self.playing.retain(|id, stop_at| {
            let over = stop_at.is_some_and(|at| at <= now);
            if over {
                command(NodeCommand::Stop(*id));
            }
            !over
        });
    }

    fn report(&mut self, figures: &[PipelineFigures]) {
        let now = self.clock.now();
        self.events.set_figures(self.rates.update(now.mono), figures);
        let end = now.wall.0 / 1_000_000;
        let mut containers: Vec<StatsContainer> = figures
            .iter()
            .map(|f| {
                let totals = self.totals.entry(f.pipeline).or_default();
                totals.nacks += f.nacks;
                totals.key_frames += f.key_frames;
                container(end, f, totals)
            })
            .collect();
        // Added to what the node sends to children.
        let bytes: u64 = figures.iter().map(|f| f.bytes).sum();
        let egress = Stat { name: "egress".into(), value: bytes as f64 * 8.0, weight: Some(1.0) };
        let start = end.saturating_sub(1);
        containers.push(StatsContainer { start, end, children: 0, id: None, stats: vec![egress] });
        (self.node.command)(NodeCommand::LocalStats(containers));
    }
}

/// A pipeline's figures in the protocol's units; means weigh as many viewers as they speak for.
fn container(end: u64, f: &PipelineFigures, totals: &Totals) -> StatsContainer {
    let stat = |name: &str, value: f64, weight: f64| Stat {
        name: name.to_owned(),
        value,
        weight: Some(weight),
    };
    let mut stats = vec![
        stat("viewers", f.viewers as f64, 1.0),
        stat("nacks", totals.nacks as f64, 1.0),
        stat("plis", totals.key_frames as f64, 1.0),
    ];
    if f.viewers > 0 {
        let n = f.viewers as f64;
        stats.push(stat("bitrate", f.bytes as f64 * 8.0 / n, n));
    }
    if f.reported > 0 {
        let n = f.reported as f64;
        stats.push(stat("fractionlost", f.fraction_lost / n, n));
        stats.push(stat("viewerjitter", f.jitter * 1_000.0 / n, n));
        stats.push(stat("viewerlost", f.lost as f64 / n, n));
    }
    if f.rtts > 0 {
        let n = f.rtts as f64;
        stats.push(stat("rtt", f.rtt * 1_000.0 / n, n));
    }
    StatsContainer { start: end.saturating_sub(1), end, children: 0, id: Some(f.pipeline), stats }
}
