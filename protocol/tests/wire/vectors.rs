//! The messages that the thesis prints (chapter 3), byte for byte.

use crate::samples::id;
use soleil_protocol::message::*;
use soleil_protocol::{Address, Incarnation, Message, Millis, PipelineId};

fn again(xml: &str) -> Message {
    let message = Message::from_xml(xml).expect("a golden vector");
    let written = message.to_xml();
    assert_eq!(Message::from_xml(&written).as_ref(), Ok(&message), "{written}");
    message
}

fn stat(name: &str, value: f64) -> Stat {
    Stat { name: name.into(), value, weight: None }
}

fn container(pipeline: u32, stats: Vec<Stat>) -> StatsContainer {
    StatsContainer {
        start: 1_368_548_254,
        end: 1_368_548_879,
        children: 3,
        id: Some(PipelineId(pipeline)),
        stats,
    }
}

#[test]
fn hello() {
    let message = again(include_str!("../vectors/hello.xml"));
    assert_eq!(message.time, Millis(1_367_231_998_886));
    assert_eq!((message.from, message.to), (None, Some(Address::Root)));
    let Body::Hello(hello) = message.body else { panic!("not a HELLO") };
    let expected = Hello {
        server: Some(HostPort { host: "143.225.229.199".into(), port: 14982 }),
        client: Some(HostPort { host: "143.225.229.134".into(), port: 12054 }),
        version: 0,
        ..Hello::new(id("gstreamer_Notebook-PC_14982"))
    };
    assert_eq!((hello.role, hello.incarnation), (None, Incarnation(0)));
    assert_eq!(*hello, expected);
}

/// The thesis prints the hosts with a line break before them.
#[test]
fn hello_as_printed() {
    let vector = include_str!("../vectors/hello.xml");
    let printed = vector.replace("host=\"", "host=\"\n      ");
    assert_ne!(printed, vector);
    assert_eq!(Message::from_xml(&printed), Message::from_xml(vector));
}

#[test]
fn stats() {
    let message = again(include_str!("../vectors/stats.xml"));
    assert_eq!(message.time, Millis(1_368_548_879_868));
    assert_eq!((message.from, message.to), (None, None));
    let expected = vec![
        container(1_234_567, vec![stat("injitter", 255.3), stat("cumpktlost", 12.0)]),
        container(1_234_568, vec![stat("injitter", 240.2), stat("cumpktlost", 8.0)]),
    ];
    assert_eq!(message.body, Body::Stats(expected));
}

#[test]
fn reqfullstats() {
    let message = again(include_str!("../vectors/reqfullstats.xml"));
    assert_eq!(message.from, Some(Address::Root));
    assert_eq!(message.to, Some(Address::Node(id("gstreamer_U36SD_52846"))));
    let expected = ReqFullStats { pipeline: Some(PipelineId(1_234_567)) };
    assert_eq!(message.body, Body::ReqFullStats(expected));
}

#[test]
fn fullstats() {
    let message = again(include_str!("../vectors/fullstats.xml"));
    assert_eq!(message.from, Some(Address::Node(id("gstreamer_U36SD_52846"))));
    let written = message.to_xml();
    assert!(written.contains("<name>cumpktlost</name>") && !written.contains("cumpklost"));
    assert!(
        written.contains("<xmlDb>") && written.ends_with("<endTime>1368548238</endTime></message>")
    );
    let expected = FullStats {
        containers: vec![container(
            1_234_568,
            vec![stat("injitter", 240.2), stat("cumpktlost", 8.0)],
        )],
        end: Some(1_368_548_238),
    };
    assert_eq!(message.body, Body::FullStats(expected));
}

/// One of each message as version 1 wrote it. They are read, and written again byte for byte: what a
/// later version has added is left away where it does not apply.
#[test]
fn version_1() {
    let directory =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/version-1");
    let mut kinds = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("the vectors are there") {
        let path = entry.expect("a file").path();
        let xml = std::fs::read_to_string(&path).expect("readable");
        let message = Message::from_xml(&xml).expect("a message");
        assert_eq!(message.to_xml(), xml, "{}", path.display());
        match &message.body {
            Body::Hello(hello) => assert_eq!((hello.version, hello.warm), (1, false)),
            Body::Redirect(redirect) => assert_eq!(redirect.parents[0].version, 1),
            _ => {}
        }
        kinds.insert(message.body.kind());
    }
    assert_eq!(kinds.len(), 17, "{kinds:?}");
}

/// What version 2 says to one of version 1 is what that one would have said itself; and what it says
/// to its like differs by the new words alone, which a reader of version 1 passes over.
#[test]
fn version_2_says_no_new_word_to_version_1() {
    let redirect = include_str!("../vectors/version-1/redirect.xml");
    let mut message = Message::from_xml(redirect).expect("a golden vector");
    let Body::Redirect(body) = &mut message.body else { panic!("not a REDIRECT") };
    body.parents[0].version = 2;
    let newer = message.to_xml();
    assert_ne!(newer, redirect);
    assert_eq!(newer.replacen(" version=\"2\"", "", 1), redirect);
    let hello = include_str!("../vectors/version-1/hello-to-a-parent.xml");
    let mut message = Message::from_xml(hello).expect("a golden vector");
    let Body::Hello(body) = &mut message.body else { panic!("not a HELLO") };
    body.warm = true;
    assert_eq!(message.to_xml().replacen("<warm>true</warm>", "", 1), hello);
    let pipedef = include_str!("../vectors/version-1/pipedef.xml");
    let mut message = Message::from_xml(pipedef).expect("a golden vector");
    let Body::PipeDef(body) = &mut message.body else { panic!("not a PIPEDEF") };
    body.removed = vec![(id("leaf-4"), Incarnation(9))];
    let removed = r#"<removed><child id="leaf-4" incarnation="9"/></removed>"#;
    let without = message.to_xml().replacen(removed, "", 1);
    assert_eq!(without, pipedef);
    let Body::PipeDef(body) = &mut message.body else { panic!("not a PIPEDEF") };
    body.def.tracks[0].layers[1].scalability = "L3T3_KEY".parse().ok();
    let mode = r#" scalability="L3T3_KEY""#;
    assert_eq!(message.to_xml().replacen(removed, "", 1).replacen(mode, "", 1), pipedef);
}
