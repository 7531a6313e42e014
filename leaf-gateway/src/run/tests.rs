//! A leaf below a real root: it ends when its viewer thread does.

use super::*;
use crate::worker::Breakage;
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
    let mut config = Config::default();
    config.node.data_dir = Some(data.to_owned());
    config.overlay.listen = any();
    config.media.listen = any();
    config.http.listen = any();
    config.ops.enabled = false;
    config.stream.clear();
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
    config.ops.enabled = false;
    start(&config, None, LogControl::none()).await.unwrap()
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
        started.leaf.worker().break_down(how);
        let ended = timeout(LIMIT, started.wait()).await.expect("it stays");
        let error = ended.unwrap_err();
        assert!(error.to_string().contains(word), "{error:#}");
        let code = exit::code(Err(error));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::FAILURE)));
        assert!(!*node.attached().borrow(), "it has left before it ended");
        assert_eq!(ops.readiness().reasons()[0].0, "viewers");
        let gone = view.wait_for(|v| !there(v));
        timeout(LIMIT, gone).await.expect("the root still counts on it").unwrap();
        timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_fails_before_it_has_joined_ends_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let started = leaf(dir.path(), None).await;
    started.leaf.worker().break_down(Breakage::Socket);
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
