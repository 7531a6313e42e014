//! Whether the queue grows: a line through the last delays, and a threshold that adapts to how
//! noisy they are (draft-ietf-rmcat-gcc-02 sections 5.3 and 5.4; the line in place of the Kalman
//! filter is what browsers do since 2016, and the constants are theirs).

use super::groups::Sample;

/// Groups that the line goes through: two thirds of a second of pictures at 30 a second.
const WINDOW: usize = 20;

/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;

/// What the slope is multiplied with before it meets the threshold, times the number of groups.
const GAIN: f64 = 4.0;

/// That number counts at most so much.
const MAX_GROUPS: u32 = 60;

/// The threshold at first, and its bounds, ms (section 5.4).
const THRESHOLD: f64 = 12.5;
const MIN_THRESHOLD: f64 = 6.0;
const MAX_THRESHOLD: f64 = 600.0;

/// How fast it follows what lies above it and below it, per ms.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;

/// What lies further above it than this is a jump and no noise.
const MAX_ABOVE: f64 = 15.0;

/// The slope must lie above it for so long, ms.
const OVERUSE_MS: f64 = 10.0;

/// What the delays say of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// The queue stays as it is.
    #[default]
    Normal,
    /// The queue grows: more is sent than the link carries.
    Over,
    /// The queue drains.
    Under,
}

#[derive(Debug)]
pub(super) struct Trend {
    /// Arrival since the first group, and smoothed delay, ms.
    points: [(f64, f64); WINDOW],
    len: usize,
    at: usize,
    groups: u32,
    first_arrival: Option<i64>,
    smoothed: f64,
    slope: f64,
    threshold: f64,
    last_update: Option<i64>,
    over_for: Option<f64>,
    over_count: u32,
    last_slope: f64,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: [(0.0, 0.0); WINDOW],
            len: 0,
            at: 0,
            groups: 0,
            first_arrival: None,
            smoothed: 0.0,
            slope: 0.0,
            threshold: THRESHOLD,
            last_update: None,
            over_for: None,
            over_count: 0,
            last_slope: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// `waited` is how long the group waited in a queue that grew without a reason, µs.
    pub(super) fn push(&mut self, sample: &Sample, waited: i64) -> Usage {
        let first = *self.first_arrival.get_or_insert(sample.arrived);
        self.groups = (self.groups + 1).min(MAX_GROUPS);
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * (waited as f64 / 1e3);
        self.points[self.at] = ((sample.arrived - first) as f64 / 1e3, self.smoothed);
        self.at = (self.at + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
        if self.len == WINDOW
            && let Some(slope) = slope(&self.points)
        {
            self.slope = slope;
        }
        self.detect(sample.sent_delta as f64 / 1e3, sample.arrived);
        self.usage
    }

    fn detect(&mut self, sent_delta: f64, arrived: i64) {
        if self.groups < 2 {
            self.usage = Usage::Normal;
            return;
        }
        let trend = self.slope * f64::from(self.groups) * GAIN;
        if trend > self.threshold {
            let over = match self.over_for {
                // It began somewhere between the two groups.
                None => sent_delta / 2.0,
                Some(over) => over + sent_delta,
            };
            self.over_for = Some(over);
            self.over_count += 1;
            if over > OVERUSE_MS && self.over_count > 1 && self.slope >= self.last_slope {
                self.over_for = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = None;
            self.over_count = 0;
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = self.slope;
        self.adapt(trend.abs(), arrived);
    }

    fn adapt(&mut self, trend: f64, arrived: i64) {
        let ms =
            self.last_update.map_or(0.0, |last| (arrived - last).clamp(0, 100_000) as f64 / 1e3);
        self.last_update = Some(arrived);
        if trend > self.threshold + MAX_ABOVE {
            return;
        }
        let k = if trend < self.threshold { THRESHOLD_DOWN } else { THRESHOLD_UP };
        let moved = self.threshold + k * (trend - self.threshold) * ms;
        self.threshold = moved.clamp(MIN_THRESHOLD, MAX_THRESHOLD);
    }
}

/// Slope of the line of least squares.
fn slope(points: &[(f64, f64); WINDOW]) -> Option<f64> {
    let n = WINDOW as f64;
    let (sx, sy) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (mx, my) = (sx / n, sy / n);
    let (above, below) = points
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + (x - mx) * (y - my), b + (x - mx) * (x - mx)));
    (below > 0.0).then(|| above / below)
}
