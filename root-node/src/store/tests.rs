mod access;
mod memory;

use super::*;
use relay_node::identity::JoinToken;
use soleil_protocol::{PipelineId, Role};

fn at(secs: u64) -> Wall {
    Wall((1_700_000_000 + secs) * 1_000_000)
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    (dir, store)
}

#[test]
fn keys_are_made_once_and_stay() {
    let (dir, store) = store();
    let first = store.keys(at(0)).unwrap();
    let again = Store::open(&dir.path().join("data")).unwrap().keys(at(100)).unwrap();
    assert_eq!(first.authority.fingerprint(), again.authority.fingerprint());
    assert_eq!(first.tickets.public(), again.tickets.public());
}

#[test]
fn a_token_is_good_until_it_expires_or_is_revoked() {
    let (dir, store) = store();
    let token = store.create_token(at(0), Role::Relay, None, "rack 4").unwrap();
    let short = Duration::from_secs(60);
    let leaf = store.create_token(at(1), Role::Leaf, Some(short), "").unwrap();
    // Another process, as the CLI is one, sees and changes the same.
    let other = Store::open(&dir.path().join("data")).unwrap();
    let check = |now, t: &JoinToken| store.check_token(now, &t.id, t.secret());
    assert_eq!(check(at(1_000_000), &token), Ok(Role::Relay));
    assert_eq!(check(at(60), &leaf), Ok(Role::Leaf));
    assert_eq!(check(at(61), &leaf), Err(TokenRefusal::Expired));
    assert_eq!(store.check_token(at(0), &token.id, leaf.secret()), Err(TokenRefusal::Unknown));
    assert_eq!(store.check_token(at(0), "nobody", token.secret()), Err(TokenRefusal::Unknown));
    assert!(store.token_stands(&token.id) && !store.token_stands("nobody"));
    assert!(other.revoke_token(at(5), &token.id).unwrap());
    assert!(!store.token_stands(&token.id));
    assert!(store.token_stands(&leaf.id), "it has only expired");
    assert!(!other.revoke_token(at(6), &token.id).unwrap());
    assert!(!other.revoke_token(at(6), "nobody").unwrap());
    assert_eq!(check(at(5), &token), Err(TokenRefusal::Revoked));
    let listed = store.tokens().unwrap();
    let seen: Vec<_> = listed.iter().map(|t| (t.id.as_str(), t.state(at(100)))).collect();
    assert_eq!(seen, [(leaf.id.as_str(), "expired"), (token.id.as_str(), "revoked")]);
    assert_eq!(listed[1].label, "rack 4");
}

#[test]
fn secrets_of_tokens_are_not_in_the_database() {
    let (dir, store) = store();
    let token = store.create_token(at(0), Role::Leaf, None, "").unwrap();
    let dir = dir.path().join("data");
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let secret = token.secret().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{path:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path:?}");
        }
    }
}

#[test]
fn labels_have_a_limit() {
    let (_dir, store) = store();
    assert!(store.create_token(at(0), Role::Leaf, None, &"x".repeat(MAX_LABEL)).is_ok());
    for bad in ["x".repeat(MAX_LABEL + 1), "a\nb".to_owned()] {
        let refused = store.create_token(at(0), Role::Leaf, None, &bad);
        assert!(matches!(refused, Err(StoreError::Refused(_))));
    }
}

#[test]
fn streams_keep_their_numbers() {
    let (_dir, store) = store();
    assert_eq!(store.stream_id("demo", None).unwrap(), PipelineId(1));
    assert_eq!(store.stream_id("news", None).unwrap(), PipelineId(2));
    assert_eq!(store.stream_id("demo", None).unwrap(), PipelineId(1));
    assert_eq!(store.stream_id("demo", Some(7)).unwrap(), PipelineId(7));
    assert_eq!(store.stream_id("demo", None).unwrap(), PipelineId(7));
    let refused = store.stream_id("news", Some(7)).unwrap_err().to_string();
    assert!(refused.contains("\"demo\""), "{refused}");
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let (dir, store) = store();
    store.lock().execute("INSERT INTO migrations VALUES (999, 'from the future')", []).unwrap();
    let refused = Store::open(&dir.path().join("data"));
    assert!(matches!(refused, Err(StoreError::TooNew(_))));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Store::open(&file).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
    std::fs::write(dir.path().join(FILE), "not a database, but long enough to be one").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Database { .. })));
}

#[test]
fn a_database_of_an_earlier_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    let table =
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT";
    connection.execute(table, []).unwrap();
    // As they were before streams could be defined at run time.
    for (version, (name, sql)) in (1u32..).zip(&migrations::STEPS[..4]) {
        connection.execute_batch(sql).unwrap();
        connection
            .execute("INSERT INTO migrations VALUES (?1, ?2)", params![version, name])
            .unwrap();
    }
    let rows = "INSERT INTO streams VALUES ('demo', 3);
        INSERT INTO layers VALUES (3, 'video', 0, 'H264', 77, 1000);
        INSERT INTO tokens VALUES ('t', 'leaf', zeroblob(32), 'rack 4', 5, NULL, NULL);";
    connection.execute_batch(rows).unwrap();
    drop(connection);
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.stream_id("demo", None).unwrap(), PipelineId(3));
        assert_eq!(store.tokens().unwrap()[0].label, "rack 4");
        assert!(store.api_tokens().unwrap().is_empty());
        assert!(store.defined_streams().unwrap().is_empty());
    }
    let store = Store::open(dir.path()).unwrap();
    let made = store.define_stream(at(0), "news", &definition(), true).unwrap();
    assert_eq!(made, PipelineId(4));
}

fn definition() -> crate::streams::Definition {
    crate::streams::Definition { label: "ü".into(), ..Default::default() }
}

#[test]
fn numbers_of_removed_streams_are_not_given_again() {
    let (dir, store) = store();
    store.stream_id("demo", None).unwrap();
    let news = store.define_stream(at(5), "news", &definition(), false).unwrap();
    assert_eq!(news, PipelineId(2));
    assert!(store.define_stream(at(5), "news", &definition(), false).is_err());
    store.set_started("news", true).unwrap();
    let kept = &store.defined_streams().unwrap()[0];
    assert_eq!((kept.name.as_str(), kept.started, &kept.definition), ("news", true, &definition()));
    assert_eq!(kept.created, at(5).millis());
    store.remove_stream("news").unwrap();
    let again = Store::open(&dir.path().join("data")).unwrap();
    assert!(again.defined_streams().unwrap().is_empty());
    assert_eq!(again.define_stream(at(6), "news", &definition(), false).unwrap(), PipelineId(3));
    assert_eq!(again.change_stream("news", &definition(), false).unwrap(), PipelineId(3));
    assert_eq!(again.change_stream("news", &definition(), true).unwrap(), PipelineId(4));
    assert_eq!(again.stream_id("more", None).unwrap(), PipelineId(5));
}

#[test]
fn a_definition_that_makes_no_sense_is_named() {
    let (_dir, store) = store();
    let row = "INSERT INTO defined_streams VALUES ('news', '{\"label\":1}', 1, 0)";
    store.lock().execute(row, []).unwrap();
    let error = store.defined_streams().unwrap_err().to_string();
    assert!(error.contains("defined_streams, row \"news\""), "{error}");
}
