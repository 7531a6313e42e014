//! The task driven by hand.

use super::*;
use crate::ingest::FeedId;
use crate::ingest::feed::FedDatagram;
use crate::whip::offer::Offer;
use crate::whip::plan::Plan;
use crate::whip::tap::{Found, Tap};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The last instant that there is: time can't be counted from it.
fn last(mut instant: Instant) -> Instant {
    let mut step = Duration::from_secs(1 << 62);
    while step > Duration::ZERO {
        match instant.checked_add(step) {
            Some(later) => instant = later,
            None => step /= 2,
        }
    }
    instant
}

/// What a session has found, and where its datagrams go.
type Ends = (Arc<Mutex<Found>>, mpsc::Receiver<FedDatagram>);

/// A task with two sessions, `0` and `1`.
fn two() -> (Whip, WhipTask, Vec<Ends>) {
    let clock = Clock::start();
    let (whip, mut task) = Whip::bind(([127, 0, 0, 1], 0).into(), 4, clock).unwrap();
    let offer = Offer::parse(&crate::whip::tests::offer(&[])).unwrap();
    let plan = Plan::new(&offer, &crate::whip::tests::tracks()).unwrap();
    let (now, mut ends) = (task.now(), Vec::new());
    for n in 0..2 {
        let found = Arc::new(Mutex::new(Found::default()));
        let inside = (Tap::new(&plan, found.clone()), found.clone());
        let (ice, fingerprint) = (&offer.ice, &offer.fingerprint);
        let session = Session::around(now, inside, ice, fingerprint, &whip.certificate);
        let (sender, datagrams) = mpsc::channel(1);
        ends.push((found, datagrams));
        task.begin(NewSession {
            id: SessionId(n.to_string()),
            stream: n.to_string(),
            session: session.unwrap(),
            feed: Feed::new(FeedId(n), sender, CancellationToken::new()),
            place: whip.place().unwrap(),
        });
    }
    (whip, task, ends)
}

#[tokio::test]
async fn a_panic_within_ends_one_session_alone() {
    let (whip, mut task, mut ends) = two();
    task.drive(0, |_, _| panic!("as a library might"));
    assert_eq!((task.find(&SessionId("0".into())), whip.counters.sessions.get()), (None, 1));
    task.drive(1, |_, _| {});
    assert_eq!(task.find(&SessionId("1".into())), Some(1));
    let gone = ends[0].1.try_recv();
    assert_eq!(gone.err(), Some(mpsc::error::TryRecvError::Disconnected));
}

#[tokio::test]
async fn a_panic_while_the_time_is_asked_for_ends_one_session_alone() {
    let (whip, task, ends) = two();
    let now = task.now();
    ends[0].0.lock().unwrap().heard = Some(last(now));
    let stop = CancellationToken::new();
    let runs = tokio::spawn(task.run(stop.clone()));
    // Whatever is done with it, its time is asked for.
    let ice = Offer::parse(&crate::whip::tests::offer(&[])).unwrap().ice;
    whip.restart(SessionId("0".into()), Some("another".into()), ice).await;
    let until = async {
        while whip.counters.sessions.get() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::whip::tests::LIMIT, until).await.unwrap();
    assert!(whip.look(SessionId("0".into())).await.is_none());
    assert!(whip.look(SessionId("1".into())).await.is_some());
    stop.cancel();
    runs.await.unwrap();
}
