//! A leaf below a real root: it ends when its viewer thread does.

use super::*;
use crate::worker::Breakage;
use relay_node::control::api::Lack;
use relay_node::exit;
use root_node::config::Config;
use root_node::core::api::RootView;
use root_node::root::Root;
use root_node::store::Store;
use std::process::ExitCode;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn root(data: &Path) -> Root {
    root_with(data, |_| {}).await
}

async fn root_with(data: &Path, change: fn(&mut Config)) -> Root {
    let mut config = Config::default();
    config.node.data_dir = Some(data.to_owned());
    config.overlay.listen = any();
    config.media.listen = any();
    config.http.listen = any();
    config.webrtc.listen = any();
    config.ops.enabled = false;
    config.stream.clear();
    change(&mut config);
    Root::start(config, LogControl::none()).await.unwrap()
}

/// A leaf that is to join this root, or one that nobody answers for.
async fn leaf(data: &Path, root: Option<&Root>) -> Started {
    let now = Clock::start().now().wall;
    let token = Store::open(data).unwrap().create_token(now, Role::Leaf, None, "").unwrap();
    let port = root.map_or(1, |root| root.node.bound().overlay.unwrap().port());
    let mut config = LeafConfig::default();
    config.root.address = Some(HostPort { host: "127.0.0.1".into(), port });
    config.root.token = Some(token);
    config.http.listen = any();
    config.webrtc.listen = any();
    config.ops.listen = any();
    start(&config, None, LogControl::none()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_whose_media_path_does_not_open_is_not_ready_and_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    // The wrong address: nothing that is sent there comes to the root's media port.
    let wrong = |c: &mut Config| c.media.announce = vec!["127.0.0.1:9".parse().unwrap()];
    let root = root_with(dir.path(), wrong).await;
    let started = leaf(dir.path(), Some(&root)).await;
    let mut lack = started.node.lack();
    let media = lack.wait_for(|lack| *lack == Some(Lack::Media));
    timeout(LIMIT, media).await.expect("it does not attach").unwrap();
    let ready = started.node.bound().ops.unwrap();
    let shown = async {
        loop {
            let answer = get(ready, "/readyz").await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            if answer.contains("media: the media path to the parent does not open") {
                return;
            }
        }
    };
    timeout(LIMIT, shown).await.expect("/readyz does not name it");
    assert!(root.view.borrow().nodes.iter().all(|n| n.role == Role::Root || !n.attached));
    assert!(get(started.http, "/whep/x").await.starts_with("HTTP/1.1 200"), "it is there");
    timeout(LIMIT, started.stop()).await.unwrap().unwrap();
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();

    // The same with the right one.
    let root = self::root(dir.path()).await;
    let started = leaf(dir.path(), Some(&root)).await;
    let mut lack = started.node.lack();
    timeout(LIMIT, lack.wait_for(Option::is_none)).await.expect("not ready").unwrap();
    let mut view = root.view.clone();
    let there = |v: &Arc<RootView>| v.nodes.iter().any(|n| n.role == Role::Leaf && n.attached);
    timeout(LIMIT, view.wait_for(there)).await.expect("not seen").unwrap();
    timeout(LIMIT, started.stop()).await.unwrap().unwrap();
    timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
}

async fn get(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_without_its_viewer_thread_leaves_the_tree_and_fails() {
    for (how, word) in [(Breakage::Socket, "socket"), (Breakage::Panic, "panicked")] {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path()).await;
        let started = leaf(dir.path(), Some(&root)).await;
        let mut view = root.view.clone();
        let there = |v: &Arc<RootView>| v.nodes.iter().any(|n| n.role == Role::Leaf && n.attached);
        timeout(LIMIT, view.wait_for(there)).await.expect("it never joins").unwrap();
        let (node, ops) = (started.node.clone(), started.ops.clone());
        started.leaf.workers().break_down(0, how);
        let ended = timeout(LIMIT, started.wait()).await.expect("it stays");
        let error = ended.unwrap_err();
        assert!(error.to_string().contains(word), "{error:#}");
        let code = exit::code(Err(error));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::FAILURE)));
        assert!(!*node.attached().borrow(), "it has left before it ended");
        assert!(ops.readiness().reasons().iter().any(|(name, _)| *name == "viewers"));
        let gone = view.wait_for(|v| !there(v));
        timeout(LIMIT, gone).await.expect("the root still counts on it").unwrap();
        timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_fails_before_it_has_joined_ends_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let started = leaf(dir.path(), None).await;
    started.leaf.workers().break_down(0, Breakage::Socket);
    let ended = timeout(LIMIT, started.wait()).await.expect("it stays");
    assert!(ended.unwrap_err().to_string().contains("socket"));
}

#[tokio::test]
async fn a_viewer_thread_that_ends_as_it_should_is_no_failure() {
    let (sender, failure) = watch::channel(None);
    drop(sender);
    tokio::select! {
        biased;
        why = failed(failure) => panic!("it has not failed: {why}"),
        () = std::future::ready(()) => {}
    }
}
