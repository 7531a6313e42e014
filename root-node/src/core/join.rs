//! Joins and renewals: who a node is, and offers of parents with tickets and credentials.

use super::RootCore;
use super::api::TicketRequest;
use super::steadiness::Steadiness;
use super::tree::{Node, Place};
use relay_node::control::api::{ConnId, KeyHash, Peer, credential_context};
use relay_node::media::api::HopCredential;
use soleil_protocol::limits::KEY_BYTES;
use soleil_protocol::message::{ErrorCode, Hello, Identity, MoveMode, ParentOffer, Redirect};
use soleil_protocol::{Body, Incarnation, LinkId, Message, NodeId, Rank, Role};
use std::time::Duration;

/// Incarnations that a node may claim to have had. Each is one join: nobody gets there by joining,
/// and a liar can't reach the end of the numbers.
const MAX_CLAIMED: Incarnation = Incarnation(1 << 48);

/// How long a node may take to attach to a parent that it was sent to.
pub(super) const JOIN_TICKET_LIVES: Duration = Duration::from_secs(300);

/// How long a backup's ticket is good for; it is given anew at half of that.
pub(super) const BACKUP_TICKET_LIVES: Duration = Duration::from_secs(3_600);

pub(super) type Refusal = (ErrorCode, String);

fn no<T>(code: ErrorCode, text: impl Into<String>) -> Result<T, Refusal> {
    Err((code, text.into()))
}

impl RootCore {
    /// HELLO of a joiner.
    pub(super) fn on_join(&mut self, conn: ConnId, peer: &Peer, message: &Message, hello: &Hello) {
        let result = self.join(peer, hello);
        match &result {
            Err(refusal) if self.wait_for_place(conn, peer, message, hello, refusal) => {}
            _ => self.answer_to_join(conn, message, hello, result),
        }
    }

    /// Says what has come of a join.
    pub(super) fn answer_to_join(
        &mut self,
        conn: ConnId,
        message: &Message,
        hello: &Hello,
        result: Result<(NodeId, Redirect), Refusal>,
    ) {
        match result {
            Ok((id, redirect)) => {
                tracing::info!(node = %id, role = ?hello.role, parent = ?redirect.parents.first().map(|p| &p.id), "joined");
                self.node.answer(conn, Body::Redirect(Box::new(redirect)));
            }
            Err((code, text)) => {
                // The node's core counts it, and keeps the log short.
                tracing::debug!(name = %hello.name, ?code, text, "join refused");
                self.node.refuse_join(conn, message, code, &text);
            }
        }
        self.touch();
    }

    pub(super) fn join(
        &mut self,
        peer: &Peer,
        hello: &Hello,
    ) -> Result<(NodeId, Redirect), Refusal> {
        if self.node.is_stopping() {
            return no(ErrorCode::Full, "the root is stopping");
        }
        let Some(csr) = &hello.csr else {
            return no(ErrorCode::Malformed, "HELLO without a certificate request");
        };
        let wrap_key = hello.wrap_key.as_ref().filter(|k| k.len() == KEY_BYTES);
        let Some(wrap_key) = wrap_key else {
            return no(ErrorCode::Malformed, "HELLO without a wrap key of 32 bytes");
        };
        let key = self.authority.request_key(csr).map_err(|e| (ErrorCode::Unauthorized, e))?;
        let (role, token) = self.role_of(peer, &key)?;
        if hello.role.is_some_and(|r| r != role) {
            return no(ErrorCode::Unauthorized, format!("the token is for a {role}"));
        }
        let Some(id) = self.tree.name_for(&hello.name, &key) else {
            return no(ErrorCode::Full, "no name left");
        };
        let removed = |n: &Node| n.killed && n.key == key && n.token == token;
        if self.tree.iter().any(|(_, node)| removed(node)) {
            return no(ErrorCode::Unauthorized, "this node was removed: it needs a new join token");
        }
        let known = self.tree.get(&id);
        if known.is_none() && !self.tree.make_room() {
            return no(ErrorCode::Full, "the tree has as many nodes as it can have");
        }
        let known = self.tree.get(&id);
        let claimed = if hello.incarnation < MAX_CLAIMED { hello.incarnation.0 } else { 0 };
        let before = known.map_or(0, |n| n.issued.0);
        let incarnation = Incarnation(before.max(claimed).saturating_add(1));
        // A node that comes (again) has lost its parent or did not reach it.
        let avoid = known.and_then(|n| n.parent.clone().or(n.lost.clone()));
        let steadiness = known.map(|n| (n.steadiness, n.leaving));
        let steadiness = match steadiness {
            // A new process has no incarnation yet. One that has lost its parent is not to blame.
            Some((steadiness, false))
                if self.config.avoid_unsteady && hello.incarnation == Incarnation::default() =>
            {
                steadiness.returned(self.now.mono)
            }
            Some((steadiness, false)) => steadiness,
            // It said that it would go: no fault of its.
            Some((steadiness, true)) => steadiness,
            None => Steadiness::default(),
        };
        let version = hello.version.min(self.node.speaks());
        if known.is_some_and(|n| n.version != version) {
            self.versions_changed.insert(id.clone());
        }
        let stale =
            hello.pipelines.iter().copied().filter(|p| !self.pipelines.contains_key(p)).collect();
        let mut node = Node {
            role,
            key,
            wrap_key: wrap_key.clone(),
            incarnation,
            issued: Incarnation(incarnation.0.saturating_sub(1)),
            server: hello.server.clone(),
            media: hello.media.clone(),
            http: hello.http.clone(),
            region: hello.region.clone(),
            labels: hello.labels.clone(),
            capacity: hello.capacity,
            version,
            steadiness,
            parent: None,
            moving_to: None,
            lost: None,
            place: Place::Pending { since: self.now.mono },
            leaving: false,
            killed: false,
            pinned: false,
            token,
            serial: self.tree.serial_for(&id),
            offered: self.now.mono,
            stale,
            stats: Vec::new(),
        };
        let planned = self.tree.plan_join(&id, &node, avoid.as_ref());
        let answer = match planned {
            Some(parent) => {
                node.parent = Some(parent);
                self.answer_join(&id, &mut node, csr)
            }
            None => no(ErrorCode::Full, "no node has room for another child"),
        };
        match answer {
            Ok(redirect) => {
                self.keep_place(&id, &mut node, hello.incarnation);
                self.tree.insert(id.clone(), node);
                self.tree.planner_mut().tell(&id);
                Ok((id, redirect))
            }
            Err(refusal) => {
                self.tree.sync(&id);
                Err(refusal)
            }
        }
    }

    /// A node that asks for a place while it has one, as far as can be seen from here, is on the move: it
    /// counts at both, and is where it was until news come from elsewhere. A new process (which has
    /// no incarnation yet) has lost its place.
    fn keep_place(&self, id: &NodeId, node: &mut Node, incarnation: Incarnation) {
        let known = self.tree.get(id).filter(|known| known.place == Place::Attached);
        let (Some(known), Some(_)) = (known, self.node.subtree().next_hop(id)) else { return };
        if incarnation == Incarnation::default() {
            return;
        }
        node.place = Place::Attached;
        node.incarnation = known.incarnation;
        node.moving_to = node.parent.take().filter(|to| known.parent.as_ref() != Some(to));
        node.parent = known.parent.clone();
        node.stats = known.stats.clone();
    }

    fn answer_join(
        &mut self,
        id: &NodeId,
        node: &mut Node,
        csr: &[u8],
    ) -> Result<Redirect, Refusal> {
        let parents = self.offers(id, node, JOIN_TICKET_LIVES)?;
        let identity = Some(self.identity(id, node.role, node.incarnation, csr)?);
        let rank = self.tree.planner().rank(id);
        Ok(Redirect { rank, mode: MoveMode::AtOnce, identity, parents })
    }

    /// What a joiner may be, and by which token.
    fn role_of(&self, peer: &Peer, key: &KeyHash) -> Result<(Role, String), Refusal> {
        match peer {
            Peer::Joining { role: Role::Root, .. } => {
                no(ErrorCode::Unauthorized, "there is one root already")
            }
            Peer::Joining { role, token } => Ok((*role, token.clone())),
            // A node that was removed, or whose token was, needs a (new) one.
            Peer::Node { id, key: shown, token, .. } => match (self.tree.get(id), token) {
                (Some(node), _)
                    if node.key == *key
                        && shown == key
                        && !node.killed
                        && self.authority.token_stands(&node.token) =>
                {
                    Ok((node.role, node.token.clone()))
                }
                // Its certificate says nothing here, its token does: this root has forgotten it,
                // or an operator has given it another one.
                (known, Some((token, role)))
                    if shown == key
                        && *role != Role::Root
                        && known
                            .is_none_or(|n| n.key == *key && !n.killed && n.token != *token) =>
                {
                    Ok((*role, token.clone()))
                }
                _ => no(ErrorCode::Unauthorized, "a join needs a token"),
            },
        }
    }

    fn identity(
        &mut self,
        id: &NodeId,
        role: Role,
        incarnation: Incarnation,
        csr: &[u8],
    ) -> Result<Identity, Refusal> {
        let certificate = self
            .authority
            .issue(self.now, id, role, csr)
            .map_err(|e| (ErrorCode::Unauthorized, e))?;
        Ok(Identity {
            id: id.clone(),
            incarnation,
            certificate,
            authority: self.authority.ca_certificate(),
            ticket_key: self.authority.ticket_key(),
        })
    }

    /// Offers of a node's planned parent and of its backups, each with an incarnation of its own,
    /// in order: who fails over goes forward in them. A backup that can't be offered is left out.
    ///
    /// # Errors
    /// Why there is no offer of the parent.
    pub(super) fn offers(
        &mut self,
        id: &NodeId,
        node: &mut Node,
        lives: Duration,
    ) -> Result<Vec<ParentOffer>, Refusal> {
        let Some(parent) = self.tree.planner().parent(id).cloned() else {
            return no(ErrorCode::Internal, "no parent is planned");
        };
        let mut offers = Vec::new();
        for backup in std::iter::once(parent).chain(self.tree.planner().backups(id)) {
            node.issued = Incarnation(node.issued.0.saturating_add(1));
            let first = offers.is_empty();
            let ticket = match first {
                true => (None, lives),
                false => (Some(self.tree.planner().rank(id)), BACKUP_TICKET_LIVES),
            };
            match self.offer(id, node, &backup, ticket) {
                Ok(offer) => offers.push(offer),
                Err(refusal) if first => return Err(refusal),
                Err((_, text)) => tracing::warn!(node = %id, %backup, text, "no offer of a backup"),
            }
        }
        Ok(offers)
    }

    /// A parent with everything that the node needs to attach there.
    fn offer(
        &mut self,
        id: &NodeId,
        node: &Node,
        parent: &NodeId,
        (backup, lives): (Option<Rank>, Duration),
    ) -> Result<ParentOffer, Refusal> {
        let (server, media, parent_wrap_key, version) = if *parent == self.config.id {
            let wrap_key = self.node.vault().wrap_key();
            let version = self.node.speaks();
            (self.config.server.clone(), self.config.media.clone(), wrap_key, version)
        } else {
            let known = self.tree.get(parent);
            let place = known.and_then(|p| Some((p, p.server.clone()?)));
            let Some((known, server)) = place else {
                return no(ErrorCode::Internal, "the parent has no address");
            };
            (server, known.media.clone(), known.wrap_key.clone(), known.version)
        };
        let mut credential = HopCredential([0; 32]);
        self.authority.random(&mut credential.0);
        self.next_link = self.next_link.wrapping_add(1);
        let link = LinkId(self.next_link);
        let context = credential_context(id, link);
        let wrapped = self
            .authority
            .wrap(&node.wrap_key, &context, &credential.0)
            .map_err(|e| (ErrorCode::Malformed, format!("wrap key: {e}")))?;
        let request = TicketRequest {
            child: id.clone(),
            child_key: node.key,
            incarnation: node.issued,
            parent: parent.clone(),
            parent_wrap_key,
            link,
            credential,
            backup,
            version,
            lives,
        };
        let ticket =
            self.authority.sign_ticket(self.now, &request).map_err(|e| (ErrorCode::Internal, e))?;
        Ok(ParentOffer {
            id: parent.clone(),
            server,
            media,
            link,
            version: version.min(node.version),
            ticket,
            credential: wrapped,
        })
    }

    /// HELLO to the root from inside the tree: a new certificate for the same key.
    pub(super) fn on_renewal(
        &mut self,
        from: &NodeId,
        conn: ConnId,
        message: &Message,
        hello: &Hello,
    ) {
        let renewed = self.renew(from, hello);
        match renewed {
            Ok(redirect) => {
                self.node.send_to(from, Body::Redirect(Box::new(redirect)));
            }
            Err((code, text)) => self.node.refuse_message(conn, message, code, &text),
        }
    }

    fn renew(&mut self, from: &NodeId, hello: &Hello) -> Result<Redirect, Refusal> {
        let Some(node) = self.tree.get(from).filter(|n| !n.killed) else {
            return no(ErrorCode::Unauthorized, "no certificate for this node");
        };
        if !self.authority.token_stands(&node.token) {
            return no(ErrorCode::Unauthorized, "the join token has been revoked");
        }
        if self.tree.is_below_killed(from) {
            // What the removed node above passes on is not to be relied on.
            return no(ErrorCode::Unauthorized, "a node above was removed: join again");
        }
        let Some(csr) = &hello.csr else {
            return no(ErrorCode::Malformed, "HELLO without a certificate request");
        };
        let key = self.authority.request_key(csr).map_err(|e| (ErrorCode::Unauthorized, e))?;
        if key != node.key {
            return no(ErrorCode::Unauthorized, "another key needs another join");
        }
        let (role, incarnation) = (node.role, node.incarnation);
        self.set_version(from, hello.version);
        let identity = self.identity(from, role, incarnation, csr)?;
        Ok(Redirect {
            rank: self.tree.planner().rank(from),
            mode: MoveMode::Overlap,
            identity: Some(identity),
            parents: Vec::new(),
        })
    }
}
