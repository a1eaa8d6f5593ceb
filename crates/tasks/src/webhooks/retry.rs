//! When a failed delivery is retried: for about a day, with growing pauses.

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// The pause after the first attempt, after the second, …; after the last there is none.
const PAUSES_MS: [i64; 10] = [
    5 * SECOND,
    30 * SECOND,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    6 * HOUR,
    10 * HOUR,
];
/// A pause grows by up to a tenth, so that deliveries that failed together aren't retried together.
const SPREAD: i64 = 10;

/// The pause after attempt number `attempt` (from 1); `None`: it was the last. `random` returns a
/// number from 0 up to its argument.
pub(super) fn pause_ms(attempt: i64, random: impl FnOnce(i64) -> i64) -> Option<i64> {
    let index = usize::try_from(attempt.max(1) - 1).ok()?;
    let pause = *PAUSES_MS.get(index)?;
    Some(pause + random(pause / SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_a_day_and_then_no_more() {
        let pauses: Vec<i64> = (1..).map_while(|n| pause_ms(n, |_| 0)).collect();
        assert_eq!(pauses.len(), 10);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]));
        let sum: i64 = pauses.iter().sum();
        assert!((22 * HOUR..26 * HOUR).contains(&sum), "{sum}");
        assert_eq!(pause_ms(1, |most| most), Some(5_500));
        assert_eq!((pause_ms(0, |_| 0), pause_ms(11, |_| 0)), (Some(5_000), None));
        assert_eq!(pause_ms(i64::MAX, |_| 0), None);
    }
}
