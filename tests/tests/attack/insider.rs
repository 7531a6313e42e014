//! A node that the root has let in turns on its parent.

use super::evil::{Evil, Socket, errors, hear, id, message, say};
use super::{DEADLINE, Scene, refused};
use futures_util::SinkExt;
use soleil_protocol::message::*;
use soleil_protocol::{Body, Incarnation, Message, PipelineId};
use soleil_tests::harness::Options;
use soleil_tests::wait::until;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message as Frame;

/// So often the same is done where the log is looked at.
const TIMES: u64 = 1_000;
/// Likewise where each time takes a connection of its own.
const TICKETS: u64 = 400;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn ping(n: u64) -> Body {
    Body::Ping(Echo { token: n.to_string() })
}

#[test]
fn tickets_that_do_not_hold() {
    let mut scene = Scene::new(&Options::default());
    let runtime = runtime();
    let mut evil = runtime.block_on(Evil::join(&scene.tree));
    let relay = evil.relay.clone();
    runtime.block_on(async {
        for n in 0..TICKETS {
            let mut claims = evil.claims();
            let ticket = match n % 5 {
                0 => evil.ticket(&claims, &relay, -1),
                1 => evil.ticket(&claims, &id("leaf-1"), 60),
                2 => {
                    claims.child = id("leaf-1");
                    evil.ticket(&claims, &relay, 60)
                }
                3 => {
                    claims.child_key = [1; 32];
                    evil.ticket(&claims, &relay, 60)
                }
                _ => {
                    let mut forged = evil.ticket(&claims, &relay, 60);
                    forged[20] ^= 1;
                    forged
                }
            };
            assert!(evil.is_refused(ticket).await, "{n}");
        }
        // One that was good, and has been used.
        let ticket = evil.good_ticket();
        let (mut socket, answer) = evil.greet(ticket.clone()).await;
        assert!(matches!(answer, Some(Message { body: Body::Hello(_), .. })), "{answer:?}");
        assert!(evil.is_refused(ticket.clone()).await, "used, and its link stands");
        socket.close(None).await.unwrap();
        errors(&mut socket).await;
        for _ in 0..10 {
            assert!(evil.is_refused(ticket.clone()).await, "used, and its link is gone");
        }
    });
    let relay = &scene.tree.relays[0];
    assert_eq!((refused(relay, "ticket"), refused(relay, "replayed")), (TICKETS, 11));
    scene.told(relay, "ticket", TICKETS);
    scene.unharmed();
}

/// Says something a thousand times, on as many links as it takes; how often it was answered.
async fn insist(evil: &mut Evil, body: impl Fn(u64) -> Message) -> u64 {
    let mut answered = 0;
    while answered < TIMES {
        let mut socket = evil.attach().await;
        let before = answered;
        while say(&mut socket, &body(answered)).await {
            match hear(&mut socket).await.map(|m| m.body) {
                Some(Body::Error(report)) if report.code == ErrorCode::Forged => answered += 1,
                Some(_) => {}
                None => break,
            }
        }
        assert!(answered > before, "a link on which nothing is answered");
    }
    answered
}

#[test]
fn messages_in_anothers_name() {
    let mut scene = Scene::new(&Options::default());
    let runtime = runtime();
    let mut evil = runtime.block_on(Evil::join(&scene.tree));
    let names = ["^", "relay-1", "leaf-1", "root", "nobody"];
    let kill = || Body::Kill(Kill { grace_secs: 0, reason: "x".into() });
    let remove =
        || Body::RemovePipeline(RemovePipeline { pipeline: PipelineId(1), reason: "x".into() });
    let answered = runtime.block_on(insist(&mut evil, |n| {
        let from = Some(names[n as usize % names.len()]);
        // In the name of the relay itself it is a message that comes back.
        match n % 4 {
            0 => message(from, Some("leaf-1"), kill()),
            1 => message(from, Some("*"), remove()),
            // (From the root to the root would be no message at all.)
            2 if from != Some("^") => {
                message(from, Some("^"), Body::Bye(Bye { reason: "x".into() }))
            }
            _ => message(from, Some("relay-1"), kill()),
        }
    }));
    let relay = &scene.tree.relays[0];
    let count = refused(relay, "forged");
    assert!(count >= answered && answered >= TIMES, "{count} counted, {answered} answered");
    assert!(refused(relay, "flood") >= TIMES / 40, "links that err too often are cut");
    scene.told(relay, "forged", count);
    scene.unharmed();
}

/// Sends text and gives what the link ends with, or the ERROR that comes.
async fn provoke(socket: &mut Socket, text: String) -> Option<ErrorCode> {
    socket.send(Frame::text(text)).await.unwrap();
    loop {
        match hear(socket).await?.body {
            Body::Error(report) => return Some(report.code),
            _ => continue,
        }
    }
}

#[test]
fn lies_about_weights_statistics_and_the_tree() {
    let mut scene = Scene::new(&Options::default());
    let runtime = runtime();
    let mut evil = runtime.block_on(Evil::join(&scene.tree));
    let name = evil.name().to_owned();
    let stats = |value: &str, weight: &str| {
        format!(
            "<message type=\"stats\" time=\"1\"><statsContainers><statsContainer>\
             <startTime>1</startTime><endTime>2</endTime><numOfChildren>0</numOfChildren>\
             <id>1</id><statArray><DBValue><name>fractionlost</name><value>{value}</value>\
             <weight>{weight}</weight></DBValue></statArray></statsContainer></statsContainers>\
             </message>"
        )
    };
    let update = |child: &str, parent: &str, weight: u32| {
        let incarnation = Incarnation(1);
        let child = Child { id: id(child), incarnation, parent: id(parent), weight };
        let update = ChildsUpdate { added: vec![child], removed: Vec::new() };
        message(Some(&name), None, Body::ChildsUpdate(update)).to_xml()
    };
    runtime.block_on(async {
        let mut socket = evil.attach().await;
        for _ in 0..10 {
            let code = provoke(&mut socket, stats("0.5", "1000000000")).await;
            assert_eq!(code, Some(ErrorCode::Malformed), "the link stays");
        }
        for (child, parent, weight) in [("a", name.as_str(), 1_000_000_000), ("b", "nowhere", 1)] {
            let code = provoke(&mut socket, update(child, parent, weight)).await;
            assert_eq!(code, Some(ErrorCode::Malformed), "{child}");
        }
        // Not numbers at all: not a message.
        for value in ["NaN", "inf", "-inf", "1e999"] {
            let mut socket = evil.attach().await;
            let code = provoke(&mut socket, stats(value, "1")).await;
            assert_eq!(code, Some(ErrorCode::Malformed), "{value}");
            assert_eq!(hear(&mut socket).await, None, "{value}: the link ends");
        }
        // Its own parent as a node below it: messages would run in a circle.
        let mut socket = evil.attach().await;
        let code = provoke(&mut socket, update("relay-1", &name, 1)).await;
        assert_eq!(code, Some(ErrorCode::Internal));
        assert_eq!(hear(&mut socket).await, None);
    });
    let relay = &scene.tree.relays[0];
    for (reason, times) in [("statistics", 10), ("subtree", 2), ("malformed", 4), ("loop", 1)] {
        assert_eq!(refused(relay, reason), times, "{reason}");
        scene.told(relay, reason, times);
    }
    // What the root knows of its viewers is the truth.
    let root = &scene.tree.root;
    assert_eq!(refused(root, "statistics") + refused(root, "malformed"), 0);
    scene.unharmed();
}

#[test]
fn floods_and_children_that_do_not_read_or_never_greet() {
    let mut scene = Scene::new(&Options::default());
    let runtime = runtime();
    let mut evil = runtime.block_on(Evil::join(&scene.tree));
    let relay = &scene.tree.relays[0];
    runtime.block_on(async {
        // More than a leaf has reason to say, to the relay itself and to the root. (What a child says
        // to the root before its media path is open goes nowhere; what one may say that is in the
        // tree is tested in `sim::odd::malice`.)
        for through in [false, true] {
            let mut socket = evil.attach().await;
            let mut said = 0;
            loop {
                let flood = match through {
                    true => message(None, Some("^"), Body::Bye(Bye { reason: "x".into() })),
                    false => message(None, None, ping(said)),
                };
                if said > 20_000 || !say(&mut socket, &flood).await {
                    break;
                }
                said += 1;
            }
            assert!(said <= 20_000, "a flood without end");
        }
        // It says HELLO, then reads nothing more, so it can't answer PING either; others connect and
        // never say HELLO.
        let deaf = evil.attach().await;
        let mut mute = Vec::new();
        for _ in 0..40 {
            mute.push(evil.connect().await);
        }
        let ended = |reason| refused(relay, reason);
        until("the deaf one to be cut", DEADLINE, || ended("not_reading") >= 1);
        until("those without HELLO to be cut", DEADLINE, || ended("slow") >= 40);
        for mut socket in mute {
            assert_eq!(hear(&mut socket).await, None);
        }
        drop(deaf);
    });
    assert_eq!(refused(relay, "flood"), 2);
    for reason in ["flood", "forged"] {
        let passed = refused(&scene.tree.root, reason);
        assert_eq!(passed, 0, "the relay does not pass a flood on: {reason}");
    }
    scene.told(relay, "slow", 40);
    scene.told(relay, "flood", 2);
    scene.unharmed();
}
