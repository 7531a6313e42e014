//! The control connections of a node: who is at the other end, how far the link has come, its
//! PINGs and its budget of messages. What a message means is decided elsewhere.

use super::api::{ConnId, Peer};
use super::limits::{
    CHILD_BURST, CHILD_RATE, LINK_BURST, LINK_RATE, MAX_ERRORS, NEW_CHILD_BURST, RESERVE_RATE,
    STRANGER_BURST,
};
use soleil_protocol::{Incarnation, LinkId, Mono, NodeId, Rank, Wall};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Ours, to the root, to join.
    Join,
    /// Ours, to a parent that has not answered HELLO yet.
    Attempt,
    /// Ours, to the parent.
    Parent,
    /// Ours, to the parent that we are leaving.
    OldParent,
    /// Ours, to a backup.
    Backup,
    /// A peer's, whose backup we are.
    Reserve(NodeId),
    /// A peer's that has not said HELLO: PING and nothing else.
    Stranger,
    /// A peer's that joins (at the root).
    Joiner,
    /// A child's.
    Child(NodeId),
}

/// How far a link has come (DESIGN 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Connected, not greeted: PING only, no routes, no pipelines.
    Warm,
    /// In use.
    Primary,
    /// Still served, about to end.
    Draining,
}

/// One control connection.
#[derive(Debug)]
pub struct Link {
    /// What it is for.
    pub purpose: Use,
    /// Who TLS says is there; `None` for connections that we dialed.
    pub peer: Option<Peer>,
    /// The peer's id, for dialed connections as well (not for the root's join connection).
    pub id: Option<NodeId>,
    /// The version that both speak, once greeted.
    pub version: u32,
    /// The media link that belongs to it.
    pub media: Option<LinkId>,
    /// A child's incarnation.
    pub incarnation: Incarnation,
    /// Whether those above know of this child: from when its media path is open.
    pub shown: bool,
    /// Whether its media path is open, as far as we have been told.
    pub open: bool,
    /// The rank of a node whose backup we are, by its ticket.
    pub rank: Option<Rank>,
    /// When the certificate that the peer showed, or the root has sent it since, runs out.
    pub until: Option<Wall>,
    /// Round-trip time by PING.
    pub rtt: Option<Duration>,
    ping: Option<(String, Mono)>,
    missed: u32,
    tokens: u32,
    errors: u32,
    refilled: Mono,
    refilled_errors: Mono,
}

impl Link {
    /// A new connection.
    pub fn new(now: Mono, purpose: Use, peer: Option<Peer>, id: Option<NodeId>) -> Self {
        let tokens = if purpose == Use::Stranger { STRANGER_BURST } else { LINK_BURST };
        let until = match &peer {
            Some(Peer::Node { until, .. }) => Some(*until),
            _ => None,
        };
        Self {
            purpose,
            peer,
            id,
            version: 0,
            media: None,
            incarnation: Incarnation(0),
            shown: false,
            open: false,
            rank: None,
            until,
            rtt: None,
            ping: None,
            missed: 0,
            tokens,
            errors: MAX_ERRORS,
            refilled: now,
            refilled_errors: now,
        }
    }

    /// How far it has come.
    pub fn state(&self) -> LinkState {
        match self.purpose {
            Use::Join | Use::Attempt | Use::Backup => LinkState::Warm,
            Use::Reserve(_) | Use::Stranger | Use::Joiner => LinkState::Warm,
            Use::Parent | Use::Child(_) => LinkState::Primary,
            Use::OldParent => LinkState::Draining,
        }
    }

    /// Whether the parent's side is at the other end.
    pub fn is_up(&self) -> bool {
        matches!(
            self.purpose,
            Use::Join | Use::Attempt | Use::Backup | Use::Parent | Use::OldParent
        )
    }

    /// What may come over it: messages a second, and at once. `weight` is the number of nodes in a
    /// child's subtree.
    fn budget(&self, weight: u32) -> (u32, u32) {
        let grown = |each: u32, most: u32| each.saturating_mul(weight.max(1)).min(most);
        match self.purpose {
            Use::Backup | Use::Reserve(_) => (RESERVE_RATE, STRANGER_BURST),
            Use::Child(_) => (grown(CHILD_RATE, LINK_RATE), grown(CHILD_BURST, LINK_BURST)),
            Use::Parent | Use::OldParent => (LINK_RATE, LINK_BURST),
            Use::Join | Use::Attempt | Use::Stranger | Use::Joiner => (1, STRANGER_BURST),
        }
    }

    /// Takes one message out of the budget; `false` if there is none left. `weight` is the number of
    /// nodes in a child's subtree.
    pub fn spend(&mut self, now: Mono, weight: u32) -> bool {
        let (rate, burst) = self.budget(weight);
        self.tokens = self.tokens.min(burst);
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let fresh = micros.saturating_mul(u64::from(rate)) / 1_000_000;
        if fresh > 0 {
            self.refilled = now;
            let sum = u64::from(self.tokens).saturating_add(fresh).min(u64::from(burst));
            self.tokens = u32::try_from(sum).unwrap_or(burst);
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// Counts a message of it that was refused; `false` if it was one too many.
    pub fn err(&mut self, now: Mono) -> bool {
        let secs = now.since(self.refilled_errors).as_secs();
        if secs > 0 {
            self.refilled_errors = now;
            let sum = u64::from(self.errors).saturating_add(secs).min(u64::from(MAX_ERRORS));
            self.errors = u32::try_from(sum).unwrap_or(MAX_ERRORS);
        }
        match self.errors.checked_sub(1) {
            Some(left) => {
                self.errors = left;
                true
            }
            None => false,
        }
    }

    /// A PING is about to be sent: how many went unanswered before it.
    pub fn pinged(&mut self, token: String, now: Mono) -> u32 {
        if self.ping.is_some() {
            self.missed += 1;
        }
        self.ping = Some((token, now));
        self.missed
    }

    /// Whether a PING is unanswered.
    pub fn is_probed(&self) -> bool {
        self.ping.is_some()
    }

    /// As if the last PING had been answered.
    #[cfg(test)]
    pub fn forgive(&mut self) {
        self.ping = None;
        self.missed = 0;
    }

    /// A PONG came. One that we did not ask for is ignored.
    pub fn ponged(&mut self, token: &str, now: Mono) {
        if let Some((asked, at)) = &self.ping
            && asked == token
        {
            self.rtt = Some(now.since(*at));
            self.ping = None;
            self.missed = 0;
        }
    }
}

/// All connections of a node.
#[derive(Debug, Default)]
pub struct Links {
    all: BTreeMap<ConnId, Link>,
    children: BTreeMap<NodeId, ConnId>,
    /// Nodes whose backup we are.
    reserves: BTreeMap<NodeId, ConnId>,
}

impl Links {
    /// Adds a connection.
    pub fn insert(&mut self, conn: ConnId, link: Link) {
        self.all.insert(conn, link);
    }

    /// One connection.
    pub fn get(&self, conn: ConnId) -> Option<&Link> {
        self.all.get(&conn)
    }

    /// One connection, to be changed. Its purpose is changed by [`Links::adopt`] when it becomes a
    /// child's.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.all.get_mut(&conn)
    }

    /// A stranger or joiner becomes a child.
    pub fn adopt(&mut self, conn: ConnId, id: NodeId) {
        if let Some(link) = self.all.get_mut(&conn) {
            link.purpose = Use::Child(id.clone());
            link.tokens = NEW_CHILD_BURST;
            if self.reserves.get(&id) == Some(&conn) {
                self.reserves.remove(&id);
            }
            self.children.insert(id, conn);
        }
    }

    /// A stranger becomes a node whose backup we are.
    pub fn reserve(&mut self, conn: ConnId, id: NodeId) {
        if let Some(link) = self.all.get_mut(&conn) {
            link.purpose = Use::Reserve(id.clone());
            self.reserves.insert(id, conn);
        }
    }

    /// The connection of a node whose backup we are.
    pub fn reserved(&self, id: &NodeId) -> Option<ConnId> {
        self.reserves.get(id).copied()
    }

    /// The connections of all of them.
    pub fn reserve_conns(&self) -> Vec<ConnId> {
        self.reserves.values().copied().collect()
    }

    /// How many nodes' backup we are.
    pub fn reserve_count(&self) -> usize {
        self.reserves.len()
    }

    /// A dialed connection gets a new purpose.
    pub fn repurpose(&mut self, conn: ConnId, purpose: Use) {
        if let Some(link) = self.all.get_mut(&conn) {
            if link.state() == LinkState::Warm {
                link.tokens = LINK_BURST;
            }
            link.purpose = purpose;
        }
    }

    /// Forgets a connection.
    pub fn remove(&mut self, conn: ConnId) -> Option<Link> {
        let link = self.all.remove(&conn)?;
        if let Use::Child(id) = &link.purpose
            && self.children.get(id) == Some(&conn)
        {
            self.children.remove(id);
        }
        if let Use::Reserve(id) = &link.purpose
            && self.reserves.get(id) == Some(&conn)
        {
            self.reserves.remove(id);
        }
        Some(link)
    }

    /// A child's connection.
    pub fn child(&self, id: &NodeId) -> Option<ConnId> {
        self.children.get(id).copied()
    }

    /// The children, by id.
    pub fn children(&self) -> impl Iterator<Item = (&NodeId, ConnId)> {
        self.children.iter().map(|(id, conn)| (id, *conn))
    }

    /// How many children there are.
    pub fn child_count(&self) -> usize {
        self.children.len()
    }

    /// The connection below us whose media link this is: a child's, or of a node whose backup we
    /// are.
    pub fn below_of_media(&self, media: LinkId) -> Option<ConnId> {
        self.children
            .values()
            .chain(self.reserves.values())
            .find(|conn| self.all.get(conn).is_some_and(|l| l.media == Some(media)))
            .copied()
    }

    /// Connections that have not become a child's or a parent's.
    pub fn strangers(&self) -> usize {
        // Children and the few dialed ones are subtracted: no scan for each connection.
        self.all.len().saturating_sub(self.children.len() + self.reserves.len())
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Link)> {
        self.all.iter().map(|(conn, link)| (*conn, link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_runs_dry_and_refills() {
        let mut link = Link::new(Mono(0), Use::Stranger, None, None);
        let mut taken = 0;
        while link.spend(Mono(0), 0) {
            taken += 1;
        }
        assert_eq!(taken, STRANGER_BURST);
        assert!(link.spend(Mono(1_000_000), 0), "one a second while it is warm");
        assert!(!link.spend(Mono(1_000_001), 0));
    }

    #[test]
    fn a_child_may_say_as_much_as_its_subtree_has_reason_to() {
        let id = NodeId::new("c").unwrap();
        for (weight, burst, rate) in [(1, 256, 32), (8, 2_048, 256), (1_000, 4_000, 2_000)] {
            let mut link = Link::new(Mono(0), Use::Child(id.clone()), None, None);
            let spent = |link: &mut Link, at| (0..).take_while(|_| link.spend(at, weight)).count();
            assert_eq!(spent(&mut link, Mono(0)), burst);
            assert_eq!(spent(&mut link, Mono(1_000_000)), rate);
        }
    }

    #[test]
    fn a_new_child_does_not_use_up_what_its_parent_may_pass_on() {
        let mut links = Links::default();
        let (conn, id) = (ConnId(1), NodeId::new("c").unwrap());
        links.insert(conn, Link::new(Mono(0), Use::Stranger, None, None));
        links.adopt(conn, id);
        let link = links.get_mut(conn).unwrap();
        let spent = (0..).take_while(|_| link.spend(Mono(0), 1)).count() as u32;
        assert_eq!(spent, NEW_CHILD_BURST);
        const { assert!(NEW_CHILD_BURST < CHILD_BURST) };
    }

    #[test]
    fn refusals_are_counted_and_forgiven() {
        let mut link = Link::new(Mono(0), Use::Parent, None, None);
        assert_eq!((0..1_000).filter(|_| link.err(Mono(0))).count(), MAX_ERRORS as usize);
        assert!(link.err(Mono(1_000_000)));
        assert!(!link.err(Mono(1_000_000)));
    }

    #[test]
    fn only_the_right_pong_counts() {
        let mut link = Link::new(Mono(0), Use::Parent, None, None);
        assert_eq!(link.pinged("a".into(), Mono(0)), 0);
        link.ponged("b", Mono(10));
        assert_eq!(link.rtt, None);
        assert_eq!(link.pinged("c".into(), Mono(20)), 1);
        link.ponged("c", Mono(50));
        assert_eq!(link.rtt, Some(Duration::from_micros(30)));
        assert_eq!(link.pinged("d".into(), Mono(60)), 0);
    }
}
