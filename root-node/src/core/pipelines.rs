//! Pipelines at the root: definitions, key epochs and who is sent which key.

use super::api::RootOutput;
use super::tree::{FORGET_AFTER, Place};
use super::{RootCore, RootTimer};
use relay_node::control::api::pipeline_key_context;
use relay_node::media::api::PipelineKey;
use soleil_protocol::message::{PipeDef, RemovePipeline};
use soleil_protocol::pipeline::{EpochKey, PipelineDef};
use soleil_protocol::{Body, Epoch, Incarnation, Mono, NodeId, PipelineId, Role};
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroize;

/// How long a new key travels before packets are sealed with it: the depth of a tree in round
/// trips, and a good deal more.
const KEY_LEAD: Duration = Duration::from_secs(2);

/// How long an old epoch's key is kept by the nodes after the last packet was sealed with it:
/// longer than any ring or cache holds a packet.
const KEY_TAIL: Duration = Duration::from_secs(30);

/// Removed pipelines that are kept in mind, the latest: as many as there may be of those that are not.
const MAX_REMOVED: usize = 64;

/// How late the loss of a node may be noticed: three PINGs, and more than that.
const NOTICED_LATE: Duration = Duration::from_secs(20);

/// One pipeline.
pub(super) struct RootPipeline {
    pub(super) def: PipelineDef,
    keys: BTreeMap<Epoch, PipelineKey>,
    /// Packets are sealed with this one.
    pub(super) current: Epoch,
    /// Distributed, but not used yet.
    next: Option<Epoch>,
    /// A rotation was asked for while one was under way.
    again: bool,
}

impl RootCore {
    /// Defines a pipeline or changes its definition.
    pub(super) fn define(&mut self, def: PipelineDef) {
        let id = def.id;
        if !self.node.define_pipeline(def.clone()) {
            tracing::error!(pipeline = %id, "too many pipelines or layers");
            return;
        }
        self.touch();
        if let Some(pipeline) = self.pipelines.get_mut(&id) {
            if pipeline.def != def {
                pipeline.def = def.clone();
                self.node.broadcast(Body::PipeDef(PipeDef {
                    def,
                    keys: Vec::new(),
                    removed: Vec::new(),
                }));
            }
            return;
        }
        self.ended.remove(&id);
        let current = self.new_epoch();
        let key = self.new_key();
        self.node.add_key(id, current, key.clone());
        let keys = BTreeMap::from([(current, key.clone())]);
        let pipeline = RootPipeline { def, keys, current, next: None, again: false };
        self.pipelines.insert(id, pipeline);
        self.distribute(id);
        self.outputs.push_back(RootOutput::Key { pipeline: id, epoch: current, key });
    }

    /// Epochs are numbered by time, and above all that this root has told of, for whatever pipeline, in
    /// this start or (as far as the store knows) an earlier one: no number is used twice, though no keys
    /// are kept.
    fn new_epoch(&mut self) -> Epoch {
        let seconds = u32::try_from(self.now.wall.0 / 1_000_000).unwrap_or(u32::MAX);
        let epoch = Epoch(seconds).max(self.told.next_epoch());
        self.remember_epoch(epoch);
        epoch
    }

    fn new_key(&mut self) -> PipelineKey {
        let mut key = PipelineKey { key: [0; 16], salt: [0; 12] };
        self.authority.random(&mut key.key);
        self.authority.random(&mut key.salt);
        key
    }

    /// The source has come on air or gone.
    pub(super) fn set_live(&mut self, id: PipelineId, live: bool) {
        if let Some(mut def) = self.pipelines.get(&id).map(|p| p.def.clone()) {
            def.live = live;
            self.define(def);
        }
    }

    /// The pipeline is over.
    pub(super) fn remove(&mut self, id: PipelineId, reason: String) {
        if self.pipelines.remove(&id).is_some() {
            self.timers.clear(&RootTimer::UseKey(id));
            self.timers.clear(&RootTimer::DropKeys(id));
            self.node.remove_pipeline(id);
            self.node.broadcast(Body::RemovePipeline(RemovePipeline { pipeline: id, reason }));
            self.ended.insert(id, self.now.mono);
            let oldest = self.ended.iter().min_by_key(|(_, since)| **since).map(|(id, _)| *id);
            if let Some(oldest) = oldest.filter(|_| self.ended.len() > MAX_REMOVED) {
                self.ended.remove(&oldest);
            }
            self.touch();
        }
    }

    /// A new epoch: the key goes out at once and is used when everybody has it.
    pub(super) fn rotate(&mut self, id: PipelineId) {
        let Some(pipeline) = self.pipelines.get_mut(&id) else { return };
        if pipeline.next.is_some() {
            pipeline.again = true;
            return;
        }
        let (epoch, key) = (self.new_epoch(), self.new_key());
        let Some(pipeline) = self.pipelines.get_mut(&id) else { return };
        // At most the one in use and the one before it stay.
        let old: Vec<Epoch> =
            pipeline.keys.keys().copied().filter(|e| *e < pipeline.current).collect();
        for epoch in old.iter().rev().skip(1) {
            pipeline.keys.remove(epoch);
            self.node.remove_key(id, *epoch);
        }
        pipeline.keys.insert(epoch, key.clone());
        pipeline.next = Some(epoch);
        self.node.add_key(id, epoch, key);
        self.distribute(id);
        self.timers.set(RootTimer::UseKey(id), self.now.mono.after(KEY_LEAD));
    }

    /// Everybody has the new key.
    pub(super) fn use_key(&mut self, id: PipelineId) {
        let Some(pipeline) = self.pipelines.get_mut(&id) else { return };
        let Some(epoch) = pipeline.next.take() else { return };
        pipeline.current = epoch;
        let again = std::mem::take(&mut pipeline.again);
        if let Some(key) = pipeline.keys.get(&epoch).cloned() {
            self.outputs.push_back(RootOutput::Key { pipeline: id, epoch, key });
        }
        self.timers.set(RootTimer::DropKeys(id), self.now.mono.after(KEY_TAIL));
        self.touch();
        if again {
            self.rotate(id);
        }
    }

    /// Nobody holds packets of the old epochs any more.
    pub(super) fn drop_keys(&mut self, id: PipelineId) {
        let Some(pipeline) = self.pipelines.get_mut(&id) else { return };
        let old: Vec<Epoch> =
            pipeline.keys.keys().copied().filter(|e| *e < pipeline.current).collect();
        for epoch in old {
            pipeline.keys.remove(&epoch);
            self.node.remove_key(id, epoch);
        }
        self.distribute(id);
    }

    /// Sends a pipeline with its keys to every node.
    fn distribute(&mut self, id: PipelineId) {
        let removed = self.removed();
        for node in self.tree.in_order() {
            self.send_pipeline(&node, id, &removed);
        }
    }

    /// Sends every pipeline to a node that has come, and which are over since it was gone.
    pub(super) fn send_pipelines(&mut self, node: &NodeId, gone: Mono) {
        let ids: Vec<PipelineId> = self.pipelines.keys().copied().collect();
        let removed = self.removed();
        for id in ids {
            self.send_pipeline(node, id, &removed);
        }
        let stale = self.tree.get_mut(node).map(|n| std::mem::take(&mut n.stale));
        let mut stale = stale.unwrap_or_default();
        // One that was stopped when the node joined may have been started since.
        stale.retain(|id| !self.pipelines.contains_key(id));
        for id in &stale {
            // To everybody: what hangs below the node has missed the message as well.
            self.node.broadcast(over(*id));
        }
        // It may have been between two parents when others heard of these. Who is away longer is
        // forgotten, joins anew and says what it has.
        let now = self.now.mono;
        self.ended.retain(|_, since| now.since(*since) < FORGET_AFTER);
        // Its loss may have been noticed late.
        let missed = |since: Mono| now.since(gone) >= now.since(since).saturating_sub(NOTICED_LATE);
        let ended = self.ended.iter().filter(|(_, since)| missed(**since)).map(|(id, _)| id);
        for id in ended.filter(|id| !stale.contains(id)) {
            self.node.send_to(node, over(*id));
        }
    }

    fn send_pipeline(
        &mut self,
        id: &NodeId,
        pipeline: PipelineId,
        removed: &[(NodeId, Incarnation)],
    ) {
        let Some(node) = self.tree.get(id) else { return };
        if node.killed || node.place != Place::Attached {
            return;
        }
        let Some(entry) = self.pipelines.get(&pipeline) else { return };
        let mut keys = Vec::with_capacity(entry.keys.len());
        for (epoch, key) in &entry.keys {
            let context = pipeline_key_context(id, pipeline, *epoch);
            let mut secret = Vec::with_capacity(28);
            secret.extend_from_slice(&key.key);
            secret.extend_from_slice(&key.salt);
            let wrapped = self.authority.wrap(&node.wrap_key, &context, &secret);
            secret.zeroize();
            match wrapped {
                Ok(key) => keys.push(EpochKey { epoch: *epoch, key }),
                Err(error) => tracing::warn!(node = %id, error, "can't wrap a pipeline key"),
            }
        }
        let def = entry.def.clone();
        // Nobody has a link below a leaf. The list belongs to no pipeline: it goes with one of them.
        let is_first = self.pipelines.keys().next() == Some(&pipeline);
        let names = is_first && node.role != Role::Leaf;
        let removed = if names { removed.to_vec() } else { Vec::new() };
        self.node.send_to(id, Body::PipeDef(PipeDef { def, keys, removed }));
    }
}

/// REMOVEPIPELINE to who has missed it.
fn over(pipeline: PipelineId) -> Body {
    Body::RemovePipeline(RemovePipeline { pipeline, reason: "over while the node was away".into() })
}
