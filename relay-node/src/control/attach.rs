//! The way up: attach to the parent that the root names, move to another one. Asking the root is in
//! `join`, life with a parent in `parent`. What hangs below is not touched here.

use super::NodeCore;
use super::api::{Action, ConnId, DialId, DialTarget, Lack, credential_context};
use super::backup::Backups;
use super::cutoff::CutOff;
use super::limits::{
    ATTACH_TIMEOUT, DIAL_DOUBLINGS, OPEN_MAX, OVERLAP_MAX, OVERTAKEN, PING_INTERVAL,
};
use super::links::{Link, Use};
use super::timers::Timer;
use crate::media::api::{HopCredential, HopLink, PeerSide, PlaneCommand};
use rand::Rng;
use soleil_protocol::message::{ErrorCode, ErrorReport, Hello, MoveMode, ParentOffer, Redirect};
use soleil_protocol::{Address, Body, LinkId, Message, Millis, NodeId, Rank};

/// What is under way towards the root and the parents.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    /// The connection to the root for joining.
    pub(super) join: Option<Dialing>,
    /// A parent that we are going to.
    pub(super) attempt: Option<Attempt>,
    /// Backups, and the warm link to one of them.
    pub(super) reserve: Backups,
    /// The parent.
    pub(super) parent: Option<Parent>,
    /// The parent that we are leaving.
    pub(super) old: Option<Parent>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// What we have said that we lack.
    pub(super) said: Option<Lack>,
    /// The root has not spoken to us for a while.
    pub(super) unheard: bool,
    /// The root may count on another place than ours: what it said when it was asked for one is not known or
    /// was of no avail, or it does not speak to us.
    pub(super) doubted: bool,
    /// How often it was asked since it last spoke to us, to be believed in the place that we have.
    pub(super) returns: u32,
    /// Who has no way to the root.
    pub(super) cut_off: CutOff,
    /// When the root sent the last REDIRECT that was followed.
    told: Millis,
    /// Our place in the plan.
    pub(super) rank: Rank,
    pub(super) next_dial: u64,
}

/// A dial and, once it worked, its connection.
#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) dial: DialId,
    pub(super) conn: Option<ConnId>,
    /// Whether the root has answered.
    pub(super) answered: bool,
}

/// An attach under way.
#[derive(Debug)]
pub(super) struct Attempt {
    dial: DialId,
    pub(super) conn: Option<ConnId>,
    offer: ParentOffer,
    credential: HopCredential,
    nonce: [u8; 16],
}

/// A parent that has answered our HELLO.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) conn: ConnId,
    pub(super) id: NodeId,
    pub(super) media: LinkId,
    /// Whether its media path is open at present.
    pub(super) open: bool,
    /// Whether it has ever been.
    pub(super) opened: bool,
}

impl NodeCore {
    /// The connection to the parent.
    pub(super) fn parent_conn(&self) -> Option<ConnId> {
        self.up.parent.as_ref().map(|p| p.conn)
    }

    /// The parent's id.
    pub fn parent(&self) -> Option<&NodeId> {
        self.up.parent.as_ref().map(|p| &p.id)
    }

    pub(super) fn next_dial(&mut self) -> DialId {
        self.up.next_dial += 1;
        DialId(self.up.next_dial)
    }

    /// A dial worked.
    pub(super) fn on_dialed(&mut self, dial: DialId, conn: ConnId) {
        let now = self.now.mono;
        if self.up.join.as_ref().is_some_and(|j| j.dial == dial && j.conn.is_none()) {
            if let Some(join) = &mut self.up.join {
                join.conn = Some(conn);
            }
            self.links.insert(conn, Link::new(now, Use::Join, None, None));
            let hello = self.join_hello();
            self.send(conn, Some(Address::Root), Body::Hello(Box::new(hello)));
        } else if self.up.attempt.as_ref().is_some_and(|a| a.dial == dial && a.conn.is_none()) {
            let Some((parent, hello)) = self.up.attempt.as_mut().map(|attempt| {
                attempt.conn = Some(conn);
                (attempt.offer.id.clone(), (attempt.offer.ticket.clone(), attempt.nonce))
            }) else {
                return;
            };
            let (ticket, nonce) = hello;
            let link = Link::new(now, Use::Attempt, None, Some(parent.clone()));
            self.links.insert(conn, link);
            let mut hello = self.hello();
            hello.ticket = Some(ticket);
            hello.nonce = Some(nonce.to_vec());
            self.send(conn, Some(Address::Node(parent)), Body::Hello(Box::new(hello)));
        } else if !self.on_backup_dialed(dial, conn) {
            self.act(Action::Close(conn, "no longer wanted".into()));
            return;
        }
        self.timers.set(Timer::Ping(conn), now.after(PING_INTERVAL));
    }

    /// A dial failed.
    pub(super) fn on_dial_failed(&mut self, dial: DialId, error: &str, refused: bool) {
        if self.up.join.as_ref().is_some_and(|j| j.dial == dial) {
            if refused || self.up.failures.max(self.up.returns) <= DIAL_DOUBLINGS {
                tracing::warn!(error, refused, "the root can't be reached");
            }
            self.end_join("dial failed");
            if !refused {
                self.up.failures = self.up.failures.min(DIAL_DOUBLINGS);
            }
            self.back_off(refused);
        } else if self.up.attempt.as_ref().is_some_and(|a| a.dial == dial) {
            self.attempt_failed(error);
        } else {
            self.on_backup_dial_failed(dial, error);
        }
    }

    /// What every HELLO of ours says.
    pub(super) fn hello(&self) -> Hello {
        Hello {
            server: self.params.server.clone(),
            pipelines: self.pipelines.ids().collect(),
            role: Some(self.params.role),
            incarnation: self.identity.as_ref().map(|i| i.incarnation).unwrap_or_default(),
            capacity: self.params.capacity,
            region: self.params.region.clone(),
            labels: self.params.labels.clone(),
            media: self.params.media.clone(),
            http: self.params.http.clone(),
            version: self.speaks,
            ..Hello::new(self.id().clone())
        }
    }

    /// A REDIRECT from the root, over the join connection or the tree.
    pub(super) fn on_redirect(&mut self, conn: ConnId, message: &Message, redirect: Redirect) {
        let join = self.up.join.as_mut().filter(|j| j.conn == Some(conn));
        let joining = join.map(|join| join.answered = true).is_some();
        // One that took the way over the old parent may come after a later one over the new.
        let late = self.up.told.0.saturating_sub(message.time.0);
        if !joining && late > 0 && late < OVERTAKEN.as_millis() as u64 {
            return tracing::debug!(late, "a REDIRECT that a later one has overtaken");
        }
        if !redirect.parents.is_empty() {
            self.timers.clear(&Timer::Return);
            self.up.told = message.time;
            if !joining {
                // It came down the tree.
                self.believed();
            }
        }
        if joining && let Some(skew) = self.root_clock.learn(self.now.mono, message.time) {
            tracing::warn!("this machine's clock is {skew}: set it right (NTP)");
        }
        if joining {
            self.now = self.root_clock.again(self.now.mono);
        }
        if let Some(identity) = redirect.identity {
            if let Err(why) = self.check_identity(&identity, joining) {
                tracing::error!(why, "the identity is not taken");
                self.refuse(conn, message, ErrorCode::Unauthorized, &why);
                if joining {
                    self.doubt();
                    self.end_join("an identity that is none");
                    self.back_off(true);
                }
                return;
            }
            self.take_identity(identity);
        }
        let Some(identity) = self.identity.clone() else {
            return self.refuse(conn, message, ErrorCode::Malformed, "REDIRECT without identity");
        };
        // One without parents renews the certificate and says nothing of the plan.
        let ranked = !redirect.parents.is_empty() && self.up.rank != redirect.rank;
        if ranked {
            self.up.rank = redirect.rank;
        }
        let mut parents = redirect.parents.into_iter().filter(|p| p.id != identity.id);
        let Some(first) = parents.next() else {
            if joining {
                self.end_join("no parent offered");
                self.back_off(false);
            }
            return;
        };
        let backups = parents.collect();
        // A root that was asked counts on the ticket of its answer, even for the parent that is there.
        if self.parent() == Some(&first.id) && !joining {
            self.set_backups(backups, ranked);
            return self.keep_warm();
        }
        self.timers.clear(&Timer::Join);
        self.timers.clear(&Timer::Seek);
        self.up.doubted &= !joining;
        self.end_attempt("another parent");
        if redirect.mode == MoveMode::Overlap && self.is_warm(&first.id) && self.promote_backup() {
            tracing::info!(parent = %first.id, "moved to the backup");
            self.set_backups(backups, true);
            return self.keep_warm();
        }
        self.set_backups(backups, true);
        // One that was asked for a place knows nothing of a parent that is there: it is kept until there is
        // another, even where it has no way just now, or is the one that is named (and takes the new
        // link in place of the old one).
        let there = |parent: &Option<Parent>| parent.as_ref().is_some_and(|p| p.open);
        let stays = joining && (there(&self.up.parent) || there(&self.up.old));
        if redirect.mode == MoveMode::AtOnce && !stays {
            self.leave_parent("moved");
        }
        self.attempt(first);
    }

    /// Goes to a parent.
    fn attempt(&mut self, offer: ParentOffer) {
        let context = credential_context(self.id(), offer.link);
        let secret = self.vault.unwrap(&context, &offer.credential);
        let Some(secret) = secret.and_then(|s| <[u8; 32]>::try_from(s).ok()) else {
            return self.not_to_be_had(&offer.id, "the hop credential can't be unwrapped");
        };
        let nonce = self.rng.random();
        let dial = self.next_dial();
        let target = DialTarget::Node(offer.id.clone(), offer.server.clone());
        let credential = HopCredential(secret);
        self.up.attempt = Some(Attempt { dial, conn: None, offer, credential, nonce });
        self.timers.set(Timer::Attach, self.now.mono.after(ATTACH_TIMEOUT));
        self.act(Action::Dial(dial, target));
    }

    /// The parent that we are going to is not to be had: the next offer, or the root again.
    pub(super) fn attempt_failed(&mut self, why: &str) {
        let Some(attempt) = &self.up.attempt else { return };
        let parent = attempt.offer.id.clone();
        self.end_attempt(why);
        self.not_to_be_had(&parent, why);
    }

    fn not_to_be_had(&mut self, parent: &NodeId, why: &str) {
        tracing::warn!(%parent, why, "attach failed");
        let Some(conn) = self.parent_conn() else { return self.next_offer(why) };
        let asked = self.up.join.is_some();
        if asked
            && self.parent_is_cut_off()
            && let Some(offer) = self.next_elsewhere()
        {
            return self.attempt(offer);
        }
        let text = format!("attach to {parent} failed: {why}");
        // A move: stay, and let the root know. If it was asked for the move it takes no news of where
        // we are, and is asked again.
        self.say_move_failed(conn, &text);
        self.end_join(why);
        self.up.doubted |= asked;
        self.return_later();
        self.keep_warm();
    }

    /// Tells the root that its REDIRECT was not to be followed. (`time` of the REDIRECT is not kept.)
    pub(super) fn say_move_failed(&mut self, conn: ConnId, text: &str) {
        let report = ErrorReport {
            code: ErrorCode::Internal,
            text: text.to_owned(),
            failed_time: None,
            failed_type: "redirect".into(),
        };
        self.send(conn, Some(Address::Root), Body::Error(report));
    }

    /// The next backup that is not the parent.
    fn next_elsewhere(&mut self) -> Option<ParentOffer> {
        loop {
            let offer = self.next_backup()?;
            if self.parent() != Some(&offer.id) {
                return Some(offer);
            }
        }
    }

    /// Without a parent: to the next backup, or else to the root.
    pub(super) fn next_offer(&mut self, why: &str) {
        match self.next_backup() {
            Some(offer) => self.attempt(offer),
            None => {
                self.end_join(why);
                self.back_off(false);
            }
        }
    }

    pub(super) fn end_attempt(&mut self, why: &str) {
        self.timers.clear(&Timer::Attach);
        if let Some(conn) = self.up.attempt.take().and_then(|a| a.conn) {
            self.close(conn, why);
        }
    }

    /// HELLO from a parent that we greeted: the link is primary.
    pub(super) fn on_parent_hello(&mut self, conn: ConnId, message: &Message, hello: &Hello) {
        let Some(attempt) = self.up.attempt.as_ref().filter(|a| a.conn == Some(conn)) else {
            return self.refuse(conn, message, ErrorCode::Malformed, "HELLO is not awaited");
        };
        let nonce = hello.nonce.as_deref().and_then(|n| <[u8; 16]>::try_from(n).ok());
        let version = self.common_version(hello.version);
        let (Some(parent_nonce), Some(version)) = (nonce, version) else {
            let code = if version.is_none() { ErrorCode::Version } else { ErrorCode::Malformed };
            self.refuse(conn, message, code, "HELLO without a nonce or of another version");
            return self.attempt_failed("the parent's HELLO makes no sense");
        };
        if hello.name != attempt.offer.id {
            self.refuse(conn, message, ErrorCode::Forged, "another name than dialed");
            return self.attempt_failed("the parent has another name");
        }
        let Some(attempt) = self.up.attempt.take() else { return };
        self.timers.clear(&Timer::Attach);
        self.leave_for_the_next();
        let media = attempt.offer.link;
        self.act(Action::Plane(PlaneCommand::AddLink(HopLink {
            id: media,
            peer: PeerSide::Parent,
            child: self.id().clone(),
            addresses: attempt.offer.media,
            credential: attempt.credential,
            child_nonce: attempt.nonce,
            parent_nonce,
            standby: false,
        })));
        self.links.repurpose(conn, Use::Parent);
        if let Some(link) = self.links.get_mut(conn) {
            link.version = version;
            link.media = Some(media);
        }
        let parent = Parent { conn, id: attempt.offer.id, media, open: false, opened: false };
        tracing::info!(parent = %parent.id, "attached");
        let old = self.up.parent.replace(parent);
        let was_attached = old.is_some();
        if let Some(old) = old {
            self.links.repurpose(old.conn, Use::OldParent);
            self.up.old = Some(old);
            self.timers.set(Timer::Overlap, self.now.mono.after(OVERLAP_MAX));
        }
        self.timers.clear(&Timer::Seek);
        self.timers.set(Timer::Silence, self.now.mono.after(OPEN_MAX));
        self.up.failures = 0;
        self.placed();
        self.announce_subtree(conn);
        self.play_at_new_parent();
        if !was_attached {
            self.act(Action::Attached(true));
        }
        self.keep_warm();
    }

    /// ERROR on a connection on which we said HELLO.
    pub(super) fn on_greeting_refused(&mut self, conn: ConnId, code: ErrorCode, text: &str) {
        if self.up.join.as_ref().is_some_and(|j| j.conn == Some(conn)) {
            tracing::warn!(?code, text, "the root refuses us");
            self.up.join.iter_mut().for_each(|join| join.answered = true);
            self.end_join("refused");
            if self.up.attempt.is_none() {
                self.back_off(matches!(code, ErrorCode::Unauthorized | ErrorCode::Version));
            }
        } else if self.up.attempt.as_ref().is_some_and(|a| a.conn == Some(conn)) {
            self.attempt_failed(text);
        }
    }

    /// Ends everything that leads up; for stopping.
    pub(super) fn abandon_uplink(&mut self, reason: &str) {
        self.timers.clear(&Timer::Seek);
        self.end_attempt(reason);
        self.end_join(reason);
        self.drop_backup(reason);
        self.leave_parent(reason);
    }
}
