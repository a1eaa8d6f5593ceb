//! Secrets that cannot be guessed.

use crate::AdminError;
use ring::rand::{SecureRandom, SystemRandom};

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Largest multiple of 62 that a byte can hold: bytes from here on would favour some characters.
const FAIR: u8 = 248;
/// Characters of a key after its `sk-`. 62^48 is beyond 2^285.
const KEY_CHARS: usize = 48;
const ACCESS_TOKEN_CHARS: usize = 40;
/// Characters of a redemption code. 62^32 is beyond 2^190.
const CODE_CHARS: usize = 32;
/// 62^43 is beyond 2^256.
const SESSION_CHARS: usize = 43;
const PASSWORD_CHARS: usize = 20;

/// `chars` random letters and digits, each as likely as any other.
fn text(chars: usize) -> Result<String, AdminError> {
    let random = SystemRandom::new();
    let mut made = String::with_capacity(chars);
    let mut bytes = [0_u8; 64];
    while made.len() < chars {
        random
            .fill(&mut bytes)
            .map_err(|_| AdminError::System("the system gives no random bytes".to_owned()))?;
        let fair = bytes.iter().filter(|&&byte| byte < FAIR);
        let missing = chars - made.len();
        made.extend(fair.take(missing).map(|&byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(made)
}

/// A new user key, `sk-…`.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn user_key() -> Result<String, AdminError> {
    Ok(format!("sk-{}", text(KEY_CHARS)?))
}

/// A new access token for `/api`.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn access_token() -> Result<String, AdminError> {
    text(ACCESS_TOKEN_CHARS)
}

/// A new redemption code.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn redemption_code() -> Result<String, AdminError> {
    text(CODE_CHARS)
}

/// What a console's cookie holds.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn session() -> Result<String, AdminError> {
    text(SESSION_CHARS)
}

/// A password for a person to copy once.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn password() -> Result<String, AdminError> {
    text(PASSWORD_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_shape_and_never_repeat() {
        let key = user_key().unwrap();
        assert_eq!(key.len(), 51);
        let tail = key.strip_prefix("sk-").unwrap();
        assert!(tail.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(key, user_key().unwrap());
        assert_eq!(access_token().unwrap().len(), 40);
        assert_eq!(password().unwrap().len(), 20);
    }

    #[test]
    fn every_character_is_as_likely() {
        let mut seen = [0_u32; 256];
        for byte in text(62 * 1000).unwrap().bytes() {
            seen[usize::from(byte)] += 1;
        }
        // 1000 expected each, standard deviation 32: eight of them are not chance.
        assert!(ALPHABET.iter().all(|&c| (750..1250).contains(&seen[usize::from(c)])));
    }
}
