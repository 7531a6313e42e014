//! Which session a datagram belongs to: a STUN request by the ICE user name fragment in it (RFC 8445
//! section 7.3), everything else by its source address, once that was answered. Pure, and bounded.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;

/// Addresses of one session: interfaces of the broadcaster times address families.
pub const MAX_ADDRESSES: usize = 8;
/// Credentials of one session that are good: those of now, and those before a restart.
const MAX_UFRAGS: usize = 2;

/// STUN's fixed values (RFC 8489 section 5).
const STUN_HEADER: usize = 20;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const ATTRIBUTE_USERNAME: u16 = 0x0006;
/// Longest user name: two fragments and a colon.
const MAX_USERNAME: usize = 513;

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

    /// The session has answered this address: it knows the secret, so what comes from there is its.
    pub fn add_address(&mut self, key: K, address: SocketAddr) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let before = self.addresses.insert(address, key);
        if before == Some(key) {
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
        match is_stun(datagram).then(|| ufrag(datagram)).flatten() {
            Some(name) => self.ufrags.get(name).copied(),
            None => self.addresses.get(&from).copied(),
        }
    }
}

fn is_stun(datagram: &[u8]) -> bool {
    // RFC 7983: STUN's first byte is below 4.
    datagram.len() >= STUN_HEADER && datagram[0] < 4 && datagram[4..8] == STUN_COOKIE
}

/// The receiver's fragment in the user name of a request.
fn ufrag(datagram: &[u8]) -> Option<&str> {
    let mut rest = datagram.get(STUN_HEADER..)?;
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let value = after.get(..length)?;
        if u16::from_be_bytes([header[0], header[1]]) == ATTRIBUTE_USERNAME {
            let name = std::str::from_utf8(value).ok().filter(|n| n.len() <= MAX_USERNAME)?;
            return name.split(':').next();
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(username: &str) -> Vec<u8> {
        let mut out = vec![0, 1, 0, 0];
        out.extend(STUN_COOKIE);
        out.extend([7; 12]);
        // Something before it, with padding.
        out.extend([0x80, 0x22, 0, 3, b'x', b'y', b'z', 0]);
        out.extend([0, 6]);
        out.extend((username.len() as u16).to_be_bytes());
        out.extend(username.as_bytes());
        out
    }

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
        routes.add_address(1, address(9));
        assert_eq!(routes.find(address(9), &[0x80; 40]), Some(1));
        // After a restart both names hold, then the oldest goes.
        routes.add_ufrag(1, "ijkl");
        assert_eq!(routes.find(address(9), &request("abcd:z")), Some(1));
        routes.add_ufrag(1, "mnop");
        assert_eq!(routes.find(address(9), &request("abcd:z")), None);
        // An address belongs to the one that answered it last.
        routes.add_address(2, address(9));
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
            routes.add_address(1, address(port));
        }
        assert_eq!(routes.addresses.len(), MAX_ADDRESSES);
        assert_eq!(routes.find(address(99), &[0x80; 40]), Some(1));
        assert_eq!(routes.find(address(0), &[0x80; 40]), None);
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
