//! The task driven by hand.

use super::*;
use crate::ingest::FeedId;
use crate::whip::offer::Offer;
use crate::whip::plan::Plan;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_panic_within_ends_one_session_alone() {
    let clock = Clock::start();
    let (whip, mut task) = Whip::bind(([127, 0, 0, 1], 0).into(), 4, clock).unwrap();
    let text = crate::whip::tests::offer(&[]);
    let offer = Offer::parse(&text).unwrap();
    let plan = Plan::new(&offer, &crate::whip::tests::tracks()).unwrap();
    let mut kept = Vec::new();
    for n in 0..2 {
        let now = task.now();
        let session =
            Session::new(now, &plan, &offer.ice, &offer.fingerprint, &whip.certificate).unwrap();
        let (sender, datagrams) = mpsc::channel(1);
        kept.push(datagrams);
        task.begin(NewSession {
            id: SessionId(n.to_string()),
            stream: n.to_string(),
            session,
            feed: Feed::new(FeedId(n), sender, CancellationToken::new()),
            place: whip.place().unwrap(),
        });
    }
    task.drive(0, |_, _| panic!("as a library might"));
    assert_eq!((task.find(&SessionId("0".into())), whip.counters.sessions.get()), (None, 1));
    task.drive(1, |_, _| {});
    assert_eq!(task.find(&SessionId("1".into())), Some(1));
    let gone = kept[0].try_recv();
    assert_eq!(gone.err(), Some(mpsc::error::TryRecvError::Disconnected));
}
