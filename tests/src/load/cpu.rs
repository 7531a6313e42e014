//! What a process has cost: CPU time of all its threads and its memory, from `/proc`.

use std::fs;
use std::io;

/// CPU time in nanoseconds that all present threads of a process have had, kernel work included.
/// Threads that have ended are not counted.
///
/// # Errors
/// If there is no such process.
pub fn time_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += first_number(&text);
    }
    Ok(sum)
}

/// The same of its threads of that name alone; `None` if there is none.
///
/// # Errors
/// If there is no such process.
pub fn thread_ns(pid: u32, name: &str) -> io::Result<Option<u64>> {
    let mut sum = None;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread may end meanwhile.
        let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
        if read("comm").trim_end() == name {
            sum = Some(sum.unwrap_or(0) + first_number(&read("schedstat")));
        }
    }
    Ok(sum)
}

/// CPU time in nanoseconds that the calling thread has had, kernel work included.
///
/// # Errors
/// If `/proc` is not there.
pub fn own_ns() -> io::Result<u64> {
    Ok(first_number(&fs::read_to_string("/proc/thread-self/schedstat")?))
}

fn first_number(text: &str) -> u64 {
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Resident memory in bytes.
///
/// # Errors
/// If there is no such process.
pub fn memory(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok());
    Ok(kilobytes.unwrap_or(0u64) * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_show() {
        let me = std::process::id();
        let before = (own_ns().unwrap(), memory(me).unwrap());
        let mut block = vec![1u8; 32 << 20];
        for round in 0..8u8 {
            block.iter_mut().for_each(|b| *b = b.wrapping_mul(3).wrapping_add(round));
        }
        assert!(own_ns().unwrap() > before.0 + 1_000_000);
        assert!(time_ns(me).unwrap() > 0);
        let thread = std::thread::current();
        // The kernel keeps 15 characters of a name.
        let name: String = thread.name().unwrap().chars().take(15).collect();
        let own = thread_ns(me, &name).unwrap().unwrap();
        assert!(own > 1_000_000 && own <= time_ns(me).unwrap());
        assert_eq!(thread_ns(me, "no such thread").unwrap(), None);
        assert!(memory(me).unwrap() > before.1 + (16 << 20));
        assert!(block.iter().any(|b| *b != 0));
        assert!(time_ns(u32::MAX).is_err());
    }
}
