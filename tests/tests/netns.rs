//! Trees over several hosts, which are network namespaces: a relay behind a NAT that serves, a leaf
//! whose network is gone for a while, and a relay whose link becomes a black hole. Real processes;
//! the kernel's own routing and address translation.
//!
//! For the superuser on Linux; elsewhere each test says that it was skipped (`netns::allowed`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::netns::{Host, Site, Station, address, allowed};
use soleil_tests::viewer::{Report, Viewers};
use soleil_tests::wait::{pause, until};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const VIEWERS: usize = 6;
/// Frames of one viewer in two seconds.
const SPAN: u64 = 60;
/// The picture stands still for less, or somebody has waited for a time-out.
const STANDSTILL_MS: f64 = 1_000.0;
/// How long a leaf's network is gone: longer than any time-out of the tree.
const PARTITION: Duration = Duration::from_secs(20);
/// The NAT forgets a flow that was idle for so long. Much shorter than real ones, which must not
/// be rarer met than a keepalive comes.
const NAT_MEMORY_SECS: u64 = 3;

fn until_picture(viewers: &Viewers) {
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|r| panic!("not all have a picture:\n{r}"));
}

/// Lets the viewers watch for a while.
fn watch(viewers: &Viewers) -> Report {
    viewers.watch(DEADLINE, SPAN).unwrap_or_else(|r| panic!("the picture stands still:\n{r}"))
}

/// What the viewers have before something happens; gaps are looked for from here on.
fn quiet(viewers: &Viewers) -> Report {
    watch(viewers);
    viewers.mark();
    viewers.report()
}

/// Since `before` nobody has lost anything.
fn nothing_lost(viewers: &Viewers, before: &Report) {
    let after = watch(viewers);
    let (a, b) = (&before.video, &after.video);
    println!("longest gap {:.0} ms, repaired {}", b.gap_ms(), b.repaired - a.repaired);
    assert_eq!((b.lost - a.lost, b.broken_frames - a.broken_frames), (0, 0), "{after}");
    assert_eq!(after.audio.lost, before.audio.lost, "{after}");
    assert_eq!((after.failed, after.connected), (0, VIEWERS), "{after}");
    assert!(b.gap_ms() < STANDSTILL_MS, "{after}");
}

fn sum(stations: &[&Station], name: &str) -> f64 {
    stations.iter().map(|s| s.metrics().sum(name, &[])).sum()
}

/// Waits until the root sends viewers to these leaves: it asks those in its tree every 2 s, and its
/// view of the tree is at most a tenth of a second old.
fn until_known(leaves: &[&Station]) {
    let labels = [("direction", "in"), ("type", "reqfullstats")];
    let asked = |leaf: &Station| leaf.metrics().sum("soleil_control_messages_total", &labels);
    until("the root to know the leaves", DEADLINE, || leaves.iter().all(|leaf| asked(leaf) >= 2.0));
    until("backups", DEADLINE, || sum(leaves, "soleil_backup_warm") == leaves.len() as f64);
}

/// The port that the NAT gives to the relay's media towards the root, if there is such a flow.
fn mapped_port(nat: &Host) -> Option<u16> {
    let root = address(1);
    let flows =
        nat.conntrack(&format!("-L -p udp --orig-src 10.77.1.2 --orig-dst {root}")).unwrap();
    let flow = flows.lines().find(|line| !line.contains("UNREPLIED"))?;
    // Of the way back, what it is addressed to.
    flow.split_whitespace().filter_map(|w| w.strip_prefix("dport=")).nth(1)?.parse().ok()
}

#[test]
fn a_relay_behind_a_nat_joins_and_serves_both_sides() {
    if !allowed("a_relay_behind_a_nat_joins_and_serves_both_sides") {
        return;
    }
    let mut site = Site::start(4).unwrap();
    let nat = site.host("nat", 2).unwrap();
    nat.forward().unwrap();
    let inside = site.host_behind(&nat, "relay", "10.77.1").unwrap();
    let beside = site.host_behind(&nat, "leaf", "10.77.2").unwrap();
    let outside = site.host("outer", 3).unwrap();
    let home = site.host("home", 4).unwrap();
    let public = address(2);
    // What goes out gets the gateway's address and any port. What comes in for the relay's ports and
    // the leaf's is passed on, also when it comes from inside.
    nat.nft(&format!(
        "table ip nat {{
           chain pre {{ type nat hook prerouting priority dstnat; policy accept;
             ip daddr {public} meta l4proto {{ tcp, udp }} th dport 7443 dnat to 10.77.1.2
             ip daddr {public} meta l4proto {{ tcp, udp }} th dport {{ 8090, 8190 }} dnat to 10.77.2.2
           }}
           chain post {{ type nat hook postrouting priority srcnat; policy accept;
             oifname \"eth0\" meta l4proto udp masquerade random
             oifname \"eth0\" masquerade
           }}
         }}\n"
    ))
    .unwrap();
    // What is inside can be reached by its own address only from there.
    site.router.nft(
        "table ip outside { chain forward { type filter hook forward priority filter; policy accept;
           ip daddr 10.0.0.0/8 drop
           ip saddr 10.0.0.0/8 drop
         }
         }\n",
    )
    .unwrap();
    nat.run(|| {
        for kind in ["timeout", "timeout_stream"] {
            let file = format!("/proc/sys/net/netfilter/nf_conntrack_udp_{kind}");
            std::fs::write(file, NAT_MEMORY_SECS.to_string()).unwrap();
        }
    });

    let overlay = format!("announce = \"{public}:7443\"");
    let media = format!("announce = [\"10.77.1.2:7443\", \"{public}:7443\"]");
    let relay = site.relay(inside, "relay-1", (&overlay, &media)).unwrap();

    // Nothing is on its way to the relay but heartbeats: they keep its place at the NAT.
    let port = mapped_port(&nat).expect("the relay's media come through the NAT");
    assert_ne!(port, 7443, "the NAT changes ports");
    let beats = |relay: &Station| {
        relay.metrics().sum("soleil_media_datagrams_total", &[("result", "received")])
    };
    // Twenty a second.
    let enough = beats(&relay) + 3.0 * 20.0 * NAT_MEMORY_SECS as f64;
    until("heartbeats", DEADLINE, || beats(&relay) >= enough);
    assert_eq!(mapped_port(&nat), Some(port), "the NAT has forgotten the relay");

    let inner = site.leaf(beside, "inner", public).unwrap();
    let outer = site.leaf(outside, "outer", address(3)).unwrap();
    until_known(&[&inner, &outer]);
    let viewers = site.viewers(&home, VIEWERS).unwrap();
    until_picture(&viewers);
    for leaf in [&inner, &outer] {
        assert!(
            sum(&[leaf], "soleil_leaf_live_total") > 0.0,
            "{} serves",
            leaf.node.process.name()
        );
        assert_eq!(leaf.logged("attached parent=relay-1"), 1, "the root is kept for relays");
    }
    let before = quiet(&viewers);

    // The NAT forgets all that goes to the root, and gives the relay another port.
    let parent_packets = |relay: &Station| {
        relay.metrics().sum("soleil_hop_packets_received_total", &[("peer", "parent")])
    };
    nat.conntrack(&format!("-D -p udp --orig-dst {}", address(1))).unwrap();
    nothing_lost(&viewers, &before);
    let moved = mapped_port(&nat).expect("the relay's media come through the NAT again");
    assert_ne!(moved, port, "the NAT has given it the same port again: nothing was tested");
    let came = parent_packets(&relay);
    until("media by the new port", DEADLINE, || parent_packets(&relay) > came + 50.0);
    // It was a matter of the media path alone.
    assert_eq!(relay.logged("attached parent="), 1);
    assert_eq!(sum(&[&inner, &outer], "soleil_leaf_sessions_ended_total"), 0.0);
    let (mut relay, mut inner, mut outer) = (relay, inner, outer);
    let complaints = site.complaints(&mut [&mut relay, &mut inner, &mut outer]);
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_leaf_whose_network_is_gone_for_a_while_returns_by_itself() {
    if !allowed("a_leaf_whose_network_is_gone_for_a_while_returns_by_itself") {
        return;
    }
    let mut site = Site::start(4).unwrap();
    let near = site.host("near", 2).unwrap();
    let far = site.host("far", 3).unwrap();
    let relay = site.relay(near, "relay-1", ("", "")).unwrap();
    let leaf = site.leaf(far, "leaf-1", address(3)).unwrap();
    assert_eq!(leaf.logged("attached parent=relay-1"), 1);
    until_known(&[&leaf]);
    // They stand on the leaf's side.
    let viewers = site.viewers(&leaf.host, VIEWERS).unwrap();
    until_picture(&viewers);
    watch(&viewers);

    let returns = |how: &str| {
        let clock = Clock::start();
        let before = viewers.report();
        viewers
            .wait(DEADLINE, |r| r.video.frames > before.video.frames)
            .unwrap_or_else(|r| panic!("no picture:\n{r}"));
        println!("{how}: picture back after {} ms", clock.now().mono.0 / 1_000);
        until("the leaf to be ready", DEADLINE, || leaf.is_ready());
        let after = watch(&viewers);
        assert_eq!((after.failed, after.connected), (0, VIEWERS), "{after}");
        assert_eq!(sum(&[&leaf], "soleil_leaf_sessions_ended_total"), 0.0, "sessions stay");
    };
    // First a router swallows everything; no socket is closed, and no error comes.
    site.black_hole(3).unwrap();
    until("the leaf to notice", DEADLINE, || !leaf.is_ready());
    pause(PARTITION);
    assert!(!leaf.is_ready());
    site.heal().unwrap();
    returns("black hole");
    // Then the line is dead, for as long as it takes to be noticed.
    let joined = leaf.logged("attached parent=");
    site.router.ip("link set to-3 down").unwrap();
    until("the leaf to notice", DEADLINE, || !leaf.is_ready());
    site.router.ip("link set to-3 up").unwrap();
    returns("dead line");
    assert!(leaf.logged("attached parent=") > joined);

    let (mut relay, mut leaf) = (relay, leaf);
    let complaints = site.complaints(&mut [&mut relay, &mut leaf]);
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_relay_in_a_black_hole_costs_no_frame() {
    if !allowed("a_relay_in_a_black_hole_costs_no_frame") {
        return;
    }
    let mut site = Site::start(4).unwrap();
    let mut relays = Vec::new();
    for number in [2, 3] {
        let host = site.host(&format!("relay-{number}"), number).unwrap();
        relays.push((number, site.relay(host, &format!("relay-{number}"), ("", "")).unwrap()));
    }
    let mut leaves = Vec::new();
    for number in [4, 5] {
        let host = site.host(&format!("leaf-{number}"), number).unwrap();
        leaves.push(site.leaf(host, &format!("leaf-{number}"), address(number)).unwrap());
    }
    let home = site.host("home", 6).unwrap();
    let all: Vec<&Station> = leaves.iter().collect();
    until_known(&all);
    let viewers = site.viewers(&home, VIEWERS).unwrap();
    until_picture(&viewers);
    let serving = |relay: &Station| {
        leaves.iter().all(|leaf| {
            let name = relay.node.process.name();
            leaf.logged(&format!("attached parent={name}")) == 1
        })
    };
    let (number, _) = relays.iter().find(|(_, relay)| serving(relay)).expect("one relay has both");
    let before = quiet(&viewers);

    site.black_hole(*number).unwrap();
    nothing_lost(&viewers, &before);
    let (tcp, udp) = site.swallowed().unwrap();
    println!("swallowed: {tcp} of TCP, {udp} of UDP");
    assert!(tcp > 0 && udp > 0, "a hole for control and media");
    assert!(sum(&all, "soleil_failovers_total") >= 2.0);
    assert_eq!(sum(&all, "soleil_leaf_sessions_ended_total"), 0.0);

    // The relay was alone; it comes back by itself.
    site.heal().unwrap();
    for (_, relay) in &relays {
        until("the relay to return", DEADLINE, || relay.is_ready());
    }
    let before = quiet(&viewers);
    nothing_lost(&viewers, &before);
    let mut everybody: Vec<&mut Station> = leaves.iter_mut().collect();
    everybody.extend(relays.iter_mut().map(|(_, relay)| relay));
    let complaints = site.complaints(&mut everybody);
    assert!(complaints.is_empty(), "{complaints:?}");
}
