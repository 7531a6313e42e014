//! A leaf with three workers, spoken to by HTTP: whatever a viewer asks for reaches the worker that
//! has its session, and the node hears of all of them together.

use super::*;
use std::collections::BTreeSet;

const VIEWERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_the_worker_of_their_session_and_figures_are_of_all_workers() {
    let mut rig = rig_of(3).await;
    let mut clients = Vec::new();
    for _ in 0..VIEWERS {
        clients.push(rig.viewer().await);
    }
    let letters: BTreeSet<u8> =
        clients.iter().map(|c| c.viewer.credentials.local_ufrag.as_bytes()[0]).collect();
    assert_eq!(letters, BTreeSet::from(*b"012"));
    rig.command("figures of all", |c| {
        let NodeCommand::LocalStats(containers) = c else { return None };
        let mine = containers.into_iter().find(|c| c.id == Some(DEMO))?;
        mine.stats.into_iter().find(|s| s.name == "viewers" && s.value == VIEWERS as f64)
    });
    rig.media(1);
    for client in &mut clients {
        client.until("media", |c| c.viewer.seen.len() == 1).await;
    }
    let trickle = "Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: *\r\n";
    let restart = "a=ice-ufrag:anew\r\na=ice-pwd:another-password-of-the-page\r\n";
    for client in &mut clients {
        let before = client.viewer.credentials.local_ufrag.clone();
        let patch = format!("PATCH {}", client.path);
        let answer = send(rig.http, &patch, trickle, restart).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let find = |key: &str| answer.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
        client.viewer.credentials = Credentials {
            local_ufrag: find("a=ice-ufrag:"),
            local_password: find("a=ice-pwd:"),
            remote_ufrag: "anew".into(),
            remote_password: "another-password-of-the-page".into(),
        };
        let after = &client.viewer.credentials.local_ufrag;
        assert!(before != *after && before[..1] == after[..1], "{before} {after}");
        client.socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let choose = format!("POST {}/layer", client.path);
        let json = "Content-Type: application/json\r\n";
        let answer = send(rig.http, &choose, json, "{\"rid\":\"10\"}").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut index = 2;
    for client in &mut clients {
        let until = rig.clock.now().mono.after(DEADLINE);
        while client.viewer.seen.len() == 1 {
            assert!(rig.clock.now().mono < until, "no media on the new path");
            rig.media(index);
            index += 1;
            client.pump().await;
        }
    }
    for client in &mut clients {
        let delete = format!("DELETE {}", client.path);
        assert!(send(rig.http, &delete, "", "").await.starts_with("HTTP/1.1 200"));
        assert!(send(rig.http, &delete, "", "").await.starts_with("HTTP/1.1 404"));
        client.until("goodbye", |c| c.viewer.closed).await;
    }
    assert_eq!(rig.leaf.occupancy(), (0, 0));
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_places_are_those_of_the_leaf_however_many_workers_there_are() {
    let rig = rig_with(3, |config| {
        config.webrtc.connecting = 5;
        config.webrtc.sessions_per_address = 4;
    })
    .await;
    for _ in 0..4 {
        assert!(post(rig.http, &offer()).await.starts_with("HTTP/1.1 201"));
    }
    let full = post(rig.http, &offer()).await;
    assert!(full.starts_with("HTTP/1.1 503") && full.contains("from your address"), "{full}");
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_has_lost_one_of_its_workers_takes_nobody_and_tells_the_others_viewers() {
    let rig = rig_of(3).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(rig.viewer().await);
    }
    let mut failure = rig.leaf.failure();
    rig.leaf.workers().break_down(1, worker::Breakage::Panic);
    let why = failure.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(why.contains("thread 1"), "{why}");
    let answer = post(rig.http, &offer()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert_eq!(rig.leaf.occupancy(), (2, 0));
    rig.leaf.drain().await;
    for client in [0, 2] {
        clients[client].until("goodbye", |c| c.viewer.closed).await;
    }
    assert_eq!(rig.leaf.metrics().ended_by(EndCause::Drained), 2);
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}
