//! Pipelines at a node: definitions, key epochs, and what is known of them. Who wants which layer
//! and what follows from it is in `play`.

use super::NodeCore;
use super::api::{Action, ConnId, PlaneReport, pipeline_key_context};
use super::limits::{MAX_EPOCHS, MAX_LAYERS, MAX_PIPELINES, REPLAY_PAUSE};
use super::timers::Timer;
use crate::media::api::{LayerSpec, PipelineKey, PlaneCommand};
use soleil_protocol::message::{
    ErrorCode, LayerInfo, PipeDef, PipeDefInfo, PipelineState, RoutePipeline,
};
use soleil_protocol::pipeline::{EpochKey, PipelineDef};
use soleil_protocol::{
    Body, Epoch, LinkId, Message, Millis, Mono, NodeId, PacketIndex, PipelineId, Ssrc,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroize;

/// Which layers somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// Whatever the pipeline has.
    All,
    /// These.
    Some(BTreeSet<Ssrc>),
}

impl Want {
    pub(super) fn has(&self, ssrc: Ssrc) -> bool {
        match self {
            Want::All => true,
            Want::Some(set) => set.contains(&ssrc),
        }
    }
}

/// The target of a row: a child's link, or `None` for this node itself. (`NextHop` has no order,
/// and what the core does must not depend on a hash.)
pub(super) type Target = Option<LinkId>;

/// One pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) def: PipelineDef,
    pub(super) epochs: BTreeSet<Epoch>,
    /// Children by media link.
    pub(super) wants: BTreeMap<LinkId, Want>,
    /// The root told us to play it, whoever wants it.
    pub(super) pinned: bool,
    /// Rows in the plane's table.
    pub(super) rows: BTreeSet<(Ssrc, Target)>,
    /// Layers that the parent was asked for.
    pub(super) upstream: BTreeSet<Ssrc>,
    /// `time` of the last PLAYPIPELINE, to recognise an ERROR that answers it.
    pub(super) asked: Option<Millis>,
    /// Positions that children asked for and that must go up with the next PLAYPIPELINE.
    pub(super) from: BTreeMap<Ssrc, PacketIndex>,
    /// When children last had layers resent from a position, as far as it matters.
    replayed: BTreeMap<(LinkId, Ssrc), Mono>,
    /// The operator's path (ROUTEPIPELINE).
    pub(super) path: Vec<NodeId>,
}

impl Pipeline {
    /// Whether a child may have a layer resent from a position now; it is taken as done.
    pub(super) fn may_replay(&mut self, child: LinkId, ssrc: Ssrc, now: Mono) -> bool {
        self.replayed.retain(|_, at| now.since(*at) < REPLAY_PAUSE);
        match self.replayed.entry((child, ssrc)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(now);
                true
            }
        }
    }
}

/// All pipelines of a node.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    pub(super) all: BTreeMap<PipelineId, Pipeline>,
    /// What this node itself wants; may name pipelines that are not defined yet.
    pub(super) local: BTreeSet<PipelineId>,
    /// The last report of the plane.
    pub(super) report: PlaneReport,
    /// There is a new parent, and the plane has not told yet from where on to ask it.
    pub(super) awaiting: bool,
}

impl Pipelines {
    /// The pipelines that are defined.
    pub(super) fn ids(&self) -> impl Iterator<Item = PipelineId> + '_ {
        self.all.keys().copied()
    }

    /// Their definitions.
    pub(super) fn defs(&self) -> BTreeMap<PipelineId, PipelineDef> {
        self.all.iter().map(|(id, p)| (*id, p.def.clone())).collect()
    }

    /// The parent is gone: nothing is asked of it any more.
    pub(super) fn forget_parent(&mut self) {
        for pipeline in self.all.values_mut() {
            pipeline.upstream.clear();
            pipeline.asked = None;
        }
        self.awaiting = false;
    }

    /// Whether rows exist for a pipeline.
    pub(super) fn is_played(&self, id: PipelineId) -> bool {
        self.all.get(&id).is_some_and(|p| !p.rows.is_empty() || p.pinned)
    }

    /// How many rows the plane has been given.
    pub(super) fn rows(&self) -> usize {
        self.all.values().map(|p| p.rows.len()).sum()
    }

    /// The first index that was not received of each layer, by the plane's last report.
    pub(super) fn last_positions(&self) -> impl Iterator<Item = (Ssrc, PacketIndex)> + '_ {
        let next = |last: PacketIndex| PacketIndex((last.0 + 1).min(PacketIndex::MAX.0));
        self.report.layers.iter().filter_map(move |l| Some((l.ssrc, next(l.last?))))
    }
}

impl NodeCore {
    /// The definitions that this node knows.
    pub fn pipelines(&self) -> BTreeMap<PipelineId, PipelineDef> {
        self.pipelines.defs()
    }

    /// Rows in the forwarding plane's table, for metrics and tests.
    pub fn routes(&self) -> usize {
        self.pipelines.rows()
    }

    /// Defines a pipeline or replaces its definition; `false` if a limit forbids it. The root
    /// calls it for itself; elsewhere PIPEDEF does.
    pub fn define_pipeline(&mut self, def: PipelineDef) -> bool {
        let id = def.id;
        let known = self.pipelines.all.contains_key(&id);
        if def.ssrcs().count() > MAX_LAYERS || (!known && self.pipelines.all.len() >= MAX_PIPELINES)
        {
            return false;
        }
        let specs: Vec<LayerSpec> = def
            .tracks
            .iter()
            .flat_map(|t| t.layers.iter().map(move |l| (t, l)))
            .map(|(t, l)| LayerSpec {
                ssrc: l.ssrc,
                clock_rate: t.clock_rate,
                kind: t.codec.kind(),
            })
            .collect();
        match self.pipelines.all.get_mut(&id) {
            Some(known) if known.def == def => return true,
            Some(known) => {
                let same = known.def.tracks == def.tracks;
                known.def = def;
                if !same {
                    self.act(Action::Plane(PlaneCommand::DefinePipeline(id, specs)));
                }
            }
            None => {
                self.pipelines.all.insert(
                    id,
                    Pipeline {
                        def,
                        epochs: BTreeSet::new(),
                        wants: BTreeMap::new(),
                        pinned: false,
                        rows: BTreeSet::new(),
                        upstream: BTreeSet::new(),
                        asked: None,
                        from: BTreeMap::new(),
                        replayed: BTreeMap::new(),
                        path: Vec::new(),
                    },
                );
                self.act(Action::Plane(PlaneCommand::DefinePipeline(id, specs)));
            }
        }
        self.publish_pipelines();
        self.settle(id);
        true
    }

    /// Gives the plane the key of an epoch, unless it has it.
    pub fn add_key(&mut self, id: PipelineId, epoch: Epoch, key: PipelineKey) {
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else { return };
        if pipeline.epochs.len() < MAX_EPOCHS && pipeline.epochs.insert(epoch) {
            self.act(Action::Plane(PlaneCommand::AddKey(id, epoch, key)));
        }
    }

    /// Takes the key of an epoch from the plane.
    pub fn remove_key(&mut self, id: PipelineId, epoch: Epoch) {
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else { return };
        if pipeline.epochs.remove(&epoch) {
            self.act(Action::Plane(PlaneCommand::RemoveKey(id, epoch)));
        }
    }

    /// Forgets a pipeline and everything that was wanted of it.
    pub fn remove_pipeline(&mut self, id: PipelineId) {
        self.pipelines.local.remove(&id);
        self.timers.clear(&Timer::Linger(id));
        self.timers.clear(&Timer::PlayAgain(id));
        if self.pipelines.all.remove(&id).is_some() {
            self.act(Action::Plane(PlaneCommand::RemovePipeline(id)));
            self.publish_pipelines();
        }
    }

    fn publish_pipelines(&mut self) {
        let defs = Arc::new(self.pipelines.defs());
        self.act(Action::Pipelines(defs));
    }

    /// PIPEDEF, from the root.
    pub(super) fn on_pipe_def(&mut self, conn: ConnId, message: &Message, body: PipeDef) {
        self.put_out(&body.removed);
        let id = body.def.id;
        if !self.define_pipeline(body.def) {
            return self.refuse(
                conn,
                message,
                ErrorCode::Malformed,
                "too many pipelines or layers",
            );
        }
        if body.keys.is_empty() {
            return;
        }
        // Epochs that are no longer in use go first: they make room.
        let listed: BTreeSet<Epoch> = body.keys.iter().map(|k| k.epoch).collect();
        let known = self.pipelines.all.get(&id).map(|p| p.epochs.clone()).unwrap_or_default();
        for epoch in known.difference(&listed) {
            self.remove_key(id, *epoch);
        }
        for EpochKey { epoch, key } in body.keys.into_iter().take(MAX_EPOCHS) {
            if known.contains(&epoch) {
                continue;
            }
            let context = pipeline_key_context(self.id(), id, epoch);
            let plain = self.vault.unwrap(&context, &key);
            match plain.and_then(pipeline_key) {
                Some(key) => self.add_key(id, epoch, key),
                None => {
                    let text = "a pipeline key can't be unwrapped";
                    self.refuse(conn, message, ErrorCode::Unauthorized, text);
                }
            }
        }
    }

    /// ROUTEPIPELINE of the root: the path is kept, and answered with what is known here.
    pub(super) fn on_route_pipeline(
        &mut self,
        conn: ConnId,
        message: &Message,
        route: RoutePipeline,
    ) {
        let (me, parent) = (self.id().clone(), self.parent().cloned());
        let Some(pipeline) = self.pipelines.all.get_mut(&route.pipeline) else {
            let text = "no such pipeline here";
            return self.refuse(conn, message, ErrorCode::UnknownPipeline, text);
        };
        let place = route.path.iter().position(|id| *id == me);
        let above = place.and_then(|i| i.checked_sub(1)).and_then(|i| route.path.get(i));
        if place.is_none() || above.is_some_and(|id| Some(id) != parent.as_ref()) {
            let text = "the path does not lead here over this node's parent";
            return self.refuse(conn, message, ErrorCode::Internal, text);
        }
        pipeline.path = route.path;
        let info = self.info(route.pipeline);
        self.reply(conn, message, Body::PipeDefInfo(info));
    }

    /// The operator's path of a pipeline, if there is one.
    pub fn path(&self, id: PipelineId) -> Option<&[NodeId]> {
        self.pipelines.all.get(&id).map(|p| p.path.as_slice()).filter(|p| !p.is_empty())
    }

    pub(super) fn send_info(&mut self, conn: ConnId, id: PipelineId) {
        let info = self.info(id);
        self.send(conn, None, Body::PipeDefInfo(info));
    }

    /// What this node knows of a pipeline (positions are up to a second old).
    pub(super) fn info(&self, id: PipelineId) -> PipeDefInfo {
        let Some(pipeline) = self.pipelines.all.get(&id) else {
            return PipeDefInfo { pipeline: id, state: PipelineState::Unknown, layers: Vec::new() };
        };
        let newest = pipeline.epochs.last().copied().unwrap_or_default();
        let layers: Vec<LayerInfo> = self
            .pipelines
            .report
            .layers
            .iter()
            .filter(|l| l.pipeline == id)
            .filter_map(|l| {
                let last = l.last?;
                Some(LayerInfo {
                    ssrc: l.ssrc,
                    last,
                    first: l.first.unwrap_or(last),
                    epoch: l.epoch.unwrap_or(newest),
                })
            })
            .collect();
        let state = if layers.is_empty() { PipelineState::Idle } else { PipelineState::Flowing };
        PipeDefInfo { pipeline: id, state, layers }
    }
}

fn pipeline_key(mut plain: Vec<u8>) -> Option<PipelineKey> {
    let key = (plain.len() == 28).then(|| {
        let mut key = PipelineKey { key: [0; 16], salt: [0; 12] };
        key.key.copy_from_slice(&plain[..16]);
        key.salt.copy_from_slice(&plain[16..]);
        key
    });
    plain.zeroize();
    key
}
