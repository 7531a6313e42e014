//! Which worker has which session. The names that we give a session say it (the ICE user name
//! fragment by its first letter, the name in the URL by its first two digits), so nothing has to be
//! looked up; and a new session goes to the worker that has the fewest.

use super::SessionId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which letter names which worker.
pub(crate) const WORKER_LETTERS: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Workers at most: each has a letter.
pub const MAX_WORKERS: usize = WORKER_LETTERS.len();

/// Digits of a session's name.
pub(crate) const SESSION_ID_LEN: usize = 34;

/// The worker that a user name fragment of ours names. Anybody can write any letter.
pub(super) fn of_ufrag(ufrag: &str) -> Option<usize> {
    let letter = ufrag.bytes().next()?;
    WORKER_LETTERS.iter().position(|l| *l == letter)
}

/// The worker that a session's name names.
pub(super) fn of_id(id: &SessionId) -> Option<usize> {
    id.0.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok())
}

/// How many sessions each worker has, those to be included.
#[derive(Debug)]
pub(crate) struct Seats(Mutex<Vec<usize>>);

impl Seats {
    /// Of so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![0; workers.clamp(1, MAX_WORKERS)])))
    }

    /// A seat at the worker that has the fewest sessions.
    pub(crate) fn take(self: &Arc<Self>) -> Seat {
        let mut taken = self.lock();
        let fewest = taken.iter().enumerate().min_by_key(|(_, n)| **n);
        let worker = fewest.map_or(0, |(worker, _)| worker);
        taken[worker] += 1;
        Seat { seats: self.clone(), worker }
    }

    /// A lock for each join and each end, none for packets.
    fn lock(&self) -> MutexGuard<'_, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place at a worker, until dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    worker: usize,
}

impl Seat {
    /// The worker's number.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The letter that the session's user name fragments begin with.
    pub fn letter(&self) -> char {
        char::from(WORKER_LETTERS[self.worker])
    }

    /// The session's name: the worker's number, then what can't be guessed.
    pub fn id(&self, random: u128) -> SessionId {
        SessionId(format!("{:02x}{random:032x}", self.worker))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock()[self.worker] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_session_is() {
        let seats = Seats::new(MAX_WORKERS + 5);
        let all: Vec<Seat> = (0..MAX_WORKERS).map(|_| seats.take()).collect();
        for (n, seat) in all.iter().enumerate() {
            assert_eq!(seat.worker(), n);
            assert_eq!(of_ufrag(&format!("{}abcdefg", seat.letter())), Some(n));
            for random in [0, u128::MAX] {
                let id = seat.id(random);
                assert_eq!((id.0.len(), of_id(&id)), (SESSION_ID_LEN, Some(n)), "{id:?}");
            }
        }
        assert_eq!(seats.take().worker(), 0, "no more than there are letters for");
        for forged in ["", "+", "é0", "-9"] {
            assert_eq!(of_ufrag(forged), None, "{forged}");
        }
        for forged in ["", "0", "zz", "é", "+-1"] {
            assert_eq!(of_id(&SessionId(forged.into())), None, "{forged}");
        }
    }

    #[test]
    fn who_comes_goes_where_the_fewest_are() {
        let seats = Seats::new(3);
        let mut all: Vec<Seat> = (0..30).map(|_| seats.take()).collect();
        let at = |all: &[Seat], worker| all.iter().filter(|s| s.worker() == worker).count();
        assert_eq!([0, 1, 2].map(|w| at(&all, w)), [10, 10, 10]);
        // Those of one worker leave: the next ones go there.
        all.retain(|seat| seat.worker() != 1);
        all.extend((0..10).map(|_| seats.take()));
        assert_eq!([0, 1, 2].map(|w| at(&all, w)), [10, 10, 10]);
        drop(all);
        assert_eq!(*seats.lock(), [0, 0, 0]);
    }
}
