//! Pipelines, keys, statistics and what the program around the root is told.

use super::*;

#[test]
fn a_pipeline_is_defined_sent_changed_and_removed() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let first = rig.command(RootCommand::DefinePipeline(def("demo")));
    assert_eq!(
        Rig::quiet(first),
        [
            "define 1".to_owned(),
            "pipelines 1".into(),
            "add key 1".into(),
            format!("{} pipedef >a 1 keys 1", conn.0),
            "key 1 1000".into(),
        ]
    );
    let again = rig.command(RootCommand::DefinePipeline(def("demo")));
    assert_eq!(Rig::quiet(again), [""; 0], "nothing new");
    let live = rig.command(RootCommand::SetLive(PipelineId(1), true));
    let everybody = format!("{} pipedef >* 1 keys 0", conn.0);
    assert_eq!(Rig::quiet(live), ["pipelines 1".to_owned(), everybody]);
    assert_eq!(Rig::quiet(rig.command(RootCommand::SetLive(PipelineId(2), true))), [""; 0]);
    let (late, said) = rig.attach(Role::Leaf, "b", 2);
    assert_eq!(said.last().unwrap(), &format!("{} pipedef >b 1 keys 1", late.0));
    let remove = RootCommand::RemovePipeline(PipelineId(1), "over".into());
    let said = Rig::quiet(rig.command(remove));
    assert_eq!(said[..2], ["undefine 1".to_owned(), "pipelines 0".into()]);
    assert_eq!(said.len(), 4, "REMOVEPIPELINE to both children: {said:?}");
    assert!(rig.core.view().pipelines.is_empty());
}

#[test]
fn a_new_epoch_travels_before_it_is_used() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let both = format!("{} pipedef >a 1 keys 2", conn.0);
    let said = Rig::quiet(rig.command(RootCommand::Rotate(PipelineId(1))));
    assert_eq!(said, ["add key 1".to_owned(), both]);
    // Another revocation meanwhile: one more rotation, when this one is done.
    assert_eq!(Rig::quiet(rig.command(RootCommand::Rotate(PipelineId(1)))), [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(2 * SEC - 1)), [""; 0]);
    let said = Rig::quiet(rig.wait(1));
    assert_eq!(
        said,
        ["add key 1".to_owned(), format!("{} pipedef >a 1 keys 3", conn.0), "key 1 1001".into()]
    );
    assert_eq!(Rig::quiet(rig.wait(2 * SEC)), ["key 1 1002"]);
}

#[test]
fn a_killed_node_gets_no_key_any_more() {
    let mut rig = Rig::new(4);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let (b, _) = rig.attach(Role::Leaf, "b", 2);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let kill = RootCommand::Kill { node: id("a"), grace_secs: 5, reason: "stolen".into() };
    let said = Rig::quiet(rig.command(kill));
    assert_eq!(said, [format!("{} kill >a", a.0)]);
    let said = Rig::quiet(rig.wait(SEC / 10));
    assert_eq!(said, ["add key 1".to_owned(), format!("{} pipedef >b 1 keys 2", b.0)]);
    let nobody = RootCommand::Kill { node: id("x"), grace_secs: 5, reason: String::new() };
    assert_eq!(rig.command(nobody), [""; 0]);
}

#[test]
fn nodes_that_are_removed_together_get_no_key_of_each_others_removal() {
    let mut rig = Rig::new(4);
    let conns =
        [("a", 1), ("b", 2), ("c", 3)].map(|(name, key)| rig.attach(Role::Relay, name, key).0);
    let (d, _) = rig.attach(Role::Leaf, "d", 4);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    for (conn, name) in conns.iter().zip(["a", "b", "c"]) {
        let kill = RootCommand::Kill { node: id(name), grace_secs: 5, reason: "x".into() };
        assert_eq!(Rig::quiet(rig.command(kill)), [format!("{} kill >{name}", conn.0)]);
    }
    let said = Rig::quiet(rig.wait(SEC / 10));
    assert_eq!(said, ["add key 1".to_owned(), format!("{} pipedef >d 1 keys 2", d.0)]);
    // One epoch for all.
    let used = |said: Vec<String>| -> Vec<String> {
        said.into_iter().filter(|s| s.starts_with("key")).collect()
    };
    assert_eq!(used(rig.wait(2 * SEC)), ["key 1 1001"]);
    assert_eq!(used(rig.wait(2 * SEC)), [""; 0]);
}

#[test]
fn who_takes_children_hears_who_was_removed_until_that_one_may_come_back() {
    let mut rig = Rig::new(2);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let (l, _) = rig.attach(Role::Leaf, "l", 2);
    rig.join(Role::Leaf, hello(Role::Leaf, "x", 3));
    let child = Child { id: id("x"), incarnation: Incarnation(1), parent: id("a"), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: Vec::new() };
    rig.message(a, "a", None, Body::ChildsUpdate(update));
    rig.command(RootCommand::DefinePipeline(def("demo")));
    // The root is its backup.
    let warm = rig.accept(node_peer("x", 3));
    let ticket = Some(b"x 3 1 77 5 2".to_vec());
    let hello_to_us = Hello { ticket, nonce: Some(vec![1; 16]), warm: true, ..Hello::new(id("x")) };
    let said = rig.message(warm, "x", Some("root"), Body::Hello(Box::new(hello_to_us)));
    assert_eq!(said, ["add link".to_owned(), format!("{} hello >x", warm.0)]);

    let kill = RootCommand::Kill { node: id("x"), grace_secs: 5, reason: "stolen".into() };
    assert_eq!(Rig::quiet(rig.command(kill)), [format!("{} kill >x", a.0)]);
    let issued = rig.core.tree.get(&id("x")).unwrap().issued;
    let said = Rig::quiet(rig.wait(SEC / 10));
    let expected = [
        format!("close {}", warm.0),
        "remove link".into(),
        "add key 1".into(),
        format!("{} pipedef >a 1 keys 2 without x/{issued}", a.0),
        format!("{} pipedef >l 1 keys 2", l.0),
    ];
    assert_eq!(said, expected, "nobody has a link below a leaf");
    // Who comes later hears it, too, and so does who is told of another change.
    let update = ChildsUpdate { added: Vec::new(), removed: vec![(id("x"), Incarnation(1))] };
    rig.message(a, "a", None, Body::ChildsUpdate(update));
    rig.wait(2 * SEC);
    let pipedefs = |said: Vec<String>| -> Vec<String> {
        said.into_iter().filter(|s| s.contains("pipedef >a")).collect()
    };
    let said = pipedefs(rig.command(RootCommand::Rotate(PipelineId(1))));
    assert_eq!(said, [format!("{} pipedef >a 1 keys 3 without x/{issued}", a.0)]);
    // By a new token it comes back, with an incarnation that nobody holds against it.
    let said = rig
        .join_as(Peer::Joining { token: "2".into(), role: Role::Leaf }, hello(Role::Leaf, "x", 3));
    assert!(said[0].starts_with("redirect"), "{said:?}");
    assert!(rig.core.tree.get(&id("x")).unwrap().incarnation > issued);
    rig.wait(2 * SEC);
    let said = pipedefs(rig.command(RootCommand::Rotate(PipelineId(1))));
    assert_eq!(said, [format!("{} pipedef >a 1 keys 3", a.0)]);
}

#[test]
fn no_more_removed_nodes_are_named_than_a_message_may_carry() {
    let most = soleil_protocol::limits::MAX_REMOVALS as u32;
    let mut rig = Rig::new(2 * most);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    for n in 0..=most {
        let name = format!("x{n}");
        rig.attach(Role::Leaf, &name, 2);
    }
    for n in 0..=most {
        let name = format!("x{n}");
        let kill = RootCommand::Kill { node: id(&name), grace_secs: 0, reason: "x".into() };
        rig.command(kill);
    }
    let said = rig.wait(SEC / 10);
    let to_a = said.iter().find(|s| s.starts_with(&format!("{} pipedef >a", a.0))).unwrap();
    assert_eq!(to_a.matches(" without ").count() as u32, most);
    assert!(
        !to_a.contains("without x0/") && to_a.contains("without x1/"),
        "the oldest is left out"
    );
}

#[test]
fn the_number_of_epochs_that_are_kept_is_bounded() {
    let mut rig = Rig::new(4);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let (mut kept, mut most) = (1, 1);
    let mut count = |said: Vec<String>| {
        for line in said {
            kept += i32::from(line.starts_with("add key"));
            kept -= i32::from(line.starts_with("remove key"));
            most = most.max(kept);
        }
        (kept, most)
    };
    for _ in 0..60 {
        count(rig.command(RootCommand::Rotate(PipelineId(1))));
        count(rig.wait(SEC / 2));
    }
    let (_, most) = count(Vec::new());
    assert_eq!(most, 3, "the one before, the one in use, the next one");
    // When nobody holds packets of the old ones any more, they go.
    let after = (0..80).map(|_| count(rig.wait(SEC / 2))).last();
    assert_eq!(after, Some((1, 3)));
}

#[test]
fn leaves_are_asked_and_their_viewers_counted() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Leaf, "a", 1);
    rig.attach(Role::Relay, "b", 2);
    let asked: usize = (0..8)
        .flat_map(|_| rig.wait(SEC / 2))
        .filter(|s| s.contains("reqfullstats"))
        .inspect(|s| assert!(s.contains(">a"), "{s}"))
        .count();
    assert_eq!(asked, 2, "every two seconds, leaves alone");
    let stat = |name: &str, value| Stat { name: name.into(), value, weight: Some(1.0) };
    let container = |id, value| StatsContainer {
        start: 0,
        end: 1,
        children: 0,
        id: Some(PipelineId(id)),
        stats: vec![stat("viewers", value), stat("rtt", 5.0)],
    };
    let full = FullStats { containers: vec![container(1, 3.0), container(2, 4.0)], end: None };
    rig.message(conn, "a", Some("^"), Body::FullStats(full));
    assert_eq!(rig.core.view().nodes[1].viewers, 7);
    rig.step(Event::Closed(conn));
    assert_eq!(rig.core.view().nodes[1].viewers, 0, "they are gone with it");
}

#[test]
fn key_frames_are_asked_of_the_source() {
    let mut rig = Rig::new(4);
    let wanted = PlaneEvent::KeyFrameWanted(PipelineId(1), Ssrc(5));
    assert_eq!(rig.step(Event::Plane(wanted)), ["wanted 1 5"]);
}

#[test]
fn views_do_not_flood() {
    let mut rig = Rig::new(200);
    let mut views = 0;
    for key in 0..100 {
        let said = rig.join(Role::Leaf, hello(Role::Leaf, &format!("n{key}"), key));
        views += said.iter().filter(|s| s.contains("view")).count();
        views += rig.wait(SEC / 1_000).iter().filter(|s| s.contains("view")).count();
    }
    assert!(views <= 1, "{views} in a tenth of a second");
}

#[test]
fn a_root_that_drains_says_bye_and_stops() {
    let mut rig = Rig::new(4);
    let (conn, _) = rig.attach(Role::Relay, "a", 1);
    let drain = RootCommand::Node(NodeCommand::Drain("update".into()));
    let said = Rig::quiet(rig.command(drain));
    assert_eq!(
        said,
        [
            format!("{} bye >-", conn.0),
            format!("close {}", conn.0),
            "remove link".into(),
            "stopped".into()
        ]
    );
    assert_eq!(rig.core.poll_timeout(), None);
}

/// The leaf `a` below `p` (or elsewhere) is gone, or is there again.
fn subtree(rig: &mut Rig, parent: ConnId, there: bool) -> Vec<String> {
    let incarnation = Incarnation(1);
    let child = Child { id: id("a"), incarnation, parent: id("p"), weight: 1 };
    let update = if there {
        ChildsUpdate { added: vec![child], removed: vec![] }
    } else {
        ChildsUpdate { added: vec![], removed: vec![(id("a"), incarnation)] }
    };
    Rig::quiet(rig.message(parent, "p", None, Body::ChildsUpdate(update)))
}

#[test]
fn a_node_that_was_away_when_a_pipeline_was_removed_hears_of_it() {
    let mut rig = Rig::new(4);
    let (p, _) = rig.attach(Role::Relay, "p", 1);
    rig.join(Role::Leaf, hello(Role::Leaf, "a", 2));
    subtree(&mut rig, p, true);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let remove = || RootCommand::RemovePipeline(PipelineId(1), "over".into());
    subtree(&mut rig, p, false);
    rig.command(remove());
    assert_eq!(subtree(&mut rig, p, true), [format!("{} removepipeline >a", p.0)]);
    // It has been defined again meanwhile: nothing is over.
    subtree(&mut rig, p, false);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    assert_eq!(subtree(&mut rig, p, true), [format!("{} pipedef >a 1 keys 1", p.0)]);
    // One that was there when it ended has heard of it.
    rig.command(remove());
    (0..25).for_each(|_| drop(rig.wait(SEC)));
    subtree(&mut rig, p, false);
    assert_eq!(subtree(&mut rig, p, true), [""; 0]);
}

#[test]
fn a_pipeline_that_began_while_a_node_with_an_old_one_came_is_not_removed_again() {
    let mut rig = Rig::new(4);
    let (p, _) = rig.attach(Role::Relay, "p", 1);
    let mut back = hello(Role::Leaf, "a", 2);
    back.pipelines = vec![PipelineId(1), PipelineId(2)];
    rig.join(Role::Leaf, back);
    rig.command(RootCommand::DefinePipeline(def("demo")));
    let said = subtree(&mut rig, p, true);
    let (with, over) = (format!("{} pipedef >a 1 keys 1", p.0), "removepipeline >*");
    assert_eq!(said, [with, format!("{} {over}", p.0)], "2 is over, 1 is not");
}
