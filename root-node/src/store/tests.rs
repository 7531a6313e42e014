mod memory;

use super::*;
use relay_node::identity::JoinToken;
use soleil_protocol::Role;

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
