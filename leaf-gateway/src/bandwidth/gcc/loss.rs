//! The loss-based half (draft-ietf-rmcat-gcc-02 section 6): a cap on the rate that much loss puts
//! on and little loss lifts.
//!
//! The draft lets the rate grow below 2% of loss and holds it up to 10%. On a radio link that
//! loses 5% whatever is sent, it would hold for ever; so loss counts from the least that was seen
//! of late: what is always lost is the link's nature, what comes on top is congestion.

use soleil_protocol::Mono;
use std::time::Duration;

/// So much loss takes the rate down, whatever its reason (section 6).
const HIGH: f64 = 0.10;

/// So much above the usual loss keeps it where it is.
const LOW: f64 = 0.02;

/// It is never taken down below this by loss (bits per second): sound and a small picture. Loss that
/// so little meets as well is not made by us, and is mended by resending.
const FLOOR: f64 = 150_000.0;

/// Nor below this part of what arrives: so much the link does carry, whatever is lost on the way to
/// more. Without a lesser layer to send, a cap that follows the loss would fall to nothing.
const OF_ARRIVING: f64 = 0.5;

/// Loss is judged over at least so many packets and so much time: five packets of a hundred are
/// lost by chance where two were expected.
const MIN_PACKETS: u32 = 50;
const MIN_TIME: Duration = Duration::from_millis(300);

/// Weight of a new window in the smoothed loss.
const WEIGHT: f64 = 0.5;

/// The usual loss is the least within the last one to two of these.
const USUAL: Duration = Duration::from_secs(5);

/// The cap grows by so much a second once the loss is low.
const INCREASE: f64 = 1.08;

/// A cap so far above the target binds nobody and is lifted.
const LIFT: f64 = 1.5;

#[derive(Debug)]
pub(super) struct Loss {
    lost: u32,
    total: u32,
    since: Option<Mono>,
    smoothed: Option<f64>,
    usual: [f64; 2],
    turned: Option<Mono>,
    cap: Option<f64>,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            lost: 0,
            total: 0,
            since: None,
            smoothed: None,
            usual: [1.0; 2],
            turned: None,
            cap: None,
        }
    }
}

impl Loss {
    /// A packet has come; `missed` if it was counted as lost before.
    pub(super) fn received(&mut self, missed: bool) {
        if missed {
            self.lost = self.lost.saturating_sub(1);
        } else {
            self.total += 1;
        }
    }

    pub(super) fn missing(&mut self) {
        self.lost += 1;
        self.total += 1;
    }

    /// Part of the packets, 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        self.smoothed.unwrap_or(0.0)
    }

    pub(super) fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// A probe has shown that the link carries so much.
    pub(super) fn raise(&mut self, rate: f64) {
        self.cap = self.cap.filter(|cap| *cap > rate).or(self.cap.map(|_| rate));
    }

    /// `target` is what is aimed at at present, `arrives` what reaches the viewer, if known; bits
    /// per second.
    pub(super) fn update(&mut self, now: Mono, target: f64, arrives: Option<f64>) {
        let since = *self.since.get_or_insert(now);
        let time = now.since(since);
        if self.total < MIN_PACKETS || time < MIN_TIME {
            return;
        }
        let fraction = f64::from(self.lost.min(self.total)) / f64::from(self.total);
        (self.lost, self.total, self.since) = (0, 0, Some(now));
        let smoothed = self.smoothed.map_or(fraction, |s| s + WEIGHT * (fraction - s));
        self.smoothed = Some(smoothed);
        if self.turned.is_none_or(|at| now.since(at) >= USUAL) {
            self.usual = [smoothed, self.usual[0]];
            self.turned = Some(now);
        }
        self.usual[0] = self.usual[0].min(smoothed);
        let usual = self.usual[0].min(self.usual[1]);
        if smoothed > HIGH && fraction > HIGH {
            let cap = self.cap.map_or(target, |cap| cap.min(target));
            let carried = arrives.map_or(0.0, |a| a * OF_ARRIVING).min(cap);
            self.cap = Some((cap * (1.0 - 0.5 * smoothed)).max(carried).max(FLOOR));
        } else if smoothed - usual <= LOW {
            let grown = self.cap.map(|cap| cap * INCREASE.powf(time.as_secs_f64().min(1.0)));
            self.cap = grown.filter(|cap| *cap < target * LIFT);
        }
    }
}
