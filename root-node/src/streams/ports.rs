//! Which UDP ports a stream gets whose operator named none: even ones out of a range, with the next
//! one free for RTCP. The search goes on where the last one ended, so that a broadcaster who still
//! sends to a stream that was removed does not become the source of the next one.

use crate::config::PortRange;
use std::collections::BTreeSet;

/// Where the search stands.
#[derive(Debug)]
pub struct Ports {
    range: PortRange,
    next: u16,
}

impl Ports {
    /// At the beginning of a range.
    pub fn new(range: PortRange) -> Self {
        Self { range, next: *range.ports().start() }
    }

    /// The range.
    pub fn range(&self) -> PortRange {
        self.range
    }

    /// A port that is not taken and, like the one behind it, free on this machine.
    pub fn take(
        &mut self,
        taken: &BTreeSet<u16>,
        free: &mut dyn FnMut(u16) -> bool,
    ) -> Option<u16> {
        let even = |port: &u16| port.is_multiple_of(2);
        let ports = || self.range.ports().filter(even);
        let later = ports().filter(|port| *port >= self.next);
        let earlier = ports().filter(|port| *port < self.next);
        let found = later.chain(earlier).find(|port| {
            let Some(rtcp) = port.checked_add(1).filter(|p| self.range.ports().contains(p)) else {
                return false;
            };
            !taken.contains(port) && !taken.contains(&rtcp) && free(*port) && free(rtcp)
        })?;
        self.next = found.saturating_add(2);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_given_in_turn() {
        let mut ports = Ports::new("6001-6009".parse().unwrap());
        let mut taken = BTreeSet::from([6004]);
        let mut take = |taken: &BTreeSet<u16>| ports.take(taken, &mut |port| port != 6007);
        assert_eq!(take(&taken), Some(6002));
        assert_eq!(take(&taken), Some(6008), "6004 is taken, 6006 has no free port behind it");
        assert_eq!(take(&taken), Some(6002), "it begins anew");
        taken.extend([6003, 6008]);
        assert_eq!(take(&taken), None);
    }

    #[test]
    fn a_range_up_to_the_last_port_has_an_end() {
        let mut ports = Ports::new("65534-65535".parse().unwrap());
        let none = BTreeSet::new();
        assert_eq!(ports.take(&none, &mut |_| true), Some(65_534));
        assert_eq!(ports.take(&none, &mut |_| true), Some(65_534));
    }
}
