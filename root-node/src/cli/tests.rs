use super::*;

fn at(secs: u64) -> Wall {
    Wall((1_700_000_000 + secs) * 1_000_000)
}

fn command(args: &[&str]) -> Result<TokenCommand, clap::Error> {
    let all = ["root-node", "token"].iter().chain(args);
    match Cli::try_parse_from(all)?.command {
        Some(Command::Token(command)) => Ok(command),
        _ => panic!("no command for tokens"),
    }
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let does = |now, args: &[&str]| {
        token(&store, at(now), &["demo"], &command(args).unwrap()).map_err(|e| e.to_string())
    };
    assert!(does(0, &["list"]).unwrap().contains("token create"));
    let made = does(0, &["create", "--role", "leaf", "--ttl", "24h", "--label", "rack 4"]).unwrap();
    let parsed: relay_node::identity::JoinToken = made.parse().unwrap();
    assert_eq!(parsed.role, Role::Leaf);
    let listed = does(60, &["list"]).unwrap();
    assert!(listed.contains(&parsed.id) && listed.contains("23h 59m"), "{listed}");
    assert!(listed.contains("rack 4") && !listed.contains(parsed.secret()), "{listed}");
    assert!(does(60, &["revoke", &parsed.id]).unwrap().contains("revoked"));
    assert!(does(60, &["revoke", &parsed.id]).is_err());
    assert!(does(60, &["list"]).unwrap().contains("revoked"));
}

#[test]
fn tokens_of_people_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let does = |args: &[&str]| {
        token(&store, at(0), &["demo"], &command(args).unwrap()).map_err(|e| e.to_string())
    };
    let operator = does(&["create", "--role", "operator", "--ttl", "7d"]).unwrap();
    assert_eq!(store.check_access(at(1), &operator), Ok(Right::Operate));
    let publisher = does(&["create", "--role", "publisher", "--stream", "demo"]).unwrap();
    assert_eq!(store.check_publish(at(1), "demo", &publisher), Ok(()));
    let listed = does(&["list"]).unwrap();
    for word in ["operator ", "publisher ", "demo", "7d 0h"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    assert!(!listed.contains(&parts(&operator)[2]), "no secret is listed");
    assert!(does(&["revoke", &parts(&publisher)[1]]).unwrap().contains("revoked"));
    assert!(store.check_publish(at(1), "demo", &publisher).is_err());
    let unknown = does(&["create", "--role", "publisher", "--stream", "dmeo"]).unwrap_err();
    assert!(unknown.contains("no stream of this name"), "{unknown}");
    assert!(does(&["create", "--role", "leaf", "--stream", "demo"]).is_err());
    assert!(command(&["create", "--role", "publisher"]).is_err(), "which stream?");
}

#[test]
fn wrong_usage_is_refused() {
    for bad in [
        &["create"][..],
        &["create", "--role", "root"],
        &["create", "--role", "leaf", "--ttl", "soon"],
        &["revoke"],
        &["lose"],
    ] {
        assert!(command(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn flags_go_over_the_file_and_may_follow_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.toml");
    std::fs::write(&path, "[http]\nlisten = \"127.0.0.1:1\"\n[node]\ndata_dir = \"a\"\n").unwrap();
    let path = path.display().to_string();
    let cli = Cli::parse_from(["root-node", "--http", "127.0.0.1:2", "--config", &path]);
    assert_eq!(cli.load().unwrap().http.listen.port(), 2);
    let args = ["root-node", "token", "list", "--config", &path, "--data-dir", "b"];
    let config = Cli::parse_from(args).load().unwrap();
    assert_eq!((config.http.listen.port(), config.data_dir()), (1, "b".into()));
}

#[test]
fn help_teaches() {
    let help = Cli::try_parse_from(["root-node", "--help"]).unwrap_err().to_string();
    for word in ["Examples:", "token create", "--check", "SOLEIL_HTTP__LISTEN", "Exit codes"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn a_token_that_never_lives_is_refused() {
    for (ttl, good) in [("1s", true), ("7d", true), ("0s", false), ("999ms", false), ("x", false)] {
        let args = ["root-node", "token", "create", "--role", "relay", "--ttl", ttl];
        assert_eq!(Cli::try_parse_from(args).is_ok(), good, "{ttl}");
    }
}
