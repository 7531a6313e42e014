//! DTLS identity of the viewers and their SRTP contexts. The codec is `rtc-srtp`, which shares
//! nothing with the one that the nodes seal with: an independent witness.

use super::{Signalling, SrtpOffer};
use ring::digest::{SHA256, digest};
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use std::sync::Arc;
use std::time::Duration;

/// A flight of the handshake is sent again after this time, seven times at most.
const FLIGHT: Duration = Duration::from_millis(200);
/// The same towards Janus: it needs seconds for a handshake once its core is full.
const FLIGHT_JANUS: Duration = Duration::from_millis(500);

/// One certificate for all viewers of a process: making thousands would cost more than the test.
pub(super) struct Identity {
    pub provider: Arc<dyn RTCCryptoProvider>,
    pub config: Arc<HandshakeConfig>,
    /// SHA-256 as SDP writes it.
    pub fingerprint: String,
}

impl Identity {
    pub fn new(offer: SrtpOffer, signalling: Signalling) -> Result<Self, String> {
        let flight = match signalling {
            Signalling::Whep => FLIGHT,
            Signalling::Janus { .. } => FLIGHT_JANUS,
        };
        let provider = default_provider().map_err(|e| e.to_string())?;
        let certificate =
            Certificate::generate_self_signed(vec!["viewer".to_owned()], provider.crypto())
                .map_err(|e| e.to_string())?;
        let der = certificate.certificate.first().ok_or("no certificate")?;
        let fingerprint = fingerprint(der);
        let profiles = match offer {
            SrtpOffer::Gcm => vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
            SrtpOffer::Cm => vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80],
            // As Chromium: counter mode first.
            SrtpOffer::Both => vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ],
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider.clone())
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(flight)
            // The certificate is checked against the answer's fingerprint instead.
            .with_insecure_skip_verify(true)
            .build(true, None)
            .map_err(|e| e.to_string())?;
        Ok(Self { provider, config: Arc::new(config), fingerprint })
    }
}

fn fingerprint(der: &[u8]) -> String {
    let hash = digest(&SHA256, der);
    hash.as_ref().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Inbound and outbound context of a finished handshake, and the profile's name.
pub(super) fn srtp(
    state: &State,
    expected_fingerprint: &str,
    identity: &Identity,
) -> Result<(Context, Context, &'static str), String> {
    let der = state.peer_certificates.first().ok_or("the server showed no certificate")?;
    if fingerprint(der) != expected_fingerprint {
        return Err("the server's certificate is not the one of its answer".to_owned());
    }
    let (profile, name) = match state.srtp_protection_profile() {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => {
            (ProtectionProfile::AeadAes128Gcm, "AEAD_AES_128_GCM")
        }
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
            (ProtectionProfile::Aes128CmHmacSha1_80, "AES_CM_128_HMAC_SHA1_80")
        }
        other => return Err(format!("SRTP profile {other:?}")),
    };
    let mut config = Config { profile, ..Config::default() };
    let material = state
        .export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], config.keying_material_len())
        .map_err(|e| e.to_string())?;
    config
        .set_session_keys_from_keying_material(material.as_ref(), true)
        .map_err(|e| e.to_string())?;
    let keys = &config.keys;
    let crypto = identity.provider.crypto();
    // Without replay protection: duplicates are to be counted, not hidden.
    let context = |key: &[u8], salt: &[u8]| {
        Context::new(key, salt, profile, None, None, crypto).map_err(|e| e.to_string())
    };
    Ok((
        context(&keys.remote_master_key, &keys.remote_master_salt)?,
        context(&keys.local_master_key, &keys.local_master_salt)?,
        name,
    ))
}
