//! Signatures according to the Standard Webhooks specification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// One signature per key, separated by blanks; none without a key.
pub(super) fn sign(keys: &[Vec<u8>], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signed = keys.iter().map(|key| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    let signatures: Vec<String> = signed.collect();
    (!signatures.is_empty()).then(|| signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the reference libraries publish.
    #[test]
    fn the_published_vector() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn one_for_each_key_and_nothing_without() {
        let keys = [vec![1; 32], vec![2; 32]];
        let both = sign(&keys, "msg_1", 5, b"{}").unwrap();
        let alone = keys.map(|key| sign(&[key], "msg_1", 5, b"{}").unwrap());
        assert_eq!(both, alone.join(" "));
        assert_ne!(alone[0], alone[1]);
        assert_eq!(sign(&[], "msg_1", 5, b"{}"), None);
    }
}
