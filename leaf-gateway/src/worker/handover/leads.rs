//! Where datagrams from an address have to go that land at a worker which has not got their session.
//! What stands here was told by the worker that has it, after an authentic check or answer: nothing
//! that a stranger writes on a datagram gets in. Bounded: what is not used longest makes room. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;

/// Addresses that are known at once, in each of two generations: the 8 that a viewer may have of 2,000
/// viewers whose datagrams land here, or one each of 16,000.
pub const MAX_LEADS: usize = 16_384;

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Lead {
    /// The worker that has the session.
    pub(in crate::worker) owner: usize,
    /// The session has validated the address.
    pub(in crate::worker) validated: bool,
    /// Another worker with a session that claims it as well: answers go to both.
    pub(in crate::worker) rival: Option<usize>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Leads {
    young: HashMap<SocketAddr, Lead>,
    old: HashMap<SocketAddr, Lead>,
}

impl Leads {
    /// Where datagrams from there go. Asking keeps it known.
    pub(super) fn get(&mut self, from: SocketAddr) -> Option<Lead> {
        if let Some(lead) = self.young.get(&from) {
            return Some(*lead);
        }
        let lead = self.old.remove(&from)?;
        self.put(from, lead);
        Some(lead)
    }

    /// A worker's session claims the address. The rules are those of sessions within a worker: who
    /// has validated it has it, and one that has not yet is let hear the answers.
    pub(super) fn claim(&mut self, from: SocketAddr, worker: usize, validated: bool) {
        let lead = match self.get(from) {
            Some(lead) if lead.owner == worker => Lead {
                owner: worker,
                validated: validated || lead.validated,
                rival: lead.rival.filter(|_| !validated),
            },
            Some(lead) if lead.validated && !validated => Lead { rival: Some(worker), ..lead },
            Some(lead) if !validated => Lead { owner: worker, validated, rival: Some(lead.owner) },
            _ => Lead { owner: worker, validated, rival: None },
        };
        self.put(from, lead);
    }

    /// The address is this worker's own, or nobody's at the worker that it led to.
    pub(super) fn forget(&mut self, from: SocketAddr, owner: Option<usize>) {
        for leads in [&mut self.young, &mut self.old] {
            if leads.get(&from).is_some_and(|lead| owner.is_none_or(|o| o == lead.owner)) {
                leads.remove(&from);
            }
        }
    }

    fn put(&mut self, from: SocketAddr, lead: Lead) {
        if self.young.len() >= MAX_LEADS && !self.young.contains_key(&from) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&from);
        self.young.insert(from, lead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> SocketAddr {
        SocketAddr::from(([10, (n >> 16) as u8, (n >> 8) as u8, n as u8], 4_000))
    }

    fn lead(owner: usize, validated: bool, rival: Option<usize>) -> Option<Lead> {
        Some(Lead { owner, validated, rival })
    }

    #[test]
    fn who_has_validated_an_address_keeps_it_and_the_newcomer_hears_the_answers() {
        let mut leads = Leads::default();
        assert_eq!(leads.get(at(1)), None);
        leads.claim(at(1), 1, false);
        assert_eq!(leads.get(at(1)), lead(1, false, None));
        // Neither has validated it: both hear the answers.
        leads.claim(at(1), 2, false);
        assert_eq!(leads.get(at(1)), lead(2, false, Some(1)));
        leads.claim(at(1), 1, true);
        assert_eq!(leads.get(at(1)), lead(1, true, None));
        leads.claim(at(1), 3, false);
        assert_eq!(leads.get(at(1)), lead(1, true, Some(3)));
        leads.claim(at(1), 1, false);
        assert_eq!(leads.get(at(1)), lead(1, true, Some(3)), "it has validated it before");
        // The page was loaded anew at the same port: who answers to the newcomer is the newcomer's.
        leads.claim(at(1), 3, true);
        assert_eq!(leads.get(at(1)), lead(3, true, None));
        assert_eq!(leads.get(at(2)), None);
    }

    #[test]
    fn what_leads_nowhere_is_forgotten() {
        let mut leads = Leads::default();
        leads.claim(at(1), 1, true);
        leads.forget(at(1), Some(2));
        assert_eq!(leads.get(at(1)), lead(1, true, None), "another one has it by now");
        leads.forget(at(1), Some(1));
        assert_eq!(leads.get(at(1)), None);
        leads.claim(at(1), 1, true);
        leads.forget(at(1), None);
        assert_eq!(leads.get(at(1)), None);
    }

    #[test]
    fn there_is_a_bound_and_what_is_used_stays() {
        let mut leads = Leads::default();
        leads.claim(at(0), 1, true);
        for n in 1..5 * MAX_LEADS as u32 {
            leads.claim(at(n), 2, true);
            if n % 1_000 == 0 {
                assert!(leads.get(at(0)).is_some(), "after {n}");
            }
            assert!(leads.young.len() <= MAX_LEADS && leads.old.len() <= MAX_LEADS);
        }
        assert_eq!(leads.get(at(1)), None);
    }
}
