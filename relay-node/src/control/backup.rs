//! The warm link to a backup, and failing over to it (DESIGN 6.2 and 6.4).
//!
//! The root's REDIRECT names backups behind the parent. The first of them that answers is greeted
//! with `warm` and its media path opened, so that when the parent is gone one HELLO is all that it
//! takes: no dial, no TLS, no STUN. Ranks keep it from closing a loop: the plan offers a node only
//! backups of a lower rank, and whoever is asked refuses a rank that is not above its own.

use super::NodeCore;
use super::api::{Action, ConnId, DialId, DialTarget, credential_context};
use super::attach::Parent;
use super::limits::{
    ATTACH_TIMEOUT, MAX_OFFERS, OPEN_MAX, OVERLAP, PING_INTERVAL, SILENCE_MAX, TICKET_TRUSTED,
    WARM_AGAIN, WARM_PAUSE,
};
use super::links::{Link, Use};
use super::timers::Timer;
use crate::media::api::{HopCredential, HopLink, PeerSide, PlaneCommand};
use rand::Rng;
use soleil_protocol::message::{ErrorCode, Hello, ParentOffer, WARM_VERSION};
use soleil_protocol::{Address, Body, LinkId, Message, Mono, NodeId};

/// The backups that the plan names, and the warm link to one of them.
#[derive(Debug, Default)]
pub(super) struct Backups {
    /// In the plan's order. The one in use stays in it, for the day that it has to be dialed again.
    offers: Vec<ParentOffer>,
    /// Which offer is in use, or tried next.
    turn: usize,
    /// Failures in a row.
    failures: u32,
    /// How many were given up since the plan was told, for having no way to the root.
    given_up: usize,
    /// When the plan was told.
    told: Mono,
    /// The last one that was not to be had.
    failed: Option<NodeId>,
    link: Option<WarmLink>,
    /// What was last said of it.
    said: bool,
}

/// A link to a backup, from the dial on.
#[derive(Debug)]
struct WarmLink {
    dial: DialId,
    conn: Option<ConnId>,
    id: NodeId,
    media: LinkId,
    /// Needed until the backup has answered.
    opening: Option<Opening>,
    /// Whether its media path is open and not silent.
    open: bool,
}

#[derive(Debug)]
struct Opening {
    offer: ParentOffer,
    credential: HopCredential,
    nonce: [u8; 16],
}

impl Backups {
    /// The media link to a backup, once that has answered.
    pub(super) fn media(&self) -> Option<LinkId> {
        self.link.as_ref().filter(|l| l.opening.is_none()).map(|l| l.media)
    }
}

impl NodeCore {
    /// The backup whose link is ready to take over at once.
    pub fn backup(&self) -> Option<&NodeId> {
        let link = self.up.reserve.link.as_ref();
        link.filter(|l| l.opening.is_none() && l.open).map(|l| &l.id)
    }

    /// The backup and the media link to it, once it has answered.
    pub(super) fn backup_link(&self) -> Option<(&NodeId, LinkId)> {
        let link = self.up.reserve.link.as_ref();
        link.filter(|l| l.opening.is_none()).map(|l| (&l.id, l.media))
    }

    /// Says so if there is a backup to fail over to, or no longer.
    pub(super) fn say_reserve(&mut self) {
        let ready = self.backup().is_some();
        if std::mem::replace(&mut self.up.reserve.said, ready) != ready {
            self.act(Action::Reserve(ready));
        }
    }

    /// The plan's backups. Behind another parent than before, or with another rank of ours
    /// (`renewed`), what the warm link's ticket says is out of date: the link is made anew. [`Self::keep_warm`]
    /// dials.
    pub(super) fn set_backups(&mut self, offers: Vec<ParentOffer>, renewed: bool) {
        let own = self.id().clone();
        let reserve = &mut self.up.reserve;
        reserve.offers = offers.into_iter().filter(|o| o.id != own).take(MAX_OFFERS).collect();
        reserve.turn = 0;
        reserve.failures = 0;
        reserve.given_up = 0;
        reserve.told = self.now.mono;
        if let Some(link) = &reserve.link {
            let place = reserve.offers.iter().position(|o| o.id == link.id);
            // The plan has kept a place free at the first. If that one was not to be had, a link that
            // stands is better than trying it again.
            let failed = reserve.failed.is_some()
                && reserve.failed.as_ref() == reserve.offers.first().map(|o| &o.id);
            let wanted = place.filter(|at| *at == 0 || (link.opening.is_none() && failed));
            match wanted.filter(|_| !renewed) {
                Some(at) => reserve.turn = at,
                None => self.drop_backup("another backup, or another ticket"),
            }
        }
    }

    /// The next offer to dial when there is no parent and no warm link that could take over. Each
    /// is given once: its ticket may be of no use any more.
    pub(super) fn next_backup(&mut self) -> Option<ParentOffer> {
        let reserve = &mut self.up.reserve;
        if reserve.offers.is_empty() {
            return None;
        }
        let turn = std::mem::take(&mut reserve.turn) % reserve.offers.len();
        // Those before it have older incarnations: nobody would believe in them afterwards.
        reserve.offers.drain(..=turn).next_back()
    }

    /// Dials a backup, unless one is there or under way.
    pub(super) fn keep_warm(&mut self) {
        let parent = self.parent().cloned();
        let old = self.up.old.as_ref().map(|old| old.id.clone());
        let reserve = &mut self.up.reserve;
        // The one that has become the parent is no backup any more.
        reserve.offers.retain(|o| Some(&o.id) != parent.as_ref());
        let idle = reserve.link.is_none() && self.stopping.is_none() && parent.is_some();
        if !idle || self.timers.is_set(&Timer::Warm) {
            return;
        }
        let Some(offer) = self.next_warm() else { return };
        if Some(&offer.id) == old.as_ref() {
            // It takes us for its child until we have left it.
            self.timers.set(Timer::Warm, self.now.mono.after(OVERLAP + WARM_AGAIN));
            return;
        }
        let context = credential_context(self.id(), offer.link);
        let secret = self.vault.unwrap(&context, &offer.credential);
        let Some(secret) = secret.and_then(|s| <[u8; 32]>::try_from(s).ok()) else {
            tracing::warn!(backup = %offer.id, "the hop credential can't be unwrapped");
            return self.backup_failed("the hop credential can't be unwrapped");
        };
        let dial = self.next_dial();
        let (id, server) = (offer.id.clone(), offer.server.clone());
        let nonce = self.rng.random();
        self.up.reserve.link = Some(WarmLink {
            dial,
            conn: None,
            id: id.clone(),
            media: offer.link,
            opening: Some(Opening { offer, credential: HopCredential(secret), nonce }),
            open: false,
        });
        self.timers.set(Timer::Warm, self.now.mono.after(ATTACH_TIMEOUT));
        self.act(Action::Dial(dial, DialTarget::Node(id, server)));
    }

    /// The next offer, from the one on whose turn it is, of a node that knows what a warm link is. One
    /// of an older version would take us for its child; it is dialed when it is needed.
    fn next_warm(&mut self) -> Option<ParentOffer> {
        let knows = |version: u32| version.min(self.speaks) >= WARM_VERSION;
        let reserve = &mut self.up.reserve;
        let count = reserve.offers.len();
        let turns = (0..count).map(|n| (reserve.turn + n) % count);
        let turn = turns.into_iter().find(|at| knows(reserve.offers[*at].version))?;
        reserve.turn = turn;
        Some(reserve.offers[turn].clone())
    }

    fn warm_later(&mut self) {
        let reserve = &mut self.up.reserve;
        let pause = WARM_AGAIN.saturating_mul(1 << reserve.failures.min(8)).min(WARM_PAUSE);
        reserve.failures = reserve.failures.saturating_add(1);
        let share = self.rng.random_range(750..1_250_u32);
        let pause = pause.saturating_mul(share) / 1_000;
        self.timers.set(Timer::Warm, self.now.mono.after(pause));
    }

    /// The warm link owes an answer or an open media path, or it is time to try again.
    pub(super) fn on_warm_timer(&mut self) {
        match &self.up.reserve.link {
            Some(link) if link.opening.is_some() => self.backup_failed("no answer"),
            Some(link) if !link.open => self.backup_failed("its media path is not open"),
            Some(_) => {}
            None => self.keep_warm(),
        }
    }

    /// The dial to a backup worked; `false` if it was not one of ours.
    pub(super) fn on_backup_dialed(&mut self, dial: DialId, conn: ConnId) -> bool {
        let now = self.now.mono;
        let link = self.up.reserve.link.as_mut().filter(|l| l.dial == dial && l.conn.is_none());
        let Some(link) = link else { return false };
        let Some(opening) = &link.opening else { return false };
        link.conn = Some(conn);
        let (id, ticket, nonce) = (link.id.clone(), opening.offer.ticket.clone(), opening.nonce);
        self.links.insert(conn, Link::new(now, Use::Backup, None, Some(id.clone())));
        let mut hello = self.hello();
        hello.ticket = Some(ticket);
        hello.nonce = Some(nonce.to_vec());
        hello.warm = true;
        self.send(conn, Some(Address::Node(id)), Body::Hello(Box::new(hello)));
        self.timers.set(Timer::Ping(conn), now.after(PING_INTERVAL));
        true
    }

    /// The dial to a backup failed; `false` if it was not one of ours.
    pub(super) fn on_backup_dial_failed(&mut self, dial: DialId, error: &str) -> bool {
        let ours = self.up.reserve.link.as_ref().is_some_and(|l| l.dial == dial);
        if ours {
            self.backup_failed(error);
        }
        ours
    }

    /// HELLO of a backup: the link is warm.
    pub(super) fn on_backup_hello(&mut self, conn: ConnId, message: &Message, hello: &Hello) {
        let nonce = hello.nonce.as_deref().and_then(|n| <[u8; 16]>::try_from(n).ok());
        let version = self.common_version(hello.version);
        let link = self.up.reserve.link.as_mut().filter(|l| l.conn == Some(conn));
        let Some(link) = link else { return };
        let named = hello.name == link.id && hello.warm;
        let (Some(parent_nonce), Some(version), true) = (nonce, version, named) else {
            let text = "a backup answers with its name, a nonce, and that the link is warm";
            self.refuse(conn, message, ErrorCode::Malformed, text);
            return self.backup_failed("its HELLO makes no sense");
        };
        let Some(opening) = link.opening.take() else { return };
        let media = link.media;
        tracing::info!(backup = %link.id, "the link to the backup is warm");
        self.timers.set(Timer::Warm, self.now.mono.after(OPEN_MAX));
        if let Some(link) = self.links.get_mut(conn) {
            link.version = version;
            link.media = Some(media);
        }
        self.act(Action::Plane(PlaneCommand::AddLink(HopLink {
            id: media,
            peer: PeerSide::Parent,
            child: self.id().clone(),
            addresses: opening.offer.media,
            credential: opening.credential,
            child_nonce: opening.nonce,
            parent_nonce,
            standby: true,
        })));
    }

    /// The plane says whether the path to the backup is open; `false` if it is another link's.
    pub(super) fn on_backup_media(&mut self, media: LinkId, open: bool) -> bool {
        let reserve = &mut self.up.reserve;
        let link = reserve.link.as_mut().filter(|l| l.media == media && l.opening.is_none());
        let Some(link) = link else { return false };
        link.open = open;
        if open {
            reserve.failures = 0;
            self.timers.clear(&Timer::Warm);
        } else {
            self.timers.set(Timer::Warm, self.now.mono.after(SILENCE_MAX));
        }
        true
    }

    /// The parent is silent, and so is the backup, or it is not there yet: the next one, at once.
    pub(super) fn hurry_backup(&mut self) {
        if self.up.reserve.link.as_ref().is_none_or(|l| l.opening.is_none()) {
            self.drop_backup("it is silent, too");
            self.next_turn();
            self.keep_warm();
        }
    }

    /// The backup is of no use just now: the next one. Each has its turn once, the first one again at
    /// the end; and never is a link that stands given up for a ticket that may have run out.
    pub(super) fn try_another_backup(&mut self, why: &str) {
        let reserve = &mut self.up.reserve;
        let fresh = self.now.mono.since(reserve.told) < TICKET_TRUSTED;
        if reserve.offers.len() > 1 && reserve.given_up < reserve.offers.len() && fresh {
            reserve.given_up += 1;
            self.backup_failed(why);
        }
    }

    fn next_turn(&mut self) {
        let reserve = &mut self.up.reserve;
        reserve.turn = (reserve.turn + 1) % reserve.offers.len().max(1);
    }

    /// The backup is not to be had, or no more: the next one, after a pause.
    pub(super) fn backup_failed(&mut self, why: &str) {
        if let Some(link) = &self.up.reserve.link {
            tracing::warn!(backup = %link.id, why, "no warm link to the backup");
            self.up.reserve.failed = Some(link.id.clone());
        }
        self.drop_backup(why);
        self.next_turn();
        self.warm_later();
    }

    /// Ends the warm link.
    pub(super) fn drop_backup(&mut self, why: &str) {
        self.timers.clear(&Timer::Warm);
        let Some(link) = self.up.reserve.link.take() else { return };
        if link.opening.is_none() {
            self.act(Action::Plane(PlaneCommand::RemoveLink(link.media)));
        }
        if let Some(conn) = link.conn {
            self.close(conn, why);
        }
    }

    /// A connection to a backup is gone.
    pub(super) fn on_backup_closed(&mut self, conn: ConnId, why: &str) {
        if self.up.reserve.link.as_ref().is_some_and(|l| l.conn == Some(conn)) {
            self.backup_failed(why);
        }
    }

    /// Whether the root's offer is the backup whose link is warm.
    pub(super) fn is_warm(&self, id: &NodeId) -> bool {
        self.backup() == Some(id)
    }

    /// The parent is gone or silent: the backup takes its place. `false` if there is none that is
    /// ready.
    pub(super) fn fail_over(&mut self, why: &str) -> bool {
        if self.stopping.is_some() || !self.promote_backup() {
            return false;
        }
        tracing::warn!(parent = ?self.parent().map(NodeId::as_str), why, "failed over");
        self.act(Action::FailedOver);
        self.keep_warm();
        true
    }

    /// The backup becomes the parent. One that is there still (silent, or left on the root's order)
    /// is kept for the overlap: what it sends is welcome.
    pub(super) fn promote_backup(&mut self) -> bool {
        if self.backup().is_none() {
            return false;
        }
        let Some(link) = self.up.reserve.link.take() else { return false };
        let Some(conn) = link.conn else { return false };
        // Offers before it have older incarnations: those above would not believe in them any more.
        let offers = &mut self.up.reserve.offers;
        let older = offers.iter().position(|o| o.link == link.media).map_or(0, |at| at + 1);
        offers.drain(..older);
        self.up.reserve.turn = 0;
        self.up.reserve.given_up = 0;
        self.end_attempt("the backup takes over");
        self.leave_old_parent();
        self.links.repurpose(conn, Use::Parent);
        let hello = self.hello();
        self.send(conn, Some(Address::Node(link.id.clone())), Body::Hello(Box::new(hello)));
        self.act(Action::Plane(PlaneCommand::Promote(link.media)));
        let parent = Parent { conn, id: link.id, media: link.media, open: true, opened: true };
        self.timers.clear(&Timer::Silence);
        self.timers.clear(&Timer::Seek);
        if let Some(old) = self.up.parent.replace(parent) {
            self.links.repurpose(old.conn, Use::OldParent);
            self.up.old = Some(old);
            self.timers.set(Timer::Overlap, self.now.mono.after(OVERLAP));
        }
        self.up.failures = 0;
        self.placed();
        self.announce_subtree(conn);
        self.play_at_new_parent();
        true
    }
}
