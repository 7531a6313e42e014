//! Secrets that the root has to know in clear to use them: passphrases and passwords of sources that were
//! defined over the API. They are sealed (AES-256-GCM, RFC 5116) with a key that is in another table, so
//! that a definition can be shown, logged or copied without them. It is no protection against
//! whoever has the whole database: that has the CA's key, too.

use super::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{OptionalExtension, params};
use zeroize::Zeroizing;

/// The key's name in the table of secrets.
const KEY: &str = "source_key";
const KEY_LEN: usize = 32;

impl Store {
    /// Seals a secret that belongs to `owner`; in the hands of another one it can't be opened.
    ///
    /// # Errors
    /// If the store can't be used, or the system gives no randomness.
    pub fn seal(&self, owner: &str, secret: &str) -> Result<String, StoreError> {
        let key = self.source_key()?;
        // By chance: 2^32 secrets may be sealed with one key (NIST SP 800-38D section 8.3).
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| no_randomness())?;
        let mut sealed = secret.as_bytes().to_vec();
        let (aad, once) = (Aad::from(owner), Nonce::assume_unique_for_key(nonce));
        key.seal_in_place_append_tag(once, aad, &mut sealed)
            .map_err(|_| StoreError::Refused("the secret is too long to be sealed".to_owned()))?;
        Ok(STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for `owner`.
    ///
    /// # Errors
    /// If the store can't be used, or this was not sealed here for him.
    pub fn unseal(&self, owner: &str, sealed: &str) -> Result<Zeroizing<String>, StoreError> {
        let key = self.source_key()?;
        let damaged = || self.damaged(format!("a secret of stream {owner:?} can't be opened"));
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| damaged())?;
        let (nonce, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let once = Nonce::assume_unique_for_key(*nonce);
        let opened = key.open_in_place(once, Aad::from(owner), &mut rest).map_err(|_| damaged())?;
        let text = std::str::from_utf8(opened).map_err(|_| damaged())?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// The key; made at the first call ever.
    fn source_key(&self) -> Result<LessSafeKey, StoreError> {
        let mut connection = self.lock();
        let transaction = self.begin(&mut connection)?;
        let known: Option<Vec<u8>> = transaction
            .query_row("SELECT value FROM secrets WHERE name = ?1", [KEY], |row| row.get(0))
            .optional()
            .map_err(|e| self.fail(e))?;
        let key = match known {
            Some(key) => Zeroizing::new(key),
            None => {
                let mut key = Zeroizing::new(vec![0; KEY_LEN]);
                SystemRandom::new().fill(&mut key).map_err(|_| no_randomness())?;
                transaction
                    .execute(
                        "INSERT INTO secrets (name, value) VALUES (?1, ?2)",
                        params![KEY, key.as_slice()],
                    )
                    .map_err(|e| self.fail(e))?;
                key
            }
        };
        transaction.commit().map_err(|e| self.fail(e))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| {
            self.damaged(format!("table secrets, row {KEY:?}: it must have {KEY_LEN} bytes"))
        })?;
        Ok(LessSafeKey::new(key))
    }
}

fn no_randomness() -> StoreError {
    StoreError::Refused("the system gives no randomness".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_opened_by_its_owner_only_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let sealed = store.seal("news", "correct horse").unwrap();
        assert_ne!(store.seal("news", "correct horse").unwrap(), sealed, "a nonce twice");
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.unseal("news", &sealed).unwrap().as_str(), "correct horse");
        assert!(store.unseal("sport", &sealed).is_err());
        let mut other = sealed.clone().into_bytes();
        other[20] ^= 1;
        for bad in ["", "a", "AAAA", &String::from_utf8_lossy(&other)] {
            let error = store.unseal("news", bad).unwrap_err().to_string();
            assert!(error.contains("news") && !error.contains("horse"), "{bad}: {error}");
        }
    }
}
