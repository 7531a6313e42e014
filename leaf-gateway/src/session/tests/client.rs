//! A viewer made of other people's crates (`rtc-stun`, `rtc-dtls`, `rtc-srtp`), sans I/O: the
//! other end of a session in its tests.

use crate::session::dtls::{Fingerprint, sha256};
use crate::session::ice::Credentials;
use crate::session::stun;
use bytes::BytesMut;
use relay_node::clock::Clock;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use soleil_protocol::Mono;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
pub(crate) const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// Id of the transport-wide extension.
pub(crate) const TWCC_EXT: u8 = 5;

/// Where the session is, as the viewer's DTLS sees it.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

fn provider() -> Arc<dyn RTCCryptoProvider> {
    static PROVIDER: OnceLock<Arc<dyn RTCCryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| default_provider().unwrap()).clone()
}

/// One certificate for all tests of a process.
fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let make = || Certificate::generate_self_signed(vec!["v".into()], provider().crypto()).unwrap();
    CERTIFICATE.get_or_init(make).clone()
}

/// SHA-256 of the viewers' certificate.
pub(crate) fn fingerprint() -> Fingerprint {
    sha256(certificate().certificate.first().unwrap())
}

fn config(profiles: &[SrtpProtectionProfile]) -> Arc<HandshakeConfig> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(provider())
        .with_certificates(vec![certificate()])
        .with_srtp_protection_profiles(profiles.to_vec())
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_flight_interval(Duration::from_millis(200))
        .with_insecure_skip_verify(true)
        .build(true, None)
        .unwrap();
    Arc::new(config)
}

/// A check as the controlling side writes it.
pub(crate) fn check(c: &Credentials, tx: u32, nominate: bool, priority: u32) -> Vec<u8> {
    let mut m = Message::new();
    m.set_type(BINDING_REQUEST);
    m.transaction_id.0[..4].copy_from_slice(&tx.to_be_bytes());
    m.write_header();
    m.add(ATTR_USERNAME, format!("{}:{}", c.local_ufrag, c.remote_ufrag).as_bytes());
    m.add(AttrType(0x24), &priority.to_be_bytes());
    m.add(AttrType(0x802a), &[1; 8]);
    if nominate {
        m.add(AttrType(0x25), &[]);
    }
    let provider = provider();
    MessageIntegrity::new_short_term_integrity_with_provider(
        c.local_password.clone(),
        provider.crypto(),
    )
    .add_to(&mut m)
    .unwrap();
    FINGERPRINT.add_to(&mut m).unwrap();
    m.raw
}

/// A media packet that the viewer has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub ssrc: u32,
    pub payload_type: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
    /// Transport-wide number: the last element of its extension block, by its id.
    pub number: Option<u16>,
}

struct Srtp {
    inbound: Context,
    outbound: Context,
}

pub(crate) struct Viewer {
    clock: Clock,
    /// The session's view of them: "local" is the leaf.
    pub credentials: Credentials,
    dtls: Endpoint,
    config: Arc<HandshakeConfig>,
    srtp: Option<Srtp>,
    tx: u32,
    pub profile: Option<SrtpProtectionProfile>,
    pub failed: bool,
    pub closed: bool,
    pub out: Vec<Vec<u8>>,
    pub seen: Vec<Seen>,
    /// Plain RTCP that came, and packets that could not be opened.
    pub rtcp: Vec<Vec<u8>>,
    pub unopened: usize,
}

impl Viewer {
    pub fn new(clock: Clock, credentials: Credentials, profiles: &[SrtpProtectionProfile]) -> Self {
        Self {
            clock,
            credentials,
            dtls: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            config: config(profiles),
            srtp: None,
            tx: 0,
            profile: None,
            failed: false,
            closed: false,
            out: Vec::new(),
            seen: Vec::new(),
            rtcp: Vec::new(),
            unopened: 0,
        }
    }

    /// The next check.
    pub fn check(&mut self, nominate: bool, priority: u32) -> Vec<u8> {
        self.tx += 1;
        check(&self.credentials, self.tx, nominate, priority)
    }

    /// The answer to a check of the session, if `data` is one.
    pub fn answer(&self, data: &[u8]) -> Option<Vec<u8>> {
        let m = stun::parse(data)?;
        let valid = m.kind == stun::Kind::Request && m.verify(&self.credentials.remote_password);
        let mut out = Vec::new();
        stun::success(&mut out, &m.transaction, SERVER, &self.credentials.remote_password);
        valid.then_some(out)
    }

    pub fn start_dtls(&mut self, now: Mono) {
        self.dtls.connect(self.clock.instant(now), SERVER, self.config.clone(), None).unwrap();
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(t) = self.dtls.poll_transmit() {
            self.out.push(t.message.to_vec());
        }
    }

    /// Takes what the session has sent; checks are answered.
    pub fn receive(&mut self, now: Mono, data: &[u8]) {
        match data[0] {
            0..=3 => self.out.extend(self.answer(data)),
            20..=63 => self.dtls_in(now, data),
            _ if (192..=223).contains(&data[1]) => self.rtcp_in(data),
            _ => self.rtp_in(data),
        }
    }

    fn dtls_in(&mut self, now: Mono, data: &[u8]) {
        let at = self.clock.instant(now);
        match self.dtls.read(at, SERVER, None, BytesMut::from(data)) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.keys(),
                        EndpointEvent::PeerClosed => self.closed = true,
                        _ => {}
                    }
                }
            }
            Err(_) => self.failed = true,
        }
        self.flush();
    }

    fn keys(&mut self) {
        let state = self.dtls.get_connection_state(SERVER).unwrap();
        self.profile = Some(state.srtp_protection_profile());
        if self.profile != Some(GCM) {
            return;
        }
        let profile = ProtectionProfile::AeadAes128Gcm;
        let mut config = Config { profile, ..Config::default() };
        let length = config.keying_material_len();
        let material =
            state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], length).unwrap();
        config.set_session_keys_from_keying_material(material.as_ref(), true).unwrap();
        let keys = &config.keys;
        let provider = provider();
        let context = |key: &[u8], salt: &[u8]| {
            Context::new(key, salt, profile, None, None, provider.crypto()).unwrap()
        };
        self.srtp = Some(Srtp {
            inbound: context(&keys.remote_master_key, &keys.remote_master_salt),
            outbound: context(&keys.local_master_key, &keys.local_master_salt),
        });
    }

    fn rtp_in(&mut self, data: &[u8]) {
        let opened = self.srtp.as_mut().and_then(|s| s.inbound.decrypt_rtp(data).ok());
        let Some(plain) = opened else {
            self.unopened += 1;
            return;
        };
        let extension = if plain[0] & 0x10 != 0 {
            4 + 4 * usize::from(u16::from_be_bytes([plain[14], plain[15]]))
        } else {
            0
        };
        let end = 12 + extension;
        let (id, element) = ((TWCC_EXT << 4) | 1, plain.get(end.max(3) - 3..end));
        let element = element.filter(|e| extension > 0 && e[0] == id);
        let number = element.map(|e| u16::from_be_bytes([e[1], e[2]]));
        let word = |at: usize| u32::from_be_bytes(plain[at..at + 4].try_into().unwrap());
        self.seen.push(Seen {
            ssrc: word(8),
            payload_type: plain[1] & 0x7f,
            seq: u16::from_be_bytes([plain[2], plain[3]]),
            timestamp: word(4),
            payload: plain[end..].to_vec(),
            number,
        });
    }

    fn rtcp_in(&mut self, data: &[u8]) {
        match self.srtp.as_mut().and_then(|s| s.inbound.decrypt_rtcp(data).ok()) {
            Some(plain) => self.rtcp.push(plain.to_vec()),
            None => self.unopened += 1,
        }
    }

    /// Seals RTCP; `None` before there are keys.
    pub fn seal(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        Some(self.srtp.as_mut()?.outbound.encrypt_rtcp(plain).unwrap().to_vec())
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        let at = self.dtls.poll_timeout(&SERVER).filter(|_| !self.failed && !self.closed)?;
        let start = self.clock.instant(Mono(0));
        Some(Mono(at.saturating_duration_since(start).as_micros() as u64))
    }

    pub fn handle_timeout(&mut self, now: Mono) {
        if self.dtls.handle_timeout(SERVER, self.clock.instant(now)).is_err() {
            self.failed = true;
        }
        self.flush();
    }

    /// Says goodbye in DTLS.
    pub fn close(&mut self, now: Mono) {
        let _ = self.dtls.stop(self.clock.instant(now), SERVER);
        self.flush();
    }
}

/// A NACK for these numbers (RFC 4585 section 6.2.1).
pub(crate) fn nack(ssrc: u32, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut out = vec![0x81, 205, 0, 2 + fields.len() as u8, 0, 0, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    for (seq, mask) in fields {
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
    out
}

/// A PLI (RFC 4585 section 6.3.1).
pub(crate) fn pli(ssrc: u32) -> Vec<u8> {
    let mut out = vec![0x81, 206, 0, 2, 0, 0, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    out
}

/// A Receiver Report with one block (RFC 3550 section 6.4.2).
pub(crate) fn report(ssrc: u32, fraction_lost: u8, last_sr: u32, delay: u32) -> Vec<u8> {
    let mut out = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[fraction_lost, 0, 0, 9]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&90u32.to_be_bytes());
    out.extend_from_slice(&last_sr.to_be_bytes());
    out.extend_from_slice(&delay.to_be_bytes());
    out
}
