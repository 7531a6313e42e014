//! What happens to a message: who may send it, where it goes, who handles it. The routing rule
//! itself is `soleil_protocol::routing`.

use super::NodeCore;
use super::api::{Action, ConnId};
use super::links::{Link, LinkState, Use};
use super::upcall::Upcall;
use crate::media::api::PlaneCommand;
use crate::refusals::Refusal;
use soleil_protocol::message::{Bye, Echo, ErrorCode, ErrorReport, FullStats, ReqFullStats};
use soleil_protocol::routing::{Arrival, Decision, Place, route};
use soleil_protocol::{Address, Body, Message, NodeId};

impl NodeCore {
    /// A message came.
    pub(super) fn on_message(&mut self, conn: ConnId, message: Message) {
        let now = self.now.mono;
        let weight = match self.links.get(conn).map(|link| &link.purpose) {
            Some(Use::Child(child)) => self.table.weight(child),
            _ => 0,
        };
        let Some(link) = self.links.get_mut(conn) else { return };
        if !link.spend(now, weight) {
            self.note_refusal(conn, Refusal::Flood, "too many messages");
            return self.lose(conn, "too many messages");
        }
        match link.state() {
            LinkState::Warm => self.on_warm_message(conn, message),
            LinkState::Primary | LinkState::Draining => self.on_tree_message(conn, message),
        }
    }

    /// A warm link carries PING, and what makes it primary or ends it.
    fn on_warm_message(&mut self, conn: ConnId, message: Message) {
        let Some(link) = self.links.get(conn) else { return };
        let purpose = link.purpose.clone();
        match (&message.body, &purpose) {
            (Body::Ping(_), _) => self.on_ping(conn, &message),
            (Body::Pong(echo), _) => self.on_pong(conn, echo),
            (Body::Bye(_), _) => self.lose(conn, "the peer said BYE"),
            (Body::Error(report), Use::Join | Use::Attempt) => {
                self.on_greeting_refused(conn, report.code, &report.text);
            }
            (Body::Error(report), Use::Backup) => self.backup_failed(&report.text),
            (Body::Error(_), _) => {}
            (Body::Hello(hello), Use::Stranger | Use::Joiner) => {
                let hello = hello.as_ref().clone();
                self.on_stranger_hello(conn, message, hello);
            }
            (Body::Hello(hello), Use::Attempt) => {
                let hello = hello.as_ref().clone();
                self.on_parent_hello(conn, &message, &hello);
            }
            (Body::Hello(hello), Use::Backup) => {
                let hello = hello.as_ref().clone();
                self.on_backup_hello(conn, &message, &hello);
            }
            (Body::Hello(hello), Use::Reserve(child)) => {
                self.on_promotion(conn, &message, child, hello.as_ref());
            }
            (Body::Redirect(redirect), Use::Join) if message.from == Some(Address::Root) => {
                let redirect = redirect.as_ref().clone();
                self.on_redirect(conn, &message, redirect);
            }
            _ => {
                let text = "this link is not in use yet: HELLO first";
                self.refuse_and_close(conn, &message, ErrorCode::Unauthorized, text);
            }
        }
    }

    /// A message on a link of the tree: checked, then routed.
    fn on_tree_message(&mut self, conn: ConnId, mut message: Message) {
        let Some(link) = self.links.get(conn) else { return };
        let up = link.is_up();
        let Some(neighbour) = link.id.clone() else { return };
        let place = Place { me: self.id(), root: self.is_root(), below: &self.table };
        let arrival = if up { Arrival::Parent(&neighbour) } else { Arrival::Child(&neighbour) };
        let decision = route(&place, arrival, &message);
        if decision != Decision::Handle && message.from.is_none() {
            message.from = Some(Address::Node(neighbour));
        }
        match decision {
            Decision::Handle => self.handle_message(conn, up, message),
            Decision::Forged => {
                self.refuse(conn, &message, ErrorCode::Forged, "`from` is not yours to use");
            }
            Decision::HandleAndDown { .. } if !up => {
                let text = "only the root speaks to everybody";
                self.refuse(conn, &message, ErrorCode::Forged, text);
            }
            Decision::HandleAndDown { .. } => {
                self.send_down(&message);
                self.handle_message(conn, up, message);
            }
            // Those above have not heard of a child whose media path is not open: they would take what
            // comes from it for forged, and us for the forger.
            Decision::Up if !up && self.links.get(conn).is_some_and(|link| !link.shown) => {
                tracing::debug!(?message.to, "a child that nobody knows yet speaks to those above");
            }
            Decision::Up => match self.way_up() {
                Some(parent) => self.forward(parent, message),
                None => tracing::debug!(?message.to, "no parent to send a message to"),
            },
            Decision::Down(child) => match self.links.child(&child) {
                Some(child) => self.forward(child, message),
                None => self.refuse(conn, &message, ErrorCode::UnknownNode, "no such node below"),
            },
            Decision::Unknown => {
                self.refuse(conn, &message, ErrorCode::UnknownNode, "no such node here");
            }
        }
    }

    /// A message for this node.
    fn handle_message(&mut self, conn: ConnId, up: bool, message: Message) {
        let from_root = message.from == Some(Address::Root);
        if from_root && up && matches!(message.body, Body::ReqFullStats(_)) {
            self.heard_root();
        }
        let neighbour = self.links.get(conn).and_then(|l| l.id.clone());
        let direct = match (&message.from, &neighbour) {
            (None, _) => true,
            (Some(Address::Node(from)), Some(neighbour)) => from == neighbour,
            // The root as the parent may sign as itself.
            (Some(Address::Root), _) => up,
            _ => false,
        };
        let media = self.links.get(conn).and_then(|l| l.media).filter(|_| !up);
        match message.body.clone() {
            Body::Ping(_) if direct => self.on_ping(conn, &message),
            Body::Pong(echo) if direct => self.on_pong(conn, &echo),
            Body::Bye(bye) if direct && message.to != Some(Address::Root) => {
                self.lose(conn, &bye.reason);
            }
            Body::ChildsUpdate(update) if direct && !up => {
                self.on_childs_update(conn, &message, &update);
            }
            Body::Stats(containers) if direct && !up => self.on_stats(conn, &message, containers),
            Body::PlayPipeline(play) => match media {
                Some(media) if direct => self.on_child_play(conn, media, &message, &play),
                _ if from_root => self.on_root_play(conn, &message, play.pipeline, true),
                _ => self.refuse_stranger(conn, &message),
            },
            Body::StopPipeline(stop) => match media {
                Some(media) if direct => self.on_child_stop(media, &stop),
                _ if from_root => self.on_root_play(conn, &message, stop.pipeline, false),
                _ => self.refuse_stranger(conn, &message),
            },
            Body::Error(report) => {
                if let Some(times) = self.log.note("error", 1, self.now.mono) {
                    tracing::warn!(code = ?report.code, text = %report.text, failed = %report.failed_type, times, "ERROR received");
                }
                if up && direct && report.code == ErrorCode::UnknownPipeline {
                    self.on_play_refused(report.failed_time);
                }
                if from_root
                    && report.code == ErrorCode::UnknownNode
                    && report.failed_type == "childsupdate"
                {
                    // The root was told of us, and has never heard of us or counts on another place.
                    self.not_believed();
                }
                if from_root
                    && report.code == ErrorCode::Unauthorized
                    && report.failed_type == "hello"
                {
                    // No new certificate: what we have to hear we hear from the root itself.
                    self.rejoin("the root does not renew the certificate");
                }
                self.call_root(conn, message);
            }
            Body::PipeDefInfo(info) => {
                tracing::debug!(pipeline = %info.pipeline, state = ?info.state, "PIPEDEFINFO");
                if message.to == Some(Address::Root) {
                    self.call_root(conn, message);
                }
            }
            Body::Hello(_) | Body::FullStats(_) | Body::Bye(_) if self.is_root() => {
                self.call_root(conn, message);
            }
            Body::PipeDef(body) if from_root => self.on_pipe_def(conn, &message, body),
            Body::RemovePipeline(body) if from_root => self.remove_pipeline(body.pipeline),
            Body::RoutePipeline(body) if from_root => self.on_route_pipeline(conn, &message, body),
            Body::Redirect(body) if from_root => self.on_redirect(conn, &message, *body),
            Body::Kill(kill) if from_root => self.on_kill(&kill),
            Body::ReqFullStats(body) if from_root => self.on_req_full_stats(conn, &message, body),
            _ => self.refuse_stranger(conn, &message),
        }
    }

    fn refuse_stranger(&mut self, conn: ConnId, message: &Message) {
        self.refuse(conn, message, ErrorCode::Unauthorized, "not from you, or not here");
    }

    /// Hands a message to the root's own core.
    fn call_root(&mut self, conn: ConnId, message: Message) {
        let neighbour = self.links.get(conn).and_then(|l| l.id.clone());
        let from = match &message.from {
            Some(Address::Node(id)) => Some(id.clone()),
            _ => neighbour,
        };
        if let (true, Some(from)) = (self.is_root(), from) {
            self.upcalls.push_back(Upcall::Message { from, conn, message });
        }
    }

    fn on_ping(&mut self, conn: ConnId, message: &Message) {
        if let Body::Ping(echo) = &message.body {
            let pong = Body::Pong(Echo { token: echo.token.clone() });
            self.send(conn, None, pong);
        }
    }

    fn on_pong(&mut self, conn: ConnId, echo: &Echo) {
        let now = self.now.mono;
        if let Some(link) = self.links.get_mut(conn) {
            link.ponged(&echo.token, now);
        }
    }

    fn on_req_full_stats(&mut self, conn: ConnId, message: &Message, request: ReqFullStats) {
        let containers = self.full_stats(request.pipeline);
        let end = Some(self.now.wall.0 / 1_000_000);
        let mut answer =
            self.message(Some(Address::Root), Body::FullStats(FullStats { containers, end }));
        answer.time = message.time;
        self.post(conn, answer);
    }

    /// Answers a routed message: back to its sender, over the link that it came on.
    pub(super) fn reply(&mut self, conn: ConnId, message: &Message, body: Body) {
        self.send(conn, message.from.clone(), body);
    }

    /// Answers what failed with ERROR, except an ERROR; closes a link that errs too often.
    pub(super) fn refuse(&mut self, conn: ConnId, message: &Message, code: ErrorCode, text: &str) {
        self.refuse_as(Refusal::of(code), conn, message, code, text);
    }

    /// The same for a reason that the code does not say.
    pub(super) fn refuse_as(
        &mut self,
        why: Option<Refusal>,
        conn: ConnId,
        message: &Message,
        code: ErrorCode,
        text: &str,
    ) {
        let failed = message.body.kind();
        if let Some(why) = why {
            self.note_refusal(conn, why, text);
        }
        tracing::debug!(?code, text, failed, from = ?message.from, "refused");
        self.refused += 1;
        if let Some(report) = ErrorReport::about(message, code, text) {
            // What a neighbour writes into `from` is believed only on links of the tree, where
            // routing has checked it: a stranger that calls itself `^` is answered as a neighbour.
            let warm = self.links.get(conn).is_none_or(|link| link.state() == LinkState::Warm);
            let to = message.from.clone().filter(|_| code != ErrorCode::Forged && !warm);
            self.send(conn, to, Body::Error(report));
        }
        if self.answers_for(conn, message) {
            self.count_error(conn);
        }
    }

    /// Whether a neighbour is to blame for what is wrong with a message: it is its own, or it should not
    /// have let it pass. What it only passes on others could cut it off by.
    fn answers_for(&self, conn: ConnId, message: &Message) -> bool {
        let Some(link) = self.links.get(conn) else { return false };
        let up = link.is_up();
        match &message.from {
            _ if link.state() == LinkState::Warm => true,
            Some(Address::Node(from)) if link.id.as_ref() == Some(from) => true,
            // Behind a child are its own; on the parent's side is everybody else, and the root, whose
            // word may be for somebody who is just gone.
            Some(Address::Node(from)) if up => {
                from == self.id() || self.table.next_hop(from).is_some()
            }
            // A node that is behind another child by now has moved, and its old parent has not heard
            // of that yet: what it still passes on is refused, but no fault of its. Nor is what comes
            // from below one that is hidden.
            Some(Address::Node(from)) => {
                let behind = |child: &NodeId| self.table.is_behind(child, from);
                self.table.next_hop(from).is_none() && !link.id.as_ref().is_some_and(behind)
            }
            Some(Address::Root) => !up,
            Some(Address::All) | None => true,
        }
    }

    /// Counts an error of a neighbour; too many end the link.
    pub(super) fn count_error(&mut self, conn: ConnId) {
        let now = self.now.mono;
        if self.links.get_mut(conn).is_some_and(|l| !l.err(now)) {
            self.note_refusal(conn, Refusal::Flood, "too many errors");
            self.lose(conn, "too many errors");
        }
    }

    /// Answers with ERROR and ends the link.
    pub(super) fn refuse_and_close(
        &mut self,
        conn: ConnId,
        message: &Message,
        code: ErrorCode,
        text: &str,
    ) {
        self.refuse(conn, message, code, text);
        self.lose(conn, text);
    }

    /// No HELLO in time, or a joiner that never left.
    pub(super) fn on_greeting_timeout(&mut self, conn: ConnId) {
        let text = "no HELLO, or joined and never left";
        self.note_refusal(conn, Refusal::Slow, text);
        self.lose(conn, text);
    }

    /// Ends a connection and does what follows from its end.
    pub(super) fn lose(&mut self, conn: ConnId, why: &str) {
        if let Some(link) = self.forget(conn) {
            self.act(Action::Close(conn, why.to_owned()));
            self.after_end(conn, &link, why);
        }
    }

    /// The driver says that a connection is gone.
    pub(super) fn on_closed(&mut self, conn: ConnId) {
        if let Some(link) = self.forget(conn) {
            self.after_end(conn, &link, "connection closed");
        }
    }

    fn after_end(&mut self, conn: ConnId, link: &Link, why: &str) {
        match &link.purpose {
            Use::Child(child) => self.child_gone(child, link),
            Use::Reserve(_) => {
                if let Some(media) = link.media {
                    self.act(Action::Plane(PlaneCommand::RemoveLink(media)));
                }
            }
            Use::Stranger | Use::Joiner => {}
            purpose => self.on_uplink_closed(conn, purpose, why),
        }
    }

    /// Says BYE and closes.
    pub(super) fn say_bye(&mut self, conn: ConnId, reason: &str) {
        self.send(conn, None, Body::Bye(Bye { reason: reason.to_owned() }));
        self.close(conn, reason);
    }
}
