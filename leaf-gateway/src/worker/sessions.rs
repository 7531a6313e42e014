//! A worker's sessions and the ways to find one: place, name, user name fragment, address,
//! pipeline. All five change together, here.

#[cfg(test)]
mod tests;

use super::{Key, Seat, SessionId};
use crate::demand::Wanted;
use crate::occupancy::Permit;
use crate::session::ice::Credentials;
use crate::session::{Session, SessionStats};
use soleil_protocol::{Mono, PipelineId};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// A session with what the driver keeps beside it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    pub(super) id: SessionId,
    pub(super) permit: Permit,
    pub(super) _seat: Seat,
    pub(super) _wanted: Wanted,
    /// When the wheel will bring it up.
    pub(super) scheduled: Mono,
    /// Its counters when they were last added up.
    pub(super) counted: SessionStats,
    /// Addresses that lead to it.
    pub(super) addresses: Vec<SocketAddr>,
    /// User name fragments that lead to it: one, after a restart two.
    pub(super) ufrags: Vec<String>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<SessionId, Key>,
    by_ufrag: HashMap<String, Key>,
    /// In order: neighbours stand together.
    by_address: BTreeMap<SocketAddr, Key>,
    /// The latest session that claims an address which another one has validated.
    rivals: HashMap<SocketAddr, Key>,
    by_pipeline: HashMap<PipelineId, Vec<Key>>,
}

impl Sessions {
    pub(super) fn insert(&mut self, mut entry: Entry) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        let key = Key { slot, generation: place.generation };
        self.by_id.insert(entry.id.clone(), key);
        entry.ufrags = vec![entry.session.local_ufrag().to_owned()];
        self.by_ufrag.insert(entry.session.local_ufrag().to_owned(), key);
        self.by_pipeline.entry(entry.session.pipeline()).or_default().push(key);
        place.entry = Some(entry);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Entry> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.slot);
        self.by_id.remove(&entry.id);
        for ufrag in &entry.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for address in &entry.addresses {
            if self.by_address.get(address) == Some(&key) {
                self.by_address.remove(address);
            }
        }
        self.rivals.retain(|_, rival| *rival != key);
        if let Some(keys) = self.by_pipeline.get_mut(&entry.session.pipeline()) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_pipeline.remove(&entry.session.pipeline());
            }
        }
        Some(entry)
    }

    /// Restarts a session's ICE: it is found by its new user name fragment, and by the old one
    /// while that holds.
    pub(super) fn restart(&mut self, key: Key, credentials: Credentials, len: usize) {
        let Some(entry) = self.get_mut(key) else { return };
        entry.session.restart(credentials, len);
        let ufrags = entry.session.local_ufrags().map(str::to_owned).collect();
        for ufrag in std::mem::replace(&mut entry.ufrags, ufrags) {
            self.by_ufrag.remove(&ufrag);
        }
        for ufrag in self.get(key).map(|e| e.ufrags.clone()).unwrap_or_default() {
            self.by_ufrag.insert(ufrag, key);
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation == key.generation { place.entry.as_mut() } else { None }
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        let place = self.slots.get(key.slot as usize)?;
        if place.generation == key.generation { place.entry.as_ref() } else { None }
    }

    pub(super) fn by_id(&self, id: &SessionId) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    pub(super) fn by_ufrag(&self, ufrag: &str) -> Option<Key> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub(super) fn by_address(&self, address: SocketAddr) -> Option<Key> {
        self.by_address.get(&address).copied()
    }

    /// Sessions with an address of this host, whatever the port; `most` of them at most.
    pub(super) fn of_host(&self, ip: IpAddr, most: usize) -> Vec<Key> {
        let last = match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, u16::MAX),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, u16::MAX, u32::MAX, u32::MAX).into(),
        };
        let mut keys = Vec::new();
        for key in self.by_address.range(SocketAddr::new(ip, 0)..=last).map(|(_, key)| *key) {
            if keys.len() == most {
                break;
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// An address is gone, its connection has ended.
    pub(super) fn lose(&mut self, now: Mono, key: Key, address: SocketAddr) {
        if self.by_address.get(&address) == Some(&key) {
            self.by_address.remove(&address);
        }
        self.rivals.remove(&address);
        if let Some(entry) = self.get_mut(key) {
            entry.addresses.retain(|a| *a != address);
            entry.session.lose(now, address);
        }
    }

    /// Who else may be meant by an answer from an address.
    pub(super) fn rival(&self, address: SocketAddr) -> Option<Key> {
        self.rivals.get(&address).copied()
    }

    /// Sessions of a pipeline.
    pub(super) fn of_pipeline(&self, pipeline: PipelineId) -> &[Key] {
        self.by_pipeline.get(&pipeline).map_or(&[], Vec::as_slice)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.by_id.values().copied().collect()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().filter_map(|s| s.entry.as_mut())
    }

    /// Leads datagrams from an address to a session. A claim that is not validated never takes an
    /// address from a session that has validated it: checks can be sent in another's name. But the
    /// page may have been reloaded, so the answer to the newcomer's request is let through to it.
    pub(super) fn claim(&mut self, now: Mono, key: Key, address: SocketAddr, validated: bool) {
        if !validated {
            let owner = self.by_address.get(&address).and_then(|k| self.get(*k));
            if owner.is_some_and(|o| o.session.has_validated(now, address)) {
                self.rivals.insert(address, key);
                return;
            }
        }
        self.rivals.remove(&address);
        self.by_address.insert(address, key);
        let mut forgotten = Vec::new();
        if let Some(entry) = self.get_mut(key) {
            if !entry.addresses.contains(&address) {
                entry.addresses.push(address);
            }
            // The session forgets addresses (it keeps a few): so does the table.
            let Entry { addresses, session, .. } = entry;
            addresses.retain(|a| {
                let known = session.addresses().any(|k| k == *a);
                if !known {
                    forgotten.push(*a);
                }
                known
            });
        }
        for address in forgotten {
            if self.by_address.get(&address) == Some(&key) {
                self.by_address.remove(&address);
            }
        }
    }
}
