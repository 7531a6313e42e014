//! Loading: what overlays what, and that every error names its place.

use super::sections::{LogSection, MediaSection, NodeSection, RootSection};
use super::*;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    node: NodeSection,
    root: RootSection,
    media: MediaSection,
    log: LogSection,
    http: Http,
    #[serde(rename = "stream")]
    streams: Vec<Stream>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Http {
    workers: u32,
    open: bool,
    tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    cert: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Stream {
    ports: Vec<u16>,
}

fn load_text(text: &str, vars: &[(&str, &str)]) -> Result<Sample, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    let vars = vars.iter().map(|(n, v)| (n.to_string(), v.to_string()));
    load_with(Some(&path), ENV_PREFIX, vars)
        .map_err(|e| e.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn nothing_given_means_defaults() {
    let sample: Sample = load_with(None, ENV_PREFIX, []).unwrap();
    assert_eq!(sample.node.drain_timeout, Duration::from_secs(15));
    assert_eq!(sample.media.listen.port(), 7443);
    assert_eq!(sample.log.level.0, "info");
}

#[test]
fn the_environment_overlays_the_file() {
    let text = "[node]\nname = \"a\"\nregion = \"eu\"\n[http]\nworkers = 2\n";
    let vars = [
        ("SOLEIL_NODE__NAME", "b"),
        ("SOLEIL_NODE__DRAIN_TIMEOUT", "3s"),
        ("SOLEIL_NODE__LABELS", "zone=a, rack=7"),
        ("SOLEIL_MEDIA__ANNOUNCE", "192.0.2.1:1,192.0.2.2:2"),
        ("SOLEIL_HTTP__WORKERS", "4"),
        ("SOLEIL_HTTP__OPEN", "true"),
        ("SOLEIL_HTTP__TLS__CERT", "/etc/cert.pem"),
        // Not ours: no section.
        ("SOLEIL_ROOT_PORT_7443_TCP", "tcp://10.0.0.1:7443"),
        ("OTHER__KEY", "x"),
    ];
    let sample = load_text(text, &vars).unwrap();
    assert_eq!(sample.node.name.unwrap().as_str(), "b");
    assert_eq!(sample.node.region, "eu");
    assert_eq!(sample.node.drain_timeout, Duration::from_secs(3));
    let labels = [("zone", "a"), ("rack", "7")].map(|(n, v)| (n.to_string(), v.to_string()));
    assert_eq!(sample.node.labels, labels);
    assert_eq!(sample.media.announce.len(), 2);
    assert_eq!(sample.http.workers, 4);
    assert!(sample.http.open);
    assert_eq!(sample.http.tls.cert.unwrap(), PathBuf::from("/etc/cert.pem"));
}

#[test]
fn errors_in_the_file_name_file_line_and_key() {
    let error = |text: &str| load_text(text, &[]).unwrap_err();
    let unknown = error("[node]\nname = \"a\"\nnam = \"b\"\n");
    assert!(unknown.starts_with("relay.toml:3: node.nam: unknown field"), "{unknown}");
    let section = error("\n[nod]\nname = \"a\"\n");
    assert!(section.starts_with("relay.toml:2: nod: unknown field"), "{section}");
    let wrong = error("[node]\n\ndrain_timeout = \"soon\"\n");
    assert!(
        wrong.starts_with("relay.toml:3: node.drain_timeout: \"soon\" is no duration"),
        "{wrong}"
    );
    let typed = error("[http]\nworkers = \"many\"\n");
    assert!(typed.starts_with("relay.toml:2: http.workers: invalid type"), "{typed}");
    let name = error("[node]\nname = \"a b\"\n");
    assert!(name.starts_with("relay.toml:2: node.name: a node id has"), "{name}");
    let listed = error("[media]\nannounce = [\n  \"192.0.2.1:1\",\n  \"nowhere\",\n]\n");
    assert!(listed.starts_with("relay.toml:4: media.announce[1]: "), "{listed}");
    let array = error("[[stream]]\nports = [1]\n[[stream]]\nports = [70000]\n");
    assert!(array.starts_with("relay.toml:4: stream[1].ports[0]: "), "{array}");
    let level = error("[log]\nlevel = \"loud=very\"\n");
    assert!(level.starts_with("relay.toml:2: log.level: "), "{level}");
    let format = error("[log]\nformat = \"xml\"\n");
    assert!(format.starts_with("relay.toml:2: log.format: unknown variant"), "{format}");
    let syntax = error("[node\n");
    assert!(syntax.starts_with("relay.toml:1: "), "{syntax}");
    let token = error("[root]\ntoken = \"soleil1.secret\"\n");
    assert!(token.starts_with("relay.toml:2: root.token: not a join token"), "{token}");
    assert!(!token.contains("soleil1.secret"), "{token}");
}

#[test]
fn errors_in_the_environment_name_the_variable() {
    let error = |name: &str, value: &str| load_text("", &[(name, value)]).unwrap_err();
    let wrong = error("SOLEIL_NODE__DRAIN_TIMEOUT", "soon");
    assert!(
        wrong.starts_with("environment variable SOLEIL_NODE__DRAIN_TIMEOUT: \"soon\" is no"),
        "{wrong}"
    );
    for (name, value) in [
        ("SOLEIL_NODE__NAM", "a"),
        ("SOLEIL_NO__NAME", "a"),
        ("SOLEIL_NODE__NAME__MORE", "a"),
        ("SOLEIL___NAME", "a"),
        ("SOLEIL_HTTP__WORKERS", "1\nopen = true"),
        ("SOLEIL_HTTP__WORKERS", ""),
        ("SOLEIL_MEDIA__LISTEN", "7443"),
    ] {
        let error = error(name, value);
        assert!(error.starts_with(&format!("environment variable {name}: ")), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load_with::<Sample>(Some(Path::new("/no/such.toml")), ENV_PREFIX, []).unwrap_err();
    assert!(error.to_string().starts_with("/no/such.toml: "), "{error}");
}

#[test]
fn later_errors_name_the_line_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.toml");
    std::fs::write(&path, "# hello\n[root]\naddress = \"a:1\"\n").unwrap();
    let error = ConfigError::at(Some(&path), "root.address", "is no good").to_string();
    assert!(error.ends_with("relay.toml:3: root.address: is no good"), "{error}");
    let missing = ConfigError::missing("root.token", Some("--token")).to_string();
    assert!(missing.contains("SOLEIL_ROOT__TOKEN or as --token"), "{missing}");
}

#[test]
fn a_token_may_stand_in_a_file_and_must_fit_the_role() {
    use crate::identity::{Fingerprint, JoinToken};
    use soleil_protocol::Role;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let token = JoinToken::generate(Role::Relay, Fingerprint([1; 32])).unwrap();
    std::fs::write(&path, format!("{token}\n")).unwrap();
    let section = RootSection {
        address: Some(values::parse_endpoint("root.example:7443").unwrap()),
        token: None,
        token_file: Some(path.clone()),
    };
    assert_eq!(section.resolve(Role::Relay, None).unwrap().1, token);
    let error = section.resolve(Role::Leaf, None).unwrap_err().to_string();
    assert!(error.contains("this token is for a relay, and this is a leaf"), "{error}");
    std::fs::write(&path, "nonsense").unwrap();
    assert!(section.resolve(Role::Relay, None).is_err());
    let nothing = RootSection { token_file: None, ..section };
    assert!(nothing.resolve(Role::Relay, None).unwrap_err().to_string().contains("--token"));
}
