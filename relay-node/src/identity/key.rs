//! Private keys: a node's TLS key (P-256) and the root's ticket key (Ed25519).

use super::IdentityError;
use rcgen::PublicKeyData;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// The name of the file that holds a node's key in its data directory.
pub const KEY_FILE: &str = "node.key";
/// Longest key file that is read: a P-256 key in PKCS #8 takes 138 bytes.
const MAX_KEY_FILE: u64 = 4096;

/// A node's private key (ECDSA P-256), the one that its certificate names.
pub struct NodeKey {
    pair: rcgen::KeyPair,
}

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<NodeKey, IdentityError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|_| IdentityError::Random)?;
        Ok(NodeKey { pair })
    }

    /// Reads a key that [`NodeKey::pkcs8`] wrote.
    ///
    /// # Errors
    /// If it is no P-256 key in PKCS #8.
    pub fn from_pkcs8(der: &[u8]) -> Result<NodeKey, IdentityError> {
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der);
        let pair =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256)
                .map_err(|e| IdentityError::Key(e.to_string()))?;
        Ok(NodeKey { pair })
    }

    /// The key from `dir/node.key`, or a new one that is written there with mode 0600. A node that
    /// keeps its key keeps its name when it comes back.
    ///
    /// # Errors
    /// If the directory or file cannot be read or written, or holds something else.
    pub fn load_or_create(dir: &Path) -> Result<NodeKey, IdentityError> {
        let path = dir.join(KEY_FILE);
        let fail = |what: &str, e: std::io::Error| {
            IdentityError::File(format!("{what} {}: {e}", path.display()))
        };
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_KEY_FILE => {
                Err(IdentityError::File(format!("{} is not a key: too long", path.display())))
            }
            Ok(_) => {
                let bytes =
                    Zeroizing::new(std::fs::read(&path).map_err(|e| fail("cannot read", e))?);
                NodeKey::from_pkcs8(&bytes)
                    .map_err(|e| IdentityError::File(format!("{}: {e}", path.display())))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = NodeKey::generate()?;
                std::fs::create_dir_all(dir).map_err(|e| fail("cannot create", e))?;
                write_private(&path, &key.pkcs8()).map_err(|e| fail("cannot write", e))?;
                Ok(key)
            }
            Err(e) => Err(fail("cannot read", e)),
        }
    }

    /// The key in PKCS #8 (DER).
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.pair.serialized_der().to_vec())
    }

    /// SHA-256 of its SubjectPublicKeyInfo: how tickets name it.
    pub fn hash(&self) -> crate::control::api::KeyHash {
        super::certificate::sha256(&self.pair.subject_public_key_info())
    }

    /// A PKCS #10 request for this key. The root looks at the key and the signature only; the
    /// name is for people who read it.
    ///
    /// # Errors
    /// If signing fails.
    pub fn request(&self, name: &str) -> Result<Vec<u8>, IdentityError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let request =
            params.serialize_request(&self.pair).map_err(|e| IdentityError::Key(e.to_string()))?;
        Ok(request.der().to_vec())
    }

    pub(super) fn pair(&self) -> &rcgen::KeyPair {
        &self.pair
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// Writes a secret for its owner alone, whole or not at all: a temporary file in the same
/// directory, mode 0600 from the start, then renamed.
///
/// # Errors
/// What the file system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// The root's Ed25519 key that signs link tickets and play tickets.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<SigningKey, IdentityError> {
        let document = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
            .map_err(|_| IdentityError::Random)?;
        SigningKey::from_pkcs8(document.as_ref())
    }

    /// Reads a key that [`SigningKey::pkcs8`] wrote.
    ///
    /// # Errors
    /// If it is no Ed25519 key in PKCS #8.
    pub fn from_pkcs8(der: &[u8]) -> Result<SigningKey, IdentityError> {
        let pair =
            Ed25519KeyPair::from_pkcs8(der).map_err(|e| IdentityError::Key(e.to_string()))?;
        Ok(SigningKey { pair, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    /// The key in PKCS #8 (DER).
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key (32 bytes), as every node gets it with its identity.
    pub fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// A signature over a purpose and a message: a ticket for one purpose is none for another.
    pub(super) fn sign(&self, purpose: &[u8], message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&[purpose, message].concat()).as_ref());
        signature
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Checks a signature made by [`SigningKey::sign`].
pub(super) fn verify(public: &[u8], purpose: &[u8], message: &[u8], signature: &[u8]) -> bool {
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public)
        .verify(&[purpose, message].concat(), signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_stays_the_same_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("deep/er");
        let first = NodeKey::load_or_create(&dir).unwrap();
        let second = NodeKey::load_or_create(&dir).unwrap();
        assert_eq!(first.hash(), second.hash());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(KEY_FILE), b"not a key").unwrap();
        let error = NodeKey::load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains(KEY_FILE), "{error}");
        std::fs::write(dir.path().join(KEY_FILE), vec![0; 5000]).unwrap();
        let error = NodeKey::load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }

    #[test]
    fn signatures_are_bound_to_their_purpose() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pkcs8(key.pkcs8()).unwrap();
        let signature = again.sign(b"purpose a", b"message");
        assert!(verify(&key.public(), b"purpose a", b"message", &signature));
        assert!(!verify(&key.public(), b"purpose b", b"message", &signature));
        assert!(!verify(&key.public(), b"purpose a", b"massage", &signature));
        assert!(!verify(b"short", b"purpose a", b"message", &signature));
        assert!(!verify(&key.public(), b"purpose a", b"message", b""));
    }
}
