//! Secrets wrapped for one receiver: HPKE in base mode (RFC 9180) with DHKEM(X25519,
//! HKDF-SHA256), HKDF-SHA256 and AES-128-GCM. The context string is HPKE's `info`, so that a
//! secret wrapped for one use cannot be passed off as another's.

use super::IdentityError;
use hpke::aead::AesGcm128;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use soleil_protocol::pipeline::Wrapped;
use zeroize::Zeroizing;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Longest secret that is wrapped or unwrapped, in bytes: the longest in use is 32.
pub const MAX_SECRET: usize = 256;
/// Length of an X25519 public key and of the encapsulated key (RFC 9180 section 7.1).
pub const PUBLIC_LEN: usize = 32;
/// Length of AES-GCM's tag.
const TAG_LEN: usize = 16;

/// The private half: what was wrapped for its public half can be opened. It lives as long as the
/// process: every start of a node makes a new one. The key wipes itself when it is dropped.
#[derive(Clone)]
pub struct WrapKey {
    private: PrivateKey,
    public: PublicKey,
}

impl WrapKey {
    /// A new key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<WrapKey, IdentityError> {
        let seed = Zeroizing::new(super::random::<32>()?);
        let (private, public) = X25519HkdfSha256::derive_keypair(seed.as_slice());
        Ok(WrapKey { private, public })
    }

    /// The public half (32 bytes), as HELLO carries it to the root.
    pub fn public(&self) -> Vec<u8> {
        self.public.to_bytes().to_vec()
    }

    /// Opens what [`wrap`] made for this key under the same context; `None` for anything else.
    pub fn unwrap(&self, context: &str, wrapped: &Wrapped) -> Option<Zeroizing<Vec<u8>>> {
        if wrapped.enc.len() != PUBLIC_LEN || wrapped.sealed.len() > MAX_SECRET + TAG_LEN {
            return None;
        }
        let enc = EncappedKey::from_bytes(&wrapped.enc).ok()?;
        let mut opened = hpke::setup_receiver::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &enc,
            context.as_bytes(),
        )
        .ok()?;
        opened.open(&wrapped.sealed, b"").ok().map(Zeroizing::new)
    }
}

impl std::fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrapKey(..)")
    }
}

/// Wraps a secret for the holder of `receiver` (its X25519 public key).
///
/// # Errors
/// If `receiver` is no X25519 key, or the secret is longer than [`MAX_SECRET`].
pub fn wrap(receiver: &[u8], context: &str, secret: &[u8]) -> Result<Wrapped, IdentityError> {
    if secret.len() > MAX_SECRET {
        return Err(IdentityError::Wrap("the secret is too long".into()));
    }
    let fail = |e: hpke::HpkeError| IdentityError::Wrap(e.to_string());
    let receiver = PublicKey::from_bytes(receiver).map_err(fail)?;
    let (enc, mut seal) = hpke::setup_sender::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &receiver,
        context.as_bytes(),
    )
    .map_err(fail)?;
    let sealed = seal.seal(secret, b"").map_err(fail)?;
    Ok(Wrapped { enc: enc.to_bytes().to_vec(), sealed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receiver_opens_and_only_under_the_context() {
        let key = WrapKey::generate().unwrap();
        let wrapped = wrap(&key.public(), "for a", b"a secret").unwrap();
        assert_eq!(key.unwrap("for a", &wrapped).unwrap().as_slice(), b"a secret");
        assert!(key.unwrap("for b", &wrapped).is_none());
        assert!(WrapKey::generate().unwrap().unwrap("for a", &wrapped).is_none());
    }

    #[test]
    fn changed_or_senseless_bytes_open_nothing() {
        let key = WrapKey::generate().unwrap();
        let good = wrap(&key.public(), "c", b"secret").unwrap();
        for i in 0..good.sealed.len() {
            let mut bad = good.clone();
            bad.sealed[i] ^= 1;
            assert!(key.unwrap("c", &bad).is_none());
        }
        for enc in [vec![], vec![0; 32], vec![1; 31], vec![1; 33]] {
            assert!(key.unwrap("c", &Wrapped { enc, sealed: good.sealed.clone() }).is_none());
        }
        for sealed in [vec![], vec![0; 15], vec![0; 10_000]] {
            assert!(key.unwrap("c", &Wrapped { enc: good.enc.clone(), sealed }).is_none());
        }
    }

    #[test]
    fn a_receiver_without_a_key_is_an_error() {
        assert!(wrap(b"short", "c", b"secret").is_err());
        // The all-zero point has small order: no secret can be agreed with it (RFC 7748, 6.1).
        assert!(wrap(&[0; 32], "c", b"secret").is_err());
        assert!(wrap(&[9; 32], "c", &[0; 257]).is_err());
    }
}
