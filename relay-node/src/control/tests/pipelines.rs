//! Pipelines: definitions, keys, play and stop, statistics.

use super::rig::*;
use crate::control::api::*;
use crate::control::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

fn from_child(body: Body) -> Message {
    message(Some("c"), None, body)
}

fn ready() -> Rig {
    let mut rig = Rig::with_child();
    let said = rig.message(PARENT, pipe_def_message(1));
    assert_eq!(said, ["define 1 2", "pipelines 1", "add key 1 1"]);
    rig
}

#[test]
fn a_definition_comes_once_changes_and_goes() {
    let mut rig = ready();
    assert_eq!(rig.message(PARENT, pipe_def_message(1)), [""; 0], "nothing new");
    let mut def = pipe_def();
    def.live = false;
    let off = from_root(Some("*"), Body::PipeDef(PipeDef { def, keys: vec![], removed: vec![] }));
    assert_eq!(rig.message(PARENT, off), ["10 pipedef ^>*", "pipelines 1"], "the layers stay");
    let rotated = rig.message(PARENT, pipe_def_message(2));
    assert_eq!(rotated, ["pipelines 1", "remove key 1 1", "add key 1 2"]);
    let remove = RemovePipeline { pipeline: PipelineId(1), reason: String::new() };
    let over = from_root(Some("*"), Body::RemovePipeline(remove));
    let said = rig.message(PARENT, over.clone());
    assert_eq!(said, ["10 removepipeline ^>*", "undefine 1", "pipelines 0"]);
    assert_eq!(rig.message(PARENT, over), ["10 removepipeline ^>*"]);
}

#[test]
fn a_key_for_another_node_is_refused() {
    let mut rig = Rig::with_child();
    let mut stolen = pipe_def_message(1);
    if let Body::PipeDef(body) = &mut stolen.body {
        body.keys[0].key.enc = b"other".to_vec();
    }
    assert_eq!(
        rig.message(PARENT, stolen),
        ["define 1 2", "pipelines 1", "2 error me>^ unauthorized pipedef"]
    );
}

#[test]
fn play_and_stop_drain_to_nothing() {
    let mut rig = ready();
    assert_eq!(
        rig.message(CHILD, from_child(play(vec![]))),
        [
            "add row 100 link 20",
            "add row 200 link 20",
            "2 playpipeline me>- 100 200",
            "10 pipedefinfo me>- idle"
        ]
    );
    assert_eq!(rig.message(CHILD, from_child(play(vec![]))), ["10 pipedefinfo me>- idle"]);
    assert_eq!(
        rig.step(Event::Command(NodeCommand::Play(PipelineId(1)))),
        ["add row 100 local", "add row 200 local"]
    );
    assert_eq!(rig.message(CHILD, from_child(stop(vec![Ssrc(200)]))), ["remove row 200 link 20"]);
    assert_eq!(rig.message(CHILD, from_child(stop(vec![]))), ["remove row 100 link 20"]);
    assert_eq!(rig.message(CHILD, from_child(stop(vec![]))), [""; 0], "no error");
    assert_eq!(
        rig.step(Event::Command(NodeCommand::Stop(PipelineId(1)))),
        ["remove row 100 local", "remove row 200 local"]
    );
    assert_eq!(rig.core.routes(), 0);
    let mut said = Vec::new();
    let mut waited = 0;
    while said.is_empty() {
        for conn in [PARENT, CHILD] {
            rig.core.links.get_mut(conn).unwrap().forgive();
        }
        said = Rig::quiet(rig.wait(100 * MS));
        waited += 100 * MS;
    }
    assert_eq!(said, ["2 stoppipeline me>-"]);
    assert_eq!(waited, LINGER.as_micros() as u64);
}

#[test]
fn a_pipeline_wanted_again_in_time_is_not_stopped() {
    let mut rig = ready();
    rig.message(CHILD, from_child(play(vec![(Ssrc(100), None)])));
    rig.message(CHILD, from_child(stop(vec![])));
    let said = rig.message(CHILD, from_child(play(vec![(Ssrc(100), None)])));
    assert_eq!(said, ["add row 100 link 20", "10 pipedefinfo me>- idle"], "it still flows");
    let mut said = Vec::new();
    for _ in 0..120 {
        for conn in [PARENT, CHILD] {
            rig.core.links.get_mut(conn).unwrap().forgive();
        }
        said.extend(Rig::quiet(rig.wait(100 * MS)));
    }
    assert_eq!(said, [""; 0]);
}

#[test]
fn a_position_goes_up_once_and_into_the_row() {
    let mut rig = ready();
    let from = |n| play(vec![(Ssrc(100), Some(PacketIndex(n)))]);
    assert_eq!(
        rig.message(CHILD, from_child(from(7))),
        ["add row 100 link 20 from 7", "2 playpipeline me>- 100@7", "10 pipedefinfo me>- idle"]
    );
    rig.wait(REPLAY_PAUSE.as_micros() as u64);
    assert_eq!(
        rig.message(CHILD, from_child(from(9))),
        ["remove row 100 link 20", "add row 100 link 20 from 9", "10 pipedefinfo me>- idle"]
    );
}

#[test]
fn unknown_pipelines_and_layers() {
    let mut rig = Rig::with_child();
    assert_eq!(
        rig.message(CHILD, from_child(play(vec![]))),
        ["10 error me>c unknownPipeline playpipeline"]
    );
    assert_eq!(rig.message(CHILD, from_child(stop(vec![]))), [""; 0]);
    let mut rig = ready();
    assert_eq!(
        rig.message(CHILD, from_child(play(vec![(Ssrc(5), None)]))),
        ["10 error me>c unknownPipeline playpipeline"]
    );
    assert_eq!(rig.step(Event::Command(NodeCommand::Play(PipelineId(9)))), [""; 0]);
    let said = rig.message(
        PARENT,
        from_root(Some("me"), Body::PlayPipeline(Play { pipeline: PipelineId(9), layers: vec![] })),
    );
    assert_eq!(said, ["2 error me>^ unknownPipeline playpipeline"]);
}

#[test]
fn a_parent_that_does_not_know_yet_is_asked_again() {
    let mut rig = ready();
    rig.message(CHILD, from_child(play(vec![])));
    let report = ErrorReport {
        code: ErrorCode::UnknownPipeline,
        text: String::new(),
        failed_time: Some(rig.now.wall.millis()),
        failed_type: "playpipeline".into(),
    };
    let said = rig.message(PARENT, message(Some("p"), Some("me"), Body::Error(report)));
    assert_eq!(said, [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(999 * MS)), [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(MS)), ["2 playpipeline me>- 100 200"]);
}

#[test]
fn a_local_wish_waits_for_the_definition() {
    let mut rig = Rig::attached();
    assert_eq!(rig.step(Event::Command(NodeCommand::Play(PipelineId(1)))), [""; 0]);
    assert_eq!(
        rig.message(PARENT, pipe_def_message(1)),
        [
            "define 1 2",
            "pipelines 1",
            "add row 100 local",
            "add row 200 local",
            "2 playpipeline me>- 100 200",
            "add key 1 1"
        ]
    );
    let key = Event::Command(NodeCommand::KeyFrame(PipelineId(1), Ssrc(100)));
    assert_eq!(rig.step(key), ["key frame 100"]);
}

#[test]
fn the_root_can_pin_and_route_a_pipeline() {
    let mut rig = ready();
    let said = rig.message(PARENT, from_root(Some("me"), play(vec![])));
    assert_eq!(said, ["2 playpipeline me>- 100 200"]);
    let said = rig.message(PARENT, from_root(Some("me"), stop(vec![])));
    assert_eq!(said, [""; 0]);
    let route = |path: &[&str]| {
        let path = path.iter().map(|n| id(n)).collect();
        let body = Body::RoutePipeline(RoutePipeline { pipeline: PipelineId(1), path });
        from_root(Some("me"), body)
    };
    assert_eq!(rig.message(PARENT, route(&["p", "me"])), ["2 pipedefinfo me>^ idle"]);
    assert_eq!(rig.core.path(PipelineId(1)), Some(&[id("p"), id("me")][..]));
    assert_eq!(
        rig.message(PARENT, route(&["q", "me"])),
        ["2 error me>^ internal routepipeline"],
        "not over this parent"
    );
}

#[test]
fn a_child_that_goes_wants_nothing_any_more() {
    let mut rig = ready();
    rig.message(CHILD, from_child(play(vec![])));
    assert_eq!(rig.core.routes(), 2);
    assert_eq!(rig.step(Event::Closed(CHILD)), ["remove link 20", "2 childsupdate me>- -c/1"]);
    assert_eq!(rig.core.routes(), 0);
}

#[test]
fn tables_are_bounded() {
    let mut rig = Rig::attached();
    for n in 1..=MAX_PIPELINES as u32 + 1 {
        let mut def = pipe_def();
        def.id = PipelineId(n);
        let said = rig.message(
            PARENT,
            from_root(Some("me"), Body::PipeDef(PipeDef { def, keys: vec![], removed: vec![] })),
        );
        if n <= MAX_PIPELINES as u32 {
            assert_eq!(said.len(), 2);
        } else {
            assert_eq!(said, ["2 error me>^ malformed pipedef"]);
        }
    }
    for n in 0..10 * MAX_PIPELINES as u32 {
        rig.step(Event::Command(NodeCommand::Play(PipelineId(n))));
    }
    assert!(rig.core.pipelines().len() <= MAX_PIPELINES);
}

fn container(name: &str, value: f64, weight: f64) -> StatsContainer {
    let stat = Stat { name: name.into(), value, weight: Some(weight) };
    StatsContainer { start: 1, end: 2, children: 0, id: Some(PipelineId(1)), stats: vec![stat] }
}

fn value(containers: &[StatsContainer], id: Option<PipelineId>, name: &str) -> Option<f64> {
    let container = containers.iter().find(|c| c.id == id)?;
    container.stats.iter().find(|s| s.name == name).map(|s| s.value)
}

#[test]
fn statistics_go_up_aggregated_and_answer_questions_unaggregated() {
    let mut rig = ready();
    let own = Event::Command(NodeCommand::LocalStats(vec![container("viewers", 2.0, 1.0)]));
    rig.step(own);
    rig.step(Event::PlaneReport(PlaneReport { cpu: 30.0, ..PlaneReport::default() }));
    let stats = Body::Stats(vec![container("viewers", 5.0, 1.0)]);
    assert_eq!(rig.message(CHILD, from_child(stats)), [""; 0]);
    let tree = rig.core.tree_stats();
    assert_eq!(value(&tree, Some(PipelineId(1)), "viewers"), Some(7.0));
    assert_eq!(value(&tree, None, "cpuload"), Some(30.0));
    let ask = Body::ReqFullStats(ReqFullStats { pipeline: Some(PipelineId(1)) });
    let said = rig.message(PARENT, from_root(Some("me"), ask));
    assert_eq!(said, ["2 fullstats me>^ 1 time 77"], "the request's time is echoed");
    assert_eq!(value(&rig.core.full_stats(None), Some(PipelineId(1)), "viewers"), Some(2.0));
    rig.step(Event::Closed(CHILD));
    let tree = rig.core.tree_stats();
    assert_eq!(value(&tree, Some(PipelineId(1)), "viewers"), Some(2.0), "gone with the child");
}

#[test]
fn the_hop_above_is_measured_and_weighs_by_nodes() {
    let mut rig = ready();
    let link =
        |link, rtt_ms, fraction_lost| LinkReport { link: LinkId(link), rtt_ms, fraction_lost };
    // Link 5 leads to the parent, link 20 to the child, who speaks for that hop itself.
    let links = vec![link(20, Some(90.0), Some(0.9)), link(5, Some(20.0), Some(0.25))];
    rig.step(Event::PlaneReport(PlaneReport { links, ..PlaneReport::default() }));
    let own = rig.core.full_stats(None);
    assert_eq!(value(&own, None, "hoprtt"), Some(20.0));
    assert_eq!(value(&own, None, "hoploss"), Some(0.25));
    for of_viewers in ["rtt", "fractionlost"] {
        assert_eq!(value(&own, None, of_viewers), None);
    }
    let mut below = container("hoprtt", 8.0, 1.0);
    below.id = None;
    rig.message(CHILD, from_child(Body::Stats(vec![below])));
    let tree = rig.core.tree_stats();
    assert_eq!(value(&tree, None, "hoprtt"), Some(14.0), "the mean of two hops");
    assert_eq!(value(&tree, None, "hoploss"), Some(0.25), "who does not know does not count");
    let links = vec![link(5, None, None)];
    rig.step(Event::PlaneReport(PlaneReport { links, ..PlaneReport::default() }));
    assert_eq!(value(&rig.core.full_stats(None), None, "hoprtt"), None);
}

#[test]
fn the_root_has_no_hop_above() {
    let mut rig = Rig::new(Role::Root, 2);
    let link = LinkReport { link: LinkId(20), rtt_ms: Some(9.0), fraction_lost: Some(0.5) };
    rig.step(Event::PlaneReport(PlaneReport { links: vec![link], ..PlaneReport::default() }));
    assert_eq!(value(&rig.core.full_stats(None), None, "hoprtt"), None);
}
