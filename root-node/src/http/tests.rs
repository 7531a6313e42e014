//! The handlers behind a real listener, with a view of a tree that is made up.

mod api;

use super::*;
use crate::core::api::{NodeView, PipelineView};
use crate::streams::tests::{Bench, configured};
use relay_node::http_server::{HttpServer, Limits};
use relay_node::identity::PlayTicket;
use serde_json::Value;
use soleil_protocol::message::{Capacity, Stat, StatsContainer};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{Epoch, Incarnation, NodeId, Rank, Role, Ssrc, Wall};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A publish token that stands in the configuration.
const CONFIGURED_TOKEN: &str = "as the configuration has it";

struct Site {
    addr: SocketAddr,
    view: watch::Sender<Arc<RootView>>,
    tickets: Arc<SigningKey>,
    clock: Clock,
    bench: Bench,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn site(limits: Limits) -> Site {
    let data = tempfile::tempdir().unwrap();
    let bench = Bench::start(data.path(), &[configured()]);
    let view = bench.tree.view.lock().unwrap().clone().unwrap();
    let (_, on_air) = watch::channel(Arc::new(BTreeMap::from([(PipelineId(1), Millis(1234))])));
    let tickets = Arc::new(SigningKey::generate().unwrap());
    let clock = bench.clock;
    let state = HttpState {
        view: bench.view.clone(),
        on_air,
        picker: Mutex::default(),
        tickets: tickets.clone(),
        clock,
        streams: bench.registry.clone(),
        store: bench.store.clone(),
        publishers: publishers(&bench),
        whip: None,
    };
    let server = HttpServer::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let server = server.with_limits(limits);
    let addr = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(server.serve(router(Arc::new(state)), stop.clone()));
    Site { addr, view, tickets, clock, bench, stop, _data: data }
}

/// A token of the configuration, and those of the store.
fn publishers(bench: &Bench) -> Arc<dyn PublishCheck> {
    let configured = whip::ConfiguredTokens::new([("demo", CONFIGURED_TOKEN)]);
    let stored = crate::root::whip::stored_tokens(bench.store.clone(), bench.clock);
    Arc::new(whip::AnyOf(vec![Arc::new(configured), stored]))
}

async fn ask(site: &Site, request: &str) -> Answer {
    let mut stream = TcpStream::connect(site.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

async fn get_(site: &Site, path: &str) -> Answer {
    ask(site, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

async fn post_(site: &Site, path: &str, body: &str) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: https://elsewhere.example\
         \r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(site, &head).await
}

fn view(live: bool, leaves: &[(&str, u32)]) -> Arc<RootView> {
    let track = Track {
        name: "video".into(),
        codec: Codec::H264,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: vec![Layer {
            ssrc: Ssrc(1),
            payload_type: 96,
            width: Some(1280),
            height: Some(720),
            bitrate: None,
            scalability: None,
        }],
    };
    let def = PipelineDef { id: PipelineId(1), name: "demo".into(), live, tracks: vec![track] };
    let nodes = leaves
        .iter()
        .map(|(id, viewers)| NodeView {
            id: NodeId::new(id).unwrap(),
            role: Role::Leaf,
            incarnation: Incarnation(1),
            parent: None,
            rank: Rank(2),
            depth: 2,
            backups: Vec::new(),
            attached: true,
            leaving: false,
            server: None,
            media: vec![],
            http: Some(format!("http://{id}.example:8091/")),
            region: String::new(),
            labels: vec![],
            capacity: Capacity { children: 0, viewers: 10, egress: 0 },
            children: 0,
            viewers: *viewers,
            stats: vec![StatsContainer {
                start: 0,
                end: 1,
                children: 0,
                id: Some(PipelineId(1)),
                stats: vec![Stat {
                    name: "viewers".into(),
                    value: f64::from(*viewers),
                    weight: None,
                }],
            }],
        })
        .collect();
    let pipelines = vec![PipelineView { def, epoch: Epoch(1), stats: vec![] }];
    Arc::new(RootView { at: Wall(0), nodes, pipelines })
}

#[tokio::test]
async fn a_viewer_is_sent_to_the_least_loaded_leaf_with_a_ticket() {
    let site = site(Limits::default()).await;
    site.view.send_replace(view(true, &[("leaf-1", 5), ("leaf-2", 2)]));
    let answer = post_(&site, "/whep/demo", "v=0").await;
    assert_eq!(answer.status, 307, "{}", answer.body);
    let location = answer.header("location").unwrap();
    let ticket = location.strip_prefix("http://leaf-2.example:8091/whep/demo?ticket=").unwrap();
    let leaf = NodeId::new("leaf-2").unwrap();
    let now = site.clock.now();
    PlayTicket::verify(ticket, &site.tickets.public(), now, "demo", &leaf).unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("Location"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn refusals_say_why_and_when_to_come_back() {
    let site = site(Limits::default()).await;
    site.view.send_replace(view(true, &[("leaf-1", 10)]));
    let unknown = post_(&site, "/whep/other", "v=0").await;
    assert_eq!((unknown.status, unknown.header("retry-after")), (404, None));
    let full = post_(&site, "/whep/demo", "v=0").await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("5")));
    assert_eq!(full.json()["detail"], "every leaf is full at present");
    site.view.send_replace(view(true, &[]));
    let nobody = post_(&site, "/whep/demo", "v=0").await;
    assert_eq!((nobody.status, nobody.header("retry-after")), (503, Some("5")));
    assert_eq!(nobody.json()["detail"], "no leaf is attached at present");
    site.view.send_replace(view(false, &[("leaf-1", 0)]));
    let off = post_(&site, "/whep/demo", "v=0").await;
    assert_eq!((off.status, off.header("retry-after")), (409, Some("3")));
    for answer in [unknown, full, off] {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.json()["status"], answer.status);
        assert!(answer.json()["detail"].as_str().unwrap().len() > 20);
    }
    let large = post_(&site, "/whep/demo", &"x".repeat(MAX_BODY + 1)).await;
    assert_eq!(large.status, 413);
    let method = get_(&site, "/whep/demo").await;
    assert_eq!(method.status, 405);
    assert!(method.header("allow").unwrap().contains("POST"));
    let path = get_(&site, "/assets/%FF").await;
    assert_eq!(path.status, 400);
    for answer in [large, method, path] {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["status"], answer.status);
        assert!(answer.header("content-security-policy").is_some());
    }
}

#[tokio::test]
async fn a_browser_may_ask_first() {
    let site = site(Limits::default()).await;
    let request = "OPTIONS /whep/demo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: null\r\n\
        Access-Control-Request-Method: POST\r\n\r\n";
    let answer = ask(&site, request).await;
    assert_eq!((answer.status, answer.header("accept-post")), (204, Some("application/sdp")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("Content-Type"));
}

#[tokio::test]
async fn streams_are_listed() {
    let site = site(Limits::default()).await;
    let resting = &get_(&site, "/api/v1/streams").await.json()["streams"][0];
    assert_eq!((&resting["name"], &resting["live"]), (&"demo".into(), &false.into()));
    assert_eq!(resting["tracks"][0]["layers"].as_array().unwrap().len(), 1);
    site.view.send_replace(view(true, &[("leaf-1", 3), ("leaf-2", 4)]));
    let demo = serde_json::json!({
        "name": "demo", "live": true, "since": 1234, "viewers": 7,
        "tracks": [{"name": "video", "kind": "video", "codec": "H264",
            "layers": [{"width": 1280, "height": 720, "bitrate": null}]}],
        "origin": "configuration", "state": "running"
    });
    let list = get_(&site, "/api/v1/streams").await;
    assert_eq!(list.json(), serde_json::json!({ "streams": [demo] }));
    assert_eq!(get_(&site, "/api/v1/streams/demo").await.json(), demo);
    site.view.send_replace(view(false, &[]));
    let off = get_(&site, "/api/v1/streams/demo").await.json();
    assert_eq!((&off["live"], &off["since"]), (&Value::Bool(false), &Value::Null));
    for path in ["/api/v1/streams/other", "/api/v1/nothing", "/nothing", "/assets/../Cargo.toml"] {
        let answer = get_(&site, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn every_response_is_protected() {
    let site = site(Limits::default()).await;
    for path in ["/", "/watch/demo", "/broadcast", "/api/v1/streams", "/nothing"] {
        let answer = get_(&site, path).await;
        assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        // A camera is for one page only.
        let camera = if path == "/broadcast" { "camera=(self)" } else { "camera=()" };
        assert!(answer.header("permissions-policy").unwrap().contains(camera), "{path}");
    }
    let broadcast = get_(&site, "/broadcast").await;
    let features = broadcast.header("permissions-policy").unwrap();
    assert!(features.contains("microphone=(self)") && features.contains("display-capture=(self)"));
    let policy = broadcast.header("content-security-policy").unwrap();
    for part in ["connect-src 'self';", "style-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(broadcast.header("referrer-policy"), Some("no-referrer"));
    // Pages that are there come with a tag and are not sent twice.
    let page = get_(&site, "/").await;
    if page.status == 200 {
        let tag = page.header("etag").unwrap();
        let again = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        );
        assert_eq!(ask(&site, &again).await.status, 304);
        assert_eq!(page.header("cache-control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn strangers_cannot_hold_the_server() {
    let limits = Limits {
        connections: 8,
        per_address: 2,
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let site = site(limits).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(site.addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        slow.push(stream);
    }
    // A third connection from this address is closed at once.
    let mut third = TcpStream::connect(site.addr).await.unwrap();
    assert!(matches!(third.read(&mut [0; 16]).await, Ok(0) | Err(_)));
    // Whoever does not finish the head is closed, and the place is free again.
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
    }
    let free = async {
        loop {
            let mut stream = TcpStream::connect(site.addr).await.unwrap();
            let request = b"GET /api/v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let mut text = String::new();
            if stream.write_all(request).await.is_ok()
                && stream.read_to_string(&mut text).await.is_ok()
                && text.contains(" 200 ")
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
}

#[tokio::test]
async fn viewers_of_a_leaf_that_is_gone_are_not_counted() {
    let site = site(Limits::default()).await;
    let mut both = (*view(true, &[("leaf-1", 3), ("leaf-2", 2)])).clone();
    site.view.send_replace(Arc::new(both.clone()));
    let viewers = async || {
        let all = get_(&site, "/api/v1/streams").await.json();
        let one = get_(&site, "/api/v1/streams/demo").await.json();
        assert_eq!(all["streams"][0]["viewers"], one["viewers"]);
        one["viewers"].as_u64().unwrap()
    };
    assert_eq!(viewers().await, 5);
    both.nodes[0].attached = false;
    site.view.send_replace(Arc::new(both));
    assert_eq!(viewers().await, 2);
}
