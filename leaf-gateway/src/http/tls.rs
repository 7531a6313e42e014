//! Certificate and key of HTTPS, read again when the files change. A bad new pair is logged, and
//! the last good one stays.

use rustls::ServerConfig;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The two files and what was read from them.
#[derive(Debug)]
pub struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    state: Mutex<(Stamp, Arc<ServerConfig>)>,
}

/// When each file was changed.
type Stamp = [Option<SystemTime>; 2];

impl TlsFiles {
    /// Reads both files (PEM).
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, String> {
        let state = Mutex::new((stamp(cert, key), read(cert, key)?));
        Ok(Self { cert: cert.into(), key: key.into(), state })
    }

    /// What new connections use.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads the files again if they have changed.
    pub fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.cert, &self.key);
        if stamp == state.0 {
            return;
        }
        // After a failure, too: one warning for each change.
        state.0 = stamp;
        match read(&self.cert, &self.key) {
            Ok(config) => state.1 = config,
            Err(error) => tracing::warn!(%error, "keeping the last TLS certificate"),
        }
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let open = |path: &Path| {
        std::fs::File::open(path)
            .map(BufReader::new)
            .map_err(|e| format!("{}: {e}", path.display()))
    };
    let chain = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("{}: no certificate: {e}", cert.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", cert.display()));
    }
    let private = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|e| format!("{}: no private key: {e}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| format!("{}: {e}", cert.display()))?;
    Ok(Arc::new(config))
}
