//! Bodies of requests count in the memory budget, and in their caller's part of it, until they are
//! answered. Callers who are not known yet may send little, and share a small part.

use crate::counted::overloaded;
use axum::body::{Body, Bytes};
use domain::{Fault, FaultKind, UserId};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use web::memory::{Budget, Share};
use web::{CollectError, CollectLimits, collect};

/// The body of a caller who is known.
const LIMITS: CollectLimits =
    CollectLimits { max_bytes: 1024 * 1024, within: Duration::from_secs(30) };
/// That of one who is not: a name and a password.
const NAMELESS_LIMITS: CollectLimits =
    CollectLimits { max_bytes: 8 * 1024, within: Duration::from_secs(10) };

/// What the body of a request holds of the budget, as long as a clone is there.
#[derive(Clone, Debug)]
pub struct BodyShare {
    share: Arc<Mutex<Share>>,
    limits: CollectLimits,
}

impl BodyShare {
    /// That of a caller who is known.
    #[must_use]
    pub fn of(budget: &Arc<Budget>, user_id: UserId) -> Self {
        Self { share: Arc::new(Mutex::new(budget.share_of(user_id))), limits: LIMITS }
    }

    /// That of a caller who is not known yet.
    #[must_use]
    pub fn of_nameless(budget: &Arc<Budget>) -> Self {
        let share = Arc::new(Mutex::new(budget.share_of_nameless()));
        Self { share, limits: NAMELESS_LIMITS }
    }

    /// Reads a body, which counts from now on.
    ///
    /// # Errors
    /// When it is too large, comes too slowly, breaks off, or there is no room for it.
    pub async fn read(&self, body: Body) -> Result<Bytes, Fault> {
        let grow = |bytes| self.share.lock().unwrap_or_else(PoisonError::into_inner).grow_to(bytes);
        let bytes = collect(body, self.limits, grow).await.map_err(|why| self.fault(why))?;
        // A login that came at once is read when others fill their part: it waits for nobody.
        let is_known = self.limits.max_bytes == LIMITS.max_bytes;
        if is_known && !grow(bytes.len()) {
            return Err(overloaded());
        }
        Ok(bytes)
    }

    fn fault(&self, why: CollectError) -> Fault {
        let malformed = |zh: &str, en: &str| Fault::new(FaultKind::InvalidRequest, zh, en);
        match why {
            CollectError::TooLarge => {
                let kib = self.limits.max_bytes / 1024;
                let (zh, en) =
                    (format!("请求体超过 {kib} KiB"), format!("the body is larger than {kib} KiB"));
                Fault::new(FaultKind::PayloadTooLarge, zh, en)
            }
            CollectError::TooSlow => malformed("请求体发送超时", "the body did not arrive in time"),
            CollectError::Broken => malformed("请求体不完整", "the body broke off"),
            CollectError::NoRoom => overloaded(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_counts_until_it_is_answered() {
        let budget = Budget::new(4 << 20);
        let read = async |share: &BodyShare, bytes| share.read(Body::from(vec![b' '; bytes])).await;
        let known = BodyShare::of(&budget, UserId(1));
        let too_large = read(&known, LIMITS.max_bytes + 1).await.unwrap_err();
        assert_eq!(too_large.kind, FaultKind::PayloadTooLarge);
        assert!(read(&known, LIMITS.max_bytes).await.is_ok());
        assert_eq!(budget.used_bytes().get(), 1 << 20);
        let more = BodyShare::of(&budget, UserId(1));
        assert!(read(&more, LIMITS.max_bytes).await.is_ok());
        let third = BodyShare::of(&budget, UserId(1));
        let no_room = read(&third, LIMITS.max_bytes).await.unwrap_err();
        assert_eq!(no_room.kind, FaultKind::Overloaded);
        drop((known, more));
        assert_eq!(budget.used_bytes().get(), 0);

        let nameless = BodyShare::of_nameless(&budget);
        let too_large = read(&nameless, NAMELESS_LIMITS.max_bytes + 1).await.unwrap_err();
        assert_eq!(too_large.kind, FaultKind::PayloadTooLarge);
        assert!(read(&nameless, NAMELESS_LIMITS.max_bytes).await.is_ok());
    }
}
