//! Puts the times of an input on the worker's own time: one shift for all its tracks, so that sound
//! and picture stay together. Pure; everything in nanoseconds.
//!
//! * A live input (SRT, RTSP, RTMP) is put so that its first packet is "now"; a jump of its clock
//!   puts it anew.
//! * A file is put a little ahead of now and is played in real time; each new round begins where the
//!   last one ended.

/// A live input that is this far off has another clock now.
const JUMP_NS: i64 = 3_000_000_000;
/// A file begins this far ahead of now: time to build the pipeline that plays it.
const LEAD_NS: i64 = 400_000_000;
/// A file that is this late (the machine was suspended, or is too slow) goes on from now.
const LATE_NS: i64 = 2_000_000_000;

/// One input.
#[derive(Debug)]
pub struct Timeline {
    live: bool,
    shift: Option<i64>,
    /// Where the last round of a file ends, on our time.
    end: Option<i64>,
    jumps: u32,
}

impl Timeline {
    /// Of a live input, or of a file.
    pub fn new(live: bool) -> Timeline {
        Timeline { live, shift: None, end: None, jumps: 0 }
    }

    /// What must be added to the times of a packet, whose decoding time this is, so that it is on
    /// our time. `until` is when it ends.
    pub fn shift(&mut self, now: i64, time: i64, until: i64) -> i64 {
        let place = |at: i64| at.saturating_sub(time);
        let shift = match self.shift {
            None if self.live => place(now),
            None => place(self.end.map_or(now.saturating_add(LEAD_NS), |end| end.max(now))),
            Some(shift) => {
                let off = now.saturating_sub(time.saturating_add(shift));
                let jumped = if self.live { off.saturating_abs() > JUMP_NS } else { off > LATE_NS };
                if jumped {
                    self.jumps += 1;
                    place(now)
                } else {
                    shift
                }
            }
        };
        self.shift = Some(shift);
        let until = until.saturating_add(shift);
        self.end = Some(self.end.map_or(until, |end| end.max(until)));
        shift
    }

    /// The file begins again.
    pub fn again(&mut self) {
        self.shift = None;
    }

    /// How often the input's clock has jumped.
    pub fn jumps(&self) -> u32 {
        self.jumps
    }
}
