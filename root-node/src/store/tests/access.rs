//! Tokens of operators and publishers.

use super::*;
use crate::store::access::{AccessRefusal, MAX_DEAD, MAX_VALID, Right};

fn publisher(stream: &str) -> Right {
    Right::Publish(stream.to_owned())
}

#[test]
fn a_token_opens_what_it_is_for_until_it_ends() {
    let (dir, store) = store();
    let minute = Some(Duration::from_secs(60));
    let (operator, _) = store.create_api_token(at(0), &Right::Operate, None, "").unwrap();
    let (news, row) = store.create_api_token(at(0), &publisher("news"), minute, "OBS").unwrap();
    let (operator, token) = (operator.to_string(), news.to_string());
    assert_eq!((row.label.as_str(), row.expires), ("OBS", Some(at(60).millis())));
    assert_eq!(store.check_access(at(1_000_000), &operator), Ok(Right::Operate));
    assert_eq!(store.check_access(at(59), &token), Ok(publisher("news")));
    assert_eq!(store.check_publish(at(59), "news", &token), Ok(()));
    assert_eq!(store.check_publish(at(59), "demo", &token), Err(AccessRefusal::Rights));
    assert_eq!(store.check_publish(at(0), "news", &operator), Err(AccessRefusal::Rights));
    assert_eq!(store.check_publish(at(60), "news", &token), Err(AccessRefusal::Expired));
    // Another process, as the CLI is one.
    let other = Store::open(&dir.path().join("data")).unwrap();
    assert!(!other.revoke_api_token(at(1), &news.id, Some("demo")).unwrap(), "not this stream's");
    assert!(other.revoke_api_token(at(1), &news.id, Some("news")).unwrap());
    assert!(!other.revoke_api_token(at(1), &news.id, None).unwrap());
    assert_eq!(store.check_publish(at(2), "news", &token), Err(AccessRefusal::Revoked));
    let listed = store.api_tokens().unwrap();
    let states: Vec<_> = listed.iter().map(|t| (t.right.role(), t.state(at(2)))).collect();
    assert!(states.contains(&("operator", "valid")) && states.contains(&("publisher", "revoked")));
    assert_eq!(store.publish_tokens("news").unwrap().len(), 1);
    assert!(store.publish_tokens("demo").unwrap().is_empty());
}

#[test]
fn a_token_of_one_kind_is_none_of_the_other() {
    let (_dir, store) = store();
    let join = store.create_token(at(0), Role::Leaf, None, "").unwrap();
    assert_eq!(store.check_access(at(0), &join.to_string()), Err(AccessRefusal::Join));
    assert_eq!(store.check_access(at(0), &join.bearer()), Err(AccessRefusal::Unknown));
    let (operator, _) = store.create_api_token(at(0), &Right::Operate, None, "").unwrap();
    let text = operator.to_string();
    let [kind, id, secret] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(store.check_token(at(0), id, secret), Err(TokenRefusal::Unknown));
    assert!(text.parse::<JoinToken>().is_err());
    // Neither is one whose parts are another's.
    let (second, _) = store.create_api_token(at(0), &Right::Operate, None, "").unwrap();
    let swapped = format!("{kind}.{}.{secret}", second.id);
    assert_eq!(store.check_access(at(0), &swapped), Err(AccessRefusal::Unknown));
    // What counts is what is stored, not what the token says of itself.
    let (publisher, _) = store.create_api_token(at(0), &publisher("a"), None, "").unwrap();
    let disguised = publisher.to_string().replace("publisher", "operator");
    assert_eq!(store.check_access(at(0), &disguised), Ok(Right::Publish("a".into())));
    for bad in
        ["", ".", "..", "x", kind, &format!("{kind}.{id}"), &format!("{text}A"), &"a.".repeat(99)]
    {
        assert_eq!(store.check_access(at(0), bad), Err(AccessRefusal::Unknown), "{bad}");
    }
}

#[test]
fn secrets_are_not_kept() {
    let (dir, store) = store();
    let (token, _) = store.create_api_token(at(0), &Right::Operate, None, "").unwrap();
    let text = token.to_string();
    let secret = text.rsplit('.').next().unwrap();
    assert!(!format!("{token:?}").contains(secret));
    for entry in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
}

#[test]
fn tokens_are_bounded() {
    let (_dir, store) = store();
    // Without the disk's part: hundreds of tokens are made.
    store.lock().pragma_update(None, "synchronous", "OFF").unwrap();
    for number in 0..MAX_DEAD + 5 {
        let (token, _) =
            store.create_api_token(at(number.into()), &publisher("a"), None, "").unwrap();
        assert!(store.revoke_api_token(at(1_000), &token.id, None).unwrap());
    }
    for _ in 0..MAX_VALID {
        store.create_api_token(at(2_000), &publisher("a"), None, "").unwrap();
    }
    let refused = store.create_api_token(at(2_000), &publisher("a"), None, "").unwrap_err();
    assert!(refused.to_string().contains("stream a"), "{refused}");
    store.create_api_token(at(2_000), &publisher("b"), None, "").unwrap();
    store.create_api_token(at(2_000), &Right::Operate, None, "").unwrap();
    let kept = store.publish_tokens("a").unwrap();
    assert_eq!(kept.len() as u32, MAX_DEAD + MAX_VALID);
    for label in [&"x".repeat(101), "a\nb"] {
        assert!(store.create_api_token(at(0), &Right::Operate, None, label).is_err());
    }
}
