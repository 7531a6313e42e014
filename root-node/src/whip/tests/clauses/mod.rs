//! RFC 9725 clause by clause, over HTTP: each test is named after its section, and `docs/whip.md` lists them
//! all. [`request`] has section 4.1 and the setup of 4.2, [`ice`] 4.3, [`constraints`] 4.4, [`service`] the rest of
//! section 4 and section 5. What needs media is in `peer.rs`.

mod constraints;
mod ice;
mod request;
mod service;
mod table;

use super::*;

/// A fragment with one candidate that is of use, and others.
const CANDIDATE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
    m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
    a=candidate:2 1 tcp 1 fantasy.local 9 typ host tcptype active\r\na=end-of-candidates\r\n";
/// A fragment with new credentials.
const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n\
    m=audio 9 RTP/AVP 0\r\na=mid:0\r\n";
const TRICKLE: &str = "Content-Type: application/trickle-ice-sdpfrag";
const SDP: &str = "Content-Type: application/sdp";

impl Answer {
    /// The lines of a description or fragment that begin so.
    fn lines(&self, beginning: &str) -> Vec<&str> {
        self.body.lines().filter(|l| l.starts_with(beginning)).collect()
    }

    /// When to come again, in seconds.
    fn retry_after(&self) -> u32 {
        self.header("retry-after").parse().expect("Retry-After")
    }
}

/// A session that has begun: its path, and `If-Match` with its tag.
async fn begun(site: &Site) -> (String, String) {
    let answer = site.post(&offer(&[])).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    (answer.session(site), format!("If-Match: {}", answer.header("etag")))
}

/// A session, as soon as the stream is free.
async fn when_free(site: &Site) -> Answer {
    let free = async {
        loop {
            let answer = site.post(&offer(&[])).await;
            if answer.status == 201 {
                return answer;
            }
        }
    };
    tokio::time::timeout(LIMIT, free).await.expect("the stream is free")
}

/// An offer for a stream with a token of ours, whichever.
async fn post(site: &Site, stream: &str, token: &str) -> Answer {
    let token = format!("Authorization: Bearer {token}");
    site.ask("POST", &format!("/whip/{stream}"), &[&token, SDP], &offer(&[])).await
}
