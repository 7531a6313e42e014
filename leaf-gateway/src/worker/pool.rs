//! The threads that do handshake cryptography, so that a storm of joins never holds media up.

use super::Key;
use crate::session::dtls::{DtlsDone, DtlsJob};
use relay_node::clock::Clock;
use relay_node::io::udp::Waker;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// The worker's view of the pool. Dropping it ends the threads after what they are at. The queue
/// is bounded by the number of sessions: each has one job under way at most.
#[derive(Debug)]
pub(super) struct Pool {
    jobs: Sender<(Key, DtlsJob)>,
    done: Receiver<(Key, DtlsDone)>,
}

impl Pool {
    /// Starts `threads` threads that wake `waker` when something is done.
    pub(super) fn start(threads: usize, clock: Clock, waker: &Waker) -> io::Result<Self> {
        let (jobs, queue) = channel::<(Key, DtlsJob)>();
        let (results, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for i in 0..threads.max(1) {
            let (queue, results, waker) = (queue.clone(), results.clone(), waker.clone());
            std::thread::Builder::new().name(format!("handshake-{i}")).spawn(move || {
                loop {
                    let job = queue.lock().map_or(None, |q| q.recv().ok());
                    let Some((key, job)) = job else { return };
                    if results.send((key, job.run(clock.now().mono))).is_err() {
                        return;
                    }
                    waker.wake();
                }
            })?;
        }
        Ok(Self { jobs, done })
    }

    pub(super) fn submit(&self, key: Key, job: DtlsJob) {
        // The threads end only after this.
        let _ = self.jobs.send((key, job));
    }

    pub(super) fn next(&self) -> Option<(Key, DtlsDone)> {
        self.done.try_recv().ok()
    }
}
