//! Durations in buckets, from which shares like the 95th of a hundred are read.

use std::time::Duration;

/// Two buckets for each power of two of milliseconds, up to twelve minutes.
pub(crate) const BUCKETS: usize = 40;

/// How many calls took how long.
pub(crate) type Times = [u64; BUCKETS];

/// The bucket of a duration; the last one has all that are longer.
pub(crate) fn bucket(time: Duration) -> usize {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let Some(power) = ms.checked_ilog2() else { return 0 };
    let half = if power == 0 { 0 } else { ms >> (power - 1) & 1 };
    let at = u64::from(power) * 2 + half + 1;
    usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Where a bucket begins, in milliseconds.
fn floor_ms(bucket: usize) -> u64 {
    let Some(at) = bucket.checked_sub(1) else { return 0 };
    let power = at / 2;
    let half = if at % 2 == 1 && power > 0 { 1_u64 << (power - 1) } else { 0 };
    (1_u64 << power) + half
}

/// The time that so many of a hundred calls did not exceed, in milliseconds; none without calls.
/// Within a bucket the calls are taken to be spread evenly.
pub(crate) fn percentile_ms(times: &Times, percent: u64) -> Option<i64> {
    let all: u64 = times.iter().sum();
    let rank = (all * percent).div_ceil(100).max(1);
    let mut before = 0;
    for (at, count) in times.iter().copied().enumerate() {
        if count > 0 && before + count >= rank {
            let (floor, end) = (floor_ms(at), floor_ms(at + 1));
            let within = (end - floor) * (rank - before) / count;
            return i64::try_from(floor + within).ok();
        }
        before += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket() {
        for ms in (0..5_000).chain([60_000, 500_000]) {
            let at = bucket(Duration::from_millis(ms));
            assert!(floor_ms(at) <= ms, "{ms} {at}");
            assert!(ms < floor_ms(at + 1) || ms < 2, "{ms} {at}");
        }
        assert_eq!(bucket(Duration::from_hours(2)), BUCKETS - 1);
    }

    #[test]
    fn the_slow_few_show_in_the_95th_alone() {
        let mut times = [0; BUCKETS];
        assert_eq!(percentile_ms(&times, 95), None);
        times[bucket(Duration::from_millis(100))] = 90;
        times[bucket(Duration::from_millis(9_000))] = 10;
        let half = percentile_ms(&times, 50).unwrap();
        assert!((96..=128).contains(&half), "{half}");
        let most = percentile_ms(&times, 95).unwrap();
        assert!((8_192..=12_288).contains(&most), "{most}");
    }
}
