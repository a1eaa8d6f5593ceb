//! Secrets: sealed where they are stored, redacted where they are printed.

use crate::{Db, StoreError, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::UnixMs;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::sync::Arc;

/// Prefix of a sealed text.
const PREFIX: &str = "enc:v1:";
/// Purpose of a channel's key.
pub const CHANNEL_KEY: &str = "channels.key";
/// Purpose of a user's key.
pub const TOKEN_KEY: &str = "tokens.key_sealed";
/// Purpose of a stored reply.
pub const REPLY: &str = "idempotency.reply_sealed";
/// Purpose of what an upstream replied about a thing that a call made.
pub const RESOURCE: &str = "resources.reply_sealed";
/// Purpose of what an upstream reported about a task.
pub const TASK_DATA: &str = "tasks.data";
/// Purpose of a submission that may have to be repeated.
pub const TASK_REQUEST: &str = "tasks.request_sealed";
/// Purpose of the address that is notified of a task's end.
pub const WEBHOOK_URL: &str = "tasks.webhook_url_sealed";
/// Purpose of the secret that signs webhooks.
pub const WEBHOOK_SECRET: &str = "webhook_endpoints.secret_sealed";
const CHECK: &str = "options.secret_check";
const CHECK_TEXT: &[u8] = b"newapi";

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Not for logs, errors, or replies.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Why a text can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not `enc:v1:` and base64.
    #[error("is not a sealed text")]
    Malformed,
    /// Sealed with another SECRET_KEY, for another purpose, or altered.
    #[error("was sealed with another SECRET_KEY, or altered")]
    Refused,
    /// The system has no randomness.
    #[error("no randomness")]
    Random,
}

/// Seals and opens with a key derived from `SECRET_KEY`.
#[derive(Clone)]
pub struct Sealer {
    key: Arc<LessSafeKey>,
    random: SystemRandom,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// Derives the key from a secret of any length.
    ///
    /// # Panics
    /// Never: HKDF can derive the requested length.
    #[must_use]
    #[expect(clippy::expect_used, reason = "32 bytes are within what HKDF-SHA256 can give")]
    pub fn new(secret: &[u8]) -> Self {
        let extracted = Salt::new(HKDF_SHA256, b"newapi seal v1").extract(secret);
        let derived = extracted.expand(&[b"aes-256-gcm"], &AES_256_GCM).expect("32 bytes");
        Self {
            key: Arc::new(LessSafeKey::new(UnboundKey::from(derived))),
            random: SystemRandom::new(),
        }
    }

    /// Seals for one purpose. A text sealed for another can't be put in its place.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let aad = Aad::from(purpose.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, aad, &mut sealed[NONCE_LEN..])
            .map_err(|_| SealError::Random)?;
        sealed.extend_from_slice(tag.as_ref());
        let mut text = PREFIX.to_owned();
        STANDARD.encode_string(&sealed, &mut text);
        Ok(text)
    }

    /// Opens what was sealed for this purpose.
    ///
    /// # Errors
    /// When it is not a sealed text, or was not sealed by this key for this purpose.
    pub fn open(&self, purpose: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SealError::Malformed)?;
        let mut sealed = STANDARD.decode(encoded).map_err(|_| SealError::Malformed)?;
        let nonce = sealed.get(..NONCE_LEN).ok_or(SealError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let aad = Aad::from(purpose.as_bytes());
        // In place, for it may be large. What was opened is moved to the front.
        let plain = self
            .key
            .open_within(nonce, aad, &mut sealed, NONCE_LEN..)
            .map_err(|_| SealError::Refused)?;
        let length = plain.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    /// As [`Self::open`], for text.
    ///
    /// # Errors
    /// As [`Self::open`]; [`SealError::Malformed`] when it isn't text.
    pub fn open_text(&self, purpose: &str, text: &str) -> Result<Secret, SealError> {
        let plain = self.open(purpose, text)?;
        String::from_utf8(plain).map(Secret::from).map_err(|_| SealError::Malformed)
    }

    /// Whether a text looks sealed.
    #[must_use]
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

/// The stored form of a user's key, or of an access token.
#[must_use]
pub fn key_hash(key: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    hash
}

/// The ends of a key, by which keys are recognised: `sk-ab…yz12`. A short one shows nothing.
#[must_use]
pub fn key_hint(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    if chars.len() < 24 {
        return "…".to_owned();
    }
    let head: String = chars[..5].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    format!("{head}…{tail}")
}

/// Ensures that `SECRET_KEY` is the one this database was written with; the first process to check
/// sets it.
///
/// # Errors
/// [`StoreError::WrongSecret`], or any error of the database.
pub async fn verify_secret(db: &Db, sealer: &Sealer, now: UnixMs) -> Result<(), StoreError> {
    const SELECT: &str = "SELECT value FROM options WHERE key = 'secret_check'";
    let mut rows = db.read(SELECT, &[]).await?;
    if rows.is_empty() {
        let sealed =
            sealer.seal(CHECK, CHECK_TEXT).map_err(|e| StoreError::Other(e.to_string()))?;
        let json = serde_json::Value::String(sealed);
        db.execute(
            "INSERT INTO options (key, value, updated_at) VALUES ('secret_check', $1, $2)
             ON CONFLICT (key) DO NOTHING",
            &[Value::from(json), Value::from(now)],
        )
        .await?;
        rows = db.read(SELECT, &[]).await?;
    }
    let row = rows.first().ok_or(StoreError::WrongSecret)?;
    let stored: serde_json::Value = row.get("value")?;
    let opened = stored.as_str().and_then(|text| sealer.open(CHECK, text).ok());
    if opened.as_deref() == Some(CHECK_TEXT) { Ok(()) } else { Err(StoreError::WrongSecret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open() {
        let sealer = Sealer::new(b"secret");
        let text = sealer.seal(CHANNEL_KEY, b"up-key").unwrap();
        assert!(Sealer::is_sealed(&text) && !text.contains("up-key"));
        assert_ne!(text, sealer.seal(CHANNEL_KEY, b"up-key").unwrap());
        assert_eq!(sealer.open_text(CHANNEL_KEY, &text).unwrap().expose(), "up-key");
        assert_eq!(sealer.open(TOKEN_KEY, &text), Err(SealError::Refused));
        assert_eq!(Sealer::new(b"other").open(CHANNEL_KEY, &text), Err(SealError::Refused));
        for bad in ["up-key", "enc:v1:", "enc:v1:AAAA", "enc:v1:***"] {
            assert_eq!(sealer.open(CHANNEL_KEY, bad), Err(SealError::Malformed), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = Secret::from("hunter2");
        assert_eq!((format!("{secret}"), format!("{secret:?}")), ("***".into(), "***".into()));
        let key = "sk-abcdefghijklmnopqrstuvwxyz0123456789abcdefghijkl";
        assert_eq!(key_hint(key), "sk-ab…ijkl");
        assert_eq!(key_hint("short"), "…");
    }
}
