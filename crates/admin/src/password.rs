//! Passwords: argon2id, off the request threads, and few at a time, since each takes 19 MiB.

use crate::AdminError;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use std::sync::Arc;
use tokio::sync::Semaphore;

const MIN_CHARS: usize = 8;
/// Beyond this nobody types; hashing must not be made slow from outside.
const MAX_BYTES: usize = 1024;
/// How many are hashed at the same time.
const AT_ONCE: usize = 2;

/// Where passwords are hashed.
#[derive(Clone, Debug)]
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Whether `password` may be one.
///
/// # Errors
/// When it is too short or too long.
pub fn check(password: &str) -> Result<(), AdminError> {
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
    /// When the password breaks its rule.
    pub async fn hash(&self, password: String) -> Result<String, AdminError> {
        check(&password)?;
        let broken = |what: &str| AdminError::System(format!("hashing a password: {what}"));
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| broken("closed"))?;
        let work = move || {
            // Held until the work ends, also when nobody waits for it any more.
            let _permit = permit;
            Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(e)) => Err(broken(&e.to_string())),
            Err(e) => Err(broken(&e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    #[tokio::test]
    async fn a_hash_verifies_its_password_alone() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let parsed = PasswordHash::new(&hash).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"wrong horse", &parsed).is_err());
        assert_ne!(hash, passwords.hash("correct horse".to_owned()).await.unwrap());
    }

    #[test]
    fn short_and_endless_ones_are_refused() {
        assert!(check("1234567").is_err());
        assert!(check("一二三四五六七八").is_ok());
        assert!(check(&"x".repeat(1025)).is_err());
    }
}
