//! Durations as log lines show them: operators' scripts match exactly this format.

use std::fmt;
use std::time::Duration;

/// `1.500s`
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0.as_secs(), self.0.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_what_the_handbook_greps_for() {
        for (ms, text) in [(0, "0.000s"), (7, "0.007s"), (1_500, "1.500s"), (61_234, "61.234s")] {
            assert_eq!(Seconds(Duration::from_millis(ms)).to_string(), text);
        }
    }
}
