//! What is refused, and with which word.

use super::rig::*;
use crate::control::Upcall;
use crate::control::api::*;
use crate::control::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

fn ping() -> Body {
    Body::Ping(Echo { token: "t".into() })
}

fn bye() -> Body {
    Body::Bye(Bye { reason: String::new() })
}

fn added(names: &[(&str, &str)]) -> Body {
    let child = |(name, parent): &(&str, &str)| Child {
        id: id(name),
        incarnation: Incarnation(1),
        parent: id(parent),
        weight: 1,
    };
    Body::ChildsUpdate(ChildsUpdate {
        added: names.iter().map(child).collect(),
        removed: Vec::new(),
    })
}

#[test]
fn a_stranger_becomes_a_child() {
    let mut rig = Rig::attached();
    assert_eq!(rig.accept(CHILD, "c"), [""; 0]);
    assert_eq!(rig.message(CHILD, message(None, None, ping())), ["10 pong me>-"]);
    assert_eq!(
        rig.message(CHILD, child_hello("c", "me c 1 20 9", "me")),
        ["add link 20 child", "10 hello me>c"]
    );
    assert_eq!(rig.step(Event::Closed(CHILD)), ["remove link 20", "2 childsupdate me>- -c/1"]);
    assert_eq!(rig.step(Event::Closed(CHILD)), [""; 0]);
}

#[test]
fn tickets_that_do_not_hold() {
    let rows = [
        ("another parent's", "c", "you c 1 20 9", "10 error me>- unauthorized hello"),
        ("not signed", "c", "garbage", "10 error me>- unauthorized hello"),
        ("another child's", "c", "me d 1 20 9", "10 error me>- unauthorized hello"),
        ("another key's", "c", "me c 1 20 8", "10 error me>- unauthorized hello"),
        ("an older incarnation's", "c", "me c 0 20 9", "10 error me>- unauthorized hello"),
        ("another name than TLS", "d", "me d 1 20 9", "10 error me>- forged hello"),
    ];
    for (what, name, ticket, error) in rows {
        let mut rig = Rig::attached();
        rig.accept(CHILD, "c");
        let said = rig.message(CHILD, child_hello(name, ticket, "me"));
        assert_eq!(said, [error, "close 10"], "{what}");
        assert_eq!(rig.core.subtree().len(), 0);
    }
}

#[test]
fn hellos_that_make_no_sense() {
    let mut hello = Hello::new(id("c"));
    hello.incarnation = Incarnation(1);
    let check = |change: fn(&mut Hello), to: &str, error: &str| {
        let mut rig = Rig::attached();
        rig.accept(CHILD, "c");
        let mut hello = hello.clone();
        hello.ticket = Some(b"me c 1 20 9".to_vec());
        hello.nonce = Some(vec![4; 16]);
        change(&mut hello);
        let said = rig.message(CHILD, message(Some("c"), Some(to), Body::Hello(Box::new(hello))));
        assert_eq!(said, [error, "close 10"]);
    };
    check(|h| h.version = 3, "me", "10 error me>- version hello");
    check(|h| h.nonce = None, "me", "10 error me>- malformed hello");
    check(|h| h.nonce = Some(vec![1; 15]), "me", "10 error me>- malformed hello");
    check(|h| h.ticket = None, "me", "10 error me>- unauthorized hello");
    check(|_| (), "other", "10 error me>- unknownNode hello");
    check(|_| (), "^", "10 error me>- unauthorized hello");
}

#[test]
fn no_room_and_no_children_for_leaves() {
    let mut rig = Rig::with_child();
    assert_eq!(rig.add_child(ConnId(11), "d", 21).len(), 3);
    assert_eq!(rig.add_child(ConnId(12), "e", 22), ["12 error me>- full hello", "close 12"]);
    assert_eq!(
        rig.add_child(ConnId(13), "d", 23)[..2],
        ["close 11", "remove link 21"],
        "a child that comes back takes its own place"
    );
    let mut leaf = Rig::new(Role::Leaf, 8);
    leaf.step(Event::Timeout);
    leaf.dialed(1, ROOT_CONN);
    leaf.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, vec![])));
    assert_eq!(leaf.add_child(CHILD, "c", 20), ["10 error me>- full hello", "close 10"]);
}

#[test]
fn the_media_link_of_another_child() {
    let mut rig = Rig::with_child();
    assert_eq!(
        rig.add_child(ConnId(11), "d", 20),
        ["11 error me>- unauthorized hello", "close 11"]
    );
}

#[test]
fn strangers_are_few_and_brief_and_say_hello_first() {
    let mut rig = Rig::attached();
    rig.accept(CHILD, "c");
    assert_eq!(
        rig.message(CHILD, message(Some("c"), Some("^"), bye())),
        ["close 10"],
        "BYE ends it"
    );
    rig.accept(CHILD, "c");
    assert_eq!(
        rig.message(CHILD, message(Some("c"), None, play(vec![]))),
        ["10 error me>- unauthorized playpipeline", "close 10"]
    );
    rig.accept(CHILD, "c");
    let said: Vec<String> = (0..6).flat_map(|_| Rig::quiet(rig.wait(SEC))).collect();
    assert_eq!(said, ["close 10"], "no HELLO in time");
    let joiner = Peer::Joining { token: "1".into(), role: Role::Leaf };
    let remote = "192.0.2.1:1".parse().unwrap();
    let accepted = Event::Accepted { conn: CHILD, peer: joiner, remote };
    assert_eq!(rig.step(accepted), ["close 10"], "only the root takes joiners");
    for n in 0..MAX_STRANGERS as u64 + 10 {
        rig.accept(ConnId(100 + n), "c");
    }
    assert!(rig.core.links.strangers() <= MAX_STRANGERS);
}

#[test]
fn floods_and_errors_without_end_close_the_link() {
    let mut rig = Rig::with_child();
    let mut said = Vec::new();
    for _ in 0..LINK_BURST + 10 {
        said = rig.message(CHILD, message(None, None, ping()));
        if said[0] == "close 10" {
            break;
        }
    }
    assert_eq!(said, ["close 10", "remove link 20", "2 childsupdate me>- -c/1"]);

    let mut rig = Rig::with_child();
    let mut answers = 0;
    loop {
        let said = rig.message(CHILD, message(Some("x"), Some("^"), ping()));
        assert_eq!(said[0], "10 error me>- forged ping");
        answers += 1;
        if said.len() > 1 {
            break;
        }
    }
    assert_eq!(answers, MAX_ERRORS + 1);
}

#[test]
fn nobody_speaks_for_another() {
    let mut rig = Rig::with_child();
    let kill = || Body::Kill(Kill { grace_secs: 0, reason: String::new() });
    for from in ["^", "p", "me", "nobody"] {
        let said = rig.message(CHILD, message(Some(from), Some("me"), kill()));
        assert_eq!(said, ["10 error me>- forged kill"], "{from}");
    }
    let said = rig.message(PARENT, message(Some("c"), Some("me"), ping()));
    assert_eq!(said, ["2 error me>- forged ping"], "the parent's side is not below us");
    let said = rig.message(CHILD, message(Some("c"), Some("*"), kill()));
    assert_eq!(said, ["10 error me>- forged kill"], "only the root speaks to everybody");
    for body in [kill(), redirect(SEC, vec![]), pipe_def_message(1).body] {
        let kind = body.kind();
        let said = rig.message(CHILD, message(Some("c"), Some("me"), body));
        assert_eq!(said, [format!("10 error me>c unauthorized {kind}")]);
    }
    let remove = RemovePipeline { pipeline: PipelineId(1), reason: String::new() };
    let route = RoutePipeline { pipeline: PipelineId(1), path: vec![] };
    for body in [
        kill(),
        redirect(SEC, vec![]),
        pipe_def_message(1).body,
        Body::RemovePipeline(remove),
        Body::RoutePipeline(route),
        Body::ReqFullStats(ReqFullStats { pipeline: None }),
    ] {
        let kind = body.kind();
        let said = rig.message(PARENT, message(Some("p"), Some("me"), body));
        let refused = format!("2 error me>p unauthorized {kind}");
        assert_eq!(said, [refused], "the parent is not the root");
    }
}

#[test]
fn messages_are_routed() {
    let mut rig = Rig::with_child();
    let update = rig.message(CHILD, message(Some("c"), None, added(&[("d", "c")])));
    assert_eq!(update, ["2 childsupdate me>- +d"]);
    let up = rig.message(CHILD, message(Some("d"), Some("^"), bye()));
    assert_eq!(up, ["2 bye d>^"]);
    let unsigned = rig.message(CHILD, message(None, Some("^"), bye()));
    assert_eq!(unsigned, ["2 bye c>^"], "the neighbour's name is filled in");
    let down = rig.message(PARENT, from_root(Some("d"), bye()));
    assert_eq!(down, ["10 bye ^>d"]);
    let other = rig.message(CHILD, message(Some("d"), Some("elsewhere"), bye()));
    assert_eq!(other, ["2 bye d>elsewhere"]);
    let back = rig.message(CHILD, message(Some("c"), Some("d"), bye()));
    assert_eq!(back, ["10 error me>c unknownNode bye"], "never back where it came from");
    let lost = rig.message(PARENT, from_root(Some("gone"), bye()));
    assert_eq!(lost, ["2 error me>^ unknownNode bye"]);
    let orphan = {
        rig.step(Event::Closed(PARENT));
        rig.message(CHILD, message(Some("d"), Some("^"), bye()))
    };
    assert_eq!(orphan, [""; 0]);
}

#[test]
fn the_root_answers_for_nodes_that_do_not_exist() {
    let mut rig = Rig::new(Role::Root, 4);
    rig.step(Event::Timeout);
    assert_eq!(rig.add_child(CHILD, "c", 20), ["add link 20 child", "10 hello ^>c"]);
    let said = rig.message(CHILD, message(Some("c"), Some("nobody"), bye()));
    assert_eq!(said, ["10 error ^>c unknownNode bye"]);
    while let Some(upcall) = rig.core.poll_upcall() {
        assert!(matches!(upcall, Upcall::Subtree(_)), "{upcall:?}");
    }
    let said = rig.message(CHILD, message(Some("c"), Some("^"), bye()));
    assert_eq!(said, [""; 0]);
    assert!(matches!(rig.core.poll_upcall(), Some(Upcall::Message { .. })));
    assert!(rig.core.poll_upcall().is_none());
}

#[test]
fn an_error_is_never_answered() {
    let mut rig = Rig::with_child();
    let report = ErrorReport {
        code: ErrorCode::Internal,
        text: "x".into(),
        failed_time: None,
        failed_type: "ping".into(),
    };
    for (from, to) in [(Some("x"), Some("me")), (Some("c"), Some("c")), (None, None)] {
        let said = rig.message(CHILD, message(from, to, Body::Error(report.clone())));
        assert_eq!(said, [""; 0], "{from:?} {to:?}");
    }
    let said = rig.message(PARENT, from_root(Some("gone"), Body::Error(report.clone())));
    assert_eq!(said, [""; 0]);
    let about_error = ErrorReport { failed_type: "error".into(), ..report };
    let malformed = Event::Malformed { conn: CHILD, report: about_error };
    assert_eq!(rig.step(malformed)[0], "close 10");
}

#[test]
fn malformed_closes_and_an_unknown_type_does_not() {
    let report = |code| ErrorReport {
        code,
        text: "x".into(),
        failed_time: Some(Millis(5)),
        failed_type: "teleport".into(),
    };
    let mut rig = Rig::with_child();
    let unknown = Event::Malformed { conn: CHILD, report: report(ErrorCode::UnknownType) };
    assert_eq!(rig.step(unknown), ["10 error me>- unknownType teleport"]);
    let malformed = Event::Malformed { conn: CHILD, report: report(ErrorCode::Malformed) };
    assert_eq!(
        rig.step(malformed),
        [
            "10 error me>- malformed teleport",
            "close 10",
            "remove link 20",
            "2 childsupdate me>- -c/1"
        ]
    );
    let again = Event::Malformed { conn: CHILD, report: report(ErrorCode::Malformed) };
    assert_eq!(rig.step(again), [""; 0]);
}

#[test]
fn an_update_that_closes_a_loop_ends_the_link() {
    let mut rig = Rig::with_child();
    let said = rig.message(CHILD, message(Some("c"), None, added(&[("d", "c"), ("me", "d")])));
    assert_eq!(
        said,
        [
            "10 error me>c internal childsupdate",
            "close 10",
            "remove link 20",
            "2 childsupdate me>- -c/1"
        ]
    );
    let mut rig = Rig::with_child();
    let said = rig.message(CHILD, message(Some("c"), None, added(&[("x", "nowhere")])));
    assert_eq!(said, ["10 error me>c malformed childsupdate"], "not in its subtree");
}

#[test]
fn a_root_that_forgot_us_makes_us_join_again() {
    let mut rig = Rig::attached();
    let report = ErrorReport {
        code: ErrorCode::UnknownNode,
        text: String::new(),
        failed_time: None,
        failed_type: "childsupdate".into(),
    };
    let said = rig.message(PARENT, from_root(Some("me"), Body::Error(report)));
    assert_eq!(said, ["2 bye me>-", "close 2", "remove link 5", "attached false"]);
    assert_eq!(Rig::quiet(rig.wait(300 * MS)), ["dial 3 root"]);
}
