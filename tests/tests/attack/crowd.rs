//! Strangers who hold connections open: a thousand that say nothing, others that stop after TLS.

use super::evil::Evil;
use super::{DEADLINE, Scene, refused};
use relay_node::identity::JoinToken;
use relay_node::identity::tls::{Expect, client, unused_server_name};
use relay_node::io::limits::MAX_HALF_OPEN;
use soleil_tests::harness::{Holdings, Options};
use soleil_tests::wait::until;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use tokio_rustls::TlsConnector;

/// Connections in all, over so many addresses that the limit of one address is not what holds.
const CROWD: usize = 1_000;
const ADDRESSES: usize = 20;

/// More memory than this a node does not take for all of them: 40 KB each.
const MEMORY: u64 = 40 << 20;

/// A connection from an address of its own (127.0.1.x), which is the kernel's to give on loopback.
fn connect(n: usize, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )
    .unwrap();
    let from = Ipv4Addr::new(127, 0, 1, (n % ADDRESSES) as u8 + 1);
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Waits until the other end has closed.
fn ends(mut tcp: TcpStream) {
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 512];
    loop {
        match tcp.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            // A reset ends it as well.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("it stays open: {error}"),
        }
    }
}

#[test]
fn a_thousand_half_open_connections() {
    let mut scene = Scene::new(&Options::default());
    let ports = scene.tree.tcp_ports();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut evil = runtime.block_on(Evil::join(&scene.tree));
    for name in ["relay overlay", "root overlay"] {
        let port = ports.iter().find(|(n, _)| n == name).unwrap().1;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let node = if name.starts_with("root") { &scene.tree.root } else { &scene.tree.relays[0] };
        let before = Holdings::of(node);
        let crowd: Vec<TcpStream> = (0..CROWD).map(|n| connect(n, to)).collect();
        // All of them are somewhere: refused at once, or holding one of the places.
        let refusals = || refused(node, "crowded") + refused(node, "slow");
        until("most to be turned away", DEADLINE, || refusals() >= (CROWD - MAX_HALF_OPEN) as u64);
        let during = Holdings::of(node);
        let places = before.descriptors + MAX_HALF_OPEN + 16;
        assert!(during.descriptors <= places, "{before:?}\n{during:?}");
        assert!(during.memory <= before.memory + MEMORY, "{before:?}\n{during:?}");
        until("all to be counted", DEADLINE, || refusals() >= CROWD as u64);
        crowd.into_iter().for_each(ends);
        until("the places to be free again", DEADLINE, || {
            Holdings::of(node).descriptors <= before.descriptors + 8
        });
        scene.told(node, "crowded", refused(node, "crowded"));
        scene.told(node, "slow", refused(node, "slow"));
        println!("{name}: {before:?}, during the crowd {during:?}");
    }
    // Somebody who means it gets in.
    drop(runtime.block_on(evil.attach()));
    scene.unharmed();
}

#[test]
fn connections_that_stop_after_tls() {
    let mut scene = Scene::new(&Options::default());
    let ports = scene.tree.tcp_ports();
    let port = ports.iter().find(|(name, _)| name == "root overlay").unwrap().1;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let token: JoinToken = scene.tree.token("relay", &[]).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let expect = Expect::Root(token.authority);
    let tls = client(None, expect, relay_node::clock::Clock::start()).unwrap();
    let root = &scene.tree.root;
    let held = runtime.block_on(async {
        let mut held = Vec::new();
        for n in 0..200 {
            let tcp = connect(n, to);
            tcp.set_nonblocking(true).unwrap();
            let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
            let connector = TlsConnector::from(tls.clone());
            // Those that took their time may be cut before the last one is there.
            held.extend(connector.connect(unused_server_name(), tcp).await);
        }
        held
    });
    assert!(held.len() >= 150, "{} of 200 got through TLS", held.len());
    until("all to be cut", DEADLINE, || {
        refused(root, "slow") + refused(root, "crowded") + refused(root, "handshake") >= 200
    });
    drop(held);
    scene.told(root, "slow", refused(root, "slow"));
    scene.unharmed();
}
