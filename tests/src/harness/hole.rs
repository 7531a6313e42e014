//! A relay that the network has swallowed, whole or on its way to the root: nothing passes, and nobody
//! closes a connection. For trees with emulators and taps in all hops ([`Options::with_holes`]).

use super::options::{Hop, Options};
use super::tree::Tree;
use crate::emulator::{Hold, LinkConfig};
use std::net::{Ipv4Addr, SocketAddr};

impl Options {
    /// The same tree with everything in its hops that [`Tree::black_hole`] needs.
    #[must_use]
    pub fn with_holes(self) -> Self {
        let hop = || Hop { emulate: Some(LinkConfig::default()), tap: true };
        Self { root_hop: hop(), relay_hop: hop(), ..self }
    }
}

impl Tree {
    /// Nothing passes any more between a relay and the root, control and media, while its children
    /// reach it as before; or everything passes again.
    pub fn cut_off(&self, relay: usize, hole: bool) {
        let media = SocketAddr::from((Ipv4Addr::LOCALHOST, self.relay_ports[relay].media));
        let pid = self.relays[relay].process.id();
        if let Some(emulator) = &self.root_emulator {
            emulator.cut(if hole { vec![media] } else { Vec::new() });
        }
        if let Some(tap) = &self.root_tap {
            tap.hold(hole.then_some(Hold::Process(pid)));
        }
    }

    /// Nothing passes to and from a relay any more, on its control and media links to children,
    /// parent and backups; or everything passes again.
    pub fn black_hole(&self, relay: usize, hole: bool) {
        let media = SocketAddr::from((Ipv4Addr::LOCALHOST, self.relay_ports[relay].media));
        let pid = self.relays[relay].process.id();
        let hold = |kind| hole.then_some(kind);
        // Media first: what is noticed first is what is measured.
        let others = || (0..self.relays.len()).filter(|n| *n != relay);
        self.relay_emulators[relay].cut_all_but(hole.then_some(0));
        let emulators = others().filter_map(|n| self.relay_emulators.get(n));
        for emulator in emulators.chain(&self.root_emulator) {
            emulator.cut(if hole { vec![media] } else { Vec::new() });
        }
        self.relay_taps[relay].hold(hold(Hold::All));
        let taps = others().filter_map(|n| self.relay_taps.get(n));
        for tap in taps.chain(&self.root_tap) {
            tap.hold(hold(Hold::Process(pid)));
        }
    }
}
