//! Replay windows (RFC 3711 section 3.3.2): which indexes have been seen, in a bitmap that slides
//! with the highest. Only authenticated packets may be recorded: the caller sees to that.

/// What a window says of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not seen yet, and young enough to know.
    New,
    /// Seen before.
    Duplicate,
    /// Older than the window is long: it counts as seen.
    TooOld,
}

/// A sliding bitmap over a 48-bit (or shorter) index.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    words: Box<[u64]>,
    /// One more than the highest recorded index; 0 if there is none.
    next: u64,
}

impl ReplayWindow {
    /// A window over the last `len` indexes, rounded up to 64.
    pub fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64).max(1)].into(), next: 0 }
    }

    /// How many indexes back the window reaches.
    pub fn len(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// The highest recorded index.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Asks without recording.
    pub fn check(&self, index: u64) -> Seen {
        if index >= self.next {
            Seen::New
        } else if self.next - index > self.len() {
            Seen::TooOld
        } else if self.words[self.word(index)] & bit(index) != 0 {
            Seen::Duplicate
        } else {
            Seen::New
        }
    }

    /// Records an index whose packet has been authenticated; what it says is as for
    /// [`ReplayWindow::check`] before.
    pub fn insert(&mut self, index: u64) -> Seen {
        let seen = self.check(index);
        if seen != Seen::New {
            return seen;
        }
        if index >= self.next {
            self.advance(index);
        }
        let word = self.word(index);
        self.words[word] |= bit(index);
        Seen::New
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.next = 0;
    }

    /// Makes `index` the highest and clears what the jump has passed.
    fn advance(&mut self, index: u64) {
        if index - self.next >= self.len() {
            self.words.fill(0);
        } else {
            // From `next` to the end of its word the bits are clear already, except those of a
            // round ago; words in between are whole.
            let mut at = self.next;
            while at <= index {
                let word = self.word(at);
                if at.is_multiple_of(64) && index - at >= 63 {
                    self.words[word] = 0;
                    at += 64;
                } else {
                    self.words[word] &= !bit(at);
                    at += 1;
                }
            }
        }
        self.next = index + 1;
    }

    fn word(&self, index: u64) -> usize {
        ((index / 64) % self.words.len() as u64) as usize
    }
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_first_index_may_be_anything() {
        for first in [0, 1, 63, 64, 1 << 40, (1 << 48) - 1] {
            let mut w = ReplayWindow::new(128);
            assert_eq!(w.insert(first), Seen::New);
            assert_eq!(w.insert(first), Seen::Duplicate);
            assert_eq!(w.highest(), Some(first));
        }
    }

    #[test]
    fn too_old_counts_as_seen() {
        let mut w = ReplayWindow::new(64);
        w.insert(1000);
        assert_eq!(w.insert(1001 - 64), Seen::New);
        assert_eq!(w.insert(1000 - 64), Seen::TooOld);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(
            len in 1usize..400,
            start in 0u64..1 << 47,
            steps in prop::collection::vec((0u64..500, 0u8..10), 1..400),
        ) {
            let mut w = ReplayWindow::new(len);
            let (mut set, mut highest) = (HashSet::new(), None::<u64>);
            let mut at = start;
            for (step, kind) in steps {
                let index = match kind {
                    0 => at.saturating_sub(step),
                    1 => at + step * 7,
                    _ => at + step % 3,
                };
                let old = highest.is_some_and(|h| index <= h && h - index >= w.len());
                let expected = if old {
                    Seen::TooOld
                } else if set.contains(&index) {
                    Seen::Duplicate
                } else {
                    Seen::New
                };
                prop_assert_eq!(w.insert(index), expected);
                set.insert(index);
                highest = Some(highest.map_or(index, |h| h.max(index)));
                at = at.max(index);
            }
        }
    }
}
