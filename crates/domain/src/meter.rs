//! Meters: what replies and requests are counted in.

use crate::Usage;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What is counted. Tokens have a family, whose head an unpriced meter counts as; units are
/// counted beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Meter {
    /// Tokens of the request.
    Input,
    /// Tokens of the request that came from the upstream's cache.
    Cached,
    /// Tokens that were written to the upstream's cache, for as long as it keeps them by default.
    CacheWrite,
    /// Tokens that were written to the cache for an hour.
    CacheWrite1h,
    /// Tokens of the request's images.
    ImageIn,
    /// Tokens of the request's sound.
    AudioIn,
    /// Tokens of the request's films.
    VideoIn,
    /// Tokens of the reply.
    Output,
    /// Tokens of reasoning, which are not part of the output text.
    Reasoning,
    /// Tokens of images that were made.
    ImageOut,
    /// Tokens of sound that was made.
    AudioOut,
    /// All tokens, where the upstream gives the sum. Never priced itself.
    Total,
    /// Searches that were made, or units of searching.
    Searches,
    /// Seconds of sound or film.
    Seconds,
    /// Images.
    Images,
    /// Films.
    Videos,
    /// Characters of text.
    Characters,
    /// Pages of documents.
    Pages,
    /// Things of no other kind: documents, classifications.
    Items,
    /// The upstream's own unit of account.
    Credits,
}

/// How many meters there are.
pub const METERS: usize = 20;

impl Meter {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; METERS] = [
        Self::Input,
        Self::Cached,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::ImageIn,
        Self::AudioIn,
        Self::VideoIn,
        Self::Output,
        Self::Reasoning,
        Self::ImageOut,
        Self::AudioOut,
        Self::Total,
        Self::Searches,
        Self::Seconds,
        Self::Images,
        Self::Videos,
        Self::Characters,
        Self::Pages,
        Self::Items,
        Self::Credits,
    ];

    /// Its word in documents and prices.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Cached => "cached",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::ImageIn => "image_in",
            Self::AudioIn => "audio_in",
            Self::VideoIn => "video_in",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::ImageOut => "image_out",
            Self::AudioOut => "audio_out",
            Self::Total => "total",
            Self::Searches => "searches",
            Self::Seconds => "seconds",
            Self::Images => "images",
            Self::Videos => "videos",
            Self::Characters => "characters",
            Self::Pages => "pages",
            Self::Items => "items",
            Self::Credits => "credits",
        }
    }

    /// The meter of a word.
    ///
    /// # Errors
    /// When there is none, with the words that there are.
    pub fn parse(word: &str) -> Result<Self, UnknownMeter> {
        let found = Self::ALL.into_iter().find(|meter| meter.as_str() == word);
        found.ok_or_else(|| UnknownMeter(word.to_owned()))
    }

    /// What it counts as where it has no worth of its own. Units have no parent.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::Cached | Self::CacheWrite | Self::ImageIn | Self::AudioIn | Self::VideoIn => {
                Some(Self::Input)
            }
            Self::CacheWrite1h => Some(Self::CacheWrite),
            Self::Reasoning | Self::ImageOut | Self::AudioOut => Some(Self::Output),
            _ => None,
        }
    }

    /// Whether it counts tokens; else units.
    #[must_use]
    pub const fn is_tokens(self) -> bool {
        (self as usize) <= (Self::Total as usize)
    }

    /// The head of its family: [`Meter::Input`], [`Meter::Output`], or itself.
    #[must_use]
    pub fn head(self) -> Self {
        self.parent().map_or(self, Self::head)
    }

    /// Itself, its parent, and so on to the head of its family.
    pub fn line(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |meter| meter.parent())
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no meter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMeter(String);

impl std::error::Error for UnknownMeter {}

impl fmt::Display for UnknownMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = Meter::ALL.into_iter().map(Meter::as_str).collect();
        write!(f, "{:?} is not a meter; there are {}", self.0, known.join(", "))
    }
}

/// Counts by meter. A meter that was not reported differs from one that counted zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meters {
    counts: [Option<i64>; METERS],
}

impl Meters {
    /// Returns the count of `meter`; `None` if it was not reported.
    #[must_use]
    pub const fn get(&self, meter: Meter) -> Option<i64> {
        self.counts[meter as usize]
    }

    /// Sets the count of `meter`.
    pub const fn set(&mut self, meter: Meter, count: i64) {
        self.counts[meter as usize] = Some(count);
    }

    /// What was counted, in the order of [`Meter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Meter, i64)> + '_ {
        Meter::ALL.into_iter().filter_map(|meter| Some((meter, self.get(meter)?)))
    }

    /// Whether no meter was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(Option::is_none)
    }

    /// The sum of `head` and the meters below it.
    #[must_use]
    pub fn family(&self, head: Meter) -> i64 {
        let members = self.iter().filter(|(meter, _)| meter.line().any(|it| it == head));
        members.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

impl Meters {
    /// The tokens, as a call by use is billed for them; `None` where none were counted.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let mut tokens = self.iter().filter(|(meter, _)| meter.is_tokens());
        tokens.next()?;
        let count = |meter| self.get(meter).unwrap_or(0);
        Some(Usage {
            prompt_tokens: self.family(Meter::Input),
            completion_tokens: self.family(Meter::Output),
            cached_tokens: count(Meter::Cached),
            image_tokens: count(Meter::ImageIn),
            audio_tokens: count(Meter::AudioIn),
            reasoning_tokens: count(Meter::Reasoning),
            ..Usage::default()
        })
    }
}

impl From<&Usage> for Meters {
    /// The counts of a usage that was reported as five sums. A part that exceeds its whole stands.
    fn from(usage: &Usage) -> Self {
        let counts = [
            (Meter::Input, usage.plain_prompt_tokens()),
            (Meter::Cached, usage.cached_tokens),
            (Meter::ImageIn, usage.image_tokens),
            (Meter::AudioIn, usage.audio_tokens),
            (Meter::Output, (usage.completion_tokens - usage.reasoning_tokens).max(0)),
            (Meter::Reasoning, usage.reasoning_tokens.min(usage.completion_tokens)),
        ];
        let heads = [Meter::Input, Meter::Output];
        counts.into_iter().filter(|(meter, count)| heads.contains(meter) || *count != 0).collect()
    }
}

impl FromIterator<(Meter, i64)> for Meters {
    fn from_iter<I: IntoIterator<Item = (Meter, i64)>>(counts: I) -> Self {
        let mut meters = Self::default();
        for (meter, count) in counts {
            meters.set(meter, count);
        }
        meters
    }
}

impl fmt::Display for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (meter, count)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{meter} {count}")?;
        }
        Ok(())
    }
}

impl Serialize for Meters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(meter, count)| (meter.as_str(), count)))
    }
}

impl<'de> Deserialize<'de> for Meters {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Meters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("counts by meter")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meters, A::Error> {
                let mut meters = Meters::default();
                while let Some((word, count)) = map.next_entry::<String, i64>()? {
                    meters.set(Meter::parse(&word).map_err(A::Error::custom)?, count);
                }
                Ok(meters)
            }
        }
        from.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meter_has_its_number_and_word() {
        for (number, meter) in Meter::ALL.into_iter().enumerate() {
            assert_eq!(meter as usize, number);
            assert_eq!(Meter::parse(meter.as_str()), Ok(meter));
            assert!(!meter.is_tokens() || meter.head().is_tokens());
        }
        assert!(Meter::parse("tokens").unwrap_err().to_string().contains("input, cached"));
    }

    #[test]
    fn a_family_is_summed() {
        let meters: Meters =
            [(Meter::Input, 5), (Meter::CacheWrite1h, 2), (Meter::Output, 9)].into_iter().collect();
        assert_eq!((meters.family(Meter::Input), meters.family(Meter::Output)), (7, 9));
        assert_eq!(meters.to_string(), "input 5, cache_write_1h 2, output 9");
        assert_eq!(meters.family(Meter::CacheWrite), 2);
    }

    #[test]
    fn counts_are_written_and_read_by_their_words() {
        let meters: Meters = [(Meter::Input, 5), (Meter::Images, 0)].into_iter().collect();
        let json = serde_json::to_string(&meters).unwrap();
        assert_eq!(json, r#"{"input":5,"images":0}"#);
        assert_eq!(serde_json::from_str::<Meters>(&json).unwrap(), meters);
        assert!(serde_json::from_str::<Meters>(r#"{"tokens":5}"#).is_err());
    }

    #[test]
    fn a_usage_is_split_into_meters() {
        let usage = Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 9,
            reasoning_tokens: 5,
            ..Usage::default()
        };
        let meters = Meters::from(&usage);
        assert_eq!(meters.to_string(), "input 6, cached 4, output 4, reasoning 5");
        assert_eq!(meters.usage(), Some(usage));
    }
}
