//! The threads that do handshake cryptography, so that a storm of joins never holds media up. All
//! workers share them.

use super::Key;
use crate::session::dtls::{DtlsDone, DtlsJob};
use relay_node::clock::Clock;
use relay_node::io::udp::Waker;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A job, and where its result goes.
struct Order {
    key: Key,
    job: DtlsJob,
    results: Sender<(Key, DtlsDone)>,
    waker: Waker,
}

/// The threads. They end after what they are at when this and all [`Pool`]s are dropped. The queue
/// is bounded by the number of sessions: each has one job under way at most.
#[derive(Debug)]
pub(super) struct Handshakes(Sender<Order>);

impl Handshakes {
    /// Starts `threads` threads.
    pub(super) fn start(threads: usize, clock: Clock) -> io::Result<Self> {
        let (orders, queue) = channel::<Order>();
        let queue = Arc::new(Mutex::new(queue));
        for i in 0..threads.max(1) {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("handshake-{i}")).spawn(move || {
                loop {
                    let order = queue.lock().map_or(None, |q| q.recv().ok());
                    let Some(Order { key, job, results, waker }) = order else { return };
                    // A worker that is gone wants none.
                    let _ = results.send((key, job.run(clock.now().mono)));
                    waker.wake();
                }
            })?;
        }
        Ok(Self(orders))
    }

    /// A worker's view; `waker` wakes it when something is done.
    pub(super) fn pool(&self, waker: &Waker) -> Pool {
        let (results, done) = channel();
        Pool { orders: self.0.clone(), results, waker: waker.clone(), done }
    }
}

/// A worker's view of the threads.
#[derive(Debug)]
pub(super) struct Pool {
    orders: Sender<Order>,
    results: Sender<(Key, DtlsDone)>,
    waker: Waker,
    done: Receiver<(Key, DtlsDone)>,
}

impl Pool {
    pub(super) fn submit(&self, key: Key, job: DtlsJob) {
        let (results, waker) = (self.results.clone(), self.waker.clone());
        // The threads end only after this.
        let _ = self.orders.send(Order { key, job, results, waker });
    }

    pub(super) fn next(&self) -> Option<(Key, DtlsDone)> {
        self.done.try_recv().ok()
    }
}
