//! WHEP core extensions: "Video Layer Selection extension". That the picture changes is tested in
//! `gateway::tests::events`.

use super::*;

const JSON: &str = "Content-Type: application/json\r\n";

async fn select(b: &Bench, path: &str, body: &str) -> u16 {
    status(&b.send("POST", &format!("{path}/layer"), JSON, body).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_a_choice_by_rid_is_200() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    for good in [
        r#"{"rid": "42"}"#,
        r#"{"mediaId": "0", "rid": "43"}"#,
        r#"{"mediaId": 0, "rid": "41", "spatialLayerId": 0, "temporalLayerId": 0}"#,
        r#"{"encodingId": "42", "maxTemporalLayerId": 1, "something": "unknown"}"#,
        r#"{"maxWidth": 640}"#,
        r#"{"maxHeight": 200, "rid": "43"}"#,
    ] {
        assert_eq!(select(&b, &path, good).await, 200, "{good}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_an_object_without_constraints_leaves_it_to_the_server_again() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    for good in ["{}", r#"{"mediaId": "0"}"#] {
        assert_eq!(select(&b, &path, good).await, 200, "{good}");
    }
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_what_is_wrong_is_400_what_is_not_there_404_what_cannot_be_422() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    for (bad, expected) in [
        ("", 400),
        ("garbage", 400),
        ("[]", 400),
        ("\"42\"", 400),
        (r#"{"rid": 42}"#, 400),
        (r#"{"maxWidth": -1}"#, 400),
        (r#"{"rid": "44"}"#, 404),
        (r#"{"rid": "49"}"#, 404),
        (r#"{"mediaId": "2"}"#, 404),
        (r#"{"mediaId": "first"}"#, 404),
        (r#"{"mediaId": "1"}"#, 422),
        (r#"{"temporalLayerId": 1}"#, 422),
        (r#"{"spatialLayerId": 2, "rid": "42"}"#, 422),
        (r#"{"maxWidth": 100}"#, 422),
        (r#"{"rid": "41", "maxHeight": 360}"#, 422),
    ] {
        assert_eq!(select(&b, &path, bad).await, expected, "{bad}");
    }
    assert_eq!(select(&b, &path, &" ".repeat(2_000)).await, 413);
    let url = format!("{path}/layer");
    assert_eq!(status(&b.send("POST", &url, "", "{}").await), 415);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_only_a_session_has_them() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    assert_eq!(select(&b, &format!("/whep/layers/{:034x}", 7), "{}").await, 404);
    assert_eq!(select(&b, "/whep/layers/x", "{}").await, 404);
    assert_eq!(status(&b.send("DELETE", &path, "", "").await), 200);
    assert_eq!(select(&b, &path, "{}").await, 404);
    b.leaf.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_while_the_track_is_away_it_is_409() {
    let b = bench(|_| {}).await;
    let (path, _) = begin(&b, "layers").await;
    let (id, mut def) = simulcast(4, "layers");
    def.tracks.remove(0);
    b.pipelines.send_replace(Arc::new(BTreeMap::from([(id, def)])));
    let until = b.clock.now().mono.after(std::time::Duration::from_secs(20));
    loop {
        let status = select(&b, &path, "{}").await;
        if status == 409 {
            break;
        }
        assert!(status == 200 && b.clock.now().mono < until, "{status}");
    }
    b.leaf.stop().await;
}
