//! The streams API over HTTP: who may do what, what is refused and how, and that the OpenAPI text says
//! the same.

use super::*;
use crate::config::MAX_STREAMS;
use crate::store::access::Right;
use serde_json::json;

/// A request with a token (none if it is empty) and a body (none if it is empty).
async fn send(site: &Site, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if !token.is_empty() {
        head += &format!("Authorization: {token}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    ask(site, &format!("{head}\r\n{body}")).await
}

fn token(site: &Site, right: Right) -> String {
    let now = site.clock.now().wall;
    let (token, _) = site.bench.store.create_api_token(now, &right, None, "").unwrap();
    format!("Bearer {token}")
}

/// A site and an operator's `Authorization`.
async fn opened() -> (Site, String) {
    let site = site(Limits::default()).await;
    let token = token(&site, Right::Operate);
    (site, token)
}

fn detail(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["status"], answer.status);
    body["detail"].as_str().unwrap().to_owned()
}

const NEWS: &str = r#"{"name":"news","tracks":[{"codec":"opus","payload_type":111}]}"#;
/// Every route that is for operators.
const GUARDED: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/streams", NEWS),
    ("PATCH", "/api/v1/streams/demo", "{}"),
    ("DELETE", "/api/v1/streams/demo", ""),
    ("POST", "/api/v1/streams/demo/start", ""),
    ("POST", "/api/v1/streams/demo/stop", ""),
    ("GET", "/api/v1/streams/demo/tokens", ""),
    ("POST", "/api/v1/streams/demo/tokens", "{}"),
    ("DELETE", "/api/v1/streams/demo/tokens/0123456789abcdef", ""),
];

#[tokio::test]
async fn who_may_not_is_told_why() {
    let (site, operator) = opened().await;
    let publisher = token(&site, Right::Publish("demo".into()));
    let now = site.clock.now().wall;
    let join = site.bench.store.create_token(now, Role::Leaf, None, "").unwrap();
    // Its last character is another one, whichever it was.
    let last = if operator.ends_with('A') { 'E' } else { 'A' };
    let forged = format!("{}{last}", &operator[..operator.len() - 1]);
    for (method, path, body) in GUARDED {
        let answer = async |token: &str| send(&site, method, path, token, body).await;
        let none = answer("").await;
        assert_eq!(
            (none.status, none.header("www-authenticate")),
            (401, Some("Bearer realm=\"soleil\"")),
            "{method} {path}"
        );
        assert!(detail(&none).contains("--role operator"));
        for bad in ["Bearer x", "Bearer", "Basic eDp5", &forged, &format!("Bearer {join}")] {
            let wrong = answer(bad).await;
            assert_eq!(wrong.status, 401, "{method} {path} {bad}");
            assert!(wrong.header("www-authenticate").unwrap().contains("invalid_token"));
            detail(&wrong);
        }
        let little = answer(&publisher).await;
        assert_eq!(little.status, 403, "{method} {path}");
        assert!(little.header("www-authenticate").unwrap().contains("insufficient_scope"));
        assert!(detail(&little).contains("publisher"));
    }
    let said = site.bench.tree.said.lock().unwrap().clone();
    assert_eq!((site.bench.registry.list().len(), said), (1, vec!["define 1".to_owned()]));
    // What is revoked or has run out opens nothing either.
    let id = operator.split('.').nth(1).unwrap();
    assert_eq!(send(&site, "GET", GUARDED[5].1, &operator, "").await.status, 200);
    site.bench.store.revoke_api_token(now, id, None).unwrap();
    let revoked = send(&site, "GET", GUARDED[5].1, &operator, "").await;
    assert_eq!((revoked.status, detail(&revoked).contains("revoked")), (401, true));
    let short = Some(Duration::from_secs(1));
    let past = Wall(now.0 - 2_000_000);
    let (old, _) = site.bench.store.create_api_token(past, &Right::Operate, short, "").unwrap();
    let expired = send(&site, "GET", GUARDED[5].1, &format!("Bearer {old}"), "").await;
    assert_eq!((expired.status, detail(&expired).contains("expired")), (401, true));
}

#[tokio::test]
async fn reading_is_open_and_ports_are_for_operators() {
    let (site, operator) = opened().await;
    let publisher = token(&site, Right::Publish("demo".into()));
    for path in ["/api/v1/streams", "/api/v1/streams/demo"] {
        for token in ["", publisher.as_str()] {
            let answer = send(&site, "GET", path, token, "").await;
            assert_eq!(answer.status, 200);
            for hidden in ["ports", "payload_type", "\"id\"", "label"] {
                assert!(!answer.body.contains(hidden), "{hidden}: {}", answer.body);
            }
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        let answer = send(&site, "GET", path, &operator, "").await;
        assert!(answer.body.contains("\"ports\"") && answer.body.contains("\"id\":1"));
        assert_eq!(send(&site, "GET", path, "Bearer x", "").await.status, 401);
    }
    let lower = operator.replacen("Bearer", "bearer", 1);
    assert!(send(&site, "GET", "/api/v1/streams/demo", &lower, "").await.body.contains("ports"));
}

#[tokio::test]
async fn a_stream_is_defined_changed_stopped_started_and_removed() {
    let (site, operator) = opened().await;
    let send = async |method: &str, path: &str, body: &str| {
        send(&site, method, path, &operator, body).await
    };
    let port = 6_000;
    let body = json!({"name": "news", "label": "the news", "tracks": [
        {"codec": "VP8", "payload_type": 97, "layers": 2},
        {"codec": "opus", "payload_type": 111, "ports": [port]},
    ]});
    let made = send("POST", "/api/v1/streams", &body.to_string()).await;
    assert_eq!(
        (made.status, made.header("location")),
        (201, Some("/api/v1/streams/news")),
        "{}",
        made.body
    );
    let news = made.json();
    assert_eq!((&news["state"], &news["origin"]), (&json!("running"), &json!("api")));
    assert_eq!(news["definition"]["label"], "the news");
    assert_eq!(news["definition"]["tracks"][1]["ports"], json!([port]));
    assert_eq!(news["tracks"][0]["layers"].as_array().unwrap().len(), 2);
    assert_eq!(send("GET", "/api/v1/streams/news", "").await.json(), news);
    let again = send("POST", "/api/v1/streams", &body.to_string()).await;
    assert_eq!((again.status, detail(&again).contains("news")), (409, true));

    let change = r#"{"label":"late news"}"#;
    let changed = send("PATCH", "/api/v1/streams/news", change).await;
    assert_eq!(
        (changed.status, &changed.json()["definition"]["label"]),
        (200, &json!("late news"))
    );
    let tracks = r#"{"tracks":[{"codec":"opus","payload_type":111}]}"#;
    let running = send("PATCH", "/api/v1/streams/news", tracks).await;
    assert_eq!((running.status, detail(&running).contains("stop it")), (409, true));
    let stopped = send("POST", "/api/v1/streams/news/stop", "").await;
    assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("stopped")));
    let off = post_(&site, "/whep/news", "v=0").await;
    assert_eq!((off.status, off.header("retry-after")), (409, Some("3")));
    let shown = get_(&site, "/api/v1/streams/news").await.json();
    assert_eq!(
        (&shown["state"], shown["tracks"].as_array().unwrap().len()),
        (&json!("stopped"), 2)
    );
    assert_eq!(send("PATCH", "/api/v1/streams/news", tracks).await.status, 200);
    let started = send("POST", "/api/v1/streams/news/start", "").await;
    assert_eq!((started.status, &started.json()["state"]), (200, &json!("running")));
    assert_eq!(started.json()["tracks"].as_array().unwrap().len(), 1);

    let removed = send("DELETE", "/api/v1/streams/news", "").await;
    assert_eq!((removed.status, removed.body.as_str()), (204, ""));
    for (method, path, body) in GUARDED.iter().skip(1) {
        let gone = send(method, &path.replace("demo", "news"), body).await;
        assert_eq!((gone.status, detail(&gone).contains("no stream")), (404, true), "{method}");
    }
    assert_eq!(post_(&site, "/whep/news", "v=0").await.status, 404);
    let rests = r#"{"name":"rests","start":false,"tracks":[{"codec":"opus","payload_type":111}]}"#;
    let rests = send("POST", "/api/v1/streams", rests).await;
    assert_eq!((rests.status, &rests.json()["state"]), (201, &json!("stopped")));
}

#[tokio::test]
async fn streams_of_the_configuration_are_409() {
    let (site, operator) = opened().await;
    for (method, path, body) in &GUARDED[1..5] {
        let answer = send(&site, method, path, &operator, body).await;
        assert_eq!(answer.status, 409, "{method} {path}");
        assert!(detail(&answer).contains("[[stream]]"));
    }
    let demo = NEWS.replace("news", "demo");
    let answer = send(&site, "POST", "/api/v1/streams", &operator, &demo).await;
    assert_eq!((answer.status, detail(&answer).contains("[[stream]]")), (409, true));
}

#[tokio::test]
async fn bodies_that_are_not_good_are_refused_with_the_field() {
    let (site, operator) = opened().await;
    let track = r#"{"codec":"opus","payload_type":111}"#;
    let with = |track: &str| format!("{{\"name\":\"a\",\"tracks\":[{track}]}}");
    for (status, body, word) in [
        (400, "{".to_owned(), "EOF"),
        (422, "{}".into(), "name"),
        (422, NEWS.replace("name", "nmae"), "`nmae`"),
        (422, with(r#"{"codec":"opus","payload_type":111,"colour":1}"#), "tracks[0].colour"),
        (422, with(r#"{"codec":"opus"}"#), "payload_type"),
        (422, with(r#"{"codec":"opus","payload_type":300}"#), "tracks[0].payload_type"),
        (422, with(r#"{"codec":"MPEG","payload_type":96}"#), "tracks[0]: codec"),
        (422, with(r#"{"codec":"opus","payload_type":72}"#), "payload_type"),
        (422, with(r#"{"codec":"opus","payload_type":111,"bind":"home"}"#), "tracks[0].bind"),
        (422, with(&[track; 2].join(",")), "two of this name"),
        (422, with(""), "1 to 8 tracks"),
        (422, with(&[track; 9].join(",")), "1 to 8 tracks"),
        (422, with(track).replace("\"a\"", "\"a/b\""), "a/b"),
        (422, NEWS.replace("}]", "}],\"label\":\"\\u0007\""), "label"),
    ] {
        let answer = send(&site, "POST", "/api/v1/streams", &operator, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(detail(&answer).contains(word), "{word}: {}", answer.body);
    }
    // The port of somebody who is still there.
    let taken = 6_000;
    let held = std::net::UdpSocket::bind((site.bench.registry.bind(), taken)).unwrap();
    let port = with(&format!("{{\"codec\":\"opus\",\"payload_type\":111,\"ports\":[{taken}]}}"));
    let answer = send(&site, "POST", "/api/v1/streams", &operator, &port).await;
    assert_eq!((answer.status, detail(&answer).contains(&taken.to_string())), (409, true));
    drop(held);
    let large = with(&format!("{{\"fmtp\":\"{}\"}}", "x".repeat(MAX_BODY)));
    let answer = send(&site, "POST", "/api/v1/streams", &operator, &large).await;
    assert_eq!(answer.status, 413);
    detail(&answer);
    let long = with(&format!("{{\"{}\":1}}", "é".repeat(2_000)));
    let answer = send(&site, "POST", "/api/v1/streams", &operator, &long).await;
    assert_eq!((answer.status, detail(&answer).len() < 600), (422, true), "it is cut");
    let head = "POST /api/v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let plain = format!(
        "{head}Authorization: {operator}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let answer = ask(&site, &plain).await;
    assert_eq!(answer.status, 415);
    detail(&answer);
    for body in [r#"{"lable":"x"}"#, r#"{"tracks":[{"codec":"opus","payload_type":111,"x":1}]}"#] {
        let answer = send(&site, "PATCH", "/api/v1/streams/demo", &operator, body).await;
        assert_eq!((answer.status, detail(&answer).contains("unknown field")), (422, true));
    }
    assert_eq!(site.bench.registry.list().len(), 1);
}

#[tokio::test]
async fn there_are_no_more_streams_than_may_be() {
    let (site, operator) = opened().await;
    for number in 1..=MAX_STREAMS {
        let port = 1_024 + 2 * number;
        let body = format!(
            "{{\"name\":\"s{number}\",\"start\":false,\"tracks\":[{{\"codec\":\"opus\",\
             \"payload_type\":111,\"ports\":[{port}]}}]}}"
        );
        let answer = send(&site, "POST", "/api/v1/streams", &operator, &body).await;
        let wanted = if number < MAX_STREAMS { 201 } else { 409 };
        assert_eq!(answer.status, wanted, "{number}: {}", answer.body);
    }
}

#[tokio::test]
async fn publish_tokens_are_made_listed_and_revoked() {
    let (site, operator) = opened().await;
    let send = async |method: &str, path: &str, body: &str| {
        send(&site, method, path, &operator, body).await
    };
    let path = "/api/v1/streams/demo/tokens";
    let made = send("POST", path, r#"{"label":"OBS","ttl":"24h"}"#).await;
    assert_eq!(
        (made.status, made.header("cache-control")),
        (201, Some("no-store")),
        "{}",
        made.body
    );
    let (token, id) =
        (made.json()["token"].as_str().unwrap().to_owned(), made.json()["id"].clone());
    let now = site.clock.now().wall;
    let check = |token: &str| site.bench.store.check_publish(now, "demo", token);
    assert_eq!(check(&token), Ok(()));
    let listed = send("GET", path, "").await;
    let row = &listed.json()["tokens"][0];
    assert_eq!((&row["id"], &row["label"], &row["state"]), (&id, &json!("OBS"), &json!("valid")));
    assert_eq!(row["expires"].as_u64().unwrap() - row["created"].as_u64().unwrap(), 86_400_000);
    let secret = token.rsplit('.').next().unwrap();
    assert!(!listed.body.contains(secret), "it is shown once");
    let one = made.header("location").unwrap();
    // Another stream's address does not reach it.
    assert_eq!(send("POST", "/api/v1/streams", NEWS).await.status, 201);
    assert_eq!(send("DELETE", &one.replace("demo", "news"), "").await.status, 404);
    assert_eq!(check(&token), Ok(()));
    assert_eq!(send("DELETE", one, "").await.status, 204);
    assert!(check(&token).is_err());
    let twice = send("DELETE", one, "").await;
    assert_eq!((twice.status, detail(&twice).contains("revoked already")), (404, true));
    assert_eq!(send("GET", path, "").await.json()["tokens"][0]["state"], "revoked");
    for (body, word) in [
        (r#"{"ttl":"soon"}"#, "ttl"),
        (r#"{"ttl":"0s"}"#, "ttl"),
        (r#"{"lable":"x"}"#, "`lable`"),
        (r#"{"label":"\n"}"#, "label"),
    ] {
        let answer = send("POST", path, body).await;
        assert_eq!((answer.status, detail(&answer).contains(word)), (422, true), "{body}");
    }
}

#[tokio::test]
async fn other_sites_may_read_and_nothing_else() {
    let (site, operator) = opened().await;
    for path in ["/api/v1/streams", "/api/v1/streams/demo", "/api/v1/openapi.json"] {
        let answer = send(&site, "OPTIONS", path, "", "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD"));
        assert_eq!(answer.header("access-control-allow-headers"), None, "no token goes along");
    }
    for (method, path, body) in GUARDED.iter().filter(|(method, ..)| *method != "GET") {
        let answer = send(&site, method, path, &operator, body).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{method} {path}");
    }
    for path in ["/api/v1/streams/demo/start", "/api/v1/streams/demo/tokens/x"] {
        let answer = send(&site, "OPTIONS", path, "", "").await;
        assert_eq!(answer.status, 405);
    }
    let odd = send(&site, "PUT", "/api/v1/streams/demo", &operator, "{}").await;
    assert_eq!(odd.status, 405);
    assert!(odd.header("allow").unwrap().contains("PATCH"));
}

#[tokio::test]
async fn the_openapi_text_has_every_route_and_every_answer() {
    let (site, operator) = opened().await;
    let text = get_(&site, "/api/v1/openapi.json").await;
    assert_eq!(text.header("content-type"), Some("application/json"));
    let document = text.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut documented = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            documented += 1;
            // It is there: what an operator asks of it is answered by a status that the text names.
            let filled = path.replace("{stream}", "demo").replace("{token}", "x");
            let body = if ["post", "patch"].contains(&method.as_str()) { "{}" } else { "" };
            let method = method.to_uppercase();
            let answer = send(&site, &method, &filled, &operator, body).await;
            let status = answer.status.to_string();
            assert!(operation["responses"][&status].is_object(), "{method} {path}: {status}");
        }
    }
    let guarded = GUARDED.iter().map(|(method, path, _)| (*method, *path));
    let open = ["/api/v1/streams", "/api/v1/streams/demo", "/api/v1/openapi.json"];
    let publishers = [("GET", "/api/v1/streams/demo/health")];
    let all: Vec<_> = guarded.chain(open.map(|path| ("GET", path))).chain(publishers).collect();
    assert_eq!(documented, all.len());
    for (method, path) in all {
        let path = path.replace("demo", "{stream}").replace("0123456789abcdef", "{token}");
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not in the text");
    }
    let names = document["components"]["schemas"].as_object().unwrap();
    let ours = ["NewStream", "StreamChange", "Stream", "Definition", "Token", "Problem"];
    for name in ours.into_iter().chain(["SourceRequest", "SourceDefinition", "SourceOut"]) {
        assert!(names.contains_key(name), "{name}");
    }
    assert_eq!(document["components"]["securitySchemes"]["operator"]["scheme"], "bearer");
}

#[tokio::test]
async fn who_broadcasts_sees_how_viewers_fare() {
    let (site, operator) = opened().await;
    let own = token(&site, Right::Publish("demo".into()));
    let others = token(&site, Right::Publish("news".into()));
    let path = "/api/v1/streams/demo/health";
    let asked = async |token: &str| send(&site, "GET", path, token, "").await;
    let configured = format!("Bearer {CONFIGURED_TOKEN}");
    for good in [&own, &configured, &operator] {
        let answer = asked(good).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        assert_eq!((&answer.json()["live"], &answer.json()["loss"]), (&json!(false), &Value::Null));
    }
    let none = asked("").await;
    assert_eq!(none.status, 401);
    assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"soleil\""));
    assert!(detail(&none).contains("publish token"));
    let wrong = asked("Bearer as somebody guesses it").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.header("www-authenticate").unwrap().contains("invalid_token"));
    let little = asked(&others).await;
    assert_eq!(little.status, 403);
    assert!(little.header("www-authenticate").unwrap().contains("insufficient_scope"));
    let unknown = "/api/v1/streams/none/health";
    assert_eq!(send(&site, "GET", unknown, &operator, "").await.status, 404);
    assert_eq!(send(&site, "GET", unknown, "", "").await.status, 401);

    // Means of the whole tree, and the leaf whose viewers fare worst; one that is gone does not count.
    let mut seen = (*view(true, &[("leaf-1", 3), ("leaf-2", 1), ("leaf-3", 9)])).clone();
    let stat = |name: &str, value, weight| Stat { name: name.into(), value, weight: Some(weight) };
    for (node, lost) in seen.nodes.iter_mut().zip([0.01, 0.2, 0.9]) {
        node.stats[0].stats.push(stat("fractionlost", lost, 3.0));
    }
    seen.nodes[2].attached = false;
    seen.pipelines[0].stats = vec![
        stat("fractionlost", 0.0575, 4.0),
        stat("rtt", 20.5, 4.0),
        stat("viewerjitter", 3.5, 4.0),
        stat("bitrate", 1_500_000.0, 4.0),
    ];
    site.view.send_replace(Arc::new(seen));
    let expected = json!({
        "live": true, "since": 1234, "viewers": 4, "reporting": 4, "loss": 0.0575, "worst_loss": 0.2,
        "rtt_ms": 20.5, "jitter_ms": 3.5, "bitrate": 1_500_000.0
    });
    assert_eq!(asked(&own).await.json(), expected);
    assert_eq!(asked(&own).await.header("access-control-allow-headers"), None);
}

#[cfg(feature = "gstreamer")]
#[tokio::test]
async fn sources_are_kept_and_their_secrets_are_shown_to_nobody() {
    let (site, operator) = opened().await;
    let send = async |method: &str, path: &str, body: &str| {
        send(&site, method, path, &operator, body).await
    };
    let source = json!({"kind": "srt", "listen": "127.0.0.1:9000", "secret": "correct horse"});
    let slate = json!({"kind": "slate", "text": "back soon"});
    let body = json!({"name": "news", "start": false, "sources": [source, slate]});
    let made = send("POST", "/api/v1/streams", &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let definition = &made.json()["definition"];
    let names: Vec<_> = (0..2).map(|n| definition["tracks"][n]["codec"].clone()).collect();
    assert_eq!(names, ["H264", "opus"]);
    assert!(definition["tracks"][0]["ports"][0].as_u64().unwrap() > 0);
    let shown = &definition["sources"];
    assert_eq!((&shown[0]["secret"], &shown[0]["latency_ms"]), (&json!("(hidden)"), &json!(200)));
    assert_eq!((&shown[1]["text"], shown[1].get("secret")), (&json!("back soon"), None));
    // Viewers see nothing of it, and the store has no secret in clear.
    let anybody = get_(&site, "/api/v1/streams/news").await;
    for word in ["127.0.0.1:9000", "back soon", "hidden"] {
        assert!(!anybody.body.contains(word), "{}", anybody.body);
    }
    let kept = site.bench.store.defined_streams().unwrap().remove(0).definition;
    let text = serde_json::to_string(&kept).unwrap();
    assert!(!text.contains("horse") && !text.contains("(hidden)"), "{text}");
    let sealed = kept.sources[0].secret.clone().unwrap();
    assert_eq!(site.bench.store.unseal("news", &sealed).unwrap().as_str(), "correct horse");
    // What is shown is no secret to send back.
    let change =
        json!({"sources": [{"kind": "srt", "listen": "127.0.0.1:9000", "secret": "(hidden)"}]});
    let refused = send("PATCH", "/api/v1/streams/news", &change.to_string()).await;
    assert_eq!((refused.status, detail(&refused).contains("give it anew")), (422, true));
    let change = json!({"sources": [slate]});
    let changed = send("PATCH", "/api/v1/streams/news", &change.to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.json()["definition"]["sources"].as_array().unwrap().len(), 1);
    for (source, word) in [
        (json!({"kind": "srt"}), "sources[0]: kind \"srt\" needs uri"),
        (json!({"kind": "srt", "uri": "http://a"}), "sources[0].uri: must have the form"),
        (json!({"kind": "rtmp", "secret": "key"}), "stand in the configuration"),
        (json!({"kind": "file", "path": "a.mp4"}), "ingest.files"),
        (json!({"kind": "slate", "path": "/etc/passwd"}), "ingest.files"),
    ] {
        let body = json!({"name": "more", "sources": [source]});
        let refused = send("POST", "/api/v1/streams", &body.to_string()).await;
        assert_eq!(
            (refused.status, detail(&refused).contains(word)),
            (422, true),
            "{}",
            refused.body
        );
    }
    let strange = json!({"name": "more", "sources": [{"kind": "slate", "secret_file": "/etc/x"}]});
    let refused = send("POST", "/api/v1/streams", &strange.to_string()).await;
    assert_eq!((refused.status, detail(&refused).contains("secret_file")), (422, true));
}
