//! Chooses one of several channels for a call.

use domain::ChannelId;

/// What the choice depends on.
pub(crate) trait Candidate {
    fn id(&self) -> ChannelId;
    fn priority(&self) -> i64;
    fn weight(&self) -> u32;
}

/// Chooses, by weight, one of the remaining candidates of the highest priority. `candidates` are
/// sorted by priority, the highest first; `random(n)` is uniform over 0 to n-1.
///
/// A channel of weight 0 is a standby: it is chosen when its priority has no other left.
pub(crate) fn choose<'a, C: Candidate>(
    candidates: &'a [C],
    excluded: &[ChannelId],
    random: impl FnOnce(u64) -> u64,
) -> Option<&'a C> {
    let left = |c: &&C| !excluded.contains(&c.id());
    let top = candidates.iter().find(left)?.priority();
    let tier = || candidates.iter().filter(left).filter(|c| c.priority() == top);
    let total: u64 = tier().map(|c| u64::from(c.weight())).sum();
    if total == 0 {
        let count = u64::try_from(tier().count()).unwrap_or(1);
        let index = usize::try_from(random(count)).unwrap_or(0);
        return tier().nth(index);
    }
    let mut point = random(total);
    tier().find(|c| {
        let weight = u64::from(c.weight());
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Sample(i64, i64, u32);

    impl Candidate for Sample {
        fn id(&self) -> ChannelId {
            ChannelId(self.0)
        }
        fn priority(&self) -> i64 {
            self.1
        }
        fn weight(&self) -> u32 {
            self.2
        }
    }

    /// How often each is chosen, over every value of `random`.
    fn shares(candidates: &[Sample], excluded: &[i64]) -> BTreeMap<i64, u32> {
        let excluded: Vec<_> = excluded.iter().copied().map(ChannelId).collect();
        let mut shares = BTreeMap::new();
        let mut point = 0;
        loop {
            let mut points = 0;
            let chosen = choose(candidates, &excluded, |n| {
                points = n;
                point
            });
            if let Some(chosen) = chosen {
                *shares.entry(chosen.0).or_insert(0) += 1;
            }
            point += 1;
            if point >= points {
                return shares;
            }
        }
    }

    #[test]
    fn priority_first_then_weight() {
        let all = [Sample(1, 9, 1), Sample(2, 9, 3), Sample(3, 5, 100)];
        assert_eq!(shares(&all, &[]), BTreeMap::from([(1, 1), (2, 3)]));
        assert_eq!(shares(&all, &[2]), BTreeMap::from([(1, 1)]));
        assert_eq!(shares(&all, &[1, 2]), BTreeMap::from([(3, 100)]));
        assert_eq!(shares(&all, &[1, 2, 3]), BTreeMap::new());
        assert_eq!(shares(&[], &[]), BTreeMap::new());
    }

    #[test]
    fn weight_zero_is_a_standby() {
        let all = [Sample(1, 0, 0), Sample(2, 0, 2), Sample(3, 0, 0)];
        assert_eq!(shares(&all, &[]), BTreeMap::from([(2, 2)]));
        assert_eq!(shares(&all, &[2]), BTreeMap::from([(1, 1), (3, 1)]));
    }
}
