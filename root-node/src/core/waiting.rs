//! Joins that wait. In a storm of joins most of the tree's places are those that relays bring which
//! are on their way themselves. A node that finds no place while such a relay is to arrive is not
//! refused: it waits for a while, and asks again when somebody has arrived. Who was refused would come
//! back after a pause, and the next time after a longer one.

use super::RootCore;
use super::join::Refusal;
use super::tree::{Node, Place};
use relay_node::control::api::{ConnId, Peer};
use soleil_protocol::message::{ErrorCode, Hello};
use soleil_protocol::{Message, Mono, Role};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How long a join waits at most, beside a sweep's interval of 2 s: a joiner gives the root 10 s.
const WAIT: Duration = Duration::from_secs(5);

/// Joins that wait at a time: a kilobyte or two each.
const MAX_WAITING: usize = 1_024;

/// One that waits.
pub(super) struct Waiting {
    since: Mono,
    conn: ConnId,
    peer: Peer,
    message: Message,
    hello: Hello,
}

impl RootCore {
    /// Lets a join wait that was refused for want of a place; `false` if there is no use in it.
    pub(super) fn wait_for_place(
        &mut self,
        conn: ConnId,
        peer: &Peer,
        message: &Message,
        hello: &Hello,
        refusal: &Refusal,
    ) -> bool {
        let comes = |node: &Node| {
            matches!(node.place, Place::Pending { .. })
                && node.role == Role::Relay
                && node.capacity.children > 0
        };
        let full = refusal.0 == ErrorCode::Full && !self.node.is_stopping();
        let room = self.waiting.len() < MAX_WAITING;
        if !full || !room || !self.tree.iter().any(|(_, node)| comes(node)) {
            return false;
        }
        tracing::debug!(name = %hello.name, "waits for a place");
        let (peer, message, hello) = (peer.clone(), message.clone(), hello.clone());
        self.waiting.push_back(Waiting { since: self.now.mono, conn, peer, message, hello });
        true
    }

    /// Somebody has arrived: those that wait try again, in the order in which they came. When one of a
    /// role finds no place, the others of it need not look.
    pub(super) fn try_waiting(&mut self) {
        let mut stuck = BTreeSet::new();
        let mut still = VecDeque::new();
        for one in std::mem::take(&mut self.waiting) {
            if !self.node.has_link(one.conn) {
                // It may have come back over another one, and be in the tree.
                continue;
            }
            if stuck.contains(&one.hello.role) {
                still.push_back(one);
                continue;
            }
            match self.join(&one.peer, &one.hello) {
                Err((ErrorCode::Full, _)) => {
                    stuck.insert(one.hello.role);
                    still.push_back(one);
                }
                result => self.answer_to_join(one.conn, &one.message, &one.hello, result),
            }
        }
        self.waiting = still;
    }

    /// Those who have waited long enough are refused.
    pub(super) fn refuse_waiting(&mut self) {
        let now = self.now.mono;
        while self.waiting.front().is_some_and(|one| now.since(one.since) >= WAIT) {
            let Some(one) = self.waiting.pop_front() else { return };
            let refusal = (ErrorCode::Full, "no place has come free".to_owned());
            self.answer_to_join(one.conn, &one.message, &one.hello, Err(refusal));
        }
    }
}
