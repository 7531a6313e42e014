//! STUN for the viewer's side of ICE: connectivity checks to an ICE-lite (or full) server and answers
//! to the server's own checks (RFC 8445 section 7, RFC 7675).

use rtc_dtls::crypto_provider::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE,
    METHOD_BINDING, Message, Setter, TransactionId,
};
use rtc_stun::xoraddr::XorMappedAddress;
use std::net::SocketAddr;

/// Priority of a peer-reflexive candidate found by a check (RFC 8445 section 5.1.2.1).
const PRFLX_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Number of a STUN transaction.
pub type Transaction = [u8; 12];

/// What a STUN message from the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The server checks us.
    Request {
        /// Goes back to it.
        answer: Vec<u8>,
        /// It says that this is the path.
        nominates: bool,
    },
    /// Our request was answered.
    Success(Transaction),
    /// Our request was refused.
    Failure(Transaction),
}

/// Who chooses the path (RFC 8445 section 6.1.1): who has offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We do, with each check.
    Controlling,
    /// The server does.
    Controlled,
}

/// The four secrets of a session.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Our user name fragment.
    pub local_ufrag: String,
    /// Our password.
    pub local_pwd: String,
    /// The server's user name fragment.
    pub remote_ufrag: String,
    /// The server's password.
    pub remote_pwd: String,
}

impl Secrets {
    /// A check, from the controlling side with USE-CANDIDATE; the same one keeps consent alive.
    #[must_use]
    pub fn request(
        &self,
        crypto: &dyn RTCCrypto,
        transaction: Transaction,
        role: Role,
        tie_breaker: u64,
    ) -> Option<Vec<u8>> {
        let mut message = Message::new();
        message.set_type(BINDING_REQUEST);
        message.transaction_id = TransactionId(transaction);
        message.write_header();
        let user = format!("{}:{}", self.remote_ufrag, self.local_ufrag);
        message.add(ATTR_USERNAME, user.as_bytes());
        message.add(ATTR_PRIORITY, &PRFLX_PRIORITY.to_be_bytes());
        match role {
            Role::Controlling => {
                message.add(ATTR_ICE_CONTROLLING, &tie_breaker.to_be_bytes());
                message.add(ATTR_USE_CANDIDATE, &[]);
            }
            Role::Controlled => message.add(ATTR_ICE_CONTROLLED, &tie_breaker.to_be_bytes()),
        }
        sealed(message, &self.remote_pwd, crypto)
    }

    /// Reads a message; `None` if it is none, not meant for us or its integrity is wrong.
    #[must_use]
    pub fn read(&self, crypto: &dyn RTCCrypto, from: SocketAddr, data: &[u8]) -> Option<Incoming> {
        let mut message = Message::new();
        message.unmarshal_binary(data).ok()?;
        if message.typ.method != METHOD_BINDING {
            return None;
        }
        if message.typ.class == CLASS_REQUEST {
            MessageIntegrity::check(&mut message, self.local_pwd.as_bytes(), crypto).ok()?;
            let nominates = message.contains(ATTR_USE_CANDIDATE);
            let mut answer = Message::new();
            answer.set_type(BINDING_SUCCESS);
            answer.transaction_id = message.transaction_id;
            answer.write_header();
            XorMappedAddress { ip: from.ip(), port: from.port() }.add_to(&mut answer).ok()?;
            let answer = sealed(answer, &self.local_pwd, crypto)?;
            return Some(Incoming::Request { answer, nominates });
        }
        let transaction = message.transaction_id.0;
        if message.typ.class == CLASS_SUCCESS_RESPONSE {
            MessageIntegrity::check(&mut message, self.remote_pwd.as_bytes(), crypto).ok()?;
            return Some(Incoming::Success(transaction));
        }
        (message.typ.class == CLASS_ERROR_RESPONSE).then_some(Incoming::Failure(transaction))
    }
}

fn sealed(mut message: Message, pwd: &str, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
    MessageIntegrity::new_raw_integrity_with_provider(pwd.as_bytes(), crypto)
        .add_to(&mut message)
        .ok()?;
    FINGERPRINT.add_to(&mut message).ok()?;
    Some(message.raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(local: &str, remote: &str) -> Secrets {
        Secrets {
            local_ufrag: format!("{local}-user"),
            local_pwd: format!("{local}-password"),
            remote_ufrag: format!("{remote}-user"),
            remote_pwd: format!("{remote}-password"),
        }
    }

    #[test]
    fn two_sides_check_each_other() {
        let provider = rtc_dtls::crypto_provider::default_provider().unwrap();
        let crypto = provider.crypto();
        let from = "127.0.0.1:5000".parse().unwrap();
        let (a, b) = (secrets("a", "b"), secrets("b", "a"));
        let mut request = Vec::new();
        for role in [Role::Controlled, Role::Controlling] {
            request = a.request(crypto, [7; 12], role, 1).unwrap();
            let Some(Incoming::Request { answer, nominates }) = b.read(crypto, from, &request)
            else {
                panic!("no answer");
            };
            assert_eq!(nominates, role == Role::Controlling);
            assert_eq!(a.read(crypto, from, &answer), Some(Incoming::Success([7; 12])));
        }
        let answered = b.read(crypto, from, &request);
        let Some(Incoming::Request { answer, .. }) = answered else { panic!("no answer") };
        // Whoever does not know the password is not heard.
        assert_eq!(secrets("c", "d").read(crypto, from, &request), None);
        assert_eq!(secrets("a", "c").read(crypto, from, &answer), None);
        assert_eq!(a.read(crypto, from, &request[..19]), None);
    }
}
