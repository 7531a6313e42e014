//! Packets that were sent together, and how their delay changes from group to group.
//!
//! draft-ietf-rmcat-gcc-02 section 5.2 measures at a group's last packet, since its sender paces:
//! a group is then about as long on the wire as the one before. We forward frames as they come,
//! unpaced, and a large frame takes longer than a small one on any link. So we measure at the
//! group's first packet: it sees only what earlier groups have left in the queue.

/// Packets sent within so many microseconds are one group (section 5.2 of the draft).
const GROUP_MICROS: i64 = 5_000;

/// So many packets in a row from before the present group mean that the clock was set back
/// somewhere: the next one begins anew.
const RESET_AFTER: u8 = 3;

/// A jump of the arrival clock against ours that is no queue but another clock, microseconds: no
/// queue of a link that anybody watches through holds three seconds.
const RESET_JUMP_MICROS: i64 = 3_000_000;

/// A packet's times.
#[derive(Debug, Clone, Copy)]
struct Point {
    sent: i64,
    arrived: i64,
}

/// How a group came, compared with the one before it. Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// The time between the two at the sender.
    pub(super) sent_delta: i64,
    /// When it arrived, on the viewer's clock.
    pub(super) arrived: i64,
    /// Time under way; its zero is unknown, since the clocks are two.
    pub(super) delay: i64,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Point>,
    behind: u8,
}

impl Groups {
    /// The next packet in order of sending; a sample if it is the first of a group.
    pub(super) fn push(&mut self, sent: i64, arrived: i64) -> Option<Sample> {
        let point = Point { sent, arrived };
        let Some(last) = self.current else {
            self.current = Some(point);
            return None;
        };
        let sent_delta = sent - last.sent;
        if sent_delta < 0 {
            self.behind += 1;
            if self.behind >= RESET_AFTER {
                (self.current, self.behind) = (None, 0);
            }
            return None;
        }
        self.behind = 0;
        if sent_delta <= GROUP_MICROS {
            return None;
        }
        self.current = Some(point);
        let longer = (arrived - last.arrived) - sent_delta;
        let sample = Sample { sent_delta, arrived, delay: arrived - sent };
        (longer.abs() <= RESET_JUMP_MICROS).then_some(sample)
    }
}
