//! One timer wheel for all sessions of a worker: no timer, task or wake-up per viewer.

use soleil_protocol::Mono;

/// Width of a slot. Nothing a session waits for needs to be finer.
const SLOT_MICROS: u64 = 10_000;

/// Slots: five seconds; what lies further away is looked at again then.
const SLOTS: usize = 512;

/// Keys by the time at which they want to be looked at.
#[derive(Debug)]
pub(super) struct Wheel<K> {
    slots: Vec<Vec<K>>,
    /// Number of the first slot that has not been emptied.
    next: u64,
    len: usize,
}

impl<K> Wheel<K> {
    pub(super) fn new(now: Mono) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), next: now.0 / SLOT_MICROS, len: 0 }
    }

    /// Puts a key in; returns the time at which it will come out (not before `at`, unless that is
    /// beyond the wheel).
    pub(super) fn insert(&mut self, at: Mono, key: K) -> Mono {
        let slot = at.0.div_ceil(SLOT_MICROS).clamp(self.next, self.next + SLOTS as u64 - 1);
        self.slots[(slot % SLOTS as u64) as usize].push(key);
        self.len += 1;
        Mono(slot * SLOT_MICROS)
    }

    /// Keys in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Moves the keys whose time has come to `due`.
    pub(super) fn expire(&mut self, now: Mono, due: &mut Vec<K>) {
        let until = now.0 / SLOT_MICROS;
        let steps = (until + 1).saturating_sub(self.next).min(SLOTS as u64);
        for i in 0..steps {
            let slot = &mut self.slots[((self.next + i) % SLOTS as u64) as usize];
            self.len -= slot.len();
            due.append(slot);
        }
        self.next = self.next.max(until + 1);
    }

    /// When the next key comes out.
    pub(super) fn next_expiry(&self) -> Option<Mono> {
        if self.len == 0 {
            return None;
        }
        (self.next..self.next + SLOTS as u64)
            .find(|slot| !self.slots[(slot % SLOTS as u64) as usize].is_empty())
            .map(|slot| Mono(slot * SLOT_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel<u32>, ms: u64) -> Vec<u32> {
        let mut due = vec![];
        wheel.expire(Mono(ms * 1000), &mut due);
        due
    }

    #[test]
    fn keys_come_out_in_their_time_and_once() {
        let mut wheel = Wheel::new(Mono(1_000_000));
        assert_eq!(wheel.next_expiry(), None);
        assert_eq!(wheel.insert(Mono(1_015_000), 1), Mono(1_020_000));
        wheel.insert(Mono(1_200_000), 2);
        wheel.insert(Mono(5_000), 3);
        assert_eq!(wheel.next_expiry(), Some(Mono(1_000_000)));
        assert_eq!(due(&mut wheel, 1_000), vec![3], "the past comes at once");
        assert_eq!(due(&mut wheel, 1_019), Vec::<u32>::new());
        assert_eq!(due(&mut wheel, 1_020), vec![1]);
        assert_eq!(wheel.next_expiry(), Some(Mono(1_200_000)));
        assert_eq!(due(&mut wheel, 1_500), vec![2]);
        assert_eq!(wheel.next_expiry(), None);
    }

    #[test]
    fn what_is_far_away_comes_out_at_the_rim() {
        let mut wheel = Wheel::new(Mono(0));
        let at = wheel.insert(Mono(60_000_000), 1);
        assert_eq!(at, Mono(5_110_000));
        assert!(due(&mut wheel, 5_100).is_empty());
        assert_eq!(due(&mut wheel, 5_110), vec![1]);
    }

    #[test]
    fn extreme_times_are_no_trouble() {
        let mut wheel = Wheel::new(Mono(u64::MAX / 2));
        wheel.insert(Mono(0), 1);
        wheel.insert(Mono(u64::MAX), 2);
        assert_eq!(due(&mut wheel, u64::MAX / 2_000), vec![1]);
        assert_eq!(wheel.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn every_key_comes_out_once_and_never_early(
            ops in proptest::collection::vec((0u64..8_000_000, 0u64..2_000_000), 1..200),
        ) {
            let (mut wheel, mut now) = (Wheel::new(Mono(0)), 0);
            let (mut promised, mut out) = (Vec::new(), Vec::new());
            for (i, (ahead, step)) in ops.iter().enumerate() {
                promised.push(wheel.insert(Mono(now + ahead), i).0);
                proptest::prop_assert!(promised[i] >= (now + ahead).min(now + 5_000_000));
                now += step;
                wheel.expire(Mono(now), &mut out);
                for key in &out {
                    proptest::prop_assert!(promised[*key] <= now);
                }
            }
            let last = *promised.iter().max().unwrap();
            wheel.expire(Mono(last.max(now) + 10_000_000), &mut out);
            out.sort_unstable();
            proptest::prop_assert_eq!(out, (0..ops.len()).collect::<Vec<_>>());
            proptest::prop_assert_eq!(wheel.next_expiry(), None);
        }
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut wheel = Wheel::new(Mono(0));
        for i in 0..500 {
            wheel.insert(Mono(i * 10_000), i as u32);
        }
        assert_eq!(due(&mut wheel, 3_600_000).len(), 500);
        wheel.insert(Mono(3_600_020_000), 7);
        assert_eq!(due(&mut wheel, 3_600_020), vec![7]);
    }
}
