//! What a process holds on to: descriptors, threads, memory. For tests that nothing leaks.

use super::node::Running;
use crate::load::cpu;

/// What one process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The node's name.
    pub name: String,
    /// Open descriptors: sockets, files, timers.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Holdings {
    /// What a node holds now; nothing if it has ended.
    #[must_use]
    pub fn of(node: &Running) -> Self {
        let pid = node.process.id();
        let count =
            |what| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        Self {
            name: node.process.name().to_owned(),
            descriptors: count("fd"),
            threads: count("task"),
            memory: cpu::memory(pid).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Process;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn descriptors_of_a_process_are_counted() {
        let start = |script: &str| {
            let process = Process::start("shell", Command::new("sh").args(["-c", script])).unwrap();
            Running { process, ops: ([127, 0, 0, 1], 1).into() }
        };
        let plain = start("sleep 60");
        let more = start("exec 7</dev/null 8</dev/null; sleep 60");
        let deadline = Duration::from_secs(5);
        crate::wait::until("both", deadline, || {
            Holdings::of(&more).descriptors == Holdings::of(&plain).descriptors + 2
        });
        assert!(Holdings::of(&plain).memory > 0 && Holdings::of(&plain).threads == 1);
    }
}
