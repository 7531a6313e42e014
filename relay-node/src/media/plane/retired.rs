//! The secrets of links that are over. A link made a second time from the same credential and
//! nonces would begin again at RTCP index 0 under the same keys, and GCM gives its authentication
//! key away when it seals twice under one nonce (RFC 5116 section 5.1.1): so it is refused.
//!
//! The control core draws a nonce for each link that it makes, so this never happens; here it
//! can't, whatever the control core does.

use std::collections::{HashSet, VecDeque};

/// Links that are remembered: at 32 bytes each cheap, and more than a node makes within the five
/// minutes that a ticket (and with it a credential) is good for.
pub const MAX_RETIRED: usize = 4096;

/// Hashes of secrets, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Retired {
    order: VecDeque<[u8; 32]>,
    all: HashSet<[u8; 32]>,
}

impl Retired {
    /// Remembers a link that is over; forgets the oldest beyond [`MAX_RETIRED`].
    pub fn insert(&mut self, secrets: [u8; 32]) {
        if !self.all.insert(secrets) {
            return;
        }
        self.order.push_back(secrets);
        if self.order.len() > MAX_RETIRED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// Whether there was a link with these secrets.
    pub fn contains(&self, secrets: &[u8; 32]) -> bool {
        self.all.contains(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_last_ones_and_no_more() {
        let mut retired = Retired::default();
        let secret = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            bytes
        };
        (0..=MAX_RETIRED).for_each(|n| retired.insert(secret(n)));
        retired.insert(secret(5));
        assert!(!retired.contains(&secret(0)));
        assert!(retired.contains(&secret(1)) && retired.contains(&secret(MAX_RETIRED)));
        assert_eq!((retired.order.len(), retired.all.len()), (MAX_RETIRED, MAX_RETIRED));
    }
}
