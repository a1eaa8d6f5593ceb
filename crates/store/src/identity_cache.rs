//! A bounded cache of keys; the time is an argument.

use crate::Identity;
use domain::{KeyId, UserId};
use foldhash::HashMap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

const SHARDS: usize = 16;
/// Known keys cached per shard: 50 000 in all.
const KNOWN_MAX: usize = 50_000 / SHARDS;
/// Unknown keys cached per shard. They have room of their own, so that guessed keys can't evict
/// known ones.
const UNKNOWN_MAX: usize = 10_000 / SHARDS;
/// Changes are announced; this only bounds how long a lost announcement matters.
const KNOWN_TTL: Duration = Duration::from_secs(60);
/// New keys are not announced: one that was used too early is refused no longer than this.
const UNKNOWN_TTL: Duration = Duration::from_millis(500);

type Hash = [u8; 32];

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<Hash, (Arc<Identity>, Instant)>,
    unknown: HashMap<Hash, Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    shards: [RwLock<Shard>; SHARDS],
    /// Counts invalidations. What was read before one must not be inserted after it.
    epoch: AtomicU64,
}

impl Cache {
    fn shard(&self, hash: &Hash) -> &RwLock<Shard> {
        &self.shards[usize::from(hash[1]) % SHARDS]
    }

    /// `Some(None)`: cached as unknown.
    pub(crate) fn get(&self, hash: &Hash, now: Instant) -> Option<Option<Arc<Identity>>> {
        let shard = read(self.shard(hash));
        if let Some((identity, until)) = shard.known.get(hash) {
            return (*until > now).then(|| Some(Arc::clone(identity)));
        }
        shard.unknown.get(hash).filter(|until| **until > now).map(|_| None)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Inserts what was read since `epoch`, unless something was invalidated meanwhile.
    pub(crate) fn put(&self, hash: Hash, found: Option<Arc<Identity>>, epoch: u64, now: Instant) {
        let mut shard = write(self.shard(&hash));
        // Compared under the lock that invalidation takes, too.
        if self.epoch() != epoch {
            return;
        }
        match found {
            Some(identity) => {
                make_room(&mut shard.known, KNOWN_MAX, |(_, until)| *until > now);
                shard.known.insert(hash, (identity, now + KNOWN_TTL));
                shard.unknown.remove(&hash);
            }
            None => {
                make_room(&mut shard.unknown, UNKNOWN_MAX, |until| *until > now);
                shard.unknown.insert(hash, now + UNKNOWN_TTL);
                shard.known.remove(&hash);
            }
        }
    }

    /// Invalidates some users and keys, and all unknown keys.
    pub(crate) fn invalidate(&self, users: &HashSet<UserId>, keys: &HashSet<KeyId>) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = write(shard);
            shard.unknown.clear();
            shard.known.retain(|_, (identity, _)| {
                !users.contains(&identity.user_id) && !keys.contains(&identity.key_id)
            });
        }
    }

    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for shard in &self.shards {
            *write(shard) = Shard::default();
        }
    }
}

/// Makes room in a full shard: expired entries are evicted first, then arbitrary ones.
fn make_room<V>(map: &mut HashMap<Hash, V>, max: usize, live: impl Fn(&V) -> bool) {
    if map.len() < max {
        return;
    }
    map.retain(|_, value| live(value));
    if map.len() >= max {
        let victims: Vec<Hash> = map.keys().take(max / 8 + 1).copied().collect();
        for victim in victims {
            map.remove(&victim);
        }
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Ratio;

    fn key(id: i64) -> (Hash, Arc<Identity>) {
        let hash = crate::key_hash(&id.to_string());
        let identity = Identity {
            user_id: UserId(id % 10),
            username: "ann".into(),
            role: 1,
            user_status: 1,
            user_group: "default".into(),
            user_ratio: Ratio::ONE,
            key_id: KeyId(id),
            key_name: String::new(),
            key_status: 1,
            key_group: None,
            models: None,
            allow_ips: Vec::new(),
            expires_at: None,
            unlimited: true,
            limited: false,
            rate_limit_rpm: None,
            rate_limit_tpm: None,
            deleted: false,
            replaced_until: None,
        };
        (hash, Arc::new(identity))
    }

    #[test]
    fn remembers_for_a_while() {
        let (cache, now) = (Cache::default(), Instant::now());
        let (hash, identity) = key(7);
        assert!(cache.get(&hash, now).is_none());
        cache.put(hash, None, 0, now);
        assert!(matches!(cache.get(&hash, now), Some(None)));
        assert!(cache.get(&hash, now + UNKNOWN_TTL).is_none());
        cache.put(hash, Some(identity), 0, now);
        assert!(matches!(cache.get(&hash, now), Some(Some(_))));
        assert!(cache.get(&hash, now + KNOWN_TTL).is_none());
    }

    #[test]
    fn invalidates_what_changed_and_rejects_earlier_reads() {
        let (cache, now) = (Cache::default(), Instant::now());
        for id in 1..30 {
            let (hash, identity) = key(id);
            cache.put(hash, Some(identity), 0, now);
        }
        cache.invalidate(&HashSet::from([UserId(3)]), &HashSet::from([KeyId(5)]));
        let there = |id: i64| cache.get(&key(id).0, now).is_some();
        assert!(!there(3) && !there(13) && !there(23) && !there(5));
        assert!(there(4) && there(15));
        let (hash, identity) = key(3);
        cache.put(hash, Some(Arc::clone(&identity)), 0, now);
        assert!(!there(3), "read before the change");
        cache.put(hash, Some(identity), cache.epoch(), now);
        assert!(there(3));
        cache.clear();
        assert!(!there(4));
    }

    #[test]
    fn is_bounded() {
        let (cache, now) = (Cache::default(), Instant::now());
        for id in 0..80_000 {
            let (hash, identity) = key(id);
            cache.put(hash, Some(identity), 0, now);
        }
        let known: usize = cache.shards.iter().map(|shard| read(shard).known.len()).sum();
        assert!((20_000..=50_000).contains(&known), "{known}");
    }
}
