//! Certificate and key of HTTPS, read again when the files change (certificates of public CAs
//! live 90 days or less). A bad new pair is logged, and the last good one stays.

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::rustls;

/// The two files and what was last read from them.
#[derive(Debug)]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

/// Time of change and length of both files.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl TlsFiles {
    /// Reads both files (PEM).
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load(certificate: &Path, key: &Path) -> Result<TlsFiles, String> {
        let stamp = stamp(certificate, key);
        let config = read(certificate, key)?;
        Ok(TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
            state: Mutex::new(State { stamp, config }),
        })
    }

    /// What new connections use.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// Looks whether the files have changed, and reads them if so.
    pub fn refresh(&self) {
        let stamp = stamp(&self.certificate, &self.key);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp == state.stamp {
            return;
        }
        // Also after a failure: one warning for each change, not one every few seconds.
        state.stamp = stamp;
        match read(&self.certificate, &self.key) {
            Ok(config) => {
                state.config = config;
                tracing::info!(file = %self.certificate.display(), "new TLS certificate in use");
            }
            Err(error) => tracing::warn!(%error, "keeping the last TLS certificate"),
        }
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let named = |path: &Path, what: String| format!("{}: {what}", path.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|e| named(certificate, format!("cannot read a certificate: {e}")))?;
    if chain.is_empty() {
        return Err(named(certificate, "there is no certificate in it".into()));
    }
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| named(key, format!("cannot read a private key: {e}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| named(certificate, format!("certificate and key do not fit: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[test]
    fn new_files_are_used_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        assert!(TlsFiles::load(&cert, &key).unwrap_err().contains("cert.pem"));
        write_pair(dir.path());
        let files = TlsFiles::load(&cert, &key).unwrap();
        let first = files.config();
        files.refresh();
        assert!(Arc::ptr_eq(&first, &files.config()), "nothing has changed");
        std::fs::write(&cert, "not a certificate").unwrap();
        files.refresh();
        assert!(Arc::ptr_eq(&first, &files.config()), "the last good one stays");
        write_pair(dir.path());
        files.refresh();
        assert!(!Arc::ptr_eq(&first, &files.config()));
    }

    #[test]
    fn files_that_are_no_pair_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        write_pair(dir.path());
        let first = [&cert, &key].map(|path| std::fs::read(path).unwrap());
        for pair in [[&key, &key], [&cert, &cert], [&key, &cert]] {
            assert!(TlsFiles::load(pair[0], pair[1]).is_err(), "{pair:?}");
        }
        write_pair(dir.path());
        std::fs::write(&cert, &first[0]).unwrap();
        let error = TlsFiles::load(&cert, &key).unwrap_err();
        assert!(error.contains("do not fit"), "{error}");
        std::fs::write(&key, &first[1]).unwrap();
        assert!(TlsFiles::load(&cert, &key).is_ok());
    }
}
