//! What viewers with media hear over their event streams, and that they get the layer that they
//! choose.

use super::*;

/// A reader of all events of a session.
async fn subscribe(rig: &Rig, session: &str) -> Subscription {
    let answer = send(rig.http, &format!("POST {session}/events"), "", "").await;
    let location = answer.lines().find_map(|l| l.strip_prefix("location: http://leaf.test"));
    let path = location.unwrap_or_else(|| panic!("{answer}"));
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: leaf.test\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    Subscription { stream, text: String::new() }
}

struct Subscription {
    stream: TcpStream,
    text: String,
}

impl Subscription {
    /// Whether a text has come, after a short wait.
    async fn has(&mut self, text: &str) -> bool {
        let mut buffer = [0; 4_096];
        let read = self.stream.read(&mut buffer);
        if let Ok(Ok(len)) = tokio::time::timeout(Duration::from_millis(5), read).await {
            self.text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
        }
        self.text.contains(text)
    }
}

impl Client {
    /// Goes on as a viewer until the subscription has a text.
    async fn until_told(&mut self, told: &mut Subscription, text: &str) {
        let until = self.clock.now().mono.after(DEADLINE);
        while !told.has(text).await {
            assert!(self.clock.now().mono < until, "no {text:?} in {:?}", told.text);
            self.pump().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_viewercount_is_what_the_leaf_counts() {
    let rig = rig().await;
    let mut client = rig.viewer().await;
    let mut told = subscribe(&rig, &client.path).await;
    client.until_told(&mut told, "event: viewercount\ndata: {\"viewercount\":1}\n\n").await;
    let second = rig.viewer().await;
    client.until_told(&mut told, "data: {\"viewercount\":2}\n\n").await;
    let gone = send(rig.http, &format!("DELETE {}", second.path), "", "").await;
    assert!(gone.starts_with("HTTP/1.1 200"), "{gone}");
    told.text.clear();
    client.until_told(&mut told, "data: {\"viewercount\":1}\n\n").await;
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reconnect_comes_before_a_leaf_leaves() {
    let rig = rig().await;
    let mut client = rig.viewer().await;
    let mut told = subscribe(&rig, &client.path).await;
    client.until_told(&mut told, "event: layers").await;
    rig.leaf.drain().await;
    // No URL: the player goes where it came from first, which is the root.
    client.until_told(&mut told, "event: reconnect\ndata: {\"retryAfter\":1}\n\n").await;
    // The stream ends as it should, so that the stop need not wait.
    client.until_told(&mut told, "0\r\n\r\n").await;
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_layers_have_the_bitrate_that_comes() {
    let mut rig = rig().await;
    let mut client = rig.viewer().await;
    let mut told = subscribe(&rig, &client.path).await;
    client.until_told(&mut told, "event: layers\ndata: {\"0\":[{\"rid\":\"10\"}]}\n\n").await;
    rig.media(1);
    client.until_told(&mut told, "{\"rid\":\"10\",\"bitrate\":").await;
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_the_viewer_gets_the_layer_that_it_chooses_and_the_best_otherwise() {
    let mut rig = rig().await;
    let small = Ssrc(11);
    let mut all = (*pipelines(&[1])).clone();
    let layers = &mut all.get_mut(&DEMO).unwrap().tracks[0].layers;
    layers.push(Layer { ssrc: small, ..layers[0] });
    rig._pipelines.send_replace(Arc::new(all));
    let mut client = rig.viewer().await;
    let choose = async |body: &str| {
        let what = format!("POST {}/layer", client.path);
        send(rig.http, &what, "Content-Type: application/json\r\n", body).await
    };
    let until = rig.clock.now().mono.after(DEADLINE);
    // The worker hears of the new layer a moment later.
    while !choose("{\"rid\":\"11\"}").await.starts_with("HTTP/1.1 200") {
        assert!(rig.clock.now().mono < until, "it can't be chosen");
    }
    rig.command("its key frame", |c| {
        matches!(c, NodeCommand::KeyFrame(DEMO, s) if s == small).then_some(())
    });
    rig.packet(small, 1, b"small");
    client
        .until("the small one", |c| c.viewer.seen.last().is_some_and(|p| p.payload == b"small"))
        .await;
    let what = format!("POST {}/layer", client.path);
    let auto = send(rig.http, &what, "Content-Type: application/json\r\n", "{}").await;
    assert!(auto.starts_with("HTTP/1.1 200"), "{auto}");
    rig.packet(VIDEO, 1, b"large");
    client
        .until("the large one", |c| c.viewer.seen.last().is_some_and(|p| p.payload == b"large"))
        .await;
    tokio::time::timeout(DEADLINE, rig.leaf.stop()).await.expect("it does not stop");
}
