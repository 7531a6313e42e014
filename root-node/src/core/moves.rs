//! What the plan makes of the tree: moves, and REDIRECTs that name a node's backups. Which they are
//! is decided in `planner`; here they are carried out, a bounded number at a time.

use super::join::{BACKUP_TICKET_LIVES, JOIN_TICKET_LIVES, Refusal};
use super::tree::{Node, Place};
use super::{RootCore, RootTimer};
use crate::planner::drawing::Drawing;
use crate::planner::drawn::Drawn;
use relay_node::control::api::PlaneReport;
use soleil_protocol::message::{MoveMode, Redirect};
use soleil_protocol::{Body, NodeId};
use std::time::Duration;

/// Pause before the plan's consequences are drawn: what changes together is told together.
const PLAN_DELAY: Duration = Duration::from_millis(250);

/// Nodes whose backups are chosen anew at once: some milliseconds.
const SETTLED_AT_ONCE: usize = 1_024;

/// Nodes that are told of a change at once: up to four tickets each, half a millisecond of
/// cryptography a node.
const TOLD_AT_ONCE: usize = 64;

/// Nodes that are looked at for a better place at once, every sweep.
const LOOKED_AT_ONCE: usize = 256;

/// Moves that nobody is forced to, for each sweep of 2 s: 60 a minute.
const MOVES_PER_SWEEP: usize = 2;

/// How long a move may take from its REDIRECT on. A node that was moved in vain says so after five
/// seconds; of one that does not the order was lost, or has come too late.
const MOVE_TAKES: Duration = Duration::from_secs(20);

/// Moves that may be saved up.
const MOVES_AT_ONCE: usize = 30;

impl RootCore {
    /// Follows the operator's drawing from now on ([`crate::planner::Planner::follow`]).
    pub fn follow(&mut self, drawing: &Drawing, drawn: &Drawn) {
        self.tree.planner_mut().follow(drawing, drawn);
    }

    /// The plan may have changed.
    pub(super) fn plan_soon(&mut self) {
        self.timers.set_if_idle(RootTimer::Plan, self.now.mono.after(PLAN_DELAY));
    }

    /// Chooses backups anew where something has changed, and tells those whom it concerns.
    pub(super) fn on_plan(&mut self) {
        let demand = self.demand();
        let planner = self.tree.planner_mut();
        planner.set_demand(demand);
        let more = planner.settle(SETTLED_AT_ONCE);
        let news = planner.news(TOLD_AT_ONCE);
        for id in &news {
            self.tell(id);
        }
        if more || self.tree.planner().has_news() {
            self.plan_soon();
        }
    }

    /// What every child costs: all layers of all streams on air, in bits a second, as declared or
    /// as measured, whichever is more.
    fn demand(&self) -> u64 {
        let live = self.pipelines.values().filter(|p| p.def.live);
        let layers = live.flat_map(|p| &p.def.tracks).flat_map(|track| &track.layers);
        let declared = layers.map(|l| l.bitrate.unwrap_or(0)).fold(0, u64::saturating_add);
        declared.max(self.demand.bits())
    }

    /// Takes what the root has sealed in the last second.
    pub(super) fn measure(&mut self, report: &PlaneReport) {
        let ours = report.layers.iter().filter(|l| self.pipelines.contains_key(&l.pipeline));
        let bits = ours.map(|layer| layer.bitrate).fold(0, u64::saturating_add);
        if self.demand.measure(bits) {
            self.plan_soon();
        }
    }

    /// Sends a node its present parent and its backups.
    fn tell(&mut self, id: &NodeId) {
        let Some(mut node) = self.tree.get(id).cloned() else { return };
        if node.place != Place::Attached || node.killed || node.moving_to.is_some() {
            return;
        }
        match self.redirect(id, &mut node, BACKUP_TICKET_LIVES) {
            Ok(true) => self.tree.planner_mut().tell(id),
            Ok(false) => tracing::debug!(node = %id, "no way to tell it of its backups"),
            Err((_, text)) => tracing::warn!(node = %id, text, "no backups to offer"),
        }
    }

    fn redirect(&mut self, id: &NodeId, node: &mut Node, lives: Duration) -> Result<bool, Refusal> {
        let parents = self.offers(id, node, lives)?;
        let now = self.now.mono;
        if let Some(known) = self.tree.get_mut(id) {
            known.issued = node.issued;
            known.offered = now;
        }
        let rank = self.tree.planner().rank(id);
        let redirect = Redirect { rank, mode: MoveMode::Overlap, identity: None, parents };
        Ok(self.node.send_to(id, Body::Redirect(Box::new(redirect))))
    }

    /// Moves a node make before break; `false` if it can't be.
    pub(super) fn move_node(&mut self, id: &NodeId, parent: &NodeId) -> bool {
        let Some(node) = self.tree.get(id) else { return false };
        let here = node.parent.as_ref() == Some(parent);
        let possible =
            !here && self.tree.is_attached(id) && self.tree.planner().may_take(parent, id);
        possible && self.begin_move(id, parent)
    }

    fn begin_move(&mut self, id: &NodeId, parent: &NodeId) -> bool {
        self.tree.change(id, |node| node.moving_to = Some(parent.clone()));
        self.tree.planner_mut().back_up(id);
        let Some(mut node) = self.tree.get(id).cloned() else { return false };
        let sent = self.redirect(id, &mut node, JOIN_TICKET_LIVES);
        if let Err((_, text)) = &sent {
            tracing::warn!(node = %id, %parent, text, "can't move");
        }
        if sent.is_err() || sent == Ok(false) {
            self.tree.change(id, |node| node.moving_to = None);
            return false;
        }
        self.tree.planner_mut().tell(id);
        self.touch();
        true
    }

    /// A node is about to leave: its children go elsewhere first.
    pub(super) fn move_children_of(&mut self, leaving: &NodeId) {
        let of = |node: &Node| match &node.moving_to {
            Some(to) => to == leaving,
            None => node.parent.as_ref() == Some(leaving),
        };
        let children: Vec<NodeId> = self
            .tree
            .iter()
            .filter(|(_, n)| n.place == Place::Attached && of(n))
            .map(|(id, _)| id.clone())
            .collect();
        for id in children {
            match self.tree.planner().choose(&id, Some(leaving)) {
                Some(parent) if parent != *leaving => {
                    self.move_node(&id, &parent);
                }
                _ => tracing::warn!(node = %id, "no other parent has room"),
            }
        }
    }

    /// Nodes that have not gone where they were sent stay where they are, and are told so.
    pub(super) fn give_up_moves(&mut self) {
        let now = self.now.mono;
        let late = |n: &Node| n.moving_to.is_some() && now.since(n.offered) >= MOVE_TAKES;
        let late = self.tree.iter().filter(|(_, n)| late(n)).map(|(id, _)| id.clone());
        for id in late.collect::<Vec<_>>() {
            tracing::warn!(node = %id, "has not gone where it was sent");
            self.tree.change(&id, |node| node.moving_to = None);
            self.tree.planner_mut().forget_told(&id);
            self.plan_soon();
        }
    }

    /// Looks for places that are enough better, and gives tickets anew in time.
    pub(super) fn tidy(&mut self) {
        self.tree.trust_again(self.now.mono);
        self.tell_versions();
        self.tree.sync_all();
        self.moves_left = (self.moves_left + MOVES_PER_SWEEP).min(MOVES_AT_ONCE);
        if !self.node.is_stopping() {
            let moves = self.tree.planner_mut().improve(LOOKED_AT_ONCE, self.moves_left);
            self.moves_left = self.moves_left.saturating_sub(moves.len());
            for planned in moves {
                let (node, to) = (planned.node, planned.to);
                let gain_ms = planned.gain_micros / 1_000;
                tracing::info!(%node, from = %planned.from, %to, gain_ms, "is moved");
                if !self.begin_move(&node, &to) {
                    self.tree.sync(&node);
                }
            }
        }
        let now = self.now.mono;
        let old = |n: &Node| now.since(n.offered) >= BACKUP_TICKET_LIVES / 2;
        let due = self.tree.iter().filter(|(_, n)| n.place == Place::Attached && old(n));
        let planner = self.tree.planner();
        let due = due.map(|(id, _)| id).filter(|id| !planner.backups(id).is_empty());
        let due: Vec<NodeId> = due.take(TOLD_AT_ONCE).cloned().collect();
        for id in due {
            // Whatever comes of it: the others have their turn, too.
            if let Some(node) = self.tree.get_mut(&id) {
                node.offered = now;
            }
            self.tell(&id);
        }
    }
}
