//! Who wants which layer of a pipeline, and what follows from it: the rows of the forwarding
//! plane's table and what is asked of the parent. One function ([`NodeCore::settle`]) compares what
//! should be with what is.

use super::NodeCore;
use super::api::{Action, ConnId};
use super::limits::{LINGER, MAX_PIPELINES, PLAY_AGAIN, POSITIONS_TIMEOUT};
use super::pipelines::{Target, Want};
use super::timers::Timer;
use crate::media::api::{NextHop, PlaneCommand};
use soleil_protocol::message::{ErrorCode, Play, Stop};
use soleil_protocol::{Body, LinkId, Message, Millis, PacketIndex, PipelineId, Ssrc};
use std::collections::{BTreeMap, BTreeSet};

fn hop(target: Target) -> NextHop {
    target.map_or(NextHop::Local, NextHop::Link)
}

impl NodeCore {
    /// PLAYPIPELINE of a child.
    pub(super) fn on_child_play(
        &mut self,
        conn: ConnId,
        media: LinkId,
        message: &Message,
        play: &Play,
    ) {
        let Some(pipeline) = self.pipelines.all.get_mut(&play.pipeline) else {
            let text = "no such pipeline here";
            return self.refuse(conn, message, ErrorCode::UnknownPipeline, text);
        };
        let known: BTreeSet<Ssrc> = pipeline.def.ssrcs().collect();
        let named: BTreeSet<Ssrc> =
            play.layers.iter().map(|(s, _)| *s).filter(|s| known.contains(s)).collect();
        if named.is_empty() && !play.layers.is_empty() {
            let text = "the pipeline has no such layer";
            return self.refuse(conn, message, ErrorCode::UnknownPipeline, text);
        }
        let now = self.now.mono;
        let positions: BTreeMap<Ssrc, PacketIndex> = play
            .layers
            .iter()
            .filter_map(|(s, from)| from.filter(|_| known.contains(s)).map(|f| (*s, f)))
            .filter(|(s, _)| pipeline.may_replay(media, *s, now))
            .collect();
        match pipeline.wants.get_mut(&media) {
            Some(Want::All) => {}
            Some(Want::Some(set)) if !play.layers.is_empty() => set.extend(named.iter().copied()),
            _ => {
                let want =
                    if play.layers.is_empty() { Want::All } else { Want::Some(named.clone()) };
                pipeline.wants.insert(media, want);
            }
        }
        for (ssrc, from) in &positions {
            if pipeline.rows.remove(&(*ssrc, Some(media))) {
                // Asked again with a position: the row is written anew, so that the ring resends.
                self.actions.push_back(Action::Plane(PlaneCommand::RemoveRoute {
                    pipeline: play.pipeline,
                    ssrc: *ssrc,
                    next: NextHop::Link(media),
                }));
            }
            if !pipeline.upstream.contains(ssrc) {
                let first = pipeline.from.entry(*ssrc).or_insert(*from);
                *first = (*first).min(*from);
            }
        }
        self.settle_from(play.pipeline, Some(media), &positions);
        self.send_info(conn, play.pipeline);
    }

    /// STOPPIPELINE of a child. Stopping what does not play is no error: it may cross a
    /// REMOVEPIPELINE.
    pub(super) fn on_child_stop(&mut self, media: LinkId, stop: &Stop) {
        let Some(pipeline) = self.pipelines.all.get_mut(&stop.pipeline) else { return };
        if stop.layers.is_empty() {
            pipeline.wants.remove(&media);
        } else if let Some(want) = pipeline.wants.get_mut(&media) {
            let mut set: BTreeSet<Ssrc> = match want {
                Want::All => pipeline.def.ssrcs().collect(),
                Want::Some(set) => std::mem::take(set),
            };
            set.retain(|s| !stop.layers.contains(s));
            if set.is_empty() {
                pipeline.wants.remove(&media);
            } else {
                *want = Want::Some(set);
            }
        }
        self.settle(stop.pipeline);
    }

    /// PLAYPIPELINE or STOPPIPELINE of the root: keep the pipeline flowing here, or no longer.
    pub(super) fn on_root_play(
        &mut self,
        conn: ConnId,
        message: &Message,
        id: PipelineId,
        play: bool,
    ) {
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else {
            let text = "no such pipeline here";
            return self.refuse(conn, message, ErrorCode::UnknownPipeline, text);
        };
        pipeline.pinned = play;
        self.settle(id);
    }

    /// This node itself wants a pipeline, or no longer.
    pub(super) fn want_local(&mut self, id: PipelineId, play: bool) {
        if !play {
            self.pipelines.local.remove(&id);
        } else if self.pipelines.local.len() < MAX_PIPELINES {
            self.pipelines.local.insert(id);
        }
        self.settle(id);
    }

    /// A child is gone: it wants nothing any more. The plane forgets its rows with the link.
    pub(super) fn forget_wants(&mut self, media: LinkId) {
        for pipeline in self.pipelines.all.values_mut() {
            pipeline.wants.remove(&media);
            pipeline.rows.retain(|(_, target)| *target != Some(media));
        }
        self.settle_all();
    }

    pub(super) fn settle_all(&mut self) {
        let ids: Vec<PipelineId> = self.pipelines.ids().collect();
        for id in ids {
            self.settle(id);
        }
    }

    /// There is a new parent: ask it for everything, from where the old one left off. Where that is
    /// the plane knows to the packet.
    pub(super) fn play_at_new_parent(&mut self) {
        self.pipelines.forget_parent();
        if self.pipelines.report.layers.is_empty() {
            return self.settle_all();
        }
        self.pipelines.awaiting = true;
        self.timers.set(Timer::Positions, self.now.mono.after(POSITIONS_TIMEOUT));
        self.act(Action::Plane(PlaneCommand::TellPositions));
    }

    /// The plane has told from where on to ask (`None`: it has not, so its last report has to do).
    pub(super) fn on_positions(&mut self, positions: Option<Vec<(Ssrc, PacketIndex)>>) {
        if !std::mem::take(&mut self.pipelines.awaiting) {
            return;
        }
        self.timers.clear(&Timer::Positions);
        let positions: BTreeMap<Ssrc, PacketIndex> = match positions {
            Some(positions) => positions.into_iter().collect(),
            None => self.pipelines.last_positions().collect(),
        };
        for (id, pipeline) in &mut self.pipelines.all {
            let own = pipeline.def.ssrcs().filter_map(|ssrc| Some((ssrc, *positions.get(&ssrc)?)));
            pipeline.from.extend(own.collect::<Vec<_>>());
            self.timers.clear(&Timer::Linger(*id));
        }
        self.settle_all();
    }

    /// Makes rows and requests agree with the wishes.
    pub(super) fn settle(&mut self, id: PipelineId) {
        self.settle_from(id, None, &BTreeMap::new());
    }

    fn settle_from(
        &mut self,
        id: PipelineId,
        target: Target,
        positions: &BTreeMap<Ssrc, PacketIndex>,
    ) {
        let local = self.pipelines.local.contains(&id);
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else { return };
        let mut rows = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for ssrc in pipeline.def.ssrcs() {
            let children = pipeline.wants.iter().filter(|(_, want)| want.has(ssrc));
            rows.extend(children.map(|(media, _)| (ssrc, Some(*media))));
            if local {
                rows.insert((ssrc, None));
            }
            if pipeline.pinned || rows.iter().any(|(s, _)| *s == ssrc) {
                wanted.insert(ssrc);
            }
        }
        for (ssrc, gone) in pipeline.rows.difference(&rows) {
            self.actions.push_back(Action::Plane(PlaneCommand::RemoveRoute {
                pipeline: id,
                ssrc: *ssrc,
                next: hop(*gone),
            }));
        }
        for (ssrc, new) in rows.difference(&pipeline.rows) {
            let from = positions.get(ssrc).filter(|_| *new == target).copied();
            self.actions.push_back(Action::Plane(PlaneCommand::AddRoute {
                pipeline: id,
                ssrc: *ssrc,
                next: hop(*new),
                from,
            }));
        }
        pipeline.rows = rows;
        self.ask_parent(id, &wanted);
    }

    /// Asks the parent for what is wanted and not asked for yet; what is no longer wanted lingers.
    fn ask_parent(&mut self, id: PipelineId, wanted: &BTreeSet<Ssrc>) {
        let time = self.now.wall.millis();
        let Some(conn) = self.parent_conn().filter(|_| !self.pipelines.awaiting) else { return };
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else { return };
        let missing: BTreeSet<Ssrc> = wanted.difference(&pipeline.upstream).copied().collect();
        let idle = pipeline.upstream.iter().any(|s| !wanted.contains(s));
        if idle {
            self.timers.set_if_idle(Timer::Linger(id), self.now.mono.after(LINGER));
        } else {
            self.timers.clear(&Timer::Linger(id));
        }
        if missing.is_empty() || self.timers.is_set(&Timer::PlayAgain(id)) {
            return;
        }
        let layers = missing.iter().map(|s| (*s, pipeline.from.remove(s))).collect();
        pipeline.upstream.extend(missing);
        pipeline.asked = Some(time);
        self.send(conn, None, Body::PlayPipeline(Play { pipeline: id, layers }));
    }

    /// Nobody has wanted some layers for a while.
    pub(super) fn on_linger(&mut self, id: PipelineId) {
        let Some(pipeline) = self.pipelines.all.get_mut(&id) else { return };
        let wanted: BTreeSet<Ssrc> = if pipeline.pinned {
            pipeline.def.ssrcs().collect()
        } else {
            pipeline.rows.iter().map(|(s, _)| *s).collect()
        };
        let idle: Vec<Ssrc> = pipeline.upstream.difference(&wanted).copied().collect();
        pipeline.upstream.retain(|s| wanted.contains(s));
        let layers = if pipeline.upstream.is_empty() { Vec::new() } else { idle.clone() };
        if let Some(conn) = self.parent_conn()
            && !idle.is_empty()
        {
            self.send(conn, None, Body::StopPipeline(Stop { pipeline: id, layers }));
        }
    }

    /// The parent did not know a pipeline that it was asked for.
    pub(super) fn on_play_refused(&mut self, failed: Option<Millis>) {
        let again = self.now.mono.after(PLAY_AGAIN);
        for (id, pipeline) in &mut self.pipelines.all {
            if failed.is_some() && pipeline.asked == failed {
                pipeline.upstream.clear();
                pipeline.asked = None;
                self.timers.set(Timer::PlayAgain(*id), again);
            }
        }
    }
}
