//! WHEP core extensions: "Server Sent Events extension", on sockets. What viewers who have media
//! hear (viewercount, reconnect) is tested in `gateway::tests::events`.

use super::*;
use crate::http::events::{MAX_QUEUED, MAX_STREAMS_PER_SESSION};
use crate::worker::PipelineFigures;
use std::collections::HashMap;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
const JSON: &str = "Content-Type: application/json\r\n";

/// Makes a stream of these events; its path.
async fn open(b: &Bench, session: &str, list: &str) -> String {
    let answer = b.send("POST", &format!("{session}/events"), JSON, list).await;
    assert_eq!(status(&answer), 201, "{answer}");
    path_of(&answer)
}

/// A reader of a stream, over a connection of its own.
pub(super) struct Reader {
    stream: TcpStream,
    text: String,
}

impl Reader {
    async fn new(b: &Bench, path: &str) -> Self {
        let mut stream = TcpStream::connect(b.http).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: leaf.test\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Reads until the text has come; what stood before it.
    async fn until(&mut self, text: &str) -> String {
        let mut buffer = [0; 4_096];
        while !self.text.contains(text) {
            let read = tokio::time::timeout(DEADLINE, self.stream.read(&mut buffer)).await;
            let len = read.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.text)).unwrap();
            assert!(len > 0, "it ends without {text:?}: {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
        let at = self.text.find(text).unwrap() + text.len();
        self.text.drain(..at).collect()
    }

    /// What comes until the server ends it.
    async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(DEADLINE, read).await.expect("it does not end");
        self.text + &String::from_utf8_lossy(&rest)
    }
}

fn figures(pipeline: u32, viewers: u64) -> PipelineFigures {
    PipelineFigures { pipeline: PipelineId(pipeline), viewers, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_post_makes_a_stream_at_its_location() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let answer = b.send("POST", &format!("{path}/events"), JSON, "[\"active\"]").await;
    assert_eq!(status(&answer), 201, "{answer}");
    assert!(path_of(&answer).starts_with(&format!("{path}/events/")));
    // The list may be left out: all events then.
    let all = b.send("POST", &format!("{path}/events"), "", "").await;
    assert_eq!(status(&all), 201, "{all}");
    let mut reader = Reader::new(&b, &path_of(&all)).await;
    reader.until("event: layers").await;
    assert_eq!(status(&b.send("DELETE", &path_of(&all), "", "").await), 200);
    // A session is known by its own name; what stands before it comes back as it was sent.
    let odd = path.replace("/demo/", "/%0d%0a%20%C3%BC/");
    let answer = b.send("POST", &format!("{odd}/events"), "", "").await;
    assert_eq!(status(&answer), 201, "{answer}");
    assert!(path_of(&answer).starts_with(&format!("{odd}/events/")));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_announced_are_400_and_make_no_stream() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let url = format!("{path}/events");
    for bad in ["[\"active\",\"scte35\"]", "[1]", "{}", "\"active\"", "garbage"] {
        let answer = b.send("POST", &url, JSON, bad).await;
        assert_eq!(status(&answer), 400, "{bad}");
        assert!(header(&answer, "location").is_none());
    }
    let unknown = b.send("POST", &url, JSON, "[\"scte35\"]").await;
    assert!(body(&unknown).contains("scte35"), "it says which: {unknown}");
    assert_eq!(status(&b.send("POST", &url, "", "[]").await), 415);
    assert_eq!(status(&b.send("POST", &url, JSON, &" ".repeat(2_000)).await), 413);
    let other = format!("/whep/demo/{:034x}/events", 7);
    assert_eq!(status(&b.send("POST", &other, JSON, "[]").await), 404);
    assert_eq!(b.leaf.events().counts(), (0, 0));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_an_event_stream_with_one_data_line_each() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    let stream = open(&b, &path, "[\"active\",\"layers\"]").await;
    let head = b.send("HEAD", &stream, "", "").await;
    assert_eq!((status(&head), header(&head, "content-type")), (200, Some("text/event-stream")));
    let mut reader = Reader::new(&b, &stream).await;
    let head = reader.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("text/event-stream"));
    assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
    reader.until("event: active\ndata: {}\n\n").await;
    reader.until("event: layers\ndata: ").await;
    let data = reader.until("\n\n").await;
    let layers: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
    let layers = layers["0"].as_array().unwrap();
    assert_eq!(layers.len(), 3, "video only: {data}");
    let best = serde_json::json!({
        "rid": "41", "targetBitrate": 1_280_000, "width": 1280, "height": 720
    });
    assert_eq!(layers[0], best, "no bitrate: nothing comes of it");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_active_and_inactive_follow_the_publication() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"active\",\"inactive\"]").await;
    let mut reader = Reader::new(&b, &stream).await;
    reader.until("event: active\ndata: {}\n\n").await;
    for (live, event) in [(false, "inactive"), (true, "active")] {
        b.pipelines.send_replace(Arc::new(BTreeMap::from([def(1, "demo", live, Codec::Vp8)])));
        reader.until(&format!("event: {event}\ndata: {{}}\n\n")).await;
    }
    // A pipeline that is gone is not on air either.
    b.pipelines.send_replace(Arc::default());
    reader.until("event: inactive\ndata: {}\n\n").await;
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_begin_with_no_inactive() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    b.pipelines.send_replace(Arc::new(BTreeMap::from([def(1, "demo", false, Codec::Vp8)])));
    let until = b.clock.now().mono.after(DEADLINE);
    // 409: the leaf has heard of it.
    while status(&b.post("demo", OFFER).await) != 409 {
        assert!(b.clock.now().mono < until);
    }
    let probe = open(&b, &path, "[\"active\",\"inactive\"]").await;
    let mut reader = Reader::new(&b, &probe).await;
    b.pipelines.send_replace(Arc::new(BTreeMap::from([def(1, "demo", true, Codec::Vp8)])));
    let before = reader.until("event: active").await;
    // The book hears of changes in order: had the first not been there yet, `active` would have
    // come with the stream, and no second one.
    assert!(!before.contains("event: inactive"), "{before}");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_not_asked_for_do_not_come() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"inactive\"]").await;
    let mut reader = Reader::new(&b, &stream).await;
    b.pipelines.send_replace(Arc::new(BTreeMap::from([def(1, "demo", false, Codec::Vp8)])));
    let before = reader.until("event: inactive").await;
    assert!(!before.contains("event: active") && !before.contains("layers"), "{before}");
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_delete_drops_what_waits_and_the_stream_is_404() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"active\"]").await;
    let mut reader = Reader::new(&b, &stream).await;
    reader.until("event: active").await;
    assert_eq!(status(&b.send("DELETE", &stream, "", "").await), 200);
    reader.rest().await;
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(status(&b.send(method, &stream, "", "").await), 404, "{method}");
    }
    assert_eq!(b.leaf.events().counts(), (0, 0));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_with_their_session() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"active\"]").await;
    let mut reader = Reader::new(&b, &stream).await;
    reader.until("event: active").await;
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    reader.rest().await;
    assert_eq!(status(&b.send("GET", &stream, "", "").await), 404);
    assert_eq!(b.leaf.events().counts(), (0, 0));
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_a_reader_that_comes_again_takes_over_and_hears_what_holds() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"active\",\"layers\"]").await;
    let mut first = Reader::new(&b, &stream).await;
    first.until("event: layers").await;
    let mut second = Reader::new(&b, &stream).await;
    second.until("event: active").await;
    second.until("event: layers").await;
    first.rest().await;
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_streams_of_a_session_are_bounded() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    for _ in 0..MAX_STREAMS_PER_SESSION {
        open(&b, &path, "[]").await;
    }
    let answer = b.send("POST", &format!("{path}/events"), JSON, "[]").await;
    assert_eq!(status(&answer), 409, "{answer}");
    let (other, _) = begin(&b, "demo").await;
    open(&b, &other, "[]").await;
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_nobody_reads_end_the_stream() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"viewercount\"]").await;
    for n in 0..=MAX_QUEUED as u64 {
        b.leaf.events().set_figures(HashMap::new(), &[figures(1, 100 + n)]);
    }
    assert_eq!(b.leaf.events().counts(), (0, 1));
    let until = b.clock.now().mono.after(DEADLINE);
    // The control task brings it to the metrics with its next look.
    while !b.leaf.metrics().render().contains("soleil_leaf_event_streams_cut_total 1\n") {
        assert!(b.clock.now().mono < until);
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&b.send("GET", &stream, "", "").await), 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_a_reader_that_stops_reading_is_cut() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "demo").await;
    let stream = open(&b, &path, "[\"viewercount\"]").await;
    let mut reader = Reader::new(&b, &stream).await;
    reader.until("event: viewercount").await;
    let events = b.leaf.events();
    let until = b.clock.now().mono.after(DEADLINE);
    // Everything that the sockets hold has to be filled first. Only what the server has taken out
    // of the queue is followed by more: it is the reader that is slow, not the server.
    let mut n = 0;
    while events.counts() == (1, 0) {
        assert!(b.clock.now().mono < until, "it is never cut");
        if events.waiting() < MAX_QUEUED / 2 {
            n += 1;
            events.set_figures(HashMap::new(), &[figures(1, n)]);
        } else {
            // The server has had a second for it: it can't write.
            let taken = async {
                while events.waiting() >= MAX_QUEUED / 2 {
                    tokio::task::yield_now().await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(1), taken).await.is_err() {
                for _ in 0..MAX_QUEUED {
                    n += 1;
                    events.set_figures(HashMap::new(), &[figures(1, n)]);
                }
            }
        }
    }
    assert_eq!(events.counts(), (0, 1));
    // The connection is gone, whatever of the answer has not been read.
    let rest = reader.rest().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "cut, not ended");
    b.leaf.stop().await;
}
