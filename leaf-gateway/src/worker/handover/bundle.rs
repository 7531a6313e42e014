//! What workers send each other: some datagrams and notes in one buffer that is used again.

use std::net::SocketAddr;

/// Entries of a bundle: a receive call's worth.
pub(super) const MAX_ENTRIES: usize = 64;

/// Bytes of a bundle, its last entry aside: all bundles of a full inbox hold about as much as the
/// buffer of a socket.
pub(super) const MAX_BYTES: usize = 32 * 1024;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum What {
    /// A datagram for a session of the receiver, as it seems.
    Datagram,
    /// RTCP from an address that is nobody's: has a viewer of the receiver's moved there?
    Moved,
    /// A session of the sender claims the address.
    Claim {
        /// It has answered the session's request.
        validated: bool,
    },
    /// The sender was handed something from this address, and has nobody there.
    Nobody,
}

impl What {
    fn is_datagram(self) -> bool {
        matches!(self, What::Datagram | What::Moved)
    }
}

/// The entries.
#[derive(Debug, Default)]
pub(in crate::worker) struct Bundle {
    /// The worker that it comes from.
    pub(in crate::worker) via: usize,
    entries: Vec<(What, SocketAddr, usize, usize)>,
    bytes: Vec<u8>,
}

impl Bundle {
    pub(super) fn push(&mut self, what: What, from: SocketAddr, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.entries.push((what, from, start, self.bytes.len()));
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES || self.bytes.len() >= MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn datagrams(&self) -> usize {
        self.entries.iter().filter(|(what, ..)| what.is_datagram()).count()
    }

    /// The entries, in order; notes have no data.
    pub(in crate::worker) fn entries(
        &mut self,
    ) -> impl Iterator<Item = (What, SocketAddr, &mut [u8])> {
        let mut rest = self.bytes.as_mut_slice();
        self.entries.iter().map(move |(what, from, start, end)| {
            // They stand one behind the other.
            let (data, later) = std::mem::take(&mut rest).split_at_mut(end - start);
            rest = later;
            (*what, *from, data)
        })
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }
}
