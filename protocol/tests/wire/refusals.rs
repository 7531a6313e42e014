//! What is not a message, and what is said about it.

use soleil_protocol::limits::*;
use soleil_protocol::message::{Body, ErrorCode, ErrorReport};
use soleil_protocol::{Message, Millis, XmlError};

fn read(xml: &str) -> Result<Message, XmlError> {
    Message::from_xml(xml)
}

/// A message of a type with a body.
fn with(kind: &str, body: &str) -> String {
    format!(r#"<message type="{kind}" time="5">{body}</message>"#)
}

#[track_caller]
fn malformed(xml: &str) {
    let error = read(xml).expect_err(xml);
    assert!(matches!(error, XmlError::Malformed { .. }), "{xml}: {error:?}");
    assert!(error.closes_link());
}

#[track_caller]
fn over(xml: &str, bound: usize) {
    let error = read(xml).expect_err("over a limit");
    assert!(matches!(error, XmlError::Limit { limit, .. } if limit == bound), "{error:?}");
    assert!(error.closes_link());
}

#[test]
fn not_well_formed() {
    for xml in [
        "",
        " ",
        "hello",
        "<message",
        "<message type=\"bye\" time=\"5\">",
        "</message>",
        "<message type=\"bye\" time=\"5\"></massage>",
        "<message type=\"bye\" time=\"5\"/><message type=\"bye\" time=\"5\"/>",
        "<message type=\"bye\" time=\"5\"/>more",
        "more<message type=\"bye\" time=\"5\"/>",
        "<message type=bye time=5/>",
        "<message type=\"bye\" type=\"bye\" time=\"5\"/>",
        "<message type=\"bye\" time/>",
        "<message type=\"bye\" time=\"5\" x=\"<\"/>",
        "<message type=\"bye\" time=\"5\"><1/></message>",
        "<message type=\"bye\" time=\"5\"><!-- a -- b --></message>",
        "<message type=\"bye\" time=\"5\"><reason>\u{1}</reason></message>",
        "<message type=\"bye\" time=\"5\"><reason>&#1;</reason></message>",
        "<message type=\"bye\" time=\"5\"><reason>&#xD800;</reason></message>",
        "<message type=\"bye\" time=\"5\" x=\"&#0;\"/>",
        "<message type=\"bye\" time=\"5\"><reason>a & b</reason></message>",
        "<?xml version=\"1.0\" encoding=\"latin1\"?><message type=\"bye\" time=\"5\"/>",
    ] {
        malformed(xml);
    }
}

/// No DTD, no entities, no processing instructions, no external references (PROTOCOL).
#[test]
fn forbidden_xml() {
    let laughs = r#"<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>"#;
    malformed(&format!("{laughs}{}", with("bye", "<reason>&b;</reason>")));
    let file = r#"<!DOCTYPE m [<!ENTITY f SYSTEM "file:///etc/hostname">]>"#;
    malformed(&format!("{file}{}", with("bye", "<reason>&f;</reason>")));
    malformed(&format!(r#"<!DOCTYPE m SYSTEM "http://example.net/m.dtd">{}"#, with("bye", "")));
    malformed(&with("bye", "<reason>&nbsp;</reason>"));
    malformed(&with("bye", "<?php echo 1 ?>"));
    malformed(&format!(r#"<?xml-stylesheet href="a"?>{}"#, with("bye", "")));
    malformed(&with("bye", r#"<?xml version="1.0"?>"#));
    malformed(r#"<message type="bye" time="5" x="&a;"/>"#);
}

#[test]
fn allowed_xml() {
    let reason = |xml: &str| match read(xml).expect(xml).body {
        Body::Bye(bye) => bye.reason,
        other => panic!("not a BYE: {other:?}"),
    };
    let declared = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    let body = "<!-- note --><reason> a &lt;&#98;&#x63;&amp;<![CDATA[<d>]]>\r\ne </reason>";
    assert_eq!(reason(&format!("\u{feff}{declared}\n{}\n", with("bye", body))), "a <bc&<d>\ne");
    // Unknown elements and attributes are ignored, wherever they are.
    let body = r#"<new a="b"><reason>no</reason></new><reason x="1">yes<new/></reason>text"#;
    assert_eq!(reason(&with("bye", body)), "yes");
    assert_eq!(reason(r#"<message new="1" time="5" type="bye"/>"#), "");
}

#[test]
fn envelope() {
    for xml in [
        r#"<massage type="bye" time="5"/>"#,
        r#"<message time="5"/>"#,
        r#"<message type="bye"/>"#,
        r#"<message type="bye" time=""/>"#,
        r#"<message type="bye" time="-5"/>"#,
        r#"<message type="bye" time="5.5"/>"#,
        r#"<message type="bye" time="99999999999999999999"/>"#,
        r#"<message type="bye" time="5" from="*"/>"#,
        r#"<message type="bye" time="5" from="^" to="^"/>"#,
        r#"<message type="bye" time="5" from=""/>"#,
        r#"<message type="bye" time="5" to="a b"/>"#,
        r#"<message type="bye" time="5" to="a/b"/>"#,
    ] {
        malformed(xml);
    }
    let long = "x".repeat(65);
    malformed(&format!(r#"<message type="bye" time="5" to="{long}"/>"#));
}

#[test]
fn an_unknown_type_is_no_malformed_message() {
    let error = read(r#"<message type="dance" time="5" from="a" to="^"><x/></message>"#)
        .expect_err("not known");
    assert!(!error.closes_link() && !error.is_about_error());
    let XmlError::UnknownType { kind, time, from, to } = &error else { panic!("{error:?}") };
    assert_eq!((kind.as_str(), *time), ("dance", Millis(5)));
    assert!(from.is_some() && to.is_some());
    let report = ErrorReport::from(error);
    assert_eq!(report.code, ErrorCode::UnknownType);
    assert_eq!((report.failed_time, report.failed_type.as_str()), (Some(Millis(5)), "dance"));
    // Types are lower case on the wire.
    assert!(matches!(read(&with("BYE", "")), Err(XmlError::UnknownType { .. })));
    let long = "x".repeat(MAX_ATTRIBUTE);
    let Err(XmlError::UnknownType { kind, .. }) = read(&with(&long, "")) else { panic!("known") };
    assert_eq!(kind.len(), MAX_TYPE);
}

#[test]
fn the_report_names_what_failed() {
    // Broken in the middle, and a body that makes no sense.
    for xml in [r#"<message type="kill" time="5"><grace>"#, &with("kill", "<grace>soon</grace>")] {
        let error = read(xml).expect_err(xml);
        let report = ErrorReport::from(error);
        assert_eq!(report.code, ErrorCode::Malformed);
        assert_eq!((report.failed_time, report.failed_type.as_str()), (Some(Millis(5)), "kill"));
        assert!(!report.text.is_empty() && report.text.len() <= MAX_SENTENCE);
    }
    let report = ErrorReport::from(read("<").expect_err("broken"));
    assert_eq!((report.failed_time, report.failed_type.as_str()), (None, ""));
    // An ERROR is never answered.
    assert!(read(&with("error", "<code/><code/>")).expect_err("twice").is_about_error());
    let fine = read(&with("error", "<code>later</code>")).expect("a code of a later version");
    assert!(matches!(&fine.body, Body::Error(e) if e.code == ErrorCode::Internal));
    assert_eq!(ErrorReport::about(&fine, ErrorCode::Internal, "no"), None);
}

#[test]
fn xml_limits() {
    over(&" ".repeat(MAX_MESSAGE + 1), MAX_MESSAGE);
    let deep = |n: usize| with("bye", &format!("{}{}", "<a>".repeat(n), "</a>".repeat(n)));
    assert!(read(&deep(MAX_DEPTH - 1)).is_ok());
    over(&deep(MAX_DEPTH), MAX_DEPTH);
    over(&format!("<message>{}", "<a>".repeat(80_000)), MAX_DEPTH);
    let wide = |n: usize| with("bye", &"<a/>".repeat(n));
    assert!(read(&wide(MAX_ELEMENTS - 1)).is_ok());
    over(&wide(MAX_ELEMENTS), MAX_ELEMENTS);
    let attributes = |n: usize| {
        let list: String = (0..n).map(|n| format!(" a{n}=\"\"")).collect();
        with("bye", &format!("<a{list}/>"))
    };
    assert!(read(&attributes(MAX_ATTRIBUTES)).is_ok());
    over(&attributes(MAX_ATTRIBUTES + 1), MAX_ATTRIBUTES);
    let value = |n: usize| with("bye", &format!("<a b=\"{}\"/>", "x".repeat(n)));
    assert!(read(&value(MAX_ATTRIBUTE)).is_ok());
    over(&value(MAX_ATTRIBUTE + 1), MAX_ATTRIBUTE);
    over(&with("bye", &format!("<{}/>", "x".repeat(MAX_NAME + 1))), MAX_NAME);
    over(&with("bye", &format!("<a {}=\"\"/>", "x".repeat(MAX_NAME + 1))), MAX_NAME);
    let text = |n: usize| with("bye", &format!("<a>{}</a>", "x".repeat(n)));
    assert!(read(&text(MAX_TEXT)).is_ok());
    over(&text(MAX_TEXT + 1), MAX_TEXT);
    // Many small pieces are one text.
    over(&with("bye", &format!("<a>{}</a>", "&lt;".repeat(MAX_TEXT + 1))), MAX_TEXT);
}

/// Something that is bounded, its bound, and a message around it.
type Bound<'a> = (&'a str, usize, &'a dyn Fn(&str) -> String);

#[test]
fn list_and_text_limits() {
    let hello = |inside: &str| with("hello", &format!("<info><name>a</name>{inside}</info>"));
    let lists: [Bound<'_>; 10] = [
        ("<pipeid>1</pipeid>", MAX_PIPELINES, &|l| hello(&format!("<pipelines>{l}</pipelines>"))),
        (r#"<label name="a" value=""/>"#, MAX_LABELS, &|l| hello(&format!("<labels>{l}</labels>"))),
        (r#"<mediaAddress host="10.0.0.1" port="1"/>"#, MAX_MEDIA, &hello),
        (r#"<child id="a" incarnation="1"/>"#, MAX_CHILDREN, &|l| {
            with("childsupdate", &format!("<removed>{l}</removed>"))
        }),
        (r#"<child id="a" incarnation="1"/>"#, MAX_REMOVALS, &|l| {
            let pipeline = r#"<pipeline id="1" live="true"><name>s</name></pipeline>"#;
            with("pipedef", &format!("{pipeline}<removed>{l}</removed>"))
        }),
        (r#"<child id="a" incarnation="1" parent="b" weight="1"/>"#, MAX_CHILDREN, &|l| {
            with("childsupdate", &format!("<added>{l}</added>"))
        }),
        (r#"<layer ssrc="1"/>"#, MAX_SSRCS, &|l| {
            with("playpipeline", &format!("<pipeid>1</pipeid><layers>{l}</layers>"))
        }),
        ("<node>a</node>", MAX_PATH, &|l| {
            with("routepipeline", &format!("<pipeid>1</pipeid><path>{l}</path>"))
        }),
        (
            "<statsContainer><startTime>1</startTime><endTime>2</endTime>\
             <numOfChildren>0</numOfChildren></statsContainer>",
            MAX_CONTAINERS,
            &|l| with("stats", &format!("<statsContainers>{l}</statsContainers>")),
        ),
        ("<DBValue><name>rtt</name><value>1</value></DBValue>", MAX_STATS, &|l| {
            with(
                "stats",
                &format!(
                    "<statsContainers><statsContainer><startTime>1</startTime><endTime>2</endTime>\
                     <numOfChildren>0</numOfChildren><statArray>{l}</statArray></statsContainer>\
                     </statsContainers>"
                ),
            )
        }),
    ];
    for (item, max, around) in lists {
        assert!(read(&around(&item.repeat(max))).is_ok(), "{max} times {item}");
        over(&around(&item.repeat(max + 1)), max);
    }
    let texts: [Bound<'_>; 5] = [
        ("reason", MAX_SENTENCE, &|t| with("bye", &format!("<reason>{t}</reason>"))),
        ("echo", MAX_ECHO, &|t| with("ping", &format!("<echo>{t}</echo>"))),
        ("region", MAX_WORD, &|t| hello(&format!("<region>{t}</region>"))),
        ("host", MAX_HOST, &|t| hello(&format!(r#"<minaServerAddress host="{t}" port="1"/>"#))),
        ("label", MAX_WORD, &|t| {
            hello(&format!(r#"<labels><label name="a" value="{t}"/></labels>"#))
        }),
    ];
    for (what, max, around) in texts {
        assert!(read(&around(&"x".repeat(max))).is_ok(), "{what}");
        over(&around(&"x".repeat(max + 1)), max);
    }
    // Base64 is measured before it is decoded.
    over(&hello(&format!("<csr>{}</csr>", "A".repeat(MAX_CSR / 3 * 4 + 8))), MAX_CSR);
}

#[test]
fn values() {
    let hello = |inside: &str| with("hello", &format!("<info><name>a</name>{inside}</info>"));
    for inside in [
        "<name>b</name>",
        "<role>king</role>",
        "<version>-1</version>",
        "<incarnation>x</incarnation>",
        "<capacity viewers=\"-1\"/>",
        "<pipelines><pipeid>4294967296</pipeid></pipelines>",
        r#"<minaServerAddress host="a"/>"#,
        r#"<minaServerAddress port="1"/>"#,
        r#"<minaServerAddress host="" port="1"/>"#,
        r#"<minaServerAddress host="a b" port="1"/>"#,
        r#"<minaServerAddress host="a" port="65536"/>"#,
        r#"<mediaAddress host="name" port="1"/>"#,
        r#"<mediaAddress host="0.0.0.0" port="1"/>"#,
        r#"<mediaAddress host="224.0.0.1" port="1"/>"#,
        r#"<mediaAddress host="10.0.0.1" port="0"/>"#,
        r#"<labels><label name="" value="x"/></labels>"#,
        "<http>ftp://a</http>",
        "<http>https://</http>",
        "<http>https://a\"b</http>",
        "<http/>",
        "<csr/>",
        "<csr>!</csr>",
        "<csr>A</csr>",
        "<nonce>AAAA</nonce>",
        "<wrapKey>AAAA</wrapKey>",
    ] {
        malformed(&hello(inside));
    }
    malformed(&with("hello", ""));
    malformed(&with("hello", "<info><name>^</name></info>"));
    assert!(read(&hello("<csr>\n QUJD\n REU \n</csr>")).is_ok());
    let v6 = read(&hello(r#"<minaServerAddress host="[::1]" port="1"/>"#)).expect("brackets");
    assert!(
        matches!(v6.body, Body::Hello(h) if h.server.as_ref().is_some_and(|s| s.host == "::1"))
    );

    let update =
        |w| format!(r#"<added><child id="a" incarnation="1" parent="b" weight="{w}"/></added>"#);
    malformed(&with("childsupdate", &update("0")));
    assert!(read(&with("childsupdate", &update("1"))).is_ok());
    malformed(&with("kill", ""));
    malformed(&with("redirect", "<rank>1</rank><mode>sideways</mode>"));
    let index = |i: u64| {
        with(
            "playpipeline",
            &format!(r#"<pipeid>1</pipeid><layers><layer ssrc="1" from="{i}"/></layers>"#),
        )
    };
    assert!(read(&index((1 << 48) - 1)).is_ok());
    malformed(&index(1 << 48));
}

#[test]
fn pipelines() {
    let def = |tracks: &str| {
        with(
            "pipedef",
            &format!(r#"<pipeline id="1" live="true"><name>s</name>{tracks}</pipeline>"#),
        )
    };
    let track = |codec: &str, layers: &str| {
        format!(r#"<track name="v" codec="{codec}" clockRate="90000">{layers}</track>"#)
    };
    let layer = |ssrc: u32, pt: u8| format!(r#"<layer ssrc="{ssrc}" payloadType="{pt}"/>"#);
    assert!(read(&def(&track("h264", &layer(1, 96)))).is_ok());
    malformed(&def(&track("H264", "")));
    for pt in [64, 72, 95, 128] {
        malformed(&def(&track("H264", &layer(1, pt))));
    }
    let twice = format!("{}{}", track("H264", &layer(1, 96)), track("opus", &layer(1, 111)));
    malformed(&def(&twice));
    malformed(&with("pipedef", r#"<pipeline id="1" live="true"/>"#));
    malformed(&with("pipedef", r#"<pipeline id="1" live="maybe"><name>s</name></pipeline>"#));
    malformed(&def(
        r#"<track name="v" codec="H264" clockRate="0"><layer ssrc="1" payloadType="96"/></track>"#,
    ));
    // A scalability mode of a later version: the layer is as one of which none is known.
    for (name, known) in [("L1T3", true), ("S3T3h", true), ("L1T3_LATER", false), ("", false)] {
        let layer = format!(r#"<layer ssrc="1" payloadType="96" scalability="{name}"/>"#);
        let message = read(&def(&track("VP9", &layer))).expect("a layer");
        let Body::PipeDef(pipe) = message.body else { panic!() };
        let mode = pipe.def.tracks[0].layers[0].scalability;
        assert_eq!(mode.map(|mode| mode.to_string()), known.then(|| name.to_owned()));
    }
    // A codec of a later version: the other tracks are still of use.
    let later = format!("{}{}", track("H267", &layer(1, 96)), track("opus", &layer(2, 111)));
    let Body::PipeDef(read) = read(&def(&later)).expect("one track left").body else { panic!() };
    assert_eq!(read.def.tracks.len(), 1);
    over(&def(&track("H264", &layer(1, 96)).repeat(MAX_TRACKS + 1)), MAX_TRACKS);
    let many: String = (0..=MAX_LAYERS as u32).map(|n| layer(n, 96)).collect();
    over(&def(&track("H264", &many)), MAX_LAYERS);
    let full: String = (0..5u32)
        .map(|t| track("H264", &(0..16).map(|n| layer(t * 16 + n, 96)).collect::<String>()))
        .collect();
    over(&def(&full), MAX_SSRCS);
}

#[test]
fn statistics() {
    let stats = |entry: &str| {
        with(
            "stats",
            &format!(
                "<statsContainers><statsContainer><startTime>1</startTime><endTime>2</endTime>\
                 <numOfChildren>0</numOfChildren><statArray><DBValue>{entry}</DBValue></statArray>\
                 </statsContainer></statsContainers>"
            ),
        )
    };
    let count = |xml: &str| match read(xml).expect(xml).body {
        Body::Stats(containers) => containers[0].stats.len(),
        other => panic!("not STATS: {other:?}"),
    };
    assert_eq!(count(&stats("<name>rtt</name><value> 1e2 </value><weight>3</weight>")), 1);
    // A sketch of a later version is passed over, but a number must be a number.
    assert_eq!(count(&stats("<name>rttsketch</name><value>QUJD</value>")), 0);
    for entry in [
        "<name>rtt</name><value>QUJD</value>",
        "<name>rtt</name><value>NaN</value>",
        "<name>rtt</name><value>inf</value>",
        "<name>rtt</name><value>1e999</value>",
        "<name>later</name><value>-inf</value>",
        "<name>rtt</name><value/>",
        "<name>rtt</name>",
        "<value>1</value>",
        "<name/><value>1</value>",
        "<name>a b</name><value>1</value>",
        "<name>rtt</name><value>1</value><weight>-1</weight>",
        "<name>rtt</name><value>1</value><weight>NaN</weight>",
        "<name>rtt</name><value>1</value><weight>inf</weight>",
    ] {
        malformed(&stats(entry));
    }
    malformed(&with("stats", ""));
    malformed(&with("fullstats", "<endTime>1</endTime>"));
    malformed(&with("reqfullstats", "<pipeid>all</pipeid>"));
}
