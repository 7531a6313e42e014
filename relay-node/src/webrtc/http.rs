//! Rules of requests that WHIP and WHEP share: media types, bearer tokens, entity tags, URLs. Nothing of
//! axum's handlers is here.

use axum::http::{HeaderMap, header};

/// The type of offers and answers.
pub const SDP: &str = "application/sdp";
/// The type of fragments: candidates and ICE credentials (RFC 8840 section 9).
pub const TRICKLE: &str = "application/trickle-ice-sdpfrag";

/// Whether the body says that it is of a type; parameters do not count.
pub fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .is_some_and(|v| v.trim().eq_ignore_ascii_case(wanted))
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The tag of an ICE session: our name fragment, which no other has.
pub fn etag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

/// What `If-Match` says of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// There is no such header.
    Missing,
    /// Whichever ICE session it is.
    Any,
    /// The one of this tag.
    This,
    /// Another one.
    Other,
}

impl Matching {
    /// For a session with this tag: `*`, or a list, which may stand in several lines (RFC 9110 sections
    /// 5.3 and 13.1.1; weak tags never match). The examples of RFC 9725 and of the drafts write `"*"`
    /// where they say `*`: both are taken (no tag of ours is `"*"`).
    pub fn of(headers: &HeaderMap, etag: &str) -> Self {
        let lists: Vec<&str> =
            headers.get_all(header::IF_MATCH).iter().map(|v| v.to_str().unwrap_or("")).collect();
        if lists.is_empty() {
            Matching::Missing
        } else if lists.iter().any(|list| matches!(list.trim(), "*" | "\"*\"")) {
            Matching::Any
        } else if lists.iter().flat_map(|list| list.split(',')).any(|tag| tag.trim() == etag) {
            Matching::This
        } else {
            Matching::Other
        }
    }
}

/// The absolute beginning of our URLs: configured, or as the client calls us; `None` without a usable
/// `Host`.
pub fn base(public_url: Option<&str>, https: bool, headers: &HeaderMap) -> Option<String> {
    if let Some(url) = public_url {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let legal = |h: &&str| {
        h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) && !h.is_empty()
    };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).filter(legal)?;
    Some(format!("{}://{host}", if https { "https" } else { "http" }))
}

/// Whether a text has the form of a session's name: so many hexadecimal digits.
pub fn is_name(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(of: &[(HeaderName, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_if_match_names() {
        let cases: [(&[&'static str], Matching); 9] = [
            (&[], Matching::Missing),
            (&["\"a\""], Matching::This),
            (&["\"b\", \"a\""], Matching::This),
            (&["\"b\"", "\"a\""], Matching::This),
            (&["*"], Matching::Any),
            (&["\"*\""], Matching::Any),
            (&["W/\"a\""], Matching::Other),
            (&["a"], Matching::Other),
            (&[""], Matching::Other),
        ];
        for (lines, says) in cases {
            let mut all = HeaderMap::new();
            for line in lines {
                all.append(header::IF_MATCH, HeaderValue::from_static(line));
            }
            assert_eq!(Matching::of(&all, &etag("a")), says, "{lines:?}");
        }
    }

    #[test]
    fn urls_begin_as_configured_or_as_the_client_calls_us() {
        let called = headers(&[(header::HOST, "[2001:db8::1]:8080")]);
        assert_eq!(base(Some("https://a/"), false, &called).as_deref(), Some("https://a"));
        assert_eq!(base(None, true, &called).as_deref(), Some("https://[2001:db8::1]:8080"));
        assert_eq!(base(None, false, &headers(&[(header::HOST, "a b")])), None);
        assert_eq!(base(None, false, &headers(&[])), None);
    }

    #[test]
    fn types_and_tokens_in_either_case() {
        let kind = |text| headers(&[(header::CONTENT_TYPE, text)]);
        assert!(is_type(&kind("Application/SDP; charset=utf-8"), SDP));
        assert!(!is_type(&kind("application/sdpx"), SDP) && !is_type(&headers(&[]), SDP));
        let token = |text| headers(&[(header::AUTHORIZATION, text)]);
        assert_eq!(bearer(&token("bearer north")), Some("north"));
        assert_eq!(bearer(&token("Basic eDp5")), None);
    }
}
