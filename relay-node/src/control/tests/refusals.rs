//! What is refused, and with which word.

use super::rig::*;
use crate::control::Upcall;
use crate::control::api::*;
use crate::control::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

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

/// A backup's ticket opens the warm link as often as needed, until the node has failed over.
#[test]
fn a_message_that_comes_back_is_not_handled_again() {
    let mut rig = Rig::with_child();
    let own = message(Some("me"), Some("^"), bye());
    assert_eq!(rig.message(CHILD, own.clone()), ["10 error me>- forged bye"]);
    assert_eq!(rig.message(PARENT, own), ["2 error me>- forged bye"]);
    assert_eq!(rig.refused, ["forged", "forged"]);
}

#[test]
fn statistics_and_weights_that_nobody_can_have() {
    let stats = |value, weight| {
        let stat = Stat { name: "cpuload".into(), value, weight: Some(weight) };
        let stats = vec![stat];
        let container = StatsContainer { start: 1, end: 2, children: 0, id: None, stats };
        message(Some("c"), None, Body::Stats(vec![container]))
    };
    let mut rig = Rig::with_child();
    assert_eq!(rig.message(CHILD, stats(50.0, 1.0)), [""; 0]);
    let before = rig.core.tree_stats();
    for (value, weight) in [(50.0, 1e9), (-1.0, 1.0), (f64::NAN, 1.0), (50.0, f64::INFINITY)] {
        let said = rig.message(CHILD, stats(value, weight));
        assert_eq!(said, ["10 error me>c malformed stats"], "{value} {weight}");
        assert_eq!(rig.core.tree_stats(), before, "what it said before stands");
    }
    assert_eq!(rig.refused, ["statistics"; 4]);
    // What a subtree might have, and this one has not, is cut to its size.
    assert_eq!(rig.message(CHILD, stats(50.0, 1_000.0)), [""; 0]);
    assert_eq!(rig.core.tree_stats(), before);

    let child =
        Child { id: id("d"), incarnation: Incarnation(1), parent: id("c"), weight: 1 << 30 };
    let update = ChildsUpdate { added: vec![child], removed: Vec::new() };
    let said = rig.message(CHILD, message(Some("c"), None, Body::ChildsUpdate(update)));
    assert_eq!(said, ["10 error me>c malformed childsupdate"]);
    assert_eq!((rig.refused.last(), rig.core.subtree().len()), (Some(&"subtree"), 1));
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
    assert_eq!(rig.refused, ["flood"]);

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
    assert_eq!(rig.refused.last(), Some(&"flood"));
}

/// Or those above would take what it says for forged, and this node for the forger.
#[test]
fn a_child_that_nobody_knows_yet_does_not_speak_to_those_above() {
    let mut rig = Rig::attached();
    rig.hidden_child(CHILD, "c", 20);
    assert_eq!(rig.message(CHILD, message(Some("c"), Some("^"), bye())), [""; 0]);
    rig.open(20);
    assert_eq!(rig.message(CHILD, message(Some("c"), Some("^"), bye())), ["2 bye c>^"]);
}

/// What a neighbour passes on is not its fault: or whoever hangs below could cut it off.
#[test]
fn a_neighbour_is_not_blamed_for_what_it_passes_on() {
    let mut rig = Rig::new(Role::Root, 4);
    rig.step(Event::Timeout);
    rig.add_child(CHILD, "c", 20);
    rig.message(CHILD, message(Some("c"), None, added(&[("d", "c")])));
    for _ in 0..MAX_ERRORS + 20 {
        let said = rig.message(CHILD, message(Some("d"), Some("nobody"), bye()));
        assert_eq!(said, ["10 error ^>d unknownNode bye"]);
    }
    assert_eq!(rig.core.subtree().len(), 2);
    // It has moved to another child, and its old parent does not know yet.
    rig.add_child(ConnId(11), "e", 21);
    rig.message(ConnId(11), message(Some("e"), None, added(&[("d", "e")])));
    for _ in 0..MAX_ERRORS + 20 {
        let said = rig.message(CHILD, message(Some("d"), Some("^"), bye()));
        assert_eq!(said, ["10 error ^>- forged bye"]);
    }
    assert_eq!(rig.core.subtree().len(), 3);
    // Answers to somebody below who has been cut off meanwhile: the parent passes them on in good
    // faith.
    let mut rig = Rig::with_child();
    let report = ErrorReport {
        code: ErrorCode::UnknownNode,
        text: String::new(),
        failed_time: None,
        failed_type: "bye".into(),
    };
    for _ in 0..200 {
        rig.message(PARENT, from_root(Some("gone"), Body::Error(report.clone())));
        rig.message(PARENT, message(Some("x"), Some("gone"), bye()));
    }
    assert_eq!(rig.core.parent(), Some(&id("p")));
    // Its own mistakes are, and what it should not have let pass.
    let mut rig = Rig::with_child();
    rig.message(CHILD, message(Some("c"), None, added(&[("d", "c")])));
    let mut ended = false;
    for _ in 0..=MAX_ERRORS {
        let said = rig.message(CHILD, message(Some("elsewhere"), Some("me"), bye()));
        assert_eq!(said[0], "10 error me>- forged bye");
        ended = said.contains(&"close 10".to_owned());
    }
    assert!(ended);
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
    assert_eq!(rig.refused, ["loop"]);
    let mut rig = Rig::with_child();
    let said = rig.message(CHILD, message(Some("c"), None, added(&[("x", "nowhere")])));
    assert_eq!(said, ["10 error me>c malformed childsupdate"], "not in its subtree");
    assert_eq!(rig.refused, ["subtree"]);
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
    assert_eq!(said, [""; 0], "the parent is kept until there is an answer");
    assert_eq!(Rig::quiet(rig.wait(400 * MS)), ["dial 3 root"]);
    assert_eq!(rig.core.parent(), Some(&id("p")));
}
