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
