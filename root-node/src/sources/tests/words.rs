//! Jobs, reports and lines.

use crate::config::{Secret, SourceKind, SourceSection};
use crate::sources::job::{Input, Job, Make, Report, Target};
use crate::sources::lines::Lines;
use crate::sources::status::{Handling, Problem, TrackStatus};
use std::time::Duration;
use tokio::io::BufReader;

fn section(kind: SourceKind) -> SourceSection {
    SourceSection {
        kind,
        uri: Some("srt://encoder.example:9000".into()),
        listen: None,
        path: None,
        text: None,
        standby: false,
        repeat: false,
        stream_id: None,
        user: Some("me".into()),
        secret: None,
        secret_file: None,
        latency: Duration::from_millis(250),
    }
}

#[test]
fn a_job_goes_through_its_line() {
    let secret = Some(Secret("correct horse".into()));
    let mut listener = section(SourceKind::Srt);
    listener.listen = Some(([0, 0, 0, 0], 9000).into());
    for section in [section(SourceKind::Srt), listener, section(SourceKind::Rtsp)] {
        let input = Input::new(&section, secret.clone());
        assert_eq!(input.secrets(), ["correct horse"]);
        assert!(!input.place().contains("horse") && !input.place().contains('?'));
        let target = Target {
            name: "video".into(),
            make: Make::H264,
            payload_type: 96,
            layers: vec![([127, 0, 0, 1], 5004).into()],
        };
        let job = Job { input, tracks: vec![target], convert: vec![] };
        let line = serde_json::to_string(&job).unwrap();
        assert!(!line.contains('\n'));
        assert!(serde_json::from_str::<Job>(&line).unwrap() == job);
    }
    let Input::Srt { uri, listen, latency_ms, .. } = Input::new(&section(SourceKind::Srt), None)
    else {
        panic!()
    };
    assert_eq!(
        (uri.as_str(), listen, latency_ms),
        ("srt://encoder.example:9000?mode=caller", false, 250)
    );
}

#[test]
fn reports_go_through_their_lines() {
    let track = |handling| TrackStatus { name: "a".into(), input: Some("AAC".into()), handling };
    let converted = Handling::Converted { reason: "AAC".into(), encoder: "opusenc".into() };
    for report in [
        Report::Waiting,
        Report::Flowing { packets: 3 },
        Report::Plan {
            input: vec!["AAC".into()],
            tracks: vec![track(converted), track(Handling::PassedThrough), track(Handling::Absent)],
        },
        Report::Problem(Problem::new("input", "two\nlines")),
        Report::End,
    ] {
        let line = serde_json::to_string(&report).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
    }
}

#[tokio::test]
async fn lines_are_bounded_and_none_is_lost() {
    let text = b"one\n\n1234567890\n12345678901\nlast";
    for piece in [1, 3, 100] {
        let mut lines = Lines::new(BufReader::with_capacity(piece, &text[..]), 10);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        assert_eq!(all, ["one", "", "1234567890", "1234567890 ...", "last"], "by {piece}");
    }
}
