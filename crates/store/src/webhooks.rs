//! Secrets that sign webhooks, in the form of the Standard Webhooks specification.

use crate::{Db, Sealer, Secret, StoreError, Value, WEBHOOK_SECRET};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{UnixMs, UserId};
use ring::rand::{SecureRandom, SystemRandom};

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Length of a generated secret, in bytes.
const NEW_BYTES: usize = 32;
/// Lengths that a secret may have, in bytes. An empty one would sign, and verify, anything.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Generates a secret, `whsec_…`.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_secret() -> Result<Secret, StoreError> {
    let mut bytes = [0_u8; NEW_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StoreError::Other("the system gives no random bytes".to_owned()))?;
    Ok(Secret::from(format!("{PREFIX}{}", STANDARD.encode(bytes))))
}

/// The bytes that a secret signs with; `None` unless it is `whsec_` and the base64 of 24 to 64
/// bytes.
#[must_use]
pub fn signing_key(secret: &Secret) -> Option<Vec<u8>> {
    let encoded = secret.expose().strip_prefix(PREFIX)?;
    STANDARD.decode(encoded).ok().filter(|bytes| BYTES.contains(&bytes.len()))
}

/// Ensures that the user has the endpoint whose secret signs what goes to `X-Webhook-Url`.
///
/// # Errors
/// When no secret can be generated, or the database fails.
pub async fn ensure_own_endpoint(
    db: &Db,
    sealer: &Sealer,
    user_id: UserId,
    now: UnixMs,
) -> Result<(), StoreError> {
    let look = "SELECT 1 AS one FROM webhook_endpoints WHERE user_id = $1 AND url = ''";
    if !db.read(look, &[Value::from(user_id)]).await?.is_empty() {
        return Ok(());
    }
    let sealed = sealer
        .seal(WEBHOOK_SECRET, new_secret()?.expose().as_bytes())
        .map_err(|e| StoreError::Other(e.to_string()))?;
    let sql = "INSERT INTO webhook_endpoints (user_id, url, secret_sealed, created_at, updated_at)
               VALUES ($1, '', $2, $3, $3) ON CONFLICT DO NOTHING";
    let params = [Value::from(user_id), Value::from(sealed), Value::from(now)];
    db.execute(sql, &params).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_sign() {
        let made = new_secret().unwrap();
        assert_eq!(signing_key(&made).unwrap().len(), NEW_BYTES);
        assert_ne!(made, new_secret().unwrap());
        let of =
            |bytes: usize| Secret::from(format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes])));
        for (bytes, signs) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(signing_key(&of(bytes)).is_some(), signs, "{bytes}");
        }
        let bare = made.expose().strip_prefix(PREFIX).unwrap().to_owned();
        for bad in ["", "whsec_", "whsec_***", "WHSEC_AAAA", &bare] {
            assert_eq!(signing_key(&Secret::from(bad)), None, "{bad}");
        }
    }
}
