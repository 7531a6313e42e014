//! Streams that begin, or fall over, in the middle of something.

use super::*;
use crate::sources::status::State as SourceState;
use crate::whip::http::{Found, Streams};
use soleil_protocol::pipeline::Codec;

#[tokio::test]
async fn a_start_that_takes_long_is_stored_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    b.define("a", SOUND).await.unwrap();
    b.registry.stop("a".into()).await.unwrap();
    b.said();
    b.tree.busy.store(true, Ordering::Relaxed);
    let (registry, tree) = (b.registry.clone(), b.tree.clone());
    let start = tokio::spawn(async move { registry.begin("a".into()).await });
    let runs = async {
        while tree.said.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, runs).await.unwrap();
    // The root ends in the middle of it.
    start.abort();
    assert!(b.store.defined_streams().unwrap()[0].started);
    b.end().await;
    let b = Bench::start(dir.path(), &[]);
    assert_eq!(b.registry.get("a").unwrap().state, State::Running);
}

#[tokio::test]
async fn a_start_that_the_tree_does_not_follow_leaves_the_stream_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let port = b.define("a", SOUND).await.unwrap().ingest.unwrap().ports[0];
    b.registry.stop("a".into()).await.unwrap();
    b.tree.view.lock().unwrap().take();
    assert!(matches!(b.registry.begin("a".into()).await, Err(Refused::Busy)));
    let info = b.registry.get("a").unwrap();
    assert!(info.ingest.is_none() && info.state == State::Stopped, "{:?}", info.state);
    assert!(b.table.all().is_empty());
    UdpSocket::bind(port).expect("its port is free");
    assert!(!b.store.defined_streams().unwrap()[0].started);
}

#[tokio::test]
async fn a_stream_whose_ingest_falls_over_is_off_air_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let (one, other) = (b.define("a", SOUND).await.unwrap(), b.define("b", SOUND).await.unwrap());
    b.said();
    b.tree.breaks.store(true, Ordering::Relaxed);
    b.sound(one.ingest.as_ref().unwrap());
    let gone = b.view.clone();
    let gone = async move {
        let mut gone = gone;
        gone.wait_for(|view| view.pipelines.iter().all(|p| p.def.id != one.id)).await.is_ok()
    };
    assert!(tokio::time::timeout(LIMIT, gone).await.unwrap());
    let failed = async {
        loop {
            match b.registry.get("a").unwrap().state {
                State::Failed(why) => break why,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let why = tokio::time::timeout(LIMIT, failed).await.unwrap();
    assert!(why.contains("log"), "{why}");
    assert_eq!(b.said(), ["live 1: true".to_owned(), format!("remove 1: {why}")]);
    assert!(b.registry.get("a").unwrap().ingest.is_none());
    assert!(!b.on_air.borrow().contains_key(&one.id));
    assert!(b.table.get(one.id).is_none() && b.table.get(other.id).is_some());
    assert_eq!(b.registry.get("b").unwrap().state, State::Running);
    // It can be started again, and then works.
    b.tree.breaks.store(false, Ordering::Relaxed);
    let again = b.registry.begin("a".into()).await.unwrap();
    assert_eq!((&again.state, b.said()), (&State::Running, vec!["define 1".to_owned()]));
    b.sound(again.ingest.as_ref().unwrap());
    let mut packets = b.tree.packets.subscribe();
    tokio::time::timeout(LIMIT, packets.wait_for(|count| *count == 1)).await.unwrap().unwrap();
    b.registry.stop("a".into()).await.unwrap();
    assert_eq!(b.registry.get("a").unwrap().state, State::Stopped);
}

async fn until(what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, holds).await.unwrap();
}

#[tokio::test]
async fn a_configured_stream_whose_ingest_falls_over_comes_back_on_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut section = configured();
    section.track.retain(|track| track.codec == Codec::Opus);
    // As for a source, whose worker knows the port from the start.
    section.track[0].ports = vec![0];
    let source = "kind = \"rtmp\"\nsecret = \"battery-staple\"";
    section.source = vec![toml::from_str(source).unwrap()];
    let b = Bench::start(dir.path(), &[section]);
    tokio::spawn(b.registry.clone().mend());
    let first = b.registry.get("demo").unwrap().ingest.unwrap();
    let ssrcs = b.ssrcs(first.id);
    b.said();
    b.tree.breaks.store(true, Ordering::Relaxed);
    b.sound(&first);
    until(|| matches!(b.registry.get("demo").unwrap().state, State::Failed(_))).await;
    b.tree.breaks.store(false, Ordering::Relaxed);
    until(|| b.registry.get("demo").unwrap().state == State::Running).await;
    let said = b.said();
    assert!(said[1].starts_with("remove 1: ") && said[2..] == ["define 1"], "{said:?}");
    let again = b.registry.get("demo").unwrap().ingest.unwrap();
    assert_eq!((&again.ports, b.ssrcs(again.id)), (&first.ports, ssrcs));
    let sources = b.registry.get("demo").unwrap().sources.unwrap().sources;
    assert_eq!((sources.len(), sources[0].status.borrow().state), (1, SourceState::Waiting));
    b.sound(&again);
    let mut packets = b.tree.packets.subscribe();
    tokio::time::timeout(LIMIT, packets.wait_for(|count| *count == 1)).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_an_operator_has_stopped_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let again = async || b.registry.again("a".into()).await.unwrap();
    let info = b.define("a", SOUND).await.unwrap();
    assert!(!again().await, "it runs");
    b.tree.breaks.store(true, Ordering::Relaxed);
    b.sound(info.ingest.as_ref().unwrap());
    until(|| matches!(b.registry.get("a").unwrap().state, State::Failed(_))).await;
    b.registry.stop("a".into()).await.unwrap();
    assert!(!again().await, "it was stopped");
    assert_eq!(b.registry.get("a").unwrap().state, State::Stopped);
    b.registry.remove("a".into()).await.unwrap();
    assert!(!again().await, "it is gone");
}

#[tokio::test]
async fn broadcasters_are_told_that_a_stream_rests() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let port = b.define("a", SOUND).await.unwrap().ingest.unwrap().ports[0];
    let found = |b: &Bench, name| Streams::find(&*b.registry, name);
    assert!(matches!(found(&b, "a"), Some(Found::Open(_))));
    assert!(found(&b, "b").is_none());
    b.registry.stop("a".into()).await.unwrap();
    assert!(matches!(found(&b, "a"), Some(Found::Stopped)));
    let foreign = UdpSocket::bind(port).unwrap();
    assert!(b.registry.begin("a".into()).await.is_err());
    assert!(matches!(found(&b, "a"), Some(Found::Failed)));
    drop(foreign);
}

#[tokio::test]
async fn a_stored_stream_that_cannot_run_says_why_and_can_be_started_later() {
    let dir = tempfile::tempdir().unwrap();
    let b = Bench::start(dir.path(), &[]);
    let port = b.define("a", SOUND).await.unwrap().ingest.unwrap().ports[0];
    b.end().await;
    let foreign = UdpSocket::bind(port).unwrap();
    let b = Bench::start(dir.path(), &[configured()]);
    let State::Failed(why) = b.registry.get("a").unwrap().state else { panic!("it runs") };
    assert!(why.contains(&port.port().to_string()), "{why}");
    assert_eq!(b.registry.get("demo").unwrap().state, State::Running);
    assert!(b.registry.begin("a".into()).await.is_err());
    assert!(matches!(b.registry.get("a").unwrap().state, State::Failed(_)));
    drop(foreign);
    assert_eq!(b.registry.begin("a".into()).await.unwrap().state, State::Running);
}
