//! Who hears of the end of tasks.

use crate::{Db, Sealer, StoreError, Value, WEBHOOK_SECRET};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{UnixMs, UserId};
use ring::rand::{SecureRandom, SystemRandom};

const SECRET_BYTES: usize = 32;
/// What a secret begins with (Standard Webhooks).
const SECRET_PREFIX: &str = "whsec_";

/// Makes sure that a user has the endpoint without an address: its secret signs what goes to the
/// addresses that submissions bring along.
///
/// # Errors
/// What the database says, or that there is no randomness.
pub async fn ensure_own_endpoint(
    db: &Db,
    sealer: &Sealer,
    user_id: UserId,
    now: UnixMs,
) -> Result<(), StoreError> {
    const LOOK: &str = "SELECT 1 AS one FROM webhook_endpoints WHERE user_id = $1 AND url = ''";
    const MAKE: &str = "INSERT INTO webhook_endpoints
            (user_id, url, secret_sealed, created_at, updated_at)
        VALUES ($1, '', $2, $3, $3) ON CONFLICT DO NOTHING";
    if !db.read(LOOK, &[Value::from(user_id)]).await?.is_empty() {
        return Ok(());
    }
    let other = |error: &dyn std::fmt::Display| StoreError::Other(error.to_string());
    let secret = new_secret().map_err(|e| other(&e))?;
    let sealed = sealer.seal(WEBHOOK_SECRET, secret.as_bytes()).map_err(|e| other(&e))?;
    let params = [Value::from(user_id), Value::from(sealed), Value::from(now)];
    db.execute(MAKE, &params).await.map(drop)
}

fn new_secret() -> Result<String, crate::SealError> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).map_err(|_| crate::SealError::Random)?;
    Ok(format!("{SECRET_PREFIX}{}", STANDARD.encode(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_what_the_standard_says() {
        let secret = new_secret().unwrap();
        let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_ne!(secret, new_secret().unwrap());
    }
}
