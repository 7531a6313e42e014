//! Nodes that keep falling over. One that dies and comes back every few seconds would get children
//! each time and lose them again, and all of them would move each time. So whoever has come back
//! twice in a short time is nobody's parent and nobody's backup for a while, longer each time. It is
//! in the tree all the same, and a leaf serves its viewers.
//!
//! Coming back once is nothing: a crash, an update, a root that started again. A node that said BYE
//! before is not counted. If there is no place elsewhere, all are trusted again.

use soleil_protocol::Mono;
use std::time::Duration;

/// Returns that are not held against a node.
const FREE: u32 = 1;

/// How long it is not trusted after the next one; twice as long each time.
const FIRST_PENALTY: Duration = Duration::from_secs(30);

/// At most so long.
const MAX_PENALTY: Duration = Duration::from_secs(600);

/// Whoever has stood for so long after its penalty begins anew.
const CALM: Duration = Duration::from_secs(60);

/// How often a node has come back of late, and whether others are put below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Steadiness {
    returns: u32,
    last: Mono,
    distrusted: bool,
}

impl Steadiness {
    /// It was known, and joins again.
    #[must_use]
    pub fn returned(self, now: Mono) -> Self {
        let calm = self.penalty().saturating_add(CALM);
        let returns = if self.returns > 0 && now.since(self.last) < calm {
            self.returns.saturating_add(1)
        } else {
            1
        };
        Self { returns, last: now, distrusted: returns > FREE }
    }

    fn penalty(&self) -> Duration {
        match self.returns.checked_sub(FREE + 1) {
            Some(more) => FIRST_PENALTY.saturating_mul(1 << more.min(8)).min(MAX_PENALTY),
            None => Duration::ZERO,
        }
    }

    /// Whether others may be put below it.
    pub fn is_trusted(&self) -> bool {
        !self.distrusted
    }

    /// Whether it has stood long enough to be trusted again.
    pub fn is_over(&self, now: Mono) -> bool {
        self.distrusted && now.since(self.last) >= self.penalty()
    }

    /// Others may be put below it from now on.
    pub fn trust(&mut self) {
        self.distrusted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Mono {
        Mono(n * 1_000_000)
    }

    #[test]
    fn one_return_is_free_and_each_further_one_costs_more() {
        let mut node = Steadiness::default().returned(secs(100));
        assert!(node.is_trusted());
        node = node.returned(secs(110));
        assert!(!node.is_trusted() && !node.is_over(secs(139)) && node.is_over(secs(140)));
        node = node.returned(secs(120));
        assert!(!node.is_over(secs(179)) && node.is_over(secs(180)));
        for n in 0..20 {
            node = node.returned(secs(130 + n));
        }
        assert!(!node.is_over(secs(700)) && node.is_over(secs(149 + 600)));
        node.trust();
        assert!(node.is_trusted());
    }

    #[test]
    fn who_has_stood_for_long_begins_anew() {
        let twice = Steadiness::default().returned(secs(100)).returned(secs(110));
        assert!(!twice.returned(secs(199)).is_trusted());
        assert!(twice.returned(secs(200)).is_trusted());
        let once = Steadiness::default().returned(secs(100));
        assert!(once.returned(secs(160)).is_trusted());
    }
}
