//! `[stream.source]`, or several `[[stream.source]]`: where the root fetches a stream, or takes it from, by
//! itself (docs/sources.md). It says what may stand there and what has to fit together; nothing is
//! opened here but the file with the secret.

use crate::ingest::choice::{Via, Way};
use relay_node::config::values;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// SRT takes passphrases of this many bytes (SRT draft, section 6.1.4; libsrt's `SRTO_PASSPHRASE`).
const PASSPHRASE: std::ops::RangeInclusive<usize> = 10..=79;
/// A secret in a file is not longer than this.
const MAX_SECRET: usize = 256;
/// Longest `uri`, `user` and `stream_id` (SRT's limit for the last, `SRTO_STREAMID`).
const MAX_TEXT: usize = 512;
/// Sources of one stream: each has a process of its own, which runs all the time.
pub const MAX_SOURCES: usize = 4;
/// Longest text on a slate, in bytes: more can't be read.
const MAX_WORDS: usize = 200;
/// How long late packets are waited for if nothing is said.
pub const DEFAULT_LATENCY: Duration = Duration::from_millis(200);
/// More would be no live broadcast.
const LONGEST_LATENCY: Duration = Duration::from_secs(10);

/// How the broadcast comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// SRT (MPEG-TS inside): the root calls, or listens.
    Srt,
    /// RTSP: the root pulls from a camera or server.
    Rtsp,
    /// RTMP: an encoder pushes to the root.
    Rtmp,
    /// A file on the root's disk, played in real time.
    File,
    /// A still picture or a text, while nothing else is on air.
    Slate,
}

impl SourceKind {
    /// Its name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            SourceKind::Srt => "srt",
            SourceKind::Rtsp => "rtsp",
            SourceKind::Rtmp => "rtmp",
            SourceKind::File => "file",
            SourceKind::Slate => "slate",
        }
    }
}

/// A passphrase, password or stream key: never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// `[stream.source]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// How the broadcast comes.
    pub kind: SourceKind,
    /// SRT (the root calls) and RTSP: where from.
    #[serde(default)]
    pub uri: Option<String>,
    /// SRT: the address at which the root listens.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// File: which one. Slate: a picture (PNG, JPEG).
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Slate: what stands on it.
    #[serde(default)]
    pub text: Option<String>,
    /// It is on air while nobody broadcasts; without this, it comes before broadcasters. A slate is behind
    /// everybody at any rate.
    #[serde(default)]
    pub standby: bool,
    /// File: begin again at its end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// SRT: the id that the root says when it calls.
    #[serde(default)]
    pub stream_id: Option<String>,
    /// RTSP: who asks.
    #[serde(default)]
    pub user: Option<String>,
    /// SRT: the passphrase; RTSP: the password of `user`; RTMP: the stream key.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The secret in a file of its own (its first line).
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// SRT and RTSP: how long to wait for packets that are late or lost; default 200 ms.
    #[serde(default = "latency", deserialize_with = "values::period")]
    pub latency: Duration,
}

fn latency() -> Duration {
    DEFAULT_LATENCY
}

/// One table, or a list of them.
///
/// # Errors
/// What is wrong in them.
pub fn one_or_more<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SourceSection>, D::Error> {
    struct Sources;
    impl<'de> Visitor<'de> for Sources {
        type Value = Vec<SourceSection>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a source, or a list of sources")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            SourceSection::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }
    deserializer.deserialize_any(Sources)
}

/// The ways in which a stream with these sources comes in, the best one first: the sources in their order,
/// broadcasters, the sources that stand by for them, the slate. Without sources there is no choice.
pub fn ways(sources: &[SourceSection]) -> Option<Vec<Way>> {
    let place = |source: &SourceSection| match (source.kind, source.standby) {
        (SourceKind::Slate, _) => 3,
        (_, true) => 2,
        (_, false) => 0,
    };
    let all = sources.iter().enumerate();
    let own = all.map(|(number, source)| {
        let slate = source.kind == SourceKind::Slate;
        (place(source), Way { via: Via::Source(number), slate })
    });
    let broadcaster = (1, Way { via: Via::Broadcaster, slate: false });
    let mut ways: Vec<(u8, Way)> = own.chain([broadcaster]).collect();
    ways.sort_by_key(|(place, _)| *place);
    (!sources.is_empty()).then(|| ways.into_iter().map(|(_, way)| way).collect())
}

/// What must fit together in the sources of one stream.
///
/// # Errors
/// Which one does not, by its number, and by key.
pub fn check_all(sources: &[SourceSection]) -> Result<(), (usize, Wrong)> {
    for (number, source) in sources.iter().enumerate() {
        source.check().map_err(|wrong| (number, wrong))?;
        let earlier = sources.get(..number).unwrap_or_default();
        let fail = |key, what: &str| Err((number, wrong(key, what)));
        if number >= MAX_SOURCES {
            return fail("", &format!("a stream has at most {MAX_SOURCES} sources"));
        }
        let twin = |other: &&SourceSection| other.kind == source.kind;
        for other in earlier.iter().filter(twin) {
            let secret = |of: &SourceSection| of.secret().ok().flatten().map(|s| s.0);
            match source.kind {
                SourceKind::Slate => return fail("kind", "a stream has one slate"),
                SourceKind::Rtmp if secret(other) == secret(source) => {
                    return fail("", "the same stream key twice: it tells which source is meant");
                }
                SourceKind::Srt if source.listen.is_some() && other.listen == source.listen => {
                    return fail("listen", "another source listens there");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What is wrong: the key below `source` (empty: the table itself), and a sentence.
pub type Wrong = (&'static str, String);

fn wrong(key: &'static str, what: impl Into<String>) -> Wrong {
    (key, what.into())
}

impl SourceSection {
    /// The secret, out of the section or its file.
    ///
    /// # Errors
    /// If the file can't be read, or is too long.
    pub fn secret(&self) -> Result<Option<Secret>, Wrong> {
        let Some(path) = &self.secret_file else { return Ok(self.secret.clone()) };
        let at = |what: String| wrong("secret_file", format!("{}: {what}", path.display()));
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SECRET as u64 + 2).read_to_string(&mut text))
            .map_err(|error| at(error.to_string()))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > MAX_SECRET {
            return Err(at(format!("its first line must have 1 to {MAX_SECRET} bytes")));
        }
        Ok(Some(Secret(line.to_owned())))
    }

    /// What must fit together.
    ///
    /// # Errors
    /// What does not, by key.
    pub fn check(&self) -> Result<(), Wrong> {
        if cfg!(not(feature = "gstreamer")) {
            return Err(wrong("kind", "this root-node was built without GStreamer"));
        }
        self.check_keys()?;
        if self.latency > LONGEST_LATENCY {
            return Err(wrong("latency", format!("at most {}s", LONGEST_LATENCY.as_secs())));
        }
        for (key, text) in
            [("uri", &self.uri), ("user", &self.user), ("stream_id", &self.stream_id)]
        {
            let bad = |t: &String| t.len() > MAX_TEXT || t.chars().any(char::is_control);
            if text.as_ref().is_some_and(bad) {
                return Err(wrong(key, format!("at most {MAX_TEXT} bytes, no control characters")));
            }
        }
        let unfit =
            |t: &String| t.len() > MAX_WORDS || t.chars().any(|c| c != '\n' && c.is_control());
        if self.text.as_ref().is_some_and(unfit) {
            return Err(wrong("text", format!("at most {MAX_WORDS} bytes, no control characters")));
        }
        if self.secret.is_some() && self.secret_file.is_some() {
            return Err(wrong("secret_file", "secret is given already: one of the two"));
        }
        let secret = self.secret()?;
        match self.kind {
            SourceKind::Srt => self.check_srt(secret.as_ref()),
            SourceKind::Rtsp => self.check_rtsp(secret.is_some()),
            SourceKind::Rtmp if secret.is_none() => {
                Err(wrong("", "needs secret or secret_file: the stream key that encoders show"))
            }
            SourceKind::File if self.path.is_none() => Err(wrong("", "kind \"file\" needs path")),
            SourceKind::Slate if self.path.is_none() && self.text.is_none() => {
                Err(wrong("", "kind \"slate\" needs path (a picture), text, or both"))
            }
            SourceKind::Rtmp | SourceKind::File | SourceKind::Slate => Ok(()),
        }
    }

    /// Keys that mean nothing for the kind are mistakes.
    fn check_keys(&self) -> Result<(), Wrong> {
        use SourceKind::{File, Rtmp, Rtsp, Slate, Srt};
        let given = [
            ("uri", self.uri.is_some(), &[Srt, Rtsp][..]),
            ("listen", self.listen.is_some(), &[Srt]),
            ("path", self.path.is_some(), &[File, Slate]),
            ("loop", self.repeat, &[File]),
            ("text", self.text.is_some(), &[Slate]),
            ("standby", self.standby, &[Srt, Rtsp, Rtmp, File]),
            ("stream_id", self.stream_id.is_some(), &[Srt]),
            ("user", self.user.is_some(), &[Rtsp]),
            ("secret", self.secret.is_some(), &[Srt, Rtsp, Rtmp]),
            ("secret_file", self.secret_file.is_some(), &[Srt, Rtsp, Rtmp]),
        ];
        let stray = given.iter().find(|(_, is, kinds)| *is && !kinds.contains(&self.kind));
        match stray {
            Some((key, ..)) => {
                Err(wrong(key, format!("means nothing for kind {:?}", self.kind.name())))
            }
            None => Ok(()),
        }
    }

    fn check_srt(&self, secret: Option<&Secret>) -> Result<(), Wrong> {
        if secret.is_some_and(|s| !PASSPHRASE.contains(&s.0.len())) {
            let key = if self.secret.is_some() { "secret" } else { "secret_file" };
            return Err(wrong(key, "an SRT passphrase has 10 to 79 bytes"));
        }
        match (&self.uri, &self.listen) {
            (Some(_), Some(_)) => Err(wrong("listen", "uri is given already: one of the two")),
            (None, None) => {
                Err(wrong("", "kind \"srt\" needs uri (the root calls) or listen (it is called)"))
            }
            (None, Some(_)) if self.stream_id.is_some() => {
                Err(wrong("stream_id", "is said by who calls: it needs uri"))
            }
            (None, Some(_)) => Ok(()),
            (Some(uri), None) => self.srt_peer(uri).map(|_| ()),
        }
    }

    /// Whom the root calls: host and port of `srt://host:port`.
    ///
    /// # Errors
    /// If it has not that form.
    pub fn srt_peer(&self, uri: &str) -> Result<soleil_protocol::message::HostPort, Wrong> {
        let address = uri
            .strip_prefix("srt://")
            .ok_or_else(|| wrong("uri", "must have the form srt://host:port"))?;
        if address.contains('?') {
            let what = "nothing may follow the port: passphrase and id are secret and stream_id";
            return Err(wrong("uri", what));
        }
        values::parse_endpoint(address.trim_end_matches('/')).map_err(|what| wrong("uri", what))
    }

    fn check_rtsp(&self, has_secret: bool) -> Result<(), Wrong> {
        let Some(uri) = &self.uri else {
            return Err(wrong("", "kind \"rtsp\" needs uri"));
        };
        let rest = uri.strip_prefix("rtsp://").or_else(|| uri.strip_prefix("rtsps://"));
        let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
        match host {
            None | Some("") => Err(wrong("uri", "must begin with rtsp:// or rtsps:// and a host")),
            Some(host) if host.contains('@') => {
                Err(wrong("uri", "user and password have keys of their own: user, secret"))
            }
            Some(_) if has_secret != self.user.is_some() => {
                Err(wrong("user", "user and secret go together"))
            }
            Some(_) => Ok(()),
        }
    }
}
