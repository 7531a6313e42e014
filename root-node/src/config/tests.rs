use super::*;
use soleil_protocol::pipeline::Codec;

fn read(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root-node.toml");
    std::fs::write(&path, text).unwrap();
    let mut config: Config = config::load_with(Some(&path), ENV_PREFIX, [])?;
    config.stream.iter_mut().for_each(StreamSection::complete);
    config.check(Some(&path))?;
    config.check_listeners(Some(&path)).map(|()| config)
}

#[test]
fn the_sample_says_what_the_defaults_are() {
    let sample = read(include_str!("../../root-node.toml")).unwrap();
    let default = Config { node: sample.node.clone(), ..Config::default() };
    assert_eq!(format!("{sample:?}"), format!("{default:?}"));
    assert_eq!(sample.stream[0].track[0].spec().clock_rate, 90_000);
}

#[test]
fn streams_are_read() {
    let config = read(
        "[[stream]]\nname = 'news'\nid = 7\n[[stream.track]]\ncodec = 'vp8'\npayload_type = 97\n\
         ports = [6000, 6002]\nbind = '0.0.0.0'\n[[stream.track]]\ncodec = 'OPUS'\n\
         payload_type = 111\nports = [6004]\nname = 'english'\n",
    )
    .unwrap();
    let [video, audio] = &config.stream[0].track[..] else { panic!() };
    assert_eq!((video.spec().name.as_str(), video.spec().layers), ("video", 2));
    assert_eq!((video.codec, audio.codec), (Codec::Vp8, Codec::Opus));
    assert_eq!((audio.spec().name.as_str(), audio.spec().channels), ("english", 2));
}

#[test]
fn what_is_wrong_is_named() {
    let track = "[[stream.track]]\ncodec = 'H264'\npayload_type = 96\nports = [5004]\n";
    let table = [
        ("[http]\nlisten = '0.0.0.0:80'\nspeed = 3\n", "speed"),
        ("[http.tls]\ncert = 'a.pem'\n", "http.tls.key"),
        ("[http.tls]\ncert = 'no.pem'\nkey = 'no.key'\n", "toml:2: http.tls.cert: no.pem"),
        ("[log]\nlevel = 'loud'\n", "toml:2: log.level: \"loud\" is no level"),
        ("[ops]\nlisten = '127.0.0.1:8080'\n", "where http.listen listens already"),
        ("[http]\npublic_url = 'example.org'\n", "http.public_url"),
        ("[certificates]\nlife = '30s'\n", "toml:2: certificates.life: must be between 5m and 24h"),
        ("[certificates]\nlife = '25h'\n", "certificates.life"),
        ("[ingest]\nports = '9-6'\n", "20000-20999"),
        ("[ingest]\nbind = 'home'\n", "ingest.bind"),
        ("[[stream]]\nname = 'a/b'\n", "a/b"),
        ("[[stream]]\nname = '..'\n", "no name"),
        ("[[stream]]\nname = 'a'\n", "1 to 8 tracks"),
        (&format!("[[stream]]\nname = 'a'\n{track}{track}"), "two of this name"),
        (
            &format!("[[stream]]\nname = 'a'\n{track}[[stream]]\nname = 'b'\n{track}"),
            "port 5004 is used twice",
        ),
        (&format!("[[stream]]\nname = 'a'\n{}", track.replace("96", "72")), "payload_type"),
        (&format!("[[stream]]\nname = 'a'\n{}", track.replace("H264", "MPEG")), "MPEG"),
        (&format!("[[stream]]\nname = 'a'\nid = 0\n{track}"), "id 0"),
        ("[webrtc]\nlisten = '0.0.0.0:7443'\n", "where media.listen listens already"),
        ("[webrtc]\nannounce = ['0.0.0.0']\n", "webrtc.announce"),
        ("[webrtc]\nannounce = ['root.example']\n", "names are not resolved"),
        ("[[webrtc.ice_servers]]\nurl = 'http://a'\n", "webrtc.ice_servers"),
        ("[[stream]]\nname = 'a'\npublish_token = 'north'\n", "16 to 256 characters"),
    ];
    for (text, word) in table {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
        assert!(!error.contains("north"), "a secret is shown: {error}");
    }
    // Nor is it where a configuration is shown whole.
    let track = format!("publish_token = 'north-of-the-river'\n{track}");
    let config = read(&format!("[[stream]]\nname = 'a'\n{track}")).unwrap();
    assert!(!format!("{config:?}").contains("north"));
    assert_eq!(config.stream[0].publish_token.as_ref().unwrap().secret(), "north-of-the-river");
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_source_needs_no_tracks_and_what_is_wrong_in_it_is_named() {
    let with = |keys: &str| read(&format!("[[stream]]\nname = 'a'\n[stream.source]\n{keys}\n"));
    let config = with("kind = 'srt'\nlisten = '0.0.0.0:9000'\nsecret = 'correct horse'").unwrap();
    let [video, audio] = &config.stream[0].track[..] else { panic!() };
    assert_eq!((video.codec, &video.ports[..]), (Codec::H264, &[0][..]));
    assert_eq!((audio.codec, &audio.ports[..]), (Codec::Opus, &[0][..]));
    assert!(!format!("{config:?}").contains("horse"), "the secret is shown");
    for good in [
        "kind = 'srt'\nuri = 'srt://encoder.example:9000'\nstream_id = 'x'",
        "kind = 'rtsp'\nuri = 'rtsp://camera/1'\nuser = 'u'\nsecret = 'p'",
        "kind = 'file'\npath = 'clip.mp4'\nloop = true",
        "kind = 'rtmp'\nsecret = 'key'",
    ] {
        assert!(with(good).is_ok(), "{good}: {:?}", with(good));
    }
    let table = [
        ("kind = 'srt'", "toml:3: stream[0].source: "),
        ("kind = 'carrier pigeon'", "carrier pigeon"),
        (
            "kind = 'srt'\nuri = 'srt://h:1'\nlisten = '0.0.0.0:1'",
            "toml:6: stream[0].source.listen",
        ),
        ("kind = 'srt'\nuri = 'http://h:1'", "toml:5: stream[0].source.uri: must have the form"),
        ("kind = 'srt'\nuri = 'srt://h:1?passphrase=x'", "source.uri: nothing may follow"),
        (
            "kind = 'srt'\nlisten = '0.0.0.0:1'\nsecret = 'short'",
            "source.secret: an SRT passphrase",
        ),
        (
            "kind = 'srt'\nlisten = '0.0.0.0:1'\nsecret_file = '/nowhere'",
            "secret_file: /nowhere: No",
        ),
        ("kind = 'srt'\nlisten = '0.0.0.0:1'\nlatency = '11s'", "source.latency: at most 10s"),
        ("kind = 'rtsp'\nuri = 'rtsp://u:p@camera/'", "source.uri: user and password"),
        ("kind = 'rtsp'\nuri = 'rtsp://camera/'\nuser = 'u'", "source.user: user and secret"),
        ("kind = 'file'\nuri = 'file:///a'", "source.uri: means nothing for kind \"file\""),
        ("kind = 'file'\nloop = true", "needs path"),
        ("kind = 'rtmp'", "needs secret"),
    ];
    for (keys, word) in table {
        let error = with(keys).unwrap_err().to_string();
        assert!(error.contains(word), "{keys}: {error}");
    }
    assert_eq!(config.stream[0].source.len(), 1);
    let track = |more: &str| {
        let head = "[[stream]]\nname = 'a'\nsource = { kind = 'file', path = 'a' }\n";
        read(&format!("{head}[[stream.track]]\npayload_type = 96\n{more}\n"))
    };
    assert!(track("codec = 'VP8'").is_ok());
    for (more, word) in [("codec = 'AV1'", "makes H264"), ("codec = 'VP8'\nports = [1, 3]", "one")]
    {
        let error = track(more).unwrap_err().to_string();
        assert!(error.contains(word), "{more}: {error}");
    }
    let none = "[[stream]]\nname = 'a'\n[[stream.track]]\ncodec = 'VP8'\npayload_type = 96\n";
    for ports in ["", "ports = [0]"] {
        assert!(read(&format!("{none}{ports}")).is_err(), "{ports}");
    }
}

#[cfg(not(feature = "gstreamer"))]
#[test]
fn without_gstreamer_a_source_is_refused() {
    let source = "[[stream]]\nname = 'a'\n[stream.source]\nkind = 'file'\npath = 'a'\n";
    let error = read(source).unwrap_err().to_string();
    assert!(error.contains("toml:4: stream[0].source.kind: this root-node was built"), "{error}");
}

#[test]
fn a_drawing_is_read_and_what_is_wrong_in_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("drawing.xml");
    let with = |xml: &str, more: &str| {
        std::fs::write(&file, xml).unwrap();
        read(&format!("{more}[tree]\ndrawing = '{}'\n", file.display()))
    };
    let nodes = "<node id='root' role='root'/>\n<node id='a' role='relay'/>\n";
    let config =
        with(&format!("<topology>\n{nodes}<link a='root' b='a'/></topology>"), "").unwrap();
    let (_, drawn) = config.tree.load(config.name()).unwrap().unwrap();
    assert_eq!(drawn.remarks()[0], "node a is left out of the drawing: it leads to no leaf");
    let table = [
        ("<topology>\n<node id='a' role='king'/>\n</topology>", "xml: line 2: node: role"),
        ("<topology>\n\n<link a='root'/>\n</topology>", "xml: line 3: link: b"),
        ("<topology>\n</topologie>", "xml: line 2: "),
        ("<topology/>", "xml: the drawing has no root"),
        (
            "<topology><node id='main' role='root'/></topology>",
            "its root is main, and this one is root",
        ),
    ];
    for (xml, word) in table {
        let error = with(xml, "").unwrap_err().to_string();
        assert!(error.contains("toml:2: tree.drawing: ") && error.contains(word), "{xml}: {error}");
    }
    let other = "<topology><node id='main' role='root'/></topology>";
    assert!(with(other, "[node]\nname = 'main'\n").is_ok());
    std::fs::remove_file(&file).unwrap();
    let gone = read(&format!("[tree]\ndrawing = '{}'\n", file.display())).unwrap_err();
    assert!(gone.to_string().contains("No such file"), "{gone}");
}

#[test]
fn the_data_directory_is_where_the_system_keeps_such_things() {
    let env = |set: &'static [(&'static str, &'static str)]| {
        move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v))
    };
    let dir = |configured: Option<&str>, set, superuser| {
        default_data_dir(configured.map(Path::new), env(set), superuser).display().to_string()
    };
    let systemd: &[_] = &[("STATE_DIRECTORY", "/var/lib/private/x"), ("HOME", "/home/a")];
    assert_eq!(dir(Some("here"), systemd, true), "here");
    assert_eq!(dir(None, systemd, true), "/var/lib/private/x");
    assert_eq!(dir(None, &[("HOME", "/home/a")], true), "/var/lib/soleil");
    assert_eq!(dir(None, &[("HOME", "/home/a")], false), "/home/a/.local/state/soleil");
    assert_eq!(dir(None, &[("XDG_STATE_HOME", "/s"), ("HOME", "/h")], false), "/s/soleil");
    assert_eq!(dir(None, &[], false), "soleil-data");
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_ladder_is_the_pictures_and_what_is_wrong_in_it_is_named() {
    let with = |cores: f64, ladder: &str, tracks: &str| {
        read(&format!(
            "[ingest]\ncores = {cores}\n[[stream]]\nname = 'a'\nladder = {ladder}\n{tracks}"
        ))
    };
    let track = |codec: &str, ports: &str| {
        format!("[[stream.track]]\ncodec = '{codec}'\npayload_type = 96\nports = [{ports}]\n")
    };
    let h264 = track("H264", "5004");
    let config = with(8.0, "['720p', '360p@600k']", &h264).unwrap();
    let spec = config.stream[0].track[0].spec();
    assert_eq!((spec.layers, spec.made), (1, 2));
    let names = |config: &Config| -> Vec<String> {
        config.stream[0].track[0].ladder.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&config), ["720p", "360p@600k"]);
    assert_eq!(names(&with(8.0, "'default'", &h264).unwrap()), ["1080p", "720p", "360p"]);
    assert_eq!(names(&with(0.0, "[]", &h264).unwrap()), Vec::<String>::new());
    let opus = "[[stream.track]]\ncodec = 'opus'\npayload_type = 111\nports = [5006]\n";
    for (cores, ladder, tracks, word) in [
        (8.0, "['360p', '720p']", h264.clone(), "go down"),
        (8.0, "['360p', '360p']", h264.clone(), "go down"),
        (8.0, "['720p', '480p', '360p', '180p']", h264.clone(), "at most 3 rungs"),
        (8.0, "['720']", h264.clone(), "is no rung"),
        (8.0, "'some'", h264.clone(), "\"default\""),
        (8.0, "['360p']", track("H264", "5004, 5008"), "several"),
        (8.0, "['360p']", track("VP9", "5004"), "H264 or VP8"),
        (8.0, "['360p']", opus.into(), "it has none"),
        (0.9, "'default'", h264.clone(), "[\"360p\"] would fit"),
        (0.0, "['360p']", h264.clone(), "stream[0].ladder"),
        (-1.0, "['360p']", h264.clone(), "processor cores"),
    ] {
        let error = with(cores, ladder, &tracks).unwrap_err().to_string();
        assert!(error.contains(word), "{ladder} with {cores}: {error}");
    }
    // What one stream takes, another one has not.
    let two = |cores: f64| {
        let stream = |name: &str, port: u16| {
            format!(
                "[[stream]]\nname = '{name}'\nladder = ['360p']\n{}",
                track("H264", &port.to_string())
            )
        };
        read(&format!("[ingest]\ncores = {cores}\n{}{}", stream("a", 5004), stream("b", 5008)))
    };
    assert!(two(1.3).is_ok());
    assert!(two(1.0).unwrap_err().to_string().contains("stream[1].ladder"));
}

#[cfg(feature = "gstreamer")]
#[test]
fn sources_are_in_order_of_preference_and_what_is_wrong_in_one_is_named() {
    use crate::ingest::choice::Via;
    let with = |sources: &[&str]| {
        let all = sources.iter().map(|keys| format!("[[stream.source]]\n{keys}\n"));
        read(&format!("[[stream]]\nname = 'a'\n{}", all.collect::<String>()))
    };
    let (srt, file) = ("kind = 'srt'\nlisten = '0.0.0.0:9000'", "kind = 'file'\npath = 'a'");
    let standby = "kind = 'file'\npath = 'b'\nloop = true\nstandby = true";
    let slate = "kind = 'slate'\ntext = 'Back soon'\npath = 'a.png'";
    let config = with(&[slate, srt, standby, file]).unwrap();
    let order: Vec<Via> = ways(&config.stream[0].source).unwrap().iter().map(|w| w.via).collect();
    let number = Via::Source;
    assert_eq!(order, [number(1), number(3), Via::Broadcaster, number(2), number(0)]);
    let slates = ways(&config.stream[0].source).unwrap().iter().filter(|w| w.slate).count();
    assert_eq!((slates, ways(&[])), (1, None));
    let key = |secret: &str| format!("kind = 'rtmp'\nsecret = '{secret}'");
    assert!(with(&[&key("north"), &key("south")]).is_ok());
    for (sources, word) in [
        (&[srt, "kind = 'file'"][..], "toml:6: stream[0].source[1]: kind \"file\" needs path"),
        (&["kind = 'slate'"], "toml:3: stream[0].source[0]: kind \"slate\" needs path"),
        (&[slate, slate], "source[1].kind: a stream has one slate"),
        (&[srt, srt], "source[1].listen: another source listens there"),
        (&[&key("north"), &key("north")], "same stream key"),
        (&["kind = 'slate'\ntext = 'a'\nstandby = true"], "standby: means nothing"),
        (&["kind = 'file'\npath = 'a'\ntext = 'a'"], "text: means nothing"),
        (&[file, file, file, file, file], "at most 4 sources"),
        (&["kind = 'file'\npath = 'a'\nstandby = 1"], "standby"),
    ] {
        let error = with(sources).unwrap_err().to_string();
        assert!(error.contains(word), "{sources:?}: {error}");
        assert!(!error.contains("north"), "a secret is shown: {error}");
    }
    let long = format!("kind = 'slate'\ntext = '{}'", "x".repeat(201));
    assert!(with(&[&long]).unwrap_err().to_string().contains("text: at most 200 bytes"));
    // Who stands by for a broadcaster with several layers makes the best one.
    let layers = |standby: bool| {
        let head = "[[stream]]\nname = 'a'\n[[stream.track]]\ncodec = 'VP8'\npayload_type = 96\n";
        let source = format!("{file}\nstandby = {standby}\n");
        read(&format!("{head}ports = [6000, 6002]\n[[stream.source]]\n{source}"))
    };
    assert!(layers(true).is_ok());
    assert!(layers(false).unwrap_err().to_string().contains("one layer"));
}
