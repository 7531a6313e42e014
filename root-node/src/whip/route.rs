//! Which session a datagram belongs to: a STUN request by the ICE user name fragment in it (RFC 8445
//! section 7.3), everything else by its source address, once that was answered. Pure, and bounded.

use super::stun;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;

/// Addresses of one session: interfaces of the broadcaster times address families.
pub const MAX_ADDRESSES: usize = 8;
/// Credentials of one session that are good: those of now, and those before a restart.
const MAX_UFRAGS: usize = 2;

/// The table.
#[derive(Debug)]
pub struct Routes<K> {
    ufrags: HashMap<String, K>,
    addresses: HashMap<SocketAddr, K>,
    sessions: HashMap<K, Session>,
}

#[derive(Debug, Default)]
struct Session {
    ufrags: VecDeque<String>,
    addresses: VecDeque<SocketAddr>,
}

impl<K> Default for Routes<K> {
    fn default() -> Self {
        Self { ufrags: HashMap::new(), addresses: HashMap::new(), sessions: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Routes<K> {
    /// A session is known by this fragment from now on, besides the one before.
    pub fn add_ufrag(&mut self, key: K, ufrag: &str) {
        let session = self.sessions.entry(key).or_default();
        session.ufrags.push_back(ufrag.to_owned());
        self.ufrags.insert(ufrag.to_owned(), key);
        if session.ufrags.len() > MAX_UFRAGS
            && let Some(old) = session.ufrags.pop_front()
        {
            self.ufrags.remove(&old);
        }
    }

    /// The session has sent this there. An answer to a check, or a check of ours, goes only to who has
    /// proved by a check to know the secret (RFC 8445 section 7.3): what comes from there is the
    /// session's. Of more addresses than a session may have the one goes that was proved longest ago.
    pub fn sent(&mut self, key: K, address: SocketAddr, datagram: &[u8]) {
        if !stun::is_check_or_answer(datagram) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let before = self.addresses.insert(address, key);
        if before == Some(key) {
            session.addresses.retain(|a| *a != address);
            session.addresses.push_back(address);
            return;
        }
        session.addresses.push_back(address);
        if session.addresses.len() > MAX_ADDRESSES
            && let Some(old) = session.addresses.pop_front()
        {
            self.addresses.remove(&old);
        }
        if let Some(other) = before.and_then(|other| self.sessions.get_mut(&other)) {
            other.addresses.retain(|a| *a != address);
        }
    }

    /// The session is over.
    pub fn remove(&mut self, key: K) {
        let Some(session) = self.sessions.remove(&key) else { return };
        for ufrag in &session.ufrags {
            self.ufrags.remove(ufrag);
        }
        for address in &session.addresses {
            self.addresses.remove(address);
        }
    }

    /// Whose datagram it is.
    pub fn find(&self, from: SocketAddr, datagram: &[u8]) -> Option<K> {
        // An answer to a check of ours has no name: it comes from where that went.
        match stun::ufrag(datagram) {
            Some(name) => self.ufrags.get(name).copied(),
            None => self.addresses.get(&from).copied(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::whip) fn request(username: &str) -> Vec<u8> {
        let mut out = vec![0, 1, 0, 0];
        out.extend(stun::COOKIE);
        out.extend([7; 12]);
        // Something before it, with padding.
        out.extend([0x80, 0x22, 0, 3, b'x', b'y', b'z', 0]);
        out.extend([0, 6]);
        out.extend((username.len() as u16).to_be_bytes());
        out.extend(username.as_bytes());
        out
    }

    /// A success response.
    const ANSWER: [u8; 20] =
        [1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    #[test]
    fn stun_goes_by_name_and_the_rest_by_address() {
        let mut routes = Routes::default();
        routes.add_ufrag(1, "abcd");
        routes.add_ufrag(2, "efgh");
        assert_eq!(routes.find(address(9), &request("abcd:zzzz")), Some(1));
        assert_eq!(routes.find(address(9), &request("efgh:zzzz")), Some(2));
        assert_eq!(routes.find(address(9), &request("none:zzzz")), None);
        assert_eq!(routes.find(address(9), &[0x80; 40]), None, "not answered yet");
        routes.sent(1, address(9), &ANSWER);
        assert_eq!(routes.find(address(9), &[0x80; 40]), Some(1));
        // After a restart both names hold, then the oldest goes.
        routes.add_ufrag(1, "ijkl");
        assert_eq!(routes.find(address(9), &request("abcd:z")), Some(1));
        routes.add_ufrag(1, "mnop");
        assert_eq!(routes.find(address(9), &request("abcd:z")), None);
        // An address belongs to the one that answered it last.
        routes.sent(2, address(9), &ANSWER);
        assert_eq!(routes.find(address(9), &[0x80; 40]), Some(2));
        routes.remove(1);
        assert_eq!(routes.find(address(9), &[0x80; 40]), Some(2));
        routes.remove(2);
        assert!(routes.ufrags.is_empty() && routes.addresses.is_empty());
        assert!(routes.sessions.is_empty());
    }

    #[test]
    fn addresses_of_a_session_are_bounded() {
        let mut routes = Routes::default();
        routes.add_ufrag(1, "abcd");
        for port in 0..100 {
            // The first one stays in use.
            routes.sent(1, address(port), &ANSWER);
            routes.sent(1, address(0), &ANSWER);
        }
        assert_eq!(routes.addresses.len(), MAX_ADDRESSES);
        assert_eq!(routes.find(address(99), &[0x80; 40]), Some(1));
        assert_eq!(routes.find(address(0), &[0x80; 40]), Some(1), "in use");
        assert_eq!(routes.find(address(92), &[0x80; 40]), None);
    }

    #[test]
    fn what_proves_nothing_opens_no_way() {
        let mut routes = Routes::default();
        routes.add_ufrag(1, "abcd");
        let refusal = [&[1, 0x11], &ANSWER[2..]].concat();
        for datagram in [&refusal[..], &[22; 40], &[0x80; 40], &[]] {
            routes.sent(1, address(9), datagram);
            assert_eq!(routes.find(address(9), &[0x80; 40]), None, "{datagram:?}");
        }
        // A check of ours is answered without a name.
        routes.sent(1, address(9), &request("zzzz:abcd"));
        assert_eq!(routes.find(address(9), &ANSWER), Some(1));
    }

    #[test]
    fn what_is_cut_short_belongs_to_nobody() {
        let mut routes = Routes::default();
        routes.add_ufrag(1, "abcd");
        let whole = request("abcd:zzzz");
        for length in 0..whole.len() {
            assert_eq!(routes.find(address(1), &whole[..length]), None);
        }
    }
}
