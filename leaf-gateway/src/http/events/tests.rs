//! The book of streams without a network.

use super::*;
use soleil_protocol::pipeline::{Codec, Layer, MediaKind, Track};

const ONE: PipelineId = PipelineId(1);

fn id(n: usize) -> SessionId {
    SessionId(format!("{n:034x}"))
}

fn pipelines(live: bool) -> Arc<BTreeMap<PipelineId, PipelineDef>> {
    let layer = Layer {
        ssrc: Ssrc(7),
        payload_type: 96,
        width: Some(640),
        height: None,
        bitrate: None,
        scalability: None,
    };
    let track = Track {
        name: "video".into(),
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: vec![layer],
    };
    let def = PipelineDef { id: ONE, name: "demo".into(), live, tracks: vec![track] };
    Arc::new(BTreeMap::from([(ONE, def)]))
}

fn lines() -> Vec<Line> {
    vec![Line { index: 2, track: "video".into(), kind: MediaKind::Video }]
}

fn book() -> Arc<Events> {
    let events = Arc::<Events>::default();
    events.set_pipelines(pipelines(true));
    events
}

fn viewers(viewers: u64) -> PipelineFigures {
    PipelineFigures { pipeline: ONE, viewers, ..Default::default() }
}

/// Everything that waits in a stream.
async fn told(queue: &Queue, reader: u64) -> Vec<String> {
    let mut told = Vec::new();
    while queue.len() > 0 {
        let item = queue.next(reader).await.unwrap();
        told.push(format!("{} {}", item.kind.name(), item.data));
    }
    told
}

#[tokio::test]
async fn viewers_are_told_on_change_only_and_layers_when_their_kind_changes() {
    let events = book();
    let _listed = events.list(id(1), ONE, lines());
    events.open(&id(1), "s".into(), Wants::all()).unwrap();
    let (queue, reader) = events.read(&id(1), "s", Hangup::default()).unwrap();
    let before = told(&queue, reader).await;
    assert_eq!(before, ["active {}", "layers {\"2\":[{\"rid\":\"7\",\"width\":640}]}"]);
    let rates = |rate| HashMap::from([(Ssrc(7), rate)]);
    for (rate, n, expected) in [
        (0, 3, vec!["viewercount {\"viewercount\":3}"]),
        (0, 3, vec![]),
        (900, 3, vec!["layers {\"2\":[{\"rid\":\"7\",\"bitrate\":900,\"width\":640}]}"]),
        (1_800, 3, vec![]),
        (1_800, 2, vec!["viewercount {\"viewercount\":2}"]),
    ] {
        events.set_figures(rates(rate), &[viewers(n)]);
        assert_eq!(told(&queue, reader).await, expected, "{rate} {n}");
    }
    events.set_pipelines(pipelines(true));
    assert!(told(&queue, reader).await.is_empty(), "nothing is new");
    events.reconnect();
    assert_eq!(told(&queue, reader).await, ["reconnect {\"retryAfter\":1}"]);
}

#[tokio::test]
async fn what_waits_when_the_session_ends_is_still_read() {
    let events = book();
    let listed = events.list(id(1), ONE, lines());
    events.open(&id(1), "s".into(), Wants::named(["reconnect"]).unwrap()).unwrap();
    let (queue, reader) = events.read(&id(1), "s", Hangup::default()).unwrap();
    events.reconnect();
    drop(listed);
    assert_eq!(queue.next(reader).await.unwrap().kind, Kind::Reconnect);
    assert_eq!(queue.next(reader).await, None);
    assert_eq!(events.counts(), (0, 0));
}

#[test]
fn the_leafs_streams_are_bounded_and_places_come_back() {
    let events = book();
    let sessions: Vec<Listed> = (0..=MAX_STREAMS / MAX_STREAMS_PER_SESSION)
        .map(|n| events.list(id(n), ONE, lines()))
        .collect();
    let mut opened = 0;
    let full = (0..sessions.len()).find_map(|n| {
        (0..MAX_STREAMS_PER_SESSION).find_map(|s| {
            let made = events.open(&id(n), s.to_string(), Wants::all());
            opened += usize::from(made.is_ok());
            made.err()
        })
    });
    assert_eq!((full, opened), (Some(Refused::LeafFull), MAX_STREAMS));
    assert!(events.close(&id(0), "0") && !events.close(&id(0), "0"));
    let last = id(sessions.len() - 1);
    assert_eq!(events.open(&last, "s".into(), Wants::all()), Ok(()));
    assert_eq!(events.open(&last, "t".into(), Wants::all()), Err(Refused::LeafFull));
    drop(sessions);
    assert_eq!(events.counts(), (0, 0));
    assert!(events.lock().sessions.is_empty() && events.lock().streams.is_empty());
}

#[test]
fn names_of_events() {
    assert_eq!(Wants::named(Kind::ALL.map(Kind::name)), Ok(Wants::all()));
    assert_eq!(Wants::named(["active", "scte35"]), Err("scte35"));
}

#[tokio::test]
async fn a_session_without_a_picture_hears_nothing_of_layers() {
    let events = book();
    let _listed = events.list(id(1), ONE, vec![]);
    events.open(&id(1), "s".into(), Wants::all()).unwrap();
    let (queue, reader) = events.read(&id(1), "s", Hangup::default()).unwrap();
    events.set_figures(HashMap::from([(Ssrc(7), 900)]), &[viewers(1)]);
    assert_eq!(told(&queue, reader).await, ["active {}", "viewercount {\"viewercount\":1}"]);
}
