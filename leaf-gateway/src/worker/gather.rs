//! When what has come goes out to the viewers: one pass with all packets of a frame costs little
//! more than one with the first of them, so the rest of a frame is waited for, a little. Pure.

use soleil_protocol::Mono;
use std::time::Duration;

/// The wait is this part of what the last pass took: where passes are short, so is what waiting
/// could save.
const PART: u32 = 4;

/// The longest wait: a thirtieth of a frame's time, and more than a frame in one burst takes.
const LONGEST: Duration = Duration::from_millis(1);

/// What a packet says of the end of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is the last one of its frame.
    Last,
    /// More of its frame follows.
    More,
    /// It has no frame (sound): no reason to wait, nor to stop waiting.
    Alone,
}

/// Packets that wait for the next pass.
#[derive(Debug)]
pub(super) struct Gather<P> {
    waiting: Vec<P>,
    until: Option<Mono>,
    complete: bool,
    pass: Duration,
}

impl<P> Default for Gather<P> {
    fn default() -> Self {
        Self { waiting: Vec::new(), until: None, complete: false, pass: Duration::ZERO }
    }
}

impl<P> Gather<P> {
    /// A packet has come.
    pub(super) fn push(&mut self, now: Mono, packet: P, part: Part) {
        match part {
            Part::Last => self.complete = true,
            Part::More => self.complete = false,
            Part::Alone if self.waiting.is_empty() => self.complete = true,
            Part::Alone => {}
        }
        self.waiting.push(packet);
        self.until.get_or_insert(now.after((self.pass / PART).min(LONGEST)));
    }

    /// When [`take`](Self::take) gives what waits, at the latest.
    pub(super) fn due(&self) -> Option<Mono> {
        self.until
    }

    /// What the next pass has, if it need not wait for more.
    pub(super) fn take(&mut self, now: Mono) -> Option<Vec<P>> {
        let due = self.until.is_some_and(|at| self.complete || at <= now);
        if !due {
            return None;
        }
        self.until = None;
        Some(std::mem::take(&mut self.waiting))
    }

    /// A pass is over and took so long; its buffer comes back.
    pub(super) fn done(&mut self, mut packets: Vec<P>, took: Duration) {
        packets.clear();
        self.waiting = packets;
        self.pass = took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gather whose last pass took so long.
    fn after_a_pass_of(took: Duration) -> Gather<u32> {
        let mut gather = Gather::default();
        gather.done(Vec::new(), took);
        gather
    }

    #[test]
    fn a_frame_goes_out_when_its_last_packet_is_there() {
        let mut g = after_a_pass_of(Duration::from_millis(4));
        assert_eq!((g.due(), g.take(Mono(0))), (None, None));
        g.push(Mono(100), 1, Part::More);
        g.push(Mono(150), 2, Part::More);
        assert_eq!(g.take(Mono(200)), None);
        g.push(Mono(250), 3, Part::Last);
        assert_eq!(g.take(Mono(250)), Some(vec![1, 2, 3]));
        assert_eq!((g.due(), g.take(Mono(9_000))), (None, None), "once");
    }

    #[test]
    fn it_waits_for_a_quarter_of_a_pass_and_never_long() {
        for (pass, wait) in [(0, 0), (400, 100), (4_000, 1_000), (400_000, 1_000)] {
            let mut g = after_a_pass_of(Duration::from_micros(pass));
            g.push(Mono(50), 1, Part::More);
            // Those that come meanwhile do not put it off.
            g.push(Mono(50 + wait), 2, Part::More);
            assert_eq!(g.due(), Some(Mono(50 + wait)), "{pass} us");
            if wait > 0 {
                assert_eq!(g.take(Mono(49 + wait)), None, "{pass} us");
            }
            assert_eq!(g.take(Mono(50 + wait)), Some(vec![1, 2]), "{pass} us");
        }
    }

    #[test]
    fn sound_neither_waits_nor_ends_the_wait_of_a_picture() {
        let mut g = after_a_pass_of(Duration::from_millis(4));
        g.push(Mono(0), 1, Part::Alone);
        assert_eq!(g.take(Mono(0)), Some(vec![1]));
        g.done(Vec::new(), Duration::from_millis(4));
        g.push(Mono(10), 2, Part::More);
        g.push(Mono(20), 3, Part::Alone);
        assert_eq!(g.take(Mono(20)), None);
        g.push(Mono(30), 4, Part::Last);
        assert_eq!(g.take(Mono(30)), Some(vec![2, 3, 4]));
    }

    #[test]
    fn the_beginning_of_the_next_frame_waits_with_the_end_of_the_last() {
        let mut g = after_a_pass_of(Duration::from_millis(4));
        g.push(Mono(0), 1, Part::Last);
        g.push(Mono(0), 2, Part::More);
        assert_eq!(g.take(Mono(0)), None);
        assert_eq!(g.take(Mono(1_000)), Some(vec![1, 2]));
    }

    #[test]
    fn buffers_are_reused() {
        let mut g = Gather::default();
        g.push(Mono(0), 1, Part::Last);
        let packets = g.take(Mono(0)).unwrap();
        let (place, room) = (packets.as_ptr(), packets.capacity());
        g.done(packets, Duration::ZERO);
        g.push(Mono(1), 2, Part::Last);
        let packets = g.take(Mono(1)).unwrap();
        assert_eq!((packets.as_ptr(), packets.capacity()), (place, room));
    }
}
