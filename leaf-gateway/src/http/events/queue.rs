//! The events of one stream, between those who tell them and the one who reads.

use super::Kind;
use relay_node::http_server::Hangup;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Events that wait for their reader. More than one a second never comes for long: a reader that
/// is half a minute behind reads no more.
pub const MAX_QUEUED: usize = 32;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// JSON in one line.
    pub(super) data: String,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What waits is still read.
    AfterItems,
    /// What waits is dropped.
    Now,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    end: Option<End>,
    /// The latest reader; those before it end.
    reader: u64,
    hangup: Option<Hangup>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event behind the others. `false` if there is no room: the stream is over then, and
    /// its reader's connection is cut (it takes nothing, so nothing could be said to it).
    pub(super) fn push(&self, item: Item) -> bool {
        let mut inner = self.lock();
        if inner.items.len() >= MAX_QUEUED {
            inner.end = Some(End::Now);
            inner.items.clear();
            if let Some(hangup) = inner.hangup.take() {
                hangup.now();
            }
        } else if inner.end.is_none() {
            inner.items.push_back(item);
        }
        let open = inner.end.is_none();
        drop(inner);
        self.changed.notify_waiters();
        open
    }

    /// Ends the stream once what waits has been read.
    pub(super) fn finish(&self) {
        self.lock().end.get_or_insert(End::AfterItems);
        self.changed.notify_waiters();
    }

    /// Ends the stream at once.
    pub(super) fn destroy(&self) {
        let mut inner = self.lock();
        inner.end = Some(End::Now);
        inner.items.clear();
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A reader has come; `hangup` cuts its connection. One that was there ends: a client that
    /// comes again has lost it.
    pub(super) fn attach(&self, hangup: Hangup) -> u64 {
        let mut inner = self.lock();
        inner.reader += 1;
        inner.hangup = Some(hangup);
        let reader = inner.reader;
        drop(inner);
        self.changed.notify_waiters();
        reader
    }

    /// The next event, as soon as there is one; `None` when the stream or this reader is over.
    pub(super) async fn next(&self, reader: u64) -> Option<Item> {
        loop {
            // Made before the look: what changes after it wakes this.
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if inner.reader != reader || inner.end == Some(End::Now) {
                    return None;
                }
                if let Some(item) = inner.items.pop_front() {
                    return Some(item);
                }
                if inner.end.is_some() {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Events that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: usize) -> Item {
        Item { kind: Kind::ViewerCount, data: n.to_string() }
    }

    #[tokio::test]
    async fn a_full_queue_ends_the_stream_and_cuts_its_reader() {
        let queue = Queue::default();
        let hangup = Hangup::default();
        let reader = queue.attach(hangup.clone());
        for n in 0..MAX_QUEUED {
            assert!(queue.push(item(n)));
        }
        assert!(!hangup.is_now());
        assert!(!queue.push(item(0)), "one too many");
        assert!(hangup.is_now());
        assert_eq!(queue.next(reader).await, None);
        assert!(!queue.push(item(0)), "it stays over");
    }

    #[tokio::test]
    async fn what_waits_is_read_before_the_end_but_not_after_it_is_destroyed() {
        let queue = Queue::default();
        let reader = queue.attach(Hangup::default());
        queue.push(item(1));
        queue.push(item(2));
        queue.finish();
        assert_eq!(queue.next(reader).await, Some(item(1)));
        queue.destroy();
        assert_eq!(queue.next(reader).await, None);
    }

    #[tokio::test]
    async fn the_latest_reader_gets_what_comes() {
        let queue = Queue::default();
        let first = queue.attach(Hangup::default());
        let second = queue.attach(Hangup::default());
        queue.push(item(1));
        assert_eq!(queue.next(first).await, None);
        assert_eq!(queue.next(second).await, Some(item(1)));
    }
}
