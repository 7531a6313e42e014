//! The relay's configuration and command line, and a relay that starts and stops.

use super::*;
use crate::config::load_with;
use crate::identity::Fingerprint;
use clap::Parser;
use std::time::Duration;
use tokio::time::timeout;

const SAMPLE: &str = include_str!("../../relay-node.toml");

fn token(role: Role) -> JoinToken {
    JoinToken::generate(role, Fingerprint([9; 32])).unwrap()
}

fn parse(text: &str) -> RelayConfig {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay-node.toml");
    std::fs::write(&path, text).unwrap();
    load_with(Some(&path), ENV_PREFIX, []).map_err(|e| e.to_string()).unwrap()
}

#[test]
fn the_sample_is_legal_as_it_stands_and_with_every_line_in_use() {
    let defaults = format!("{:?}", RelayConfig::default());
    assert_eq!(format!("{:?}", parse(SAMPLE)), defaults);
    // Lines like `#key = value` are examples; `# text` is text.
    let used: String = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        // The token in the sample is none.
        .filter(|line| !line.starts_with("token ="))
        .collect();
    let config = parse(&used);
    assert_ne!(format!("{config:?}"), defaults);
    for key in ["name", "region", "labels", "data_dir", "drain_timeout", "address", "token_file"] {
        assert!(used.lines().any(|line| line.starts_with(&format!("{key} ="))), "{key}");
    }
}

#[test]
fn flags_go_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay-node.toml");
    std::fs::write(&path, "[node]\nname = \"a\"\n[overlay]\nlisten = \"0.0.0.0:1\"\n").unwrap();
    let (path, token) = (path.display().to_string(), token(Role::Relay).to_string());
    let cli = Cli::parse_from([
        "relay-node",
        "--config",
        &path,
        "--root",
        "[::1]:7443",
        "--token",
        &token,
        "--name",
        "b",
        "--listen",
        "127.0.0.1:2",
        "--media",
        "127.0.0.1:3",
        "--ops",
        "127.0.0.1:4",
    ]);
    let relay = Relay::load(&cli).unwrap();
    assert_eq!(relay.root, HostPort { host: "::1".into(), port: 7443 });
    assert_eq!(relay.token.to_string(), token);
    assert_eq!(relay.config.node.name.unwrap().as_str(), "b");
    let ports = [relay.config.overlay.listen, relay.config.media.listen, relay.config.ops.listen];
    assert_eq!(ports.map(|address| address.port()), [2, 3, 4]);
}

#[test]
fn what_is_missing_or_for_another_role_is_said() {
    let load = |args: &[&str]| {
        let args = std::iter::once("relay-node").chain(args.iter().copied());
        Relay::load(&Cli::parse_from(args)).unwrap_err().to_string()
    };
    assert!(load(&[]).contains("--root"));
    assert!(load(&["--root", "a:1"]).contains("--token"));
    let leaf = token(Role::Leaf).to_string();
    assert!(load(&["--root", "a:1", "--token", &leaf]).contains("for a leaf, and this is a relay"));
    for bad in [vec!["--root", "nowhere"], vec!["--token", "x"], vec!["--name", "a b"], vec!["--x"]]
    {
        assert!(Cli::try_parse_from(std::iter::once("relay-node").chain(bad)).is_err());
    }
}

#[test]
fn help_teaches() {
    let help = Cli::try_parse_from(["relay-node", "--help"]).unwrap_err().to_string();
    for word in ["Examples:", "token create", "--check", "SOLEIL_ROOT__TOKEN", "Exit codes"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn announced_addresses_follow_the_configuration_then_the_way_to_the_root() {
    let root = HostPort { host: "127.0.0.1".into(), port: 7443 };
    let bound = Bound {
        overlay: Some("0.0.0.0:5".parse().unwrap()),
        media: "0.0.0.0:6".parse().unwrap(),
        ops: None,
    };
    let mut config = RelayConfig::default();
    let guessed = params(&config, &root, &bound);
    assert_eq!(guessed.server, Some(HostPort { host: "127.0.0.1".into(), port: 5 }));
    assert_eq!(guessed.media, ["127.0.0.1:6".parse().unwrap()]);
    config.overlay.announce = Some(HostPort { host: "r.example".into(), port: 9 });
    config.media.announce = vec!["192.0.2.1:9".parse().unwrap()];
    let told = params(&config, &root, &bound);
    assert_eq!(told.server, config.overlay.announce);
    assert_eq!(told.media, config.media.announce);
}

#[tokio::test]
async fn a_relay_without_a_root_is_alive_not_ready_and_drains() {
    let any = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mut config = RelayConfig::default();
    config.overlay.listen = any("127.0.0.1:0");
    config.media.listen = any("127.0.0.1:0");
    config.ops.listen = any("127.0.0.1:0");
    config.node.drain_timeout = Duration::from_secs(5);
    // Nobody listens there.
    let root = HostPort { host: "127.0.0.1".into(), port: 1 };
    let relay = Relay { config, root, token: token(Role::Relay) };
    let (handle, task) = relay.start(LogControl::none()).await.unwrap();
    assert_ne!(handle.bound().media.port(), 0);
    assert!(!*handle.attached().borrow());
    let ops = handle.bound().ops.unwrap();
    let ready = ask(ops, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("attached"), "{ready}");
    assert!(ask(ops, "/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = ask(ops, "/metrics").await;
    assert!(metrics.contains("soleil_control_links 0"), "{metrics}");
    assert!(metrics.contains("soleil_media_datagrams_total"), "{metrics}");
    handle.drain("test");
    timeout(Duration::from_secs(10), task.wait()).await.unwrap().unwrap();
}

async fn ask(address: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}
