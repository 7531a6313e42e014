//! The way down: strangers that say HELLO with a ticket and become children, their subtrees, and
//! how they go. What they want of pipelines is in `pipelines`.

use super::NodeCore;
use super::api::{Action, ConnId, Peer, TicketClaims};
use super::limits::{
    GREETING_TIMEOUT, JOINER_LIFETIME, MAX_STRANGERS, PING_INTERVAL, RESERVES_PER_PLACE,
};
use super::links::{Link, Use};
use super::timers::Timer;
use super::upcall::Upcall;
use crate::media::api::{HopLink, PeerSide, PlaneCommand};
use crate::refusals::Refusal;
use rand::Rng;
use soleil_protocol::message::{Bye, ChildsUpdate, ErrorCode, Hello, WARM_VERSION};
use soleil_protocol::{Address, Body, Incarnation, LinkId, Message, NodeId, Rank, Role};

/// Why a HELLO makes no child: for the metric, for the ERROR, for people.
type Refused = (Option<Refusal>, ErrorCode, String);

/// What the code says is reason enough.
fn no<T>(code: ErrorCode, text: &str) -> Result<T, Refused> {
    Err((Refusal::of(code), code, text.to_owned()))
}

/// A ticket that does not hold, or no longer.
fn no_ticket<T>(why: Refusal, text: impl Into<String>) -> Result<T, Refused> {
    Err((Some(why), ErrorCode::Unauthorized, text.into()))
}

impl NodeCore {
    /// Somebody connected.
    pub(super) fn on_accepted(&mut self, conn: ConnId, peer: Peer) {
        let now = self.now.mono;
        let id = match &peer {
            Peer::Node { id, .. } => Some(id.clone()),
            Peer::Joining { .. } => None,
        };
        let refusal = match &peer {
            _ if self.stopping.is_some() => Some((None, "this node is stopping")),
            _ if self.links.strangers() >= MAX_STRANGERS => {
                Some((Some(Refusal::Crowded), "too many connections"))
            }
            Peer::Joining { .. } if !self.is_root() => {
                Some((Some(Refusal::Unauthorized), "only the root takes joiners"))
            }
            _ => None,
        };
        if let Some((why, text)) = refusal {
            if let Some(why) = why {
                self.act(Action::Refused { why, who: id, text: text.into() });
            }
            return self.act(Action::Close(conn, text.into()));
        }
        self.links.insert(conn, Link::new(now, Use::Stranger, Some(peer), id));
        self.timers.set(Timer::Greeting(conn), now.after(GREETING_TIMEOUT));
    }

    /// HELLO on a link that is nobody's yet.
    pub(super) fn on_stranger_hello(&mut self, conn: ConnId, message: Message, hello: Hello) {
        let Some(version) = self.common_version(hello.version) else {
            let text = format!("version {} is not spoken here", hello.version);
            return self.refuse_and_close(conn, &message, ErrorCode::Version, &text);
        };
        let now = self.now.mono;
        if let Some(link) = self.links.get_mut(conn) {
            link.version = version;
        }
        if message.to == Some(Address::Root) {
            if !self.is_root() {
                let text = "a join goes to the root itself";
                return self.refuse_and_close(conn, &message, ErrorCode::Unauthorized, text);
            }
            self.links.repurpose(conn, Use::Joiner);
            self.timers.set(Timer::Greeting(conn), now.after(JOINER_LIFETIME));
            let peer = self.links.get(conn).and_then(|l| l.peer.clone());
            if let Some(peer) = peer {
                self.upcalls.push_back(Upcall::Join { conn, peer, message, hello });
            }
            return;
        }
        let mut hello = hello;
        // An element that the version which is spoken does not have is passed over.
        hello.warm &= version >= WARM_VERSION;
        match self.check_child(conn, &message, &hello) {
            Ok((claims, nonce)) if hello.warm => self.keep_in_reserve(conn, claims, nonce),
            Ok((claims, nonce)) => self.adopt(conn, claims, nonce),
            Err(refused) => self.refuse_child(conn, &message, refused),
        }
    }

    fn refuse_child(&mut self, conn: ConnId, message: &Message, (why, code, text): Refused) {
        self.refuse_as(why, conn, message, code, &text);
        self.lose(conn, &text);
    }

    /// Everything that must hold before a stranger becomes a child.
    fn check_child(
        &self,
        conn: ConnId,
        message: &Message,
        hello: &Hello,
    ) -> Result<(TicketClaims, [u8; 16]), Refused> {
        let Some(Peer::Node { id, key, .. }) = self.links.get(conn).and_then(|l| l.peer.as_ref())
        else {
            return no(ErrorCode::Unauthorized, "a child needs a certificate");
        };
        if hello.name != *id || !matches!(&message.from, None | Some(Address::Node(_))) {
            return no(ErrorCode::Forged, "the certificate is another's");
        }
        if matches!(&message.from, Some(Address::Node(from)) if from != id) {
            return no(ErrorCode::Forged, "the certificate is another's");
        }
        if message.to.as_ref().is_some_and(|to| *to != Address::Node(self.id().clone())) {
            return no(ErrorCode::UnknownNode, "this HELLO is for another node");
        }
        if id == self.id() {
            return no(ErrorCode::Unauthorized, "a node is not its own child");
        }
        let nonce = hello.nonce.as_deref().and_then(|n| <[u8; 16]>::try_from(n).ok());
        let Some(nonce) = nonce else {
            return no(ErrorCode::Malformed, "HELLO without a nonce of 16 bytes");
        };
        let (Some(ticket), Some(ticket_key)) = (&hello.ticket, self.ticket_key()) else {
            return no(ErrorCode::Unauthorized, "HELLO without a ticket");
        };
        let claims = self
            .vault
            .check_ticket(ticket_key, self.id(), ticket, self.now)
            .or_else(|why| no_ticket(Refusal::Ticket, format!("ticket refused: {why}")))?;
        if hello.warm && claims.backup.is_none() {
            return no_ticket(Refusal::Ticket, "the ticket is no backup's");
        }
        if claims.child != *id || claims.child_key != *key {
            return no_ticket(Refusal::Ticket, "the ticket is another node's");
        }
        if self.spent.contains(claims.link) {
            return no_ticket(Refusal::Replayed, "the ticket was used before");
        }
        // Every offer raises the number, and the ticket has the last word: a node that moves does
        // not know its new one.
        if claims.incarnation < hello.incarnation {
            return no_ticket(Refusal::Replayed, "the ticket is for an older incarnation");
        }
        let holder = self.links.below_of_media(claims.link);
        if holder.is_some() && holder != self.links.child(id) && holder != self.links.reserved(id) {
            return no_ticket(Refusal::Ticket, "the media link is another child's");
        }
        self.check_place(id, claims.incarnation, claims.backup, hello)?;
        Ok((claims, nonce))
    }

    /// What must hold for a node to hang below this one, now or (with a `warm` HELLO) some day.
    fn check_place(
        &self,
        id: &NodeId,
        incarnation: Incarnation,
        rank: Option<Rank>,
        hello: &Hello,
    ) -> Result<(), Refused> {
        let warm = hello.warm;
        if self.removed.contains(id, incarnation) {
            return no(ErrorCode::Unauthorized, "the root has removed this node");
        }
        if self.table.newest(id).is_some_and(|known| incarnation < known) {
            return no_ticket(Refusal::Replayed, "a newer incarnation of this node is here");
        }
        // The root is above everybody, and below nobody.
        if rank.is_some_and(|rank| !self.is_root() && rank <= self.up.rank) {
            return no(ErrorCode::Unauthorized, "by its rank this node is not below us");
        }
        if warm && self.links.child(id).is_some() {
            return no(ErrorCode::Malformed, "a parent is not its child's backup");
        }
        // The root has one more for whom its plan has sent there: a relay that makes room.
        let grows = hello.role != Some(Role::Leaf);
        let more = u32::from(self.is_root() && rank.is_none() && grows);
        let room = self.params.capacity.children.saturating_add(more);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (known, taken) = if warm {
            (self.links.reserved(id), self.links.reserve_count() / RESERVES_PER_PLACE)
        } else {
            (self.links.child(id), self.links.child_count())
        };
        if self.params.role == Role::Leaf || (known.is_none() && taken >= room) {
            return no(ErrorCode::Full, "no room for another child");
        }
        Ok(())
    }

    /// A stranger becomes a child.
    fn adopt(&mut self, conn: ConnId, claims: TicketClaims, child_nonce: [u8; 16]) {
        let child = claims.child.clone();
        if let Some(warm) = self.links.reserved(&child) {
            self.lose(warm, "it has become a child");
        }
        let Some(update) = self.make_child(conn, &child, claims.incarnation) else { return };
        self.spent.insert(claims.link);
        self.open_below(conn, claims, child_nonce, false);
        self.report_below(update);
    }

    /// A stranger becomes a node whose backup we are: nobody above hears of it.
    fn keep_in_reserve(&mut self, conn: ConnId, claims: TicketClaims, child_nonce: [u8; 16]) {
        let child = claims.child.clone();
        if let Some(old) = self.links.reserved(&child) {
            self.lose(old, "came back on another connection");
        }
        self.links.reserve(conn, child);
        self.open_below(conn, claims, child_nonce, true);
    }

    /// The second HELLO of a node whose backup we are: from now on it is a child.
    pub(super) fn on_promotion(
        &mut self,
        conn: ConnId,
        message: &Message,
        child: &NodeId,
        hello: &Hello,
    ) {
        let Some(link) = self.links.get(conn) else { return };
        let (incarnation, rank, media, open) = (link.incarnation, link.rank, link.media, link.open);
        if hello.name != *child || hello.warm || self.stopping.is_some() {
            let text = "this HELLO makes no child";
            return self.refuse_and_close(conn, message, ErrorCode::Malformed, text);
        }
        if let Err(refused) = self.check_place(child, incarnation, rank, hello) {
            return self.refuse_child(conn, message, refused);
        }
        let Some(update) = self.make_child(conn, child, incarnation) else { return };
        tracing::info!(%child, "a node whose backup this is has failed over");
        if let Some(media) = media {
            self.spent.insert(media);
            self.act(Action::Plane(PlaneCommand::Promote(media)));
        }
        self.report_below(update);
        if open {
            self.show_child(conn);
        }
    }

    /// Puts a node below this one in links and routes.
    fn make_child(
        &mut self,
        conn: ConnId,
        child: &NodeId,
        incarnation: Incarnation,
    ) -> Option<ChildsUpdate> {
        if let Some(old) = self.links.child(child) {
            // It came back before we noticed that it was gone.
            self.lose(old, "came back on another connection");
        }
        let me = self.id().clone();
        // It is shown when its media path opens: no viewer is sent where no media arrive.
        let Some(update) = self.table.attach_hidden(&me, child, incarnation) else {
            self.lose(conn, "no room in the routing table");
            return None;
        };
        self.links.adopt(conn, child.clone());
        Some(update)
    }

    /// Answers the HELLO of a node that is to hang below this one, and opens the media link.
    fn open_below(
        &mut self,
        conn: ConnId,
        claims: TicketClaims,
        child_nonce: [u8; 16],
        standby: bool,
    ) {
        let parent_nonce: [u8; 16] = self.rng.random();
        self.timers.clear(&Timer::Greeting(conn));
        self.timers.set(Timer::Ping(conn), self.now.mono.after(PING_INTERVAL));
        if let Some(link) = self.links.get_mut(conn) {
            link.media = Some(claims.link);
            link.incarnation = claims.incarnation;
            link.rank = claims.backup;
        }
        self.watch_certificate(conn);
        let child = claims.child;
        self.act(Action::Plane(PlaneCommand::AddLink(HopLink {
            id: claims.link,
            peer: PeerSide::Child,
            child: child.clone(),
            addresses: Vec::new(),
            credential: claims.credential,
            child_nonce,
            parent_nonce,
            standby,
        })));
        let mut hello = self.hello();
        hello.nonce = Some(parent_nonce.to_vec());
        hello.warm = standby;
        self.send(conn, Some(Address::Node(child)), Body::Hello(Box::new(hello)));
    }

    /// A child's media path is open: those above hear of it and of everybody below it.
    pub(super) fn show_child(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(conn) else { return };
        let Use::Child(child) = &link.purpose else { return };
        let child = child.clone();
        if std::mem::replace(&mut link.shown, true) {
            return;
        }
        let me = self.id().clone();
        let shown = self.table.show(&me, &child);
        self.report_below(shown.forward);
        if shown.refused > 0 {
            self.lose(conn, "no room in the routing table");
        }
    }

    /// Events of the plane may get lost in a flood: its report says which children's media paths
    /// are open, too.
    pub(super) fn show_by_report(&mut self) {
        // A round trip is measured when a path opens, and not before.
        let open = |media: Option<LinkId>| {
            let links = &self.pipelines.report.links;
            links.iter().any(|l| Some(l.link) == media && l.rtt_ms.is_some())
        };
        let hidden = self.links.children().map(|(_, conn)| conn).filter(|conn| {
            self.links.get(*conn).is_some_and(|link| !link.shown && open(link.media))
        });
        for conn in hidden.collect::<Vec<_>>() {
            self.show_child(conn);
        }
    }

    /// CHILDSUPDATE of a child.
    pub(super) fn on_childs_update(
        &mut self,
        conn: ConnId,
        message: &Message,
        update: &ChildsUpdate,
    ) {
        let me = self.id().clone();
        let Some(Use::Child(child)) = self.links.get(conn).map(|l| l.purpose.clone()) else {
            return;
        };
        if update.added.iter().any(|c| c.id == me) {
            // We hang below our own child: messages would run in a circle.
            let text = "this update closes a loop";
            self.refuse_as(Some(Refusal::Loop), conn, message, ErrorCode::Internal, text);
            return self.lose(conn, text);
        }
        let applied = self.table.apply(&me, &child, update);
        self.report_below(applied.forward);
        if applied.refused > 0 {
            let text = format!("{} entries are not believed", applied.refused);
            let why = Some(Refusal::Subtree);
            self.refuse_as(why, conn, message, ErrorCode::Malformed, &text);
        }
    }

    /// Tells the parent (or the root's own core) how the subtree has changed.
    fn report_below(&mut self, update: ChildsUpdate) {
        if update.is_empty() {
            return;
        }
        if self.is_root() {
            self.upcalls.push_back(Upcall::Subtree(update));
        } else if let Some(parent) = self.parent_conn() {
            // During a move both have to know: the new parent says nothing yet, and the old one may
            // stay the parent.
            if let Some(old) = self.way_up().filter(|up| *up != parent) {
                self.send_update(old, update.clone());
            }
            self.send_update(parent, update);
        }
    }

    /// Tells a new parent of the whole subtree, as far as media get there.
    pub(super) fn announce_subtree(&mut self, parent: ConnId) {
        let update = self.table.snapshot(self.id());
        self.send_update(parent, update);
    }

    fn send_update(&mut self, parent: ConnId, update: ChildsUpdate) {
        for part in update.split() {
            self.send(parent, None, Body::ChildsUpdate(part));
        }
    }

    /// What follows from the end of a child's connection.
    pub(super) fn child_gone(&mut self, child: &NodeId, link: &Link) {
        if let Some(media) = link.media {
            self.act(Action::Plane(PlaneCommand::RemoveLink(media)));
            self.forget_wants(media);
        }
        self.stats.forget_child(child);
        let update = self.table.detach(child, link.incarnation);
        self.report_below(update);
        self.check_drained();
    }

    /// All nodes whose backup we are have to look for another one.
    pub(super) fn drop_reserves(&mut self, why: &str) {
        for conn in self.links.reserve_conns() {
            self.lose(conn, why);
        }
    }

    /// All children have to go.
    pub(super) fn drop_children(&mut self, why: &str) {
        let conns: Vec<ConnId> = self.links.children().map(|(_, conn)| conn).collect();
        for conn in conns {
            self.send(conn, None, Body::Bye(Bye { reason: why.to_owned() }));
            self.lose(conn, why);
        }
    }
}
