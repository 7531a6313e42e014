//! Three workers on one port. Where the kernel lets a viewer's datagrams land is its own affair: of
//! a dozen viewers some land at a worker that has not got their session.

use super::*;
use crate::session::tests::client::report;

const LIMITS: Option<TcpLimits> = Some(TcpLimits { total: 50, per_address: 50 });

fn rig() -> Rig {
    rig_of(3, "127.0.0.1:0", None)
}

/// The session's name as the n-th one that has come, while none has gone.
fn nth(n: u32) -> SessionId {
    SessionId(format!("{:02x}{:032x}", (n - 1) % 3, n))
}

impl Rig {
    /// So many viewers that are served.
    fn dozen(&self) -> Vec<Client> {
        (1..=12).map(|n| self.viewer(n)).collect()
    }

    fn gauge(&self, worker: usize) -> u64 {
        let line = format!("soleil_leaf_worker_viewers{{worker=\"{worker}\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|l| l.strip_prefix(&line)).unwrap().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_all_workers_are_served_wherever_their_datagrams_land() {
    let mut rig = rig();
    let mut clients = rig.dozen();
    assert_eq!(rig.occupancy.counts(), (12, 0));
    assert!(rig.metrics.handed.get() > 0, "the kernel spreads them");
    rig.media(3, true);
    for client in &mut clients {
        client.until("media", |c| c.viewer.seen.len() == 3);
        let seq = client.viewer.seen[1].seq;
        client.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
        client.until("the packet again", |c| c.viewer.seen.len() == 4);
        assert_eq!(client.viewer.unopened, 0);
    }
    rig.wait("figures", || (0..3).all(|worker| rig.gauge(worker) == 4));
    assert_eq!(rig.metrics.viewers(), 12);
    rig.wait("what was sent again is counted", || rig.metrics.resends.get() == 12);
    for (client, n) in clients.iter_mut().zip(1..) {
        let ufrags = rig.worker.ufrags(nth(n)).await.unwrap();
        assert_eq!(ufrags.0, client.viewer.credentials.local_ufrag);
        let elsewhere = SessionId(format!("{:02x}{n:032x}", n % 3));
        assert!(!rig.worker.remove(elsewhere).await, "that is not its name");
        assert!(rig.worker.remove(nth(n)).await);
        client.until("goodbye", |c| c.viewer.closed);
    }
    assert!(!rig.worker.remove(SessionId("ff".repeat(16))).await, "there is no such worker");
    assert_eq!(rig.occupancy.counts(), (0, 0));
    assert_eq!((rig.metrics.handed_lost.get(), rig.metrics.overruns.get()), (0, 0));
    assert_eq!(rig.metrics.forged.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_the_viewers_of_all_workers() {
    let rig = rig();
    let mut clients = rig.dozen();
    rig.worker.drain().await;
    assert_eq!(rig.occupancy.counts(), (0, 0));
    for client in &mut clients {
        client.until("goodbye", |c| c.viewer.closed);
    }
    assert_eq!(rig.metrics.ended_by(EndCause::Drained), 12);
}

#[test]
fn viewers_over_tcp_get_to_the_worker_that_has_their_session() {
    let mut rig = rig_of(3, "127.0.0.1:0", LIMITS);
    let mut clients: Vec<_> = (1..=6).map(|n| rig.viewer_over_tcp(n)).collect();
    rig.media(20, true);
    for client in &mut clients {
        client.until("media", |c| c.viewer.seen.len() == 20);
        let seq = client.viewer.seen[10].seq;
        client.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
        client.until("the packet again", |c| c.viewer.seen.len() == 21);
    }
    rig.wait("they are counted once", || rig.metrics.tcp_packets.get() >= 6 * 21);
    assert_eq!((rig.metrics.tcp_connections.get(), rig.metrics.tcp_refused.get()), (6, 0));
}

#[test]
fn viewers_at_another_port_are_followed_by_their_rtcp() {
    let mut rig = rig();
    let mut clients = rig.dozen();
    for (client, moved) in clients.iter_mut().zip(1..) {
        client.socket = socket();
        // No more checks: nothing but reports says where it is now.
        client.next_check = Mono(u64::MAX);
        client.rtcp(&report(VIDEO_OUT, 0, 0, 0));
        client.until("it is seen", |_| rig.metrics.moves.get() == moved);
        let mut turns = 0;
        client.until("media at the new port", |c| {
            turns += 1;
            rig.media(1, turns % 20 == 0);
            c.viewer.seen.len() > 8
        });
    }
}

#[test]
fn a_page_that_is_reloaded_behind_the_same_address_connects_at_another_worker() {
    for _ in 0..8 {
        let mut rig = rig();
        let first = rig.viewer(1);
        let again = first.socket.try_clone().unwrap();
        drop(first);
        let mut second = rig.join(2, again);
        let live = rig.metrics.live.get();
        second.until("the new session is live", |_| rig.metrics.live.get() > live);
        rig.media(3, true);
        second.until("media of the new session", |c| c.viewer.seen.len() == 3);
        let seq = second.viewer.seen[1].seq;
        second.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
        second.until("a packet again", |c| c.viewer.seen.len() == 4);
    }
}

#[test]
fn forged_checks_that_name_workers_disturb_nobody() {
    let mut rig = rig();
    let mut clients: Vec<Client> = (1..=3).map(|n| rig.viewer(n)).collect();
    let strangers: Vec<UdpSocket> = (0..20).map(|_| socket()).collect();
    let mut wrong = clients[0].viewer.credentials.clone();
    wrong.local_password = "not the password of the leaf".into();
    let mut seen = 0;
    for round in 0..20 {
        let before = rig.metrics.received.get();
        for (i, stranger) in strangers.iter().enumerate() {
            for letter in ["0", "1", "2", "3", "z", "+"] {
                let named = if i % 2 == 0 { "leaf1" } else { "nobody" };
                wrong.local_ufrag = format!("{letter}{named}");
                let mut forger = Viewer::new(rig.clock, wrong.clone(), &[GCM]);
                stranger.send_to(&forger.check(true, u32::MAX), rig.worker.local_addr()).unwrap();
            }
        }
        // In the viewers' own names as well: what says that it is theirs and is not authentic.
        for client in &clients {
            let check = Viewer::new(rig.clock, wrong.clone(), &[GCM]).check(true, 1);
            client.socket.send_to(&check, rig.worker.local_addr()).unwrap();
        }
        rig.media(2, round == 0);
        seen += 2;
        for client in &mut clients {
            client.until("media in spite of it", |c| c.viewer.seen.len() == seen);
        }
        rig.wait("all is taken", || rig.metrics.received.get() >= before + 20 * 6);
    }
    assert!(rig.metrics.handed.get() > 0);
    for stranger in &strangers {
        assert!(stranger.recv_from(&mut [0; 64]).is_err(), "a stranger gets no answer");
    }
    for client in &mut clients {
        let seq = client.viewer.seen[seen - 2].seq;
        client.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
        client.until("their own reports get through", |c| c.viewer.seen.len() == seen + 1);
    }
}

#[test]
fn a_worker_that_fails_is_told_and_the_others_serve_on_until_the_leaf_leaves() {
    let mut rig = rig();
    let mut clients = rig.dozen();
    rig.wait("figures", || rig.metrics.viewers() == 12);
    let failure = rig.worker.failure();
    rig.worker.break_down(1, Breakage::Panic);
    rig.wait("the failure is told", || failure.borrow().is_some());
    assert_eq!(failure.borrow().as_deref(), Some("viewer thread 1 has panicked"));
    rig.wait("its places are free", || rig.occupancy.counts() == (8, 0));
    assert_eq!((rig.metrics.worker_failures.get(), rig.gauge(1)), (1, 0));
    rig.media(3, true);
    let others = clients.iter_mut().enumerate().filter(|(i, _)| i % 3 != 1);
    for (_, client) in others {
        client.until("media", |c| c.viewer.seen.len() == 3);
    }
    assert_eq!(rig.metrics.overruns.get(), 3);
}

#[test]
fn a_port_that_others_share_is_taken_all_the_same() {
    let rig = rig();
    for workers in [1, 3] {
        let (upcalls, _) = mpsc::channel(1);
        let result = start(WorkerConfig {
            listen: rig.worker.local_addr(),
            workers,
            clock: rig.clock,
            dtls: DtlsContext::new(rig.clock).unwrap(),
            handshake_threads: 1,
            metrics: Arc::default(),
            upcalls,
        });
        assert!(result.is_err(), "{workers} more");
    }
}
