//! Passwords: argon2id, off the request threads, and few at a time, since each takes 19 MiB.

use crate::AdminError;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::Arc;
use tokio::sync::Semaphore;

const MIN_CHARS: usize = 8;
/// Longer than any real password: clients must not be able to make hashing slow.
const MAX_BYTES: usize = 1024;
/// How many are hashed at the same time.
const AT_ONCE: usize = 2;

/// How many may be at it or wait for their turn: some seconds' work.
const PLACES: usize = 64;
const FULL_RETRY_S: u32 = 5;
/// The hash of no password, of the same cost as ours: an unknown user takes as long as a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Where passwords are hashed.
#[derive(Clone, Debug)]
pub struct Passwords {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let of = |size| Arc::new(Semaphore::new(size));
        Self { places: of(PLACES), turns: of(AT_ONCE) }
    }
}

/// Whether `password` may be one.
///
/// # Errors
/// When it is too short or too long.
pub(crate) fn check(password: &str) -> Result<(), AdminError> {
    if password.chars().count() < MIN_CHARS || password.len() > MAX_BYTES {
        return Err(AdminError::field(
            "password",
            format!("至少 {MIN_CHARS} 个字符, 最多 {MAX_BYTES} 字节"),
            format!("needs at least {MIN_CHARS} characters, and at most {MAX_BYTES} bytes"),
        ));
    }
    Ok(())
}

impl Passwords {
    /// The hash that is kept in place of `password`.
    ///
    /// # Errors
    /// When the password breaks its rule, or too many wait.
    pub async fn hash(&self, password: String) -> Result<String, AdminError> {
        check(&password)?;
        let hash = move || Argon2::default().hash_password(password.as_bytes());
        let hash = self.run(hash).await?;
        hash.map(|hash| hash.to_string()).map_err(|e| broken(&e.to_string()))
    }

    /// Whether `hash` is of `password`. Without a hash it is not, and takes as long.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, AdminError> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let verify = move || {
            let parsed = PasswordHash::new(&hash);
            parsed.map(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        };
        let right = self.run(verify).await?.map_err(|e| broken(&e.to_string()))?;
        Ok(known && right)
    }

    /// Does `work` off the request threads, when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| AdminError::TooMany { retry_after_s: FULL_RETRY_S })?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| broken("closed"))?;
        let work = move || {
            // Held until the work ends, even when its caller is gone.
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| broken(&e.to_string()))
    }
}

fn broken(what: &str) -> AdminError {
    AdminError::System(format!("hashing a password: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_verifies_its_password_alone() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let verify = |password: &str, hash| passwords.verify(password.to_owned(), hash);
        assert!(verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!verify("wrong horse", Some(hash.clone())).await.unwrap());
        assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.unwrap());
        assert!(!verify("correct horse", None).await.unwrap());
        let cost = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(cost(&hash), cost(NOBODY), "nobody's hash takes as long as anybody's");
    }

    #[test]
    fn short_and_endless_ones_are_refused() {
        assert!(check("1234567").is_err());
        assert!(check("一二三四五六七八").is_ok());
        assert!(check(&"x".repeat(1025)).is_err());
    }
}
