//! How long ago a node has logged something: the one clock that a test and the processes of its tree
//! have in common is the time of day.

use super::node::Running;
use relay_node::clock::Clock;
use std::time::Duration;

const DAY: f64 = 86_400.0;

impl Running {
    /// How long ago the first line of its log was written that has these words in it.
    #[must_use]
    pub fn logged_ago(&self, words: &str) -> Option<Duration> {
        let line = self.process.log().into_iter().find(|line| line.contains(words))?;
        let micros = Clock::start().now().wall.0;
        let ago = micros as f64 / 1e6 - time_of_day(&line)?;
        Some(Duration::from_secs_f64(ago.rem_euclid(DAY)))
    }
}

/// Seconds since midnight, UTC, out of a line that begins as `2026-01-31T23:59:59.5Z`.
fn time_of_day(line: &str) -> Option<f64> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    let mut next = || parts.next().flatten();
    Some(next()? * 3_600.0 + next()? * 60.0 + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read() {
        let line = "2026-01-31T01:02:03.25Z  INFO root_node::root: stream is on air: true";
        assert_eq!(time_of_day(line), Some(3_723.25));
        assert_eq!((time_of_day("no time"), time_of_day("T1:2Z")), (None, None));
    }
}
