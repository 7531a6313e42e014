//! What this process costs the machine: CPU and memory, read from /proc (elsewhere: zero).

use soleil_protocol::Mono;

/// Ticks a second in /proc/self/stat: USER_HZ is 100 on every Linux that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page in /proc/self/statm: 4 KiB on x86-64 and, as a rule, on ARM.
const PAGE: u64 = 4096;

/// Remembers the last reading, since CPU load is a difference.
#[derive(Debug, Default)]
pub(crate) struct ProcessMeter {
    last: Option<(u64, Mono)>,
}

impl ProcessMeter {
    /// CPU load since the last call, in percent of the whole machine.
    pub(crate) fn cpu(&mut self, now: Mono) -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let Some(ticks) = cpu_ticks(&stat) else { return 0.0 };
        let Some((before, at)) = self.last.replace((ticks, now)) else { return 0.0 };
        let seconds = now.since(at).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let busy = ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND;
        (100.0 * busy / seconds / cores).clamp(0.0, 100.0)
    }

    /// CPU time since the process began, in seconds.
    pub(crate) fn cpu_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        cpu_ticks(&stat).unwrap_or_default() as f64 / TICKS_PER_SECOND
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
        pages.unwrap_or_default().saturating_mul(PAGE)
    }
}

/// User and system time (fields 14 and 15 of proc(5)). The program's name stands in parentheses
/// and may hold anything, so counting begins behind the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_right_fields_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(110));
        assert_eq!(cpu_ticks(""), None);
        assert_eq!(cpu_ticks("1 (x) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_a_load() {
        let mut meter = ProcessMeter::default();
        assert!(meter.memory() > 100_000);
        assert_eq!(meter.cpu(Mono(0)), 0.0);
        assert!((0.0..=100.0).contains(&meter.cpu(Mono(1_000_000))));
    }
}
